// A client of logd, a networked append-only log. It needs nothing but Node 18.
//
//     import { Client, Reader } from 'logd'
//
//     const client = new Client({ addrs: ['127.0.0.1:1774'] })
//     console.log(String(await client.append('greetings', 'hello')))
//     for await (const message of new Reader(client, 'greetings')) {
//       console.log(String(message.id), String(message))
//     }
//     client.close()
//
// Client makes single calls, Writer stores many messages, each once and in order, Reader
// reads and follows a topic, and Progress keeps on the server how far a program has come.

export { Client, DEFAULT_ADDR } from './lib/client.js'
export { Writer } from './lib/writer.js'
export { Reader } from './lib/reader.js'
export { Progress, firstFree, share } from './lib/progress.js'
export { ID, Message } from './lib/wire.js'
export {
  BadAnswer, Busy, ChecksumMismatch, Closed, ConnectError, ConnectionLost, Corrupt, Gap, Held, InternalError, InvalidProtocol, InvalidRequest,
  LogdError, MaxPositions, MaxTopics, Moved, NoBatch, NoMessage, NoTopic, NotFound, NotLeader, OutOfOrder, PlainToken, ReadOnly,
  SequenceConflict, ServerError, ShuttingDown, TLSRequired, TooLarge, TopicNotAllowed, Unauthorized, UnsupportedCodec, VersionConflict
} from './lib/errors.js'
