package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/protocol"
)

// RetentionOptions are settings that [Client.Retention] asks about. A field
// that is 0 stands for the server's setting, logd.Unlimited for no limit.
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
// error is logd.ErrNoTopic if there is no such topic.
func (c *Client) Retention(ctx context.Context, topic string, o RetentionOptions) ([]PlannedPartition, error) {
	const op = "retention"
	for _, f := range [...]struct {
		name  string
		value any
		ok    bool
	}{{"Partitions", o.Partitions, o.Partitions >= logd.Unlimited}, {"Bytes", o.Bytes, o.Bytes >= logd.Unlimited}, {"Age", o.Age, o.Age >= logd.Unlimited}} {
		if !f.ok {
			return nil, &logd.OpError{Op: op, Topic: topic, Err: fmt.Errorf("RetentionOptions.%s is %v: want 0 (the server's setting) or more, or Unlimited (-1)", f.name, f.value)}
		}
	}
	req := &protocol.Request{Command: protocol.Retention, Topic: []byte(topic), Keep: protocol.Keep{
		Partitions: asked(o.Partitions), Bytes: asked(o.Bytes), Age: asked(o.Age),
	}}
	parsed, err := body(ctx, c, op, req, protocol.ParsePlan)
	var plan []PlannedPartition
	for _, p := range parsed {
		plan = append(plan, PlannedPartition{
			Base: p.Base, End: p.End, Messages: p.Messages, Newest: p.Newest, Verdict: p.Verdict, Why: p.Why,
			AfterPartitions: p.AfterPartitions, AfterBytes: p.AfterBytes, At: p.At,
		})
	}
	return plan, noTopic(err)
}

// asked turns an option, of which 0 is the server's setting and logd.Unlimited is no
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
