package logd

import (
	"context"
	"fmt"
	"time"

	"github.com/logd-dev/logd/internal/link"
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
// set back.
//
// A mark takes 32 bytes, and there may be one for each batch. Times asks as
// often as it takes to get them all, so a program that needs few gives a small
// range, of what one read has returned say.
//
// A server that is older than TIMES answers ErrInvalidProtocol or
// ErrInvalidRequest, and after the former closes the connection.
func (c *Client) Times(ctx context.Context, topic string, from, to int64) ([]TimeMark, error) {
	const op = "times"
	if err := checkTopic(topic); err != nil {
		return nil, &OpError{Op: op, Topic: topic, Err: err}
	}
	var all []TimeMark
	var page []protocol.TimeMark
	req := protocol.Request{Command: protocol.Times, Topic: []byte(topic), Offset: max(from, 0), To: max(to, 0)}
	for {
		call := c.link.Call(link.AnswerBody, &req)
		call.MaxBody = c.cfg.MaxReplySize
		if err := c.do(ctx, op, topic, call); err != nil {
			return nil, err
		}
		var err error
		page, err = protocol.ParseTimes(page[:0], call.Body)
		addr := call.Addr
		call.Release()
		n := len(page)
		if err == nil && n > 0 && (page[0].Offset < req.Offset || page[n-1].Offset >= req.To) {
			err = fmt.Errorf("times from offset %d to %d, asked for %d to %d", page[0].Offset, page[n-1].Offset, req.Offset, req.To)
		}
		if err != nil {
			return nil, &OpError{Op: op, Topic: topic, Addr: addr, Err: fmt.Errorf("%w: %w", ErrBadAnswer, err)}
		}
		for _, m := range page {
			mark := TimeMark{m.Offset, time.UnixMilli(m.Millis).UTC()}
			// Where the answer begins with the mark that the one before ended with,
			// nothing is new.
			if len(all) == 0 || !all[len(all)-1].Time.Equal(mark.Time) {
				all = append(all, mark)
			}
		}
		if n < protocol.MaxTimes {
			return all, nil
		}
		req.Offset = page[n-1].Offset
	}
}
