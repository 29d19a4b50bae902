// The client: which server to ask, and what.

import { readFileSync } from 'node:fs'
import net from 'node:net'
import tls from 'node:tls'
import { Connection, Request } from './connection.js'
import {
  BadAnswer, Busy, Closed, ConnectError, ConnectionLost, Corrupt, InvalidRequest, LogdError, NoBatch, NotFound, NotLeader, NoTopic,
  PlainToken, ServerError, ShuttingDown, TooLarge, Unauthorized, fromReason
} from './errors.js'
import { ID, MAX_LINE, batch, checkTopic, duration, fields, frame, toBytes, words } from './wire.js'

export const DEFAULT_ADDR = '127.0.0.1:1774'
const POSITIONS = '__positions' // where the server keeps positions: who leads that is asked

const DEFAULTS = {
  addrs: [DEFAULT_ADDR],
  tls: false,
  tlsCA: '',
  tlsCert: '',
  tlsKey: '',
  tlsServerName: '',
  token: '',
  tokenFile: '',
  allowPlainToken: false,
  connectTimeout: 5000,
  readTimeout: 15000,
  idleTimeout: 25000,
  reconnectMin: 50,
  reconnectMax: 5000,
  attempts: 5,
  maxReply: 256 << 20
}

/**
 * Talks to a server, or to the members of a cluster, over one connection to each, which all
 * calls share. Nothing connects before it has to. It keeps the process alive until close.
 */
export class Client {
  /** @internal */ cluster = null // null while no server has said
  /** @internal */ closed = false
  /** @internal */ config
  #patience = 0
  #stale = false // the members are to be asked for
  #addrs
  #home
  #routes = new Map() // by topic, where that is not home
  #failedAt = new Map()
  #connections = new Map()
  #dialing = new Map()
  #wakers = new Set() // of pauses
  #siblings = new Set()
  #forget = () => {}

  constructor (options = {}) {
    for (const name of Object.keys(options)) {
      if (!(name in DEFAULTS)) throw new TypeError(`there is no option ${name}: want ${Object.keys(DEFAULTS).join(', ')}`)
    }
    this.config = { ...DEFAULTS, ...options }
    const { addrs, tlsCA, tlsCert, tlsKey, tlsServerName } = this.config
    this.config.tls ||= Boolean(tlsCA || tlsCert || tlsKey || tlsServerName)
    addrs.forEach(hostPort)
    this.#addrs = [...addrs]
    this.#home = addrs[0]
  }

  /** @internal A client of the same configuration with connections of its own. */
  sibling () {
    if (this.closed) throw new Closed('the client was closed')
    const sibling = new Client(this.config)
    this.#siblings.add(sibling)
    sibling.#forget = () => this.#siblings.delete(sibling)
    return sibling
  }

