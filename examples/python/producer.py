"""Stores lines: producer.py TOPIC [LINE…], or the lines of standard input.

Each message is stored once and in order, also if the server is restarted meanwhile.
"""

import os
import sys

import logd


def main() -> int:
    topic, lines = sys.argv[1], sys.argv[2:] or (line.rstrip("\n") for line in sys.stdin)
    addrs = os.environ.get("LOGD_CLI_HOST", logd.DEFAULT_ADDR).split(",")
    with logd.Client(*addrs, token_file=os.environ.get("LOGD_TOKEN_FILE")) as client:
        with logd.Writer(client, topic, batch_age=0.1) as writer:  # seconds that a line waits for others
            stored = [writer.write(line) for line in lines]
    for id in stored:
        print(id.result())  # or raises why the message is not stored
    return 0


if __name__ == "__main__":
    sys.exit(main())
