package admin

import (
	"context"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// TimeMark says that the batches from an offset on, up to the offset of the
// next mark, were appended at a time.
type TimeMark struct {
	Offset int64
	Time   time.Time // by the server's clock, to the millisecond, in UTC
}

// Times returns when the batches between two offsets were appended: a mark for
// the first batch at or after from, and one for each batch before to whose time
// is not that of the batch before. There is none if no batch is there. The
// offsets of the marks ascend; their times do not where the server's clock was
// set back. The error is logd.ErrNoTopic if there is no such topic.
//
// A mark takes 32 bytes, and there may be one for each batch. Times asks as
// often as it takes to get them all, so a program that needs few gives a small
// range, of what one read has returned say. A Scanner tells the times of messages:
// see [logd.ScannerConfig] Times.
func (c *Client) Times(ctx context.Context, topic string, from, to int64) ([]TimeMark, error) {
	const op = "times"
	asked := protocol.NewTimesRange(topic, from, to)
	for more := true; more; {
		req := asked.Request()
		reply, err := c.send(ctx, op, req)
		if err != nil {
			return nil, noTopic(err)
		}
		if reply.Body == nil {
			return nil, bad(op, req, reply.Addr, errForm)
		}
		if more, err = asked.Add(reply.Body); err != nil {
			return nil, bad(op, req, reply.Addr, err)
		}
	}
	var marks []TimeMark
	for _, m := range asked.Marks {
		marks = append(marks, TimeMark{m.Offset, time.UnixMilli(m.Millis).UTC()})
	}
	return marks, nil
}
