"""What the tests of logd have this client do: see tests/clients.

    run.py vectors [PART OF A NAME]   plays testdata/vectors
    run.py roundtrip OPTIONS TOPIC    writes and reads in every way, and compares
    run.py write OPTIONS TOPIC [LENGTH]
                                      writes numbered messages until standard input ends, prints "NUMBER ID"; with
                                      LENGTH they are filled up to that, and batches are as large as they may be
    run.py follow OPTIONS TOPIC       prints "ID BODY" of each message until standard input ends
    run.py positions OPTIONS TOPIC    has positions set, held, moved and forgotten
    run.py work OPTIONS TOPIC LIMIT   reads so many messages from where its position is, and prints them

OPTIONS are those of a Client as JSON, and its addresses as "addrs".
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import logd  # noqa: E402
import vectors  # noqa: E402


def check(got, want) -> None:
    if got != want:
        raise AssertionError(f"got {got!r}, want {want!r}")


def roundtrip(client: logd.Client, topic: str) -> None:
    client.ping()
    first = client.append(topic, "zero")
    check(first, logd.ID(0, 0))
    two = client.append_batch(topic, ["one", b"\x00\xff\r\n"])
    check([m.id for m in client.read(topic, 0).messages], [first, *two])
    with logd.Writer(client, topic, batch_age=0.001) as writer:
        futures = [writer.write(f"message {i}") for i in range(2000)]
        big = writer.write(b"x" * 50000)
        try:
            writer.write(b"x" * 70000)
            raise AssertionError("a message was taken that is too large")
        except logd.TooLarge:
            pass
        writer.flush()
    ids = [f.result() for f in futures] + [big.result()]
    want = [b"zero", b"one", b"\x00\xff\r\n"] + [f"message {i}".encode() for i in range(2000)] + [b"x" * 50000]
    read = list(logd.Reader(client, topic))
    check([m.body for m in read], want)
    check([m.id for m in read[3:]], ids)
    check(topic in client.topics(), True)
    info = client.info(topic)
    check((info.oldest, info.next, info.messages), (0, read[-1].next.offset, len(want)))

    check(next(logd.Reader(client, topic, start=ids[7])).body, b"message 7")
    check(next(logd.Reader(client, topic, after=ids[7])).body, b"message 8")
    check([m.body for m in logd.Reader(client, topic, after=ids[-2], limit=1)], [b"x" * 50000])
    check(len(list(logd.Reader(client, topic, limit=5))), 5)
    now = datetime.now(timezone.utc)
    check(client.seek(topic, now + timedelta(hours=1)), info.next)
    check(client.seek(topic, now - timedelta(hours=1)), 0)
    check(len(list(logd.Reader(client, topic, start=now - timedelta(hours=1)))), len(want))

    with logd.Reader(client, topic, start="end", follow=True) as reader:
        got = []
        thread = threading.Thread(target=lambda: got.append(next(reader)))
        thread.start()
        time.sleep(0.2)
        late = client.append(topic, "late")
        thread.join(10)
        check([(m.id, m.body) for m in got], [(late, b"late")])

    for offset, error in ((1, logd.NoBatch), (10**12, logd.NoBatch)):
        try:
            client.read(topic, offset)
            raise AssertionError(f"there is a batch at {offset}")
        except error:
            pass
    for call in (lambda: client.info("none"), lambda: client.tail("none"), lambda: next(logd.Reader(client, "none"))):
        try:
            call()
            raise AssertionError("there is a topic none")
        except logd.NoTopic:
            pass


def write(client: logd.Client, topic: str, stop: threading.Event, length: int = 0) -> None:
    batches = {} if length else {"batch_messages": 5, "batch_age": 0.001}
    with logd.Writer(client, topic, patience=None, **batches) as writer:
        futures = []
        while not stop.is_set():
            futures.append(writer.write(str(len(futures)).ljust(length)))
            if not length:
                time.sleep(0.0005)
        writer.flush()
        for n, future in enumerate(futures):
            print(n, future.result() or "-")
    if writer.in_doubt:
        raise AssertionError(f"{writer.in_doubt} messages may be there twice")


def follow(client: logd.Client, topic: str, stop: threading.Event) -> None:
    reader = logd.Reader(client, topic, follow=True, await_topic=True)

    def end() -> None:
        stop.wait()
        reader.close()

    threading.Thread(target=end, daemon=True).start()
    try:
        for message in reader:
            print(message.id, message.body.decode())
            sys.stdout.flush()
    except logd.Closed:
        pass


def work(client: logd.Client, topic: str, limit: int) -> None:
    with logd.Progress(client, topic, "worker", hold=5, worker="w-1", every=0.1) as progress:
        for message in logd.Reader(client, topic, progress=progress, limit=limit or None):
            print(message.id, message.body.decode())
            progress.done(message)


def positions(client: logd.Client, topic: str) -> None:
    ids = client.append_batch(topic, [str(i) for i in range(10)])
    check(client.position(topic, "c"), None)
    with logd.Progress(client, topic, "c") as progress:
        for message in logd.Reader(client, topic, progress=progress, limit=4):
            progress.done(message)
    there = client.position(topic, "c")
    check((there.at, there.state, there.holder), (ids[4], "ok", None))

    progress = logd.Progress(client, topic, "c", every=60)
    messages = list(logd.Reader(client, topic, progress=progress))
    check(messages[0].body, b"4")
    progress.done(messages[1])
    check(progress.at, ids[4])
    progress.done(messages[0])
    check(progress.at, ids[6])
    client.set_position(topic, "c", ids[1])  # an operator
    for call in (progress.save, lambda: progress.done(messages[2])):
        try:
            call()
            raise AssertionError("what an operator has set was overwritten")
        except logd.Moved as error:
            check(error.position.at, ids[1])
    progress.close()
    check(client.position(topic, "c").at, ids[1])

    first = logd.Progress(client, topic, "held", hold=2, worker="w-1")
    check(client.position(topic, "held").holder, "w-1")
    for call in (lambda: logd.Progress(client, topic, "held", hold=2, worker="w-2"), lambda: client.set_position(topic, "held", ids[2])):
        try:
            call()
            raise AssertionError("two hold the same position")
        except logd.Held as error:
            check(0 < error.left_ms <= 2000, True)
    time.sleep(2.5)  # it is held on
    check(client.position(topic, "held").holder, "w-1")
    threading.Timer(0.3, first.close).start()
    second = logd.Progress(client, topic, "held", hold=2, worker="w-2", standby=True)
    check(client.position(topic, "held").holder, "w-2")
    second.close()

    shares = [logd.first_free(client, topic, "s", 2, hold=2, worker=f"w-{i}") for i in range(2)]
    check([number for number, _ in shares], [0, 1])
    for _, progress in shares:
        progress.close()
    check(logd.share("a", 1000), 0xAF63DC4C8601EC8C % 1000)
    client.forget_position(topic, "held")
    check([p.consumer for p in client.positions(topic)], ["c", "s.0", "s.1"])


def main() -> int:
    mode, args = sys.argv[1], sys.argv[2:]
    faulthandler.register(signal.SIGQUIT)
    if mode == "vectors":
        return vectors.main(args[0] if args else "")
    options = json.loads(args[0])
    stop = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        stop.set()

    with logd.Client(*options.pop("addrs"), **options) as client:
        if mode == "roundtrip":
            roundtrip(client, args[1])
        elif mode == "positions":
            positions(client, args[1])
        elif mode == "work":
            work(client, args[1], int(args[2]))
        else:
            threading.Thread(target=watch, daemon=True).start()
            {"write": write, "follow": follow}[mode](client, args[1], stop, *map(int, args[2:]))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # whatever waits for standard input
