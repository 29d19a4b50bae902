package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/storage/diagnose"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// stored returns the batches in the partitions' files, up to the end of the log.
func stored(fsys vfs.FS, l *Log) (found []producers.Batch, err error) {
	for _, p := range l.Partitions() {
		b, err := vfs.ReadFile(fsys, p.File().Name(), math.MaxInt64)
		if err != nil {
			return nil, err
		}
		for pos := int64(0); p.Base()+pos < min(l.Next(), p.End()); {
			if past := layout.Past(*l.Damaged(), p.Base()+pos); past > p.Base()+pos {
				pos = past - p.Base()
				continue
			}
			h, n, err := batch.Parse(b[pos:])
			if err != nil && unchecked(fsys, l, p) && layout.Past(*l.Damaged(), p.Base()+pos) == p.Base()+pos {
				// The journal was lost with its first record, so older partitions are taken
				// as good until somebody meets what is not.
				if err := rescan(p); err != nil {
					return nil, err
				}
				if layout.Past(*l.Damaged(), p.Base()+pos) > p.Base()+pos {
					continue
				}
			}
			if err != nil {
				return nil, fmt.Errorf("%s at %d: %w", p.File().Name(), pos, err)
			}
			found = append(found, producers.Batch{PID: h.PID, Seq: h.Seq, Offset: p.Base() + pos, Len: n, CRC: h.CRC})
			pos += n
		}
	}
	return found, nil
}

// unchecked reports whether a partition may never have been whole, as the journal says.
func unchecked(fsys vfs.FS, l *Log, p partition.OnDisk) bool {
	b, err := journal.Read(fsys, l.Name())
	if err != nil {
		return false
	}
	state, _, err := journal.Decode(b)
	return err == nil && p.Base() < (&diagnose.Log{Journal: &state}).UncheckedBefore()
}

// rebuilt returns the table as the stored bytes have it.
func rebuilt(s *Store, l *Log) (*producers.Table, error) {
	found, err := stored(s.fs, l)
	if err != nil {
		return nil, err
	}
	t := producers.New(s.o.Producers)
	for i := range found {
		t.Add(&found[i])
	}
	t.Trim(l.Begin())
	return t, nil
}

// numbersRun is a random workload of numbered batches on a disk whose power fails.
type numbersRun struct {
	t    *testing.T
	rng  *rand.Rand
	disk *vfstest.FS
	o    Options
	s    *Store

	writers []*numbersWriter
	cuts    bool              // the log is also cut off, or an older copy put back: writers lose what they were told
	copied  map[string][]byte // the files of an older copy
	steps   []string
	count   *appendCount      // of the store that is open
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

// appendCount is an Observer that counts the batches that are appended.
type appendCount struct{ batches atomic.Int64 }

func (c *appendCount) Appended(_ time.Duration, _, batches, _ int64) { c.batches.Add(batches) }
func (c *appendCount) Synced(time.Duration)                          {}

func (r *numbersRun) open() error {
	r.count = new(appendCount)
	r.o.FS, r.o.Observer = r.disk, r.count
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
		return r.log().SyncAll()
	case n < 90 && r.cuts:
		found, err := stored(r.s.fs, r.log())
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
	table, err := rebuilt(r.s, l)
	if err != nil {
		return err
	}
	var want []string
	next, data := l.Next(), run.data
	for _, x := range run.extents {
		h, _, err := batch.Parse(data[:x.Len])
		if err != nil {
			return err
		}
		b := producers.Batch{PID: h.PID, Seq: h.Seq, Offset: next, Len: x.Len, CRC: h.CRC}
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
	found, err := stored(r.s.fs, l)
	if err != nil {
		return err
	}
	for i, o := range out {
		want := r.count.batches.Load()
		for j := len(found) - 1; j >= 0 && found[j].Offset >= o.End; j-- {
			want--
		}
		if o.Ordinal != want && o.End > l.Begin() {
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

// verify compares the table in memory with the stored bytes: it asks for each batch that
// is stored, and for one of each writer that comes too early. None of them is the next.
func (r *numbersRun) verify() error {
	l := r.log()
	if !l.Numbers().IsReady() {
		return nil
	}
	found, err := stored(r.s.fs, l)
	if err != nil {
		return err
	}
	table, err := rebuilt(r.s, l)
	if err != nil {
		return err
	}
	var asked run
	var want []string
	ask := func(b producers.Batch, add func()) {
		switch a := table.Ask(&b); a.Verdict {
		case producers.Next:
			return // it would be stored
		case producers.Duplicate:
			want = append(want, fmt.Sprint(a.Offset))
		case producers.OutOfOrder:
			want = append(want, fmt.Sprintf("want %d", a.Seq))
		default:
			want = append(want, a.Verdict.String())
		}
		add()
	}
	newest := make(map[string]int64)
	for _, b := range found {
		if len(b.PID) == 0 {
			continue
		}
		newest[string(b.PID)] = b.Seq
		ask(b, func() { err = asked.addStored(l, b) })
		if err != nil {
			return err
		}
	}
	for _, w := range r.writers {
		ask(producers.Batch{PID: []byte(w.id()), Seq: newest[w.id()] + 2}, func() { asked.number("t", w.id(), newest[w.id()]+2, "early") })
	}
	if len(want) == 0 {
		return nil
	}
	a, err := l.Append(context.Background(), asked.data, asked.extents)
	if got, want := told(a.Outcomes, err), strings.Join(want, ", "); got != want {
		return fmt.Errorf("the table is not what is stored: %s, want %s", got, want)
	}
	return nil
}

// addStored adds a numbered batch as it is stored.
func (r *run) addStored(l *Log, b producers.Batch) error {
	v, err := l.Stored(b.Offset, b.Offset+b.Len)
	if err != nil {
		return err
	}
	defer v.Close()
	wire := make([]byte, b.Len)
	f, pos, _ := v.Section(0)
	if _, err := f.ReadAt(wire, pos); err != nil {
		return err
	}
	h, _, err := batch.Parse(wire)
	r.data = append(r.data, wire...)
	r.extents = append(r.extents, batch.Extent{Len: b.Len, Messages: int32(h.Messages), Numbered: true})
	return err
}

// accounts checks that nothing is stored twice, and that what was answered is
// where the answer said.
func (r *numbersRun) accounts() error {
	l := r.log()
	found, err := stored(r.s.fs, l)
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
			if offset >= l.Begin() && !slices.Contains(at[key], offset) {
				return fmt.Errorf("%s was answered at %d, and is stored at %d", key, offset, at[key])
			}
		}
	}
	return nil
}

func runNumbers(t *testing.T, seed uint64, steps int, broken func(*numbersRun)) (err error) {
	synctest.Test(t, func(t *testing.T) {
		r := newNumbersRun(seed)
		r.t = t
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
	// Each has the log believe a cache that says it is good for all of it.
	believe := func(r *numbersRun, table *producers.Table) {
		l := r.log()
		o := producers.Origin{Topic: l.ID(), Offset: l.Next()}
		must(r.t, r.disk.WriteFile(layout.ProducersFile("t"), table.AppendCache(nil, o)))
	}
	for name, broken := range map[string]func(*numbersRun){
		"forgets": func(r *numbersRun) { believe(r, producers.New(1<<18)) },
		"cache alone": func(r *numbersRun) {
			b, err := r.disk.ReadFile(layout.ProducersFile("t"))
			if err != nil {
				return
			}
			table, _, err := producers.ParseCache(b)
			must(r.t, err)
			believe(r, table)
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
	found, err := stored(s.fs, l)
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
