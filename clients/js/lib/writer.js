// A Writer: many messages into few batches, each stored once and in order.

import { randomBytes } from 'node:crypto'
import { Request } from './connection.js'
import { Busy, Closed, ConnectError, ConnectionLost, LogdError, NotLeader, OutOfOrder, ReadOnly, ShuttingDown, TooLarge } from './errors.js'
import { DEFAULT_MAX_BATCH, ID, batch, checkTopic, frame, frameLength, toBytes } from './wire.js'

const NUMBER_LENGTH = 61 // of what a batch's number adds to its envelope, at most
const AGAIN = [ConnectError, ConnectionLost, NotLeader, Busy, ShuttingDown, ReadOnly]
const mayPass = error => AGAIN.some(type => error instanceof type)

/** Messages that are sent together. */
class Batch {
  bodies = []
  receipts = []
  size = 0
  born = Date.now()
  seq = 0n
  doubt = false // it was sent, and may be stored
  request = null // under way, or answered

  /** Leave the first n messages in the batch and return one with the others. */
  cut (n) {
    const rest = new Batch()
    rest.born = this.born
    rest.bodies = this.bodies.splice(n)
    rest.receipts = this.receipts.splice(n)
    for (const body of rest.bodies) rest.size += frameLength(body)
    this.size -= rest.size
    return rest
  }

  stored (offset) {
    this.receipts.forEach((r, i) => r.resolve(offset >= 0n ? new ID(offset, this.deltas[i]) : null))
  }

  failed (error) { for (const r of this.receipts) r.reject(error) }
}

/**
 * Stores messages of one topic: each once, in the order of the calls, over lost connections,
 * restarts of the server and changes of its leader. index.d.ts says what its options are.
 */
export class Writer {
  /** How many messages may be stored twice, because the server had forgotten this Writer. */
  inDoubt = 0
  #client
  #envelope // its length at most
  #room // of a batch, for its messages
  #share // up to which messages share a batch: less than room where nobody says how much that is
  #options
  #newPID
  #open = null
  #queue = [] // full, and not numbered
  #held = 0 // bytes of all messages without an answer
  #left = 0 // messages without an answer
  #closing = false
  #gaveUp = false
  #firstError = null
  #crowd = 0 // how many calls of write wait for room, until it is their turn
  #turn = Promise.resolve()
  #waiting = [] // for room, or for all to be answered
  #wake = () => {}
  #line = [] // numbered, in order, without a final answer
  #pid
  #seq = 0n
  #connection = null
  #config = null
  #failures = 0
  #since = 0 // the first failure since the last batch that was stored
  #done

  constructor (client, topic, {
    batchBytes = DEFAULT_MAX_BATCH, batchMessages = Infinity, batchAge = 10, inFlight = 8, bufferBytes = 1 << 20, patience = 60000,
    newPID = () => randomBytes(16).toString('hex')
  } = {}) {
    checkTopic(topic)
    if (!(inFlight >= 1 && inFlight <= 32)) throw new RangeError(`inFlight is ${inFlight}: want 1 to 32, a server knows no more batches again`)
    this.topic = topic
    this.#client = client.sibling()
    this.#envelope = `BATCH 99999999999 ${topic} 4294967295 9999999999\r\n`.length + NUMBER_LENGTH
    this.#room = this.#share = batchBytes - this.#envelope
    this.#options = { batchBytes, batchMessages, batchAge, inFlight, bufferBytes, patience: patience ?? Infinity }
    this.#newPID = newPID
    this.#pid = newPID()
    this.#done = this.#run()
  }

