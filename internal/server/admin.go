package server

import (
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// configBody returns the body of CONFIG.
func (s *Server) configBody() []byte {
	in := s.settings.Load()
	settings := in.Settings
	settings.TopicLimits = in.of != nil
	settings.Host = s.address()
	return protocol.AppendSettings(nil, &settings)
}

// hooks answers HOOKS: a line for each partition that waits for its delete
// hook, of the topics that are shown.
func hooks(from topic.Hooks, shown func(topic string) bool, to Responder) {
	var b []byte
	for _, h := range from.Hooks() {
		if !shown(h.Topic) {
			continue
		}
		line := protocol.PendingHook{
			Topic: h.Topic, Base: h.Base, End: h.End, State: h.State, Attempts: int64(h.Attempts), Next: h.Next,
		}
		if h.Err != nil {
			line.Error = h.Err.Error()
		}
		b = protocol.AppendHook(b, &line)
	}
	to.Body(b)
}

// hook answers HOOK.
func hook(of topic.Hooks, req *protocol.Request, to Responder) error {
	act := of.RetryHook
	if req.Skip {
		act = of.SkipHook
	}
	err := act(string(req.Topic), req.Offset)
	if err == nil {
		to.OK()
	}
	return err
}

// delete answers DELETE.
func (c *caller) delete(from topic.Catalog, req *protocol.Request, to Responder) error {
	if batch.Own(req.Topic) {
		return protocol.ErrInvalidRequest
	}
	err := from.Delete(c.ctx, string(req.Topic), string(req.ID), req.Now)
	if err == nil {
		to.OK()
	}
	return err
}

// trim answers TRIM.
func (c *caller) trim(log topic.Log, req *protocol.Request, to Responder) error {
	if batch.Own(req.Topic) {
		return protocol.ErrInvalidRequest
	}
	oldest, err := log.Trim(c.ctx, req.Offset)
	if err == nil {
		to.Offset(oldest, 0)
	}
	return err
}

// retention answers RETENTION: a line for each partition.
func retention(log topic.Log, req *protocol.Request, to Responder) {
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
	to.Body(b)
}

// noHooks are those of a store that has none.
type noHooks struct{}

func (noHooks) Hooks() []topic.Hook           { return nil }
func (noHooks) RetryHook(string, int64) error { return topic.ErrNotFound }
func (noHooks) SkipHook(string, int64) error  { return topic.ErrNotFound }
