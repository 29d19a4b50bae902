// Stores lines: producer.js TOPIC [LINE…], or the lines of standard input.
//
// Each message is stored once and in order, also if the server is restarted meanwhile.

import { createInterface } from 'node:readline'
import { Client, DEFAULT_ADDR, Writer } from '../../clients/js/index.js'

const [topic, ...words] = process.argv.slice(2)
const lines = words.length ? words : createInterface({ input: process.stdin })
const client = new Client({ addrs: (process.env.LOGD_CLI_HOST ?? DEFAULT_ADDR).split(','), tokenFile: process.env.LOGD_TOKEN_FILE })
const writer = new Writer(client, topic, { batchAge: 100 }) // ms that a line waits for others
const taken = []
for await (const line of lines) taken.push(await writer.write(line))
await writer.flush() // or throws why a message is not stored
for (const { id } of taken) console.log(String(await id))
await writer.close()
client.close()
