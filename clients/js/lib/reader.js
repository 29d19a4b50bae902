// A Reader: the messages of a topic, one after another.

import {
  Closed, ConnectError, ConnectionLost, Corrupt, Gap, InvalidProtocol, InvalidRequest, NoBatch, NoMessage, NoTopic, NotFound, NotLeader
} from './errors.js'
import { ID, checkTopic } from './wire.js'

const WAIT = 10000 // how long one read waits at the end of the log
const PAGE = 10000

/** Reads the messages of a topic. index.d.ts says what its options are. */
export class Reader {
  #client
  #options
  #start = null // what is to be looked up
  #offset = -1n
  #delta = 0 // in the first batch
  #after = false // behind the message at delta
  #batch = []
  #taken = 0 // of the batch
  #left
  #page = PAGE
  #born = Date.now()
  #begun = false
  #ended = false
  #fresh = false
  #gap = null
  #failures = 0
  #id = '' // of the topic, once it is known
  #asked = 0
  #askedOn = null

  constructor (client, topic, {
    start = 'start', after = null, follow = false, awaitTopic = false, limit = Infinity, gaps = false, progress = null, readBytes = 1 << 20
  } = {}) {
    checkTopic(topic)
    this.topic = topic
    this.#client = client.sibling()
    this.#left = limit ?? Infinity
    this.#options = { follow, awaitTopic, gaps, progress, readBytes }
    if (progress?.at) {
      start = progress.at
      after = null
    }
    const place = after ?? start
    if (place instanceof ID) {
      this.#offset = place.offset
      this.#delta = place.delta
      this.#after = after !== null
    } else if (typeof place === 'bigint' || Number.isSafeInteger(place)) {
      this.#offset = BigInt(place)
    } else if (place instanceof Date || place === 'end') {
      this.#start = place
    } else if (place !== 'start') {
      throw new TypeError(`start is ${place}: want 'start', 'end', an offset, an ID or a Date`)
    }
  }

