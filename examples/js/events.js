// Serves a page that shows the messages of a topic as they come: events.js TOPIC [PORT]
//
// The page's EventSource resumes by itself, each message once. logd lets no page of another
// origin read, so this program passes the events on: page and events have one origin.

import { readFile } from 'node:fs/promises'
import { createServer, get } from 'node:http'

const [topic, port = '8080'] = process.argv.slice(2)
const logd = process.env.LOGD_HTTP ?? 'http://127.0.0.1:1775'
const page = await readFile(new URL('events.html', import.meta.url))

const server = createServer((request, response) => {
  if (request.url === '/') return response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(page)
  if (request.url !== '/events') return response.writeHead(404).end()
  const headers = { Accept: 'text/event-stream' }
  if (request.headers['last-event-id']) headers['Last-Event-ID'] = request.headers['last-event-id']
  const events = get(`${logd}/api/v1/topics/${topic}/messages?from=start&await=1`, { headers }, (answer) => {
    response.writeHead(answer.statusCode, { 'Content-Type': answer.headers['content-type'] })
    answer.pipe(response)
    answer.on('error', () => response.destroy())
  })
  events.on('error', () => response.destroy()) // and the page tries again
  response.on('close', () => events.destroy())
})
server.listen(Number(port), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/`))
