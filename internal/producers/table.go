// Package producers knows the newest numbered batches of a topic, and tells of a
// batch whether it is the next one of its producer, one that is stored already,
// or neither. So a batch that is sent again is not stored again.
//
// A [Table] remembers the numbered ones among the newest batches of a topic, as
// many as its window says, and of each producer the newest [Kept] of them, as far
// as they are still stored. A producer none of whose batches is among them is
// forgotten. So the table is a function of the stored bytes: a log that is read
// from far enough back gives the same table as one that was kept all the time,
// on any machine. There is no clock in it.
//
//	t := producers.New(window)
//	switch a := t.Ask(&b); a.Verdict {
//	case producers.Next:
//		t.Stage(&b) // it is on its way to the end of the topic
//	case producers.Duplicate:
//		// not stored again: answer a.Offset when that one may be acknowledged
//	}
//	t.Settle(1) // it is stored; or t.Drop(): it is not
//
// What is staged is on its way: it counts for what is asked, and is settled in
// order, or dropped. A log that writes at once stages and settles in one go; a
// group of machines settles when an entry is applied.
//
// [Table.AppendCache] and [ParseCache] write and read a table (cache.go). Nothing
// here has a lock or does input or output; a Table is for one goroutine at a time.
package producers

import "math"

// Kept is how many batches of a producer are known: as many as a client may
// have unanswered.
const Kept = 32

// MinWindow is the smallest window. A producer's unanswered batches are in it, if
// nobody else writes.
const MinWindow = Kept

// Batch is what the table wants to know of a batch.
type Batch struct {
	PID    []byte // the producer's; empty for a batch that is not numbered
	Seq    int64  // from 1
	Offset int64  // where it is stored; not for Ask
	Len    int64  // envelope and data
	CRC    uint32 // of its data
}

// Verdict says what is to be done with a numbered batch.
type Verdict uint8

// The verdicts.
const (
	// Next is the batch that comes next: it is to be stored.
	Next Verdict = iota
	// Duplicate is a batch that is stored, or on its way.
	Duplicate
	// Conflict has the number of one that is stored, or on its way, and other bytes.
	Conflict
	// OutOfOrder is any other. All of its producer's batches before the one that
	// is next are stored, or on their way, and none from that on.
	OutOfOrder
)

// String returns the verdict's name.
func (v Verdict) String() string {
	return [...]string{"next", "duplicate", "conflict", "out of order"}[v]
}

// Answer is what the table says of a batch.
type Answer struct {
	Verdict Verdict
	// Seq is the number that comes next, for a producer that is not known 1.
	Seq int64
	// Offset is where a Duplicate is stored.
	Offset int64
	// End is the end of the batch on which the answer relies, for Next and for a
	// producer that is not known 0: of the one that a Duplicate or Conflict has the
	// number of, else of the producer's newest. The answer may be given when that
	// one may be acknowledged.
	End int64
	// Behind is how many batches come after that one, numbered or not, with those
	// that are on their way. It does not count those that were not staged because
	// the table was Idle.
	Behind int64
}

// Table is the numbered batches of one topic.
type Table struct {
	window int64
	pids   map[string]*producer
	// newest and oldest end the list of producers, by their newest batch.
	newest, oldest *producer

	count int64 // of the batches that were settled, numbered or not
	from  int64 // the oldest offset that is stored

	staged  []step
	staging int64 // batches in staged

	bytes int64
}

// producer is what is known of one. Its entries are settled, oldest first, in
// ascending order of all their fields; the table passes over those that are out
// of the window or not stored any more.
type producer struct {
	pid          string
	newer, older *producer
	entries      []entry // empty while its first is on its way
	onWay        int     // entries among the staged
}

// entry is a numbered batch.
type entry struct {
	seq, offset, len int64
	ordinal          int64 // which of the batches of the topic it was
	crc              uint32
}

