package sequence_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/sequence"
)

// item is a batch of one message.
type item struct {
	sequence.Batch
	message int
}

func (i *item) Numbered() *sequence.Batch { return &i.Batch }

// sent is an item on its way, as it was when it was sent.
type sent struct {
	number  sequence.Number
	message int
}

// world is a server, and processes that write to it, one after another, with a
// backlog that outlives them.
type world struct {
	rnd    *rand.Rand
	table  *producers.Table
	stored []int
	old    [][]sent // of connections that have ended; the server may still take it

	pids    int
	numbers *sequence.Numbers
	line    sequence.Line[*item]
	held    []*item
	backlog []*item // oldest first
	taken   int     // from the backlog, since the process or its failure

	wire    []sent // not taken by the server
	answers []sequence.Answer

	next   int   // message
	born   []int // the first message of each process
	must   map[int]bool
	doubt  int
	splits int
}

var errLarge = errors.New("too large")

func newWorld(seed uint64) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 7)), table: producers.New(1 << 18), must: make(map[int]bool)}
	w.begin()
	return w
}

// begin begins a process.
func (w *world) begin() {
	w.numbers = sequence.New(w.newPID)
	w.line, w.held, w.taken = sequence.Line[*item]{}, nil, 0
	w.born = append(w.born, w.next)
}

// push adds what comes next to the line.
func (w *world) push() {
	if w.line.Len() >= sequence.MaxUnanswered {
		return
	}
	var i *item
	switch {
	case len(w.held) > 0 && (w.taken == len(w.backlog) || w.kept(w.held[0])):
		if i = w.held[0]; i.Number.Seq == 0 {
			i.Number = w.numbers.Take()
		}
		w.held = w.held[1:]
	case w.taken < len(w.backlog):
		kept := w.backlog[w.taken]
		w.taken++
		i = &item{message: kept.message}
		var lost bool
		i.Number, i.Doubt, lost = w.numbers.Read([]byte(kept.Number.PID), kept.Number.Seq)
		if lost {
			i.Number = w.numbers.Take()
		}
	default:
		i = &item{message: w.next}
		i.Number = w.numbers.Take()
		w.next++
	}
	if w.line.Takes(i.Number) {
		w.line.Push(i)
	} else {
		w.held = slices.Insert(w.held, 0, i)
	}
}

// kept reports whether the item is in the backlog.
func (w *world) kept(i *item) bool {
	return slices.ContainsFunc(w.backlog, func(k *item) bool { return k.message == i.message })
}

// split begins again with what is in line, as a Writer does that makes smaller batches of it.
func (w *world) split() {
	w.splits++
	first := w.line.First()
	number, kept := first.Number, w.kept(first)
	all, ok := w.line.Withdraw()
	if !ok {
		panic("batches with numbers stay")
	}
	all = append(all, w.held...)
	w.held = nil
	for _, i := range all {
		if !w.kept(i) {
			i.Batch = sequence.Batch{}
			w.held = append(w.held, i)
		}
	}
	if !kept {
		w.numbers.Renew()
		return
	}
	w.taken = 0
	old := w.numbers
	w.numbers = sequence.New(w.newPID)
	for _, k := range w.backlog {
		its, _, lost := old.Read([]byte(k.Number.PID), k.Number.Seq)
		if lost {
			its.PID = old.PID()
		}
		if its.PID == number.PID {
			k.Number = w.numbers.Take()
		}
	}
}

func (w *world) newPID() string { w.pids++; return fmt.Sprint("p", w.pids) }

func (w *world) send() {
	if i, ok := w.line.Next(); ok {
		w.wire = append(w.wire, sent{i.Number, i.message})
		w.numbers.Sent(i.Number)
		w.line.Sent()
	}
}

// take has the server take a batch, and returns its answer.
func (w *world) take(s sent) sequence.Answer {
	b := producers.Batch{PID: []byte(s.number.PID), Seq: s.number.Seq, Offset: int64(len(w.stored)), Len: 1, CRC: uint32(s.message)}
	switch a := w.table.Ask(&b); a.Verdict {
	case producers.Next:
		w.table.Add(&b)
		w.stored = append(w.stored, s.message)
		return sequence.Answer{Kind: sequence.Stored, Offset: b.Offset}
	case producers.Duplicate:
		return sequence.Answer{Kind: sequence.Stored, Offset: a.Offset}
	case producers.OutOfOrder:
		return sequence.Answer{Kind: sequence.OutOfOrder, Next: a.Seq}
	}
	panic("two batches have one number")
}

