// The errors of the client. Each has a code, which names it in all of logd's clients.

/**
 * The base of all errors. `retryable`: the same call may succeed later or elsewhere.
 * `unknown`, of an append: the messages may be stored all the same; without it they are
 * certainly not.
 */
export class LogdError extends Error {
  static code = 'error'
  retryable = false
  unknown = false

  constructor (message, code) {
    super(message)
    this.name = this.constructor.name
    this.code = code ?? this.constructor.code
    this.message ||= this.code
  }
}

/** The server has answered with an error. `reason` is what it said. */
export class ServerError extends LogdError {
  closes = false // the server closes the connection after this answer

  constructor (reason, code) {
    super(reason, code)
    this.reason = reason || this.code
  }
}

const kind = (code, { base = ServerError, retryable = false, closes = false } = {}) => class extends base {
  static code = code
  constructor (message) {
    super(message, code)
    this.retryable = retryable
    if (closes) this.closes = true
  }
}

export class NotFound extends kind('not found') {}

export class NoTopic extends NotFound {
  code = 'no topic'
  constructor (message = 'there is no such topic') { super(message) }
}

export class NoBatch extends NotFound {
  code = 'no batch'
  constructor (message = 'no batch begins there') { super(message) }
}

export class InvalidRequest extends kind('invalid request') {}
export class InvalidProtocol extends kind('invalid protocol', { closes: true }) {}
export class TooLarge extends kind('too large', { closes: true }) {}
export class ChecksumMismatch extends kind('checksum mismatch') {}
export class MaxTopics extends kind('maximum topics allowed') {}
export class TopicNotAllowed extends kind('topic not allowed') {}
export class Unauthorized extends kind('unauthorized') {}
export class UnsupportedCodec extends kind('unsupported codec') {}
export class SequenceConflict extends kind('sequence conflict') {}
export class Busy extends kind('busy', { retryable: true }) {}
export class ShuttingDown extends kind('shutting down', { retryable: true, closes: true }) {}
export class ReadOnly extends kind('read only', { retryable: true }) {}
export class TLSRequired extends kind('tls required', { closes: true }) {}
export class InternalError extends kind('internal error', { retryable: true }) {}
export class MaxPositions extends kind('maximum positions allowed') {}

/** Another member of the cluster leads: the one at `addr`, '' if that is not known. */
export class NotLeader extends kind('not leader', { retryable: true }) {
  addr = ''
}

/** A numbered batch is not the next one, which is `next`. */
export class OutOfOrder extends kind('out of order') {
  next = 0n
}

/** The position was set by somebody else: `version` is the present one. */
export class VersionConflict extends kind('version conflict') {
  version = 0n
}

/** Another worker holds the position, for `leftMs` more milliseconds. */
export class Held extends kind('held') {
  leftMs = 0
}

/** No server could be reached. Nothing was sent. */
export class ConnectError extends kind('connect', { base: LogdError, retryable: true }) {}

/** The connection ended before the answer. */
export class ConnectionLost extends kind('connection lost', { base: LogdError, retryable: true }) {}

/** The server's answer breaks the protocol. The connection was closed. */
export class BadAnswer extends kind('bad answer', { base: LogdError }) {}

/** The batch at `offset` is damaged. */
export class Corrupt extends kind('corrupt', { base: LogdError }) {
  constructor (message, offset = -1n) {
    super(message)
    this.offset = offset
  }
}

/** The Client, Writer, Reader or Progress was closed. */
export class Closed extends kind('closed', { base: LogdError }) {}

/** A token would have gone to another machine without TLS. It was not sent. */
export class PlainToken extends kind('plain token', { base: LogdError }) {}

/**
 * What a Reader wanted is not there any more: offsets from `begin` to before `end`. `cause`
 * is 'retention', 'damage' or 'replaced': the topic was deleted and another one has its
 * name, which begins at `end`.
 */
export class Gap extends NotFound {
  code = 'gap'

  constructor (begin, end, cause) {
    super({
      retention: `offset ${begin} is gone; the oldest is ${end}`,
      damage: `offset ${begin} is damaged; what is stored goes on at ${end}`,
      replaced: `offset ${begin} is of a topic that was deleted: another one has its name now, from offset ${end} on`
    }[cause])
    Object.assign(this, { begin, end, cause })
  }
}

/** Nothing begins where a Reader was to begin: `offset`, or `delta` in the batch there. */
export class NoMessage extends NotFound {
  code = 'no message'

  constructor (offset, delta, next) {
    super(offset > next
      ? `offset ${offset} is beyond the end, ${next}`
      : delta
        ? `delta ${delta} is not the beginning of a message in the batch at offset ${offset}`
        : `offset ${offset} is not the beginning of a batch`)
    Object.assign(this, { offset, delta, next })
  }
}

/** Somebody else has set the position: `position` is where it is now, null if it was forgotten. */
export class Moved extends kind('moved', { base: LogdError }) {
  position = null
}

const byReason = new Map([
  NotFound, InvalidRequest, InvalidProtocol, TooLarge, ChecksumMismatch, MaxTopics, TopicNotAllowed, Unauthorized, UnsupportedCodec,
  NotLeader, SequenceConflict, Busy, ShuttingDown, ReadOnly, TLSRequired, InternalError, MaxPositions
].map(type => [type.code, type]))

/** Return the error for what follows ERR in an answer. */
export function fromReason (reason) {
  const type = byReason.get(reason)
  if (type) return new type(reason)
  const [, words, last] = /^(.*) (\S+)$/.exec(reason) ?? []
  if (words === NotLeader.code) return Object.assign(new NotLeader(reason), { addr: last })
  if (/^[0-9]+$/.test(last ?? '')) {
    if (words === OutOfOrder.code) return Object.assign(new OutOfOrder(reason), { next: BigInt(last) })
    if (words === VersionConflict.code) return Object.assign(new VersionConflict(reason), { version: BigInt(last) })
    if (words === Held.code) return Object.assign(new Held(reason), { leftMs: Number(last) })
  }
  return new ServerError(reason, reason)
}
