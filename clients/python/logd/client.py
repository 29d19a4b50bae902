"""The client: which server to ask, and what."""

from __future__ import annotations

import ipaddress
import random
import socket
import ssl
import threading
import time
import weakref
from datetime import datetime, timezone
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

from . import wire
from .connection import Config, Connection, Request
from .errors import (
    BadAnswer, Busy, Closed, ConnectError, ConnectionLost, Corrupt, Error, InvalidRequest, NoBatch, NotFound, NotLeader,
    NoTopic, PlainToken, ServerError, ShuttingDown, TooLarge, Unauthorized, from_reason,
)
from .wire import ID, Expect, Message, Reply

DEFAULT_ADDR = "127.0.0.1:1774"
_POSITIONS = "__positions"  # where the server keeps positions: who leads that is asked
Body = Union[bytes, bytearray, memoryview, str]


class Result(NamedTuple):
    """What a read has returned: the messages of whole batches, and where the next batch begins."""

    offset: int
    next: int
    messages: Tuple[Message, ...]


class Info(NamedTuple):
    """What the server knows of a topic. ``fields`` has every line of its answer."""

    oldest: int
    next: int
    messages: int
    bytes: int
    id: str
    state: str
    damaged: Tuple[Tuple[int, int], ...]
    fields: Dict[str, str]


class Position(NamedTuple):
    """Where a consumer of a topic is: ``at`` is the first message that is not done."""

    topic: str
    consumer: str
    at: ID
    version: int
    state: str
    holder: Optional[str]
    fields: Dict[str, str]


def to_bytes(body: Body) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body)


