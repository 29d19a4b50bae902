"""Prints messages as they come: follower.py TOPIC [AFTER]

AFTER is the id of the last message that was seen, as it was printed: the program goes on
behind it. Without it, it begins with the oldest message.
"""

import os
import sys

import logd


def main() -> int:
    topic = sys.argv[1]
    after = logd.ID.parse(sys.argv[2]) if len(sys.argv) > 2 else None
    addrs = os.environ.get("LOGD_CLI_HOST", logd.DEFAULT_ADDR).split(",")
    with logd.Client(*addrs, attempts=None) as client:
        for message in logd.Reader(client, topic, after=after, follow=True, await_topic=True, gaps=True):
            if isinstance(message, logd.Gap):
                print("lost:", message, file=sys.stderr)
                continue
            print(message.id, message.body.decode(errors="replace"), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        pass
