package cluster

import (
	"errors"
	"fmt"
	"time"
)

// leaderless is for how long a group may be without a leader until the member says that
// it is not ready.
const leaderless = 5 * time.Second

// Ready returns why this member is not ready for all requests, or nil. A follower is
// ready.
func (n *Node) Ready() error {
	if err := n.Err(); err != nil {
		return err
	}
	if why := n.unready.Load(); why != nil {
		return *why
	}
	return nil
}

// lookWhetherReady notes why this member is not ready.
func (c *core) lookWhetherReady() {
	err := c.whyUnready()
	if err == nil {
		c.n.unready.Store(nil)
		return
	}
	c.n.unready.Store(&err)
}

func (c *core) whyUnready() error {
	if m, ok := c.n.Said().member(c.n.member.ID); ok && !active(&m) && c.idle() {
		return errors.New("this member was removed from the cluster")
	}
	if c.n.disk.noRoom.Load() {
		return errors.New("the disk is full: nothing is acknowledged until there is room")
	}
	if len(c.troubled) > 0 {
		l := c.troubled[0].Log
		if err := l.Failed(); err != nil {
			return fmt.Errorf("topic %s is read only: %w", l.Name(), err)
		}
		return fmt.Errorf("topic %s is damaged: what is missing is fetched from other members", l.Name())
	}
	for i, cg := range c.groups {
		switch leader, _ := cg.g.Leader(); {
		case cg.g.Failed():
			return fmt.Errorf("group %d has failed: a write or sync went wrong, and a restart may mend it", i)
		case cg.g.Blank():
			return errors.New("joining: the other members have not said yet what there is")
		case leader != 0:
			cg.leaderAt = c.ticks
		case time.Duration(c.ticks-cg.leaderAt)*c.n.o.Tick > leaderless:
			return fmt.Errorf("group %d has no leader", i)
		}
		if term, _ := cg.g.TakingOver(); term != 0 {
			return errors.New("catching up with the other members")
		}
	}
	return nil
}

// Stats is what is counted of a member.
type Stats struct {
	Groups []GroupStats
	Peers  []PeerStats

	Elections     int64 // in which this member has stood
	LeaderChanges int64
	Uncommitted   int64 // bytes
	Refilled      int64 // bytes that were damaged, and fetched from others
	Fetched       int64 // bytes that were fetched to catch up
	InDoubt       int64 // entries of which nobody here knows what became of them
	Dropped       int64 // requests of which nothing was proposed
}

// GroupStats is what is counted of a group.
type GroupStats struct {
	Leads                 bool
	Term, Commit, Applied uint64
	LogBytes              int64
}

// PeerStats is what is known of another member.
type PeerStats struct {
	ID       uint64
	Name     string
	Up       bool
	LagBytes int64
	Lag      time.Duration
}

// Stats returns what is counted.
func (n *Node) Stats() (s Stats) {
	n.ask(func(c *core) {
		for _, cg := range c.groups {
			st := cg.g.Status()
			leads, _ := cg.g.Leads()
			s.Groups = append(s.Groups, GroupStats{leads, st.Term, st.Commit, st.Applied, cg.logBytes})
		}
		for _, m := range n.Said().Members {
			if m.ID == n.member.ID || !active(&m) {
				continue
			}
			v := c.see(&m)
			s.Peers = append(s.Peers, PeerStats{m.ID, v.Name, v.State == "up", v.LagBytes, time.Duration(v.LagMS) * time.Millisecond})
		}
		s.Uncommitted = c.onWay()
	})
	k := &n.counts
	s.LeaderChanges, s.Refilled, s.Fetched = k.leaderChanges.Load(), n.fetcher.Refilled(), n.fetcher.Fetched()
	s.InDoubt, s.Dropped, s.Elections = k.inDoubt.Load(), k.dropped.Load(), k.elections.Load()
	return s
}
