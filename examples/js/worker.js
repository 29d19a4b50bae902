// Does each message of a topic: worker.js TOPIC CONSUMER NAME
//
// Of several workers with the same CONSUMER one works, and the others stand by. How far they
// have come is kept on the server: after a crash another one goes on there, and repeats what
// was done in the last second.

import { Client, Closed, DEFAULT_ADDR, Moved, Progress, Reader } from '../../clients/js/index.js'

const [topic, consumer, name] = process.argv.slice(2)
const client = new Client({ addrs: (process.env.LOGD_CLI_HOST ?? DEFAULT_ADDR).split(','), attempts: null })
let stopped = false
let reader
process.once('SIGINT', () => {
  stopped = true
  reader?.close()
})

async function work () {
  const progress = await Progress.open(client, topic, consumer, { hold: 10000, worker: name, standby: true })
  reader = new Reader(client, topic, { follow: true, progress })
  try {
    for await (const message of reader) {
      console.log(`${name} does ${message}`)
      progress.done(message)
    }
  } finally {
    await progress.close()
  }
}

while (!stopped) {
  try {
    await work()
  } catch (error) {
    if (error instanceof Moved) console.error('an operator has moved it:', error.message) // and the next turn goes on there
    else if (!(stopped && error instanceof Closed)) throw error
  }
}
client.close()
