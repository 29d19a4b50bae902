"""The bytes of the protocol: batches, and answers as they come. No sockets here.

An answer is parsed by a generator, which asks for more bytes by yielding: so it does not
matter how the bytes are cut on their way.
"""

from __future__ import annotations

import re
import zlib
from typing import Generator, Iterable, List, NamedTuple, Optional, Tuple

from .errors import BadAnswer, Corrupt, Error, InvalidRequest, from_reason

MAX_LINE = 1024
MAX_NUMBER = 2**63 - 1
DEFAULT_MAX_BATCH = 65536

_NUMBER = rb"(0|[1-9][0-9]{0,18})"
_ENVELOPE = re.compile(
    rb"BATCH " + _NUMBER + rb" ([A-Za-z0-9_-][A-Za-z0-9._-]{0,254}) " + _NUMBER + rb" " + _NUMBER
    + rb"(?: codec=([a-z0-9]{1,16}))?(?: pid=([A-Za-z0-9._-]{1,32}) seq=" + _NUMBER + rb")?\Z"
)
_TOPIC = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}\Z")
_MESSAGE = re.compile(rb"MSG " + _NUMBER + rb"\r\n")
_OFFSET_REPLY = re.compile(rb"OK " + _NUMBER + rb" " + _NUMBER + rb"\Z")
_BODY_REPLY = re.compile(rb"MOK " + _NUMBER + rb"\Z")


class ID(NamedTuple):
    """The name of a message, for ever: the offset of its batch and where in that it begins."""

    offset: int
    delta: int = 0

    def __str__(self) -> str:
        return f"{self.offset}.{self.delta}"

    @staticmethod
    def parse(text: str) -> "ID":
        """Return the ID that ``str`` has made the text of."""
        match = re.fullmatch(r"(0|[1-9][0-9]{0,18})(?:\.(0|[1-9][0-9]{0,18}))?", text)
        if not match:
            raise ValueError(f"{text!r} is not OFFSET.DELTA")
        return ID(int(match[1]), int(match[2] or 0))


class Message(NamedTuple):
    """A message as it was read. ``next`` is the ID that follows it: where to go on."""

    id: ID
    body: bytes
    next: ID


class Envelope(NamedTuple):
    size: int
    topic: str
    crc: int
    messages: int
    codec: Optional[str]


class Reply(NamedTuple):
    """An answer. ``damage`` is why its batches end before they should."""

    offset: int = -1
    body: bytes = b""
    next: int = -1
    messages: Tuple[Message, ...] = ()
    damage: Optional[Error] = None


class Expect(NamedTuple):
    """What the answer to a request must be: ok, append, offset, body or batches."""

    form: str
    topic: str = ""
    offset: int = -1
    messages: int = 0


def check_topic(topic: str) -> None:
    if not _TOPIC.match(topic):
        raise InvalidRequest(f"{topic!r} is no name of a topic: 1 to 255 of A-Z a-z 0-9 . _ -, not starting with a dot")


def frame(bodies: Iterable[bytes]) -> Tuple[bytes, List[int]]:
    """Return the data of a batch of these messages, and where each begins."""
    parts, deltas, at = [], [], 0
    for body in bodies:
        part = b"MSG %d\r\n%b\r\n" % (len(body), body)
        parts.append(part)
        deltas.append(at)
        at += len(part)
    return b"".join(parts), deltas


def frame_len(body: bytes) -> int:
    """Return the length of one message in a batch."""
    return len(body) + len(str(len(body))) + 8


def batch(topic: str, data: bytes, messages: int, pid: str = "", seq: int = 0) -> bytes:
    """Return the batch of this data: what is sent, and what is stored."""
    number = f" pid={pid} seq={seq}" if pid else ""
    return f"BATCH {len(data)} {topic} {zlib.crc32(data)} {messages}{number}\r\n".encode() + data


def _number(digits: bytes) -> int:
    n = int(digits)
    if n > MAX_NUMBER:
        raise BadAnswer(f"{n} is no number of the protocol")
    return n


