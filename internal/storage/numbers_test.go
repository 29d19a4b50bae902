package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// number adds the batch of a producer with that number.
func (r *run) number(topic, pid string, seq int64, bodies ...string) {
	var b batch.Builder
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	wire := b.FinishNumbered(topic, pid, seq)
	r.data = append(r.data, wire...)
	r.extents = append(r.extents, batch.Extent{Len: int64(len(wire)), Messages: int32(len(bodies)), Numbered: true})
}

// sent appends the run and returns what became of each batch, and commits it.
func sent(l *Log, r run) ([]Outcome, error) {
	a, err := l.Append(context.Background(), r.data, r.extents)
	if err != nil {
		return nil, err
	}
	out := a.Outcomes
	if out == nil {
		offset := a.Offset
		for _, x := range r.extents {
			out = append(out, Outcome{Offset: offset, End: offset + x.Len, Ordinal: a.Ordinal - int64(len(r.extents)-1-len(out))})
			offset += x.Len
		}
	}
	for i := range out {
		if err := l.Commit(context.Background(), out[i].Appended()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// told writes outcomes as a test wants to see them.
func told(out []Outcome, err error) string {
	if err != nil {
		return err.Error()
	}
	var words []string
	for _, o := range out {
		next, isOrder := errors.AsType[*topic.OutOfOrderError](o.Err)
		switch {
		case isOrder:
			words = append(words, fmt.Sprintf("want %d", next.Next))
		case o.Err == ErrConflict:
			words = append(words, "conflict")
		case o.Err != nil:
			words = append(words, o.Err.Error())
		default:
			words = append(words, fmt.Sprint(o.Offset))
		}
	}
	return strings.Join(words, ", ")
}

// TestNumbers is the rules one by one, with one batch after another and with all
// of them in one run.
func TestNumbers(t *testing.T) {
	type step struct {
		pid  string
		seq  int64
		body string
		want string
	}
	const size = 47 // of each batch
	at := func(n int) string { return fmt.Sprint(n * size) }
	steps := []step{
		{"a", 1, "x", at(0)},
		{"a", 2, "y", at(1)},
		{"a", 2, "y", at(1)},
		{"a", 1, "x", at(0)},
		{"a", 2, "x", "conflict"},
		{"a", 4, "x", "want 3"},
		{"b", 2, "x", "want 1"},
		{"b", 1, "x", at(2)},
		{"a", 3, "z", at(3)},
		{"a", 2, "y", at(1)},
		{"b", 3, "x", "want 2"},
		{"b", 1, "x", at(2)},
		{"b", 2, "z", at(4)},
	}
	for _, flush := range []int{0, 1, 3} {
		for _, together := range []bool{false, true} {
			for _, partition := range []int64{2 * size, 1 << 20} {
				t.Run(fmt.Sprint(flush, together, partition), func(t *testing.T) {
					o := Options{FS: vfstest.New(), FlushBatches: flush, FlushInterval: -1, PartitionSize: partition, Partitions: -1}
					s := openStore(t, o)
					l := mustCreate(t, s, "t")
					var all run
					var want []string
					for _, step := range steps {
						var r run
						r.number("t", step.pid, step.seq, step.body)
						if len(r.data) != size {
							t.Fatalf("%d bytes", len(r.data))
						}
						all.number("t", step.pid, step.seq, step.body)
						want = append(want, step.want)
						if !together {
							if got := told(sent(l, r)); got != step.want {
								t.Errorf("%s %d %q: %s, want %s", step.pid, step.seq, step.body, got, step.want)
							}
						}
					}
					if together {
						if got := told(sent(l, all)); got != strings.Join(want, ", ") {
							t.Errorf("got  %s\nwant %s", got, strings.Join(want, ", "))
						}
					}
					if got := s.Counts().Duplicates; got != 4 {
						t.Errorf("%d duplicates, want 4", got)
					}
					if got, err := bodiesFrom(l, 0); err != nil || strings.Join(got, "") != "xyxzz" {
						t.Errorf("stored %q, %v", got, err)
					}
				})
			}
		}
	}
}

// TestNumbersOff: where numbers are not looked at, such batches are like all
// others.
func TestNumbersOff(t *testing.T) {
	s := openStore(t, Options{FS: vfstest.New(), Producers: -1})
	l := mustCreate(t, s, "t")
	var r run
	r.number("t", "a", 7, "x")
	for i := range 2 {
		if got, want := told(sent(l, r)), fmt.Sprint(i*len(r.data)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestNumbersTogether sends the same batches over many connections at once: each
// is stored once, and all are told the same.
func TestNumbersTogether(t *testing.T) {
	s := openStore(t, Options{FS: osFS(t, t.TempDir()), FlushBatches: 1, PartitionSize: 3000, Partitions: -1})
	l := mustCreate(t, s, "t")
	const batches, senders = 200, 8
	var mu sync.Mutex
	offsets := make(map[int64]int64)
	var g sync.WaitGroup
	for range senders {
		g.Go(func() {
			for seq := int64(1); seq <= batches; {
				var r run
				n := min(1+rand.Int64N(20), batches-seq+1)
				for i := range n {
					r.number("t", "a", seq+i, fmt.Sprint(seq+i))
				}
				out, err := sent(l, r)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for i, o := range out {
					next, late := errors.AsType[*topic.OutOfOrderError](o.Err)
					if late && next.Next > seq+int64(i) {
						continue // so far behind that it is not known any more
					}
					if before, ok := offsets[seq+int64(i)]; o.Err != nil || ok && before != o.Offset {
						t.Errorf("%d: %+v, before at %d", seq+int64(i), o, before)
					}
					offsets[seq+int64(i)] = o.Offset
				}
				mu.Unlock()
				seq += n
			}
		})
	}
	g.Wait()
	got, err := bodiesFrom(l, 0)
	if err != nil || len(got) != batches {
		t.Fatalf("%d batches are stored, %v", len(got), err)
	}
	for i, body := range got {
		if body != fmt.Sprint(i+1) {
			t.Fatalf("%q at place %d", body, i)
		}
	}
}

// TestNumbersAllocations: a numbered batch costs no allocation.
func TestNumbersAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	s := openStore(t, Options{FS: osFS(t, t.TempDir()), FlushInterval: -1})
	l := mustCreate(t, s, "t")
	const runs = 3000
	var all []run
	for seq := range int64(runs) {
		var r run
		r.number("t", "0123456789abcdef0123456789abcdef", seq+1, "x")
		all = append(all, r)
	}
	next := func() {
		r := all[0]
		all = all[1:]
		if _, err := l.Append(context.Background(), r.data, r.extents); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		next()
	}
	if n := testing.AllocsPerRun(1000, next); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// stored returns the batches in the partitions' files, up to the end of the log.
func stored(l *Log) (found []producers.Batch, err error) {
	for _, p := range l.partitions() {
		b, err := vfs.ReadFile(l.store.fs, p.file.Name(), math.MaxInt64)
		if err != nil {
			return nil, err
		}
		for pos := int64(0); p.base+pos < min(l.next.Load(), p.end.Load()); {
			if past := l.pastDamage(p.base + pos); past > p.base+pos {
				pos = past - p.base
				continue
			}
			h, n, err := batch.Parse(b[pos:])
			if err != nil && p.base < l.uncheckedBefore && l.pastDamage(p.base+pos) == p.base+pos {
				// The journal was lost with its first record, so older partitions are taken
				// as good until somebody meets what is not.
				if err := l.rescan(p, p.index()); err != nil {
					return nil, err
				}
				if l.pastDamage(p.base+pos) > p.base+pos {
					continue
				}
			}
			if err != nil {
				return nil, fmt.Errorf("%s at %d: %w", p.file.Name(), pos, err)
			}
			found = append(found, producers.Batch{PID: h.PID, Seq: h.Seq, Offset: p.base + pos, Len: n, CRC: h.CRC})
			pos += n
		}
	}
	return found, nil
}

// rebuilt returns the table as the stored bytes have it.
func rebuilt(l *Log) (*producers.Table, error) {
	found, err := stored(l)
	if err != nil {
		return nil, err
	}
	t := producers.New(l.store.o.Producers)
	for i := range found {
		t.Add(&found[i])
	}
	t.Trim(l.begin())
	return t, nil
}

// numbersRun is a random workload of numbered batches on a disk whose power fails.
type numbersRun struct {
	rng  *rand.Rand
	disk *vfstest.FS
	o    Options
	s    *Store

	writers []*numbersWriter
	cuts    bool              // the log is also cut off, or an older copy put back: writers lose what they were told
	copied  map[string][]byte // the files of an older copy
	steps   []string
	restart func(*numbersRun) // does what is broken on purpose
}

type numbersWriter struct {
	pid   string
	begun int
	told  map[int64]int64  // offset by number, as it was answered
	body  map[int64]string // of what was sent
	last  int64            // the highest number that was sent
}

func (w *numbersWriter) anew() {
	w.begun++
	w.told, w.body, w.last = make(map[int64]int64), make(map[int64]string), 0
}

func (w *numbersWriter) id() string { return fmt.Sprintf("%s.%d", w.pid, w.begun) }

func newNumbersRun(seed uint64) *numbersRun {
	rng := rand.New(rand.NewPCG(seed, 3))
	r := &numbersRun{rng: rng, disk: vfstest.New(), cuts: rng.IntN(3) == 0}
	r.o = Options{
		PartitionSize: []int64{150, 1000, 5000, 1 << 20}[rng.IntN(4)],
		Partitions:    []int{-1, -1, 3, 6}[rng.IntN(4)],
		FlushBatches:  []int{0, 1, 1, 3}[rng.IntN(4)],
		FlushInterval: []time.Duration{-1, time.Second}[rng.IntN(2)],
		Producers:     []int64{32, 50, 200, 1 << 18}[rng.IntN(4)],
		numberBytes:   []int64{1, 1 << 20}[rng.IntN(2)],
	}
	for i := range 1 + rng.IntN(5) {
		w := &numbersWriter{pid: fmt.Sprintf("p%d", i)}
		w.anew()
		r.writers = append(r.writers, w)
	}
	return r
}

// exact reports whether no producer is forgotten.
func (r *numbersRun) exact() bool { return r.o.Partitions < 0 && r.o.Producers > 1000 && !r.cuts }

func (r *numbersRun) note(format string, args ...any) {
	r.steps = append(r.steps, fmt.Sprintf(format, args...))
}

func (r *numbersRun) open() error {
	r.o.FS = r.disk
	s, err := Open(context.Background(), r.o)
	r.s = s
	return err
}

func (r *numbersRun) log() *Log {
	l, err := r.s.Create([]byte("t"))
	if err != nil {
		panic(err)
	}
	return l
}

func (r *numbersRun) run(steps int) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%+v\nsteps:\n  %s", err, r.o, strings.Join(r.steps[max(0, len(r.steps)-25):], "\n  "))
		}
		if r.s != nil {
			r.s.Close()
		}
	}()
	if err := r.open(); err != nil {
		return err
	}
	for range steps {
		if err := r.step(); err != nil {
			return err
		}
		synctest.Wait()
		if err := r.verify(); err != nil {
			return err
		}
	}
	return r.accounts()
}

func (r *numbersRun) step() error {
	switch n := r.rng.IntN(100); {
	case n < 65:
		return r.send()
	case n < 72:
		run := batchOf("t", "not numbered")
		_, err := sent(r.log(), run)
		return err
	case n < 82:
		d := time.Duration(r.rng.IntN(9000)) * time.Millisecond
		r.note("sleep %v", d)
		time.Sleep(d)
		return nil
	case n < 86:
		return r.log().syncAll()
	case n < 90 && r.cuts:
		found, err := stored(r.log())
		if err != nil || len(found) == 0 {
			return err
		}
		offset := found[r.rng.IntN(len(found))].Offset
		r.note("cut off at %d", offset)
		for _, w := range r.writers {
			w.anew()
		}
		return r.log().TruncateTo(context.Background(), offset)
	case n < 91 && r.cuts:
		return r.putBack()
	case n < 93:
		r.note("close")
		if err := r.s.Close(); err != nil {
			return err
		}
		return r.reopen()
	case n < 96:
		r.note("kill")
		kill(r.s)
		return r.reopen()
	default:
		r.note("power cut")
		kill(r.s)
		r.disk = r.disk.Crash(r.rng)
		if r.o.FlushBatches != 1 {
			for _, w := range r.writers {
				w.anew() // what it was told may be gone
			}
		}
		return r.reopen()
	}
}

func (r *numbersRun) reopen() error {
	if err := r.open(); err != nil {
		return err
	}
	if r.restart != nil {
		r.restart(r)
	}
	return nil
}

// putBack copies the files of the log, all but the cache, or puts the copy back and
// starts again, with other batches.
func (r *numbersRun) putBack() error {
	var names []string
	for _, name := range r.disk.Names() {
		if strings.HasPrefix(name, "t/") && !strings.HasSuffix(name, "/") && name != layout.ProducersFile("t") {
			names = append(names, name)
		}
	}
	if r.copied == nil {
		r.copied = make(map[string][]byte)
		for _, name := range names {
			b, err := r.disk.ReadFile(name)
			if err != nil {
				return err
			}
			r.copied[name] = b
		}
		return nil
	}
	r.note("put an older copy back")
	kill(r.s)
	for _, name := range names {
		if err := r.disk.Remove(name); err != nil {
			return err
		}
	}
	for name, b := range r.copied {
		if err := r.disk.WriteFile(name, b); err != nil {
			return err
		}
	}
	r.copied = nil
	for _, w := range r.writers {
		w.anew()
	}
	return r.reopen()
}

// send sends a run of a writer or two: what comes next, what was not answered, what
// was, and what is too early. Of some the answer is lost.
func (r *numbersRun) send() error {
	l := r.log()
	type what struct {
		w   *numbersWriter
		seq int64
	}
	var sends []what
	var run run
	for range 1 + r.rng.IntN(2) {
		w := r.writers[r.rng.IntN(len(r.writers))]
		seq := w.last + 1
		switch r.rng.IntN(4) {
		case 0:
			seq = max(w.last-r.rng.Int64N(40), 1)
		case 1:
			seq = max(w.last-r.rng.Int64N(3), 1)
		}
		if r.rng.IntN(30) == 0 {
			seq += 1 + r.rng.Int64N(3)
		}
		for range 1 + r.rng.IntN(6) {
			if _, ok := w.body[seq]; !ok {
				w.body[seq] = fmt.Sprint(r.rng.IntN(1e6))
			}
			if r.rng.IntN(10) == 0 {
				run.add("t", "not numbered")
				sends = append(sends, what{})
			}
			run.number("t", w.id(), seq, w.body[seq])
			sends = append(sends, what{w, seq})
			seq++
		}
	}
	table, err := rebuilt(l)
	if err != nil {
		return err
	}
	var want []string
	next, data := l.Next(), run.data
	for _, x := range run.extents {
		b := numberOf(data[:x.Len], next)
		data = data[x.Len:]
		a := producers.Answer{Verdict: producers.Next}
		if x.Numbered {
			a = table.Ask(&b)
		}
		switch a.Verdict {
		case producers.Next:
			want = append(want, fmt.Sprint(next))
			table.Stage(&b)
			next += b.Len
		case producers.Duplicate:
			want = append(want, fmt.Sprint(a.Offset))
		case producers.OutOfOrder:
			want = append(want, fmt.Sprintf("want %d", a.Seq))
		default:
			want = append(want, a.Verdict.String())
		}
	}
	out, err := sent(l, run)
	if errors.Is(err, ErrBusy) && r.o.numberBytes == 1 {
		return nil // the table has left a moment ago
	}
	got := told(out, err)
	r.note("send %d batches, to %d of %s, at %d: %s", len(run.extents), sends[len(sends)-1].seq, sends[len(sends)-1].w.id(), next, got)
	if got != strings.Join(want, ", ") {
		return fmt.Errorf("answers %s, want %s", got, strings.Join(want, ", "))
	}
	synctest.Wait() // for retention
	found, err := stored(l)
	if err != nil {
		return err
	}
	for i, o := range out {
		want := l.appended.Load()
		for j := len(found) - 1; j >= 0 && found[j].Offset >= o.End; j-- {
			want--
		}
		if o.Ordinal != want && o.End > l.begin() {
			return fmt.Errorf("outcome %d is of the batch %d of those since the start, want %d: %+v", i, o.Ordinal, want, o)
		}
	}
	lost := r.rng.IntN(4) == 0
	for i, o := range out {
		w, seq := sends[i].w, sends[i].seq
		if w == nil {
			continue
		}
		next, isOrder := errors.AsType[*topic.OutOfOrderError](o.Err)
		switch {
		case isOrder && next.Next > seq: // stored
		case isOrder:
			if next.Next <= w.last && w.told[next.Next] > 0 && r.exact() && r.o.FlushBatches == 1 {
				return fmt.Errorf("%s: %d was answered and is said to be missing", w.id(), next.Next)
			}
			if next.Next == 1 && w.last > 0 {
				w.anew()
				return nil
			}
			w.last = next.Next - 1
		case o.Err != nil:
			return fmt.Errorf("%s %d: %w", w.id(), seq, o.Err)
		case !lost:
			if before, ok := w.told[seq]; ok && before != o.Offset && r.exact() {
				return fmt.Errorf("%s %d: at %d, and before at %d", w.id(), seq, o.Offset, before)
			}
			w.told[seq] = o.Offset
			fallthrough
		default:
			w.last = max(w.last, seq)
		}
	}
	return nil
}

// verify compares the table in memory with the stored bytes.
func (r *numbersRun) verify() error {
	l := r.log()
	if !l.hasNumbers() {
		return nil
	}
	table, err := rebuilt(l)
	if err != nil {
		return err
	}
	o := producers.Origin{Offset: l.Next()}
	l.writer.Lock()
	defer l.writer.Unlock()
	got, want := l.numbers.table.AppendCache(nil, o), table.AppendCache(nil, o)
	if !bytes.Equal(got, want) {
		return fmt.Errorf("the table is not what is stored:\n%x\n%x", got, want)
	}
	return nil
}

// accounts checks that nothing is stored twice, and that what was answered is
// where the answer said.
func (r *numbersRun) accounts() error {
	l := r.log()
	found, err := stored(l)
	if err != nil {
		return err
	}
	at := make(map[string][]int64)
	for _, b := range found {
		if len(b.PID) == 0 {
			continue
		}
		key := fmt.Sprintf("%s %d", b.PID, b.Seq)
		if at[key] = append(at[key], b.Offset); len(at[key]) > 1 && r.exact() {
			return fmt.Errorf("%s is stored at %d", key, at[key])
		}
	}
	for _, w := range r.writers {
		for seq, offset := range w.told {
			key := fmt.Sprintf("%s %d", w.id(), seq)
			if offset >= l.begin() && !slices.Contains(at[key], offset) {
				return fmt.Errorf("%s was answered at %d, and is stored at %d", key, offset, at[key])
			}
		}
	}
	return nil
}

func runNumbers(t *testing.T, seed uint64, steps int, broken func(*numbersRun)) (err error) {
	synctest.Test(t, func(t *testing.T) {
		r := newNumbersRun(seed)
		if broken != nil {
			r.restart = broken
			r.o.FlushBatches, r.o.Partitions, r.o.Producers, r.cuts = 1, -1, 1<<18, false
		}
		err = r.run(steps)
	})
	return err
}

// TestNumbersPowerCut runs random workloads of numbered batches with kills and
// power cuts in between: after each step the table is what the stored bytes say,
// all answers are as it says, and each batch is stored once.
func TestNumbersPowerCut(t *testing.T) {
	first := firstSeed(t)
	for i := range uint64(crashRuns(t, 60)) {
		if err := runNumbers(t, first+i, 120, nil); err != nil {
			t.Fatalf("seed %d (LOGD_CRASH_SEED=%d LOGD_CRASH_RUNS=1): %v", first+i, first+i, err)
		}
	}
}

// TestNumbersPowerCutControl makes sure that TestNumbersPowerCut sees it if a
// restart forgets, or believes a cache that is not of this log.
func TestNumbersPowerCutControl(t *testing.T) {
	table := func(r *numbersRun, change func(*Log) *producers.Table) {
		l := r.log()
		if err := l.readyNumbers(context.Background()); err != nil {
			panic(err)
		}
		l.writer.Lock()
		defer l.writer.Unlock()
		l.numbers.table = change(l)
	}
	for name, broken := range map[string]func(*numbersRun){
		"forgets": func(r *numbersRun) { table(r, func(*Log) *producers.Table { return producers.New(1 << 18) }) },
		"cache alone": func(r *numbersRun) {
			table(r, func(l *Log) *producers.Table {
				if t, _ := l.readNumbers(*l.journal.Damaged()); t != nil {
					return t
				}
				return l.numbers.table
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			first := firstSeed(t)
			for i := range uint64(30) {
				if err := runNumbers(t, first+i, 120, broken); err != nil {
					t.Logf("seed %d: found, as it must be: %.200v", first+i, err)
					return
				}
			}
			t.Fatal("nothing was found")
		})
	}
}

// TestNumbersCache: the cache is written, is read, and is not believed if it is of
// another log, of more, or damaged. Whatever it is, the answers are the same.
func TestNumbersCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		o := Options{FS: disk, FlushInterval: time.Second, Partitions: -1}
		s := openStore(t, o)
		l := mustCreate(t, s, "t")
		send := func(from, to int64) {
			t.Helper()
			for seq := from; seq <= to; seq++ {
				var r run
				r.number("t", "a", seq, fmt.Sprint(seq))
				if got := told(sent(l, r)); strings.Contains(got, " ") {
					t.Fatal(got)
				}
			}
		}
		cache := func() (*producers.Table, producers.Origin) {
			b, err := vfs.ReadFile(disk, layout.ProducersFile("t"), math.MaxInt64)
			if err != nil {
				return nil, producers.Origin{}
			}
			table, o, err := producers.ParseCache(b)
			if err != nil {
				t.Fatal(err)
			}
			return table, o
		}
		send(1, 10)
		time.Sleep(4 * time.Second)
		if table, _ := cache(); table != nil {
			t.Error("there is a cache after 4 seconds")
		}
		time.Sleep(3 * time.Second)
		if table, o := cache(); table == nil || o.Offset != l.Next() || o.Topic != l.id {
			t.Errorf("after 7 seconds: %+v", o)
		}
		old, _ := vfs.ReadFile(disk, layout.ProducersFile("t"), math.MaxInt64)
		send(11, 20)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, o := cache(); o.Offset != l.Next() {
			t.Errorf("after Close it is good for %d, want %d", o.Offset, l.Next())
		}
		good, _ := vfs.ReadFile(disk, layout.ProducersFile("t"), math.MaxInt64)
		damaged := bytes.Clone(good)
		damaged[70]++
		other := bytes.Clone(good)
		for i := range 16 {
			other[12+i] = 9
		}
		for name, b := range map[string][]byte{"good": good, "old": old, "none": nil, "damaged": damaged, "another's": other, "empty": {}} {
			disk := disk.CrashKeepNothing()
			if b == nil {
				disk.Remove(layout.ProducersFile("t"))
			} else if err := disk.WriteFile(layout.ProducersFile("t"), b); err != nil {
				t.Fatal(err)
			}
			o.FS = disk
			s := openStore(t, o)
			l := mustCreate(t, s, "t")
			var r run
			r.number("t", "a", 20, "20")
			r.number("t", "a", 21, "21")
			r.number("t", "a", 23, "23")
			if got, want := told(sent(l, r)), fmt.Sprintf("%d, %d, want 22", l.Next()-2*int64(r.extents[0].Len), l.Next()-int64(r.extents[1].Len)); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	})
}

// TestNumbersDamage: what is set aside is not known any more, and what is around
// it is.
func TestNumbersDamage(t *testing.T) {
	disk := vfstest.New()
	s := openStore(t, Options{FS: disk, FlushBatches: 1})
	l := mustCreate(t, s, "t")
	var offsets []int64
	size := int64(0)
	for seq := range int64(5) {
		var r run
		r.number("t", "a", seq+1, "x")
		a := mustAppend(t, l, r)
		offsets, size = append(offsets, a.Offset), int64(len(r.data))
	}
	file := layout.Partition("t", 0)
	b, err := vfs.ReadFile(disk, file, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	b[offsets[2]+size-4]++ // in its data
	if err := disk.WriteFile(file, b); err != nil {
		t.Fatal(err)
	}
	if v, err := l.Verify(0, 100, 0); err != nil {
		t.Fatal(err)
	} else {
		v.Close()
	}
	if _, err := l.Verify(offsets[2], 1, 0); !errors.Is(err, ErrNotFound) {
		t.Fatalf("damage is not found: %v", err)
	}
	for seq, want := range map[int64]string{1: fmt.Sprint(offsets[0]), 2: fmt.Sprint(offsets[1]), 3: "want 6", 5: fmt.Sprint(offsets[4]), 7: "want 6"} {
		var r run
		r.number("t", "a", seq, "x")
		if got := told(sent(l, r)); got != want {
			t.Errorf("%d: %s, want %s", seq, got, want)
		}
	}
}

// BenchmarkNumbers is an append of one batch, numbered and not.
func BenchmarkNumbers(b *testing.B) {
	for _, size := range []int{100, 64 << 10} {
		for _, numbered := range []bool{false, true} {
			b.Run(fmt.Sprint(size, "/", numbered), func(b *testing.B) {
				s := openStore(b, Options{FS: osFS(b, b.TempDir()), FlushInterval: -1, Partitions: 1, PartitionSize: 64 << 20})
				l := mustCreate(b, s, "t")
				body := strings.Repeat("x", size-70)
				r := batchOf("t", body)
				var bb batch.Builder
				bb.Add([]byte(body))
				b.ReportAllocs()
				for seq := int64(1); b.Loop(); seq++ {
					if numbered {
						wire := bb.FinishNumbered("t", "0123456789abcdef0123456789abcdef", seq)
						r.data, r.extents[0] = wire, batch.Extent{Len: int64(len(wire)), Messages: 1, Numbered: true}
					} else {
						bb.Finish("t") // what a client does is not counted twice
					}
					if _, err := l.Append(context.Background(), r.data, r.extents); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// TestNumbersRefused: a batch that could not be written is still the next one, and
// those behind it are not.
func TestNumbersRefused(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{FlushBatches: 1})
	defer s.Close()
	l := mustCreate(t, s, "t")
	var first, rest run
	first.number("t", "a", 1, "x")
	must(t, l.Commit(t.Context(), mustAppend(t, l, first)))
	rest.number("t", "a", 2, "x")
	rest.number("t", "b", 1, "x")
	rest.add("t", "not numbered")
	disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC, Written: 10, Match: func(op vfstest.Op) bool {
		return op.Kind == vfstest.OpWrite && op.Name == "t/0.log"
	}})
	if got, err := l.Append(t.Context(), rest.data, rest.extents); !errors.Is(err, ErrReadOnly) || got.Batches != 0 {
		t.Fatalf("%+v, %v; want ErrReadOnly", got, err)
	}
	var third run
	third.number("t", "a", 3, "x")
	if got := told(sent(l, third)); got != "want 2" {
		t.Errorf("the third: %s, want 2", got)
	}
	size := len(first.data)
	if got, want := told(sent(l, rest)), fmt.Sprintf("%d, %d, %d", size, 2*size, 3*size); got != want {
		t.Errorf("once more: %s, want %s", got, want)
	}
}

// TestNumbersUnsynced: no cache speaks of what is not on stable storage, and none
// of what was cut off.
func TestNumbersUnsynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushInterval: -1})
		defer s.Close()
		l := mustCreate(t, s, "t")
		var r run
		r.number("t", "a", 1, "x")
		r.number("t", "a", 2, "x")
		mustAppend(t, l, r)
		there := func() bool {
			_, err := vfs.ReadFile(disk, layout.ProducersFile("t"), math.MaxInt64)
			return err == nil
		}
		time.Sleep(time.Minute)
		if there() {
			t.Error("there is a cache, and nothing is synced")
		}
		must(t, l.syncAll())
		time.Sleep(time.Minute)
		if !there() {
			t.Error("there is no cache")
		}
		must(t, l.TruncateTo(t.Context(), r.extents[0].Len))
		if there() {
			t.Error("the cache is there, and what it speaks of was cut off")
		}
	})
}

// TestNumbersTrimmed: what was removed is not known any more.
func TestNumbersTrimmed(t *testing.T) {
	s := openMem(t, vfstest.New(), Options{PartitionSize: 100, Partitions: -1})
	defer s.Close()
	l := mustCreate(t, s, "t")
	var r, early, gone run
	for seq := range int64(10) {
		r.number("t", "a", seq+1, "x")
	}
	mustAppend(t, l, r)
	early.number("t", "a", 1, "x")
	if got := told(sent(l, early)); got != "0" {
		t.Errorf("the first: %s, want 0", got)
	}
	must(t, l.AdvanceOldest(r.extents[0].Len*2))
	if got := told(sent(l, early)); got != "want 11" {
		t.Errorf("the first, when it is removed: %s, want 11", got)
	}
	must(t, l.AdvanceOldest(l.Next()))
	_, err := l.Trim(t.Context(), l.Next())
	must(t, err)
	gone.number("t", "a", 11, "x")
	if got := told(sent(l, gone)); got != "want 1" {
		t.Errorf("the next, when all are removed: %s, want 1", got)
	}
}

// TestNumbersDamageBehindTheCache: damage that was found after the cache was written
// is not known from it.
func TestNumbersDamageBehindTheCache(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{})
	l := mustCreate(t, s, "t")
	var r, last run
	for seq := range int64(5) {
		r.number("t", "a", seq+1, "x")
	}
	mustAppend(t, l, r)
	must(t, s.Close())
	b, err := vfs.ReadFile(disk, layout.Partition("t", 0), math.MaxInt64)
	must(t, err)
	b[len(b)-4]++ // in the data of the last
	must(t, disk.WriteFile(layout.Partition("t", 0), b))
	s = openMem(t, disk, Options{})
	defer s.Close()
	l = mustLog(t, s, "t")
	if _, err := l.Verify(4*r.extents[0].Len, 1, 0); !errors.Is(err, ErrNotFound) {
		t.Fatalf("damage is not found: %v", err)
	}
	last.number("t", "a", 6, "x")
	if got := told(sent(l, last)); got != "want 5" {
		t.Errorf("the sixth: %s, want 5", got)
	}
}