func (e *entry) end() int64 { return e.offset + e.len }

// step is what was staged: a numbered batch, or so many that are not.
type step struct {
	of    *producer // nil for batches that are not numbered
	entry entry
	n     int64
}

// What a producer and an entry take in memory, about: the map's share counts.
const (
	producerBytes = 160
	entryBytes    = 40
)

// New returns an empty table that looks back so many batches, at least MinWindow.
func New(window int64) *Table {
	return &Table{window: max(window, MinWindow), pids: make(map[string]*producer)}
}

// Window returns how many batches the table looks back.
func (t *Table) Window() int64 { return t.window }

// Len returns how many producers are known, or have a batch on its way.
func (t *Table) Len() int { return len(t.pids) }

// Bytes returns about how much memory the table takes.
func (t *Table) Bytes() int64 { return t.bytes }

// Idle reports whether no producer is known: batches without a number need not
// be staged then.
func (t *Table) Idle() bool { return len(t.pids) == 0 }

// Staged returns how many batches are on their way.
func (t *Table) Staged() int64 { return t.staging }

// Ask tells what is to be done with a numbered batch that would come after all
// that is staged. It changes nothing.
func (t *Table) Ask(b *Batch) Answer {
	newest := Answer{Seq: 1}
	p := t.pids[string(b.PID)]
	if p == nil {
		return newest.unless(b.Seq == 1)
	}
	// From the newest to the oldest, as long as the numbers fall: behind a number
	// that does not, the producer was forgotten once, and has begun anew.
	last, known := int64(math.MaxInt64), 0
	look := func(e *entry) (found, more bool) {
		if e.seq >= last || !t.knows(e) || known == Kept {
			return false, false
		}
		if known == 0 {
			newest = Answer{Seq: e.seq + 1, End: e.end(), Behind: t.behind(e)}
		}
		last = e.seq
		known++
		return e.seq == b.Seq, e.seq > b.Seq
	}
	at := func(e *entry) Answer {
		a := Answer{Verdict: Duplicate, Seq: newest.Seq, Offset: e.offset, End: e.end(), Behind: t.behind(e)}
		if e.len != b.Len || e.crc != b.CRC {
			a.Verdict, a.Offset = Conflict, 0
		}
		return a
	}
	for i, left := len(t.staged)-1, p.onWay; left > 0; i-- {
		if t.staged[i].of != p {
			continue
		}
		left--
		switch found, more := look(&t.staged[i].entry); {
		case found:
			return at(&t.staged[i].entry)
		case !more:
			return newest.unless(b.Seq == newest.Seq)
		}
	}
	for i := len(p.entries) - 1; i >= 0; i-- {
		switch found, more := look(&p.entries[i]); {
		case found:
			return at(&p.entries[i])
		case !more:
			return newest.unless(b.Seq == newest.Seq)
		}
	}
	return newest.unless(b.Seq == newest.Seq)
}

// unless turns what is known of a producer into the answer to a batch that is not
// known.
func (a Answer) unless(next bool) Answer {
	if next {
		return Answer{Verdict: Next, Seq: a.Seq}
	}
	a.Verdict = OutOfOrder
	return a
}

// knows reports whether a batch is in the window, as it is when all that is staged
// is stored, and still stored.
func (t *Table) knows(e *entry) bool {
	return e.ordinal > t.count+t.staging-t.window && e.offset >= t.from
}

// behind returns how many batches come after one that is known.
func (t *Table) behind(e *entry) int64 { return t.count + t.staging - e.ordinal }