// serve has the server take what comes next, of a connection that has ended or not.
func (w *world) serve() {
	if n := len(w.old); n > 0 && w.rnd.IntN(2) == 0 {
		k := w.rnd.IntN(n)
		if w.take(w.old[k][0]); len(w.old[k]) == 1 || w.rnd.IntN(4) == 0 {
			w.old = slices.Delete(w.old, k, k+1)
		} else {
			w.old[k] = w.old[k][1:]
		}
		return
	}
	if len(w.wire) == 0 {
		return
	}
	a := sequence.Answer{Kind: sequence.Again}
	if w.rnd.IntN(10) > 0 {
		a = w.take(w.wire[0])
	} else if w.rnd.IntN(2) == 0 {
		a.Err = errLarge
	}
	w.wire, w.answers = w.wire[1:], append(w.answers, a)
}

func (w *world) answer() {
	if len(w.answers) > 0 {
		a := w.answers[0]
		w.answers = w.answers[1:]
		w.tell(a)
	}
}

func (w *world) tell(a sequence.Answer) {
	if _, ok := w.line.UnderWay(); !ok {
		panic("an answer to nothing")
	}
	w.line.Answer(a)
	for i, ok := w.line.Settled(); ok; i, ok = w.line.Settled() {
		w.must[i.message] = true
		w.backlog = slices.DeleteFunc(w.backlog, func(k *item) bool {
			if k.message == i.message {
				w.taken--
			}
			return k.message == i.message
		})
	}
	if !w.line.Stopped() {
		return
	}
	if first := w.line.First(); first.Err == errLarge && first.Absent() {
		w.split()
	} else {
		doubtful, _ := w.line.Resume(w.numbers)
		w.doubt += len(doubtful)
	}
}

// cut ends the connection.
func (w *world) cut() {
	if len(w.wire) > 0 && w.rnd.IntN(2) == 0 {
		w.old = append(w.old, w.wire)
	}
	w.wire, w.answers = nil, nil
	for _, ok := w.line.UnderWay(); ok; _, ok = w.line.UnderWay() {
		w.tell(sequence.Answer{Kind: sequence.Again, Doubt: true})
		if w.line.Len() > 0 {
			if _, ok := w.line.Next(); ok {
				break // it has begun again
			}
		}
	}
}

// fail puts everything into the backlog.
func (w *world) fail() {
	w.cut()
	for w.line.Len() > 0 {
		i := w.line.Shift()
		if _, stored := i.Stored(); stored {
			w.must[i.message] = true
		} else {
			w.keep(i)
		}
	}
	for _, i := range w.held {
		if i.Number.Seq == 0 {
			i.Number = w.numbers.Take()
		}
		w.keep(i)
	}
	w.held, w.taken = nil, 0
}

func (w *world) keep(i *item) {
	w.must[i.message] = true
	if !slices.ContainsFunc(w.backlog, func(k *item) bool { return k.message == i.message }) {
		w.backlog = append(w.backlog, &item{Batch: sequence.Batch{Number: i.Number}, message: i.message})
	}
}

// crash ends the process, and begins another one.
func (w *world) crash() {
	w.cut()
	w.begin()
}

// check returns what is wrong with what is stored.
func (w *world) check(stored []int) (problems []string) {
	last := make(map[int]int) // by process
	at := make(map[int]int)
	for i, m := range stored {
		life := 0
		for life+1 < len(w.born) && w.born[life+1] <= m {
			life++
		}
		was, ok := last[life]
		if !ok {
			was = w.born[life] - 1
		}
		if at[m]++; at[m] > 1 {
			problems = append(problems, fmt.Sprintf("%d is stored again, at %d", m, i))
		} else if m != was+1 {
			problems = append(problems, fmt.Sprintf("%d is stored behind %d", m, was))
		}
		last[life] = m
	}
	for m := range w.must {
		if at[m] == 0 {
			problems = append(problems, fmt.Sprintf("%d is not stored", m))
		}
	}
	return problems
}

