package ask

import (
	"context"
	"slices"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
)

// body makes a request whose answer is text and returns that, parsed.
func body[T any](ctx context.Context, c *Caller, req *protocol.Request, parse func([]byte) (T, error)) (T, error) {
	a, err := c.Ask(ctx, req)
	if err != nil {
		var none T
		return none, err
	}
	return parse(a.Body)
}

// Topics returns the names of all topics that the caller may see, sorted.
func (c *Caller) Topics(ctx context.Context, fresh bool) ([]string, error) {
	return body(ctx, c, &protocol.Request{Command: protocol.Topics, Fresh: fresh}, protocol.ParseTopics)
}

// Info describes a topic.
func (c *Caller) Info(ctx context.Context, topic string, fresh bool) (protocol.TopicInfo, error) {
	return body(ctx, c, &protocol.Request{Command: protocol.Info, Topic: []byte(topic), Fresh: fresh}, protocol.ParseInfo)
}

// InfoAll describes a topic with all settings that count for it.
func (c *Caller) InfoAll(ctx context.Context, topic string, fresh bool) (protocol.TopicInfo, error) {
	return body(ctx, c, &protocol.Request{Command: protocol.Info, Topic: []byte(topic), Fresh: fresh, All: true}, protocol.ParseInfo)
}

// TrySetting returns what a setting of a topic would change. It is not changed.
func (c *Caller) TrySetting(ctx context.Context, topic, key, value string) ([]protocol.TriedSetting, error) {
	req := &protocol.Request{Command: protocol.Set, Topic: []byte(topic), Key: []byte(key), Value: []byte(value), Try: true}
	return body(ctx, c, req, protocol.ParseTried)
}

// TopicLimits returns what the server takes for a topic, which need not exist.
func (c *Caller) TopicLimits(topic string) server.TopicLimits {
	if c.server == nil {
		return server.TopicLimits{}
	}
	return c.server.TopicLimits([]byte(topic))
}

// Settings returns what counts for requests on their way: no request is made for it, and
// who asks is to have the right to one. It is not to be changed.
func (c *Caller) Settings() (*protocol.Settings, error) {
	if c.server == nil {
		return nil, protocol.ErrBusy
	}
	return c.server.Settings(), nil
}

// Config returns what the server tells of its settings.
func (c *Caller) Config(ctx context.Context) (protocol.Settings, error) {
	return body(ctx, c, &protocol.Request{Command: protocol.Config}, protocol.ParseSettings)
}

// Fields returns the body of CONFIG or STATS, line by line.
func (c *Caller) Fields(ctx context.Context, command protocol.Command) ([]protocol.Field, error) {
	return body(ctx, c, &protocol.Request{Command: command}, protocol.ParseFields)
}

// Cluster returns the members of the cluster as this one sees them.
func (c *Caller) Cluster(ctx context.Context) (protocol.ClusterInfo, error) {
	return body(ctx, c, &protocol.Request{Command: protocol.Cluster}, protocol.ParseCluster)
}

// Leads reports whether this server is the one to write to a topic by.
func (c *Caller) Leads(ctx context.Context, topic string) (bool, error) {
	in, err := c.Info(ctx, topic, false)
	return in.Role == protocol.Single || in.Role == protocol.Leads, err
}

// LeadsAll reports whether it is that of all topics.
func (c *Caller) LeadsAll(ctx context.Context) (bool, error) {
	conf, err := c.Config(ctx)
	if err != nil || conf.Node == "" {
		return true, err
	}
	cluster, err := c.Cluster(ctx)
	for _, m := range cluster.Members {
		if m.Name == conf.Node {
			return m.Leads == cluster.Groups, err
		}
	}
	return false, err
}

// Groups returns the groups of the cluster as this member sees them.
func (c *Caller) Groups(ctx context.Context) ([]protocol.GroupInfo, error) {
	return body(ctx, c, &protocol.Request{Command: protocol.Groups}, protocol.ParseGroups)
}

// Retention returns what retention has in mind for each partition of a topic.
func (c *Caller) Retention(ctx context.Context, topic string, keep protocol.Keep) ([]protocol.PlannedPartition, error) {
	return body(ctx, c, &protocol.Request{Command: protocol.Retention, Topic: []byte(topic), Keep: keep}, protocol.ParsePlan)
}

// Hooks returns the partitions that wait for their delete hooks.
func (c *Caller) Hooks(ctx context.Context) ([]protocol.PendingHook, error) {
	return body(ctx, c, &protocol.Request{Command: protocol.Hooks}, protocol.ParseHooks)
}

// Errors returns the error answers that there were: how many, and the newest of them, the
// newest first, with topics that the caller may see. It is for who may monitor the server.
func (c *Caller) Errors(ctx context.Context) ([]server.ErrorCount, []server.Refused, error) {
	if err := c.Refusal(&protocol.Request{Command: protocol.Stats}); err != nil {
		return nil, nil, err
	}
	topics, err := c.Topics(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	list := c.server.Refusals()
	for i := range list {
		if _, is := slices.BinarySearch(topics, list[i].Topic); !is {
			list[i].Topic = ""
		}
	}
	return c.server.ErrorCounts(), list, nil
}

// Seek returns the offset of the first batch that was stored at t or later, or where the
// next one will be.
func (c *Caller) Seek(ctx context.Context, topic string, t time.Time, fresh bool) (int64, error) {
	a, err := c.Ask(ctx, &protocol.Request{Command: protocol.Seek, Topic: []byte(topic), Millis: max(t.UnixMilli(), 0), Fresh: fresh})
	return a.Offset, err
}

// Times returns when the batches from one offset up to another were stored.
func (c *Caller) Times(ctx context.Context, topic string, from, to int64) ([]protocol.TimeMark, error) {
	r := protocol.NewTimesRange(topic, from, to)
	for more := true; more; {
		a, err := c.Ask(ctx, r.Request())
		if err != nil {
			return nil, err
		}
		if more, err = r.Add(a.Body); err != nil {
			return nil, err
		}
	}
	return r.Marks, nil
}
