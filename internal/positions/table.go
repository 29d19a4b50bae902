package positions

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

// Jump is how far on versions go at each start, and each change of who gives them out:
// so none is given out twice, however much of the log's tail is lost.
const Jump = 1_000_000

// Table has positions as a log of records tells of them. Create it with NewTable.
type Table struct {
	of      map[Key]*Position
	sorted  []*Position // by topic and consumer; nil if it is to be made anew
	version int64       // the last one that is known to be given out
	begun   *snapshot
}

// snapshot is one of which not all records have come yet.
type snapshot struct {
	count, version int64
	of             map[Key]*Position
}

// NewTable returns a table without positions.
func NewTable() *Table { return &Table{of: make(map[Key]*Position)} }

// Len returns how many positions there are.
func (t *Table) Len() int { return len(t.of) }

// Version returns the last version that was given out, or more.
func (t *Table) Version() int64 { return t.version }

// Raise has versions be given out only behind one.
func (t *Table) Raise(version int64) { t.version = max(t.version, version) }

// Get returns a position. It is the table's.
func (t *Table) Get(k Key) (*Position, bool) {
	p, ok := t.of[k]
	return p, ok
}

// Held returns who holds a position and for how long yet, by the clock that Apply was
// told.
func (p *Position) Held(clock time.Duration) (as string, left time.Duration) {
	if left, is := p.held(clock); is {
		return p.As, left
	}
	return "", 0
}

// All returns all positions, by the names of topics and consumers. They, and the slice,
// are the table's.
func (t *Table) All() []*Position {
	if t.sorted == nil {
		t.sorted = make([]*Position, 0, len(t.of))
		for _, p := range t.of {
			t.sorted = append(t.sorted, p)
		}
		slices.SortFunc(t.sorted, func(a, b *Position) int {
			return cmp.Or(strings.Compare(a.Topic, b.Topic), strings.Compare(a.Consumer, b.Consumer), strings.Compare(a.ID, b.ID))
		})
	}
	return t.sorted
}

// Each returns all positions, which are the table's, in no order: at a start it is not
// worth to put them in one.
func (t *Table) Each() iter.Seq[*Position] { return maps.Values(t.of) }

// Apply takes in the records that are the messages of a batch, at a time of a clock that
// only goes on: a hold that is news runs from then. It reports whether a snapshot begins
// with them, and whether one has come to its end. What is no record is left out, and the
// last such error is returned.
func (t *Table) Apply(messages [][]byte, clock time.Duration) (begins, ends bool, err error) {
	in := false
	for i, line := range messages {
		r, lineErr := parseRecord(line)
		if lineErr != nil {
			err = lineErr
			continue
		}
		t.Raise(r.version)
		switch {
		case r.kind == "SNAPSHOT" && i == 0:
			begins = t.begin(r.count, r.version)
			in = true
		case r.kind == "SET":
			p := t.set(&r.p, clock)
			if in {
				t.begun.of[p.Key] = p
			}
		case r.kind == "FORGET":
			if p := t.of[r.p.Key]; p != nil && p.Version <= r.version {
				delete(t.of, p.Key)
				t.sorted = nil
			}
		}
	}
	if !in || int64(len(t.begun.of)) != t.begun.count {
		return begins, false, err
	}
	if len(t.of) != len(t.begun.of) {
		t.of, t.sorted = t.begun.of, nil
	}
	t.begun = nil
	return begins, true, err
}

// begin begins a snapshot, or goes on with the one that is begun.
func (t *Table) begin(count, version int64) (anew bool) {
	if t.begun != nil && t.begun.count == count && t.begun.version == version {
		return false
	}
	t.begun = &snapshot{count: count, version: version, of: make(map[Key]*Position)}
	return true
}

// set takes a position in, and returns it as it is in the table. One that is older than
// what is there changes nothing.
func (t *Table) set(p *Position, clock time.Duration) *Position {
	was := t.of[p.Key]
	if was == nil {
		was = new(Position)
		t.of[p.Key] = was
		t.sorted = nil
	} else if p.Version < was.Version {
		return was
	}
	until := was.until
	if p.As != was.As {
		until = clock + p.Hold
	}
	*was = *p
	was.until = until
	return was
}

// Snapshot returns the records of all positions, in batches of at most so many bytes of
// records each: what Apply makes the same table of.
func (t *Table) Snapshot(clock time.Duration, most int) (batches [][][]byte) {
	head := appendSnapshot(nil, len(t.of), t.version)
	lines, size := [][]byte{head}, len(head)
	for _, p := range t.All() {
		q := *p
		if as, _ := p.Held(clock); as == "" {
			q.As, q.Hold = "", 0
		}
		line := appendSet(nil, &q)
		if size+len(line) > most && len(lines) > 1 {
			batches = append(batches, lines)
			lines, size = [][]byte{head}, len(head)
		}
		lines, size = append(lines, line), size+len(line)
	}
	return append(batches, lines)
}