// Whatever is lost on the way, and whenever processes end, each batch is stored once and
// in the order of its process, up to the last ones of those that ended.
func TestEachIsStoredOnce(t *testing.T) {
	const seeds = 1000
	splits := 0
	for seed := range uint64(seeds) {
		w := newWorld(seed)
		calm := func() {
			for range 2000 {
				w.send()
				w.serve()
				w.answer()
			}
		}
		for range 3000 {
			switch n := w.rnd.IntN(200); {
			case n < 40:
				w.push()
			case n < 90:
				w.send()
			case n < 140:
				w.serve()
			case n < 195:
				w.answer()
			case n < 198:
				w.cut()
			case n < 199:
				w.fail()
			default:
				w.crash()
			}
		}
		for len(w.held) > 0 || w.taken < len(w.backlog) || w.line.Len() > 0 {
			for w.line.Len() < sequence.MaxUnanswered && (len(w.held) > 0 || w.taken < len(w.backlog)) {
				before := w.line.Len()
				if w.push(); w.line.Len() == before {
					break
				}
			}
			calm()
		}
		splits += w.splits
		problems := w.check(w.stored)
		if len(problems) > 0 || w.doubt > 0 {
			t.Fatalf("seed %d: %d in doubt; %q", seed, w.doubt, problems)
		}
		at := slices.IndexFunc(w.stored, func(m int) bool { return slices.Contains(w.stored, m+1) && !slices.Contains(w.born, m+1) })
		if at < 0 {
			continue
		}
		next := slices.Index(w.stored, w.stored[at]+1)
		exchanged := slices.Clone(w.stored)
		exchanged[at], exchanged[next] = exchanged[next], exchanged[at]
		for name, broken := range map[string][]int{
			"one twice":     append(slices.Clone(w.stored), w.stored[0]),
			"two exchanged": exchanged,
		} {
			if len(w.check(broken)) == 0 {
				t.Errorf("seed %d: %s is not found", seed, name)
			}
		}
	}
	if splits < seeds {
		t.Errorf("in %d runs only %d lines begin again with other numbers", seeds, splits)
	}
}

// Batches of two producers are not under way together.
func TestTakes(t *testing.T) {
	var l sequence.Line[*item]
	a, b := sequence.Number{PID: "a", Seq: 1}, sequence.Number{PID: "b", Seq: 1}
	if !l.Takes(a) || !l.Takes(sequence.Number{}) {
		t.Error("an empty line takes not all")
	}
	l.Push(&item{Batch: sequence.Batch{Number: a}})
	if !l.Takes(sequence.Number{PID: "a", Seq: 2}) || l.Takes(b) || l.Takes(sequence.Number{}) {
		t.Error("a line takes others than its own producer's")
	}
}

// What is read from a backlog: a number that was lost is not used again, and what may
// have been sent is in doubt.
func TestRead(t *testing.T) {
	pids := 0
	n := sequence.New(func() string { pids++; return fmt.Sprint("p", pids) })
	for range 3 {
		n.Take()
	}
	n.Sent(sequence.Number{PID: "p1", Seq: 2})
	check := func(pid string, seq int64, doubt, lost bool) {
		t.Helper()
		number, d, l := n.Read([]byte(pid), seq)
		if want := (sequence.Number{PID: pid, Seq: seq}); number != want || d != doubt || l != lost {
			t.Errorf("%v: %v, doubt %v, lost %v", want, number, d, l)
		}
	}
	check("p1", 2, true, false)
	check("p1", 3, false, false)
	check("other", 7, true, false)
	if number, doubt, lost := n.Read(nil, 0); number != (sequence.Number{}) || doubt || lost {
		t.Error("one without a number has one")
	}
	for _, next := range []int64{1, 4} {
		var l sequence.Line[*item]
		l.Push(&item{Batch: sequence.Batch{Number: sequence.Number{PID: "other", Seq: 7}, Doubt: true}})
		l.Next()
		l.Sent()
		l.UnderWay()
		l.Answer(sequence.Answer{Kind: sequence.OutOfOrder, Next: next})
		if doubtful, renumbered := l.Resume(n); !renumbered || (len(doubtful) == 1) != (next == 1) {
			t.Errorf("out of order %d: %v, %v", next, doubtful, renumbered)
		}
		if got := l.First().Number; got.PID == "other" || got.Seq != 1 {
			t.Errorf("it gets %v", got)
		}
		check("other", 8, next == 1, true)
	}
}
