package cluster

import (
	"testing"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/peer"
)

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
	// Nobody has the bytes of this table: they are asked for again at each tick.
	n.fetcher.TakeOver(0, &entry.Table{Topics: []entry.Topic{{Number: 1, ID: entry.ID{1}, Name: "t", End: 9}}}, nil)
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
