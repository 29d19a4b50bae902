"""The errors of the client. Each has a *code*, which names it in all of logd's clients."""

from __future__ import annotations

from typing import Dict, Optional, Type

__all__ = [
    "Error", "ServerError", "NotFound", "NoTopic", "NoBatch", "InvalidRequest", "InvalidProtocol", "TooLarge",
    "ChecksumMismatch", "MaxTopics", "TopicNotAllowed", "Unauthorized", "UnsupportedCodec", "NotLeader", "OutOfOrder",
    "SequenceConflict", "Busy", "ShuttingDown", "ReadOnly", "TLSRequired", "InternalError", "VersionConflict", "Held",
    "MaxPositions", "ConnectError", "ConnectionLost", "BadAnswer", "Corrupt", "Closed", "PlainToken", "Gap", "NoMessage",
    "Moved",
]


class Error(Exception):
    """The base of all errors of this package.

    ``unknown`` is of an append: the connection ended before the answer, and the messages
    may be stored or not. If it is false they are certainly not stored.
    """

    code = "error"
    #: The same call may succeed later or elsewhere, without anybody changing it.
    retryable = False
    unknown = False

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.code)


class ServerError(Error):
    """The server has answered with an error. ``reason`` is what it said."""

    #: The server closes the connection after this answer.
    closes = False

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason or self.code
        if type(self) is ServerError:
            self.code = self.reason


class NotFound(ServerError):
    """There is no such topic, or nothing begins at the offset."""

    code = "not found"


class NoTopic(NotFound):
    """There is no such topic."""

    code = "no topic"


class NoBatch(NotFound):
    """The topic has no batch that starts at the offset."""

    code = "no batch"


class InvalidRequest(ServerError):
    code = "invalid request"


class InvalidProtocol(ServerError):
    code = "invalid protocol"
    closes = True


class TooLarge(ServerError):
    """The batch is over the server's limit. The client does not send such a batch."""

    code = "too large"
    closes = True


class ChecksumMismatch(ServerError):
    code = "checksum mismatch"


class MaxTopics(ServerError):
    code = "maximum topics allowed"


class TopicNotAllowed(ServerError):
    code = "topic not allowed"


class Unauthorized(ServerError):
    """The server wants a token, or another one, or no rule of it allows this."""

    code = "unauthorized"


class UnsupportedCodec(ServerError):
    """The batch is compressed, which this client does not read."""

    code = "unsupported codec"


class NotLeader(ServerError):
    """Another member of the cluster leads: the one at ``addr``, if that is known."""

    code = "not leader"
    retryable = True

    def __init__(self, reason: str = "", addr: str = "") -> None:
        super().__init__(reason)
        self.addr = addr


class OutOfOrder(ServerError):
    """A numbered batch is not the next one, which is ``next``."""

    code = "out of order"

    def __init__(self, reason: str = "", next: int = 0) -> None:
        super().__init__(reason)
        self.next = next


class SequenceConflict(ServerError):
    code = "sequence conflict"


class Busy(ServerError):
    code = "busy"
    retryable = True


class ShuttingDown(ServerError):
    code = "shutting down"
    retryable = True
    closes = True


class ReadOnly(ServerError):
    """The server's storage takes no writes; reads go on."""

    code = "read only"
    retryable = True


class TLSRequired(ServerError):
    code = "tls required"
    closes = True


class InternalError(ServerError):
    code = "internal error"
    retryable = True


class VersionConflict(ServerError):
    """The position was set by somebody else: ``version`` is the present one."""

    code = "version conflict"

    def __init__(self, reason: str = "", version: int = 0) -> None:
        super().__init__(reason)
        self.version = version


class Held(ServerError):
    """Another worker holds the position, for ``left_ms`` more milliseconds."""

    code = "held"

    def __init__(self, reason: str = "", left_ms: int = 0) -> None:
        super().__init__(reason)
        self.left_ms = left_ms


class MaxPositions(ServerError):
    code = "maximum positions allowed"


class ConnectError(Error):
    """No server could be reached. Nothing was sent."""

    code = "connect"
    retryable = True


class ConnectionLost(Error):
    """The connection ended before the answer."""

    code = "connection lost"
    retryable = True

    def __init__(self, message: str = "", unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


class BadAnswer(Error):
    """The server's answer breaks the protocol. The connection was closed."""

    code = "bad answer"


class Corrupt(Error):
    """The batch at ``offset`` is damaged."""

    code = "corrupt"

    def __init__(self, message: str = "", offset: int = -1) -> None:
        super().__init__(message)
        self.offset = offset


class Closed(Error):
    """The Client, Writer, Reader or Progress was closed."""

    code = "closed"


class PlainToken(Error):
    """A token would have gone to another machine without TLS. It was not sent."""

    code = "plain token"


class Gap(NotFound):
    """What a Reader wanted is not there any more: offsets from ``begin`` to before ``end``.

    ``cause`` is ``"retention"``, ``"damage"`` or ``"replaced"``: the topic was deleted and
    another one has its name, which begins at ``end``.
    """

    code = "gap"

    def __init__(self, begin: int, end: int, cause: str) -> None:
        words = {
            "retention": f"offset {begin} is gone; the oldest is {end}",
            "damage": f"offset {begin} is damaged; what is stored goes on at {end}",
            "replaced": f"offset {begin} is of a topic that was deleted: another one has its name now, from offset {end} on",
        }
        super().__init__(words[cause])
        self.begin, self.end, self.cause = begin, end, cause


class NoMessage(NotFound):
    """Nothing begins where a Reader was to begin: ``offset``, or ``delta`` in the batch there."""

    code = "no message"

    def __init__(self, offset: int, delta: int, next: int) -> None:
        if offset > next:
            words = f"offset {offset} is beyond the end, {next}"
        elif delta:
            words = f"delta {delta} is not the beginning of a message in the batch at offset {offset}"
        else:
            words = f"offset {offset} is not the beginning of a batch"
        super().__init__(words)
        self.offset, self.delta, self.next = offset, delta, next


class Moved(Error):
    """Somebody else has set the position: ``position`` is where it is now, None if it was forgotten."""

    code = "moved"

    def __init__(self, message: str = "", position: object = None) -> None:
        super().__init__(message)
        self.position = position


_BY_REASON: Dict[str, Type[ServerError]] = {
    kind.code: kind
    for kind in (
        NotFound, InvalidRequest, InvalidProtocol, TooLarge, ChecksumMismatch, MaxTopics, TopicNotAllowed, Unauthorized,
        UnsupportedCodec, NotLeader, SequenceConflict, Busy, ShuttingDown, ReadOnly, TLSRequired, InternalError, MaxPositions,
    )
}


def from_reason(reason: str) -> ServerError:
    """Return the error for what follows ERR in an answer."""
    kind = _BY_REASON.get(reason)
    if kind is not None:
        return kind(reason)
    words, _, last = reason.rpartition(" ")
    if words == NotLeader.code:
        return NotLeader(reason, last)
    number: Optional[int] = int(last) if last.isascii() and last.isdigit() else None
    if number is not None and words == OutOfOrder.code:
        return OutOfOrder(reason, number)
    if number is not None and words == VersionConflict.code:
        return VersionConflict(reason, number)
    if number is not None and words == Held.code:
        return Held(reason, number)
    return ServerError(reason)
