#!/bin/sh
# Stores what a program prints, line by line: ship.sh TOPIC COMMAND…
#
# What was printed while the server is away waits in a file, which the next run delivers.
set -eu
topic=$1
shift
"$@" | log-cli write "$topic" --backlog "${TMPDIR:-/tmp}/$topic.backlog"
