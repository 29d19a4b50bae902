// The bytes of the protocol: batches, and answers as they come. No sockets here.
//
// An answer is parsed by a generator, which asks for more bytes by yielding: so it does not
// matter how the bytes are cut on their way.

import zlib from 'node:zlib'
import { BadAnswer, Corrupt, InvalidRequest, LogdError, fromReason } from './errors.js'

export const MAX_LINE = 1024
export const MAX_NUMBER = 2n ** 63n - 1n
export const DEFAULT_MAX_BATCH = 65536

const NUMBER = '(0|[1-9][0-9]{0,18})'
const TOPIC = '[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}'
const ENVELOPE = new RegExp(`^BATCH ${NUMBER} (${TOPIC}) ${NUMBER} ${NUMBER}(?: codec=([a-z0-9]{1,16}))?(?: pid=[A-Za-z0-9._-]{1,32} seq=${NUMBER})?$`)
const IS_TOPIC = new RegExp(`^${TOPIC}$`)
const OFFSET_REPLY = new RegExp(`^OK ${NUMBER} ${NUMBER}$`)
const BODY_REPLY = new RegExp(`^MOK ${NUMBER}$`)
const IS_ID = new RegExp(`^${NUMBER}(?:\\.${NUMBER})?$`)

/** The name of a message, for ever: the offset of its batch and where in that it begins. */
export class ID {
  constructor (offset, delta = 0) {
    this.offset = BigInt(offset)
    this.delta = Number(delta)
    Object.freeze(this)
  }

  /** Return the ID of a text OFFSET.DELTA. */
  static parse (text) {
    const match = IS_ID.exec(text)
    if (!match) throw new TypeError(`${JSON.stringify(text)} is not OFFSET.DELTA`)
    return new ID(match[1], match[2] ?? 0)
  }

  toString () { return `${this.offset}.${this.delta}` }
  toJSON () { return this.toString() }
  equals (other) { return other instanceof ID && other.offset === this.offset && other.delta === this.delta }
}

/** A message as it was read. `next` is the ID that follows it: where to go on. */
export class Message {
  constructor (id, body, next) { Object.assign(this, { id, body, next }) }

  /** The body as text. */
  toString () { return this.body.toString() }
}

export function checkTopic (topic) {
  if (!IS_TOPIC.test(topic)) {
    throw new InvalidRequest(`${JSON.stringify(topic)} is no name of a topic: 1 to 255 of A-Z a-z 0-9 . _ -, not starting with a dot`)
  }
}

export const toBytes = body => typeof body === 'string' ? Buffer.from(body) : Buffer.from(body.buffer, body.byteOffset, body.byteLength)

/** Return the length of one message in a batch. */
export const frameLength = body => body.length + String(body.length).length + 8

/** Return the data of a batch of these messages, and where each begins. */
export function frame (bodies) {
  const parts = []
  const deltas = []
  let at = 0
  for (const body of bodies) {
    parts.push(Buffer.from(`MSG ${body.length}\r\n`), body, CRLF)
    deltas.push(at)
    at += frameLength(body)
  }
  return { data: Buffer.concat(parts), deltas }
}

const CRLF = Buffer.from('\r\n')

const TABLE = new Int32Array(256).map((_, n) => {
  for (let i = 0; i < 8; i++) n = n & 1 ? n >>> 1 ^ 0xedb88320 : n >>> 1
  return n
})

/** The CRC-32 (IEEE) of the data. */
export const crc32 = zlib.crc32 ?? (data => { // Node 18 has none
  let crc = -1
  for (let i = 0; i < data.length; i++) crc = crc >>> 8 ^ TABLE[(crc ^ data[i]) & 255]
  return ~crc >>> 0
})

/** Return the batch of this data: what is sent, and what is stored. */
export function batch (topic, data, messages, pid = '', seq = 0n) {
  const number = pid ? ` pid=${pid} seq=${seq}` : ''
  return Buffer.concat([Buffer.from(`BATCH ${data.length} ${topic} ${crc32(data)} ${messages}${number}\r\n`), data])
}

function number (digits) {
  const n = BigInt(digits)
  if (n > MAX_NUMBER) throw new BadAnswer(`${n} is no number of the protocol`)
  return n
}

function envelope (line) {
  const match = ENVELOPE.exec(line)
  if (!match) throw new BadAnswer(`${JSON.stringify(line.slice(0, 80))} is no envelope of a batch`)
  return { size: Number(number(match[1])), topic: match[2], crc: Number(number(match[3])), messages: Number(number(match[4])), codec: match[5] }
}

/** Return the length of the body of the message that begins at `at`, and where its body does;
 * null if none begins there, undefined if that can't be told yet. */
