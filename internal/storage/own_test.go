package storage

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// only gives one topic its own settings, and all others those of the store.
func only(name string, own, all Kept) Own {
	return Own{LeastAge: own.Retention.Age, Of: func(topic string) Kept {
		if topic == name {
			return own
		}
		return all
	}}
}

// TestOwnRetention: a topic is kept by its own limits, from when they are told, and by those
// of the store again afterwards.
func TestOwnRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := Kept{Retention: topic.Limits{Partitions: 8}, PartitionSize: 1}
		s := openMem(t, vfstest.New(), Options{PartitionSize: 1, Partitions: 8, FlushInterval: -1})
		defer s.Close()
		logs := map[string]*Log{"t": mustCreate(t, s, "t"), "u": mustCreate(t, s, "u")}
		for _, l := range logs {
			fill(t, l, 8)
		}
		kept := func(name string, want int) {
			t.Helper()
			synctest.Wait()
			if got := len(logs[name].Partitions()); got != want {
				t.Errorf("%s has %d partitions, want %d", name, got, want)
			}
		}
		set := func(own Kept) {
			s.SetLimits(Limits{Retention: all.Retention, Own: only("t", own, all)})
		}
		set(Kept{Retention: topic.Limits{Partitions: 3}, PartitionSize: 1})
		kept("t", 3)
		kept("u", 8)
		fill(t, logs["t"], 3)
		kept("t", 3)
		if plan := logs["t"].Plan(topic.Limits{Partitions: -1}); plan[0].NewPartitions != 1 {
			t.Errorf("the plan has another limit in mind: %+v", plan[0])
		}
		s.SetLimits(Limits{Retention: all.Retention})
		fill(t, logs["t"], 3)
		kept("t", 6)

		// By age alone, of which the others have none, and soon.
		set(Kept{Retention: topic.Limits{Age: time.Second}, PartitionSize: 1})
		time.Sleep(1200 * time.Millisecond)
		kept("t", 1)
		kept("u", 8)

		// What says when to go does not get at a topic of the server's own.
		own := mustCreate(t, s, topic.Positions)
		fill(t, own, 5)
		s.SetLimits(Limits{Retention: all.Retention, Own: Own{Of: func(string) Kept { return Kept{Retention: topic.Limits{Partitions: 1}, PartitionSize: 1} }}})
		synctest.Wait()
		if got := len(own.Partitions()); got != 5 {
			t.Errorf("%d partitions of %s, want 5", got, topic.Positions)
		}
	})
}

// TestOwnPartitionSize: a partition is as large as the topic's own setting says from the next
// append on; older ones keep their size.
func TestOwnPartitionSize(t *testing.T) {
	all := Kept{PartitionSize: 1 << 20}
	s := openMem(t, vfstest.New(), Options{PartitionSize: 1 << 20, Partitions: -1, FlushInterval: -1})
	defer s.Close()
	l, other := mustCreate(t, s, "t"), mustCreate(t, s, "u")
	r := batchOf("t", "one")
	size := int64(len(r.data))
	for range 10 {
		mustAppend(t, l, r)
	}
	s.SetLimits(Limits{Own: only("t", Kept{PartitionSize: 3 * size}, all)})
	for range 7 {
		mustAppend(t, l, r)
		mustAppend(t, other, batchOf("u", "one"))
	}
	var sizes []int64
	for _, p := range l.Plan(topic.Limits{}) {
		sizes = append(sizes, (p.End-p.Base)/size)
	}
	if want := []int64{10, 3, 3, 1}; len(sizes) != 4 || [4]int64(sizes) != [4]int64(want) {
		t.Errorf("partitions of %v batches, want %v", sizes, want)
	}
	if n := len(other.Partitions()); n != 1 {
		t.Errorf("another topic has %d partitions", n)
	}
}

