// Prints messages as they come: follower.js TOPIC [AFTER]
//
// AFTER is the id of the last message that was seen, as it was printed: the program goes on
// behind it. Without it, it begins with the oldest message.

import { Client, DEFAULT_ADDR, Gap, ID, Reader } from '../../clients/js/index.js'

const [topic, after] = process.argv.slice(2)
const client = new Client({ addrs: (process.env.LOGD_CLI_HOST ?? DEFAULT_ADDR).split(','), attempts: null })
const reader = new Reader(client, topic, { after: after ? ID.parse(after) : null, follow: true, awaitTopic: true, gaps: true })
for await (const message of reader) {
  if (message instanceof Gap) {
    console.error('lost:', message.message)
    continue
  }
  console.log(`${message.id} ${message}`)
}
