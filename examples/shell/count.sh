#!/bin/sh
# Counts the messages of a topic by a field of their JSON: count.sh TOPIC FIELD
set -eu
log-cli read "$1" --to end | sed -n "s/.*\"$2\": *\"\{0,1\}\([^,\"}]*\).*/\1/p" | sort | uniq -c | sort -rn
