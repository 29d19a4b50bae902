"""The errors of the client. Each has a *code*, which names it in all of logd's clients."""

from __future__ import annotations

from typing import Any, Dict, Type

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

    def __init_subclass__(cls, code: str = "", retryable: bool = False, **more: Any) -> None:
        super().__init_subclass__(**more)
        if code:
            cls.code = code
        if retryable:
            cls.retryable = True

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.code)


#: The errors that are an answer of the server's, by what that says.
_BY_REASON: Dict[str, Type[ServerError]] = {}


class ServerError(Error):
    """The server has answered with an error. ``reason`` is what it said."""

    #: The server closes the connection after this answer.
    closes = False

    def __init_subclass__(cls, code: str = "", closes: bool = False, **more: Any) -> None:
        super().__init_subclass__(code=code, **more)
        if closes:
            cls.closes = True
        if code and ServerError in cls.__bases__:
            _BY_REASON[code] = cls

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason or self.code
        if type(self) is ServerError:
            self.code = self.reason


class NotFound(ServerError, code="not found"):
    """There is no such topic, or nothing begins at the offset."""


class NoTopic(NotFound, code="no topic"):
    """There is no such topic."""


class NoBatch(NotFound, code="no batch"):
    """The topic has no batch that starts at the offset."""


class InvalidRequest(ServerError, code="invalid request"):
    """The server does not take such a request."""


class InvalidProtocol(ServerError, code="invalid protocol", closes=True):
    """What was sent is no request."""


class TooLarge(ServerError, code="too large", closes=True):
    """The batch is over the server's limit, or its topic's."""


class ChecksumMismatch(ServerError, code="checksum mismatch"):
    """The batch was changed on its way."""


class MaxTopics(ServerError, code="maximum topics allowed"):
    """There are as many topics as the server allows."""


class TopicNotAllowed(ServerError, code="topic not allowed"):
    """The server allows only some topics, and this is none of them."""


class Unauthorized(ServerError, code="unauthorized"):
    """The server wants a token, or another one, or no rule of it allows this."""


class UnsupportedCodec(ServerError, code="unsupported codec"):
    """The batch is compressed, which this client does not read."""


class NotLeader(ServerError, code="not leader", retryable=True):
    """Another member of the cluster leads: the one at ``addr``, if that is known."""

    def __init__(self, reason: str = "", addr: str = "") -> None:
        super().__init__(reason)
        self.addr = addr


class OutOfOrder(ServerError, code="out of order"):
    """A numbered batch is not the next one, which is ``next``."""

    def __init__(self, reason: str = "", next: int = 0) -> None:
        super().__init__(reason)
        self.next = next


class SequenceConflict(ServerError, code="sequence conflict"):
    """Another batch has the number, which is stored."""


class Busy(ServerError, code="busy", retryable=True):
    """The server has too much to do right now."""


class ShuttingDown(ServerError, code="shutting down", retryable=True, closes=True):
    """The server is about to end."""


class ReadOnly(ServerError, code="read only", retryable=True):
    """The server's storage takes no writes; reads go on."""


class TLSRequired(ServerError, code="tls required", closes=True):
    """The server wants TLS."""


class InternalError(ServerError, code="internal error", retryable=True):
    """The server has failed; its log says more."""


class VersionConflict(ServerError, code="version conflict"):
    """The position was set by somebody else: ``version`` is the present one."""

    def __init__(self, reason: str = "", version: int = 0) -> None:
        super().__init__(reason)
        self.version = version


class Held(ServerError, code="held"):
    """Another worker holds the position, for ``left_ms`` more milliseconds."""

    def __init__(self, reason: str = "", left_ms: int = 0) -> None:
        super().__init__(reason)
        self.left_ms = left_ms


class MaxPositions(ServerError, code="maximum positions allowed"):
    """There are as many positions as the server allows."""


class ConnectError(Error, code="connect", retryable=True):
    """No server could be reached. Nothing was sent."""


class ConnectionLost(Error, code="connection lost", retryable=True):
    """The connection ended before the answer."""

    def __init__(self, message: str = "", unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


class BadAnswer(Error, code="bad answer"):
    """The server's answer breaks the protocol. The connection was closed."""


class Corrupt(Error, code="corrupt"):
    """The batch at ``offset`` is damaged."""

    def __init__(self, message: str = "", offset: int = -1) -> None:
        super().__init__(message)
        self.offset = offset


class Closed(Error, code="closed"):
    """The Client, Writer, Reader or Progress was closed."""


class PlainToken(Error, code="plain token"):
    """A token would have gone to another machine without TLS. It was not sent."""


class Gap(NotFound, code="gap"):
    """What a Reader wanted is not there any more: offsets from ``begin`` to before ``end``.

    ``cause`` is ``"retention"``, ``"damage"`` or ``"replaced"``: the topic was deleted and
    another one has its name, which begins at ``end``.
    """

    def __init__(self, begin: int, end: int, cause: str) -> None:
        words = {
            "retention": f"offset {begin} is gone; the oldest is {end}",
            "damage": f"offset {begin} is damaged; what is stored goes on at {end}",
            "replaced": f"offset {begin} is of a topic that was deleted: another one has its name now, from offset {end} on",
        }
        super().__init__(words[cause])
        self.begin, self.end, self.cause = begin, end, cause


class NoMessage(NotFound, code="no message"):
    """Nothing begins where a Reader was to begin: ``offset``, or ``delta`` in the batch there."""

    def __init__(self, offset: int, delta: int, next: int) -> None:
        if offset > next:
            words = f"offset {offset} is beyond the end, {next}"
        elif delta:
            words = f"delta {delta} is not the beginning of a message in the batch at offset {offset}"
        else:
            words = f"offset {offset} is not the beginning of a batch"
        super().__init__(words)
        self.offset, self.delta, self.next = offset, delta, next


class Moved(Error, code="moved"):
    """Somebody else has set the position: ``position`` is where it is now, None if it was forgotten."""

    def __init__(self, message: str = "", position: object = None) -> None:
        super().__init__(message)
        self.position = position


#: Those whose reason ends with a number, which they tell.
_NUMBERED = (OutOfOrder, VersionConflict, Held)


def from_reason(reason: str) -> ServerError:
    """Return the error for what follows ERR in an answer."""
    kind = _BY_REASON.get(reason)
    if kind is not None and kind not in _NUMBERED:
        return kind(reason)
    words, _, last = reason.rpartition(" ")
    kind = _BY_REASON.get(words)
    if kind is NotLeader:
        return NotLeader(reason, last)
    if kind in _NUMBERED and last.isascii() and last.isdigit():
        return kind(reason, int(last))
    return ServerError(reason)
