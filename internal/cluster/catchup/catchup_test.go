package catchup

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

const (
	own   = 1 // the member that catches up
	other = 2 // one that has everything
	third = 3 // as other
)

var topicID = entry.ID{1}

// fixture is a member that catches up, and its Member and Source.
type fixture struct {
	*Fetcher
	t     *testing.T
	disk  *vfstest.FS
	store *storage.Store
	queue []func()
	table *entry.Table

	full    error
	there   func(oldest map[uint32]int64) // nil: it was told
	oldest  map[uint32]int64
	stalled []bool
	failed  error
	runs    []entry.Run // what the log says

	from  *copies.Set               // of the others
	alter func(uint64, *Fetched)    // what a member gives
	fails func(member uint64) error // why it gives nothing
	asked []uint64
}

func (f *fixture) Post(job func())             { f.queue = append(f.queue, job) }
func (f *fixture) Err() error                  { return nil }
func (f *fixture) MayWrite() error             { return f.full }
func (f *fixture) Stalled(_ int, stalled bool) { f.stalled = append(f.stalled, stalled) }
func (f *fixture) Failed(_ int, err error)     { f.failed = err }
func (f *fixture) There(_ int, t *entry.Table, oldest map[uint32]int64) {
	if t != f.table || f.there == nil {
		f.t.Errorf("table %v is there, want %v, once", t, f.table)
		return
	}
	f.there(oldest)
	f.there, f.oldest = nil, oldest
}

func (f *fixture) Log(_ int, _ uint32, then func(*entry.Conf, []entry.Run)) {
	f.Post(func() { then(&f.table.Conf, f.runs) })
}

func (f *fixture) Fetch(from uint64, id entry.ID, offset, end int64) (got Fetched, err error) {
	f.asked = append(f.asked, from)
	if err := f.fails(from); err != nil {
		return got, err
	}
	v, parts, err := f.from.Serve(id, offset, min(end, offset+300))
	if err != nil {
		return got, err
	}
	got.Parts = parts
	got.Data, err = copies.ReadViews(nil, []topic.View{v})
	f.alter(from, &got)
	return got, err
}

func (f *fixture) Sums(from uint64, id entry.ID, offset, end int64) ([]uint32, error) {
	return f.from.Sums(id, offset, end)
}

// work does what was posted, and all that follows.
func (f *fixture) work() {
	for len(f.queue) > 0 {
		job := f.queue[0]
		f.queue = f.queue[1:]
		job()
	}
}