def envelope(line: bytes) -> Envelope:
    """Parse the first line of a batch, without its end."""
    match = _ENVELOPE.match(line)
    if not match:
        raise BadAnswer(f"{line[:80]!r} is no envelope of a batch")
    size, topic, crc, messages, codec = match.group(1, 2, 3, 4, 5)
    return Envelope(_number(size), topic.decode(), _number(crc), _number(messages), codec and codec.decode())


def split(data: bytes, messages: int) -> List[Tuple[int, bytes]]:
    """Return where each message of the data begins, and its body."""
    found: List[Tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        match = _MESSAGE.match(data, at)
        end = match.end() + int(match[1]) if match else 0
        if not match or data[end:end + 2] != b"\r\n":
            raise Corrupt(f"no message begins at {at} of a batch")
        found.append((at, data[match.end():end]))
        at = end + 2
    if len(found) != messages:
        raise Corrupt(f"a batch of {messages} messages has {len(found)}")
    return found


def _framed(data: bytearray, start: int, head: Envelope) -> bool:
    """Report whether what has come of a batch may be the beginning of its data: if its size
    is what is damaged, the rest never comes."""
    at, end, left = start, start + head.size, head.messages
    while at < len(data):
        match = _MESSAGE.match(data, at)
        if not match:
            return len(data) - at < 26 and data[at:at + 4] == b"MSG "[: len(data) - at]
        at = match.end() + int(match[1]) + 2
        left -= 1
        if at > end or left < 0 or (left == 0) != (at == end):
            return False
    return True


class Parser:
    """Answers, out of the bytes that are fed to it."""

    def __init__(self, max_reply: int) -> None:
        self._max = max_reply
        self._in = bytearray()
        self._at = 0  # what is before that is used up
        self._run: Optional[Generator[None, None, Reply]] = None
        #: Of an answer of batches that is not whole: where the next one begins, and what came before.
        self.torn: Optional[Tuple[int, Tuple[Message, ...]]] = None

    def feed(self, data: bytes) -> None:
        self._in += data

    @property
    def pending(self) -> bool:
        """There are bytes that no answer has used."""
        return self._run is not None or len(self._in) > self._at

    def cut(self) -> Reply:
        """Return what has come of the answer that is torn."""
        assert self.torn is not None
        at, messages = self.torn
        return Reply(messages[0].id.offset, b"", at, messages)

    def next(self, expect: Optional[Expect]) -> Optional[Reply]:
        """Return the next answer if it has come whole. Raises the error that it is: of the
        server, or BadAnswer, behind which nothing can be read."""
        if self._run is None:
            self._run = self._reply(expect)
        try:
            next(self._run)
        except StopIteration as end:
            self._reset()
            return end.value
        except Error:
            self._reset()
            raise
        return None

    def _reset(self) -> None:
        self._run, self.torn = None, None
        del self._in[: self._at]
        self._at = 0

    def _line(self) -> Generator[None, None, bytes]:
        looked = self._at
        while True:
            end = self._in.find(b"\n", looked, self._at + MAX_LINE + 2)
            if end >= 0:
                break
            if len(self._in) - self._at >= MAX_LINE + 2:
                raise BadAnswer(f"a line of over {MAX_LINE} bytes")
            looked = len(self._in)
            yield
        line = bytes(self._in[self._at:end])
        self._at = end + 1
        if not line.endswith(b"\r"):
            raise BadAnswer(f"{line[:80]!r} does not end with CRLF")
        return line[:-1]

    def _bytes(self, n: int) -> Generator[None, None, bytes]:
        while len(self._in) - self._at < n:
            yield
        data = bytes(self._in[self._at:self._at + n])
        self._at += n
        return data

    def _reply(self, expect: Optional[Expect]) -> Generator[None, None, Reply]:
        line = yield from self._line()
        if line.startswith(b"ERR ") and len(line) > 4:
            raise from_reason(line[4:].decode("utf-8", "replace"))
        if expect is None:
            raise BadAnswer(f"{line[:80]!r} answers no request")
        offset = _OFFSET_REPLY.match(line)
        body = _BODY_REPLY.match(line)
        count = _number(offset[2]) if offset else -1
        if expect.form == "ok" and line == b"OK":
            return Reply()
        if offset and (expect.form, count) in (("append", 1), ("offset", 0)):
            return Reply(_number(offset[1]))
        if body and expect.form == "body":
            return (yield from self._body(_number(body[1])))
        if offset and expect.form == "batches":
            return (yield from self._batches(expect, _number(offset[1]), count))
        raise BadAnswer(f"{line[:80]!r} is no answer to this request")

    def _body(self, size: int) -> Generator[None, None, Reply]:
        if size > self._max:
            raise BadAnswer(f"a body of {size} bytes, of at most {self._max}")
        body = yield from self._bytes(size + 2)
        if not body.endswith(b"\r\n"):
            raise BadAnswer(f"{body[-2:]!r} follows a body")
        return Reply(body=body[:-2])

    def _batches(self, expect: Expect, offset: int, count: int) -> Generator[None, None, Reply]:
        if expect.offset not in (-1, offset):
            raise BadAnswer(f"batches from offset {offset}, asked for {expect.offset}")
        if count > expect.messages:
            raise BadAnswer(f"{count} batches, asked for {expect.messages} messages")
        found: List[Message] = []
        next_, damage = offset, None
        at = offset  # of the batch that is being read; next_ follows the last good one
        for _ in range(count):
            if damage is None:
                self.torn = at, tuple(found)
            try:
                head, length, messages, bad = yield from self._batch(expect.topic, at, self._max - (at - offset))
            except Error as error:  # where the next batch or answer begins can't be told
                lost = error if isinstance(error, Corrupt) else Corrupt(f"at offset {at}: {error}", at)
                raise Lost(Reply(offset, b"", next_, tuple(found), damage or lost)) from error
            if damage is None and bad is None:
                found += messages
                next_ = at + length
            damage = damage or bad
            at += length
        return Reply(offset, b"", next_, tuple(found), damage)

    def _batch(self, topic: str, offset: int, most: int) -> Generator[None, None, Tuple[Envelope, int, List[Message], Optional[Corrupt]]]:
        start = b"BATCH "
        while len(self._in) - self._at < len(start):
            if not start.startswith(self._in[self._at:]):
                break
            yield
        if self._in[self._at:self._at + len(start)] != start:
            raise BadAnswer(f"{bytes(self._in[self._at:self._at + 50])!r} begins no batch")
        line = yield from self._line()
        head = envelope(line)
        if head.topic != topic:
            raise BadAnswer(f"a batch of topic {head.topic!r} at offset {offset}, asked for {topic!r}")
        if head.size + len(line) > most or offset + head.size + len(line) > MAX_NUMBER:
            raise BadAnswer(f"a batch of {head.size} bytes at offset {offset}")
        while len(self._in) - self._at < head.size:
            if not head.codec and not _framed(self._in, self._at, head):
                raise Corrupt(f"the batch at offset {offset} is not what its envelope says", offset)
            yield
        data = bytes(self._in[self._at:self._at + head.size])
        length = len(line) + 2 + head.size
        try:
            if head.codec:
                raise BadAnswer(f"the batch at offset {offset} is compressed, which was not offered")
            bodies = split(data, head.messages)
        except Corrupt as error:
            raise Corrupt(f"at offset {offset}: {error}", offset) from None
        self._at += head.size
        if zlib.crc32(data) != head.crc:
            return head, length, [], Corrupt(f"the checksum of the batch at offset {offset} is wrong", offset)
        ids = [ID(offset, delta) for delta, _ in bodies] + [ID(offset + length)]
        return head, length, [Message(ids[i], body, ids[i + 1]) for i, (_, body) in enumerate(bodies)], None


class Lost(Error):
    """An answer whose end can't be found: what came before that is its reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply.damage))
        self.reply = reply


def fields(body: bytes) -> dict:
    """Parse lines of the form ``Name: value``."""
    out = {}
    for line in body.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        out[name] = value.strip()
    return out


def words(line: str) -> dict:
    """Parse words of the form ``name=value``; ``-`` is an absent value."""
    out = {}
    for word in line.split():
        name, found, value = word.partition("=")
        if found and value != "-":
            out[name] = value
    return out


def duration(text: str) -> float:
    """Return the seconds of a duration as the server writes it: 1m0.5s."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}
    return sum(float(n) * units[u] for n, u in re.findall(r"([0-9.]+)(ms|µs|us|ns|h|m|s)", text))
