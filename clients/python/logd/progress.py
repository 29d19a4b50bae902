"""Progress: how far a program has come with a topic, kept on the server."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Deque, Dict, Optional, Tuple

from . import wire
from .client import Body, Client, to_bytes
from .errors import Closed, Error, Held, Moved, VersionConflict
from .wire import ID, Message

_DAY = 86400.0


class Progress:
    """Where the consumer of a topic is, for a Reader to begin at and to go on from.

        with logd.Progress(client, "orders", "mailer") as progress:
            for message in logd.Reader(client, "orders", follow=True, progress=progress):
                send_mail(message.body)
                progress.done(message)

    It is saved at most once in ``every`` seconds, when it is closed, and once a day. So a crash
    repeats what was done since the last save. Messages may be done in any order; the position
    is the first one that is not.

    With ``hold`` the position is this worker's alone, and stays it, until it has not been heard
    of for so many seconds, 1 to 300: others get Held, or with ``standby`` wait until it is free.

    If somebody else sets the position, an operator say, the next ``done`` or ``save`` raises
    Moved and changes nothing. The way on is a new Progress and a new Reader.
    """

    def __init__(
        self,
        client: Client,
        topic: str,
        consumer: str,
        *,
        every: float = 1.0,
        hold: float = 0,
        worker: str = "",
        standby: bool = False,
        ttl: float = 0,
    ) -> None:
        wire.check_topic(topic)
        if hold and not worker:
            raise ValueError("a hold wants the worker's name")
        self.topic, self.consumer, self.worker = topic, consumer, worker
        self.client, self._every, self._hold, self._ttl = client, every, hold, ttl
        self._mu = threading.RLock()
        # Guarded by mu.
        self._under_way: Deque[Message] = deque()  # delivered, in order, from the first that is not done
        self._done: Dict[ID, bool] = {}
        self._error: Optional[Error] = None
        self._id = ""
        while True:
            try:
                self._open()
                break
            except Held as error:
                if not standby:
                    raise
                time.sleep(min(max(error.left_ms / 1000, 0.05), 1))
        self._saved, self._saved_at = self._at, time.monotonic()
        self._held_at = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"logd progress {topic}", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        position = self.client.position(self.topic, self.consumer)
        self._version, self._at = (position.version, position.at) if position else (0, None)
        if not self._hold:
            return
        if position:
            self.client.hold_position(self.topic, self.consumer, self.worker, self._hold)
            position = self.client.position(self.topic, self.consumer)  # where the one before has left it
            if position:
                self._version, self._at = position.version, position.at
                return
        info = self.client.info(self.topic)
        try:
            self._version = self.client.set_position(
                self.topic, self.consumer, ID(info.oldest), version=0, id=info.id, hold=self._hold, worker=self.worker)
        except VersionConflict:  # another worker was first
            return self._open()
        self._at, self._id = ID(info.oldest), info.id

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def at(self) -> Optional[ID]:
        """The first message that is not done, None if nothing is known."""
        with self._mu:
            return self._at

    def _started(self, message: Message) -> None:
        with self._mu:
            self._under_way.append(message)
            if self._at is None:
                self._at = message.id

    def done(self, message: Message) -> None:
        """Note that the program is done with the message."""
        with self._mu:
            self._check()
            self._done[message.id] = True
            while self._under_way and self._done.pop(self._under_way[0].id, False):
                self._at = self._under_way.popleft().next

    def save(self) -> None:
        """Save now, if there is anything to save."""
        with self._mu:
            self._check()
            now = time.monotonic()
            if self._at is None or self._at == self._saved and now - self._saved_at < _DAY:
                return
            if not self._id:
                self._id = self.client.info(self.topic).id
            try:
                self._version = self.client.set_position(
                    self.topic, self.consumer, self._at, version=self._version, id=self._id, ttl=self._ttl,
                    worker=self.worker if self._hold else "")
            except VersionConflict as error:
                there = self.client.position(self.topic, self.consumer)
                if there is None or there.at != self._at:  # else it is the answer that was lost
                    self._error = Moved(f"the position of {self.consumer} in {self.topic} was set to "
                                        f"{there.at if there else 'none'} by somebody else", there)
                    raise self._error from error
                self._version = there.version
            self._saved, self._saved_at = self._at, now

    def close(self) -> None:
        """Save, and let others have the position."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join()
        with self._mu:
            moved = self._error
            try:
                if moved is None:
                    self.save()
            finally:
                self._error = self._error or Closed("the progress was closed")
                if self._hold and not isinstance(moved, (Moved, Held)):
                    self.client.hold_position(self.topic, self.consumer, self.worker, 0)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        """Save and renew the hold, now and then. What fails is told by done and save."""
        pause = min(self._every, self._hold / 3) if self._hold else self._every
        while not self._closing.wait(pause):
            try:
                with self._mu:
                    if time.monotonic() - self._saved_at >= self._every:
                        self.save()
                if self._hold and time.monotonic() - self._held_at >= self._hold / 3:
                    self.client.hold_position(self.topic, self.consumer, self.worker, self._hold)
                    self._held_at = time.monotonic()
            except Error as error:
                if not error.retryable:
                    self._error = error


def share(key: Body, n: int) -> int:
    """Return which of n shares the key is of: FNV-1a (64 bit) modulo n, as in all clients."""
    h = 0xCBF29CE484222325
    for byte in to_bytes(key):
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h % n


def first_free(client: Client, topic: str, name: str, n: int, *, hold: float, worker: str, pause: float = 1.0) -> Tuple[int, Progress]:
    """Return the first of the shares NAME.0 to NAME.<n-1> that no other worker holds, and its
    Progress. It waits until there is one."""
    while True:
        for number in range(n):
            try:
                return number, Progress(client, topic, f"{name}.{number}", hold=hold, worker=worker)
            except Held:
                continue
        time.sleep(pause)
