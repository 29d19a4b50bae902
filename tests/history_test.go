package tests

import (
	"fmt"
	"hash/maphash"
	"math"
	"time"
)

// A history is what clients of a cluster have sent, were told and have read, with times,
// and what is stored in the end. Its check is the promise of a cluster in a few rules;
// it looks at each thing once, so that hours of load can be checked.
//
// Times are nanoseconds of one clock. What has no answer may happen at any time after it
// was sent, or never.
type history struct {
	writes []write
	reads  [][]reading // of each reader, in its order
	looks  []look
	stored map[string][]found // by topic: the final read, in the order in which it was read
}

// write is one batch: all sendings of a numbered one, one sending of another.
type write struct {
	topic  string
	writer string
	n      int64 // the writer's how-manyth
	seq    bool  // it was sent with pid= and seq=
	sum    uint64
	call   int64 // sent first
	ret    int64 // answered
	fate   outcome
	offset int64
}

type outcome uint8

const (
	unanswered outcome = iota // perhaps stored
	acked                     // OK: stored, at offset
	refusedIt                 // ERR: not stored, unless it has a number and is sent again
)

// found is a batch that is stored.
type found struct {
	offset, size int64
	writer       string
	n            int64
	sum          uint64
}

func (f found) String() string { return fmt.Sprintf("%s %d at %d", f.writer, f.n, f.offset) }

// reading is a batch that a reader was sent.
type reading struct {
	topic        string
	offset, size int64
	sum          uint64
	at           int64 // when it was there
}

// look is the answer to a question with fresh=1 for the end of a topic.
type look struct {
	topic     string
	call, ret int64
	next      int64
	by        string // who said so
}

var sumSeed = maphash.MakeSeed()

// sum is what a batch's bytes are compared by.
func sum(wire string) uint64 { return maphash.String(sumSeed, wire) }

type writeID struct {
	writer string
	n      int64
}