func openStore(t *testing.T, disk *vfstest.FS) *storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), storage.Options{FS: disk, Managed: true, Partitions: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fill appends batches to a topic, in partitions of two, and returns the runs.
func fill(t *testing.T, l *storage.Log, batches int) (runs []entry.Run) {
	t.Helper()
	for i := range batches {
		body, err := copies.Parse([]byte(testkit.Batch("t", fmt.Sprint("batch ", i), strings.Repeat("x", 100))))
		if err != nil {
			t.Fatal(err)
		}
		r := entry.Run{Topic: 1, Offset: l.Next(), Time: int64(i + 1), Bytes: uint32(len(body.Data)), CRC: copies.Checksum(body.Data), Roll: i%2 == 0}
		if _, err := l.AppendRun(t.Context(), &storage.Run{Offset: r.Offset, Millis: r.Time, Roll: r.Roll, Data: body.Data, Extents: body.Extents}); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	l.SetReadable(l.Next())
	return runs
}

// newFixture returns a member that has nothing, and others that have a topic.
func newFixture(t *testing.T) *fixture {
	others := openStore(t, vfstest.New())
	l, err := others.CreateAs("t", topicID, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		t: t, disk: vfstest.New(), from: copies.New(others, slog.New(slog.DiscardHandler)),
		there: func(map[uint32]int64) {}, alter: func(uint64, *Fetched) {}, fails: func(uint64) error { return nil },
	}
	f.runs = fill(t, l, 5)
	f.table = &entry.Table{
		Conf:   entry.Conf{Voters: []uint64{own, other, third}},
		Topics: []entry.Topic{{Number: 1, ID: topicID, Name: "t", Time: 1, End: l.Next()}},
	}
	f.store = openStore(t, f.disk)
	f.Fetcher = New(Options{
		ID: own, Groups: 1, Member: f, Source: f, Store: f.store, Copies: copies.New(f.store, slog.New(slog.DiscardHandler)),
		Logger: slog.New(slog.DiscardHandler), Tick: 100 * time.Millisecond,
	})
	return f
}

// has returns the bytes of the topic from an offset up to the end of the table.
func (f *fixture) has(store *storage.Store, from int64) []byte {
	f.t.Helper()
	v, err := store.ByID(topicID).Stored(from, f.table.Topics[0].End)
	if err != nil {
		f.t.Fatal(err)
	}
	b, err := copies.ReadViews(nil, []topic.View{v})
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// want checks that the topic has what the others have, from an offset on.
func (f *fixture) want(from int64) {
	f.t.Helper()
	v, _, err := f.from.Serve(topicID, from, f.table.Topics[0].End)
	if err != nil {
		f.t.Fatal(err)
	}
	want, err := copies.ReadViews(nil, []topic.View{v})
	if err != nil {
		f.t.Fatal(err)
	}
	if got := f.has(f.store, from); !bytes.Equal(got, want) {
		f.t.Errorf("%d bytes are others than the %d of the other members", len(got), len(want))
	}
}

// TestTakeOver: a table is there when no power cut takes a byte of it.
func TestTakeOver(t *testing.T) {
	f := newFixture(t)
	f.there = func(map[uint32]int64) {
		after := openStore(t, f.disk.CrashKeepNothing())
		if l := after.ByID(topicID); l == nil || l.Next() != f.table.Topics[0].End {
			t.Errorf("a power cut leaves %v", l)
		}
	}
	f.TakeOver(0, f.table, nil)
	f.work()
	if f.there != nil || f.Busy() || f.failed != nil || f.Fetched() != f.table.Topics[0].End {
		t.Fatalf("there %v, busy %v, failed %v, fetched %d", f.there == nil, f.Busy(), f.failed, f.Fetched())
	}
	f.want(0)
	if slices.Contains(f.asked, own) {
		t.Errorf("asked %v", f.asked)
	}

	// What others confirm is not fetched again; what they do not, is.
	f.there = func(map[uint32]int64) {}
	f.TakeOver(0, f.table, nil)
	if f.work(); f.Fetched() != f.table.Topics[0].End {
		t.Errorf("fetched %d in all", f.Fetched())
	}
	f.want(0)
}

// TestSources: bytes that are damaged where they are given are not taken, and another
// member is asked.
func TestSources(t *testing.T) {
	for name, alter := range map[string]func(*Fetched){
		"a flipped bit":       func(got *Fetched) { got.Data[len(got.Data)-3] ^= 1 },
		"half a batch":        func(got *Fetched) { got.Data = got.Data[:len(got.Data)-9] },
		"nothing":             func(got *Fetched) { got.Data = nil },
		"more than asked for": func(got *Fetched) { got.Data = append(got.Data, make([]byte, 4096)...) },
		"no parts":            func(got *Fetched) { got.Parts = nil },
		"another part":        func(got *Fetched) { got.Parts[0].Offset++ },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.alter = func(member uint64, got *Fetched) {
				if member == other {
					alter(got)
				}
			}
			f.TakeOver(0, f.table, nil)
			for range 20 {
				f.work()
				f.Tick(nil)
			}
			f.work()
			if f.there != nil || f.failed != nil {
				t.Fatalf("there %v, failed %v", f.there == nil, f.failed)
			}
			f.want(0)
		})
	}
}

// TestTrimmedSince: what was trimmed since the table was made is not waited for.
func TestTrimmedSince(t *testing.T) {
	f := newFixture(t)
	oldest := f.runs[2].Offset
	f.from.Trimmed(topicID, oldest)
	f.TakeOver(0, f.table, nil)
	f.work()
	if f.there != nil || f.oldest[1] != oldest {
		t.Fatalf("there %v, begins at %v", f.there == nil, f.oldest)
	}
	f.want(oldest)
}

// TestStalled: where nobody gives the bytes that is told, and so is that somebody does again.
func TestStalled(t *testing.T) {
	f := newFixture(t)
	f.fails = func(uint64) error { return errors.New("not reached") }
	f.TakeOver(0, f.table, nil)
	for range stallTries - 1 {
		f.work()
		f.Tick(nil)
	}
	if len(f.stalled) > 0 {
		t.Fatalf("told %v before its time", f.stalled)
	}
	f.work()
	if !slices.Equal(f.stalled, []bool{true}) || !f.Busy() {
		t.Fatalf("told %v", f.stalled)
	}
	f.fails = func(uint64) error { return nil }
	f.Tick(nil)
	if f.work(); !slices.Equal(f.stalled, []bool{true, false}) || f.there != nil {
		t.Errorf("told %v, there %v", f.stalled, f.there == nil)
	}
}

// TestMayWrite: as long as no bytes are to be written none are, and the group has not failed.
func TestMayWrite(t *testing.T) {
	f := newFixture(t)
	f.full = fmt.Errorf("held: %w", syscall.ENOSPC)
	f.TakeOver(0, f.table, nil)
	f.work()
	if f.store.ByID(topicID) != nil || f.failed != nil {
		t.Errorf("%v is made, failed %v", f.store.ByID(topicID), f.failed)
	}
	f.full = nil
	f.Tick(nil)
	if f.work(); f.there != nil {
		t.Error("the table is not there")
	}
}

// TestRefill: what is damaged gets what others have, unless the own log says that this is
// something else.
func TestRefill(t *testing.T) {
	for name, right := range map[string]bool{"as the log says": true, "as it does not": false} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.TakeOver(0, f.table, nil)
			f.work()
			l := f.store.ByID(topicID)
			hole := f.runs[4].Offset
			if err := l.TruncateTo(t.Context(), hole); err != nil {
				t.Fatal(err)
			}
			if err := l.Lost(t.Context(), hole, f.table.Topics[0].End); err != nil {
				t.Fatal(err)
			}
			l.SetReadable(l.Next())
			if !right {
				f.runs[4].CRC++
			}
			f.Tick([]copies.Copy{{Key: copies.Key{Number: 1}, Log: l}})
			f.work()
			if refilled := f.Refilled() > 0 && len(*l.Damaged()) == 0; refilled != right {
				t.Fatalf("%d bytes are refilled, damaged are %v", f.Refilled(), *l.Damaged())
			}
			if right {
				f.want(0)
			}
		})
	}
}

// TestFetchOrder: the group that lacks least goes first, and those that wait for the next
// tick do not.
func TestFetchOrder(t *testing.T) {
	job := func(ends ...int64) *takeover {
		j := &takeover{}
		j.table = &entry.Table{}
		for _, end := range ends {
			j.table.Topics = append(j.table.Topics, entry.Topic{Oldest: 10, End: end})
		}
		return j
	}
	large, small, waits := job(1000, 10), job(100, 100), job(11)
	waits.waits = true
	f := Fetcher{jobs: []*takeover{nil, large, waits, small}}
	if f.choose(); f.job != small {
		t.Errorf("%+v goes first", f.job)
	}
	small.next = 2
	f.jobs[3], waits.waits = nil, false
	if f.choose(); f.job != waits {
		t.Errorf("then %+v", f.job)
	}
}
