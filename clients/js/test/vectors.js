// Plays testdata/vectors: a scripted server, and the client that does what the calls say.

import { readFileSync, readdirSync } from 'node:fs'
import net from 'node:net'
import zlib from 'node:zlib'
import * as logd from '../index.js'

const PATIENCE = 10000
const FOLDER = new URL('../../../testdata/vectors/', import.meta.url)

class Failure extends Error {}

/** Parse JSON whose whole numbers are not rounded. */
function parse (text) {
  return JSON.parse(text.replace(/("(?:[^"\\]|\\.)*")|(-?[0-9]{16,})/g, (_, string, n) => string ?? `{"number":"${n}"}`),
    (_, v) => v?.number !== undefined ? BigInt(v.number) : v)
}

function * vectors () {
  for (const file of readdirSync(FOLDER).filter(f => f.endsWith('.json')).sort()) {
    for (const vector of parse(readFileSync(new URL(file, FOLDER), 'utf8'))) yield [`${file.slice(0, -5)}/${vector.name}`, vector]
  }
}

function raw (v) {
  if (typeof v === 'string') return Buffer.from(v)
  if (v.base64 !== undefined) return Buffer.from(v.base64, 'base64')
  return Buffer.from(v.repeat.repeat(v.times))
}

// The CRC is not the client's own.
function crc32 (data) {
  if (zlib.crc32) return zlib.crc32(data)
  const trailer = zlib.gzipSync(data).subarray(-8)
  return trailer.readUInt32LE(0)
}

function batch (b) {
  const data = Buffer.concat(b.messages.map(raw).map(m => Buffer.concat([Buffer.from(`MSG ${m.length}\r\n`), m, Buffer.from('\r\n')])))
  const number = b.pid ? ` pid=${b.pid} seq=${b.seq}` : ''
  return Buffer.concat([Buffer.from(`BATCH ${data.length} ${b.topic} ${crc32(data)} ${b.messages.length}${number}\r\n`), data])
}

function mok (lines) {
  const body = lines.map(line => `${line}\r\n`).join('')
  return Buffer.from(`MOK ${Buffer.byteLength(body)}\r\n${body}\r\n`)
}

function info (i) {
  const lines = [`Oldest: ${i.oldest}`, `Next: ${i.next}`, 'Partitions: 1', `Bytes: ${BigInt(i.next) - BigInt(i.oldest)}`, 'Messages: 1', 'Batches: 1']
  if (i.id) lines.push(`Id: ${i.id}`)
  if (i.damaged) lines.push(`DamagedAt: ${i.damaged}`)
  return mok(lines)
}

/** A queue whose reader waits. */
class Queue {
  items = []
  #readers = []

  push (item) {
    const reader = this.#readers.shift()
    reader ? reader(item) : this.items.push(item)
  }

  shift () {
    if (this.items.length) return this.items.shift()
    return patiently(new Promise(resolve => this.#readers.push(resolve)))
  }
}

function patiently (promise) {
  let timer
  const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Failure(`nothing came in ${PATIENCE} ms`)), PATIENCE) })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** The server's side of a connection. It answers requests with a standing answer by itself. */
class Peer {
  requests = new Queue()
  #in = Buffer.alloc(0)

  constructor (socket, play) {
    this.socket = socket
    socket.setNoDelay(true)
    this.over = new Promise(resolve => socket.on('close', resolve).on('end', resolve))
    this.over.then(() => this.requests.push(null))
    socket.on('error', () => {})
    socket.on('data', data => {
      this.#in = Buffer.concat([this.#in, data])
      for (;;) {
        const end = this.#in.indexOf('\r\n')
        if (end < 0) return
        const line = this.#in.toString('utf8', 0, end)
        const size = Number(/^BATCH (\d+) /.exec(line)?.[1] ?? 0)
        if (this.#in.length < end + 2 + size) return
        const body = this.#in.subarray(end + 2, end + 2 + size)
        this.#in = this.#in.subarray(end + 2 + size)
        const standing = play.answers.get(line.replace(/ fresh=1$/, '').replace(/^HELLO .*/, 'HELLO'))
        if (standing) socket.write(standing)
        else this.requests.push([line, body])
      }
    })
  }
}

class Server {
  peers = new Queue()
  all = []
  last = null
  port = 0
  #listener = null

  constructor (play) { this.play = play }

  async listen () {
    if (this.#listener) return
    this.#listener = net.createServer({ allowHalfOpen: true }, socket => {
      const peer = new Peer(socket, this.play)
      this.all.push(peer)
      this.peers.push(peer)
    })
    await new Promise((resolve, reject) => this.#listener.once('error', reject).listen(this.port, '127.0.0.1', resolve))
    this.port = this.#listener.address().port
  }

  async gone () {
    this.#listener?.close()
    this.#listener = null
  }
}

const KINDS = ['call', 'result', 'accept', 'expect', 'send', 'close']
const AHEAD = /^(READ|TAIL|INFO) /

class Play {
  servers = new Map()
  answers = new Map()
  #calls = new Map()
  #objects = new Map()
  #turns = new Map() // of objects: their calls come one after another
  #last = ''

