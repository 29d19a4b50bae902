package cluster

import (
	"context"
	"encoding/hex"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/topic"
)

// Topics is the topics of the cluster, as this member knows them: a topic.Store.
type Topics struct{ n *Node }

var _ topic.Store = Topics{}

// Topics returns the topics.
func (n *Node) Topics() Topics { return Topics{n} }

// Log returns the log of a topic. Of one that is not known here only the leader says
// that there is none.
func (t Topics) Log(name []byte) (topic.Log, error) {
	l, err := t.log(string(name))
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (t Topics) log(name string) (*Log, error) {
	if l := t.n.names.get(name); l != nil {
		return l, nil
	}
	number := GroupOf(name, t.n.member.Groups)
	if _, ready := t.n.Leader(number); ready {
		return nil, topic.ErrNotFound
	}
	return nil, t.n.notLeader(number)
}

// making is the topics that are being made, so that who wants one that another is
// making waits for it.
type making struct {
	mu sync.Mutex
	of map[string]*creation
}

type creation struct {
	done chan struct{}
	l    *Log
	err  error
}

// Create returns the log of a topic, which is made if need be: on all members. It
// returns when that is committed.
func (t Topics) Create(ctx context.Context, name []byte) (topic.Log, error) {
	l, err := t.log(string(name))
	_, elsewhere := errors.AsType[*topic.NotLeaderError](err)
	if elsewhere || errors.Is(err, topic.ErrNotFound) {
		l, err = t.create(ctx, string(name))
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (t Topics) create(ctx context.Context, name string) (*Log, error) {
	m := &t.n.making
	m.mu.Lock()
	c := m.of[name]
	if c == nil {
		c = &creation{done: make(chan struct{})}
		if m.of == nil {
			m.of = make(map[string]*creation)
		}
		m.of[name] = c
		go func() {
			// It goes on if who has asked waits no more: others may.
			ctx, cancel := context.WithTimeout(context.Background(), t.n.o.Timeout)
			defer cancel()
			c.l, c.err = t.make(ctx, name)
			m.mu.Lock()
			delete(m.of, name)
			m.mu.Unlock()
			close(c.done)
		}()
	}
	m.mu.Unlock()
	select {
	case <-c.done:
		return c.l, c.err
	case <-ctx.Done():
		return nil, topic.ErrBusy
	}
}

// make has a topic made on all members.
func (t Topics) make(ctx context.Context, name string) (*Log, error) {
	number := GroupOf(name, t.n.member.Groups)
	id := t.n.o.NewID()
	var proposed *verdict
	var found *Log
	err := t.n.await(ctx, func(c *core) (bool, error) {
		g := c.groups[number].g
		if proposed != nil {
			select {
			case <-proposed.done:
				found = t.n.names.get(name)
				err := proposed.err(t.n.notLeader(number))
				if err == nil && found == nil {
					err = topic.ErrBusy // it was deleted since
				}
				return true, err
			default:
				return false, nil
			}
		}
		switch leads, ready := g.Leads(); {
		case !leads:
			return false, t.n.notLeader(number)
		case !ready:
			return false, nil // it will be, or lead no more
		}
		if found = t.n.names.get(name); found != nil {
			return true, nil
		}
		if !batch.ValidTopic(name) {
			return false, topic.ErrName
		}
		if t.n.o.MayCreate != nil {
			topics := t.n.names.count()
			for _, cg := range c.groups {
				topics += cg.g.Creating()
			}
			if err := t.n.o.MayCreate(name, topics); err != nil {
				t.n.counts.disallowed.Add(1)
				return false, err
			}
		}
		v, err := c.proposeTo(number, entry.Create{Topic: g.NextTopic(), ID: id, Name: name, Time: t.n.now()})
		proposed = v
		if errors.Is(err, group.ErrBusy) {
			err = nil // another time
		}
		return false, err
	})
	if errors.Is(err, topic.ErrInDoubt) {
		err = topic.ErrBusy // no batch is stored
	}
	return found, err
}

// Topics returns the names of all topics, sorted.
func (t Topics) Topics() []string { return t.n.names.all() }

// BrokenInfo knows none: a member with a topic that can't be opened does not start.
func (t Topics) BrokenInfo(string) (topic.Info, bool) { return topic.Info{}, false }

// Counts returns what is counted over all topics.
func (t Topics) Counts() topic.Counts {
	n := t.n.o.Store.Counts()
	return topic.Counts{Topics: int64(t.n.names.count()), Disallowed: t.n.counts.disallowed.Load(), Misses: n.Misses, Duplicates: n.Duplicates}
}

// counts are kept for STATS and metrics.
type counts struct {
	disallowed, leaderChanges, elections, inDoubt, dropped atomic.Int64
}

func parseID(s string) (id entry.ID, ok bool) {
	b, err := hex.DecodeString(s)
	return id, err == nil && copy(id[:], b) == len(id) && len(b) == len(id)
}
