package cluster

import (
	"errors"
	"testing"

	"github.com/logd-dev/logd/internal/peer"
)

// TestServe: what is missing here is not said to be trimmed, and what is trimmed is.
func TestServe(t *testing.T) {
	s := newSim(t, 1, 1)
	m := s.members[0]
	var topics []topicFile
	for len(topics) == 0 || topics[0].log.Readable() == 0 {
		m.work(Actor(s.r.IntN(int(Actors))))
		s.clients[s.r.IntN(len(s.clients))].step()
		if s.r.IntN(20) == 0 {
			m.node.Tick()
		}
		topics = m.node.topics.all()
	}
	l := topics[0].log
	v, _, err := m.node.Serve(l.ID(), 0, l.Readable())
	if err != nil || v.Len() != l.Readable() {
		t.Fatalf("%v, %v", v, err)
	}
	v.Close()
	end := l.Readable()
	if err := l.Reset(t.Context(), end); err != nil { // as if the files were lost
		t.Fatal(err)
	}
	if _, _, err := m.node.Serve(l.ID(), 0, end); !errors.Is(err, ErrNotHere) {
		t.Errorf("what is missing: %v", err)
	}
	m.node.topics.trimmed(l.ID(), end)
	var gone *peer.GoneError
	if _, _, err := m.node.Serve(l.ID(), 0, end); !errors.As(err, &gone) || gone.Oldest != end {
		t.Errorf("what is trimmed: %v", err)
	}
}

// TestIdle: a tick wakes neither the fetcher nor the keeper as long as they have nothing
// to do, and the fetcher again when it has.
func TestIdle(t *testing.T) {
	s := newSim(t, 1, 1)
	n := s.members[0].node
	settle := func() {
		for a := Core; a < Actors; {
			if n.Step(a) {
				a = Core
			} else {
				a++
			}
		}
	}
	tick := func() (fetcher, keeper bool) {
		settle()
		n.Tick()
		for n.Step(Core) {
		}
		return len(n.fetcher.queue) > 0, len(n.keeper.queue) > 0
	}
	n.keeper.next.Store(1 << 40)
	if fetcher, keeper := tick(); fetcher || keeper {
		t.Errorf("an idle tick wakes the fetcher %v, the keeper %v", fetcher, keeper)
	}
	n.keeper.soon()
	n.fetcher.set(0, &takeJob{waits: true})
	if fetcher, keeper := tick(); !fetcher || !keeper {
		t.Errorf("a tick wakes the fetcher %v, the keeper %v", fetcher, keeper)
	}
}

// TestBeats: as long as nothing changes every second tick has a beat.
func TestBeats(t *testing.T) {
	var told []peer.Beat
	n := newSim(t, 1, 3).members[0].node
	n.o.Transport = beats{n.o.Transport, &told}
	beatsOf := func(ticks int) int {
		told = nil
		for range ticks {
			n.core.beat()
		}
		return len(told) / 2 // to two members
	}
	n.core.beat()
	if got := beatsOf(10); got != 5 {
		t.Errorf("%d beats in 10 ticks of an idle member", got)
	}
	for range 3 {
		n.disk.position.Add(1)
		if beatsOf(1) != 1 {
			t.Error("news waits for the next tick")
		}
	}
}

type beats struct {
	Transport
	told *[]peer.Beat
}

func (b beats) Beat(_ uint64, beat *peer.Beat) { *b.told = append(*b.told, *beat) }
