// What the tests of logd have this client do: see tests/clients.
//
//     run.js vectors [PART OF A NAME]   plays testdata/vectors
//     run.js roundtrip OPTIONS TOPIC    writes and reads in every way, and compares
//     run.js write OPTIONS TOPIC [LENGTH]
//                                       writes numbered messages until standard input ends, prints "NUMBER ID"; with
//                                       LENGTH they are filled up to that, and batches are as large as they may be
//     run.js follow OPTIONS TOPIC       prints "ID BODY" of each message until standard input ends
//     run.js positions OPTIONS TOPIC    has positions set, held, moved and forgotten
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

async function write (client, topic, stop, length = 0) {
  const batches = length ? {} : { batchMessages: 5, batchAge: 1 }
  const writer = new logd.Writer(client, topic, { patience: null, ...batches })
  const receipts = []
  while (!stop.aborted) {
    receipts.push(await writer.write(String(receipts.length).padEnd(length)))
    if (!length) await sleep(0.5)
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

async function positions (client, topic) {
  const { Held, Moved, Progress, Reader } = logd
  const ids = await client.appendBatch(topic, Array.from({ length: 10 }, (_, i) => String(i)))
  assert.equal(await client.position(topic, 'c'), null)
  let progress = await Progress.open(client, topic, 'c')
  for await (const m of new Reader(client, topic, { progress, limit: 4 })) progress.done(m)
  await progress.close()
  const { at, state, holder } = await client.position(topic, 'c')
  assert.deepEqual([at, state, holder], [ids[4], 'ok', null])

  progress = await Progress.open(client, topic, 'c', { every: 60000 })
  const messages = await all(new Reader(client, topic, { progress }))
  assert.equal(String(messages[0]), '4')
  progress.done(messages[1])
  assert.deepEqual(progress.at, ids[4])
  progress.done(messages[0])
  assert.deepEqual(progress.at, ids[6])
  await client.setPosition(topic, 'c', ids[1]) // an operator
  for (const call of [() => progress.save(), async () => progress.done(messages[2])]) {
    await assert.rejects(call, error => error instanceof Moved && error.position.at.equals(ids[1]))
  }
  await progress.close()
  assert.deepEqual((await client.position(topic, 'c')).at, ids[1])

  const first = await Progress.open(client, topic, 'held', { hold: 2000, worker: 'w-1' })
  assert.equal((await client.position(topic, 'held')).holder, 'w-1')
  for (const call of [() => Progress.open(client, topic, 'held', { hold: 2000, worker: 'w-2' }), () => client.setPosition(topic, 'held', ids[2])]) {
    await assert.rejects(call, error => error instanceof Held && error.leftMs > 0 && error.leftMs <= 2000)
  }
  await sleep(2500) // it is held on
  assert.equal((await client.position(topic, 'held')).holder, 'w-1')
  setTimeout(() => first.close(), 300)
  const second = await Progress.open(client, topic, 'held', { hold: 2000, worker: 'w-2', standby: true })
  assert.equal((await client.position(topic, 'held')).holder, 'w-2')
  await second.close()

  const shares = []
  for (const i of [0, 1]) shares.push(await logd.firstFree(client, topic, 's', 2, { hold: 2000, worker: `w-${i}` }))
  assert.deepEqual(shares.map(s => s.number), [0, 1])
  for (const s of shares) await s.progress.close()
  assert.equal(logd.share('a', 1000), Number(0xaf63dc4c8601ec8cn % 1000n))
  await client.forgetPosition(topic, 'held')
  assert.deepEqual((await all(client.positions(topic))).map(p => p.consumer), ['c', 's.0', 's.1'])
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
await { roundtrip, write, follow, positions, work }[mode](client, args[0], mode === 'work' ? args[1] : stop.signal, Number(args[1] ?? 0))
client.close()
process.stdin.destroy()
