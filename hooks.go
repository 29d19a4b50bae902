package logd

import (
	"context"
	"fmt"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// PendingHook is a partition that is to be removed and waits for the server's
// delete hook.
type PendingHook struct {
	Topic string
	// Base is the partition's first offset, End the one after its last.
	Base, End int64
	// State is "waiting", "running", "failed" or "ending". There may be more.
	State string
	// Attempts is how many runs of the hook have ended, Next when it is run
	// again after a failure, zero if that is not foreseen, and Error why the last
	// run failed.
	Attempts int64
	Next     time.Time
	Error    string
}

// Hooks returns the partitions that wait for their delete hook, by topic and
// offset; none if the server has no hook.
func (c *Client) Hooks(ctx context.Context) ([]PendingHook, error) {
	const op = "hooks"
	var hooks []PendingHook
	_, err := c.body(ctx, op, &protocol.Request{Command: protocol.Hooks}, c.cfg.MaxReplySize, func(body []byte) error {
		parsed, err := protocol.ParseHooks(body)
		for _, h := range parsed {
			hooks = append(hooks, PendingHook(h))
		}
		return err
	})
	return hooks, err
}

// RetryHook has the hook of the partition that begins at base run again soon.
// The error is ErrNotFound if that partition waits for no hook.
func (c *Client) RetryHook(ctx context.Context, topic string, base int64) error {
	return c.hook(ctx, "retry hook", topic, base, false)
}

// SkipHook lets the partition that begins at base go without its hook, which is
// killed if it runs. The error is ErrNotFound if that partition waits for no
// hook.
func (c *Client) SkipHook(ctx context.Context, topic string, base int64) error {
	return c.hook(ctx, "skip hook", topic, base, true)
}

func (c *Client) hook(ctx context.Context, op, topic string, base int64, skip bool) error {
	if err := checkTopic(topic); err != nil {
		return &OpError{Op: op, Topic: topic, Err: err}
	}
	return c.command(ctx, op, topic, &protocol.Request{Command: protocol.Hook, Topic: []byte(topic), Offset: base, Skip: skip})
}

// RetentionOptions are settings that [Client.Retention] asks about. A field
// that is 0 stands for the server's setting, Unlimited for no limit.
type RetentionOptions struct {
	Partitions int64         // kept
	Bytes      int64         // kept, in whole partitions
	Age        time.Duration // of a partition's newest batch
}

// PlannedPartition is what retention has in mind for a partition.
type PlannedPartition struct {
	// Base is its first offset, End the one after its last.
	Base, End int64
	// Messages is how many it has, -1 if the server does not say.
	Messages int64
	// Newest is when its newest batch was stored; zero if it has none.
	Newest time.Time
	// Verdict is "remove", "held" for one that waits for its delete hook, or
	// "keep". Why is the name of the setting that removes it, if any.
	Verdict, Why string
	// What removes a partition that is kept, if nothing else does first: that so
	// many more partitions are begun, that so many more bytes are written, and
	// that time. Zero where the settings do not limit.
	AfterPartitions, AfterBytes int64
	At                          time.Time
}

// Retention returns what the server's retention would do with each partition
// of a topic, oldest first, under the given settings. It changes nothing. The
// error is ErrNotFound if there is no such topic.
func (c *Client) Retention(ctx context.Context, topic string, o RetentionOptions) ([]PlannedPartition, error) {
	const op = "retention"
	if err := checkTopic(topic); err != nil {
		return nil, &OpError{Op: op, Topic: topic, Err: err}
	}
	for _, f := range [...]struct {
		name  string
		value any
		ok    bool
	}{{"Partitions", o.Partitions, o.Partitions >= Unlimited}, {"Bytes", o.Bytes, o.Bytes >= Unlimited}, {"Age", o.Age, o.Age >= Unlimited}} {
		if !f.ok {
			return nil, &OpError{Op: op, Topic: topic, Err: fmt.Errorf("RetentionOptions.%s is %v: want 0 (the server's setting) or more, or Unlimited (-1)", f.name, f.value)}
		}
	}
	req := &protocol.Request{Command: protocol.Retention, Topic: []byte(topic), Keep: protocol.Keep{
		Partitions: asked(o.Partitions), Bytes: asked(o.Bytes), Age: asked(o.Age),
	}}
	var plan []PlannedPartition
	_, err := c.body(ctx, op, req, c.cfg.MaxReplySize, func(body []byte) error {
		parsed, err := protocol.ParsePlan(body)
		for _, p := range parsed {
			plan = append(plan, PlannedPartition{
				Base: p.Base, End: p.End, Messages: p.Messages, Newest: p.Newest, Verdict: p.Verdict, Why: p.Why,
				AfterPartitions: p.AfterPartitions, AfterBytes: p.AfterBytes, At: p.At,
			})
		}
		return err
	})
	return plan, err
}

// asked turns an option, of which 0 is the server's setting and Unlimited is no
// limit, into the request's, of which those are -1 and 0.
func asked[T int64 | time.Duration](n T) T {
	switch {
	case n == 0:
		return -1
	case n < 0:
		return 0
	}
	return n
}
