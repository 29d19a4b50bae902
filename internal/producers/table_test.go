package producers

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// table is what the model test asks of a Table, so that broken ones can stand in
// for it.
type table interface {
	Ask(*Batch) Answer
	Stage(*Batch)
	Settle(n int64)
	Drop()
	Trim(oldest int64)
	// crash returns the table as it is after a restart.
	crash(m *model, rnd *rand.Rand) table
	encode(next int64) []byte
}

type real struct{ *Table }

func (r real) encode(next int64) []byte { return r.AppendCache(nil, Origin{Offset: next}) }

// crash reads a cache of some moment, or none, and what was stored after it.
func (r real) crash(m *model, rnd *rand.Rand) table { return real{m.rebuilt(rnd)} }

// model is the rules of the table, said as slowly as they can be: it keeps all
// batches that were ever stored.
type model struct {
	window int64
	stored []Batch
	onWay  []Batch
	oldest int64
	caches []cached
}

type cached struct {
	bytes  []byte
	stored int // batches in it
}

func (m *model) next() int64 {
	all := append(bytesOf(m.stored), m.onWay...)
	if n := len(all); n > 0 {
		return all[n-1].Offset + all[n-1].Len
	}
	return 0
}

func bytesOf(b []Batch) []Batch { return b[:len(b):len(b)] }

// known returns the producer's batches that count, the newest first.
func (m *model) known(all []Batch, pid string) (known []Batch) {
	for i := len(all) - 1; i >= max(len(all)-int(m.window), 0) && len(known) < Kept; i-- {
		b := all[i]
		if string(b.PID) != pid {
			continue
		}
		if n := len(known); b.Offset < m.oldest || n > 0 && b.Seq >= known[n-1].Seq {
			break
		}
		known = append(known, b)
	}
	return known
}

func (m *model) ask(b *Batch) Answer {
	all := append(bytesOf(m.stored), m.onWay...)
	known := m.known(all, string(b.PID))
	if len(known) == 0 {
		if b.Seq == 1 {
			return Answer{Verdict: Next, Seq: 1}
		}
		return Answer{Verdict: OutOfOrder, Seq: 1}
	}
	last := known[0]
	if b.Seq == last.Seq+1 {
		return Answer{Verdict: Next, Seq: b.Seq}
	}
	behind := func(b Batch) (n int64) {
		for i := len(all) - 1; all[i].Offset > b.Offset; i-- {
			n++
		}
		return n
	}
	for _, k := range known {
		if k.Seq != b.Seq {
			continue
		}
		if k.Len == b.Len && k.CRC == b.CRC {
			return Answer{Verdict: Duplicate, Seq: last.Seq + 1, Offset: k.Offset, End: k.Offset + k.Len, Behind: behind(k)}
		}
		return Answer{Verdict: Conflict, Seq: last.Seq + 1, End: k.Offset + k.Len, Behind: behind(k)}
	}
	return Answer{Verdict: OutOfOrder, Seq: last.Seq + 1, End: last.Offset + last.Len, Behind: behind(last)}
}

// rebuilt returns a Table made from a cache, or from none, and from what was stored
// after it: from far enough back, which may be farther than need be.
func (m *model) rebuilt(rnd *rand.Rand) *Table {
	t, from := New(m.window), 0
	if n := len(m.stored) - int(m.window); n > 0 && rnd.IntN(2) == 0 {
		from = rnd.IntN(n + 1)
	}
	if n := len(m.caches); n > 0 && rnd.IntN(3) > 0 {
		c := m.caches[rnd.IntN(n)]
		parsed, _, err := ParseCache(c.bytes)
		if err != nil {
			panic(err)
		}
		t, from = parsed, c.stored
	}
	for i := range m.stored[from:] {
		t.Add(&m.stored[from+i])
	}
	t.Trim(m.oldest)
	return t
}

