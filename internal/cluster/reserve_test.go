package cluster

import (
	"fmt"
	"testing"

	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestReserve: on a full disk a member refuses what clients write, and says so, but notes
// what is said of members and settings and carries out a TRIM, which makes room: then it
// takes batches again. Without a reserve it does nothing.
func TestReserve(t *testing.T) {
	for name, reserve := range map[string]bool{"with a reserve": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			s := newSim(t, 1, 1)
			m := s.members[0]
			n := m.node
			do := func(done func() bool) bool {
				for i := range 20_000 {
					if done() {
						return true
					}
					if a := Actor(i % int(Actors)); !n.Step(a) && i%100 == 0 {
						n.Tick()
					}
				}
				return false
			}
			var l *storage.Log
			write := func() error {
				raw := testkit.Batch(l.Name(), "more")
				body, err := copies.Parse([]byte(raw))
				if err != nil {
					t.Fatal(err)
				}
				r := &request{part: storage.Part{Data: []byte(raw), Extents: body.Extents}, done: make(chan struct{})}
				n.core.post(func() { n.core.submit(0, 1, r) })
				if !do(func() bool { return isClosed(r.done) }) {
					t.Fatal("a write is not answered")
				}
				return r.err
			}
			propose := func(number int, d entry.Data) bool {
				var v *verdict
				n.core.post(func() { v, _ = n.core.proposeTo(number, d) })
				return do(func() bool { return v != nil && isClosed(v.done) && v.fate == group.Stored })
			}
			if !do(func() bool { _, ready := n.Leader(0); return ready }) ||
				!propose(0, entry.Create{Topic: 1, ID: s.newID(), Name: nameIn(0), Time: 1}) {
				t.Fatal("no topic is made")
			}
			l = n.topics.Get(0, 1)
			for l.Next() < 900 { // some partitions
				if err := write(); err != nil {
					t.Fatal(err)
				}
			}
			do(func() bool { return n.core.onWay() == 0 && len(n.disk.tasks) == 0 })
			if !reserve {
				n.disk.reserve.held = 0
			}
			m.disk.SetSpace(m.disk.Used() + 10)
			if err := write(); err == nil {
				t.Error("a batch is taken on a full disk")
			}
			if got := propose(0, entry.Setting{Key: "k", Value: string(make([]byte, 20))}); got != reserve {
				t.Errorf("a setting is noted: %v", got)
			}
			if !reserve {
				return
			}
			if err := write(); err != topic.ErrReadOnly && err != storage.ErrReadOnly {
				t.Errorf("a batch when the reserve is in use: %v", err)
			}
			if !n.disk.reserve.short.Load() {
				t.Error("the reserve is whole")
			}
			for range 3 {
				n.Tick()
				do(func() bool { return n.core.onWay() == 0 && len(n.disk.tasks) == 0 })
				if n.core.flags()&peer.Full == 0 || n.core.whyUnready() == nil {
					t.Error("the others are not told that the disk is full")
				}
			}
			end := l.Next()
			if !propose(0, entry.Roll{Topic: 1, Offset: end}) || !propose(0, entry.Trim{Topic: 1, Offset: end}) {
				t.Fatal("no TRIM on a full disk")
			}
			if !do(func() bool { return l.Begin() == end }) {
				t.Fatal("nothing is removed")
			}
			m.disk.SetSpace(m.disk.Used() + 100<<10) // as where partitions are large
			if !do(func() bool { return !n.disk.reserve.short.Load() }) {
				t.Error("the reserve is not filled again")
			}
			if err := write(); err != nil {
				t.Errorf("a batch when there is room again: %v", err)
			}
			if !do(func() bool { return n.core.flags()&peer.Full == 0 }) {
				t.Error("the others are not told that there is room again")
			}
		})
	}
}

// nameIn returns the name of a topic in a group.
func nameIn(number int) string {
	for i := 0; ; i++ {
		if name := fmt.Sprintf("t%d", i); GroupOf(name, simGroups) == number {
			return name
		}
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestReserveOfASmallDisk: it takes half of what is free, at most, and what it has at the
// next start, also of a disk that is full then.
func TestReserveOfASmallDisk(t *testing.T) {
	disk := vfstest.New()
	if err := disk.Mkdir(".cluster", 0o700); err != nil {
		t.Fatal(err)
	}
	disk.SetSpace(10 << 20)
	r, err := openReserve(disk, 32<<20)
	if err != nil || r.held != 5<<20 || disk.Used() != 5<<20 {
		t.Fatalf("holds %d, %v", r.held, err)
	}
	disk.SetSpace(5 << 20)
	for range 2 {
		if !r.give() {
			t.Error("nothing is given")
		}
	}
	if disk.Used() != 3<<20 || !r.short.Load() {
		t.Errorf("used %d after two pieces", disk.Used())
	}
	fill := func() {
		free, err := disk.Free()
		if err != nil {
			t.Fatal(err)
		}
		r.fill(free)
	}
	if fill(); !r.short.Load() {
		t.Error("filled without room")
	}
	disk.SetSpace(3 << 20)
	if r, err = openReserve(disk, 32<<20); err != nil || r.held != 3<<20 || r.short.Load() {
		t.Errorf("holds %d at the next start, %v", r.held, err)
	}
	for range 3 {
		if !r.give() {
			t.Error("nothing is given")
		}
	}
	if r.give() || disk.Used() != 0 {
		t.Errorf("more than all is given, used %d", disk.Used())
	}
	disk.SetSpace(10 << 20)
	if fill(); r.held != 3<<20 || r.short.Load() {
		t.Errorf("holds %d when there is room for what was held", r.held)
	}
	disk.SetSpace(-1)
	if fill(); r.held != 32<<20 || r.short.Load() {
		t.Errorf("holds %d when there is room for all", r.held)
	}
}
