// Progress: how far a program has come with a topic, kept on the server.

import { Closed, Held, Moved, VersionConflict } from './errors.js'
import { ID, checkTopic, toBytes } from './wire.js'

const DAY = 86400e3
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** Where the consumer of a topic is, for a Reader to begin at and to go on from. */
export class Progress {
  /** The first message that is not done, null if nothing is known. */
  at = null
  #client
  #options
  #version = 0n
  #id = ''
  #underWay = [] // delivered, in order, from the first that is not done
  #done = new Set()
  #error = null
  #saved
  #savedAt = Date.now()
  #heldAt = Date.now()
  #saving = Promise.resolve()
  #timer

  /**
   * Look where the consumer is. `every`: ms between two saves at least. `hold`: ms for which the
   * position is this `worker`'s alone after it was last heard of: others get Held, or with
   * `standby` wait until it is free.
   */
  static async open (client, topic, consumer, { every = 1000, hold = 0, worker = '', standby = false, ttl = 0 } = {}) {
    checkTopic(topic)
    if (hold && !worker) throw new TypeError("a hold wants the worker's name")
    const p = new Progress()
    Object.assign(p, { topic, consumer })
    p.#client = client
    p.#options = { every, hold, worker, ttl }
    for (;;) {
      try {
        await p.#look()
        break
      } catch (error) {
        if (!(standby && error instanceof Held)) throw error
        await sleep(Math.min(Math.max(error.leftMs, 50), 1000))
      }
    }
    p.#saved = p.at
    p.#savedAt = p.#heldAt = Date.now()
    p.#timer = setInterval(() => p.#tick(), hold ? Math.min(every, hold / 3) : every)
    return p
  }

  async #look () {
    const { hold, worker } = this.#options
    let there = await this.#client.position(this.topic, this.consumer)
    if (hold && there) {
      await this.#client.holdPosition(this.topic, this.consumer, worker, hold)
      there = await this.#client.position(this.topic, this.consumer) // where the one before has left it
    }
    this.#version = there?.version ?? 0n
    this.at = there?.at ?? null
    if (!hold || there) return
    const { oldest, id } = await this.#client.info(this.topic)
    try {
      this.at = new ID(oldest)
      this.#version = await this.#client.setPosition(this.topic, this.consumer, this.at, { version: 0n, id, hold, worker })
      this.#id = id
    } catch (error) {
      if (!(error instanceof VersionConflict)) throw error
      await this.#look() // another worker was first
    }
  }

  /** @internal A Reader is about to deliver the message. */
  started (message) {
    this.#underWay.push(message)
    this.at ??= message.id
  }

  /** Note that the program is done with the message. */
  done (message) {
    this.#check()
    this.#done.add(String(message.id))
    while (this.#underWay.length && this.#done.delete(String(this.#underWay[0].id))) this.at = this.#underWay.shift().next
  }

  /** Save now, if there is anything to save. */
  async save () {
    this.#saving = this.#saving.catch(() => {}).then(() => this.#save()) // one after another
    return this.#saving
  }

  async #save () {
    this.#check()
    const { at } = this
    if (!at || (this.#saved?.equals(at) && Date.now() - this.#savedAt < DAY)) return
    this.#id ||= (await this.#client.info(this.topic)).id
    const { hold, worker, ttl } = this.#options
    try {
      this.#version = await this.#client.setPosition(this.topic, this.consumer, at, {
        version: this.#version, id: this.#id, ttl, worker: hold ? worker : ''
      })
    } catch (error) {
      if (!(error instanceof VersionConflict)) throw error
      const there = await this.#client.position(this.topic, this.consumer)
      if (!there?.at.equals(at)) { // else it is the answer that was lost
        this.#error = Object.assign(new Moved(`the position of ${this.consumer} in ${this.topic} was set to ${there?.at ?? 'none'} by somebody else`), { position: there })
        throw this.#error
      }
      this.#version = there.version
    }
    this.#saved = at
    this.#savedAt = Date.now()
  }

  /** Save, and let others have the position. */
  async close () {
    if (!this.#timer) return
    clearInterval(this.#timer)
    this.#timer = null
    const moved = this.#error
    try {
      if (!moved) await this.save()
    } finally {
      this.#error ??= new Closed('the progress was closed')
      const { hold, worker } = this.#options
      if (hold && !(moved instanceof Moved || moved instanceof Held)) {
        await this.#client.holdPosition(this.topic, this.consumer, worker, 0)
      }
    }
  }

  #check () {
    if (this.#error) throw this.#error
  }

  /** Save and renew the hold, now and then. What fails is told by done and save. */
  async #tick () {
    const { every, hold, worker } = this.#options
    try {
      if (Date.now() - this.#savedAt >= every) await this.save()
      if (hold && Date.now() - this.#heldAt >= hold / 3) {
        await this.#client.holdPosition(this.topic, this.consumer, worker, hold)
        this.#heldAt = Date.now()
      }
    } catch (error) {
      if (!error.retryable) this.#error ??= error
    }
  }
}

/** Return which of n shares the key is of: FNV-1a (64 bit) modulo n, as in all clients. */
export function share (key, n) {
  let h = 0xcbf29ce484222325n
  for (const byte of toBytes(key)) h = BigInt.asUintN(64, (h ^ BigInt(byte)) * 0x100000001b3n)
  return Number(h % BigInt(n))
}

/** Return the first of the shares NAME.0 to NAME.<n-1> that no other worker holds, and its
 * Progress. It waits until there is one. */
export async function firstFree (client, topic, name, n, { hold, worker, pause = 1000 }) {
  for (;;) {
    for (let number = 0; number < n; number++) {
      try {
        return { number, progress: await Progress.open(client, topic, `${name}.${number}`, { hold, worker }) }
      } catch (error) {
        if (!(error instanceof Held)) throw error
      }
    }
    await sleep(pause)
  }
}
