package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
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
