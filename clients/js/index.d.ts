// Types of the client of logd. Durations are in milliseconds; offsets and versions are
// BigInt, since they go to 2^63-1.

import type { SecureContextOptions } from 'node:tls'

/** HOST:PORT, or unix:PATH. */
export type Addr = string
/** Text is UTF-8. */
export type Body = string | Uint8Array

export const DEFAULT_ADDR: Addr

/** The name of a message, for ever: the offset of its batch and where in that it begins. */
export class ID {
  constructor (offset: bigint | number, delta?: number)
  /** The ID of a text OFFSET.DELTA, which is what toString makes. */
  static parse (text: string): ID
  readonly offset: bigint
  readonly delta: number
  equals (other: unknown): boolean
  toString (): string
  toJSON (): string
}

/** A message as it was read. */
export class Message {
  readonly id: ID
  readonly body: Buffer
  /** The ID that follows it: where to go on. */
  readonly next: ID
  /** The body as text. */
  toString (): string
}

export interface ClientOptions {
  /** Of a cluster they are where to begin: the others are found. Default: DEFAULT_ADDR alone. */
  addrs?: Addr[]
  /** true, or options of node:tls. Each of the tls files implies it. */
  tls?: boolean | SecureContextOptions
  /** Files, PEM, that are read at each connect. Without tlsCA the system's authorities count. */
  tlsCA?: string
  tlsCert?: string
  tlsKey?: string
  /** The name that the server's certificate is for, if that is not the address. */
  tlsServerName?: string
  token?: string
  /** A file that is read at each connect. */
  tokenFile?: string
  /** Let a token be sent without TLS to another machine. */
  allowPlainToken?: boolean
  /** Default 5000. */
  connectTimeout?: number
  /** How long the server may be silent while an answer is awaited. Default 15000. */
  readTimeout?: number
  /** How long a connection may rest and still be used. Default 25000. */
  idleTimeout?: number
  /** Pauses between attempts. Defaults 50 and 5000; in a cluster 5 to 500. */
  reconnectMin?: number
  reconnectMax?: number
  /** How many rounds through all addresses a call makes, null for without end. Default 5. */
  attempts?: number | null
  /** The longest answer in bytes. Default 256 MiB. */
  maxReply?: number
}

export interface ReadOptions {
  /** So many are enough: whole batches are read. Default 10000. */
  messages?: number
  /** So many bytes are enough; one batch comes whatever its length. Default 1 MiB. */
  maxBytes?: number
  /** How long to wait at the end of the log. Default 0. */
  wait?: number
}

export interface Result { offset: bigint, next: bigint, messages: Message[] }

export interface Info {
  /** The first offset still stored, and the one that the next batch gets. */
  oldest: bigint
  next: bigint
  messages: bigint
  bytes: bigint
  id: string
  /** 'writable', or 'read only: ' and why. */
  state: string
  /** Ranges that can't be read because they are damaged. */
  damaged: Array<[bigint, bigint]>
  /** Every line of the answer. */
  fields: Record<string, string>
}

export interface Position {
  topic: string
  consumer: string
  /** The first message that is not done. */
  at: ID
  version: bigint
  /** 'ok', 'gone', 'ahead' or 'stale'. */
  state: string
  holder: string | null
  fields: Record<string, string>
}

/**
 * Talks to a server, or to the members of a cluster, over one connection to each, which all
 * calls share. Nothing connects before it has to. It keeps the process alive until close.
 */
export class Client {
  constructor (options?: ClientOptions)
  /** End all connections, and the calls under way with Closed. */
  close (): void
  ping (): Promise<void>
  topics (): Promise<string[]>
  /** The server's settings, by name. */
  settings (): Promise<Record<string, string>>
  /** Store one message and return its ID once the server has answered. If the error's unknown
   * is true it may be stored all the same. Throws TooLarge if the message is longer than the
   * server takes, for which nothing is sent, or than the topic. */
  append (topic: string, body: Body): Promise<ID>
  /** Store several messages in one batch: all of them, or none. */
  appendBatch (topic: string, bodies: Body[]): Promise<ID[]>
  /** Batches from the offset on, where one must begin. Throws NoTopic, NoBatch; Corrupt if the
   * first one is damaged. At the end of the log there is none. */
  read (topic: string, offset: bigint | number, options?: ReadOptions): Promise<Result>
  /** Batches from the oldest one on. */
  tail (topic: string, options?: ReadOptions): Promise<Result>
  info (topic: string): Promise<Info>
  /** The offset of the first batch that was stored at or after that time, or the next one. */
  seek (topic: string, at: Date): Promise<bigint>
  position (topic: string, consumer: string): Promise<Position | null>
  positions (topic?: string): AsyncGenerator<Position>
  /** Returns the version. With `version` it is set only if that is the present one, 0n for none:
   * else the error is VersionConflict. `worker` is who holds it, or with `hold` is to. */
  setPosition (topic: string, consumer: string, at: ID, options?: {
    version?: bigint | number, id?: string, ttl?: number, hold?: number, worker?: string, note?: string, force?: boolean
  }): Promise<bigint>
  /** Have the position for the worker alone for so long, 1 s to 5 min; 0 lets it go. */
  holdPosition (topic: string, consumer: string, worker: string, hold: number): Promise<bigint>
  forgetPosition (topic: string, consumer: string, options?: { version?: bigint | number, force?: boolean }): Promise<void>
}

