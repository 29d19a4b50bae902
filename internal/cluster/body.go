package cluster

import (
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/topic"
)

// View is bytes of a topic: see topic.View.
type View = topic.View

// Bodies returns the bytes that the entries of a MsgApp name, for who sends it. ok is
// false if some are not there, or damaged: then it is not sent. The caller closes
// the views.
func (n *Node) Bodies(group int, m *pb.Message) (views []View, ok bool) {
	for _, p := range m.GetEntries() {
		if p.GetType() != pb.EntryNormal || len(p.GetData()) == 0 {
			continue
		}
		d, err := entry.Decode(p.GetData())
		if err != nil {
			return views, false
		}
		r, ok := d.(*entry.Round)
		if !ok {
			continue
		}
		for i := range r.Runs {
			run := &r.Runs[i]
			l := n.topics.Get(group, run.Topic)
			if l == nil {
				return views, false
			}
			v, err := l.Stored(run.Offset, run.End())
			if err != nil {
				return views, false
			}
			views = append(views, v)
		}
	}
	return views, true
}

// splitBodies gives each entry of a message the bytes of its runs, in order, and checks
// that they are what the runs say.
func splitBodies(m *pb.Message, bytes []byte) (bodies []group.Body, err error) {
	if m.GetType() != pb.MsgApp {
		return nil, nil
	}
	bodies = make([]group.Body, len(m.GetEntries()))
	for i, p := range m.GetEntries() {
		if p.GetType() != pb.EntryNormal || len(p.GetData()) == 0 {
			continue
		}
		d, err := entry.Decode(p.GetData())
		if err != nil {
			return nil, err
		}
		r, ok := d.(*entry.Round)
		if !ok {
			continue
		}
		body := make([]copies.Body, len(r.Runs))
		for k := range r.Runs {
			run := &r.Runs[k]
			if int64(len(bytes)) < int64(run.Bytes) {
				return nil, fmt.Errorf("%w: %d for %d", copies.ErrBytes, len(bytes), run.Bytes)
			}
			data := bytes[:run.Bytes:run.Bytes]
			bytes = bytes[run.Bytes:]
			if copies.Checksum(data) != run.CRC {
				return nil, fmt.Errorf("%w: checksum", copies.ErrBytes)
			}
			if body[k], err = copies.Parse(data); err != nil {
				return nil, err
			}
		}
		bodies[i] = body
	}
	if len(bytes) > 0 {
		return nil, fmt.Errorf("%w: %d more", copies.ErrBytes, len(bytes))
	}
	return bodies, nil
}
