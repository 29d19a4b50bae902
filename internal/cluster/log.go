package cluster

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/topic"
)

// Log is a topic of the cluster, as this member has it: a topic.Log.
type Log struct {
	n      *Node
	group  int
	number uint32
	gone   atomic.Bool // it is deleted, or another topic has its name
	*storage.Log
}

// Deleted reports whether the topic was deleted.
func (l *Log) Deleted() bool { return l.gone.Load() || l.Log.Deleted() }

var _ topic.Gatherer = (*Log)(nil)

// notLeader is the answer to what only the leader of a group can do.
func (n *Node) notLeader(number int) *topic.NotLeaderError {
	e := &topic.NotLeaderError{}
	if id, _ := n.Leader(number); id != n.member.ID {
		e.Addr = n.Said().addr(id)
	}
	return e
}

// leader is who leads a group, as others than the core are told.
type leader struct {
	id, term uint64
	ready    bool // it is this member, and takes requests
	learner  bool // this member has no vote
}

// Append appends batches if this member leads the topic's group: see topic.Appender.
// On return they are in the leader's file, and proposed to the others.
func (l *Log) Append(ctx context.Context, data []byte, extents []batch.Extent) (topic.Appended, error) {
	for i := range extents {
		if extents[i].Numbered {
			if err := l.Log.ReadyNumbers(ctx); err != nil {
				return topic.Appended{}, err
			}
			break
		}
	}
	return l.append(split(data, extents, l.n.maxRound()))
}

// AppendAt is that of topic.Appender.
func (l *Log) AppendAt(ctx context.Context, offset int64, data []byte, extents []batch.Extent) (topic.Appended, error) {
	requests := split(data, extents, l.n.maxRound())
	for _, r := range requests {
		r.part.Bound, r.part.At = true, offset
		offset += int64(len(r.part.Data))
	}
	a, err := l.append(requests)
	for _, o := range a.Outcomes {
		if o.Err != nil && err == nil {
			return topic.Appended{}, o.Err // and those behind it, too
		}
	}
	return a, err
}

// Gathers is that of topic.Gatherer. Rounds are on their way side by side: who gathers
// would wait for one before the next begins.
func (l *Log) Gathers() bool { return false }

// AppendAll is that of topic.Gatherer.
func (l *Log) AppendAll(ctx context.Context, parts []topic.Part) {
	for i := range parts {
		p := &parts[i]
		p.Appended, p.Err = l.Append(ctx, p.Data, p.Extents)
	}
}

// SyncTo is that of topic.Appender: what is committed is on stable storage.
func (l *Log) SyncTo(context.Context, int64) error { return nil }

func (l *Log) append(requests []*request) (topic.Appended, error) {
	l.n.core.post(func() {
		for _, r := range requests {
			l.n.core.submit(l.group, l.number, r)
		}
	})
	// What was handed over is answered, come what may: data is the caller's only then.
	for _, r := range requests {
		select {
		case <-r.done:
		case <-l.n.closed:
			select {
			case <-r.done:
			default:
				r.err = topic.ErrClosed // it was not proposed
			}
		}
	}
	return l.join(requests)
}

// maxRound returns how many bytes a round may have that has more than one batch: what
// fits into a partition.
func (n *Node) maxRound() int64 {
	if n.o.PartitionSize == nil {
		return entry.MaxRoundBytes
	}
	size := n.o.PartitionSize
	if n.o.LeastPartition != nil {
		size = n.o.LeastPartition
	}
	return min(size(), entry.MaxRoundBytes)
}

// split cuts a run into parts of which each fits into a round.
func split(data []byte, extents []batch.Extent, most int64) (requests []*request) {
	for len(extents) > 0 {
		n, bytes := 0, int64(0)
		for n < len(extents) && (n == 0 || bytes+extents[n].Len <= most) {
			bytes += extents[n].Len
			n++
		}
		requests = append(requests, &request{part: storage.Part{Data: data[:bytes], Extents: extents[:n]}, done: make(chan struct{})})
		data, extents = data[bytes:], extents[n:]
	}
	return requests
}