export interface WriterOptions {
  /** The longest batch in bytes. If the server or the topic takes less, that counts. Default 65536. */
  batchBytes?: number
  /** Default: as many as fit. */
  batchMessages?: number
  /** How long a message waits for others to share a batch with. Default 10. */
  batchAge?: number
  /** How many batches are sent before the first is answered, 1 to 32. Default 8. */
  inFlight?: number
  /** The memory for messages without an answer: beyond it, write waits. Default 1 MiB. */
  bufferBytes?: number
  /** How long it sends again since the last batch that was stored, null for without end; then
   * all messages that it has fail. Default 60000. */
  patience?: number | null
}

/**
 * Stores messages of one topic: each once, in the order of the calls, over lost connections,
 * restarts of the server and changes of its leader. If the server refuses a batch for good,
 * its messages fail and the Writer goes on with the next. If the server knows no numbers
 * (producers = 0), what was sent before a connection was lost fails, its `unknown` true.
 *
 * Batches are no larger than the server takes, nor than the topic does: the Writer asks at each
 * connect. If the topic's batch-size gets smaller later, it asks again and makes what the server
 * has refused anew, in smaller batches.
 */
export class Writer {
  constructor (client: Client, topic: string, options?: WriterOptions)
  readonly topic: string
  /** How many messages may be stored twice, because the server had forgotten this Writer. */
  readonly inDoubt: number
  /** Takes the message, once there is room for it. `id` is its ID once the server has answered,
   * null if it is stored and the server can't tell where any more. Throws TooLarge, and takes
   * nothing, if no batch can hold the message. If it turns out later that the topic takes no such
   * batch, `id` is rejected with TooLarge. */
  write (body: Body): Promise<{ id: Promise<ID | null> }>
  /** Takes the message and returns its ID once the server has answered. */
  store (body: Body): Promise<ID | null>
  /** Sends what is there, and returns when all of it is answered. Throws the first error that a
   * message got since the last flush. */
  flush (): Promise<void>
  /** Flush and end the Writer. What is not answered after `timeout` fails. */
  close (options?: { timeout?: number }): Promise<void>
}

export interface ReaderOptions<Gaps extends boolean = false> {
  /** 'start', the oldest message; 'end', what is written from now on; an offset; an ID; a time. */
  start?: 'start' | 'end' | bigint | number | ID | Date
  /** Behind this message, to go on where another Reader was. */
  after?: ID | null
  /** Wait for more at the end of the log, instead of ending. */
  follow?: boolean
  /** Wait for the topic to be made, too. */
  awaitTopic?: boolean
  /** So many messages at most. */
  limit?: number
  /** Have a Gap come among the messages and go on behind it, instead of throwing it. */
  gaps?: Gaps
  /** Begin where it is, and tell it of each message. */
  progress?: Progress | null
  /** How much to ask for at once. Default 1 MiB. */
  readBytes?: number
}

/**
 * Reads the messages of a topic. After a lost connection it reads on where it was, on any
 * member of a cluster: no message is missed or comes twice. What was removed or is damaged is
 * a Gap: thrown, again and again until skipGap is called, or with `gaps` delivered.
 *
 * It has a connection of its own. A loop of `for await` closes it when it is left.
 */
export class Reader<Gaps extends boolean = false> {
  constructor (client: Client, topic: string, options?: ReaderOptions<Gaps>)
  readonly topic: string
  /** The next message, null at the end. */
  read (): Promise<Message | (Gaps extends true ? Gap : never) | null>
  /** Go on behind the gap. */
  skipGap (): void
  /** End the Reader, also one that waits: that throws Closed. */
  close (): void
  [Symbol.asyncIterator] (): AsyncGenerator<Message | (Gaps extends true ? Gap : never)>
}