// TestNumbersMemory: tables that were not used for longest go when there are too
// many, and are there again when they are asked for.
func TestNumbersMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushInterval: time.Second, numberBytes: 700})
		defer s.Close()
		const topics = 10
		send := func(i int, seq int64) string {
			name := fmt.Sprint("t", i)
			var r run
			r.number(name, "a", seq, "x")
			return told(sent(mustCreate(t, s, name), r))
		}
		inMemory := func() (n int) {
			for _, l := range s.All() {
				if l.hasNumbers() {
					n++
				}
			}
			return n
		}
		for i := range topics {
			if got := send(i, 1); got != "0" {
				t.Errorf("topic %d: %s", i, got)
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		if n := inMemory(); n != 3 { // of about 200 bytes each
			t.Errorf("%d tables are in memory, want 3", n)
		}
		if !mustLog(t, s, "t9").hasNumbers() {
			t.Error("the one that was used last has gone")
		}
		for i := range topics {
			if got := send(i, 1); got != "0" {
				t.Errorf("topic %d, again: %s", i, got)
			}
			if got := send(i, 3); got != "want 2" {
				t.Errorf("topic %d, too early: %s", i, got)
			}
		}
	})
}

// TestNumbersBusy: while the log can't be read for its numbers, numbered batches
// are refused, and others are not.
func TestNumbersBusy(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{})
	mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "x"))
	must(t, s.Close())
	s = openMem(t, disk, Options{})
	defer s.Close()
	l := mustLog(t, s, "t")
	mustAppend(t, l, batchOf("t", "x"))
	var failed int
	disk.FailAt(1, vfstest.Fault{Err: syscall.EIO, Reads: true, Match: func(op vfstest.Op) bool {
		if op.Kind != vfstest.OpRead || op.Name != "t/0.log" {
			return false
		}
		failed++
		return true
	}})
	var r run
	r.number("t", "a", 1, "x")
	if got := told(sent(l, r)); got != ErrBusy.Error() || failed == 0 {
		t.Errorf("while it can't be read: %s, and %d reads have failed", got, failed)
	}
	mustAppend(t, l, batchOf("t", "x"))
	if got := told(sent(l, r)); got != fmt.Sprint(3*len(batchOf("t", "x").data)) {
		t.Errorf("then: %s", got)
	}
}

