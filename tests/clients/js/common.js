// What both JavaScript programs share: settings from the variables of `run`, records, lines of JSON.
const { readFileSync } = require('node:fs')

const env = (name, otherwise = '') => process.env[`CLIENT_${name}`] ?? otherwise
const say = line => console.log(JSON.stringify(line))
const done = (count, error) => say({ done: count, ...(error && { error }) })

// The template with the record's number, `pad` added up to the wanted size; null for `null`.
function value(n) {
  const template = env('VALUE', '{"n":%d}')
  if (template === 'null') return null
  const text = template.replaceAll('%d', n)
  const pad = Number(env('SIZE', '0')) - text.length - 9
  return pad < 0 ? text : `${text.slice(0, -1)},"pad":"${'x'.repeat(pad)}"}`
}

const key = n => (env('KEY_PREFIX') ? env('KEY_PREFIX') + n : null)

const security = env('SECURITY', 'plaintext')
const pem = name => (env(name) ? readFileSync(env(name)) : undefined)
// TLS options of Node.js, or none.
const tls = security.endsWith('tls') ? { ca: pem('CA'), cert: pem('CERTIFICATE'), key: pem('KEY') } : undefined
const sasl = security.startsWith('sasl')
const token = () => readFileSync(env('TOKEN_FILE'), 'utf8').trim()
const text = bytes => bytes?.toString() ?? null

// Calls `stop` after so many seconds without `again`.
function idle(seconds, stop) {
  let timer = setTimeout(stop, seconds * 1000)
  return () => {
    clearTimeout(timer)
    timer = setTimeout(stop, seconds * 1000)
  }
}

module.exports = { env, say, done, value, key, tls, sasl, token, text, idle }
