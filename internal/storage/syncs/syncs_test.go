package syncs

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

var errFailed = errors.New("failed")

// group is a Group whose log is synced as far as Synced says.
func group() (g *Group, failed *error) {
	failed = new(error)
	return &Group{Queue: new(Queue), Synced: new(atomic.Int64), Failed: func() error { return *failed }}, failed
}

// joined is what Join has returned to one who has waited.
type joined struct {
	offset int64
	lead   bool
	err    error
}

// join has somebody join for each offset, one after another.
func join(ctx context.Context, g *Group, offsets ...int64) <-chan joined {
	all := make(chan joined, len(offsets))
	for _, offset := range offsets {
		go func() {
			lead, err := g.Join(ctx, offset)
			all <- joined{offset, lead, err}
		}()
		synctest.Wait()
	}
	return all
}

// One sync serves all whose offset it reaches, and the first of the others leads
// the next.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := group()
		if lead, err := g.Join(t.Context(), 10); !lead || err != nil {
			t.Fatalf("the first: %v, %v", lead, err)
		}
		if g.Lead() {
			t.Error("two lead")
		}
		all := join(t.Context(), g, 20, 10, 30)
		select {
		case j := <-all:
			t.Fatalf("%+v, and nothing is synced", j)
		default:
		}
		g.Synced.Store(10)
		g.Done(nil)
		synctest.Wait()
		got := []joined{<-all, <-all}
		slices.SortFunc(got, func(a, b joined) int { return int(a.offset - b.offset) })
		if want := []joined{{10, false, nil}, {20, true, nil}}; !slices.Equal(got, want) {
			t.Fatalf("%+v, want %+v", got, want)
		}
		g.Synced.Store(30)
		g.Done(nil)
		if j := <-all; j != (joined{30, false, nil}) {
			t.Errorf("%+v", j)
		}
		if lead, err := g.Join(t.Context(), 30); lead || err != nil {
			t.Errorf("what is synced is synced again: %v, %v", lead, err)
		}
		if !g.Lead() {
			t.Error("nobody leads, and it can't be taken")
		}
	})
}

// A sync that fails fails for all who wait for it, however far they want it, and
// for those who come after it.
func TestGroupFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, failed := group()
		g.Lead()
		all := join(t.Context(), g, 10, 20)
		*failed = errFailed
		g.Done(errFailed)
		for range 2 {
			if j := <-all; j.err != errFailed || j.lead {
				t.Errorf("%+v", j)
			}
		}
		if lead, err := g.Join(t.Context(), 10); lead || err != errFailed {
			t.Errorf("after it: %v, %v", lead, err)
		}
		if err := g.Claim(t.Context()); err != nil {
			t.Errorf("claimed after it: %v", err)
		}
	})
}

// Who claims waits for the sync that is under way, whatever becomes of it.
func TestGroupClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := group()
		g.Lead()
		claimed := make(chan error, 1)
		go func() { claimed <- g.Claim(t.Context()) }()
		synctest.Wait()
		all := join(t.Context(), g, 10)
		g.Done(errFailed)
		if err := <-claimed; err != nil {
			t.Fatal(err)
		}
		if j := <-all; j.err != errFailed {
			t.Errorf("%+v", j)
		}
		if g.Lead() {
			t.Error("two lead")
		}
	})
}

// Who gives up is not told anything, and holds nobody up.
func TestGroupContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := group()
		g.Lead()
		ctx, cancel := context.WithCancel(t.Context())
		gone := join(ctx, g, 10)
		claimed := make(chan error, 1)
		go func() { claimed <- g.Claim(ctx) }()
		synctest.Wait()
		stays := join(t.Context(), g, 20)
		cancel()
		if j := <-gone; j.err != context.Canceled || j.lead {
			t.Errorf("%+v", j)
		}
		if err := <-claimed; err != context.Canceled {
			t.Errorf("claim: %v", err)
		}
		g.Done(nil)
		if j := <-stays; j != (joined{20, true, nil}) {
			t.Errorf("%+v", j)
		}
	})
}

// member is a log whose syncs by itself are counted, and take a millisecond.
type member struct {
	Member
	alone, wholly atomic.Int64
	err           error
}

func newQueue(disk *vfstest.FS, n int) (*Queue, []*member) {
	q := &Queue{FS: disk, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Together: 4}
	var all []*member
	for range n {
		m := new(member)
		m.Sync = func(_ int64, all bool) error {
			time.Sleep(time.Millisecond)
			m.alone.Add(1)
			if all {
				m.wholly.Add(1)
			}
			return m.err
		}
		all = append(all, m)
	}
	return q, all
}

