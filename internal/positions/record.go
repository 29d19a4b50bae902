package positions

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// A record is a message of the log, a line of words:
//
//	SET <version> <topic-id> <topic> <consumer> <at> <ms> ttl= as= hold= by= note=
//	FORGET <version> <topic-id> <consumer>
//	SNAPSHOT <count> <version>
//
// <at> is OFFSET.DELTA, <ms> when the position was saved, since 1970 UTC; ttl= and hold=
// are in milliseconds. A value that there is not is "-". What an older server does not
// know of is to come behind these words.
//
// All batches of a snapshot begin with its SNAPSHOT, and no others do. What follows in
// them are SET records, as many positions in all as it counts, of when the version was
// the last one given out. If one of them is missing the snapshot does not count, and its
// records are what any others are.
type record struct {
	kind    string
	version int64
	count   int64    // SNAPSHOT
	p       Position // SET; FORGET has its Key alone
}

const none = "-"

func appendSet(dst []byte, p *Position) []byte {
	dst = append(dst, "SET "...)
	dst = strconv.AppendInt(dst, p.Version, 10)
	for _, word := range []string{p.ID, p.Topic, p.Consumer} {
		dst = append(append(dst, ' '), word...)
	}
	dst = batch.AppendPlace(append(dst, ' '), p.At)
	dst = strconv.AppendInt(append(dst, ' '), p.Updated.UnixMilli(), 10)
	dst = appendMillis(append(dst, " ttl="...), p.TTL)
	dst = appendWord(append(dst, " as="...), p.As)
	dst = appendMillis(append(dst, " hold="...), p.Hold)
	dst = appendWord(append(dst, " by="...), p.By)
	return appendWord(append(dst, " note="...), p.Note)
}

func appendWord(dst []byte, word string) []byte {
	if word == "" {
		word = none
	}
	return append(dst, word...)
}

func appendMillis(dst []byte, d time.Duration) []byte {
	if d <= 0 {
		return append(dst, none...)
	}
	return strconv.AppendInt(dst, d.Milliseconds(), 10)
}

func appendForget(dst []byte, version int64, k Key) []byte {
	return fmt.Appendf(dst, "FORGET %d %s %s", version, k.ID, k.Consumer)
}

func appendSnapshot(dst []byte, count int, version int64) []byte {
	return fmt.Appendf(dst, "SNAPSHOT %d %d", count, version)
}

// parseRecord parses a record. The error quotes it.
func parseRecord(line []byte) (record, error) {
	words := bytes.Split(line, []byte(" "))
	r := record{kind: string(words[0])}
	ok := false
	switch {
	case r.kind == "SET" && len(words) >= 7:
		ok = r.parseSet(words[1:])
	case r.kind == "FORGET" && len(words) >= 4:
		r.version, ok = batch.ParseInt(words[1])
		r.p.Key = Key{string(words[2]), string(words[3])}
	case r.kind == "SNAPSHOT" && len(words) >= 3:
		var ok2 bool
		r.count, ok = batch.ParseInt(words[1])
		r.version, ok2 = batch.ParseInt(words[2])
		ok = ok && ok2
	}
	if !ok {
		return r, fmt.Errorf("%.100q is no record of a position", line)
	}
	return r, nil
}

func (r *record) parseSet(words [][]byte) (ok bool) {
	p := &r.p
	if p.Version, ok = batch.ParseInt(words[0]); !ok {
		return false
	}
	r.version = p.Version
	p.Key, p.Topic = Key{string(words[1]), string(words[3])}, string(words[2])
	if p.At, ok = batch.ParsePlace(words[4]); !ok {
		return false
	}
	millis, ok := batch.ParseInt(words[5])
	if !ok {
		return false
	}
	p.Updated = time.UnixMilli(millis).UTC()
	for _, word := range words[6:] {
		key, value, _ := bytes.Cut(word, []byte("="))
		text := string(value)
		if text == none {
			continue
		}
		switch string(key) {
		case "ttl":
			p.TTL, ok = parseMillis(value)
		case "hold":
			p.Hold, ok = parseMillis(value)
		case "as":
			p.As = text
		case "by":
			p.By = text
		case "note":
			p.Note = text
		}
		if !ok {
			return false
		}
	}
	return p.ID != "" && p.Topic != "" && p.Consumer != ""
}

func parseMillis(text []byte) (time.Duration, bool) {
	n, ok := batch.ParseInt(text)
	return time.Duration(min(n, int64(1<<62)/int64(time.Millisecond))) * time.Millisecond, ok
}
