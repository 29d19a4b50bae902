package cluster

import (
	"fmt"
	"testing"
	"time"
)

// TestClockThatJumps sets the clock of a leader years ahead, and back, and ahead again.
// Batches get times that are at most maxAhead later than those of the others, from the
// first one after the jump on, and retention goes by no other time; no batch gets a time
// before that of the one before it.
func TestClockThatJumps(t *testing.T) {
	s := newSim(t, 1, 3)
	const name = "t0"
	number := GroupOf(name, simGroups)
	var lead *simMember
	s.calm("somebody leads who knows the topic", func() bool {
		lead = s.leads(number)
		return lead != nil && lead.node.names.get(name) != nil && s.converged() == ""
	})
	n := lead.node
	last := int64(0)
	batches := 0
	write := func(when string) {
		t.Helper()
		to, _ := n.core.groups[number].g.Topic(name)
		batches++
		c := &simClient{s: s, name: name, pid: fmt.Sprint("x", batches), node: n}
		c.send(&simBatch{seq: 1, body: fmt.Sprint("c9.0-", batches, " ")}, number, to)
		for range 100 { // no tick
			for _, a := range []Actor{Core, Disk, Round} {
				for n.Step(a) {
				}
			}
		}
		runs := n.core.groups[number].g.RunsAt(to.Number)
		if len(runs) == 0 {
			t.Fatalf("%s: nothing was written", when)
		}
		at := runs[len(runs)-1].Time
		if most := s.now().Add(maxAhead).UnixMilli(); at > most || n.now() > most {
			t.Errorf("%s: a batch gets a time that is %v ahead, and retention goes by one that is %v ahead",
				when, time.UnixMilli(at).Sub(s.now()), time.UnixMilli(n.now()).Sub(s.now()))
		}
		if at < last {
			t.Errorf("%s: a batch gets a time %d ms before that of the one before it", when, last-at)
		}
		last = at
	}
	write("before")
	for _, skew := range []time.Duration{200 * 365 * 24 * time.Hour, -time.Hour, time.Hour, 0} {
		lead.skew.Store(int64(skew))
		write(fmt.Sprintf("%v ahead, at once", skew))
		ticks := n.ticks.Load()
		s.calm("all have heard of it, and it leads", func() bool {
			return n.ticks.Load() > ticks+20 && s.leads(number) == lead // leads are transferred, too
		})
		write(fmt.Sprintf("%v ahead, after a while", skew))
	}
}
