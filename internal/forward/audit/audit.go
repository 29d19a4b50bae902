// Package audit compares what the agent's ledger says with what the server has. It
// changes nothing, and does not ask whether the agent is running.
//
// It adds up the ledger, reads the batch at each offset that the ledger has, and compares
// length, checksum and count. It looks for what may be stored or not, by number, else by
// checksum. So it proves that what was taken is there, and not what a program never wrote;
// and it goes no further back than the ledger.
package audit

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/segment"
	"github.com/logd-dev/logd/internal/forward/spool"
	"github.com/logd-dev/logd/internal/vfs"
)

// Options say what is looked at.
type Options struct {
	FS     vfs.FS       // the state folder
	Client *logd.Client // nil: the server is not asked
	Topic  string       // that alone, empty for all
	Input  string       // that alone, empty for all
	Since  time.Time    // what was sent before is left out, unless zero
}

// Hole is what was there and is not stored.
type Hole struct {
	Kind     feed.Kind `json:"kind"`
	From     int64     `json:"from"`
	To       int64     `json:"to"`
	Messages int64     `json:"messages"` // -1 if unknown
	Bytes    int64     `json:"bytes"`
	Time     time.Time `json:"time"`
	Cause    string    `json:"cause"`
}

// Line is what is known of the messages of a source to a topic. All numbers are of
// messages.
type Line struct {
	Input   string `json:"input"`
	Source  string `json:"source"` // the path of a file, empty for the other sources of the input together
	Topic   string `json:"topic"`
	Taken   int64  `json:"taken"`
	Stored  int64  `json:"stored"`
	Waiting int64  `json:"waiting"` // in the spool, or sent and not answered
	Holes   []Hole `json:"holes"`

	Verified   int64 `json:"verified"`   // found as they were sent
	Expired    int64 `json:"expired"`    // older than what the server keeps
	Missing    int64 `json:"missing"`    // not there
	Mismatched int64 `json:"mismatched"` // another batch is there
	Duplicates int64 `json:"duplicates"` // there once more
}

// Report is what was found.
type Report struct {
	Lines  []Line
	Since  time.Time // how far back what was compared with the server goes; zero if there is nothing
	Damage []segment.Damage
}

// Clean reports whether all that was taken is stored or waits, and was found.
func (r *Report) Clean() bool {
	for _, l := range r.Lines {
		if l.Taken != l.Stored+l.Waiting || len(l.Holes) > 0 || l.Missing > 0 || l.Mismatched > 0 {
			return false
		}
	}
	return len(r.Damage) == 0
}

// entry is a batch that the ledger has.
type entry struct {
	*ledger.Sent
	offset int64 // -1 if it is not known
	hole   bool  // the ledger does not know whether it is stored
	found  bool
}

type auditor struct {
	o       Options
	state   *ledger.State
	lines   map[ledger.TotalKey]*Line
	entries map[string][]*entry // by topic
	since   int64
}

// Run compares. If the server can't be asked the error is the client's, and the report
// has what the ledger says.
func Run(ctx context.Context, o Options) (*Report, error) {
	a := &auditor{o: o, lines: map[ledger.TotalKey]*Line{}, entries: map[string][]*entry{}}
	r := &Report{}
	damage, err := a.read()
	if err != nil {
		return nil, err
	}
	r.Damage = damage
	found, err := a.waits()
	if err != nil {
		return nil, err
	}
	// An agent that runs may be writing the last record just now.
	r.Damage = slices.DeleteFunc(append(r.Damage, found...), func(d segment.Damage) bool { return d.Torn })
	a.totals()
	if o.Client != nil {
		for _, topic := range slices.Sorted(maps.Keys(a.entries)) {
			if err = a.compare(ctx, topic, a.entries[topic]); err != nil {
				break
			}
		}
	}
	if a.since > 0 {
		r.Since = time.Unix(0, a.since)
	}
	keys := slices.SortedFunc(maps.Keys(a.lines), func(x, y ledger.TotalKey) int {
		return cmp.Or(cmp.Compare(x.Input, y.Input), cmp.Compare(x.Source, y.Source), cmp.Compare(x.Topic, y.Topic))
	})
	for _, k := range keys {
		l := a.lines[k]
		for _, h := range l.Holes {
			if h.Kind.Taken() {
				l.Taken += max(h.Messages, 0)
			}
		}
		l.Taken += l.Stored + l.Waiting
		r.Lines = append(r.Lines, *l)
	}
	return r, err
}

// wanted reports whether messages are looked at.
func (a *auditor) wanted(input, topic string) bool {
	return (a.o.Input == "" || a.o.Input == input) && (a.o.Topic == "" || a.o.Topic == topic)
}

