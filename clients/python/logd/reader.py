"""A Reader: the messages of a topic, one after another."""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Deque, Iterator, Optional, Tuple, Union

from . import wire
from .client import Client, Info, Result
from .errors import (
    Closed, ConnectError, ConnectionLost, Corrupt, Error, Gap, InvalidProtocol, InvalidRequest, NoBatch, NoMessage,
    NotFound, NotLeader, NoTopic,
)
from .wire import ID, Message

if TYPE_CHECKING:
    from .progress import Progress

_WAIT = 10.0  # how long one read waits at the end of the log
_PAGE = 10000

Start = Union[str, int, ID, datetime]


class Reader:
    """Reads the messages of a topic.

        for message in logd.Reader(client, "orders"):
            print(message.id, message.body)

    It begins at ``start``: ``"start"``, the oldest message; ``"end"``, with what is written from
    now on; an offset; an ID; or a datetime, with what was stored from that time on. Or behind
    the message ``after``, to go on where another Reader was. It ends with the log or after
    ``limit`` messages; with ``follow`` it waits for more, and with ``await_topic`` also for the
    topic to be made.

    After a lost connection it reads on where it was, on any member of a cluster: no message is
    missed or comes twice. It gives up after as many failures in a row as the Client's
    ``attempts``.

    If what it wants was removed or is damaged, or another topic has the name, it raises Gap,
    again and again until ``skip_gap`` is called. With ``gaps=True`` the Gap comes among the
    messages instead, and the Reader goes on behind it.

    A Reader has a connection of its own and is for one thread; only ``close`` is for any.
    """

    def __init__(
        self,
        client: Client,
        topic: str,
        *,
        start: Start = "start",
        after: Optional[ID] = None,
        follow: bool = False,
        await_topic: bool = False,
        limit: Optional[int] = None,
        gaps: bool = False,
        progress: Optional["Progress"] = None,
        read_bytes: int = 1 << 20,
    ) -> None:
        wire.check_topic(topic)
        if isinstance(start, str) and start not in ("start", "end"):
            raise ValueError(f'start is {start!r}: want "start", "end", an offset, an ID or a datetime')
        self.topic = topic
        self._client = client._sibling()
        self._follow, self._await, self._left, self._events = follow, await_topic, limit, gaps
        self._progress, self._bytes, self._page = progress, read_bytes, _PAGE
        if progress is not None and progress.at is not None:
            start, after = progress.at, None
        self._start: Optional[Start] = start if isinstance(start, datetime) or start == "end" else None
        self._offset = start if isinstance(start, int) else start.offset if isinstance(start, ID) else -1
        self._delta = start.delta if isinstance(start, ID) else 0  # in the first batch
        if after is not None:
            self._start, self._offset, self._delta = None, after.offset, after.delta
        self._after = after is not None  # behind the message at delta
        self._batch: Deque[Message] = deque()
        self._begun = self._fresh = self._ended = False
        self._gap: Optional[Gap] = None
        self._failures = 0
        self._id = ""  # of the topic, once it is known
        self._born = time.monotonic()
        self._asked, self._asked_on = 0.0, None  # type: float, object
        self._closed = threading.Event()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_client"):
            self._client.close()

    def close(self) -> None:
        """End the Reader, also one that waits: that raises Closed."""
        self._closed.set()
        self._client.close()

    def __iter__(self) -> Iterator[Union[Message, Gap]]:
        return self

    def __next__(self) -> Union[Message, Gap]:
        message = self.read()
        if message is None:
            raise StopIteration
        return message

    @property
    def next(self) -> Optional[ID]:
        """Where the next read begins, None if that is the oldest message or not known yet."""
        if self._batch:
            return self._batch[0].id
        return ID(self._offset, self._delta) if self._offset >= 0 and not self._after else None

    def skip_gap(self) -> None:
        """Go on behind the gap."""
        if self._gap is not None:
            self._offset, self._delta, self._after = self._gap.end, 0, False
            self._gap = None

    def read(self) -> Union[Message, Gap, None]:
        """Return the next message, None at the end."""
        while not self._batch:
            if self._ended:
                return None
            if self._closed.is_set():
                raise Closed("the reader was closed")
            if self._left == 0:
                return self._end()
            if self._gap is None:
                try:
                    if not self._fetch():
                        return self._end()
                except Gap as gap:
                    self._gap = gap
                except Error as error:
                    if self._closed.is_set():
                        raise Closed("the reader was closed") from None
                    self._retry(error)
            if self._gap is not None:
                gap_ = self._gap
                if not self._events:
                    raise gap_
                self.skip_gap()
                return gap_
        message = self._batch.popleft()
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._batch.clear()
        if self._progress is not None:
            self._progress._started(message)
        return message

    def _end(self) -> None:
        self._ended = True
        self._client.close()

    def _fetch(self) -> bool:
        """Get what is next into the batch; nothing may have come. Returns False at the end."""
        if self._client._cluster is None and (self._follow or time.monotonic() - self._born > 2):
            self._client._call(None)  # so that the other members are known when this one goes
        self._look_up()
        wait = _WAIT if self._follow else 0.0
        page = self._page if self._left is None else min(self._page, self._left)
        try:
            got = self._client._read(self.topic, self._offset, page, self._bytes, wait, " fresh=1" if self._fresh else "")
        except (NotFound, Corrupt) as error:
            self._locate(error)
            return True
        self._watch(got)
        self._answered()
        if not got.messages:
            return self._nothing(got)
        messages = got.messages
        if self._delta or self._after:
            messages = self._from(messages)
        self._begun, self._fresh = True, False
        self._offset, self._delta, self._after = got.next, 0, False
        self._batch.extend(messages if self._left is None else messages[: self._left])
        return True

    def _look_up(self) -> None:
        if self._start is None:
            return
        try:
            if isinstance(self._start, datetime):
                self._offset = self._client.seek(self.topic, self._start)
            else:
                self._offset = self._client.info(self.topic).next
        except NoTopic:
            if not self._await:
                raise
            self._offset = -1  # all of it is yet to come
        self._start = None

    def _from(self, messages: Tuple[Message, ...]) -> Tuple[Message, ...]:
        """Return the messages from the wanted one on."""
        for i, m in enumerate(messages):
            if m.id == (self._offset, self._delta):
                return messages[i + self._after:]
        raise NoMessage(self._offset, self._delta, self._client.info(self.topic).next)

    def _nothing(self, got: Result) -> bool:
        """The end of the log is reached: report whether to read on."""
        if self._follow:
            self._closed.wait(0.001)  # a server that shuts down answers as fast as it is asked
            return True
        if self._client._cluster and not self._fresh:
            self._fresh = True  # this may be where the member ends, and not the log
            return True
        return False

    def _locate(self, error: Error) -> None:
        """Nothing was found: raise why, or the Gap; or return if it came or went meanwhile."""
        try:
            info = self._client.info(self.topic)
        except NoTopic:
            if not self._await or self._begun:
                raise
            self._closed.wait(1)
            return
        self._compare(info)
        for begin, end in info.damaged:
            if begin <= self._offset < end:
                raise Gap(self._offset, end, "damage")
        if 0 <= self._offset < info.oldest:
            raise Gap(self._offset, info.oldest, "retention")
        if isinstance(error, NotFound) and self._offset not in (-1, info.next):
            raise NoMessage(self._offset, 0, info.next)
        raise error

    def _watch(self, got: Result) -> None:
        """See whether the topic is the one that it was: over each new connection, and now and
        then. Damage that the oldest batches have is told here, too."""
        on = self._client._connections.get(self._client._routes.get(self.topic, self._client._home))
        if self._asked_on is None:
            self._asked_on, self._asked = on, time.monotonic()
        if self._offset < 0 < got.offset:
            for begin, end in self._client.info(self.topic).damaged:
                if end == got.offset:
                    raise Gap(begin, end, "damage")
        if self._follow and (on is not self._asked_on or time.monotonic() - self._asked >= _WAIT):
            try:
                info = self._client.info(self.topic)
            except (InvalidProtocol, InvalidRequest):
                return  # a server of the 0.3 line has no ids
            self._asked_on, self._asked = on, time.monotonic()
            self._compare(info)

    def _compare(self, info: Info) -> None:
        was, self._id = self._id, info.id
        if was and info.id and info.id != was:
            raise Gap(max(self._offset, 0), info.oldest, "replaced")

    def _answered(self) -> None:
        self._failures = 0

    def _retry(self, error: Error) -> None:
        """Return when it is time to try again; else raise the error."""
        if isinstance(error, InvalidRequest) and self._page == _PAGE:  # perhaps for the number of messages
            most = int(self._client.config().get("MaxMessages", _PAGE))
            if most < self._page:
                self._page = most
                return
        self._failures += 1
        attempts = self._client._attempts
        again = (error.retryable or type(error) in (NotFound, NoBatch)) and not isinstance(error, ConnectError)
        if not again or attempts is not None and self._failures > attempts:
            raise error
        if self._failures > 1 or not isinstance(error, (NotLeader, ConnectionLost)):
            self._closed.wait(self._client._backoff(self._failures - 1))