// join adds up the answers to the parts of an append, up to the first that was
// refused.
func (l *Log) join(requests []*request) (a topic.Appended, err error) {
	if len(requests) == 1 && requests[0].err == nil {
		return requests[0].result, nil
	}
	for i, r := range requests {
		if r.err != nil {
			if i > 0 {
				a.Batches = len(a.Outcomes)
			}
			return a, l.refusal(r.err)
		}
		if i == 0 {
			a.Offset = r.result.Offset
		}
		offset := r.result.Offset
		for k, x := range r.part.Extents {
			o := topic.Outcome{Offset: offset, End: offset + x.Len, Ticket: r.result.Ticket}
			if r.result.Outcomes != nil {
				o = r.result.Outcomes[k]
			} else {
				offset = o.End
			}
			a.Outcomes = append(a.Outcomes, o)
		}
		a.End, a.Ticket = r.result.End, r.result.Ticket
	}
	a.Batches = len(a.Outcomes)
	return a, nil
}

// refusal is what a client is told of an error of the group's.
func (l *Log) refusal(err error) error {
	switch {
	case errors.Is(err, group.ErrNotLeader):
		return l.n.notLeader(l.group)
	case errors.Is(err, group.ErrBusy):
		return topic.ErrBusy
	case errors.Is(err, group.ErrUnknown):
		return topic.ErrDeleted
	}
	return err
}

// Commit waits until the batches are on stable storage on a majority. Where that can't be
// told it is topic.ErrInDoubt; where they are not stored, and never will be, a
// NotLeaderError.
func (l *Log) Commit(ctx context.Context, a topic.Appended) error {
	v, _ := a.Ticket.(*verdict)
	if v == nil {
		return nil
	}
	select {
	case <-v.done:
		return v.err(l.n.notLeader(l.group)) // the end of the node gives all verdicts
	case <-ctx.Done():
		return errors.Join(topic.ErrInDoubt, ctx.Err())
	}
}

// Read is that of topic.Reader. What this member can't know of is no topic.ErrNotFound
// but a NotLeaderError.
func (l *Log) Read(offset, messages, maxBytes int64) (topic.View, error) {
	if l.Deleted() {
		return nil, topic.ErrDeleted
	}
	v, err := l.Log.Read(offset, messages, maxBytes)
	return v, l.unknown(offset, err)
}

// Verify is Read of batches that are checked first.
func (l *Log) Verify(offset, messages, maxBytes int64) (topic.View, error) {
	if l.Deleted() {
		return nil, topic.ErrDeleted
	}
	v, err := l.Log.Verify(offset, messages, maxBytes)
	return v, l.unknown(offset, err)
}

// unknown turns the absence of what may well be stored into an error that says so.
func (l *Log) unknown(offset int64, err error) error {
	if !errors.Is(err, topic.ErrNotFound) {
		return err
	}
	damaged := false
	for _, r := range *l.Log.Damaged() {
		damaged = damaged || r.From <= offset && offset < r.To
	}
	lead := l.n.core.groups[l.group].seenLeader.Load()
	leads := lead != nil && lead.ready
	switch {
	case damaged && leads:
		return topic.ErrBusy // it is being fetched from others
	case damaged:
		return l.n.notLeader(l.group)
	case offset > l.Readable():
		e := l.n.notLeader(l.group)
		e.Beyond, e.Leads = true, leads
		return e
	}
	return err
}

// Watch is that of topic.Reader.
func (l *Log) Watch(offset int64, w topic.Waker) bool {
	if !l.Log.Watch(offset, w) {
		return false
	}
	if l.Deleted() { // since
		l.Unwatch(w)
		return false
	}
	return true
}

// Info describes the topic as it is here: see topic.Admin.
func (l *Log) Info(ctx context.Context) (topic.Info, error) {
	if l.Deleted() {
		return topic.Info{}, topic.ErrDeleted
	}
	in, err := l.Log.Info(ctx)
	if err != nil {
		return in, err
	}
	in.Role, in.Group = topic.Follower, int64(l.group)
	if lead := l.n.core.groups[l.group].seenLeader.Load(); lead != nil {
		in.Leader, in.Term = l.n.Said().addr(lead.id), int64(lead.term)
		switch {
		case lead.id == l.n.member.ID:
			in.Role = topic.Leader
		case lead.learner:
			in.Role = topic.Learner
		}
	}
	return in, nil
}

// freshGroup returns when this member knows all of a group that was answered by any
// member before the call.
func (n *Node) freshGroup(ctx context.Context, number int) error {
	done := make(chan error, 1)
	n.core.post(func() {
		cg := n.core.groups[number]
		cg.nextFresh++
		cg.fresh[cg.nextFresh] = func(err error) { done <- err }
		cg.g.Fresh(cg.nextFresh)
		n.core.take(number)
	})
	select {
	case err := <-done:
		if err != nil {
			return n.notLeader(number)
		}
		return nil
	case <-ctx.Done():
		return n.notLeader(number)
	case <-n.closed:
		return topic.ErrClosed
	}
}
