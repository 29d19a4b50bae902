"""A Writer: many messages into few batches, each stored once and in order."""

from __future__ import annotations

import copy
import secrets
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Callable, Deque, List, Optional, Tuple

from . import wire
from .client import Body, Client, to_bytes
from .connection import Config, Connection, Request
from .errors import (
    Busy, Closed, ConnectError, ConnectionLost, Error, NotLeader, OutOfOrder, ReadOnly, ShuttingDown, TooLarge,
)
from .wire import ID, Expect

_NUMBER_LEN = 61  # of what a batch's number adds to its envelope, at most
_AGAIN = (ConnectError, ConnectionLost, NotLeader, Busy, ShuttingDown, ReadOnly)


class _Batch:
    """Messages that are sent together."""

    def __init__(self) -> None:
        self.bodies: List[bytes] = []
        self.futures: List["Future[Optional[ID]]"] = []
        self.size = 0
        self.born = time.monotonic()
        self.seq = 0
        self.doubt = False  # it was sent, and may be stored
        self.data, self.deltas = b"", []  # type: bytes, List[int]
        self.request: Optional[Request] = None  # under way, or answered

    def cut(self, n: int) -> "_Batch":
        """Leave the first n messages in the batch and return one with the others."""
        rest = _Batch()
        rest.born = self.born
        self.bodies, rest.bodies = self.bodies[:n], self.bodies[n:]
        self.futures, rest.futures = self.futures[:n], self.futures[n:]
        rest.size = sum(map(wire.frame_len, rest.bodies))
        self.size -= rest.size
        return rest

    def stored(self, offset: int) -> None:
        for future, delta in zip(self.futures, self.deltas):
            future.set_result(ID(offset, delta) if offset >= 0 else None)

    def failed(self, error: Error) -> None:
        for future in self.futures:
            future.set_exception(error)


