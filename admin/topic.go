package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/protocol"
)

// DeleteOptions say which topic [Client.Delete] deletes. The zero value of
// every field is its documented default.
type DeleteOptions struct {
	// ID is the topic's logd.TopicInfo.ID: if the name has another topic by now, that
	// one stays. Default: the topic that has the name when Delete asks for it.
	ID string
	// Now makes the server remove the topic's files at once. Default: it keeps
	// them for as long as its setting delete-after says, for an operator to put
	// them back.
	Now bool
}

// Delete deletes a topic. When it returns nil the topic is gone for good: its
// delete hooks are not run, reads that wait end with logd.ErrNoTopic, and a batch
// that is appended to the name begins a new topic.
//
// The error is logd.ErrNoTopic if there is no topic of that name and ID. If the
// connection is lost before the answer the topic may be deleted or not; with
// an ID it is safe to try again, and logd.ErrNoTopic then tells that it is.
func (c *Client) Delete(ctx context.Context, topic string, o DeleteOptions) error {
	const op = "delete"
	if o.ID == "" {
		info, err := c.client.Info(ctx, topic)
		if err != nil {
			return err
		}
		if o.ID = info.ID; o.ID == "" {
			return &logd.OpError{Op: op, Topic: topic, Err: errors.New("the server does not tell the topic's id: it is too old to delete topics")}
		}
	}
	if !protocol.ValidID(o.ID) {
		return &logd.OpError{Op: op, Topic: topic, Err: fmt.Errorf("DeleteOptions.ID is %q: want the hexadecimal digits of logd.TopicInfo.ID", o.ID)}
	}
	return noTopic(c.ok(ctx, op, &protocol.Request{
		Command: protocol.Delete, Topic: []byte(topic), ID: []byte(o.ID), Now: o.Now,
	}))
}

// Trim removes from a topic all partitions that end at or before the offset,
// and returns the oldest offset that is stored then. If the offset is Next or
// more the server begins a new partition first, so that the topic is emptied.
//
// If the server has a delete hook, a partition goes when its hook has
// succeeded: it still counts as stored until then. The error is logd.ErrNoTopic if there
// is no such topic.
func (c *Client) Trim(ctx context.Context, topic string, offset int64) (oldest int64, err error) {
	const op = "trim"
	if offset < 0 {
		return 0, &logd.OpError{Op: op, Topic: topic, Err: fmt.Errorf("offset %d is negative", offset)}
	}
	oldest, err = c.offset(ctx, op, &protocol.Request{Command: protocol.Trim, Topic: []byte(topic), Offset: offset})
	return oldest, noTopic(err)
}