class Client:
    """Talks to a server, or to the members of a cluster, over one connection to each.

    ``addrs`` are HOST:PORT or unix:PATH; of a cluster they are where to begin. All methods
    may be called from any thread, and calls of several threads share a connection without
    waiting for each other. Nothing connects before it has to.

    Durations are seconds. ``attempts`` is how many rounds through all addresses a call makes
    before it fails, None for without end. ``tls`` is True or an ``ssl.SSLContext``; each of
    the ``tls_`` files implies it, and files are read at each connect. A token is sent without
    TLS only on this machine, unless ``allow_plain_token`` is true.
    """

    def __init__(
        self,
        *addrs: str,
        tls: Union[bool, ssl.SSLContext] = False,
        tls_ca: Optional[str] = None,
        tls_cert: Optional[str] = None,
        tls_key: Optional[str] = None,
        tls_server_name: Optional[str] = None,
        token: Optional[str] = None,
        token_file: Optional[str] = None,
        allow_plain_token: bool = False,
        connect_timeout: float = 5.0,
        read_timeout: float = 15.0,
        idle_timeout: float = 25.0,
        reconnect_min: float = 0.05,
        reconnect_max: float = 5.0,
        attempts: Optional[int] = 5,
        max_reply: int = 256 << 20,
    ) -> None:
        self._config = {name: value for name, value in locals().items() if name not in ("self", "addrs")}
        self._named = addrs or (DEFAULT_ADDR,)
        for addr in self._named:
            _host_port(addr)
        self._tls: Union[bool, ssl.SSLContext] = tls or bool(tls_ca or tls_cert or tls_key or tls_server_name)
        self._tls_files = tls_ca, tls_cert, tls_key
        self._server_name = tls_server_name
        self._token, self._token_file, self._allow_plain = token, token_file, allow_plain_token
        self._connect_timeout, self._read_timeout, self._idle = connect_timeout, read_timeout, idle_timeout
        self._pauses = reconnect_min, reconnect_max
        self._attempts, self._max_reply = attempts, max_reply
        self._closing = threading.Event()
        self._mu = threading.RLock()
        # Guarded by mu.
        self._addrs: List[str] = list(self._named)
        self._cluster: Optional[bool] = None  # None while no server has said
        self._patience = 0.0
        self._stale = False  # the members are to be asked for
        self._home = self._addrs[0]
        self._routes: Dict[str, str] = {}  # by topic, where that is not home
        self._failed_at: Dict[str, float] = {}
        self._connections: Dict[str, Connection] = {}
        self._siblings: "weakref.WeakSet[Client]" = weakref.WeakSet()

    def _sibling(self) -> "Client":
        """Return a client of the same configuration with connections of its own."""
        sibling = Client(*self._named, **self._config)  # type: ignore[arg-type]
        with self._mu:
            if self._closing.is_set():
                raise Closed("the client was closed")
            self._siblings.add(sibling)
        return sibling

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections, and the calls under way with Closed, also those of its Writers
        and Readers."""
        self._closing.set()
        with self._mu:
            connections, siblings = list(self._connections.values()), list(self._siblings)
        for connection in connections:
            connection.close()
        for sibling in siblings:
            sibling.close()

    # Calls.

    def ping(self) -> None:
        self._call(Request(b"PING\r\n", Expect("ok")))

    def topics(self) -> List[str]:
        return self._body("TOPICS").decode().split()

    def config(self) -> Dict[str, str]:
        """Return the server's settings, by name."""
        return wire.fields(self._body("CONFIG"))

    def command(self, line: str) -> bytes:
        """Send a request whose answer has a body, and return that."""
        return self._body(line, repeats=False)

    def append(self, topic: str, body: Body) -> ID:
        """Store one message and return its ID once the server has answered.

        If the error's ``unknown`` is true the message may be stored all the same. A Writer
        stores each message once over any failure, and is much faster for many. Raises TooLarge if
        the message is longer than the server takes, for which nothing is sent, or than the topic.
        """
        return self.append_batch(topic, [body])[0]

    def append_batch(self, topic: str, bodies: Iterable[Body]) -> List[ID]:
        """Store several messages in one batch: all of them, or none."""
        wire.check_topic(topic)
        data, deltas = wire.frame(to_bytes(b) for b in bodies)
        if not deltas:
            raise InvalidRequest("a batch has one message at least")
        request = Request(wire.batch(topic, data, len(deltas)), Expect("append"), repeats=False)
        offset = self._call(request, topic).offset
        return [ID(offset, delta) for delta in deltas]

    def read(self, topic: str, offset: int, messages: int = 10000, max_bytes: int = 1 << 20, wait: float = 0) -> Result:
        """Return batches from the offset on, where one must begin, until they have so many
        messages or bytes; one batch at least. At the end of the log there is none, after
        ``wait`` seconds.

        Raises NoTopic, or NoBatch if no batch begins there. A damaged batch ends what is
        returned; if it is the first one the error is Corrupt.
        """
        wire.check_topic(topic)
        try:
            return self._read(topic, offset, messages, max_bytes, wait)
        except NotFound as error:
            raise self._which(topic, error) from None

    def tail(self, topic: str, messages: int = 10000, max_bytes: int = 1 << 20, wait: float = 0) -> Result:
        """Read from the oldest batch that there is."""
        wire.check_topic(topic)
        try:
            return self._read(topic, -1, messages, max_bytes, wait)
        except NotFound as error:
            raise NoTopic() from error

    def info(self, topic: str) -> Info:
        """Return what the server knows of the topic, or in a cluster what its leader does."""
        wire.check_topic(topic)
        try:
            f = wire.fields(self._body(f"INFO {topic}{self._fresh()}", topic))
        except NotFound as error:
            raise NoTopic() from error
        try:
            ranges = [r.split("-") for r in f.get("DamagedAt", "").split()]
            return Info(
                int(f["Oldest"]), int(f["Next"]), int(f.get("Messages", 0)), int(f.get("Bytes", 0)), f.get("Id", ""),
                f.get("State", ""), tuple((int(a), int(b)) for a, b in ranges), f,
            )
        except (KeyError, ValueError) as error:
            raise BadAnswer(f"INFO was answered {f}") from error

    def seek(self, topic: str, at: datetime) -> int:
        """Return the offset of the first batch that was stored at or after that time, or the
        one that the next batch will get. A datetime without a zone is local time."""
        wire.check_topic(topic)
        since = at.astimezone(timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
        millis = max(-(-(since.days * 86400_000_000 + since.seconds * 1000_000 + since.microseconds) // 1000), 0)
        try:
            line = f"SEEK {topic} {millis}{self._fresh()}\r\n"
            return self._call(Request(line.encode(), Expect("offset")), topic).offset
        except NotFound as error:
            raise NoTopic() from error

    # Positions.

    def position(self, topic: str, consumer: str) -> Optional[Position]:
        """Return where the consumer is, None if it has no position."""
        wire.check_topic(topic)
        try:
            return _position(self._body(f"POSITION {topic} {consumer}{self._fresh()}", _POSITIONS).decode())
        except NotFound:
            return None

    def positions(self, topic: Optional[str] = None) -> Iterator[Position]:
        """Return the positions of the topic, or of all topics."""
        only = f" topic={topic}" if topic else ""
        after = ""
        while True:
            page = self._body(f"POSITIONS{only}{after}", _POSITIONS).decode().splitlines()
            last = None
            for line in page:
                last = _position(line)
                yield last
            if last is None or len(page) < 1000:
                return
            after = f" after={last.topic}/{last.consumer}"

    def set_position(
        self, topic: str, consumer: str, at: ID, *, version: Optional[int] = None, id: str = "", ttl: float = 0,
        hold: float = 0, worker: str = "", note: str = "", force: bool = False,
    ) -> int:
        """Set a position and return its version.

        With ``version`` it is set only if that is the present one, 0 for none: else the error
        is VersionConflict. ``id`` is that of the topic. ``worker`` is the name of who holds it,
        and with ``hold`` of who is to hold it for so many seconds.
        """
        wire.check_topic(topic)
        line = f"POSITION {topic} {consumer} at={ID(*at)}"
        line += f" version={version}" if version is not None else ""
        line += f" id={id}" if id else ""
        line += f" ttl={int(ttl * 1000)}" if ttl else ""
        line += f" hold={int(hold * 1000)}" if hold else ""
        line += f" as={worker}" if worker else ""
        line += f" note={note}" if note else ""
        line += " force=1" if force else ""
        return self._call(Request(f"{line}\r\n".encode(), Expect("offset"), repeats=version is not None), _POSITIONS).offset

    def hold_position(self, topic: str, consumer: str, worker: str, seconds: float) -> int:
        """Have the position for the worker alone for so long, 1 s to 5 min; 0 lets it go. Raises
        Held if another one has it. Returns the position's version, which a hold does not change."""
        wire.check_topic(topic)
        line = f"POSITION {topic} {consumer} hold={int(seconds * 1000)} as={worker}\r\n"
        return self._call(Request(line.encode(), Expect("offset")), _POSITIONS).offset

    def forget_position(self, topic: str, consumer: str, *, version: Optional[int] = None, force: bool = False) -> None:
        """Remove the position, if there is one."""
        wire.check_topic(topic)
        line = f"POSITION {topic} {consumer}"
        line += f" version={version}" if version is not None else ""
        line += " force=1" if force else ""
        self._call(Request(f"{line} forget=1\r\n".encode(), Expect("ok"), repeats=version is not None), _POSITIONS)

    # How they are made.

    def _body(self, line: str, topic: str = "", repeats: bool = True) -> bytes:
        if len(line) > wire.MAX_LINE or not line.isprintable():
            raise InvalidRequest("a request is one line of at most 1,024 bytes")
        return self._call(Request(f"{line}\r\n".encode(), Expect("body"), repeats=repeats), topic).body

    def _fresh(self) -> str:
        """Return what has a member of a cluster ask its leader."""
        if self._cluster is None:
            self._call(None)
        return " fresh=1" if self._cluster else ""

    def _which(self, topic: str, error: NotFound) -> Error:
        """Return which of two things was not found, as far as the server tells."""
        if isinstance(error, NoBatch):
            return error
        try:
            self.info(topic)
        except NoTopic as e:
            return e
        except Error:
            return error
        return NoBatch()

    def _read(self, topic: str, offset: int, messages: int, max_bytes: int, wait: float, more: str = "") -> Result:
        """READ, or TAIL if the offset is -1. A first batch that can't be taken is asked for
        once more, so that the server checks it and sets aside what is damaged."""
        words = f"{messages} wait={int(wait * 1000)} max-bytes={max_bytes}{more}"
        line = f"READ {topic} {offset} {words}" if offset >= 0 else f"TAIL {topic} {words}"
        request = Request(f"{line}\r\n".encode(), Expect("batches", topic, offset, messages), wait)
        met: Error
        try:
            reply = self._call(request, topic)
        except ConnectionLost as error:
            at = getattr(error, "torn_at", None)
            if at is None or more:
                raise
            met = error
        else:
            if reply.messages or reply.damage is None:
                return Result(reply.offset, reply.next, reply.messages)
            met, at = reply.damage, reply.offset
        if "verify" in more:
            raise met
        try:
            return self._read(topic, at, messages, max_bytes, 0, f" verify=1{more}")
        except InvalidRequest:
            raise met from None
        except NotFound:
            if offset < 0:  # what is set aside is not the oldest any more
                return self._read(topic, -1, messages, max_bytes, wait, more)
            raise Corrupt(f"at offset {at}: {met}; asked to check it, the server says: not found", at) from met

    def _call(self, request: Optional[Request], topic: str = "") -> Reply:
        """Send the request to the server that should have it, and elsewhere as long as that
        does no harm. Without a request, only ask whether there is a cluster."""
        attempt, named = 0, False
        while True:
            connection: Optional[Connection] = None
            try:
                connection = self._connect(topic)
                if request is None or request.expect.form == "append" and len(request.out) > 128:
                    config = self._ask(connection)
                    if request is None:
                        return Reply()
                    if len(request.out) > config.max_batch:
                        raise TooLarge(f"a batch of {len(request.out)} bytes, the server takes {config.max_batch}")
                reply = connection.call(request)
                self._refresh(connection)
                return reply
            except Error as error:
                was_home = connection is None and topic not in self._routes
                self._failed(topic, connection, error)
                if not self._repeats(request, error, was_home) or not self._may_try(attempt):
                    raise
                if connection and isinstance(error, ServerError):
                    self._refresh(connection)
                sent_on = isinstance(error, NotLeader) and bool(error.addr) and error.addr != (connection and connection.addr)
                if not sent_on or named:  # members that name each other are not asked in a tight loop
                    if self._cluster:
                        self._pause(attempt)
                    attempt += 1
                named = sent_on
                if request is not None:
                    request = request.again()

    def _repeats(self, request: Optional[Request], error: Error, home: bool) -> bool:
        if isinstance(error, NotLeader):
            return True
        if not _elsewhere(error) or not self._several():
            return False
        if isinstance(error, ConnectError):
            return not home  # which has tried all
        if request is None or request.repeats:
            return True
        if isinstance(error, Busy):
            return request.expect.form == "append"
        return request.expect.form == "append" and not error.unknown

    def _may_try(self, attempt: int) -> bool:
        rounds = self._attempts if self._cluster else 1
        return rounds is None or attempt + 1 < rounds * max(len(self._addrs), 2)

    def _several(self) -> bool:
        return len(self._addrs) > 1 or bool(self._cluster)

    def _pause(self, failures: int) -> None:
        """Wait before the next attempt."""
        if self._closing.wait(self._backoff(failures)):
            raise Closed("the client was closed")

    def _backoff(self, failures: int) -> float:
        least, most = self._pauses
        if self._cluster:
            least, most = min(least, 0.005), min(most, 0.5)
        return min(least * 2 ** min(failures, 30), most) * random.uniform(0.5, 1)

    # Which server.

    def _connect(self, topic: str) -> Connection:
        """Return a connection to where the topic is asked for."""
        with self._mu:
            route = self._routes.get(topic)
            if route is not None:
                return self._connect_to(route)
        round_ = 0
        while True:
            problems = []
            with self._mu:
                for addr in self._order():
                    try:
                        connection = self._connect_to(addr)
                        self._home = addr
                        return connection
                    except ConnectError as error:
                        problems.append(str(error))
            round_ += 1
            if self._attempts is not None and round_ >= self._attempts:
                raise ConnectError("; ".join(problems))
            self._pause(round_ - 1)

    def _connect_to(self, addr: str) -> Connection:
        """Return the connection to the address, made if need be. Caller holds mu."""
        if self._closing.is_set():
            raise Closed("the client was closed")
        connection = self._connections.get(addr)
        if connection and connection.live:
            if time.monotonic() - connection.used < self._idle or not connection.resting:
                return connection
            connection.close(ConnectionLost("idle"))
        try:
            sock = self._dial(addr)
        except (OSError, ValueError) as error:
            self._failed_at[addr] = time.monotonic()
            self._stale = self._stale or bool(self._cluster)
            raise ConnectError(f"{addr}: {_explained(error)}") from error
        self._failed_at.pop(addr, None)
        connection = Connection(sock, addr, self._read_timeout, self._max_reply)
        connection.patience = self._patience
        self._connections[addr] = connection
        return connection

    def _order(self) -> List[str]:
        """Return the addresses as they are to be tried: from home on, and those that have
        failed a short time ago last."""
        at = self._addrs.index(self._home) if self._home in self._addrs else 0
        order = self._addrs[at:] + self._addrs[:at]
        return sorted(order, key=self._rests)

    def _rests(self, addr: str) -> bool:
        failed = self._failed_at.get(addr)
        return failed is not None and time.monotonic() - failed < 5

    def _after(self, addr: str) -> str:
        at = self._addrs.index(addr) + 1 if addr in self._addrs else 0
        order = self._addrs[at:] + self._addrs[:at]
        return next((a for a in order if not self._rests(a)), order[0])

    def _failed(self, topic: str, connection: Optional[Connection], error: Error) -> None:
        """Learn from a failure where to ask next."""
        if not _elsewhere(error):
            return
        with self._mu:
            if isinstance(error, NotLeader):
                self._suspect()
            if not self._several():
                return
            at = connection.addr if connection else self._routes.get(topic, self._home)
            if isinstance(error, NotLeader) and error.addr and error.addr != at and _is_addr(error.addr):
                self._routes[topic] = error.addr
            elif isinstance(error, (ConnectionLost, ConnectError)):
                self._routes.pop(topic, None)
                self._failed_at[at] = time.monotonic()
                self._stale = self._stale or bool(self._cluster)
            else:
                self._routes[topic] = self._after(at)

    def _suspect(self) -> None:
        """Note that there is a cluster. If that is new, its members are not known."""
        self._stale = self._stale or not self._cluster
        self._cluster = True

    def _ask(self, connection: Connection) -> Config:
        """Return the settings of a connection's server, asked for once."""
        if connection.config is None:
            f = wire.fields(connection.call(Request(b"CONFIG\r\n", Expect("body"))).body)
            try:
                cluster = bool(f.get("Cluster"))
                patience = 1.5 * wire.duration(f.get("ElectionTimeout", "")) if cluster else 0.0
                own = f.get("TopicLimits") == "true"
                config = Config(int(f["MaxBatchSize"]), int(f.get("Producers", 0)), own, cluster, patience)
            except (KeyError, ValueError) as error:
                raise BadAnswer(f"CONFIG was answered {f}") from error
            with self._mu:
                self._cluster, self._patience = self._cluster or False, patience
                if cluster:
                    self._suspect()
            connection.config, connection.patience = config, patience
            self._refresh(connection)
        return connection.config

    def _ask_topic(self, connection: Connection, topic: str) -> Optional[int]:
        """Return how large a batch the topic takes, None if the server does not say: it is not
        there yet, or the client may not ask."""
        try:
            f = wire.fields(connection.call(Request(f"INFO {topic}\r\n".encode(), Expect("body"))).body)
        except ServerError as error:
            if _elsewhere(error):
                raise
            return None
        try:
            return int(f.get("MaxBatchSize", self._ask(connection).max_batch))
        except ValueError as error:
            raise BadAnswer(f"INFO was answered {f}") from error

    def _refresh(self, connection: Connection) -> None:
        """Ask who the members are, if that is to be asked."""
        with self._mu:
            if not self._stale:
                return
            self._stale = False
        addrs = []
        try:
            for line in connection.call(Request(b"CLUSTER\r\n", Expect("body"))).body.decode().splitlines():
                addr = wire.words(line).get("addr", "")
                if line.startswith("member=") and _is_addr(addr) and addr not in self._named:
                    addrs.append(addr)
        except ServerError as error:
            self._stale = _elsewhere(error)
        except Error:
            self._stale = True
            return
        with self._mu:
            self._addrs = list(self._named) + addrs[:64]

    # How a server is reached.

    def _dial(self, addr: str) -> socket.socket:
        """Return a connected socket on which the server knows who the client is."""
        host, port = _host_port(addr)
        timeout = self._connect_timeout
        if self._patience:
            timeout = min(timeout, self._patience)
        if host is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            sock = socket.create_connection((host, port), timeout)
        try:
            sock.settimeout(timeout)
            if host is None:
                sock.connect(port)
            else:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls:
                    sock = self._context().wrap_socket(sock, server_hostname=self._server_name or host)
            token = self._read_token()
            if token:
                self._authenticate(sock, addr, token)
            return sock
        except BaseException:
            sock.close()
            raise

    def _context(self) -> ssl.SSLContext:
        if isinstance(self._tls, ssl.SSLContext):
            return self._tls
        ca, cert, key = self._tls_files
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["logd"])
        if cert:
            context.load_cert_chain(cert, key)
        return context

    def _read_token(self) -> str:
        token = self._token or ""
        if self._token_file:
            with open(self._token_file, encoding="ascii") as file:
                token = file.read()
        token = token.strip()
        if self._token_file and not token:
            raise ValueError(f"{self._token_file} holds no token")
        if token and (len(token) > 512 or not token.isprintable() or " " in token):
            raise ValueError("a token is a word of 1 to 512 bytes")
        return token

    def _authenticate(self, sock: socket.socket, addr: str, token: str) -> None:
        if not self._allow_plain and not _secret(sock, addr):
            raise PlainToken(f"{addr}: a token is not sent without TLS to another machine")
        sock.sendall(f"AUTH {token}\r\n".encode())
        line = b""
        while not line.endswith(b"\n") and len(line) < 512:
            byte = sock.recv(1)  # nothing behind the answer
            if not byte:
                raise OSError("closed by the server")
            line += byte
        if line == b"OK\r\n":
            return
        if not line.startswith(b"ERR "):
            raise BadAnswer("AUTH was answered otherwise than the protocol says")
        error = from_reason(line[4:].strip().decode("utf-8", "replace"))
        if isinstance(error, Unauthorized):
            raise Unauthorized("the token is not accepted")
        if not isinstance(error, InvalidRequest):  # that is a server without identities
            raise error


def _elsewhere(error: Error) -> bool:
    """Report whether another server may answer, or the same one later."""
    return isinstance(error, (ConnectionLost, ConnectError, NotLeader, Busy, ShuttingDown))


def _host_port(addr: str) -> Tuple[Optional[str], Any]:
    if addr.startswith("unix:") and len(addr) > 5:
        return None, addr[5:]
    host, _, port = addr.rpartition(":")
    if not _is_addr(addr):
        raise ValueError(f"{addr!r} is no address: want HOST:PORT or unix:PATH")
    return host.strip("[]") or "localhost", int(port)


def _is_addr(addr: str) -> bool:
    host, found, port = addr.rpartition(":")
    return bool(found) and port.isascii() and port.isdigit() and 0 < int(port) < 65536 and (":" not in host or host.startswith("["))


def _secret(sock: socket.socket, addr: str) -> bool:
    """Report whether nobody else sees what is sent: it is TLS, or stays on this machine."""
    if isinstance(sock, ssl.SSLSocket) or sock.family == getattr(socket, "AF_UNIX", None):
        return True
    host, _ = _host_port(addr)
    if host != "localhost":
        try:
            if not ipaddress.ip_address(host or "").is_loopback:
                return False
        except ValueError:
            return False
    return ipaddress.ip_address(sock.getpeername()[0]).is_loopback


def _explained(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"):
        return "the server does not speak TLS"
    return str(error) or type(error).__name__


def _position(line: str) -> Position:
    w = wire.words(line)
    try:
        return Position(w["topic"], w["consumer"], ID.parse(w["at"]), int(w["version"]), w.get("state", ""), w.get("holder"), w)
    except (KeyError, ValueError) as error:
        raise BadAnswer(f"{line!r} is no position") from error
