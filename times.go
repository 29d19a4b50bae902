package logd

import (
	"context"
	"fmt"

	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

// times returns when the batches between two offsets were appended: a mark for
// the first batch at or after from, and one for each batch before to whose time
// is not that of the batch before.
func (c *Client) times(ctx context.Context, topic string, from, to int64) ([]protocol.TimeMark, error) {
	const op = "times"
	asked := protocol.NewTimesRange(topic, from, to)
	for more := true; more; {
		call := c.pool.Home().Call(link.AnswerBody, asked.Request())
		call.MaxBody = c.cfg.MaxReplySize
		if err := c.do(ctx, op, topic, call); err != nil {
			return nil, err
		}
		var err error
		more, err = asked.Add(call.Body)
		addr := call.Addr
		call.Release()
		if err != nil {
			return nil, &OpError{Op: op, Topic: topic, Addr: addr, Err: fmt.Errorf("%w: %w", ErrBadAnswer, err)}
		}
	}
	return asked.Marks, nil
}
