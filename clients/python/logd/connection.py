"""One connection to a server. Its thread alone uses the socket."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Deque, List, NamedTuple, Optional

from .errors import Closed, ConnectError, ConnectionLost, Error, ServerError, TooLarge
from .wire import Expect, Lost, Parser, Reply

_CHUNK = 256 << 10
_GATHER = 1 << 20
_WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Config(NamedTuple):
    """What a server says of its settings."""

    max_batch: int
    producers: int
    topic_limits: bool  # topics may take less than max_batch: INFO tells
    cluster: bool
    patience: float  # after so much silence another member may lead; 0 where there is no cluster


class Request:
    """A request, and the future of its answer.

    ``wait`` is how long the server may hold the answer back. ``repeats`` says that it does no
    harm to send it again.
    """

    def __init__(self, out: bytes, expect: Expect, wait: float = 0, repeats: bool = True) -> None:
        self.out, self.expect, self.wait, self.repeats = out, expect, wait, repeats
        self.future: "Future[Reply]" = Future()
        self.end = 0  # among all bytes of its connection; 0 until it is begun to be sent

    def again(self) -> "Request":
        return Request(self.out, self.expect, self.wait, self.repeats)


class Connection:
    """A connection that takes requests from any thread and answers them in order.

    The socket is connected, and the Connection's from then on.
    """

    def __init__(self, sock: socket.socket, addr: str, read_timeout: float, max_reply: int) -> None:
        self.addr = addr
        self.used = time.monotonic()  # when it was last of use
        self.config: Optional[Config] = None
        self.patience = 0.0
        self._read_timeout, self._parser = read_timeout, Parser(max_reply)
        self._mu = threading.Lock()
        # Guarded by mu.
        self._queue: Deque[Request] = deque()
        self._awaited: Deque[Request] = deque()  # begun to be sent, and not answered
        self._error: Optional[Error] = None  # why it takes no more requests
        # The thread's own.
        self._sock = sock
        self._begun = self._written = 0  # bytes
        self._heard = 0.0
        self._proved = False  # the server has answered something
        sock.setblocking(False)
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        threading.Thread(target=self._run, name=f"logd {addr}", daemon=True).start()

    @property
    def live(self) -> bool:
        return self._error is None

    @property
    def resting(self) -> bool:
        """Nothing is awaited."""
        with self._mu:
            return not self._queue and not self._awaited

    def start(self, request: Request) -> None:
        """Send the request behind those before it. Its future gets the answer, or an error."""
        with self._mu:
            error = self._error
            if error is None:
                self.used = time.monotonic()
                self._queue.append(request)
                self._wake()
        if error is not None:
            request.future.set_exception(ConnectionLost(f"{self.addr}: {error}"))

    def call(self, request: Request) -> Reply:
        """Send the request and wait for its answer."""
        self.start(request)
        return request.future.result()

    def close(self, error: Optional[Error] = None) -> None:
        with self._mu:
            self._error = self._error or error or Closed("the client was closed")
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b"x")

    def _run(self) -> None:
        out = memoryview(b"")
        error: Error
        selector = selectors.DefaultSelector()
        try:
            selector.register(self._sock, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while self.live:
                out = out or self._gather()
                sent = self._send(out)
                out = out[sent:]
                if not self._receive() and not sent:
                    self._sleep(selector, bool(out))
            error = self._error or Closed()
        except Error as e:
            error = e
        except (OSError, ValueError) as e:
            error = ConnectionLost(f"{self.addr}: {e}")
            if isinstance(e, ssl.SSLError) and not self._proved:  # TLS 1.3 tells so late that a certificate is refused
                error = ConnectError(f"{self.addr}: {e}")
        self._end(error)
        selector.close()
        for s in (self._sock, self._woken, self._waker):
            s.close()

    def _gather(self) -> memoryview:
        parts: List[bytes] = []
        size = 0
        with self._mu:
            if not self._awaited:
                self._heard = time.monotonic()
            while self._queue and size < _GATHER:
                request = self._queue.popleft()
                size += len(request.out)
                request.end = self._begun + size
                parts.append(request.out)
                self._awaited.append(request)
        self._begun += size
        return memoryview(b"".join(parts))

    def _send(self, out: memoryview) -> int:
        if not out:
            return 0
        try:
            sent = self._sock.send(out[:_CHUNK])
        except _WOULD_BLOCK:
            return 0
        self._written += sent
        self._heard = time.monotonic()
        return sent

    def _receive(self) -> bool:
        try:
            data = self._sock.recv(_CHUNK)
        except _WOULD_BLOCK:
            return False
        if not data:
            raise ConnectionLost(f"{self.addr}: closed by the server")
        self._heard = self.used = time.monotonic()
        self._proved = True
        self._parser.feed(data)
        while self._parser.pending:
            with self._mu:
                head = self._awaited[0] if self._awaited else None
            if not self._answer(head):
                break
        return True

    def _answer(self, head: Optional[Request]) -> bool:
        """Take the answer to the first request, and report whether it was there."""
        try:
            reply = self._parser.next(head.expect if head else None)
        except Error as error:
            lost = isinstance(error, Lost)
            if head is None:
                raise
            if head.expect.form == "append" and not isinstance(error, ServerError):
                error.unknown = True
            ends = lost or not isinstance(error, ServerError) or error.closes and not self._stays(head, error)
            if ends:  # before the caller learns of it, and calls again
                self.close(error)
            self._pop()
            if isinstance(error, Lost):
                head.future.set_result(error.reply)
            else:
                head.future.set_exception(error)
            if ends:
                raise
            return True
        if reply is None:
            return False
        assert head is not None
        self._pop()
        head.future.set_result(reply)
        return True

    def _stays(self, request: Request, error: Error) -> bool:
        """Report whether the server goes on with the connection after the error: a batch was too
        large for its topic, not for the server, which may have stored what was sent behind it."""
        return isinstance(error, TooLarge) and self.config is not None and len(request.out) <= self.config.max_batch

    def _pop(self) -> None:
        with self._mu:
            self._awaited.popleft()

    def _sleep(self, selector: selectors.BaseSelector, sending: bool) -> None:
        limit = None
        with self._mu:
            if self._queue and not sending:
                return
            if self._awaited:
                head = self._awaited[0]
                limit = self._read_timeout
                if self.patience and head.repeats:
                    limit = min(limit, self.patience)
                limit += head.wait
        if limit is not None:
            left = self._heard + limit - time.monotonic()
            if left <= 0:
                raise ConnectionLost(f"{self.addr}: the server was silent for {limit:g} s")
            limit = left
        selector.modify(self._sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if sending else 0))
        for key, _ in selector.select(limit):
            if key.fileobj is self._woken:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)

    def _end(self, error: Error) -> None:
        with self._mu:
            self._error = self._error or error
            rest = list(self._awaited) + list(self._queue)
            self._awaited.clear()
            self._queue.clear()
        refused = isinstance(error, (ServerError, ConnectError))  # the server took nothing behind its last answer
        for request in rest:
            torn = self._parser.torn if request is rest[0] else None
            if torn and torn[1]:
                request.future.set_result(self._parser.cut())
                continue
            sent = 0 < request.end <= self._written
            unknown = request.expect.form == "append" and sent and not refused
            failure: Error
            if isinstance(error, (Closed, ConnectError)):
                failure = type(error)(str(error))
                failure.unknown = unknown
            elif isinstance(error, ServerError):
                failure = ConnectionLost(f"{self.addr}: the server closed the connection after answering: {error}")
            else:
                failure = ConnectionLost(str(error), unknown)
            if torn:
                failure.torn_at = torn[0]  # type: ignore[attr-defined]
            request.future.set_exception(failure)
