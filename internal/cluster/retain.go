package cluster

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/topic"
)

// Limits are what is kept of topics: the settings of the cluster.
type Limits struct {
	topic.Limits
	KeepFree int64 // what is held for a hook goes if a majority has less room; 0: never
	// LeastAge is the least age by which a topic goes that has one of its own; 0: none has.
	LeastAge time.Duration
}

// limitsOf returns what is kept of a topic, of which all are what counts for most.
func (n *Node) limitsOf(name string, all *Limits) topic.Limits {
	if n.o.Own != nil {
		if k, ok := n.o.Own(name); ok {
			return k.Retention
		}
	}
	return all.Limits
}

// keeper decides what of the topics is to go that this member leads, and has it go on
// all. What is held for a hook waits for that.
type keeper struct {
	actor
	n    *Node
	next atomic.Int64            // tick at which to look again
	held map[*Log][]storage.Held // what the holder was told of, and is not gone
}

// keepTicks is how many ticks pass from one look to the next: a tenth of the age, but
// from one tick to ten seconds.
func (k *keeper) keepTicks(l *Limits) int64 {
	every := 10 * time.Second
	for _, age := range [...]time.Duration{l.Age, l.LeastAge} {
		if age > 0 {
			every = min(age/10, every)
		}
	}
	return max(int64(every/k.n.o.Tick), 1)
}

// tick looks at all topics, if it is time.
func (k *keeper) tick() {
	if k.n.o.Limits == nil || k.n.ticks.Load() < k.next.Load() || k.n.Err() != nil {
		return
	}
	limits := k.n.o.Limits()
	k.next.Store(k.n.ticks.Load() + k.keepTicks(&limits))
	k.look(&limits)
}

// soon has it look at the next tick.
func (k *keeper) soon() { k.next.Store(0) }

func (k *keeper) look(limits *Limits) {
	now := time.UnixMilli(k.n.now())
	for _, l := range k.n.names.logs() {
		if _, ready := k.n.Leader(l.group); !ready {
			k.drop(l)
			continue
		}
		if err := k.keep(l, limits, now); err != nil && !l.Deleted() {
			k.n.log.Error("retention failed; it is tried again", "topic", l.Name(), "err", err)
		}
	}
	for l := range k.held {
		if l.Deleted() {
			delete(k.held, l)
		}
	}
}

// drop forgets what is held of a topic that another member leads now: hooks are run
// there.
func (k *keeper) drop(l *Log) {
	for _, h := range k.held[l] {
		k.n.o.Holder.Gone(h)
	}
	delete(k.held, l)
}

// keep decides about a topic.
func (k *keeper) keep(l *Log, limits *Limits, now time.Time) error {
	if batch.Own(l.Name()) {
		return nil // who keeps it decides what goes
	}
	oldest, all, err := l.Log.Decide(k.n.limitsOf(l.Name(), limits), now)
	if err != nil {
		return err
	}
	if all {
		// Its last partition can go when another was begun, which is seen the next time.
		k.n.core.post(func() {
			g := k.n.core.groups[l.group].g
			if end := g.End(l.number); end == l.Next() {
				if _, _, err := g.Propose(entry.Roll{Topic: l.number, Offset: end}); err == nil {
					k.n.core.take(l.group)
					k.soon()
				}
			}
		})
	}
	return k.goes(l, oldest, limits.KeepFree)
}

// goes has what is before an offset go, after its hooks.
func (k *keeper) goes(l *Log, oldest, keepFree int64) error {
	if k.n.o.Holder != nil {
		var err error
		var held []storage.Held
		if oldest, held, err = l.Log.Hold(oldest); err != nil {
			return err
		}
		if k.held == nil {
			k.held = make(map[*Log][]storage.Held)
		}
		if len(held) == 0 {
			delete(k.held, l)
		} else {
			k.held[l] = held
			if free := k.n.free.Load(); keepFree > 0 && free >= 0 && free < keepFree {
				to, _ := l.Log.TrimPoint(held[0].End)
				k.n.log.Error("a partition is removed although its delete hook has not succeeded: a majority of the members is short of space",
					"topic", l.Name(), "file", held[0].File, "free", free, "keep-free", keepFree)
				k.n.o.Holder.Gone(held[0])
				oldest = max(oldest, to)
			}
		}
	}
	if oldest > k.n.topics.Oldest(entry.ID(l.ID())) {
		k.n.core.post(func() {
			g := k.n.core.groups[l.group].g
			if _, _, err := g.Propose(entry.Trim{Topic: l.number, Offset: oldest}); err == nil {
				k.n.core.take(l.group)
			}
		})
	}
	return nil
}

