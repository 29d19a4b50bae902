"""Plays testdata/vectors: a scripted server, and the client that does what the calls say."""

from __future__ import annotations

import base64
import json
import queue
import re
import socket
import sys
import threading
import time
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import logd

PATIENCE = 10.0
FOLDER = Path(__file__).resolve().parents[3] / "testdata" / "vectors"


def vectors():
    """Yield the name of each play and the play."""
    for file in sorted(FOLDER.glob("*.json")):
        for vector in json.loads(file.read_text()):
            yield f"{file.stem}/{vector['name']}", vector


class Failure(Exception):
    pass


def raw(value) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if "base64" in value:
        return base64.b64decode(value["base64"])
    return value["repeat"].encode() * value["times"]


def batch(b) -> bytes:
    data = b"".join(b"MSG %d\r\n%b\r\n" % (len(raw(m)), raw(m)) for m in b["messages"])
    number = f" pid={b['pid']} seq={b['seq']}" if "pid" in b else ""
    return f"BATCH {len(data)} {b['topic']} {zlib.crc32(data)} {len(b['messages'])}{number}\r\n".encode() + data


def mok(lines) -> bytes:
    body = "".join(f"{line}\r\n" for line in lines).encode()
    return b"MOK %d\r\n%b\r\n" % (len(body), body)


def info(i) -> bytes:
    lines = [f"Oldest: {i['oldest']}", f"Next: {i['next']}", "Partitions: 1", f"Bytes: {i['next'] - i['oldest']}", "Messages: 1", "Batches: 1"]
    lines += [f"Id: {i['id']}"] if "id" in i else []
    lines += [f"DamagedAt: {i['damaged']}"] if "damaged" in i else []
    return mok(lines)


class Peer:
    """The server's side of a connection. Its thread reads requests, and answers those with a
    standing answer."""

    def __init__(self, sock, server):
        self.sock, self.server, self.requests = sock, server, queue.Queue()
        self.over = threading.Event()  # the client has closed the connection
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            with self.sock.makefile("rb") as file:
                for line in file:
                    size = re.match(rb"BATCH (\d+) ", line)
                    data = file.read(int(size[1])) if size else b""
                    text = line.decode()[:-2]
                    standing = self.server.play.standing(text)
                    if standing is not None:
                        self.sock.sendall(standing)
                    else:
                        self.requests.put((text, data))
        except OSError:
            pass
        self.over.set()
        self.requests.put(None)


class Server:
    def __init__(self, play, name):
        self.play, self.name, self.peers, self.last, self.listener = play, name, queue.Queue(), None, None
        self.all = []
        self.port = 0
        self.listen()

    def listen(self):
        if self.listener is None:
            self.listener = socket.create_server(("127.0.0.1", self.port))
            self.port = self.listener.getsockname()[1]
            threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                peer = Peer(listener.accept()[0], self)
            except OSError:
                return
            self.all.append(peer)
            self.peers.put(peer)

    def gone(self):
        if self.listener is not None:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None


