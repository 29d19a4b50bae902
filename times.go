package logd

import (
	"context"
	"fmt"
	"time"

	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

// timeMark says that the batches from an offset on, up to the offset of the
// next mark, were appended at a time.
type timeMark struct {
	Offset int64
	Time   time.Time // by the server's clock, to the millisecond, in UTC
}

// times returns when the batches between two offsets were appended: a mark for
// the first batch at or after from, and one for each batch before to whose time
// is not that of the batch before.
func (c *Client) times(ctx context.Context, topic string, from, to int64) ([]timeMark, error) {
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
	var marks []timeMark
	for _, m := range asked.Marks {
		marks = append(marks, timeMark{m.Offset, time.UnixMilli(m.Millis).UTC()})
	}
	return marks, nil
}
