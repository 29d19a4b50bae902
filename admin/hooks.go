package admin

import (
	"context"
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
	parsed, err := body(ctx, c, "hooks", &protocol.Request{Command: protocol.Hooks}, protocol.ParseHooks)
	var hooks []PendingHook
	for _, h := range parsed {
		hooks = append(hooks, PendingHook(h))
	}
	return hooks, err
}

// RetryHook has the hook of the partition that begins at base run again soon.
// The error is logd.ErrNotFound if that partition waits for no hook.
func (c *Client) RetryHook(ctx context.Context, topic string, base int64) error {
	return c.hook(ctx, "retry hook", topic, base, false)
}

// SkipHook lets the partition that begins at base go without its hook, which is
// killed if it runs. The error is logd.ErrNotFound if that partition waits for no
// hook.
func (c *Client) SkipHook(ctx context.Context, topic string, base int64) error {
	return c.hook(ctx, "skip hook", topic, base, true)
}

func (c *Client) hook(ctx context.Context, op, topic string, base int64, skip bool) error {
	return c.ok(ctx, op, &protocol.Request{Command: protocol.Hook, Topic: []byte(topic), Offset: base, Skip: skip})
}