// TestNumbersFaults fails every operation of a workload of numbered batches, each of
// which is sent again until it is answered, after a restart if need be: in the end
// each is stored once, in order.
func TestNumbersFaults(t *testing.T) {
	for name, fault := range map[string]vfstest.Fault{
		"EIO": {Reads: true}, "ENOSPC": {Err: syscall.ENOSPC, Reads: true}, "half EIO": {Written: 70}, "half ENOSPC": {Err: syscall.ENOSPC, Written: 70},
	} {
		for _, flush := range []int{0, 1, 2} {
			t.Run(fmt.Sprint(name, " ", flush), func(t *testing.T) {
				for n := 1; ; n++ {
					disk := vfstest.New()
					disk.FailAt(n, fault)
					hit, err := numberedUnderFaults(disk, Options{FS: disk, FlushBatches: flush, PartitionSize: 120, Partitions: -1})
					if err != nil {
						t.Fatalf("operation %d failed: %v\n%s", n, err, disk.Trace())
					}
					if !hit {
						return
					}
				}
			})
		}
	}
}

// numberedUnderFaults writes numbers, with a restart in the middle, and checks what
// is stored then. It reports whether there was a fault.
func numberedUnderFaults(disk *vfstest.FS, o Options) (hit bool, err error) {
	const batches = 8
	var s *Store
	defer func() {
		if s != nil {
			s.Close()
		}
	}()
	for seq, tries := int64(1), 0; seq <= batches; tries++ {
		if tries > 100 {
			return hit, fmt.Errorf("number %d is not answered", seq)
		}
		if s == nil {
			opened, err := Open(context.Background(), o)
			if err != nil {
				continue
			}
			s = opened
		}
		l, err := s.Create([]byte("t"))
		if err == nil {
			var r run
			r.number("t", "a", seq, "x")
			if tries%2 == 0 { // the next one with it
				r.number("t", "a", seq+1, "x")
			}
			var out []Outcome
			if out, err = sent(l, r); err == nil && out[0].Err != nil {
				return hit, fmt.Errorf("number %d: %w", seq, out[0].Err)
			}
		}
		if err == nil {
			seq++
		}
		if err != nil || seq == batches/2 {
			s.Close()
			s = nil
		}
	}
	hit = disk.Faults() > 0
	disk.ClearFaults()
	l, err := s.Log([]byte("t"))
	if err != nil {
		return hit, err
	}
	found, err := stored(l)
	if err != nil {
		return hit, err
	}
	for i, b := range found {
		if b.Seq != int64(i)+1 {
			return hit, fmt.Errorf("number %d stands at place %d", b.Seq, i)
		}
	}
	if n := len(found); n < batches || n > batches+1 {
		return hit, fmt.Errorf("%d batches are stored", n)
	}
	return hit, nil
}