// check returns what in the history no cluster may do, or nothing.
func (h *history) check() (problems []string) {
	report := func(format string, args ...any) {
		if len(problems) < 20 { // more say nothing more
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	sent := make(map[writeID]*write, len(h.writes))
	for i := range h.writes {
		w := &h.writes[i]
		if sent[writeID{w.writer, w.n}] != nil {
			report("the history is wrong: %s has sent its number %d twice", w.writer, w.n)
		}
		sent[writeID{w.writer, w.n}] = w
	}
	topics := make(map[string]*order, len(h.stored))
	known := make(map[writeID]bool, len(h.writes))
	for topic, all := range h.stored {
		topics[topic] = h.checkStored(topic, all, sent, known, report)
	}
	for i := range h.writes {
		if w := &h.writes[i]; w.fate == acked && !known[writeID{w.writer, w.n}] {
			report("lost: %s %d of %s was acknowledged at %d, sent at %v and answered at %v", w.writer, w.n, w.topic, w.offset, time.Duration(w.call), time.Duration(w.ret))
		}
	}
	for i, all := range h.reads {
		checkReads(i, all, topics, report)
	}
	for _, o := range topics {
		o.sweep()
	}
	for _, l := range h.looks {
		topics[l.topic].checkLook(l, report)
	}
	return problems
}

// order is what is stored of a topic and when it came to be.
type order struct {
	all     []found
	at      map[int64]int // offset → index
	called  []int64       // when it was sent; what was sent twice without an answer: first
	acked   []int64       // when that was answered
	decided []int64       // when somebody knew it to be stored
	before  []int64       // the latest call of those before it
	behind  []int64       // the first decision of it and those behind it
}

// checkStored looks at the final read of a topic.
func (h *history) checkStored(topic string, all []found, sent map[writeID]*write, known map[writeID]bool, report func(string, ...any)) *order {
	o := &order{all: all, at: make(map[int64]int, len(all)), called: make([]int64, len(all)), acked: make([]int64, len(all)), decided: make([]int64, len(all))}
	last := make(map[string]int64)
	var newest *write // the one that was sent last, of those that stand before
	for i, f := range all {
		o.at[f.offset] = i
		o.decided[i] = math.MaxInt64
		if i > 0 && f.offset != all[i-1].offset+all[i-1].size {
			report("%s: %v, where the batch before ends at %d", topic, f, all[i-1].offset+all[i-1].size)
		}
		id := writeID{f.writer, f.n}
		w := sent[id]
		switch {
		case w == nil || w.topic != topic:
			report("%s: %v, which nobody has sent", topic, f)
			continue
		case known[id]:
			report("%s: %v is there twice", topic, f)
		case w.sum != f.sum:
			report("%s: %v has other bytes than were sent", topic, f)
		case w.fate == refusedIt:
			report("%s: %v is stored, and was answered with an error", topic, f)
		case w.fate == acked && w.offset != f.offset:
			report("%s: %v, and the answer says %d", topic, f, w.offset)
		}
		known[id] = true
		if w.seq {
			if f.n != last[f.writer]+1 {
				report("%s: %v stands behind its number %d", topic, f, last[f.writer])
			}
			last[f.writer] = f.n
		}
		o.called[i] = w.call
		if w.fate == acked {
			o.acked[i], o.decided[i] = w.ret, w.ret
			if newest != nil && w.ret < newest.call {
				report("%s: %v was acknowledged before %s %d was sent, and stands behind it", topic, f, newest.writer, newest.n)
			}
		}
		if newest == nil || w.call > newest.call {
			newest = w
		}
	}
	return o
}

// checkReads looks at what one reader was sent: nothing skipped, nothing twice, and what
// is stored.
func checkReads(reader int, all []reading, topics map[string]*order, report func(string, ...any)) {
	next := make(map[string]int64)
	for _, r := range all {
		if want, begun := next[r.topic]; begun && r.offset != want {
			report("reader %d of %s was sent %d where %d comes next", reader, r.topic, r.offset, want)
		}
		next[r.topic] = r.offset + r.size
		o := topics[r.topic]
		if o == nil {
			report("reader %d has read of %s, of which nothing is stored", reader, r.topic)
			continue
		}
		i, ok := o.at[r.offset]
		switch {
		case !ok || o.all[i].size != r.size || o.all[i].sum != r.sum:
			report("reader %d of %s was sent a batch at %d that is not what is stored there", reader, r.topic, r.offset)
			continue
		case o.called[i] > r.at:
			report("reader %d of %s was sent %v before it was sent by anybody", reader, r.topic, o.all[i])
		}
		o.decided[i] = min(o.decided[i], r.at) // who has read it knows that it is stored
	}
}

// sweep makes what looks are compared with.
func (o *order) sweep() {
	o.before, o.behind = make([]int64, len(o.all)+1), make([]int64, len(o.all)+1)
	for i := range o.all {
		o.before[i+1] = max(o.before[i], o.called[i])
	}
	o.behind[len(o.all)] = math.MaxInt64
	for i := len(o.all) - 1; i >= 0; i-- {
		o.behind[i] = min(o.behind[i+1], o.decided[i])
	}
}

// checkLook looks at an answer with fresh=1: all that was known to be stored before the
// question stands before the end that it tells, and nothing that was sent after it.
func (o *order) checkLook(l look, report func(string, ...any)) {
	if o == nil {
		if l.next > 0 {
			report("%s ends at %d, it was said, and nothing of it is stored", l.topic, l.next)
		}
		return
	}
	i, ok := o.at[l.next]
	if n := len(o.all); !ok && n > 0 && l.next == o.all[n-1].offset+o.all[n-1].size {
		i, ok = n, true
	}
	switch {
	case !ok:
		report("%s ends at %d, it was said, where no batch ends", l.topic, l.next)
	case o.behind[i] < l.call:
		k := i
		for o.decided[k] >= l.call {
			k++
		}
		how := "read"
		if o.decided[k] == o.acked[k] {
			how = "acknowledged"
		}
		report("%s ends at %d, said %s with fresh=1, asked at %v and answered at %v, after more of it was acknowledged or read: %v, sent first at %v, was %s at %v",
			l.topic, l.next, l.by, time.Duration(l.call), time.Duration(l.ret), o.all[k], time.Duration(o.called[k]), how, time.Duration(o.decided[k]))
	case o.before[i] > l.ret:
		report("%s ends at %d, it was said before what is there was sent", l.topic, l.next)
	}
}
