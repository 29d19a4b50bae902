package server

import (
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// hooks answers HOOKS: a line for each partition that waits for its delete
// hook.
func (c *conn) hooks() {
	var b []byte
	for _, h := range c.srv.o.Hooks.Hooks() {
		line := protocol.PendingHook{
			Topic: h.Topic, Base: h.Base, End: h.End, State: h.State, Attempts: int64(h.Attempts), Next: h.Next,
		}
		if h.Err != nil {
			line.Error = h.Err.Error()
		}
		b = protocol.AppendHook(b, &line)
	}
	c.body(b)
}

// hook answers HOOK.
func (c *conn) hook(req *protocol.Request) error {
	act := c.srv.o.Hooks.RetryHook
	if req.Skip {
		act = c.srv.o.Hooks.SkipHook
	}
	if err := act(string(req.Topic), req.Offset); err != nil {
		return c.refuse(req.Command, err)
	}
	c.out.pending = protocol.AppendOK(c.out.pending)
	return nil
}

// delete answers DELETE.
func (c *conn) delete(req *protocol.Request) error {
	if err := c.srv.store.Delete(c.ctx, string(req.Topic), string(req.ID), req.Now); err != nil {
		return c.refuse(req.Command, err)
	}
	c.out.pending = protocol.AppendOK(c.out.pending)
	return nil
}

// trim answers TRIM.
func (c *conn) trim(req *protocol.Request) error {
	log, err := c.lookup(req.Topic, false)
	if err != nil {
		return c.refuse(req.Command, err)
	}
	oldest, err := log.Trim(c.ctx, req.Offset)
	if err != nil {
		return c.refuse(req.Command, err)
	}
	c.out.pending = protocol.AppendOffset(c.out.pending, oldest, 0)
	return nil
}

// retention answers RETENTION: a line for each partition.
func (c *conn) retention(req *protocol.Request) error {
	log, err := c.lookup(req.Topic, false)
	if err != nil {
		return c.refuse(req.Command, err)
	}
	var b []byte
	for _, p := range log.Plan(topic.Limits(req.Keep)) {
		line := protocol.PlannedPartition{
			Base: p.Base, End: p.End, Verdict: "keep", Messages: p.Messages, Newest: p.Newest,
			AfterPartitions: int64(p.NewPartitions), AfterBytes: p.NewBytes, At: p.At,
		}
		if p.Remove != topic.Keep {
			line.Verdict, line.Why = "remove", p.Remove.String()
		}
		if p.Held {
			line.Verdict = "held"
		}
		b = protocol.AppendPlanned(b, &line)
	}
	c.body(b)
	return nil
}

// noHooks are those of a store that has none.
type noHooks struct{}

func (noHooks) Hooks() []topic.Hook           { return nil }
func (noHooks) RetryHook(string, int64) error { return topic.ErrNotFound }
func (noHooks) SkipHook(string, int64) error  { return topic.ErrNotFound }