  /**
   * Take the message, once there is room for it. The result's `id` is the promise of its ID, null
   * if it is stored and the server can't tell where any more. Throws TooLarge, and takes
   * nothing, if no batch can hold the message. If it turns out later that the topic takes no
   * such batch, `id` is rejected with TooLarge.
   */
  async write (body) {
    const data = Buffer.from(toBytes(body)) // the caller may change its own
    const size = frameLength(data)
    if (size > this.#room) throw this.#tooLong(data)
    const room = () => this.#closing || this.#held === 0 || this.#held + size <= this.#options.bufferBytes
    if (this.#crowd > 0 || !room()) { // one after another, in the order of the calls
      this.#crowd++
      this.#turn = this.#turn.then(() => this.#until(room))
      await this.#turn
      this.#crowd--
    }
    if (this.#closing) throw new Closed('the writer was closed')
    if (this.#open && this.#open.size + size > this.#share) this.#seal()
    if (!this.#open) {
      this.#open = new Batch()
      this.#wake() // its age is to be looked at
    }
    const receipt = {}
    receipt.id = new Promise((resolve, reject) => Object.assign(receipt, { resolve, reject }))
    receipt.id.catch(() => {}) // flush tells of it, too
    this.#open.bodies.push(data)
    this.#open.receipts.push(receipt)
    this.#open.size += size
    this.#held += size
    this.#left++
    if (this.#open.bodies.length >= this.#options.batchMessages) this.#seal()
    return { id: receipt.id }
  }

  /** Take the message and return its ID once the server has answered. */
  async store (body) { return (await this.write(body)).id }

  /** Send what is there without waiting for more, and return when all of it is answered. Throws
   * the first error that a message got since the last flush. */
  async flush () {
    this.#seal()
    await this.#until(() => this.#left === 0)
    const error = this.#firstError
    this.#firstError = null
    if (error) throw error
  }

  /** Flush and end the Writer. What is not answered after `timeout` ms fails. */
  async close ({ timeout = Infinity } = {}) {
    this.#closing = true
    this.#tell()
    const timer = timeout < Infinity ? setTimeout(() => this.#stop(), timeout) : null
    try {
      await this.flush()
    } finally {
      clearTimeout(timer)
      this.#stop()
      await this.#done
    }
  }

  #stop () {
    this.#gaveUp = true
    this.#client.close()
    this.#wake()
  }

  // The buffer.

  async #until (ready) {
    while (!ready()) await new Promise(resolve => this.#waiting.push(resolve))
  }

  #tell () {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  #seal () {
    if (!this.#open) return
    this.#queue.push(this.#open)
    this.#open = null
    this.#wake()
  }

  #due () { return this.#queue.length > 0 || (this.#open !== null && Date.now() - this.#open.born >= this.#options.batchAge) }

  #next () {
    if (!this.#queue.length && this.#due()) this.#seal()
    const b = this.#queue.shift()
    if (!(b?.size > this.#share)) return b
    let n = 1 // it was not too large when it was made
    let size = frameLength(b.bodies[0])
    while (n < b.bodies.length && size + frameLength(b.bodies[n]) <= this.#share) size += frameLength(b.bodies[n++])
    if (n < b.bodies.length) this.#queue.unshift(b.cut(n))
    return b
  }

  #settled (b, error = null) {
    this.#held -= b.size
    this.#left -= b.bodies.length
    this.#firstError ??= error
    this.#tell()
  }

  // Sending: one loop, which alone uses the line and the connection.

  async #run () {
    while (!this.#gaveUp) {
      if (!this.#hasWork()) {
        await this.#sleep()
        continue
      }
      try {
        await this.#send()
        await this.#take()
      } catch (error) {
        await this.#again(error)
      }
    }
    this.#client.close()
    await this.#judge()
    this.#giveUp(new Closed('the writer was closed'))
  }

  #hasWork () {
    const first = this.#line[0]?.request
    if (this.#line.length && (this.#line[this.#line.length - 1].request === null || first?.settled)) return true
    return this.#due() && this.#line.length < this.#limit()
  }

  async #sleep () {
    let timer
    await new Promise(resolve => {
      this.#wake = resolve
      if (this.#open && this.#line.length < this.#limit()) {
        timer = setTimeout(resolve, Math.max(this.#open.born + this.#options.batchAge - Date.now(), 0))
      }
    })
    clearTimeout(timer)
    this.#wake = () => {}
  }

  #numbered () { return this.#config === null || this.#config.producers > 0 }

  #limit () { return this.#numbered() ? this.#options.inFlight : 1 } // so that none overtakes one that is refused

  /** Have a connection, and ask how large a batch its server takes, and the topic. */
  async #learn (anew = false) {
    const connection = await this.#client.connect(this.topic)
    this.#config = await this.#client.ask(connection)
    const { maxBatch, topicLimits } = this.#config
    const most = topicLimits || anew ? await this.#client.askTopic(connection, this.topic) : maxBatch
    this.#connection = connection
    this.#room = Math.min(this.#options.batchBytes, maxBatch, most ?? maxBatch) - this.#envelope
    this.#share = most === null ? Math.min(this.#share, this.#room) : this.#room
  }

  /** Send what is to be sent, on a connection whose server was asked for its limits. */
  async #send () {
    if (!this.#line.some(b => b.request)) { // else their answers come first
      if (!this.#connection?.live) await this.#learn()
    } else if (!this.#connection?.live) {
      return
    }
    for (const b of this.#line) {
      if (!b.request) this.#start(b)
    }
    while (this.#line.length < this.#limit()) {
      const b = this.#next()
      if (!b) return
      if (b.size > this.#room) {
        this.#fail([b], this.#tooLong(b.bodies[0]))
        continue
      }
      Object.assign(b, frame(b.bodies))
      this.#number(b)
      this.#line.push(b)
      this.#start(b)
    }
  }

  #number (b) {
    b.seq = ++this.#seq
    b.doubt = false
  }

  #start (b) {
    const numbered = this.#numbered()
    const out = batch(this.topic, b.data, b.bodies.length, numbered ? this.#pid : '', b.seq)
    b.request = new Request(out, { form: 'append' }, { repeats: numbered })
    const wake = () => this.#wake()
    b.request.promise.then(wake, wake)
    if (out.length > this.#config.maxBatch) {
      b.request.reject(new TooLarge(`a batch of ${out.length} bytes, the server takes ${this.#config.maxBatch}`))
    } else {
      this.#connection.start(b.request)
    }
  }

  /** Take the answers that have come, in order. If the first batch was not taken, wait for the
   * answers to the others, which then were not taken either, and begin again. */
  async #take () {
    for (;;) {
      if (!this.#line[0]?.request?.settled) return
      const [reply] = await outcome(this.#line[0].request)
      if (!reply) break
      this.#store(this.#line.shift(), reply.offset)
    }
    const error = await this.#judge()
    if (!this.#line.length || !error) return
    if (error instanceof OutOfOrder) {
      if (error.next === this.#line[0].seq) return this.#again(error)
      for (const b of this.#line) { // the server has forgotten this Writer, and what it may have of it
        if (b.doubt) this.inDoubt += b.bodies.length
      }
      return this.#renumber()
    }
    if (mayPass(error) && (this.#numbered() || !error.unknown)) return this.#again(error)
    if (error instanceof TooLarge && !this.#line[0].doubt) return this.#tooLarge(error)
    this.#refuse(error)
  }

  #store (b, offset) {
    this.#failures = this.#since = 0
    b.stored(offset)
    this.#settled(b)
  }

  /** Wait for all answers and take out of the line what is stored. Returns the error of the
   * first that is not. */
  async #judge () {
    const line = this.#line
    this.#line = []
    let first = null
    for (const b of line) {
      const { request } = b
      b.request = null
      const [reply, error] = request ? await outcome(request) : [null, null]
      if (reply) {
        this.#store(b, reply.offset)
        continue
      }
      if (error instanceof OutOfOrder) {
        if (error.next > b.seq) {
          this.#store(b, -1n)
          continue
        }
        b.doubt &&= error.next === 1n // of a Writer that is forgotten some may be stored
      } else if (error) {
        b.doubt ||= error.unknown
      }
      if (!this.#line.length) first = error
      this.#line.push(b)
    }
    return first
  }

  /** The first batch is larger than the topic takes now. So none of the line is stored, nor can be
   * under these numbers: it goes back to what is to be sent, in batches that are no larger. If
   * the server does not say how large these may be, halves are tried. */
  async #tooLarge (error) {
    await this.#learn(true)
    const [first] = this.#line
    if (this.#share >= first.size) {
      if (first.bodies.length === 1) return this.#refuse(error)
      this.#share = Math.floor(first.size / 2)
    }
    this.#queue.unshift(...this.#line)
    this.#line = []
    this.#renumber()
  }

  #tooLong (body) { return new TooLarge(`a message of ${body.length} bytes: a batch has room for ${this.#room}`) }

  /** The first batch is not taken for good. Those behind it that may be stored share its fate,
   * since they can't be sent under other numbers; the others go on. */
  #refuse (error) {
    const line = this.#line
    this.#line = line.filter((b, i) => i > 0 && !b.doubt)
    this.#fail(line.filter((b, i) => i === 0 || b.doubt), error)
    this.#renumber()
  }

  #renumber () {
    this.#pid = this.#newPID()
    this.#seq = 0n
    for (const b of this.#line) this.#number(b)
  }

  /** Nothing is under way: send what is in line again, after a pause. */
  async #again (error) {
    this.#since ||= Date.now()
    if (!(mayPass(error) || error instanceof OutOfOrder) || Date.now() - this.#since >= this.#options.patience) this.#giveUp(error)
    this.#client.failed(this.topic, this.#connection, error)
    if (!(error instanceof ReadOnly)) this.#connection = null
    this.#failures++
    if (this.#failures > 1 || !(error instanceof NotLeader || error instanceof ConnectionLost)) {
      await this.#client.pause(Math.max(this.#failures - 2, 0)).catch(() => {}) // it was closed, which the loop sees
    }
  }

  /** Have everything that the Writer has fail. */
  #giveUp (error) {
    this.#seal()
    const batches = [...this.#line, ...this.#queue]
    this.#line = []
    this.#queue = []
    this.#fail(batches, error)
    this.#renumber()
    this.#since = 0
  }

  #fail (batches, error) {
    for (const b of batches) {
      const failure = Object.assign(Object.create(Object.getPrototypeOf(error)), error, { message: error.message, stack: error.stack, unknown: b.doubt })
      b.failed(failure)
      this.#settled(b, failure)
    }
  }
}

/** Return the reply and the error of a request, one of them null. */
function outcome (request) {
  return request.promise.then(reply => [reply, null], error => {
    if (!(error instanceof LogdError)) throw error
    return [null, error]
  })
}
