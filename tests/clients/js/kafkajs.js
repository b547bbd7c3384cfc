// kafkajs behind the command line of `run`. It tells where a batch of a partition begins, so records are numbered
// by the partition that the partitioner chose for each. A header without a value is more than it can write.
const zlib = require('node:zlib')
const { Kafka, CompressionCodecs, CompressionTypes, Partitioners, logLevel } = require('kafkajs')
const lz4 = require('lz4-napi')
const { env, say, done, value, key, tls, sasl, token, text, idle } = require('./common.js')

const BATCH = 100

// The codecs that it leaves to its users.
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer),
  decompress: bytes => lz4.decompressFrame(bytes),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zlib.zstdCompressSync(encoder.buffer),
  decompress: async bytes => zlib.zstdDecompressSync(bytes),
})
const CODECS = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }

const code = error => error.type ?? (error.cause && code(error.cause)) ?? error.name

function kafka(seconds) {
  const mechanism = env('MECHANISM', 'PLAIN').toLowerCase()
  const login = mechanism === 'oauthbearer'
    ? { oauthBearerProvider: async () => ({ value: token() }) }
    : { username: env('USERNAME'), password: env('PASSWORD') }
  return new Kafka({
    clientId: 'kafkajs',
    brokers: env('BOOTSTRAP').split(','),
    ssl: tls,
    sasl: sasl ? { mechanism, ...login } : undefined,
    logLevel: logLevel.NOTHING,
    retry: { maxRetryTime: seconds * 1000 },
  })
}

async function produce() {
  const count = Number(env('COUNT', '1'))
  const partitions = new Map()
  const producer = kafka(Number(env('TIMEOUT_S', '30'))).producer({
    allowAutoTopicCreation: false,
    idempotent: Boolean(env('IDEMPOTENT') || env('TRANSACTION')),
    ...(env('TRANSACTION') && { transactionalId: env('TRANSACTION'), maxInFlightRequests: 1 }),
    createPartitioner: () => {
      const choose = Partitioners.DefaultPartitioner()
      return what => {
        const partition = choose(what)
        partitions.set(what.message, partition)
        return partition
      }
    },
  })
  let failed
  try {
    await producer.connect()
    const to = env('TRANSACTION') ? await producer.transaction() : producer
    for (let first = 0; first < count; first += BATCH) await send(to, partitions, first, Math.min(first + BATCH, count))
    if (env('ABORT')) await to.abort()
    else if (env('TRANSACTION')) await to.commit()
  } catch (error) {
    failed = code(error)
  }
  await producer.disconnect().catch(() => {})
  done(count, failed)
}

async function send(to, partitions, first, end) {
  const messages = []
  for (let n = first; n < end; n++) {
    messages.push({ key: key(n), value: value(n), headers: { trace: [`a-${n}`, `b-${n}`] } })
  }
  try {
    const acks = env('ACKS', 'all') === 'all' ? -1 : Number(env('ACKS'))
    const compression = CompressionTypes[CODECS[env('CODEC', 'none')]]
    const answers = (await to.send({ topic: env('TOPIC'), messages, acks, compression })) ?? []
    const next = new Map(answers.map(answer => [answer.partition, BigInt(answer.baseOffset ?? -1)]))
    messages.forEach((message, at) => {
      const partition = partitions.get(message)
      const offset = next.get(partition) ?? -1n
      next.set(partition, offset < 0n ? offset : offset + 1n)
      say({ n: first + at, partition, offset: Number(offset) })
    })
  } catch (error) {
    messages.forEach((_, at) => say({ n: first + at, error: code(error) }))
  }
}

async function consume() {
  const max = Number(env('MAX', 'Infinity'))
  const seconds = Number(env('TIMEOUT_S', '10'))
  const consumer = kafka(seconds).consumer({
    groupId: env('GROUP'),
    allowAutoTopicCreation: false,
    readUncommitted: env('ISOLATION', 'read_uncommitted') !== 'read_committed',
  })
  let count = 0
  let failed
  let stop
  const ended = new Promise(resolve => { stop = resolve })
  const again = idle(seconds, stop)
  consumer.on('consumer.crash', ({ payload }) => {
    if (payload.restart) return
    failed = code(payload.error)
    stop()
  })
  try {
    await consumer.connect()
    await consumer.subscribe({ topics: [env('TOPIC')], fromBeginning: Boolean(env('FROM_BEGINNING')) })
    await consumer.run({
      eachBatchAutoResolve: false,
      eachBatch: async ({ batch, resolveOffset, commitOffsetsIfNecessary, isRunning, isStale }) => {
        for (const message of batch.messages) {
          if (count >= max || !isRunning() || isStale()) break
          count++
          again()
          show(batch.partition, message)
          resolveOffset(message.offset)
        }
        await commitOffsetsIfNecessary()
        if (count >= max) stop()
      },
    })
    await ended
  } catch (error) {
    failed = code(error)
  }
  await consumer.disconnect().catch(() => {})
  done(count, failed)
  process.exit()
}

function show(partition, { offset, timestamp, key, value, headers }) {
  const pairs = Object.entries(headers).flatMap(([name, values]) => [values].flat().map(value => [name, text(value)]))
  const place = { partition, offset: Number(offset), timestamp: Number(timestamp) }
  say({ ...place, key: text(key), value: text(value), headers: pairs })
}

env('ACTION') === 'produce' ? produce() : consume()
