package logd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
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
	_, err := c.lines(ctx, op, &protocol.Request{Command: protocol.Hooks}, c.cfg.MaxReplySize, func(line []byte) error {
		var h PendingHook
		err := parsePairs(string(line), map[string]any{
			"topic": &h.Topic, "base": &h.Base, "end": &h.End, "state": &h.State,
			"attempts": &h.Attempts, "next": &h.Next, "error": &h.Error,
		})
		hooks = append(hooks, h)
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
	cl := c.calls.request(answerOK, &protocol.Request{Command: protocol.Hook, Topic: []byte(topic), Offset: base, Skip: skip})
	if err := c.do(ctx, op, topic, cl); err != nil {
		return err
	}
	cl.release()
	return nil
}

// RetentionOptions are settings that [Client.Retention] asks about. A field
// that is 0 stands for the server's setting, a negative one for no limit.
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
	req := &protocol.Request{Command: protocol.Retention, Topic: []byte(topic), Keep: protocol.Keep{
		Partitions: asked(o.Partitions), Bytes: asked(o.Bytes), Age: asked(o.Age),
	}}
	var plan []PlannedPartition
	_, err := c.lines(ctx, op, req, c.cfg.MaxReplySize, func(line []byte) error {
		p := PlannedPartition{Messages: -1}
		err := parsePairs(string(line), map[string]any{
			"base": &p.Base, "end": &p.End, "messages": &p.Messages, "newest": &p.Newest, "verdict": &p.Verdict, "why": &p.Why,
			"after-partitions": &p.AfterPartitions, "after-bytes": &p.AfterBytes, "at": &p.At,
		})
		plan = append(plan, p)
		return err
	})
	return plan, err
}

// asked turns an option, of which 0 is the server's setting and a negative one
// no limit, into the request's, of which those are -1 and 0.
func asked[T int64 | time.Duration](n T) T {
	switch {
	case n == 0:
		return -1
	case n < 0:
		return 0
	}
	return n
}

// parsePairs parses a line of words of the form key=value into the values; what
// follows error= is one value with spaces. Unknown keys are left out.
func parsePairs(line string, values map[string]any) error {
	bad := func(word string) error { return fmt.Errorf("%w: %q makes no sense in %q", ErrBadAnswer, word, line) }
	for rest := line; rest != ""; {
		word, more, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(rest, "error=") {
			word, more = rest, ""
		}
		rest = more
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return bad(word)
		}
		var err error
		switch v := values[key].(type) {
		case *string:
			*v = value
		case *int64:
			*v, ok = batch.ParseInt([]byte(value))
		case *time.Time:
			*v, err = time.Parse(time.RFC3339, value)
		}
		if !ok || err != nil {
			return bad(word)
		}
	}
	return nil
}
