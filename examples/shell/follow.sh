#!/bin/sh
# Prints the messages of a topic by HTTP, and those that come, as JSON: follow.sh TOPIC [AFTER]
#
# AFTER is the id of the last message that was seen. When the connection ends so does the
# program: start it again with the id that it has printed last.
set -eu
curl -sSN -H 'Accept: text/event-stream' -H "Last-Event-ID: ${2:-}" \
	"${LOGD_HTTP:-http://127.0.0.1:1775}/api/v1/topics/$1/messages?from=start&await=1" |
	sed -un 's/^data: \({"topic":.*"delta":.*\)/\1/p'
