"""Does a share of a topic's messages: shares.py TOPIC CONSUMER NAME N

Start as many as there are shares, N, and some more to stand by. Messages with the same first
word are done in order, by one worker at a time.
"""

import os
import sys

import logd


def main() -> int:
    topic, consumer, name, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    addrs = os.environ.get("LOGD_CLI_HOST", logd.DEFAULT_ADDR).split(",")
    with logd.Client(*addrs, attempts=None) as client:
        mine, progress = logd.first_free(client, topic, consumer, n, hold=10, worker=name)
        with progress, logd.Reader(client, topic, follow=True, progress=progress) as reader:
            for message in reader:  # each worker reads all, and does what is its own
                key = message.body.split(b" ")[0]
                if logd.share(key, n) == mine:
                    print(f"{name} does {message.body.decode()}", flush=True)
                progress.done(message)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        pass