// run does random things with a table and the model, and returns where they
// differ.
func run(t table, window int64, seed uint64, steps int) error {
	rnd := rand.New(rand.NewPCG(seed, 0))
	m := &model{window: window}
	pids := make([]string, 1+rnd.IntN(12))
	for i := range pids {
		pids[i] = fmt.Sprintf("p%d", i)
	}
	batchFor := func() Batch {
		pid := pids[rnd.IntN(len(pids))]
		b := Batch{PID: []byte(pid), Len: 30 + rnd.Int64N(3), CRC: rnd.Uint32N(3), Seq: 1}
		if known := m.known(append(bytesOf(m.stored), m.onWay...), pid); len(known) > 0 {
			b.Seq = known[0].Seq + 1
			switch k := known[rnd.IntN(len(known))]; rnd.IntN(6) {
			case 0: // once more
				b.Seq, b.Len, b.CRC = k.Seq, k.Len, k.CRC
			case 1: // perhaps with other bytes
				b.Seq = k.Seq
			}
		}
		if rnd.IntN(12) == 0 {
			b.Seq = max(b.Seq+rnd.Int64N(80)-40, 1)
		}
		return b
	}
	stage := func(b Batch) {
		b.Offset = m.next()
		t.Stage(&b)
		m.onWay = append(m.onWay, b)
	}
	for i := range steps {
		fail := func(format string, args ...any) error {
			return fmt.Errorf("step %d: %s", i, fmt.Sprintf(format, args...))
		}
		switch op := rnd.IntN(100); {
		case op < 55:
			b := batchFor()
			got, want := t.Ask(&b), m.ask(&b)
			if got != want {
				return fail("%s %d: %+v, want %+v", b.PID, b.Seq, got, want)
			}
			if want.Verdict == Next || rnd.IntN(100) == 0 { // by another's order
				stage(b)
			}
		case op < 65:
			stage(Batch{Len: 20})
		case op < 80:
			if n := len(m.onWay); n > 0 {
				k := 1 + rnd.IntN(n)
				m.stored, m.onWay = append(m.stored, m.onWay[:k]...), m.onWay[k:]
				t.Settle(int64(k))
			}
		case op < 88:
			m.onWay = nil
			t.Drop()
		case op < 91:
			if n := len(m.stored); n > 0 {
				m.oldest = max(m.oldest, m.stored[n-1-rnd.IntN(min(n, 40))].Offset)
				t.Trim(m.oldest)
			}
		case op < 95 && len(m.onWay) == 0:
			m.caches = append(m.caches, cached{t.encode(m.next()), len(m.stored)})
		case op < 98:
			m.onWay = nil
			t = t.crash(m, rnd)
		default:
			m.onWay = nil
			t.Drop()
			want := real{m.rebuilt(rand.New(rand.NewPCG(seed, uint64(i))))}.encode(m.next())
			if got := t.encode(m.next()); !bytes.Equal(got, want) {
				return fail("kept %x, rebuilt %x", got, want)
			}
		}
	}
	return nil
}

func window(seed uint64) int64 { return MinWindow + int64(seed%5)*20 }

