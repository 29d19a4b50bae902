package cluster

import (
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/peer"
)

// TestGoneIsNotGivenTheLead: a member that was there a moment ago, with everything, and
// whose process is gone, is down at once. Who is elected in its place gave it the lead
// back, which it prefers, and was busy for an election timeout.
func TestGoneIsNotGivenTheLead(t *testing.T) {
	n := &Node{o: Options{Tick: 100 * time.Millisecond}}
	n.core = core{actor: newActor(), n: n, peers: make(map[uint64]*peerState), ticks: 1000}
	c := &n.core
	p := c.peer(2)
	p.heard, p.steadySince = c.ticks-1, 1
	c.peer(3).heard = c.ticks - 1
	if !c.up(2) || !c.steady(2) {
		t.Fatal("a member that was just heard is not up")
	}
	n.PeerGone(2)
	for c.step() {
	}
	if c.up(2) {
		t.Error("a member whose process is gone is up")
	}
	if !c.up(3) {
		t.Error("another member is down, too")
	}
	p.start++ // its next process connects
	p.heard, p.flags = c.ticks, peer.Flags(0)
	if !c.up(2) {
		t.Error("a member that is heard again is down")
	}
}
