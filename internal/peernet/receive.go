package peernet

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/peer"
)

// control receives on a control connection, after the first frame.
func (c *inbound) control(from uint64, m *member) error {
	t := c.t
	if r := t.remote(from); r != nil {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	c.nc.SetDeadline(time.Time{})
	c.in.timeout = t.silence
	var beat peer.Beat
	for {
		f, err := c.reader.Next(peer.Control, 0)
		if err != nil {
			return err
		}
		c.frames.Add(1)
		done, err := c.hold(m.control, len(f.Message), controlBytes)
		if err != nil {
			return err
		}
		switch f.Kind {
		case peer.KindBeat:
			if err = beat.Parse(f.Message); err == nil {
				t.heard(m, beat.Position)
				err = t.receiveBeat(from, &beat, done)
			}
		case peer.KindMessage:
			var p *pb.Message
			if p, err = parse(f.Message, f.Kind); err == nil {
				t.node.Receive(from, int(f.Group), p, nil, done)
			}
		case peer.KindSuggest:
			t.node.Suggested(from, bytes.Clone(f.Message))
			done()
		default:
			err = peer.ErrInvalid
		}
		if err != nil {
			done()
			return err
		}
	}
}

// receiveBeat hands over a beat, and the messages in it. done is called when all of it
// is handled, unless there is an error.
func (t *Transport) receiveBeat(from uint64, b *peer.Beat, done func()) error {
	type part struct {
		group int
		m     *pb.Message
	}
	var parts []part
	for i := range b.Groups {
		g := &b.Groups[i]
		if len(g.Message) == 0 {
			continue
		}
		m, err := parse(g.Message, peer.KindBeat)
		if err != nil {
			return err
		}
		parts = append(parts, part{int(g.Group), m})
		g.Message = nil // memory of the reader's
	}
	var left atomic.Int32
	left.Store(int32(1 + len(parts)))
	one := func() {
		if left.Add(-1) == 0 {
			done()
		}
	}
	t.node.ReceiveBeat(from, b, one)
	for _, p := range parts {
		t.node.Receive(from, p.group, p.m, nil, one)
	}
	return nil
}

// parse parses raft's message, which has to be one that frames of the kind have.
func parse(b []byte, kind peer.Kind) (*pb.Message, error) {
	m := new(pb.Message)
	if err := proto.Unmarshal(b, m); err != nil || kindOf(m) != kind {
		return nil, peer.ErrInvalid
	}
	return m, nil
}

// hold waits until the node is done with enough of what has come from the member, and
// returns what is to be called when it is done with so many bytes more. More than the
// limit are as many as that.
func (c *inbound) hold(s *semaphore.Weighted, bytes, limit int) (done func(), err error) {
	n := int64(min(bytes, limit))
	if err := s.Acquire(c.ctx, n); err != nil {
		return nil, context.Cause(c.ctx)
	}
	return func() { s.Release(n) }, nil
}

// firstBytes is how much memory a body is given before it has arrived: all that but
// the round of one large batch has.
const firstBytes = 1 << 20

// data receives on a data connection.
func (c *inbound) data(from uint64, m *member) error {
	c.nc.SetDeadline(time.Time{})
	for {
		c.in.forEver()
		if err := c.reader.Wait(); err != nil {
			return err
		}
		c.in.timeout = progress
		f, err := c.reader.Next(peer.Data, maxBody)
		if err != nil {
			return err
		}
		p, err := parse(f.Message, f.Kind)
		if err != nil {
			return err
		}
		// Memory for bytes is taken when there is room for them.
		done, err := c.hold(m.data, len(f.Message)+int(f.Body), dataBytes)
		if err != nil {
			return err
		}
		var body []byte
		if f.Body > 0 {
			if body, err = c.reader.Body(make([]byte, 0, min(f.Body, firstBytes))); err != nil {
				done()
				return err
			}
		}
		c.t.node.Receive(from, int(f.Group), p, body, done)
	}
}
