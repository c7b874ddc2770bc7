// kafkajs as a client program; `../records.py` describes the lines it reads and writes.
//
// kafkajs has gzip built in and takes the other codecs from packages. Its consumer knows groups only: reading by
// explicit assignment goes through the broker requests that its consumer is made of.

'use strict'

const readline = require('readline')
const { Kafka, CompressionCodecs, CompressionTypes, logLevel } = require('kafkajs')
const Cluster = require('kafkajs/src/cluster')
const createSocketFactory = require('kafkajs/src/network/socketFactory')
const { createLogger } = require('kafkajs/src/loggers')
const loggerConsole = require('kafkajs/src/loggers/console')
const snappy = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const { ZstdCodec } = require('zstd-codec')

const MILLISECONDS_MAX = 30000
const RECORDS_PER_SEND = 50

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

const zstd = new Promise(resolve => ZstdCodec.run(codec => resolve(new codec.Streaming())))

CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: ({ buffer }) => lz4.compressFrame(buffer),
  decompress: buffer => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async ({ buffer }) => Buffer.from((await zstd).compress(buffer)),
  decompress: async buffer => Buffer.from((await zstd).decompress(buffer)),
})

const encode = bytes => (bytes === null || bytes === undefined ? '-' : 'x' + Buffer.from(bytes).toString('hex'))
const decode = word => (word === '-' ? null : Buffer.from(word.slice(1), 'hex'))

/** kafkajs takes headers as an object, in which values of the same name stand in an array. */
function decodeHeaders(word) {
  const headers = {}
  if (word === '-') return headers
  for (const pair of word.split(',')) {
    const [name, value] = pair.split(':')
    headers[name] = name in headers ? [].concat(headers[name], decode(value)) : decode(value)
  }
  return headers
}

function encodeHeaders(headers) {
  const pairs = Object.entries(headers).flatMap(([name, values]) =>
    [].concat(values).map(value => `${name}:${encode(value)}`)
  )
  return pairs.join(',') || '-'
}

function connectTo(bootstrap) {
  return new Kafka({
    brokers: bootstrap.split(','),
    logLevel: logLevel.WARN,
    requestTimeout: MILLISECONDS_MAX,
  })
}

async function create(bootstrap, replicationFactor, partitions, ...topics) {
  const admin = connectTo(bootstrap).admin()
  await admin.connect()
  try {
    await admin.createTopics({
      timeout: MILLISECONDS_MAX,
      topics: topics.map(topic => ({
        topic,
        numPartitions: Number(partitions),
        replicationFactor: Number(replicationFactor),
        // The records carry old timestamps: retention by time would delete them.
        configEntries: [{ name: 'retention.ms', value: '-1' }],
      })),
    })
  } finally {
    await admin.disconnect()
  }
}

async function produce(bootstrap, topic, codec) {
  const messages = []
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [partition, timestamp, key, value, headers] = line.split(' ')
    messages.push({
      partition: Number(partition),
      timestamp,
      key: decode(key),
      value: decode(value),
      headers: decodeHeaders(headers),
    })
  }
  const producer = connectTo(bootstrap).producer({
    idempotent: true,
    maxInFlightRequests: 1,
    // Every record names its partition.
    createPartitioner: () => ({ message }) => message.partition,
  })
  await producer.connect()
  try {
    for (let start = 0; start < messages.length; start += RECORDS_PER_SEND) {
      const part = messages.slice(start, start + RECORDS_PER_SEND)
      const answers = await producer.send({
        topic,
        acks: -1,
        timeout: MILLISECONDS_MAX,
        compression: CODECS[codec],
        messages: part,
      })
      const next = new Map(answers.map(answer => [answer.partition, Number(answer.baseOffset)]))
      part.forEach(({ partition }, index) => {
        console.log(`${start + index} ${next.get(partition)}`)
        next.set(partition, next.get(partition) + 1)
      })
    }
  } finally {
    await producer.disconnect()
  }
}

async function consume(bootstrap, ...topics) {
  const cluster = new Cluster({
    logger: createLogger({ level: logLevel.WARN, logCreator: loggerConsole }),
    socketFactory: createSocketFactory(),
    brokers: bootstrap.split(','),
    clientId: 'check',
    connectionTimeout: 5000,
    requestTimeout: MILLISECONDS_MAX,
    enforceRequestTimeout: true,
    metadataMaxAge: 300000,
    allowAutoTopicCreation: false,
    isolationLevel: 0,
    retry: {},
  })
  await cluster.connect()
  try {
    for (const topic of topics) {
      try {
        await consumeTopic(cluster, topic)
      } catch (error) {
        // One topic that cannot be read must not hide the others.
        console.log(`${topic} error ${String(error).replace(/\s+/g, ' ')}`)
      }
    }
  } finally {
    await cluster.disconnect()
  }
}

async function consumeTopic(cluster, topic) {
  await cluster.addTargetTopic(topic)
  const partitions = cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => partitionId)
  const [ends] = await cluster.fetchTopicsOffset([
    { topic, partitions: partitions.map(partition => ({ partition })), fromBeginning: false },
  ])
  for (const { partition, offset } of ends.partitions) {
    await consumePartition(cluster, topic, partition, Number(offset))
  }
}

async function consumePartition(cluster, topic, partition, end) {
  const deadline = Date.now() + MILLISECONDS_MAX
  for (let position = 0; position < end; ) {
    if (Date.now() > deadline) throw new Error(`partition ${partition} stands at ${position} of ${end}`)
    const leaders = cluster.findLeaderForPartitions(topic, [partition])
    const broker = await cluster.findBroker({ nodeId: Object.keys(leaders)[0] })
    const { responses } = await broker.fetch({
      maxWaitTime: 1000,
      minBytes: 1,
      maxBytes: 10485760,
      topics: [{ topic, partitions: [{ partition, fetchOffset: String(position), maxBytes: 1048576 }] }],
    })
    const { messages } = responses[0].partitions[0]
    for (const { offset, timestamp, key, value, headers } of messages) {
      // A fetch answers with whole batches, which may begin before the offset asked for.
      if (Number(offset) < position) continue
      console.log(
        `${topic} ${partition} ${offset} ${timestamp} ${encode(key)} ${encode(value)} ${encodeHeaders(headers)}`
      )
      position = Number(offset) + 1
    }
  }
}

const [verb, ...rest] = process.argv.slice(2)
const verbs = { create, produce, consume }
verbs[verb](...rest).then(
  // Exiting at once would lose what a pipe has not taken yet.
  () => process.stdout.write('', () => process.exit(0)),
  error => {
    console.error(error)
    process.exit(1)
  }
)