export interface ProgressOptions {
  /** At most one save in so long. Default 1000. */
  every?: number
  /** Have the position for this worker alone, until it was not heard of for so long, 1 s to 5 min. */
  hold?: number
  worker?: string
  /** Wait until nobody else holds it, instead of throwing Held. */
  standby?: boolean
  /** When the position counts as stale. Default: the server's setting. */
  ttl?: number
}

/**
 * Where the consumer of a topic is, kept on the server, for a Reader to begin at. It is saved
 * now and then, when it is closed, and once a day: a crash repeats what was done since the last
 * save. If somebody else sets the position, the next done or save throws Moved.
 */
export class Progress {
  static open (client: Client, topic: string, consumer: string, options?: ProgressOptions): Promise<Progress>
  /** The first message that is not done, null if nothing is known. */
  readonly at: ID | null
  /** Note that the program is done with the message. They may be done in any order. */
  done (message: Message): void
  /** Save now, if there is anything to save. */
  save (): Promise<void>
  /** Save, and let others have the position. */
  close (): Promise<void>
}

/** Which of n shares the key is of: FNV-1a (64 bit) modulo n, as in all clients. */
export function share (key: Body, n: number): number

/** The first of the shares NAME.0 to NAME.<n-1> that no other worker holds. Waits for one. */
export function firstFree (client: Client, topic: string, name: string, n: number, options: {
  hold: number, worker: string, pause?: number
}): Promise<{ number: number, progress: Progress }>

/** The base of all errors of this package. */
export class LogdError extends Error {
  /** Names the error in all of logd's clients. */
  readonly code: string
  /** The same call may succeed later or elsewhere. */
  readonly retryable: boolean
  /** Of an append: the messages may be stored all the same. Without it they certainly are not. */
  readonly unknown: boolean
}

/** The server has answered with an error. */
export class ServerError extends LogdError {
  /** What it said. */
  readonly reason: string
}

export class NotFound extends ServerError {}
export class NoTopic extends NotFound {}
export class NoBatch extends NotFound {}
export class InvalidRequest extends ServerError {}
export class InvalidProtocol extends ServerError {}
export class TooLarge extends ServerError {}
export class ChecksumMismatch extends ServerError {}
export class MaxTopics extends ServerError {}
export class TopicNotAllowed extends ServerError {}
export class Unauthorized extends ServerError {}
export class UnsupportedCodec extends ServerError {}
export class SequenceConflict extends ServerError {}
export class Busy extends ServerError {}
export class ShuttingDown extends ServerError {}
export class ReadOnly extends ServerError {}
export class TLSRequired extends ServerError {}
export class InternalError extends ServerError {}
export class MaxPositions extends ServerError {}
/** Another member leads: the one at `addr`, '' if that is not known. */
export class NotLeader extends ServerError { readonly addr: Addr }
/** A numbered batch is not the next one, which is `next`. */
export class OutOfOrder extends ServerError { readonly next: bigint }
/** The position was set by somebody else: `version` is the present one. */
export class VersionConflict extends ServerError { readonly version: bigint }
/** Another worker holds the position. */
export class Held extends ServerError { readonly leftMs: number }
/** No server could be reached. Nothing was sent. */
export class ConnectError extends LogdError {}
/** The connection ended before the answer. */
export class ConnectionLost extends LogdError {}
/** The server's answer breaks the protocol. */
export class BadAnswer extends LogdError {}
/** The batch at `offset` is damaged. */
export class Corrupt extends LogdError { readonly offset: bigint }
/** The Client, Writer, Reader or Progress was closed. */
export class Closed extends LogdError {}
/** A token would have gone to another machine without TLS. It was not sent. */
export class PlainToken extends LogdError {}
/** What a Reader wanted is not there any more: offsets from `begin` to before `end`. */
export class Gap extends NotFound {
  readonly begin: bigint
  readonly end: bigint
  /** 'replaced': the topic was deleted, and another one has its name. */
  readonly cause: 'retention' | 'damage' | 'replaced'
}
/** Nothing begins where a Reader was to begin. */
export class NoMessage extends NotFound {
  readonly offset: bigint
  readonly delta: number
  readonly next: bigint
}
/** Somebody else has set the position: `position` is where it is now. */
export class Moved extends LogdError { readonly position: Position | null }
