package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/protocol"
)

// TopicSetting is a setting of a topic.
type TopicSetting struct {
	// Key is its name, and Value the value that counts, as it is written in a file.
	Key, Value string
	// Origin says in words where the value is from, and Own whether it is one for topics,
	// not the server's for all.
	Origin string
	Own    bool
}

// TopicChange is a topic that goes by another value of a setting after a change.
type TopicChange struct {
	Topic string
	// Value is the new value, and Was the one before.
	Value, Was string
}

// Unset is the value that takes a setting of topics away.
const Unset = "-"

// CreateTopic makes a topic that has no batch yet. If it is there that is no error.
func (c *Client) CreateTopic(ctx context.Context, topic string) error {
	return c.ok(ctx, "create", &protocol.Request{Command: protocol.Create, Topic: []byte(topic)})
}

// SetTopics gives a setting a value for the topics whose names match a pattern, in which *
// stands for any characters. It is in force when SetTopics has returned nil. [Unset] takes
// away what was set for that very pattern. The error is logd.ErrInvalidRequest if there is
// no such setting, or it can't have the value.
func (c *Client) SetTopics(ctx context.Context, pattern, key, value string) error {
	req, err := setTopics(pattern, key, value)
	if err != nil {
		return err
	}
	return c.ok(ctx, "setting", req)
}

// TrySetTopics returns what SetTopics would change now. It changes nothing.
func (c *Client) TrySetTopics(ctx context.Context, pattern, key, value string) ([]TopicChange, error) {
	req, err := setTopics(pattern, key, value)
	if err != nil {
		return nil, err
	}
	req.Try = true
	parsed, err := body(ctx, c, "setting", req, protocol.ParseTried)
	var list []TopicChange
	for _, t := range parsed {
		list = append(list, TopicChange(t))
	}
	return list, err
}

func setTopics(pattern, key, value string) (*protocol.Request, error) {
	for _, word := range []string{pattern, key, value} {
		if word == "" || strings.ContainsAny(word, " \t\r\n") {
			return nil, &logd.OpError{Op: "setting", Err: fmt.Errorf("%w: %q is not a word", logd.ErrInvalidRequest, word)}
		}
	}
	return &protocol.Request{Command: protocol.Set, Key: []byte(key), Value: []byte(value), Topic: []byte(pattern)}, nil
}

// infoWithSettings is Info with all settings of the topic, as far as the server tells them.
func (c *Client) infoWithSettings(ctx context.Context, topic string) (TopicInfo, error) {
	req := &protocol.Request{Command: protocol.Info, Topic: []byte(topic), All: true}
	info, err := body(ctx, c, "info", req, parseInfo)
	if errors.Is(err, logd.ErrInvalidRequest) { // an older server knows nothing of settings
		req.All = false
		info, err = body(ctx, c, "info", req, parseInfo)
	}
	return info, err
}
