// Does a share of a topic's messages: shares.js TOPIC CONSUMER NAME N
//
// Start as many as there are shares, N, and some more to stand by. Messages with the same first
// word are done in order, by one worker at a time.

import { Client, Closed, DEFAULT_ADDR, Reader, firstFree, share } from '../../clients/js/index.js'

const [topic, consumer, name, shares] = process.argv.slice(2)
const n = Number(shares)
const client = new Client({ addrs: (process.env.LOGD_CLI_HOST ?? DEFAULT_ADDR).split(','), attempts: null })
const { number, progress } = await firstFree(client, topic, consumer, n, { hold: 10000, worker: name })
const reader = new Reader(client, topic, { follow: true, progress })
let stopped = false
process.once('SIGINT', () => {
  stopped = true
  reader.close()
})
try {
  for await (const message of reader) { // each worker reads all, and does what is its own
    const [key] = String(message).split(' ')
    if (share(key, n) === number) console.log(`${name} does ${message}`)
    progress.done(message)
  }
} catch (error) {
  if (!(stopped && error instanceof Closed)) throw error
} finally {
  await progress.close()
  client.close()
}