// Release lets a partition go whose hook has succeeded. The error is topic.ErrNotFound
// if it waits for none here.
func (n *Node) Release(name string, base int64) error {
	l := n.names.get(name)
	if l == nil {
		return topic.ErrNotFound
	}
	oldest, err := l.Log.Released(base)
	if err != nil {
		return err
	}
	if _, ready := n.Leader(l.group); !ready {
		return topic.ErrNotFound // who leads now sees to it
	}
	ctx, cancel := context.WithTimeout(context.Background(), n.o.Timeout)
	defer cancel()
	return l.trim(ctx, oldest)
}

// Trim removes the partitions that end at or before offset on all members: see
// topic.Admin.
func (l *Log) Trim(ctx context.Context, offset int64) (oldest int64, err error) {
	if l.Deleted() {
		return 0, topic.ErrDeleted
	}
	if _, ready := l.n.Leader(l.group); !ready {
		return 0, l.n.notLeader(l.group)
	}
	to, all := l.Log.TrimPoint(offset)
	if all {
		end := l.Readable()
		if err := l.Roll(ctx, offset); err != nil && !errors.Is(err, topic.ErrOffset) {
			return 0, err
		}
		to, _ = l.Log.TrimPoint(max(offset, end))
	}
	if l.n.o.Holder != nil && !batch.Own(l.Name()) {
		// What waits for its hook goes when that has succeeded.
		if to, _, err = l.Log.Hold(to); err != nil {
			return 0, err
		}
		l.n.keeper.soon()
	}
	if err := l.trim(ctx, to); err != nil {
		return 0, err
	}
	return l.Oldest(), nil
}

// Roll is that of topic.Admin. An offset beyond the end stands for the end.
func (l *Log) Roll(ctx context.Context, offset int64) error {
	var proposed *verdict
	end := int64(-1)
	return l.n.await(ctx, func(c *core) (bool, error) {
		g := c.groups[l.group].g
		if proposed != nil {
			select {
			case <-proposed.done:
				return true, proposed.err(l.n.notLeader(l.group))
			default:
				return false, nil
			}
		}
		if end = g.End(l.number); end > offset {
			return false, topic.ErrOffset
		}
		v, err := c.proposeTo(l.group, entry.Roll{Topic: l.number, Offset: end})
		proposed = v
		return false, l.later(err)
	})
}

// trim has what is before an offset go on all members, and returns when it is gone here.
func (l *Log) trim(ctx context.Context, offset int64) error {
	var proposed *verdict
	return l.n.await(ctx, func(c *core) (bool, error) {
		if l.Deleted() {
			return false, topic.ErrDeleted
		}
		if l.Begin() >= offset {
			return true, nil
		}
		if proposed != nil {
			select {
			case <-proposed.done:
				// It is certain; the files go when that is known for good.
				return false, proposed.err(l.n.notLeader(l.group))
			default:
				return false, nil
			}
		}
		v, err := c.proposeTo(l.group, entry.Trim{Topic: l.number, Offset: offset})
		proposed = v
		return false, l.later(err)
	})
}

// later makes of an error of the group's nil, if it may work at another moment.
func (l *Log) later(err error) error {
	if errors.Is(err, group.ErrBusy) {
		return nil
	}
	return l.refusal(err)
}

// Delete deletes a topic on all members: see topic.Catalog.
func (t Topics) Delete(ctx context.Context, name, id string, now bool) error {
	number := GroupOf(name, t.n.member.Groups)
	if _, ready := t.n.Leader(number); !ready {
		return t.n.notLeader(number)
	}
	want, ok := parseID(id)
	if !ok {
		return topic.ErrNotFound
	}
	l := t.n.names.get(name)
	if l == nil || entry.ID(l.ID()) != want {
		if l == nil && t.n.names.wasRemoved(name, want) {
			return nil
		}
		return topic.ErrNotFound
	}
	var proposed *verdict
	return t.n.await(ctx, func(c *core) (bool, error) {
		if proposed != nil {
			select {
			case <-proposed.done:
				return true, proposed.err(t.n.notLeader(number))
			default:
				return false, nil
			}
		}
		if l.Deleted() {
			return true, nil
		}
		v, err := c.proposeTo(number, entry.Delete{Topic: l.number, Now: now})
		proposed = v
		return false, l.later(err)
	})
}

// Plan returns what retention would do: see topic.Admin.
func (l *Log) Plan(k topic.Limits) []topic.Planned {
	if l.n.o.Limits != nil {
		all := l.n.o.Limits()
		own := l.n.limitsOf(l.Name(), &all)
		if k.Partitions < 0 {
			k.Partitions = own.Partitions
		}
		if k.Bytes < 0 {
			k.Bytes = own.Bytes
		}
		if k.Age < 0 {
			k.Age = own.Age
		}
	}
	return l.Log.Plan(k)
}
