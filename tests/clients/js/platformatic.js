// @platformatic/kafka behind the command line of `run`. It tells where a batch of a partition begins, so records are
// numbered by the partition that the partitioner chose for each. One name with two headers works by keys that are
// buffers, each an object of its own in the map.
const { Consumer, Producer, defaultPartitioner } = require('@platformatic/kafka')
const { env, say, done, value, key, tls, sasl, token, text, idle } = require('./common.js')

const BATCH = 100

const bytes = text => (text === null ? null : Buffer.from(text))

// Kafka's name of an error, wherever it is in it.
function code(error) {
  for (const at of [error.apiId, ...[...(error.errors ?? []), error.cause].filter(Boolean).map(code)]) {
    if (at && !at.startsWith('PLT_KFK')) return at
  }
  return error.code ?? error.name
}

function settings() {
  const mechanism = env('MECHANISM', 'PLAIN')
  const login = mechanism === 'OAUTHBEARER' ? { token } : { username: env('USERNAME'), password: env('PASSWORD') }
  return {
    clientId: 'platformatic',
    bootstrapBrokers: env('BOOTSTRAP').split(','),
    ...(tls && { tls }),
    ...(sasl && { sasl: { mechanism, ...login } }),
  }
}

async function produce() {
  const count = Number(env('COUNT', '1'))
  const transactional = Boolean(env('TRANSACTION'))
  const chosen = new Map()
  let partitions
  const producer = new Producer({
    ...settings(),
    timeout: Number(env('TIMEOUT_S', '30')) * 1000,
    idempotent: Boolean(env('IDEMPOTENT')) || transactional,
    ...(transactional && { transactionalId: env('TRANSACTION') }),
    acks: env('ACKS', 'all') === 'all' ? -1 : Number(env('ACKS')),
    compression: env('CODEC', 'none'),
    partitioner: (message, key) => {
      const partition = defaultPartitioner(message, key) % partitions
      chosen.set(message, partition)
      return partition
    },
  })
  let failed
  try {
    const { topics } = await producer.metadata({ topics: [env('TOPIC')] })
    partitions = topics.get(env('TOPIC')).partitionsCount
    const to = transactional ? await producer.beginTransaction() : producer
    for (let first = 0; first < count; first += BATCH) await send(to, chosen, first, Math.min(first + BATCH, count))
    if (env('ABORT')) await to.abort()
    else if (transactional) await to.commit()
  } catch (error) {
    failed = code(error)
  }
  await producer.close().catch(() => {})
  done(count, failed)
}

async function send(to, chosen, first, end) {
  const messages = []
  for (let n = first; n < end; n++) {
    const headers = [['trace', `a-${n}`], ['trace', `b-${n}`], ['empty', null]]
    const pairs = headers.map(([name, value]) => [bytes(name), bytes(value)])
    messages.push({ topic: env('TOPIC'), key: bytes(key(n)), value: bytes(value(n)), headers: new Map(pairs) })
  }
  try {
    const { offsets = [] } = await to.send({ messages })
    const next = new Map(offsets.map(({ partition, offset }) => [partition, Number(offset)]))
    messages.forEach((message, at) => {
      const partition = chosen.get(message)
      const offset = next.get(partition) ?? -1
      next.set(partition, offset < 0 ? offset : offset + 1)
      say({ n: first + at, partition, offset })
    })
  } catch (error) {
    messages.forEach((_, at) => say({ n: first + at, error: code(error) }))
  }
}

async function consume() {
  const max = Number(env('MAX', 'Infinity'))
  const consumer = new Consumer({
    ...settings(),
    groupId: env('GROUP'),
    groupProtocol: env('PROTOCOL', 'classic'),
    ...(env('STATIC') && { groupInstanceId: env('STATIC') }),
  })
  let count = 0
  let failed
  try {
    const stream = await consumer.consume({
      topics: [env('TOPIC')],
      mode: 'committed',
      fallbackMode: env('FROM_BEGINNING') ? 'earliest' : 'latest',
      isolationLevel: env('ISOLATION') === 'read_committed' ? 1 : 0,
      autocommit: false,
      maxWaitTime: 500,
    })
    const again = idle(Number(env('TIMEOUT_S', '10')), () => stream.destroy())
    for await (const message of stream) {
      show(message)
      again()
      await message.commit()
      if (++count >= max) break
    }
  } catch (error) {
    if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE') failed = code(error)
  }
  await consumer.close(true).catch(() => {})
  done(count, failed)
  process.exit()
}

function show({ partition, offset, timestamp, key, value, headers }) {
  const pairs = [...headers].map(([name, value]) => [text(name), text(value)])
  const place = { partition, offset: Number(offset), timestamp: Number(timestamp) }
  say({ ...place, key: text(key), value: text(value), headers: pairs })
}

env('ACTION') === 'produce' ? produce() : consume()