class Writer:
    """Stores messages of one topic: each once, in the order of the calls, over lost
    connections, restarts of the server and changes of its leader.

        with logd.Client() as client, logd.Writer(client, "orders") as writer:
            for line in lines:
                writer.write(line)

    A batch is sent when the next message would make it longer than ``batch_bytes``, when it
    has ``batch_messages``, or when its first message has waited for ``batch_age`` seconds. Up
    to ``in_flight`` batches, at most 32, are sent before the first is answered.

    Batches are no larger than the server takes, nor than the topic does: the Writer asks at each
    connect. If the topic's batch-size gets smaller later, the Writer asks again and makes what
    the server has refused anew, in smaller batches.

    Batches have numbers by which the server knows those that it has, if its setting
    ``producers`` is not 0. If it has not, what was sent before a connection was lost fails
    with an error whose ``unknown`` is true, instead of being sent again.

    After a failure that may pass the Writer sends again, for ``patience`` seconds since the
    last batch that was stored, None for without end; then all messages that it has fail with
    the last error. If the server refuses a batch for good, its messages fail and the Writer
    goes on with the next.

    All methods may be called from any thread.
    """

    def __init__(
        self,
        client: Client,
        topic: str,
        *,
        batch_bytes: int = wire.DEFAULT_MAX_BATCH,
        batch_messages: Optional[int] = None,
        batch_age: float = 0.01,
        in_flight: int = 8,
        buffer_bytes: int = 1 << 20,
        patience: Optional[float] = 60.0,
        _new_pid: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        wire.check_topic(topic)
        if not 1 <= in_flight <= 32:
            raise ValueError(f"in_flight is {in_flight}: want 1 to 32, a server knows no more batches again")
        self.topic = topic
        #: How many messages may be stored twice, because the server had forgotten this Writer.
        self.in_doubt = 0
        self._client = client._sibling()
        self._batch_bytes = batch_bytes
        self._envelope = len(f"BATCH 99999999999 {topic} 4294967295 9999999999\r\n") + _NUMBER_LEN
        self._most, self._age, self._in_flight = batch_messages, batch_age, in_flight
        self._buffer, self._patience, self._new_pid = buffer_bytes, patience, _new_pid
        self._mu = threading.Condition()
        # Guarded by mu.
        self._room = batch_bytes - self._envelope  # of a batch, for its messages
        self._share = self._room  # up to which messages share a batch: less than room where nobody says how much that is
        self._open: Optional[_Batch] = None
        self._queue: Deque[_Batch] = deque()  # full, and not numbered
        self._held = 0  # bytes of all messages without an answer
        self._left = 0  # messages without an answer
        self._flushing = self._closing = self._gave_up = False
        self._first_error: Optional[Error] = None
        # The thread's own.
        self._line: List[_Batch] = []  # numbered, in order, without a final answer
        self._pid, self._seq = _new_pid(), 0
        self._connection: Optional[Connection] = None
        self._config: Optional[Config] = None
        self._failures = 0
        self._since: Optional[float] = None  # the first failure since the last batch that was stored
        self._thread = threading.Thread(target=self._run, name=f"logd writer {topic}", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()

    def write(self, body: Body, timeout: Optional[float] = None) -> "Future[Optional[ID]]":
        """Take the message. The future gets its ID once the server has answered, or the error.

        The ID is None if the message is stored and the server can't tell where any more. If
        the buffer is full ``write`` waits for room: for ``timeout`` seconds, and then raises
        TimeoutError. Raises TooLarge, and takes nothing, if no batch can hold the message. If it
        turns out later that the topic takes no such batch, the future gets TooLarge.
        """
        data = to_bytes(body)
        size = wire.frame_len(data)
        if size > self._room:
            raise self._too_long(data)
        future: "Future[Optional[ID]]" = Future()
        with self._mu:
            if self._held and self._held + size > self._buffer and not self._closing:
                room = lambda: self._closing or self._held == 0 or self._held + size <= self._buffer  # noqa: E731
                if not self._mu.wait_for(room, timeout):
                    raise TimeoutError(f"no room in the Writer after {timeout} s")
            if self._closing:
                raise Closed("the writer was closed")
            if self._open and self._open.size + size > self._share:
                self._seal()
            if self._open is None:  # whose age is to be looked at
                self._open = _Batch()
                self._mu.notify_all()
            self._open.bodies.append(data)
            self._open.futures.append(future)
            self._open.size += size
            self._held += size
            self._left += 1
            if len(self._open.bodies) == self._most:
                self._seal()
        return future

    def flush(self, timeout: Optional[float] = None) -> None:
        """Send what is there without waiting for more, and return when all of it is answered.

        Raises the first error that a message got since the last flush.
        """
        with self._mu:
            self._seal()
            if not self._mu.wait_for(lambda: self._left == 0, timeout):
                raise TimeoutError(f"{self._left} messages have no answer after {timeout} s")
            error, self._first_error = self._first_error, None
        if error is not None:
            raise error

    def close(self, timeout: Optional[float] = None) -> None:
        """Flush and end the Writer. What is not answered after ``timeout`` seconds fails."""
        with self._mu:
            self._closing = True
        try:
            self.flush(timeout)
        finally:
            with self._mu:
                self._gave_up = True
                self._mu.notify_all()
            self._client.close()
            self._thread.join()

    # The buffer. Caller holds mu.

    def _seal(self) -> None:
        if self._open:
            self._queue.append(self._open)
            self._open = None
            self._mu.notify_all()

    def _next(self) -> Optional[_Batch]:
        """Return the next batch that is due, as large as it may be."""
        if not self._queue and self._open and time.monotonic() - self._open.born >= self._age:
            self._seal()
        if not self._queue:
            return None
        batch = self._queue.popleft()
        if batch.size > self._share:  # which it was not when it was made
            n, size = 1, wire.frame_len(batch.bodies[0])
            while n < len(batch.bodies) and size + wire.frame_len(batch.bodies[n]) <= self._share:
                size += wire.frame_len(batch.bodies[n])
                n += 1
            if n < len(batch.bodies):
                self._queue.appendleft(batch.cut(n))
        return batch

    def _settled(self, batch: _Batch, error: Optional[Error] = None) -> None:
        with self._mu:
            self._held -= batch.size
            self._left -= len(batch.bodies)
            self._first_error = self._first_error or error
            self._mu.notify_all()

    # The thread.

    def _run(self) -> None:
        while True:
            with self._mu:
                if self._gave_up:
                    break
                if not self._has_work():
                    self._mu.wait(self._until_due())
                    continue
            try:
                self._send()
                self._take()
            except Error as error:
                self._again(error)
        self._client.close()
        self._judge()
        self._give_up(Closed("the writer was closed"))

    def _has_work(self) -> bool:
        """Report whether there is something to do now. Caller holds mu."""
        if self._line:
            first, last = self._line[0].request, self._line[-1].request
            if last is None or first is not None and first.future.done():
                return True
        due = bool(self._queue) or self._open is not None and time.monotonic() - self._open.born >= self._age
        return due and len(self._line) < self._limit()

    def _until_due(self) -> Optional[float]:
        if self._open is None or len(self._line) >= self._limit():
            return None
        return max(self._open.born + self._age - time.monotonic(), 0)

    def _numbered(self) -> bool:
        return self._config is None or self._config.producers > 0

    def _limit(self) -> int:
        return self._in_flight if self._numbered() else 1  # so that none overtakes one that is refused

    def _learn(self, anew: bool = False) -> None:
        """Have a connection, and ask how large a batch its server takes, and the topic."""
        connection = self._client._connect(self.topic)
        self._config = config = self._client._ask(connection)
        most: Optional[int] = config.max_batch
        if config.topic_limits or anew:
            most = self._client._ask_topic(connection, self.topic)
        self._connection = connection
        with self._mu:
            self._room = min(self._batch_bytes, config.max_batch, most or config.max_batch) - self._envelope
            self._share = self._room if most else min(self._share, self._room)

    def _send(self) -> None:
        """Send what is to be sent, on a connection whose server was asked for its limits."""
        if not any(b.request for b in self._line):  # else their answers come first
            if self._connection is None or not self._connection.live:
                self._learn()
        elif self._connection is None or not self._connection.live:
            return
        for batch in self._line:
            if batch.request is None:
                self._start(batch)
        while len(self._line) < self._limit():
            with self._mu:
                batch_ = self._next()
            if batch_ is None:
                return
            if batch_.size > self._room:
                self._fail([batch_], self._too_long(batch_.bodies[0]))
                continue
            batch_.data, batch_.deltas = wire.frame(batch_.bodies)
            self._number(batch_)
            self._line.append(batch_)
            self._start(batch_)

    def _number(self, batch: _Batch) -> None:
        self._seq += 1
        batch.seq, batch.doubt = self._seq, False

    def _start(self, batch: _Batch) -> None:
        assert self._config is not None and self._connection is not None
        numbered = self._numbered()
        out = wire.batch(self.topic, batch.data, len(batch.bodies), self._pid if numbered else "", batch.seq)
        batch.request = Request(out, Expect("append"), repeats=numbered)
        if len(out) > self._config.max_batch:
            batch.request.future.set_exception(
                TooLarge(f"a batch of {len(out)} bytes, the server takes {self._config.max_batch}"))
        else:
            self._connection.start(batch.request)
        batch.request.future.add_done_callback(self._answered)

    def _answered(self, _: object) -> None:
        with self._mu:
            self._mu.notify_all()

    def _take(self) -> None:
        """Take the answers that have come, in order. If the first batch was not taken, wait
        for the answers to the others, which then were not taken either, and begin again."""
        while self._line:
            request = self._line[0].request
            if request is None or not request.future.done():
                return
            if request.future.exception() is not None:
                break
            self._store(self._line.pop(0), request.future.result().offset)
        else:
            return
        error, next_ = self._judge()
        if not self._line or error is None:
            return
        if isinstance(error, OutOfOrder):
            if next_ != self._line[0].seq:  # the server has forgotten this Writer, and what it may have of it
                self.in_doubt += sum(len(b.bodies) for b in self._line if b.doubt)
                self._renumber()
            else:
                self._again(error)
        elif isinstance(error, _AGAIN) and (self._numbered() or not error.unknown):
            self._again(error)
        elif isinstance(error, TooLarge) and not self._line[0].doubt:
            self._too_large(error)
        else:
            self._refuse(error)

    def _store(self, batch: _Batch, offset: int) -> None:
        self._failures, self._since = 0, None
        batch.stored(offset)
        self._settled(batch)

    def _judge(self) -> Tuple[Optional[Error], int]:
        """Wait for all answers and take out of the line what is stored. Returns the error of
        the first that is not, and the number that the server wants next if it has said so."""
        line, self._line = self._line, []
        first: Optional[Error] = None
        for batch in line:
            request, batch.request = batch.request, None
            error = request.future.exception() if request else None
            if request and error is None:
                self._store(batch, request.future.result().offset)
                continue
            if isinstance(error, OutOfOrder):
                if error.next > batch.seq:
                    self._store(batch, -1)
                    continue
                batch.doubt = batch.doubt and error.next == 1  # of a Writer that is forgotten some may be stored
            elif isinstance(error, Error):
                batch.doubt = batch.doubt or error.unknown
            if not self._line and isinstance(error, Error):
                first = error
            self._line.append(batch)
        return first, first.next if isinstance(first, OutOfOrder) else 0

    def _too_large(self, error: Error) -> None:
        """The first batch is larger than the topic takes now. So none of the line is stored, nor
        can be under these numbers: it goes back to what is to be sent, in batches that are no
        larger. If the server does not say how large these may be, halves are tried."""
        self._learn(anew=True)
        first = self._line[0]
        if self._share >= first.size and len(first.bodies) == 1:
            self._refuse(error)
            return
        with self._mu:
            if self._share >= first.size:
                self._share = first.size // 2
            self._queue.extendleft(reversed(self._line))
        self._line = []
        self._renumber()

    def _too_long(self, body: bytes) -> TooLarge:
        return TooLarge(f"a message of {len(body)} bytes: a batch has room for {self._room}")

    def _refuse(self, error: Error) -> None:
        """The first batch is not taken for good. Those behind it that may be stored share its
        fate, since they can't be sent under other numbers; the others go on."""
        self._fail([b for i, b in enumerate(self._line) if i == 0 or b.doubt], error)
        self._line = [b for i, b in enumerate(self._line) if i > 0 and not b.doubt]
        self._renumber()

    def _renumber(self) -> None:
        self._pid, self._seq = self._new_pid(), 0
        for batch in self._line:
            self._number(batch)

    def _again(self, error: Error) -> None:
        """Nothing is under way: send what is in line again, after a pause."""
        now = time.monotonic()
        self._since = self._since or now
        if not isinstance(error, _AGAIN + (OutOfOrder,)) or self._patience is not None and now - self._since >= self._patience:
            self._give_up(error)
        self._client._failed(self.topic, self._connection, error)
        if not isinstance(error, ReadOnly):
            self._connection = None
        self._failures += 1
        if self._failures > 1 or not isinstance(error, (NotLeader, ConnectionLost)):
            self._client._closing.wait(self._client._backoff(max(self._failures - 2, 0)))

    def _give_up(self, error: Error) -> None:
        """Have everything that the Writer has fail."""
        with self._mu:
            self._seal()
            batches, self._line = self._line + list(self._queue), []
            self._queue.clear()
        self._fail(batches, error)
        self._renumber()
        self._since = None

    def _fail(self, batches: List[_Batch], error: Error) -> None:
        for batch in batches:
            failure = copy.copy(error)
            failure.unknown = batch.doubt
            batch.failed(failure)
            self._settled(batch, failure)