// TestModel compares a Table with the model.
func TestModel(t *testing.T) {
	seeds := uint64(120)
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		if err := run(real{New(window(seed))}, window(seed), seed, 1000); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// The broken tables.
type (
	acceptsGaps    struct{ real }
	storesTwice    struct{ real }
	ignoresCRC     struct{ real }
	keepsDropped   struct{ real }
	ignoresTrim    struct{ real }
	losesTable     struct{ real }
	passesOver     struct{ real }
	forgetsOnWay   struct{ real }
	looksFarther   struct{ real }
	readsTooLittle struct{ real }
)

func (b acceptsGaps) Ask(x *Batch) Answer {
	a := b.real.Ask(x)
	if a.Verdict == OutOfOrder && x.Seq > a.Seq {
		a = Answer{Seq: x.Seq}
	}
	return a
}

func (b storesTwice) Ask(x *Batch) Answer {
	if a := b.real.Ask(x); a.Verdict != Duplicate {
		return a
	}
	return Answer{Seq: x.Seq}
}

func (b ignoresCRC) Ask(x *Batch) Answer {
	y := *x
	for y.CRC = range 3 {
		if a := b.real.Ask(&y); a.Verdict != Conflict {
			return a
		}
	}
	return b.real.Ask(x)
}
func (b keepsDropped) Drop()                    { b.real.Settle(b.Staged()) }
func (b ignoresTrim) Trim(int64)                {}
func (b passesOver) Settle(n int64)             { b.real.Settle(n - 1) }
func (b forgetsOnWay) Stage(*Batch)             {}
func (b forgetsOnWay) Settle(int64)             {}
func (b forgetsOnWay) encode(next int64) []byte { return b.real.encode(next) }

func (b losesTable) crash(*model, *rand.Rand) table { return losesTable{real{New(b.window)}} }

func (b readsTooLittle) crash(m *model, _ *rand.Rand) table {
	t := New(b.window)
	for i := range m.stored {
		if i >= len(m.stored)-int(b.window)/2 {
			t.Add(&m.stored[i])
		}
	}
	t.Trim(m.oldest)
	return readsTooLittle{real{t}}
}

// TestModelControl makes sure that TestModel finds what is broken.
func TestModelControl(t *testing.T) {
	for _, broken := range []func(real) table{
		func(r real) table { return acceptsGaps{r} },
		func(r real) table { return storesTwice{r} },
		func(r real) table { return ignoresCRC{r} },
		func(r real) table { return keepsDropped{r} },
		func(r real) table { return ignoresTrim{r} },
		func(r real) table { return losesTable{r} },
		func(r real) table { return passesOver{r} },
		func(r real) table { return forgetsOnWay{r} },
		func(r real) table { r.window++; return looksFarther{r} },
		func(r real) table { return readsTooLittle{r} },
	} {
		found := false
		for seed := uint64(0); seed < 50 && !found; seed++ {
			found = run(broken(real{New(window(seed))}), window(seed), seed, 1000) != nil
		}
		if !found {
			t.Errorf("%T passes", broken(real{New(MinWindow)}))
		}
	}
}

// TestRules is the rules one by one, as docs/protocol.md has them.
func TestRules(t *testing.T) {
	tab := New(100)
	at := int64(0)
	store := func(pid string, seq int64) Batch {
		b := Batch{PID: []byte(pid), Seq: seq, Offset: at, Len: 50, CRC: uint32(seq)}
		at += b.Len
		tab.Add(&b)
		return b
	}
	want := func(pid string, seq int64, want Answer) {
		t.Helper()
		if got := tab.Ask(&Batch{PID: []byte(pid), Seq: seq, Len: 50, CRC: uint32(seq)}); got != want {
			t.Errorf("%s %d: %+v, want %+v", pid, seq, got, want)
		}
	}
	want("a", 1, Answer{Verdict: Next, Seq: 1})
	want("a", 2, Answer{Verdict: OutOfOrder, Seq: 1})
	for seq := range int64(40) {
		store("a", seq+1)
	}
	want("a", 41, Answer{Verdict: Next, Seq: 41})
	want("a", 42, Answer{Verdict: OutOfOrder, Seq: 41, End: 2000})
	want("a", 40, Answer{Verdict: Duplicate, Seq: 41, Offset: 1950, End: 2000})
	want("a", 9, Answer{Verdict: Duplicate, Seq: 41, Offset: 400, End: 450, Behind: 31})
	want("a", 8, Answer{Verdict: OutOfOrder, Seq: 41, End: 2000}) // one more than is known
	if got, want := tab.Ask(&Batch{PID: []byte("a"), Seq: 9, Len: 50}), (Answer{Verdict: Conflict, Seq: 41, End: 450, Behind: 31}); got != want {
		t.Errorf("other bytes: %+v, want %+v", got, want)
	}
	tab.Trim(1000)
	want("a", 20, Answer{Verdict: OutOfOrder, Seq: 41, End: 2000}) // was at 950
	want("a", 21, Answer{Verdict: Duplicate, Seq: 41, Offset: 1000, End: 1050, Behind: 19})
	for range 99 {
		store("", 0)
	}
	want("a", 40, Answer{Verdict: Duplicate, Seq: 41, Offset: 1950, End: 2000, Behind: 99})
	want("a", 39, Answer{Verdict: OutOfOrder, Seq: 41, End: 2000, Behind: 99})
	store("", 0)
	want("a", 41, Answer{Verdict: OutOfOrder, Seq: 1})
	if !tab.Idle() || tab.Bytes() != 0 {
		t.Errorf("%d producers in %d bytes are left of one that is forgotten", tab.Len(), tab.Bytes())
	}
	want("a", 1, Answer{Verdict: Next, Seq: 1})
}

// TestBytes: what is counted as memory does not drift.
func TestBytes(t *testing.T) {
	tab := New(50)
	for i := range int64(10_000) {
		b := Batch{PID: fmt.Appendf(nil, "p%d", i%70*i%13), Seq: i + 1, Offset: i * 10, Len: 10}
		tab.Stage(&b)
		if i%7 == 0 {
			tab.Drop()
		} else {
			tab.Settle(1)
		}
	}
	var want int64
	for pid, p := range tab.pids {
		want += producerBytes + int64(len(pid)) + int64(cap(p.entries))*entryBytes
	}
	if tab.Bytes() != want || want == 0 {
		t.Errorf("%d bytes, counted %d", want, tab.Bytes())
	}
}

// TestNoAllocations: nothing is allocated for a batch of a producer that is known.
func TestNoAllocations(t *testing.T) {
	tab := New(1000)
	pids := [][]byte{[]byte("a"), []byte("b"), []byte("c")}
	seq, at := int64(0), int64(0)
	write := func() {
		seq++
		for _, pid := range pids {
			b := Batch{PID: pid, Seq: seq, Offset: at, Len: 10, CRC: 7}
			if a := tab.Ask(&b); a.Verdict != Next {
				t.Fatalf("%+v", a)
			}
			tab.Stage(&b)
			tab.Stage(&Batch{Offset: at + 10, Len: 10})
			at += 20
		}
		tab.Settle(tab.Staged())
	}
	for range 100 {
		write()
	}
	if n := testing.AllocsPerRun(1000, write); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkTable is a batch that is asked for, staged and settled, among so many
// producers.
func BenchmarkTable(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			pids := make([][]byte, n)
			for i := range pids {
				pids[i] = fmt.Appendf(nil, "%032d", i)
			}
			tab := New(1 << 18)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				x := Batch{PID: pids[i%n], Seq: int64(i/n) + 1, Offset: int64(i) * 100, Len: 100}
				if tab.Ask(&x).Verdict != Next {
					b.Fatal("out of order")
				}
				tab.Stage(&x)
				tab.Settle(1)
			}
		})
	}
}
