package server

import (
	"fmt"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// hooks answers HOOKS: a line for each partition that waits for its delete
// hook.
func (c *conn) hooks() {
	var b []byte
	for _, h := range c.srv.store.Hooks() {
		b = fmt.Appendf(b, "topic=%s base=%d end=%d state=%s attempts=%d", h.Topic, h.Base, h.End, h.State, h.Attempts)
		b = appendTime(b, "next", h.Next)
		if h.Err != nil {
			b = append(b, " error="...)
			b = append(b, oneLine(h.Err.Error())...)
		}
		b = append(b, '\r', '\n')
	}
	c.body(b)
}

// oneLine makes text fit in a line of a body.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// appendTime appends a word with a time, and nothing for none.
func appendTime(b []byte, key string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return fmt.Appendf(b, " %s=%s", key, formatTime(t))
}

// hook answers HOOK.
func (c *conn) hook(req *protocol.Request) error {
	act := c.srv.store.RetryHook
	if req.Skip {
		act = c.srv.store.SkipHook
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
	for _, p := range log.Plan(req.Keep) {
		b = fmt.Appendf(b, "base=%d end=%d verdict=%s", p.Base, p.End, p.Verdict)
		if p.Why != "" {
			b = fmt.Appendf(b, " why=%s", p.Why)
		}
		if p.Messages >= 0 {
			b = fmt.Appendf(b, " messages=%d", p.Messages)
		}
		b = appendTime(b, "newest", p.Newest)
		if p.NewPartitions > 0 {
			b = fmt.Appendf(b, " after-partitions=%d", p.NewPartitions)
		}
		if p.NewBytes > 0 {
			b = fmt.Appendf(b, " after-bytes=%d", p.NewBytes)
		}
		b = appendTime(b, "at", p.At)
		b = append(b, '\r', '\n')
	}
	c.body(b)
	return nil
}
