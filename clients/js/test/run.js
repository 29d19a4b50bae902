// What the tests of logd have this client do: see tests/clients.
//
//     run.js vectors [PART OF A NAME]   plays testdata/vectors
//     run.js roundtrip OPTIONS TOPIC    writes and reads in every way, and compares
//     run.js write OPTIONS TOPIC        writes numbered messages until standard input ends, prints "NUMBER ID"
//     run.js follow OPTIONS TOPIC       prints "ID BODY" of each message until standard input ends
//     run.js work OPTIONS TOPIC LIMIT   reads so many messages from where its position is, and prints them
//
// OPTIONS are those of a Client as JSON, by the names that they have in Python.

import assert from 'node:assert/strict'
import * as logd from '../index.js'
import { play } from './vectors.js'

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const all = async reader => {
  const messages = []
  for await (const m of reader) messages.push(m)
  return messages
}
const text = messages => messages.map(m => m.body.toString('latin1'))

async function roundtrip (client, topic) {
  await client.ping()
  const first = await client.append(topic, 'zero')
  assert.equal(String(first), '0.0')
  const two = await client.appendBatch(topic, ['one', Buffer.from([0, 255, 13, 10])])
  assert.deepEqual((await client.read(topic, 0)).messages.map(m => m.id), [first, ...two])
  const writer = new logd.Writer(client, topic, { batchAge: 1 })
  const receipts = []
  for (let i = 0; i < 2000; i++) receipts.push(await writer.write(`message ${i}`))
  receipts.push(await writer.write('x'.repeat(50000)))
  await assert.rejects(writer.write('x'.repeat(70000)), logd.TooLarge)
  await writer.flush()
  await writer.close()
  const ids = await Promise.all(receipts.map(r => r.id))
  const want = ['zero', 'one', '\0\xff\r\n', ...Array.from({ length: 2000 }, (_, i) => `message ${i}`), 'x'.repeat(50000)]
  const read = await all(new logd.Reader(client, topic))
  assert.deepEqual(text(read), want)
  assert.deepEqual(read.slice(3).map(m => m.id), ids)
  assert((await client.topics()).includes(topic))
  const { oldest, next, messages } = await client.info(topic)
  assert.deepEqual([oldest, next, messages], [0n, read.at(-1).next.offset, BigInt(want.length)])

  assert.deepEqual(text(await all(new logd.Reader(client, topic, { start: ids[7], limit: 1 }))), ['message 7'])
  assert.deepEqual(text(await all(new logd.Reader(client, topic, { after: ids[7], limit: 1 }))), ['message 8'])
  assert.deepEqual(text(await all(new logd.Reader(client, topic, { after: ids.at(-2) }))), ['x'.repeat(50000)])
  assert.equal((await all(new logd.Reader(client, topic, { limit: 5 }))).length, 5)
  const hour = 3600e3
  assert.equal(await client.seek(topic, new Date(Date.now() + hour)), next)
  assert.equal(await client.seek(topic, new Date(Date.now() - hour)), 0n)
  assert.equal((await all(new logd.Reader(client, topic, { start: new Date(Date.now() - hour) }))).length, want.length)

  const reader = new logd.Reader(client, topic, { start: 'end', follow: true })
  const following = reader.read()
  await sleep(200)
  const late = await client.append(topic, 'late')
  const got = await following
  reader.close()
  assert.deepEqual([got.id, String(got)], [late, 'late'])

  for (const offset of [1, 10n ** 12n]) await assert.rejects(client.read(topic, offset), logd.NoBatch)
  for (const call of [() => client.info('none'), () => client.tail('none'), () => new logd.Reader(client, 'none').read()]) {
    await assert.rejects(call, logd.NoTopic)
  }
}

async function write (client, topic, stop) {
  const writer = new logd.Writer(client, topic, { batchMessages: 5, batchAge: 1, patience: null })
  const receipts = []
  while (!stop.aborted) {
    receipts.push(await writer.write(String(receipts.length)))
    await sleep(0.5)
  }
  await writer.close()
  for (const [n, r] of receipts.entries()) console.log(`${n} ${await r.id ?? '-'}`)
  assert.equal(writer.inDoubt, 0, 'messages may be there twice')
}

async function follow (client, topic, stop) {
  const reader = new logd.Reader(client, topic, { follow: true, awaitTopic: true })
  stop.addEventListener('abort', () => reader.close())
  try {
    for await (const m of reader) process.stdout.write(`${m.id} ${m}\n`)
  } catch (error) {
    if (!(error instanceof logd.Closed)) throw error
  }
}

async function work (client, topic, limit) {
  const progress = await logd.Progress.open(client, topic, 'worker', { hold: 5000, worker: 'w-1', every: 100 })
  for await (const m of new logd.Reader(client, topic, { progress, limit: Number(limit) || undefined })) {
    console.log(`${m.id} ${m}`)
    progress.done(m)
  }
  await progress.close()
}

const [mode, options, ...args] = process.argv.slice(2)
if (mode === 'vectors') process.exit(await play(options))

const stop = new AbortController()
process.stdin.on('end', () => stop.abort()).resume()
const given = {}
for (const [name, value] of Object.entries(JSON.parse(options))) {
  const own = name.replace(/_ca$/, 'CA').replace(/_([a-z])/g, (_, c) => c.toUpperCase())
  given[own] = /^reconnect|Timeout$/.test(own) ? value * 1000 : value
}
const client = new logd.Client(given)
await { roundtrip, write, follow, work }[mode](client, args[0], mode === 'work' ? args[1] : stop.signal)
client.close()
process.stdin.destroy()
