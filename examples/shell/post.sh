#!/bin/sh
# Stores the lines of its input by HTTP, each as a message: post.sh TOPIC [KEY] <FILE
#
# With a key they are stored once, however often that is tried: curl tries again by itself, and
# so may you, with the same lines and the same KEY. -L follows to the leader of a cluster.
set -eu
key=${2:-$(date +%s).$$}
exec curl -sS --fail-with-body -L --location-trusted --retry 5 --retry-connrefused --data-binary @- \
	-H "Idempotency-Key: $key" "${LOGD_HTTP:-http://127.0.0.1:1775}/api/v1/topics/$1/messages"