// Stage notes that a batch is on its way, numbered or not, to where the staged
// batches before it end. It is not asked whether it is the next one: what is
// stored by somebody else's order is staged as it comes.
func (t *Table) Stage(b *Batch) {
	t.staging++
	if len(b.PID) == 0 {
		if n := len(t.staged); n > 0 && t.staged[n-1].of == nil {
			t.staged[n-1].n++
			return
		}
		t.staged = append(t.staged, step{n: 1})
		return
	}
	p := t.pids[string(b.PID)]
	if p == nil {
		p = &producer{pid: string(b.PID)}
		t.pids[p.pid] = p
		t.bytes += producerBytes + int64(len(p.pid))
	}
	p.onWay++
	t.staged = append(t.staged, step{of: p, n: 1, entry: entry{
		seq: b.Seq, offset: b.Offset, len: b.Len, ordinal: t.count + t.staging, crc: b.CRC,
	}})
}

// Settle notes that the first n of the batches on their way are stored.
func (t *Table) Settle(n int64) {
	i := 0
	for ; n > 0 && i < len(t.staged); i++ {
		s := &t.staged[i]
		k := min(s.n, n)
		t.count += k
		t.staging -= k
		n -= k
		if s.n -= k; s.n > 0 {
			break
		}
		if s.of != nil {
			s.of.onWay--
			t.push(s.of, s.entry)
		}
	}
	t.unstage(i)
	t.forget()
}

// Drop notes that nothing of what is on its way will be stored.
func (t *Table) Drop() {
	for i := range t.staged {
		p := t.staged[i].of
		if p == nil {
			continue
		}
		if p.onWay--; p.onWay == 0 && len(p.entries) == 0 {
			t.remove(p)
		}
	}
	t.staging = 0
	t.unstage(len(t.staged))
}

// unstage takes the first n steps off.
func (t *Table) unstage(n int) {
	rest := copy(t.staged, t.staged[n:])
	clear(t.staged[rest:])
	t.staged = t.staged[:rest]
}

// Add is Stage and Settle of one batch, with nothing on its way: for who reads
// what is stored.
func (t *Table) Add(b *Batch) {
	if len(b.PID) == 0 {
		t.count++
		t.forget()
		return
	}
	t.Stage(b)
	t.Settle(1)
}

// Trim notes that nothing before the offset is stored any more.
func (t *Table) Trim(oldest int64) {
	t.from = max(t.from, oldest)
	t.forget()
}

// push adds a batch to a producer, as its newest and that of all.
func (t *Table) push(p *producer, e entry) {
	before := cap(p.entries)
	n := len(p.entries)
	switch {
	case n > 0 && e.seq <= p.entries[n-1].seq:
		p.entries = p.entries[:0]
	case n == Kept:
		copy(p.entries, p.entries[1:])
		p.entries = p.entries[:n-1]
	}
	p.entries = append(p.entries, e)
	t.bytes += int64(cap(p.entries)-before) * entryBytes
	if t.newest == p {
		return
	}
	t.unlink(p)
	p.older = t.newest
	if t.newest != nil {
		t.newest.newer = p
	} else {
		t.oldest = p
	}
	t.newest = p
}

// unlink takes a producer out of the list, if it is in it.
func (t *Table) unlink(p *producer) {
	switch {
	case p.newer != nil:
		p.newer.older = p.older
	case t.newest == p:
		t.newest = p.older
	}
	switch {
	case p.older != nil:
		p.older.newer = p.newer
	case t.oldest == p:
		t.oldest = p.newer
	}
	p.newer, p.older = nil, nil
}

// forget forgets the producers of which no batch is known any more. What is on
// its way may not come: it pushes nothing out yet.
func (t *Table) forget() {
	for p := t.oldest; p != nil; p = t.oldest {
		if e := &p.entries[len(p.entries)-1]; e.ordinal > t.count-t.window && e.offset >= t.from {
			return
		}
		if p.onWay > 0 {
			t.unlink(p)
			p.entries = p.entries[:0]
			continue
		}
		t.remove(p)
	}
}

func (t *Table) remove(p *producer) {
	t.unlink(p)
	delete(t.pids, p.pid)
	t.bytes -= producerBytes + int64(len(p.pid)) + int64(cap(p.entries))*entryBytes
}
