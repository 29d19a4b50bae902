// One connection to a server: requests leave in order, and are answered in order.

import { Closed, ConnectError, ConnectionLost, ServerError, TooLarge } from './errors.js'
import { Lost, Parser } from './wire.js'

/**
 * A request and the promise of its answer. `wait` is how long the server may hold the answer
 * back, in ms. `repeats` says that it does no harm to send it again.
 */
export class Request {
  sent = false
  settled = false

  constructor (out, expect, { wait = 0, repeats = true } = {}) {
    Object.assign(this, { out: Buffer.from(out), expect, wait, repeats })
    this.promise = new Promise((resolve, reject) => {
      this.resolve = value => { this.settled = true; resolve(value) }
      this.reject = error => { this.settled = true; reject(error) }
    })
    this.promise.catch(() => {}) // whoever waits for it hears of it
  }

  again () { return new Request(this.out, this.expect, this) }
}

/** A connection over a socket that is connected, and the Connection's from then on. */
export class Connection {
  used = Date.now() // when it was last of use
  config = null
  patience = 0
  #socket
  #parser
  #readTimeout
  #awaited = []
  #error = null // why it takes no more requests
  #proved = false // the server has answered something
  #timer = null

  constructor (socket, addr, readTimeout, maxReply) {
    this.addr = addr
    this.#socket = socket
    this.#readTimeout = readTimeout
    this.#parser = new Parser(maxReply)
    socket.on('data', data => this.#receive(data)).resume()
    socket.on('end', () => this.#end(new ConnectionLost(`${addr}: closed by the server`)))
    socket.on('error', error => this.#end(this.#proved || error.code?.startsWith('E')
      ? new ConnectionLost(`${addr}: ${error.message}`)
      : new ConnectError(`${addr}: ${error.message}`))) // TLS 1.3 tells so late that a certificate is refused
    socket.on('close', () => this.#end(new ConnectionLost(`${addr}: closed`)))
  }

  get live () { return this.#error === null }
  /** Nothing is awaited. */
  get resting () { return this.#awaited.length === 0 }

  /** Send the request behind those before it, and return the promise of its answer. */
  start (request) {
    if (this.#error) {
      request.reject(new ConnectionLost(`${this.addr}: ${this.#error.message}`))
      return request.promise
    }
    this.used = Date.now()
    this.#awaited.push(request)
    if (this.#awaited.length === 1) this.#arm()
    request.sent = true
    this.#socket.write(request.out)
    return request.promise
  }

  close (error = new Closed('the client was closed')) { this.#end(error) }

  /** Give the server up when it has been silent for too long. */
  #arm () {
    clearTimeout(this.#timer)
    const [head] = this.#awaited
    if (!head) return
    const limit = (this.patience && head.repeats ? Math.min(this.#readTimeout, this.patience) : this.#readTimeout) + head.wait
    this.#timer = setTimeout(() => this.#end(new ConnectionLost(`${this.addr}: the server was silent for ${limit} ms`)), limit)
  }

  #receive (data) {
    if (this.#error) return
    this.used = Date.now()
    this.#proved = true
    this.#parser.feed(data)
    while (this.#parser.pending && !this.#error && this.#answer()) { /* the next one */ }
    if (!this.#error) this.#arm()
  }

  /** Take the answer to the first request, and report whether it was there. */
  #answer () {
    const [head] = this.#awaited
    try {
      const reply = this.#parser.next(head?.expect)
      if (reply === undefined) return false
      this.#awaited.shift()
      head.resolve(reply)
      return true
    } catch (error) {
      if (!head) {
        this.#end(error)
        return false
      }
      this.#awaited.shift()
      if (error instanceof Lost) {
        head.resolve(error.reply)
      } else {
        if (head.expect.form === 'append' && !(error instanceof ServerError)) error.unknown = true
        head.reject(error)
      }
      if (error instanceof ServerError && (!error.closes || this.#stays(head, error))) return true
      this.#end(error)
      return false
    }
  }

  /** Whether the server goes on with the connection after the error: a batch was too large for
   * its topic, not for the server, which may have stored what was sent behind it. */
  #stays (request, error) { return error instanceof TooLarge && request.out.length <= this.config?.maxBatch }

  #end (error) {
    if (this.#error) return
    this.#error = error
    clearTimeout(this.#timer)
    this.#socket.destroy()
    const rest = this.#awaited
    this.#awaited = []
    const refused = error instanceof ServerError || error instanceof ConnectError // the server took nothing behind its last answer
    rest.forEach((request, i) => {
      const torn = i === 0 ? this.#parser.torn : null
      if (torn?.reply.messages.length) return request.resolve(torn.reply)
      const failure = error instanceof ServerError
        ? new ConnectionLost(`${this.addr}: the server closed the connection after answering: ${error.message}`)
        : error instanceof Closed || error instanceof ConnectError ? new error.constructor(error.message) : new ConnectionLost(error.message)
      failure.unknown = request.expect.form === 'append' && request.sent && !refused
      if (torn) failure.tornAt = torn.at
      request.reject(failure)
    })
  }
}