  /** End the Reader, also one that waits: that throws Closed. */
  close () { this.#client.close() }

  async * [Symbol.asyncIterator] () {
    try {
      for (let m; (m = await this.read()) !== null;) yield m
    } finally {
      this.close()
    }
  }

  /** Go on behind the gap. */
  skipGap () {
    if (!this.#gap) return
    this.#offset = this.#gap.end
    this.#delta = 0
    this.#after = false
    this.#gap = null
  }

  /** Return the next message, null at the end. */
  async read () {
    while (this.#taken === this.#batch.length) {
      if (this.#ended) return null
      if (this.#client.closed) throw new Closed('the reader was closed')
      if (this.#left === 0) return this.#end()
      if (!this.#gap) {
        try {
          if (!await this.#fetch()) return this.#end()
        } catch (error) {
          if (error instanceof Gap) this.#gap = error
          else if (this.#client.closed) throw new Closed('the reader was closed')
          else await this.#retry(error)
        }
      }
      if (this.#gap) {
        const gap = this.#gap
        if (!this.#options.gaps) throw gap
        this.skipGap()
        return gap
      }
    }
    const message = this.#batch[this.#taken++]
    if (--this.#left === 0) this.#taken = this.#batch.length
    this.#options.progress?.started(message)
    return message
  }

  #end () {
    this.#ended = true
    this.close()
    return null
  }

  /** Get what is next into the batch; nothing may have come. Returns false at the end. */
  async #fetch () {
    const { follow, readBytes } = this.#options
    if (this.#client.cluster === null && (follow || Date.now() - this.#born > 2000)) {
      await this.#client.call(null) // so that the other members are known when this one goes
    }
    await this.#lookUp()
    const args = { messages: Math.min(this.#page, this.#left), maxBytes: readBytes, wait: follow ? WAIT : 0 }
    let got
    try {
      got = await this.#client.readOnce(this.topic, this.#offset, args, this.#fresh ? ' fresh=1' : '')
    } catch (error) {
      if (!(error instanceof NotFound || error instanceof Corrupt)) throw error
      await this.#locate(error)
      return true
    }
    await this.#watch(got)
    this.#failures = 0
    if (!got.messages.length) return this.#nothing()
    let { messages } = got
    if (this.#delta || this.#after) messages = await this.#from(messages)
    this.#begun = true
    this.#fresh = false
    this.#offset = got.next
    this.#delta = 0
    this.#after = false
    this.#batch = messages.length > this.#left ? messages.slice(0, this.#left) : messages
    this.#taken = 0
    return true
  }

  async #lookUp () {
    if (this.#start === null) return
    try {
      this.#offset = this.#start instanceof Date
        ? await this.#client.seek(this.topic, this.#start)
        : (await this.#client.info(this.topic)).next
    } catch (error) {
      if (!(error instanceof NoTopic && this.#options.awaitTopic)) throw error
      this.#offset = -1n // all of it is yet to come
    }
    this.#start = null
  }

  /** Return the messages from the wanted one on. */
  async #from (messages) {
    const at = messages.findIndex(m => m.id.offset === this.#offset && m.id.delta === this.#delta)
    if (at < 0) throw new NoMessage(this.#offset, this.#delta, (await this.#client.info(this.topic)).next)
    return messages.slice(at + Number(this.#after))
  }

  /** The end of the log is reached: report whether to read on. */
  async #nothing () {
    if (this.#options.follow) {
      await this.#client.sleep(1) // a server that shuts down answers as fast as it is asked
      return true
    }
    if (this.#client.cluster && !this.#fresh) return (this.#fresh = true) // this may be where the member ends, and not the log
    return false
  }

  /** Nothing was found: throw why, or the Gap; or return if it came or went meanwhile. */
  async #locate (error) {
    let info
    try {
      info = await this.#client.info(this.topic)
    } catch (e) {
      if (!(e instanceof NoTopic && this.#options.awaitTopic) || this.#begun) throw e
      return this.#client.sleep(1000)
    }
    this.#compare(info)
    const range = info.damaged.find(([begin, end]) => begin <= this.#offset && this.#offset < end)
    if (range) throw new Gap(this.#offset, range[1], 'damage')
    if (this.#offset >= 0n && this.#offset < info.oldest) throw new Gap(this.#offset, info.oldest, 'retention')
    if (error instanceof NotFound && this.#offset !== -1n && this.#offset !== info.next) throw new NoMessage(this.#offset, 0, info.next)
    throw error
  }

  /** See whether the topic is the one that it was: over each new connection, and now and then.
   * Damage that the oldest batches have is told here, too. */
  async #watch (got) {
    const on = this.#client.current(this.topic)
    if (!this.#askedOn) {
      this.#askedOn = on
      this.#asked = Date.now()
    }
    if (this.#offset < 0n && got.offset > 0n) {
      const range = (await this.#client.info(this.topic)).damaged.find(([, end]) => end === got.offset)
      if (range) throw new Gap(range[0], range[1], 'damage')
    }
    if (!this.#options.follow || (on === this.#askedOn && Date.now() - this.#asked < WAIT)) return
    let info
    try {
      info = await this.#client.info(this.topic)
    } catch (error) {
      if (error instanceof InvalidProtocol || error instanceof InvalidRequest) return // a server of the 0.3 line has no ids
      throw error
    }
    this.#askedOn = on
    this.#asked = Date.now()
    this.#compare(info)
  }

  #compare (info) {
    const was = this.#id
    this.#id = info.id
    if (was && info.id && was !== info.id) throw new Gap(this.#offset < 0n ? 0n : this.#offset, info.oldest, 'replaced')
  }

  /** Return when it is time to try again; else throw the error. */
  async #retry (error) {
    if (error instanceof InvalidRequest && this.#page === PAGE) { // perhaps for the number of messages
      const most = Number((await this.#client.settings()).MaxMessages ?? PAGE)
      if (most < this.#page) {
        this.#page = most
        return
      }
    }
    this.#failures++
    const { attempts } = this.#client.config
    const again = (error.retryable || error.constructor === NotFound || error.constructor === NoBatch) && !(error instanceof ConnectError)
    if (!again || (attempts !== null && this.#failures > attempts)) throw error
    if (this.#failures > 1 || !(error instanceof NotLeader || error instanceof ConnectionLost)) {
      await this.#client.pause(this.#failures - 1).catch(() => {}) // it was closed, which read sees
    }
  }
}