function header (data, at, end) {
  const known = Math.min(end, at + 25)
  const text = data.latin1Slice(at, known)
  const match = /^MSG (0|[1-9][0-9]{0,18})\r\n/.exec(text)
  if (match) return { length: Number(match[1]), begin: at + match[0].length }
  return known < at + 25 && /^(M(S(G( [0-9]{0,19}\r?)?)?)?)?$/.test(text) ? undefined : null
}

/** Return where each message of the data begins, and its body. */
function split (data, messages) {
  const found = []
  for (let at = 0; at < data.length;) {
    const h = header(data, at, data.length)
    const end = h ? h.begin + h.length : 0
    if (!h || data[end] !== 13 || data[end + 1] !== 10) throw new Corrupt(`no message begins at ${at} of a batch`)
    found.push({ delta: at, body: data.subarray(h.begin, end) })
    at = end + 2
  }
  if (found.length !== messages) throw new Corrupt(`a batch of ${messages} messages has ${found.length}`)
  return found
}

/** Report whether what has come of a batch may be the beginning of its data: if its size is
 * what is damaged, the rest never comes. */
function framed (data, start, here, head) {
  const end = start + head.size
  let left = head.messages
  for (let at = start; at < here;) {
    const h = header(data, at, here)
    if (!h) return h === undefined
    at = h.begin + h.length + 2
    left--
    if (at > end || left < 0 || (left === 0) !== (at === end)) return false
  }
  return true
}

/** An answer whose end can't be found: what came before that is its reply. */
export class Lost extends LogdError {
  constructor (reply) {
    super(reply.damage.message)
    this.reply = reply
  }
}

/** Answers, out of the bytes that are fed to it. */
export class Parser {
  #max
  #in = Buffer.alloc(1 << 16)
  #at = 0 // what is before that is used up
  #end = 0
  #run = null
  /** Of an answer of batches that is not whole: where the next one begins, and what came before. */
  torn = null