  constructor (vector) { Object.assign(this, { config: {}, ...vector }) }

  async run () {
    const { config } = this
    const names = config.servers ?? ['a']
    for (const name of [...names, ...(config.others ?? [])]) {
      this.servers.set(name, new Server(this))
      await this.servers.get(name).listen()
    }
    this.current = this.servers.get(names[0])
    const lines = ['Host: h:1', 'Timeout: 15s', 'IdleTimeout: 30s', `MaxBatchSize: ${config.max_batch_size ?? 65536}`, `Producers: ${config.producers ?? 262144}`]
    if (config.topic_limits) lines.push('TopicLimits: true')
    if (config.cluster) lines.push('Node: n', `Cluster: ${config.cluster}`, 'ElectionTimeout: 1s')
    this.answers.set('CONFIG', mok(lines)).set('CLUSTER', Buffer.from('ERR invalid request\r\n')).set('HELLO', Buffer.from('ERR invalid request\r\n'))
    for (const [line, pieces] of Object.entries(config.answers ?? {})) this.answers.set(line, this.#bytes(pieces))
    const { attempts = 2, token = '', read_timeout_ms: readTimeout = 15000 } = config.client ?? {}
    this.client = new logd.Client({ addrs: names.map(n => this.#addr(n)), attempts, token, readTimeout, reconnectMin: 1, reconnectMax: 10 })
    for (const [i, step] of this.steps.entries()) {
      try {
        await this[KINDS.find(kind => kind in step)](step)
      } catch (error) {
        throw new Failure(`step ${i + 1}, ${JSON.stringify(step, (_, v) => typeof v === 'bigint' ? Number(v) : v)}: ${error instanceof Failure ? error.message : error.stack}`)
      }
    }
    for (const server of this.servers.values()) {
      for (const peer of server.all) {
        const left = peer.requests.items.find(r => r && !AHEAD.test(r[0]))
        if (left) throw new Failure(`nobody expected ${left[0]}`)
      }
    }
  }

  async end () {
    for (const o of this.#objects.values()) o.close({ timeout: 0 })?.catch(() => {})
    this.client?.close()
    for (const server of this.servers.values()) {
      server.gone()
      for (const peer of server.all) peer.socket.destroy()
    }
  }

  #addr (name) { return `127.0.0.1:${this.servers.get(name).port}` }

  #text (text) {
    for (const name of this.servers.keys()) text = text.replaceAll(`{${name}}`, this.#addr(name))
    return text
  }

  #bytes (pieces) {
    if (Array.isArray(pieces)) return Buffer.concat(pieces.map(p => this.#bytes(p)))
    if (typeof pieces === 'string') return Buffer.from(this.#text(pieces))
    if (pieces.batch) return batch(pieces.batch)
    if (pieces.lines) return mok(pieces.lines.map(line => this.#text(line)))
    if (pieces.info) return info(pieces.info)
    return raw(pieces)
  }

  // The server's steps.

  #peer ({ on }) {
    const { last } = on ? this.servers.get(on) : this.current
    if (!last) throw new Failure('there is no connection')
    return last
  }

  async accept (step) {
    this.current = this.servers.get(step.accept)
    await this.current.listen()
    this.current.last = await this.current.peers.shift()
  }

  async expect (step) {
    const request = await this.#peer(step).requests.shift()
    if (!request) throw new Failure('the client has closed the connection')
    let want = step.expect
    let data = raw(step.data ?? '')
    if (want.batch) {
      const all = batch(want.batch)
      const end = all.indexOf('\r\n')
      want = all.toString('utf8', 0, end)
      data = all.subarray(end + 2)
    }
    want = this.#text(want)
    const [line, got] = request
    if (line !== want && !(want.endsWith(' *') && `${line} `.startsWith(want.slice(0, -1)))) throw new Failure(`the client sent ${JSON.stringify(line)}`)
    if (!got.equals(data)) throw new Failure(`the client sent the data ${JSON.stringify(got.toString())}`)
  }

  async send (step) {
    const { socket } = this.#peer(step)
    const data = this.#bytes(step.send)
    if (!step.split) return socket.write(data)
    for (const byte of data) {
      socket.write(Buffer.of(byte))
      await new Promise(resolve => setTimeout(resolve, 1)) // or they arrive together
    }
  }

  async close (step) {
    const server = this.servers.get(step.close)
    if (step.how === 'gone') server.gone()
    const { last } = server
    if (!last) return
    server.last = null
    last.socket.end()
    await patiently(last.over) // so that the client knows
    last.socket.destroy()
  }

  // The client's.

  async call (step) {
    const name = step.as ?? step.call
    const owner = step.on ?? (/^(writer|reader)$/.test(step.call) ? name : '')
    const turn = owner ? this.#turns.get(owner) ?? Promise.resolve() : Promise.resolve()
    const done = turn.then(async () => {
      try {
        return await this.#do(step)
      } catch (error) {
        return error
      }
    })
    if (owner) this.#turns.set(owner, done)
    this.#calls.set(name, done)
    this.#last = name
  }

  async result (step) {
    let got = await patiently(this.#calls.get(step.of ?? this.#last))
    if (got?.receipts) got = await patiently(Promise.all(got.receipts.map(r => r.id.catch(error => error))))
    const told = this.#told(got)
    if (!this.#matches(told, step.result)) throw new Failure(`the client says ${JSON.stringify(told, (_, v) => typeof v === 'bigint' ? `${v}n` : v)}`)
  }

  #told (v) {
    if (v === undefined || v === null) return null
    if (v instanceof logd.LogdError) {
      return { error: v.code, unknown: v.unknown, text: v.message, addr: v.addr, next: v.next, version: v.version, left_ms: v.leftMs, begin: v.begin, end: v.end, cause: v.cause }
    }
    if (v instanceof Error) throw v
    if (v instanceof logd.ID) return String(v)
    if (v instanceof logd.Message) return [String(v.id), v.body.toString('latin1')]
    if (Array.isArray(v)) return v.map(x => this.#told(x))
    if (v.messages && v.next !== undefined && Array.isArray(v.messages)) return { ...v, messages: this.#told(v.messages) }
    return v
  }

  #matches (got, want) {
    if (Array.isArray(want)) return Array.isArray(got) && got.length === want.length && want.every((w, i) => this.#matches(got[i], w))
    if (want !== null && typeof want === 'object') {
      if (want.base64 !== undefined || want.repeat !== undefined) return got === raw(want).toString('latin1')
      if (got === null || typeof got !== 'object' || ('error' in want && Boolean(got.unknown) !== Boolean(want.unknown))) return false
      return Object.entries(want).every(([key, w]) => this.#matches(key === 'at' ? String(got[key]) : got[key], w))
    }
    if (typeof want === 'string') return got === this.#text(want) || got === Buffer.from(this.#text(want)).toString('latin1')
    if (typeof want === 'number' || typeof want === 'bigint') return (typeof got === 'bigint' || typeof got === 'number') && BigInt(got) === BigInt(want)
    return got === want
  }

  async #do (step) {
    const { call, topic, on, consumer } = step
    const { client } = this
    const object = this.#objects.get(on)
    switch (call) {
      case 'ping': return client.ping()
      case 'topics': return client.topics()
      case 'info': return client.info(topic)
      case 'append': return client.appendBatch(topic, step.messages.map(raw))
      case 'read': return client.read(topic, step.offset, { wait: step.wait_ms ?? 0 })
      case 'tail': return client.tail(topic)
      case 'seek': return client.seek(topic, new Date(step.time_ms))
      case 'writer': {
        const pids = [...(step.pids ?? ['p1', 'p2', 'p3']), 'none-left']
        const newPID = () => pids.length > 1 ? pids.shift() : pids[0]
        this.#objects.set(step.as, new logd.Writer(client, topic, { batchMessages: step.batch_messages, batchAge: step.batch_age_ms, inFlight: step.in_flight, newPID }))
        return null
      }
      case 'write': {
        const receipts = []
        for (const m of step.messages) receipts.push(await object.write(raw(m)))
        return { receipts }
      }
      case 'flush': return object.flush()
      case 'close': return object.close()
      case 'in_doubt': return object.inDoubt
      case 'reader': {
        let { start = 'start', after = null, follow, limit, gaps } = step
        if (typeof start === 'object') start = new Date(start.time_ms)
        else if (!/^(start|end)$/.test(start)) start = logd.ID.parse(start)
        if (after) after = logd.ID.parse(after)
        this.#objects.set(step.as, new logd.Reader(client, topic, { start, after, follow, limit, gaps }))
        return null
      }
      case 'next': {
        const got = await object.read()
        if (got === null) return { end: true }
        return got instanceof logd.Gap ? { gap: { begin: got.begin, end: got.end, cause: got.cause } } : got
      }
      case 'position': return client.position(topic, consumer)
      case 'positions': {
        const list = []
        for await (const p of client.positions(topic)) list.push([p.topic, p.consumer, String(p.at), p.version])
        return list
      }
      case 'set_position': {
        const { version, id, worker, force, hold_ms: hold } = step
        return client.setPosition(topic, consumer, logd.ID.parse(step.at), { version, id, worker, force, hold })
      }
      case 'hold_position': return client.holdPosition(topic, consumer, step.worker, step.hold_ms)
      case 'forget_position': return client.forgetPosition(topic, consumer, { version: step.version })
    }
    throw new Failure(`this client has no call ${call}`)
  }
}

/** Play the vectors whose names have the text in them, and return how many failed. */
export async function play (only = '') {
  let [played, failed] = [0, 0]
  for (const [name, vector] of vectors()) {
    if (!name.includes(only)) continue
    played++
    const p = new Play(vector)
    try {
      await p.run()
    } catch (error) {
      failed++
      console.log(`FAIL ${name}\n     ${error instanceof Failure ? error.message : error.stack}`)
    } finally {
      await p.end()
    }
  }
  console.log(`${played} vectors, ${failed} failed`)
  return failed || !played ? 1 : 0
}
