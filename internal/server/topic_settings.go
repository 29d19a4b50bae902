package server

import (
	"bytes"
	"context"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// TopicSettings are the settings of single topics. Package node has the one there is.
type TopicSettings interface {
	// Change gives a setting a value for the topics of a pattern, or takes away, with -,
	// what was set by it. By whom is a name, or nothing. It returns nil when that is in
	// force, for good. The errors are those of topic.Cluster.
	Change(ctx context.Context, key, value, pattern, by string) error
	// Try returns which of the topics would go by another value after such a Change.
	Try(key, value, pattern string, topics []string) ([]protocol.TriedSetting, error)
	// Of returns the settings of a topic: those that are its own, or all that count for it.
	Of(topic []byte, all bool) []protocol.TopicSetting
}

// TopicLimits are what of the server's limits counts for a topic.
type TopicLimits struct {
	MaxBatchSize int64 // at most the server's
	WriteRate    int64 // as Limits.TopicWriteRate
	// SyncsFirst tells that a batch is on stable storage when it is acknowledged, also if
	// the Settings do not say so.
	SyncsFirst bool
}

// Settings returns what CONFIG tells, but for the address. It is not to be changed.
func (s *Server) Settings() *protocol.Settings { return &s.settings.Load().Settings }

// TopicLimits returns what counts for a topic now.
func (s *Server) TopicLimits(topic []byte) TopicLimits {
	p := s.settings.Load()
	l := p.limitsOf(topic)
	l.SyncsFirst = l.SyncsFirst || p.SyncsFirst()
	return l
}

// limitsOf returns what counts for a topic.
func (p *settings) limitsOf(topic []byte) TopicLimits {
	if p.of == nil || batch.Own(topic) {
		return TopicLimits{MaxBatchSize: p.MaxBatchSize, WriteRate: p.topicWriteRate}
	}
	l := p.of(topic)
	l.MaxBatchSize = min(l.MaxBatchSize, p.MaxBatchSize)
	return l
}

// lastLimits are those of the topic that a caller has written to last, since callers tend to
// keep to one.
type lastLimits struct {
	by     *settings // nil: none yet
	topic  []byte
	limits TopicLimits
}

// of is limitsOf.
func (l *lastLimits) of(p *settings, topic []byte) TopicLimits {
	if p.of == nil {
		return TopicLimits{MaxBatchSize: p.MaxBatchSize, WriteRate: p.topicWriteRate}
	}
	if l.by != p || !bytes.Equal(l.topic, topic) {
		l.by, l.topic, l.limits = p, append(l.topic[:0], topic...), p.limitsOf(topic)
	}
	return l.limits
}

// setTopics answers SETTING with topic=.
func (c *caller) setTopics(of TopicSettings, from topic.Catalog, req *protocol.Request, to Responder) error {
	if of == nil {
		return invalidError("this server has no settings of single topics")
	}
	key, value, pattern := string(req.Key), string(req.Value), string(req.Topic)
	if req.Try {
		list, err := of.Try(key, value, pattern, public(from.Topics()))
		if err != nil {
			return err
		}
		var b []byte
		for i := range list {
			b = protocol.AppendTried(b, &list[i])
		}
		to.Body(b)
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.limits.Load().Timeout)
	defer cancel()
	err := of.Change(ctx, key, value, pattern, c.name())
	if err == nil {
		to.OK()
	}
	return err
}

// maySet reports whether the caller may change settings of the topics of a pattern, or, if
// there is none, of the cluster.
func (a *access) maySet(pattern []byte) bool {
	if len(pattern) == 0 || strings.ContainsRune(string(pattern), '*') {
		return Administers(a.id)
	}
	return a.has(pattern, admin)
}
