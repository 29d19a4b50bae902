"""Does each message of a topic: worker.py TOPIC CONSUMER NAME

Of several workers with the same CONSUMER one works, and the others stand by. How far they
have come is kept on the server: after a crash another one goes on there, and repeats what
was done in the last second.
"""

import os
import sys

import logd


def work(client: logd.Client, topic: str, consumer: str, name: str) -> None:
    with logd.Progress(client, topic, consumer, hold=10, worker=name, standby=True) as progress:
        with logd.Reader(client, topic, follow=True, progress=progress) as reader:
            for message in reader:
                print(f"{name} does {message.body.decode()}", flush=True)
                progress.done(message)


def main() -> int:
    addrs = os.environ.get("LOGD_CLI_HOST", logd.DEFAULT_ADDR).split(",")
    with logd.Client(*addrs, attempts=None) as client:
        while True:
            try:
                work(client, *sys.argv[1:4])
            except logd.Moved as error:
                print("an operator has moved it:", error, file=sys.stderr)  # and the next turn goes on there


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        pass