// TestOwnDurability: a topic that is to be synced is acknowledged, and readable, when it is on
// stable storage, from its next append on. What was readable before stays so.
func TestOwnDurability(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		all := Kept{PartitionSize: 1 << 20}
		synced := Limits{Own: only("t", Kept{PartitionSize: 1 << 20, SyncsFirst: true}, all)}
		s := openMem(t, disk, Options{PartitionSize: 1 << 20, FlushInterval: time.Hour})
		defer s.Close()
		l, other := mustCreate(t, s, "t"), mustCreate(t, s, "u")
		r := batchOf("t", "one")
		size := int64(len(r.data))
		unsynced := func(l *Log) int64 { return l.Stats().Unsynced }
		for range 3 {
			mustAppend(t, l, r)
		}
		s.SetLimits(synced)
		if unsynced(l) != 3*size || l.Readable() != 3*size {
			t.Fatalf("before an append: %d bytes are not synced, the readable end is %d", unsynced(l), l.Readable())
		}
		a, err := l.Append(context.Background(), r.data, r.extents)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Readable(); got != 3*size {
			t.Errorf("the readable end is %d before a sync, want what it was: %d", got, 3*size)
		}
		var wakes countWakes
		l.Watch(3*size, &wakes)
		if err := l.Commit(context.Background(), a); err != nil {
			t.Fatal(err)
		}
		if unsynced(l) != 0 || l.Readable() != 4*size || wakes != 1 {
			t.Errorf("acknowledged: %d bytes are not synced, the readable end is %d, woken %d times", unsynced(l), l.Readable(), wakes)
		}
		mustAppend(t, other, batchOf("u", "one"))
		if unsynced(other) == 0 {
			t.Error("another topic is synced, too")
		}

		// Back again: what is appended is synced in time.
		s.SetLimits(Limits{})
		if _, err = l.Append(context.Background(), r.data, r.extents); err != nil {
			t.Fatal(err)
		}
		if unsynced(l) != size || l.Readable() != 5*size {
			t.Errorf("flushed: %d bytes are not synced, the readable end is %d", unsynced(l), l.Readable())
		}
		time.Sleep(time.Hour + time.Second)
		if unsynced(l) != 0 {
			t.Error("what is flushed is not synced in time")
		}
	})
}

// TestOwnDurabilityFails: a sync that fails takes back what nobody was told is stored, and
// nothing of what was acknowledged without a sync.
func TestOwnDurabilityFails(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{PartitionSize: 1 << 20, FlushInterval: -1})
	l := mustCreate(t, s, "t")
	r := batchOf("t", "one")
	size := int64(len(r.data))
	for range 3 {
		mustAppend(t, l, r)
	}
	s.SetLimits(Limits{Own: only("t", Kept{PartitionSize: 1 << 20, SyncsFirst: true}, Kept{PartitionSize: 1 << 20})})
	a, err := l.Append(context.Background(), r.data, r.extents)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	disk.FailAt(1, vfstest.Fault{Err: broken, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSync }})
	if err := l.Commit(context.Background(), a); !errors.Is(err, topic.ErrReadOnly) || errors.Is(err, topic.ErrInDoubt) {
		t.Fatalf("commit: %v", err)
	}
	disk.ClearFaults()
	if got := l.Readable(); got != 3*size {
		t.Errorf("the readable end is %d, want %d", got, 3*size)
	}
	s.Close()
	s = openMem(t, disk, Options{PartitionSize: 1 << 20, FlushInterval: -1})
	defer s.Close()
	if l, err = s.Log([]byte("t")); err != nil {
		t.Fatal(err)
	}
	if got := l.Next(); got != 3*size {
		t.Errorf("after a restart the log ends at %d, want %d: what was acknowledged, and no more", got, 3*size)
	}
}

// TestOwnIsAskedOnce: an append costs no look-up of what counts for its topic.
func TestOwnIsAskedOnce(t *testing.T) {
	s := openMem(t, vfstest.New(), Options{PartitionSize: 1 << 20, FlushInterval: -1})
	defer s.Close()
	l := mustCreate(t, s, "t")
	var asked atomic.Int64
	s.SetLimits(Limits{Own: Own{Of: func(topic string) Kept {
		if topic == "t" {
			asked.Add(1)
		}
		return Kept{PartitionSize: 1 << 20}
	}}})
	for range 100 {
		mustAppend(t, l, batchOf("t", "one"))
	}
	if asked := asked.Load(); asked > 2 { // retention and the first append may ask at once
		t.Errorf("asked %d times", asked)
	}
}