  constructor (maxReply) { this.#max = maxReply }

  feed (data) {
    if (this.#end + data.length > this.#in.length) {
      const bigger = Buffer.alloc(Math.max(2 * this.#in.length, this.#end + data.length))
      this.#in.copy(bigger, 0, 0, this.#end)
      this.#in = bigger
    }
    data.copy(this.#in, this.#end)
    this.#end += data.length
  }

  /** There are bytes that no answer has used. */
  get pending () { return this.#run !== null || this.#end > this.#at }

  /** Return the next answer, undefined if it has not come whole. Throws the error that it is:
   * of the server, or BadAnswer, behind which nothing can be read. */
  next (expect) {
    this.#run ??= this.#reply(expect)
    try {
      const { done, value } = this.#run.next()
      if (done) this.#reset()
      return value
    } catch (error) {
      this.#reset()
      throw error
    }
  }

  #reset () {
    this.#run = this.torn = null
    this.#in.copy(this.#in, 0, this.#at, this.#end)
    this.#end -= this.#at
    this.#at = 0
    if (this.#in.length > 1 << 22 && this.#end < 1 << 16) this.#in = Buffer.from(this.#in.subarray(0, 1 << 16))
  }

  * #line () {
    let end
    for (let from = this.#at; ;) {
      end = this.#in.indexOf(10, from)
      if (end >= 0 && end < this.#end) break
      from = this.#end
      if (this.#end - this.#at >= MAX_LINE + 2) break
      yield
    }
    if (end < 0 || end >= this.#end || end - this.#at > MAX_LINE + 1) throw new BadAnswer(`a line of over ${MAX_LINE} bytes`)
    const line = this.#in.toString('utf8', this.#at, end)
    this.#at = end + 1
    if (!line.endsWith('\r')) throw new BadAnswer(`${JSON.stringify(line.slice(0, 80))} does not end with CRLF`)
    return line.slice(0, -1)
  }

  * #reply (expect) {
    const line = yield * this.#line()
    if (/^ERR ./.test(line)) throw fromReason(line.slice(4))
    const quoted = JSON.stringify(line.slice(0, 80))
    if (!expect) throw new BadAnswer(`${quoted} answers no request`)
    const offset = OFFSET_REPLY.exec(line)
    const body = BODY_REPLY.exec(line)
    if (expect.form === 'ok' && line === 'OK') return {}
    if (offset && ((expect.form === 'append' && offset[2] === '1') || (expect.form === 'offset' && offset[2] === '0'))) {
      return { offset: number(offset[1]) }
    }
    if (body && expect.form === 'body') return yield * this.#body(Number(number(body[1])))
    if (offset && expect.form === 'batches') return yield * this.#batches(expect, number(offset[1]), Number(number(offset[2])))
    throw new BadAnswer(`${quoted} is no answer to this request`)
  }

  * #body (size) {
    if (size > this.#max) throw new BadAnswer(`a body of ${size} bytes, of at most ${this.#max}`)
    while (this.#end - this.#at < size + 2) yield
    const body = this.#in.toString('utf8', this.#at, this.#at + size)
    this.#at += size + 2
    if (this.#in[this.#at - 2] !== 13 || this.#in[this.#at - 1] !== 10) throw new BadAnswer('something else than a line end follows a body')
    return { body }
  }

  * #batches (expect, offset, count) {
    if (expect.offset >= 0n && offset !== expect.offset) throw new BadAnswer(`batches from offset ${offset}, asked for ${expect.offset}`)
    if (count > expect.messages) throw new BadAnswer(`${count} batches, asked for ${expect.messages} messages`)
    const messages = []
    let [next, at, damage] = [offset, offset, null] // at: the batch that is read; next: behind the last good one
    for (let i = 0; i < count; i++) {
      if (!damage) this.torn = { at, reply: { offset, next, messages, damage } }
      let got
      try {
        got = yield * this.#batch(expect.topic, at, this.#max - Number(at - offset))
      } catch (error) { // where the next batch or answer begins can't be told
        damage ??= error instanceof Corrupt ? error : new Corrupt(`at offset ${at}: ${error.message}`, at)
        throw new Lost({ offset, next, messages, damage })
      }
      at += BigInt(got.length)
      if (!damage && !got.damage) {
        for (const m of got.messages) messages.push(m)
        next = at
      }
      damage ??= got.damage
    }
    return { offset, next, messages, damage }
  }

  * #batch (topic, offset, most) {
    const start = 'BATCH '
    for (;;) {
      const here = this.#in.latin1Slice(this.#at, Math.min(this.#end, this.#at + start.length))
      if (here === start) break
      if (!start.startsWith(here)) throw new BadAnswer(`${JSON.stringify(here)} begins no batch`)
      yield
    }
    const line = yield * this.#line()
    const head = envelope(line)
    const length = line.length + 2 + head.size
    if (head.topic !== topic) throw new BadAnswer(`a batch of topic ${head.topic} at offset ${offset}, asked for ${topic}`)
    if (length > most || offset + BigInt(length) > MAX_NUMBER) throw new BadAnswer(`a batch of ${head.size} bytes at offset ${offset}`)
    while (this.#end - this.#at < head.size) {
      if (!head.codec && !framed(this.#in, this.#at, this.#end, head)) {
        throw new Corrupt(`the batch at offset ${offset} is not what its envelope says`, offset)
      }
      yield
    }
    if (head.codec) throw new BadAnswer(`the batch at offset ${offset} is compressed, which was not offered`)
    const data = Buffer.from(this.#in.subarray(this.#at, this.#at + head.size))
    let bodies
    try {
      bodies = split(data, head.messages)
    } catch (error) {
      throw new Corrupt(`at offset ${offset}: ${error.message}`, offset)
    }
    this.#at += head.size
    if (crc32(data) !== head.crc) {
      return { length, messages: [], damage: new Corrupt(`the checksum of the batch at offset ${offset} is wrong`, offset) }
    }
    const ids = bodies.map(b => new ID(offset, b.delta))
    ids.push(new ID(offset + BigInt(length)))
    return { length, messages: bodies.map((b, i) => new Message(ids[i], b.body, ids[i + 1])), damage: null }
  }
}

/** Parse lines of the form `Name: value`. */
export function fields (body) {
  const out = {}
  for (const line of body.split('\r\n')) {
    const [, name, value] = /^([^:]*):(.*)$/.exec(line) ?? []
    if (name !== undefined) out[name] = value.trim()
  }
  return out
}

/** Parse words of the form `name=value`; `-` is an absent value. */
export function words (line) {
  const out = {}
  for (const word of line.trim().split(/\s+/)) {
    const at = word.indexOf('=')
    if (at > 0 && word.slice(at + 1) !== '-') out[word.slice(0, at)] = word.slice(at + 1)
  }
  return out
}

/** Return the milliseconds of a duration as the server writes it: 1m0.5s. */
export function duration (text) {
  const units = { h: 3600e3, m: 60e3, s: 1e3, ms: 1, µs: 1e-3, us: 1e-3, ns: 1e-6 }
  let sum = 0
  for (const [, n, unit] of text.matchAll(/([0-9.]+)(ms|µs|us|ns|h|m|s)/g)) sum += Number(n) * units[unit]
  return sum
}