// syncOnce syncs all at once, and returns how many were synced by themselves.
func syncOnce(t *testing.T, q *Queue, all []*member) (alone int64) {
	t.Helper()
	var waiting []*Waiting
	for _, m := range all {
		alone -= m.alone.Load()
		waiting = append(waiting, NewWaiting(&m.Member, 1))
	}
	q.Enqueue(waiting...)
	var g sync.WaitGroup
	for i, w := range waiting {
		g.Go(func() {
			if err := q.Await(w); err != all[i].err {
				t.Errorf("log %d: %v", i, err)
			}
		})
	}
	g.Wait()
	q.Wait()
	for _, m := range all {
		alone += m.alone.Load()
	}
	return alone
}

// Few logs are synced side by side, many by one sync of all; after one of those
// has failed each is synced by itself, wholly, before it is relied on again.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		q, all := newQueue(disk, 10)
		expect := func(what string, members []*member, want int64) {
			t.Helper()
			if alone := syncOnce(t, q, members); alone != want {
				t.Errorf("%s: %d of %d are synced by themselves, want %d", what, alone, len(members), want)
			}
		}
		expect("a few", all[:3], 3)
		expect("many", all, 0)
		disk.FailAt(1, vfstest.Fault{Err: syscall.EIO, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSyncAll }})
		expect("a sync of all that fails", all[:5], 5)
		if q.Failures() != 1 {
			t.Errorf("%d failures", q.Failures())
		}
		if q.Alone(&all[9].Member) {
			t.Error("one that did not wait counts as synced")
		}
		all[5].err = errFailed
		expect("those who did not wait for it", all, 5)
		for i, m := range all {
			if want := int64(1); m.wholly.Load() != want {
				t.Errorf("log %d was synced wholly %d times, want %d", i, m.wholly.Load(), want)
			}
		}
		expect("the one that failed by itself", all, 1)
	})
}

// Where the file system can't sync all at once, and where that takes long, each
// log is synced by itself.
func TestQueueApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		q, all := newQueue(disk, 20)
		slow := func(took time.Duration) {
			disk.BeforeOp(func(op vfstest.Op) {
				if op.Kind == vfstest.OpSyncAll {
					time.Sleep(took)
				}
			})
		}
		slow(sharedSync + 2*20*sharedSyncEach)
		for i, want := range []int64{0, 20, 20} {
			if alone := syncOnce(t, q, all); alone != want {
				t.Errorf("round %d: %d are synced by themselves, want %d", i, alone, want)
			}
		}
		slow(0)
		time.Sleep(ApartFor)
		if alone := syncOnce(t, q, all); alone != 0 {
			t.Errorf("after a while %d are synced by themselves", alone)
		}
		disk.FailAt(1, vfstest.Fault{Err: errors.ErrUnsupported, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSyncAll }})
		for i := range 2 {
			if alone := syncOnce(t, q, all); alone != 20 {
				t.Errorf("without a sync of all, round %d: %d are synced by themselves", i, alone)
			}
		}
		if q.Failures() != 0 {
			t.Error("that there is none is taken for a failure")
		}
	})
}

// A log on another device neither waits for others nor shares their sync.
func TestQueueOtherDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, all := newQueue(vfstest.New(), 2)
		all[1].OtherDevice.Store(true)
		begun := time.Now()
		var g sync.WaitGroup
		for _, m := range all {
			g.Go(func() {
				if err := q.Sync(&m.Member, 1); err != nil {
					t.Error(err)
				}
			})
		}
		g.Wait()
		if took := time.Since(begun); took != time.Millisecond {
			t.Errorf("both took %v", took)
		}
	})
}

// A sync of the work directory that fails counts for those whose folders were made
// before it, and for no others.
func TestSyncRoot(t *testing.T) {
	disk := vfstest.New()
	q, _ := newQueue(disk, 0)
	before := Member{Parent: ".", RootSeen: q.RootFailures()}
	disk.FailAt(1, vfstest.Fault{Err: syscall.EIO, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSyncDir }})
	if err := q.SyncRoot("."); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	after := Member{Parent: ".", RootSeen: q.RootFailures()}
	if err := q.SyncRootFor(&before); err != errRootTold {
		t.Errorf("made before: %v", err)
	}
	if err := q.SyncRootFor(&after); err != nil {
		t.Errorf("made after: %v", err)
	}
	disk.FailAt(1, vfstest.Fault{Err: syscall.EMFILE, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSyncDir }})
	if err := q.SyncRoot("."); !errors.Is(err, syscall.EMFILE) || q.RootFailures() != after.RootSeen {
		t.Errorf("a missing descriptor: %v, %d failures", err, q.RootFailures())
	}
}