class Play:
    def __init__(self, vector):
        config = vector.get("config", {})
        self.steps = vector["steps"]
        self.names = config.get("servers", ["a"])
        self.servers = {}
        self.answers = {}
        self.listening = config.get("others", [])
        for name in self.names + self.listening:
            self.servers[name] = Server(self, name)
        lines = ["Host: h:1", "Timeout: 15s", "IdleTimeout: 30s", f"MaxBatchSize: {config.get('max_batch_size', 65536)}"]
        lines += [f"Producers: {config.get('producers', 262144)}"]
        lines += ["TopicLimits: true"] if config.get("topic_limits") else []
        if config.get("cluster"):
            lines += ["Node: n", f"Cluster: {config['cluster']}", "ElectionTimeout: 1s"]
        self.answers = {"CONFIG": mok(lines), "CLUSTER": b"ERR invalid request\r\n", "HELLO": b"ERR invalid request\r\n"}
        for line, pieces in config.get("answers", {}).items():
            self.answers[line] = self.bytes(pieces)
        self.current = self.servers[self.names[0]]
        self.calls, self.objects, self.workers = {}, {}, {}
        c = config.get("client", {})
        self.client = logd.Client(
            *(self.addr(n) for n in self.names), attempts=c.get("attempts", 2), token=c.get("token"),
            read_timeout=c.get("read_timeout_ms", 15000) / 1000, reconnect_min=0.001, reconnect_max=0.01)

    def addr(self, name):
        return f"127.0.0.1:{self.servers[name].port}"

    def text(self, text):
        for name in self.servers:
            text = text.replace("{" + name + "}", self.addr(name))
        return text

    def standing(self, line):
        return self.answers.get("HELLO" if line.startswith("HELLO ") else line[:-8] if line.endswith(" fresh=1") else line)

    def bytes(self, pieces) -> bytes:
        if isinstance(pieces, list):
            return b"".join(self.bytes(p) for p in pieces)
        if isinstance(pieces, str):
            return self.text(pieces).encode()
        if "batch" in pieces:
            return batch(pieces["batch"])
        if "lines" in pieces:
            return mok(self.text(line) for line in pieces["lines"])
        if "info" in pieces:
            return info(pieces["info"])
        return raw(pieces)

    def run(self):
        for number, step in enumerate(self.steps, 1):
            try:
                kind = next(k for k in ("call", "result", "accept", "expect", "send", "close") if k in step)
                getattr(self, f"step_{kind}")(step)
            except queue.Empty:
                raise Failure(f"step {number}, {step}: nothing came in {PATIENCE} s") from None
            except (Failure, OSError, TimeoutError) as e:
                raise Failure(f"step {number}, {step}: {e or type(e).__name__}") from None
        self.leftovers()

    def leftovers(self):
        for server in self.servers.values():
            for peer in server.all:
                while not peer.requests.empty():
                    request = peer.requests.get()
                    if request and not re.match("READ |TAIL |INFO ", request[0]):
                        raise Failure(f"nobody expected {request[0]!r}")

    def close(self):
        for worker in self.workers.values():
            worker.shutdown(wait=False)
        for thing in list(self.objects.values()):
            if isinstance(thing, logd.Writer):
                thing._gave_up = True
            thing_client = thing._client
            thing_client.close()
        self.client.close()
        for server in self.servers.values():
            server.gone()
            for peer in server.all:
                try:
                    peer.sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                peer.sock.close()

    # The server's steps.

    def peer(self, step):
        server = self.servers[step["on"]] if "on" in step else self.current
        if server.last is None:
            raise Failure("there is no connection")
        return server.last

    def step_accept(self, step):
        self.current = self.servers[step["accept"]]
        self.current.listen()
        self.current.last = self.current.peers.get(timeout=PATIENCE)

    def step_expect(self, step):
        request = self.peer(step).requests.get(timeout=PATIENCE)
        if request is None:
            raise Failure("the client has closed the connection")
        line, data = request
        want, want_data = step["expect"], raw(step.get("data", ""))
        if isinstance(want, dict):
            head, _, want_data = batch(want["batch"]).partition(b"\r\n")
            want = head.decode()
        want = self.text(want)
        if not (line == want or want.endswith(" *") and (line + " ").startswith(want[:-1])):
            raise Failure(f"the client sent {line!r}")
        if data != want_data:
            raise Failure(f"the client sent the data {data!r}")

    def step_send(self, step):
        peer, data = self.peer(step), self.bytes(step["send"])
        try:
            if not step.get("split"):
                peer.sock.sendall(data)
                return
            for i in range(len(data)):
                peer.sock.sendall(data[i:i + 1])
                time.sleep(0.0005)  # or they arrive together
        except OSError:
            pass  # the client has had enough

    def step_close(self, step):
        server = self.servers[step["close"]]
        if step.get("how") == "gone":
            server.gone()
        if server.last is not None:
            server.last.sock.shutdown(socket.SHUT_WR)
            server.last.over.wait(PATIENCE)  # so that the client knows
            server.last.sock.close()
            server.last = None

    # The client's.

    def step_call(self, step):
        name = step.get("as", step["call"])
        owner = step.get("on", step.get("as") if step["call"] in ("writer", "reader") else None)
        self.last_call = name
        if owner is None:
            worker = ThreadPoolExecutor(1)
        else:  # the calls on a thing come one after another
            worker = self.workers.setdefault(owner, ThreadPoolExecutor(1))
        self.calls[name] = worker.submit(self.do, step)

    def do(self, step):
        try:
            return getattr(self, f"call_{step['call']}")(**{k: v for k, v in step.items() if k not in ("call", "as")}, step=step)
        except logd.Error as e:
            return e
        except Exception as e:  # which is to be seen
            return Failure(repr(e))

    def step_result(self, step):
        got = self.calls[step.get("of", self.last_call)].result(timeout=PATIENCE)
        if isinstance(got, list) and got and isinstance(got[0], Future):
            got = [f.exception(timeout=PATIENCE) or f.result() for f in got]
        problem = self.differs(self.told(got), step["result"])
        if problem:
            raise Failure(f"the client says {problem}")

    def told(self, value):
        """Return the value as the vectors write it."""
        if isinstance(value, list) and not isinstance(value, logd.Message):
            return [self.told(v) for v in value]
        if isinstance(value, logd.ID):
            return str(value)
        if isinstance(value, logd.Message):
            return [str(value.id), value.body]
        if isinstance(value, logd.Result):
            return {"offset": value.offset, "next": value.next, "messages": [self.told(m) for m in value.messages]}
        if isinstance(value, logd.Info):
            return {"oldest": value.oldest, "next": value.next, "id": value.id, "damaged": [list(r) for r in value.damaged]}
        if isinstance(value, logd.Position):
            return {"at": str(value.at), "version": value.version, "state": value.state}
        if isinstance(value, logd.Error):
            keys = {k: getattr(value, k) for k in ("addr", "next", "version", "left_ms", "begin", "end", "cause") if hasattr(value, k)}
            return {"error": value.code, "unknown": value.unknown, "text": str(value), **keys}
        if isinstance(value, Failure):
            raise value
        return value

    def differs(self, got, want):
        """Return the value if it is not what is wanted."""
        if isinstance(want, dict) and ("base64" in want or "repeat" in want):
            want = raw(want)
        if isinstance(want, dict):
            if not isinstance(got, dict) or "error" in want and got.get("unknown", False) != want.get("unknown", False):
                return repr(got)
            return repr(got) if any(k not in got or self.differs(got[k], v) for k, v in want.items()) else None
        if isinstance(want, list):
            if not isinstance(got, list) or len(got) != len(want):
                return repr(got)
            return repr(got) if any(self.differs(g, w) for g, w in zip(got, want)) else None
        if isinstance(want, str):
            want = self.text(want)
        if isinstance(got, bytes):
            want = want.encode() if isinstance(want, str) else want
        return None if got == want and type(got) is type(want) else repr(got)

    def call_ping(self, step):
        return self.client.ping()

    def call_topics(self, step):
        return self.client.topics()

    def call_info(self, topic, step):
        return self.client.info(topic)

    def call_append(self, topic, messages, step):
        return self.client.append_batch(topic, [raw(m) for m in messages])

    def call_read(self, topic, offset, step, wait_ms=0):
        return self.client.read(topic, offset, wait=wait_ms / 1000)

    def call_tail(self, topic, step):
        return self.client.tail(topic)

    def call_seek(self, topic, time_ms, step):
        return self.client.seek(topic, datetime.fromtimestamp(time_ms / 1000, timezone.utc))

    def call_writer(self, topic, step, pids=("p1", "p2", "p3"), batch_age_ms=10, **config):
        given = iter(pids)
        self.objects[step["as"]] = logd.Writer(self.client, topic, _new_pid=lambda: next(given, "none-left"), batch_age=batch_age_ms / 1000, **config)

    def call_write(self, on, messages, step):
        return [self.objects[on].write(raw(m)) for m in messages]

    def call_flush(self, on, step):
        return self.objects[on].flush()

    def call_close(self, on, step):
        return self.objects[on].close()

    def call_in_doubt(self, on, step):
        return self.objects[on].in_doubt

    def call_reader(self, topic, step, start="start", after=None, **config):
        if isinstance(start, dict):
            start = datetime.fromtimestamp(start["time_ms"] / 1000, timezone.utc)
        elif start not in ("start", "end"):
            start = logd.ID.parse(start)
        self.objects[step["as"]] = logd.Reader(
            self.client, topic, start=start, after=logd.ID.parse(after) if after else None, **config)

    def call_next(self, on, step):
        got = self.objects[on].read()
        if got is None:
            return {"end": True}
        if isinstance(got, logd.Gap):
            return {"gap": {"begin": got.begin, "end": got.end, "cause": got.cause}}
        return got

    def call_position(self, topic, consumer, step):
        return self.client.position(topic, consumer)

    def call_positions(self, step, topic=None):
        return [[p.topic, p.consumer, str(p.at), p.version] for p in self.client.positions(topic)]

    def call_set_position(self, topic, consumer, at, step, hold_ms=0, **more):
        return self.client.set_position(topic, consumer, logd.ID.parse(at), hold=hold_ms / 1000, **more)

    def call_hold_position(self, topic, consumer, worker, hold_ms, step):
        return self.client.hold_position(topic, consumer, worker, hold_ms / 1000)

    def call_forget_position(self, topic, consumer, step, **more):
        return self.client.forget_position(topic, consumer, **more)


def main(only: str) -> int:
    failed = n = 0
    for name, vector in vectors():
        if only and only not in name:
            continue
        n += 1
        play = Play(vector)
        try:
            play.run()
        except Failure as e:
            failed += 1
            print(f"FAIL {name}\n     {e}")
        finally:
            play.close()
    print(f"{n} vectors, {failed} failed")
    return 1 if failed or not n else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