func (a *auditor) line(input string, source int64, topic string) *Line {
	if a.state != nil && a.state.Sources[source] == nil {
		source = 0
	}
	k := ledger.TotalKey{Input: input, Source: source, Topic: topic}
	l := a.lines[k]
	if l == nil {
		l = &Line{Input: input, Topic: topic, Holes: []Hole{}}
		if a.state != nil && source != 0 {
			l.Source = a.state.Sources[source].Path
		}
		a.lines[k] = l
	}
	return l
}

// read reads the ledger.
func (a *auditor) read() ([]segment.Damage, error) {
	sent := map[ledger.Key]*ledger.Sent{}
	var holes []*ledger.Hole
	since := int64(0)
	if !a.o.Since.IsZero() {
		since = a.o.Since.UnixNano()
	}
	state, damage, err := ledger.Read(a.o.FS, func(r any) error {
		switch r := r.(type) {
		case *ledger.Sent:
			sent[r.Key] = r
			if r.Was != nil {
				delete(sent, *r.Was)
			}
		case *ledger.Stored:
			if s := sent[r.Key]; s != nil && s.Time >= since {
				a.entries[r.Topic] = append(a.entries[r.Topic], &entry{Sent: s, offset: r.Offset})
			}
			delete(sent, r.Key)
		case *ledger.Hole:
			if r.Time >= since {
				holes = append(holes, r)
			}
			if s := sent[key(r)]; s != nil && r.Kind == feed.Unknown && s.Time >= since {
				a.entries[s.Topic] = append(a.entries[s.Topic], &entry{Sent: s, offset: -1, hole: true})
			}
			delete(sent, key(r))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.state = state
	for topic, all := range a.entries {
		for _, e := range all {
			if a.since == 0 || e.Time < a.since {
				a.since = e.Time
			}
		}
		if a.o.Topic != "" && a.o.Topic != topic {
			delete(a.entries, topic)
		}
	}
	for _, h := range holes {
		if !a.wanted(h.Input, h.Topic) {
			continue
		}
		l := a.line(h.Input, h.Source, h.Topic)
		l.Holes = append(l.Holes, Hole{h.Kind, h.From, h.To, h.Messages, h.Bytes, time.Unix(0, h.Time).UTC(), h.Cause})
	}
	return damage, nil
}

func key(h *ledger.Hole) ledger.Key {
	if h.Key == nil {
		return ledger.Key{}
	}
	return *h.Key
}

// waits counts what is in the spool, and what was sent and has no answer.
func (a *auditor) waits() ([]segment.Damage, error) {
	count := func(topic string, runs []ledger.Run) {
		for _, r := range runs {
			if a.wanted(r.Input, topic) {
				a.line(r.Input, r.Source, topic).Waiting += r.Lines
			}
		}
	}
	inSpool := map[segment.Ref]bool{}
	for _, s := range a.state.Unanswered() {
		count(s.Topic, s.Runs)
		if s.Spool != nil {
			inSpool[*s.Spool] = true
		}
	}
	return spool.Each(a.o.FS, func(r spool.Record, _ []byte) error {
		if !a.state.SpoolDone[r.Ref] && !inSpool[r.Ref] {
			count(r.Topic, r.Runs)
		}
		return nil
	})
}

// totals counts what is stored.
func (a *auditor) totals() {
	if a.o.Since.IsZero() {
		for k, t := range a.state.Totals {
			if a.wanted(k.Input, k.Topic) {
				a.line(k.Input, k.Source, k.Topic).Stored += t.Messages
			}
		}
		return
	}
	for topic, all := range a.entries {
		for _, e := range all {
			for _, r := range e.Runs {
				if !e.hole && a.wanted(r.Input, topic) {
					a.line(r.Input, r.Source, topic).Stored += r.Lines
				}
			}
		}
	}
}

// count adds the messages of a batch to a number of each of its lines.
func (a *auditor) count(e *entry, number func(*Line) *int64) {
	for _, r := range e.Runs {
		if a.wanted(r.Input, e.Topic) {
			*number(a.line(r.Input, r.Source, e.Topic)) += r.Lines
		}
	}
}

func verified(l *Line) *int64   { return &l.Verified }
func expired(l *Line) *int64    { return &l.Expired }
func missing(l *Line) *int64    { return &l.Missing }
func mismatched(l *Line) *int64 { return &l.Mismatched }
func duplicates(l *Line) *int64 { return &l.Duplicates }

// same is what tells batches apart whose number is not known.
type same struct {
	crc      uint32
	messages int64
}

// compare reads a topic where the ledger says that its batches are.
func (a *auditor) compare(ctx context.Context, topic string, all []*entry) error {
	at := map[int64]*entry{}
	var lost []*entry // whose offset is not known
	bySum := map[same][]*entry{}
	byNumber := map[ledger.Key]*entry{}
	first := int64(-1) // time of the oldest of lost
	for _, e := range all {
		if e.offset >= 0 {
			at[e.offset] = e
		} else if lost = append(lost, e); first < 0 || e.Time < first {
			first = e.Time
		}
		k := same{e.CRC, e.Messages}
		bySum[k] = append(bySum[k], e)
		byNumber[e.Key] = e
	}
	offsets := slices.Sorted(maps.Keys(at))
	next := int64(0)
	info, err := a.o.Client.Info(ctx, topic)
	if errors.Is(err, logd.ErrNoTopic) {
		for _, e := range all {
			if !e.hole {
				a.count(e, missing)
			}
		}
		return nil
	} else if err != nil {
		return err
	}
	for len(offsets) > 0 && offsets[0] < info.Oldest {
		a.count(at[offsets[0]], expired)
		at[offsets[0]].found = true
		offsets = offsets[1:]
	}
	search := int64(-1) // from where on all is read
	if len(lost) > 0 {
		if search, err = a.o.Client.Seek(ctx, topic, time.Unix(0, first).Add(-time.Minute)); err != nil {
			return err
		}
		search = max(search, info.Oldest)
	}
	next = info.Next
	if len(offsets) > 0 {
		next = offsets[0]
	}
	if search >= 0 {
		next = min(next, search)
	}
	for next < info.Next {
		r, err := a.o.Client.Read(ctx, topic, next, logd.ReadOptions{})
		switch {
		case errors.Is(err, logd.ErrNotFound), errors.Is(err, logd.ErrCorrupt):
			offsets = slices.DeleteFunc(offsets, func(o int64) bool { return o <= next })
			if search >= 0 && next >= search || len(offsets) == 0 {
				next = info.Next // what is behind damage is not looked for
				break
			}
			next = offsets[0]
			continue
		case err != nil:
			return err
		}
		if len(r.Batches) == 0 {
			break
		}
		for i := range r.Batches {
			a.look(topic, &r.Batches[i], at, bySum, byNumber)
		}
		next = r.Next
		r.Release()
		for len(offsets) > 0 && offsets[0] < next {
			offsets = offsets[1:]
		}
		if search < 0 || next < search { // only where ours are
			if len(offsets) == 0 && search < 0 {
				break
			}
			if len(offsets) > 0 && (search < 0 || offsets[0] < search) {
				next = offsets[0]
			} else if search > next {
				next = search
			}
		}
	}
	for _, e := range all {
		if !e.found && !e.hole {
			a.count(e, missing)
		}
	}
	return nil
}

// look compares a batch that is stored.
func (a *auditor) look(topic string, b *logd.StoredBatch, at map[int64]*entry, bySum map[same][]*entry, byNumber map[ledger.Key]*entry) {
	pid, seq := b.Number()
	sum := same{b.Checksum(), b.Messages}
	if e := at[b.Offset]; e != nil {
		if e.found {
			return
		}
		e.found = true
		numbered := seq > 0
		if e.CRC != sum.crc || e.Messages != sum.messages || numbered == e.Numbered && int64(len(b.Raw())) != e.Size {
			a.count(e, mismatched)
			return
		}
		a.count(e, verified)
		return
	}
	e := byNumber[ledger.Key{Topic: topic, PID: pid, Seq: seq}]
	if e == nil || seq == 0 {
		e = nil
		for _, other := range bySum[sum] {
			if e == nil || !other.found && other.offset < 0 {
				e = other
			}
		}
	}
	switch {
	case e == nil || e.CRC != sum.crc || e.Messages != sum.messages:
	case e.offset < 0 && !e.found:
		e.found = true
		a.count(e, verified)
		if e.hole {
			a.fill(e)
		}
	case e.offset != b.Offset:
		a.count(e, duplicates)
	}
}

// fill takes back the holes of a batch that is stored after all.
func (a *auditor) fill(e *entry) {
	for _, r := range e.Runs {
		if !a.wanted(r.Input, e.Topic) {
			continue
		}
		l := a.line(r.Input, r.Source, e.Topic)
		i := slices.IndexFunc(l.Holes, func(h Hole) bool {
			return h.Kind == feed.Unknown && h.From == r.From.At && h.To == r.To.At && h.Messages == r.Lines
		})
		if i >= 0 {
			l.Holes = slices.Delete(l.Holes, i, i+1)
			l.Stored += r.Lines
		}
	}
}