  /** End all connections, and the calls under way with Closed, also those of its Writers and
   * Readers. */
  close () {
    this.closed = true
    this.#forget()
    for (const s of this.#siblings) s.close()
    for (const c of this.#connections.values()) c.close()
    for (const wake of this.#wakers) wake()
  }

  async ping () { await this.call(new Request('PING\r\n', { form: 'ok' })) }

  async topics () { return (await this.#body('TOPICS')).split('\r\n').filter(Boolean) }

  /** Return the server's settings, by name. */
  async settings () { return fields(await this.#body('CONFIG')) }

  /** Store one message and return its ID once the server has answered. */
  async append (topic, body) { return (await this.appendBatch(topic, [body]))[0] }

  /** Store several messages in one batch: all of them, or none. */
  async appendBatch (topic, bodies) {
    checkTopic(topic)
    const { data, deltas } = frame(bodies.map(toBytes))
    if (!deltas.length) throw new InvalidRequest('a batch has one message at least')
    const { offset } = await this.call(new Request(batch(topic, data, deltas.length), { form: 'append' }, { repeats: false }), topic)
    return deltas.map(delta => new ID(offset, delta))
  }

  /** Return batches from the offset on, where one must begin. */
  async read (topic, offset, { messages = 10000, maxBytes = 1 << 20, wait = 0 } = {}) {
    checkTopic(topic)
    try {
      return await this.readOnce(topic, BigInt(offset), { messages, maxBytes, wait })
    } catch (error) {
      throw error instanceof NotFound ? await this.#which(topic, error) : error
    }
  }

  /** Read from the oldest batch that there is. */
  async tail (topic, { messages = 10000, maxBytes = 1 << 20, wait = 0 } = {}) {
    checkTopic(topic)
    return noTopic(this.readOnce(topic, -1n, { messages, maxBytes, wait }))
  }

  /** Return what the server knows of the topic, or in a cluster what its leader does. */
  async info (topic) {
    checkTopic(topic)
    const f = fields(await noTopic(this.#body(`INFO ${topic}${await this.#fresh()}`, topic)))
    try {
      return {
        oldest: BigInt(f.Oldest),
        next: BigInt(f.Next),
        messages: BigInt(f.Messages ?? 0),
        bytes: BigInt(f.Bytes ?? 0),
        id: f.Id ?? '',
        state: f.State ?? '',
        damaged: (f.DamagedAt ?? '').split(' ').filter(Boolean).map(range => range.split('-').map(BigInt)),
        fields: f
      }
    } catch {
      throw new BadAnswer(`INFO was answered ${JSON.stringify(f)}`)
    }
  }

  /** Return the offset of the first batch that was stored at or after that time, or the one
   * that the next batch will get. */
  async seek (topic, at) {
    checkTopic(topic)
    const line = `SEEK ${topic} ${Math.max(Math.ceil(at.getTime()), 0)}${await this.#fresh()}\r\n`
    return (await noTopic(this.call(new Request(line, { form: 'offset' }), topic))).offset
  }

  // Positions.

  /** Return where the consumer is, null if it has no position. */
  async position (topic, consumer) {
    checkTopic(topic)
    try {
      return position(await this.#body(`POSITION ${topic} ${consumer}${await this.#fresh()}`, POSITIONS))
    } catch (error) {
      if (error instanceof NotFound) return null
      throw error
    }
  }

  /** Range over the positions of the topic, or of all topics. */
  async * positions (topic = '') {
    const only = topic && ` topic=${topic}`
    for (let after = ''; ;) {
      const page = (await this.#body(`POSITIONS${only}${after}`, POSITIONS)).split('\r\n').filter(Boolean).map(position)
      yield * page
      if (page.length < 1000) return
      const last = page[page.length - 1]
      after = ` after=${last.topic}/${last.consumer}`
    }
  }

  /** Set a position and return its version. With `version` only if that is the present one, 0
   * for none: else the error is VersionConflict. */
  async setPosition (topic, consumer, at, { version, id, ttl, hold, worker, note, force } = {}) {
    checkTopic(topic)
    const more = [
      version !== undefined && `version=${version}`, id && `id=${id}`, ttl && `ttl=${ttl}`, hold && `hold=${hold}`, worker && `as=${worker}`,
      note && `note=${note}`, force && 'force=1'
    ].filter(Boolean).map(word => ` ${word}`).join('')
    const request = new Request(`POSITION ${topic} ${consumer} at=${at}${more}\r\n`, { form: 'offset' }, { repeats: version !== undefined })
    return (await this.call(request, POSITIONS)).offset
  }

  /** Have the position for the worker alone for so many ms, 1 s to 5 min; 0 lets it go. Returns
   * the position's version, which a hold does not change. */
  async holdPosition (topic, consumer, worker, hold) {
    checkTopic(topic)
    const request = new Request(`POSITION ${topic} ${consumer} hold=${hold} as=${worker}\r\n`, { form: 'offset' })
    return (await this.call(request, POSITIONS)).offset
  }

  /** Remove the position, if there is one. */
  async forgetPosition (topic, consumer, { version, force } = {}) {
    checkTopic(topic)
    const more = (version !== undefined ? ` version=${version}` : '') + (force ? ' force=1' : '')
    await this.call(new Request(`POSITION ${topic} ${consumer}${more} forget=1\r\n`, { form: 'ok' }, { repeats: version !== undefined }), POSITIONS)
  }

  // How they are made.

  async #body (line, topic = '') {
    if (line.length > MAX_LINE || /[^ -~]/.test(line)) throw new InvalidRequest('a request is one line of at most 1,024 bytes')
    return (await this.call(new Request(`${line}\r\n`, { form: 'body' }), topic)).body
  }

  /** Return what has a member of a cluster ask its leader. */
  async #fresh () {
    if (this.cluster === null) await this.call(null)
    return this.cluster ? ' fresh=1' : ''
  }

  /** Return which of two things was not found, as far as the server tells. */
  async #which (topic, error) {
    try {
      await this.info(topic)
      return new NoBatch()
    } catch (e) {
      return e instanceof NoTopic ? e : error
    }
  }

  /** @internal READ, or TAIL if the offset is -1. A first batch that can't be taken is asked for
   * once more, so that the server checks it and sets aside what is damaged. */
  async readOnce (topic, offset, { messages, maxBytes, wait }, more = '') {
    const args = `${messages} wait=${wait} max-bytes=${maxBytes}${more}`
    const line = offset >= 0n ? `READ ${topic} ${offset} ${args}` : `TAIL ${topic} ${args}`
    let met, at
    try {
      const reply = await this.call(new Request(`${line}\r\n`, { form: 'batches', topic, offset, messages }, { wait }), topic)
      if (reply.messages.length || !reply.damage) return { offset: reply.offset, next: reply.next, messages: reply.messages }
      met = reply.damage
      at = reply.offset
    } catch (error) {
      if (error.tornAt === undefined || more.includes('verify')) throw error
      met = error
      at = error.tornAt
    }
    if (more.includes('verify')) throw met
    try {
      return await this.readOnce(topic, at, { messages, maxBytes, wait: 0 }, ` verify=1${more}`)
    } catch (error) {
      if (error instanceof InvalidRequest) throw met
      if (!(error instanceof NotFound)) throw error
      if (offset < 0n) return this.readOnce(topic, -1n, { messages, maxBytes, wait }, more) // what is set aside is not the oldest any more
      throw new Corrupt(`at offset ${at}: ${met.message}; asked to check it, the server says: not found`, at)
    }
  }

  /** @internal Send the request to the server that should have it, and elsewhere as long as that
   * does no harm. Without a request, only ask whether there is a cluster. */
  async call (request, topic = '') {
    for (let attempt = 0, named = false; ;) {
      let connection = null
      try {
        connection = await this.connect(topic)
        if (!request || (request.expect.form === 'append' && request.out.length > 128)) {
          const { maxBatch } = await this.ask(connection)
          if (!request) return
          if (request.out.length > maxBatch) throw new TooLarge(`a batch of ${request.out.length} bytes, the server takes ${maxBatch}`)
        }
        const reply = await connection.start(request)
        await this.#refresh(connection)
        return reply
      } catch (error) {
        const wasHome = !connection && !this.#routes.has(topic)
        this.failed(topic, connection, error)
        if (!this.#repeats(request, error, wasHome) || !this.#mayTry(attempt)) throw error
        if (connection && error instanceof ServerError) await this.#refresh(connection)
        const sentOn = error instanceof NotLeader && error.addr !== '' && error.addr !== connection?.addr
        if (!sentOn || named) { // members that name each other are not asked in a tight loop
          if (this.cluster) await this.pause(attempt)
          attempt++
        }
        named = sentOn
        request = request?.again()
      }
    }
  }

  #repeats (request, error, home) {
    if (error instanceof NotLeader) return true
    if (!elsewhere(error) || !this.#several()) return false
    if (error instanceof ConnectError) return !home // which has tried all
    if (!request || request.repeats) return true
    return request.expect.form === 'append' && (error instanceof Busy || !error.unknown)
  }

  #mayTry (attempt) {
    const { attempts } = this.config
    const rounds = this.cluster ? attempts : 1
    return rounds === null || attempt + 1 < rounds * Math.max(this.#addrs.length, 2)
  }

  #several () { return this.#addrs.length > 1 || Boolean(this.cluster) }

  /** @internal Wait before the next attempt. */
  async pause (failures) {
    const { reconnectMin, reconnectMax } = this.config
    const least = this.cluster ? Math.min(reconnectMin, 5) : reconnectMin
    const most = this.cluster ? Math.min(reconnectMax, 500) : reconnectMax
    await this.sleep(Math.min(least * 2 ** Math.min(failures, 30), most) * (0.5 + Math.random() / 2))
    if (this.closed) throw new Closed('the client was closed')
  }

  /** @internal Wait for so many ms, or until the client is closed. */
  async sleep (ms) {
    if (this.closed) return
    await new Promise(resolve => {
      const wake = () => {
        clearTimeout(timer)
        this.#wakers.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, ms)
      this.#wakers.add(wake)
    })
  }

  // Which server.

  /** @internal Return a connection to where the topic is asked for. */
  async connect (topic) {
    if (this.#routes.has(topic)) return this.#connectTo(this.#routes.get(topic))
    for (let round = 1; ; round++) {
      const problems = []
      for (const addr of this.#order()) {
        try {
          const connection = await this.#connectTo(addr)
          this.#home = addr
          return connection
        } catch (error) {
          if (!(error instanceof ConnectError)) throw error
          problems.push(error.message)
        }
      }
      if (this.config.attempts !== null && round >= this.config.attempts) throw new ConnectError(problems.join('; '))
      await this.pause(round - 1)
    }
  }

  /** @internal Whatever connection a topic is read over now. */
  current (topic) { return this.#connections.get(this.#routes.get(topic) ?? this.#home) }

  async #connectTo (addr) {
    if (this.closed) throw new Closed('the client was closed')
    const connection = this.#connections.get(addr)
    if (connection?.live) {
      if (Date.now() - connection.used < this.config.idleTimeout || !connection.resting) return connection
      connection.close(new ConnectionLost('idle'))
    }
    if (!this.#dialing.has(addr)) {
      this.#dialing.set(addr, this.#open(addr).finally(() => this.#dialing.delete(addr)))
    }
    return this.#dialing.get(addr)
  }

  async #open (addr) {
    let socket
    try {
      socket = await this.#dial(addr)
    } catch (error) {
      if (error instanceof LogdError) throw error
      this.#failedAt.set(addr, Date.now())
      this.#stale ||= Boolean(this.cluster)
      throw new ConnectError(`${addr}: ${explained(error)}`)
    }
    this.#failedAt.delete(addr)
    const connection = new Connection(socket, addr, this.config.readTimeout, this.config.maxReply)
    connection.patience = this.#patience
    this.#connections.set(addr, connection)
    if (this.closed) connection.close()
    return connection
  }

  /** The addresses as they are to be tried: from home on, and those that have failed a short
   * time ago last. */
  #order () {
    const at = Math.max(this.#addrs.indexOf(this.#home), 0)
    const order = [...this.#addrs.slice(at), ...this.#addrs.slice(0, at)]
    return [...order.filter(a => !this.#rests(a)), ...order.filter(a => this.#rests(a))]
  }

  #rests (addr) { return Date.now() - (this.#failedAt.get(addr) ?? -Infinity) < 5000 }

  #after (addr) {
    const at = this.#addrs.indexOf(addr) + 1
    const order = [...this.#addrs.slice(at), ...this.#addrs.slice(0, at)]
    return order.find(a => !this.#rests(a)) ?? order[0]
  }

  /** @internal Learn from a failure where to ask next. */
  failed (topic, connection, error) {
    if (!elsewhere(error)) return
    if (error instanceof NotLeader) this.#suspect()
    if (!this.#several()) return
    const at = connection?.addr ?? this.#routes.get(topic) ?? this.#home
    if (error instanceof NotLeader && error.addr !== at && isAddr(error.addr)) {
      this.#routes.set(topic, error.addr)
    } else if (error instanceof ConnectionLost || error instanceof ConnectError) {
      this.#routes.delete(topic)
      this.#failedAt.set(at, Date.now())
      this.#stale ||= Boolean(this.cluster)
    } else {
      this.#routes.set(topic, this.#after(at))
    }
  }

  /** Note that there is a cluster. If that is new, its members are not known. */
  #suspect () {
    this.#stale ||= !this.cluster
    this.cluster = true
  }

  /** @internal Return the settings of a connection's server, asked for once. */
  async ask (connection) {
    if (!connection.config) {
      const f = fields((await connection.start(new Request('CONFIG\r\n', { form: 'body' }))).body)
      const config = {
        maxBatch: Number(f.MaxBatchSize),
        producers: Number(f.Producers ?? 0),
        topicLimits: f.TopicLimits === 'true', // topics may take less than maxBatch: INFO tells
        patience: f.Cluster ? 1.5 * duration(f.ElectionTimeout ?? '') : 0
      }
      if (!(config.maxBatch > 0)) throw new BadAnswer(`CONFIG was answered ${JSON.stringify(f)}`)
      this.cluster ??= false
      if (f.Cluster) this.#suspect()
      this.#patience = connection.patience = config.patience
      connection.config = config
      await this.#refresh(connection)
    }
    return connection.config
  }

  /** @internal Return how large a batch the topic takes, null if the server does not say: it is
   * not there yet, or the client may not ask. */
  async askTopic (connection, topic) {
    try {
      const f = fields((await connection.start(new Request(`INFO ${topic}\r\n`, { form: 'body' }))).body)
      const most = Number(f.MaxBatchSize ?? connection.config.maxBatch)
      if (!(most > 0)) throw new BadAnswer(`INFO was answered ${JSON.stringify(f)}`)
      return most
    } catch (error) {
      if (!(error instanceof ServerError) || elsewhere(error)) throw error
      return null
    }
  }

  /** Ask who the members are, if that is to be asked. */
  async #refresh (connection) {
    if (!this.#stale) return
    this.#stale = false
    const addrs = []
    try {
      const { body } = await connection.start(new Request('CLUSTER\r\n', { form: 'body' }))
      for (const line of body.split('\r\n')) {
        const { addr } = words(line)
        if (line.startsWith('member=') && isAddr(addr ?? '') && !this.config.addrs.includes(addr)) addrs.push(addr)
      }
    } catch (error) {
      this.#stale = elsewhere(error)
      if (!(error instanceof ServerError)) return
    }
    this.#addrs = [...this.config.addrs, ...addrs.slice(0, 64)]
  }

  // How a server is reached.

  /** Return a connected socket on which the server knows who the client is. */
  async #dial (addr) {
    const { connectTimeout, tls: withTLS, tlsServerName, allowPlainToken } = this.config
    const { host, port, path } = hostPort(addr)
    const token = this.#token()
    const timeout = this.#patience ? Math.min(connectTimeout, this.#patience) : connectTimeout
    const secure = withTLS && !path
    const name = tlsServerName || host
    const socket = secure
      ? tls.connect({ host, port, ...this.#tlsOptions(), servername: net.isIP(name) ? '' : name, checkServerIdentity: (_, cert) => tls.checkServerIdentity(name, cert) })
      : net.connect(path ? { path } : { host, port })
    socket.setNoDelay?.(true)
    let fail
    const failed = new Promise((resolve, reject) => { fail = reject })
    const closed = () => fail(new Error('closed by the server'))
    const timer = setTimeout(() => fail(new Error(`no connection after ${timeout} ms`)), timeout)
    socket.on('error', fail).on('close', closed)
    const connected = new Promise(resolve => socket.once(secure ? 'secureConnect' : 'connect', resolve)).then(() => {
      if (!token) return
      if (!secure && !path && !allowPlainToken && !(loopback(host) && loopback(socket.remoteAddress))) {
        throw new PlainToken(`${addr}: a token is not sent without TLS to another machine`)
      }
      return authenticate(socket, token)
    })
    try {
      await Promise.race([connected, failed])
      return socket
    } catch (error) {
      socket.destroy()
      throw error
    } finally {
      clearTimeout(timer)
      socket.on('error', () => {}).off('error', fail).off('close', closed)
    }
  }

  /** Files are read at each connect. */
  #tlsOptions () {
    const { tls: given, tlsCA, tlsCert, tlsKey } = this.config
    const options = { minVersion: 'TLSv1.2', ALPNProtocols: ['logd'] }
    if (tlsCA) options.ca = readFileSync(tlsCA)
    if (tlsCert) options.cert = readFileSync(tlsCert)
    if (tlsKey) options.key = readFileSync(tlsKey)
    return { ...options, ...(typeof given === 'object' ? given : {}) }
  }

  #token () {
    const { token, tokenFile } = this.config
    const text = (tokenFile ? readFileSync(tokenFile, 'latin1') : token).trim()
    if (tokenFile && !text) throw new Error(`${tokenFile} holds no token`)
    if (text && !/^[!-~]{1,512}$/.test(text)) throw new Error('a token is a word of 1 to 512 bytes')
    return text
  }
}

/** Show who the client is. */
async function authenticate (socket, token) {
  let text = ''
  const answered = new Promise(resolve => {
    socket.on('data', data => {
      text += data.toString('latin1')
      if (text.includes('\n') || text.length > 512) resolve()
    })
  })
  socket.write(`AUTH ${token}\r\n`)
  await answered
  socket.removeAllListeners('data')
  socket.pause() // until the Connection listens
  if (text === 'OK\r\n') return
  if (!/^ERR .*\r\n$/.test(text)) throw new BadAnswer('AUTH was answered otherwise than the protocol says')
  const error = fromReason(text.slice(4).trim())
  if (error instanceof Unauthorized) throw new Unauthorized('the token is not accepted')
  if (!(error instanceof InvalidRequest)) throw error // that is a server without identities
}

/** Report whether another server may answer, or the same one later. */
function elsewhere (error) {
  return [ConnectionLost, ConnectError, NotLeader, Busy, ShuttingDown].some(type => error instanceof type)
}

async function noTopic (promise) {
  try {
    return await promise
  } catch (error) {
    throw error instanceof NotFound ? new NoTopic() : error
  }
}

function hostPort (addr) {
  if (addr.startsWith('unix:') && addr.length > 5) return { path: addr.slice(5) }
  if (!isAddr(addr)) throw new TypeError(`${JSON.stringify(addr)} is no address: want HOST:PORT or unix:PATH`)
  const at = addr.lastIndexOf(':')
  return { host: addr.slice(0, at).replace(/^\[|\]$/g, '') || 'localhost', port: Number(addr.slice(at + 1)) }
}

function isAddr (addr) {
  const [, host, port] = /^(.*):([0-9]{1,5})$/.exec(addr) ?? []
  return host !== undefined && Number(port) > 0 && Number(port) < 65536 && (!host.includes(':') || host.startsWith('['))
}

const loopback = host => host === 'localhost' || host === '::1' || /^(::ffff:)?127(\.[0-9]+){3}$/.test(host ?? '')

function explained (error) {
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG/.test(error.code ?? '')) return 'the server does not speak TLS'
  return error.errors?.map(e => e.message).join(', ') || error.message || String(error)
}

function position (line) {
  const w = words(line)
  try {
    return { topic: w.topic, consumer: w.consumer, at: ID.parse(w.at), version: BigInt(w.version), state: w.state ?? '', holder: w.holder ?? null, fields: w }
  } catch {
    throw new BadAnswer(`${JSON.stringify(line)} is no position`)
  }
}

