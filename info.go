package logd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

// Ping asks the server for an answer.
func (c *Client) Ping(ctx context.Context) error {
	return c.command(ctx, "ping", "", &protocol.Request{Command: protocol.Ping})
}

// Topics returns the names of all topics, sorted.
func (c *Client) Topics(ctx context.Context) ([]string, error) {
	const op = "topics"
	var names []string
	_, err := c.body(ctx, op, &protocol.Request{Command: protocol.Topics}, c.cfg.MaxReplySize, func(body []byte) (err error) {
		names, err = protocol.ParseTopics(body)
		return err
	})
	return names, err
}

// TopicInfo is what a server knows of a topic.
type TopicInfo struct {
	// Oldest is the first offset still stored, Next the one that the next
	// batch will get. They are equal if the topic is empty.
	Oldest, Next int64
	// Partitions is the number of files, Bytes their length.
	Partitions, Bytes int64
	// Messages and Batches are how many are stored.
	Messages, Batches int64
	// OldestTime and NewestTime are when the first and the last of the stored
	// batches came, by the server's clock; zero if the topic is empty.
	OldestTime, NewestTime time.Time
	// DamagedAt are the ranges of offsets that the server has set aside because
	// they are damaged, in order: nothing can be read there, what is stored goes
	// on behind each. Of more than a thousand the server names the first ones.
	DamagedAt []OffsetRange
	// ID tells the topic from others that have had its name: it is what
	// DeleteOptions.ID takes. It is empty if the server does not say.
	ID string
	// State is "writable", or "read only: " and why the topic takes no batches. It
	// is empty if the server does not say.
	State string
	// Fields are all lines of the answer, those above included.
	Fields []Field
}

// OffsetRange is the offsets from From to before To.
type OffsetRange struct {
	From, To int64
}

// goesOnAt returns where what is stored goes on if the offset is among damaged
// bytes, and the file in which they begin, as far as the server says so.
func (info *TopicInfo) goesOnAt(offset int64) (next int64, file string, damaged bool) {
	for i, r := range info.DamagedAt {
		if r.From <= offset && offset < r.To {
			return r.To, info.damagedIn(i), true
		}
	}
	return 0, "", false
}

// damagedIn returns the name of the file of the i-th damaged range.
func (info *TopicInfo) damagedIn(i int) string {
	for _, f := range info.Fields {
		if names := strings.Fields(f.Value); f.Name == "DamagedIn" && i < len(names) {
			return names[i]
		}
	}
	return ""
}

// Info describes a topic. The error is ErrNoTopic if there is none of that
// name.
func (c *Client) Info(ctx context.Context, topic string) (TopicInfo, error) {
	const op = "info"
	var info TopicInfo
	if err := checkTopic(topic); err != nil {
		return info, &OpError{Op: op, Topic: topic, Err: err}
	}
	req := &protocol.Request{Command: protocol.Info, Topic: []byte(topic)}
	_, err := c.body(ctx, op, req, maxFields, func(body []byte) error {
		in, err := protocol.ParseInfo(body)
		if err != nil {
			return err
		}
		info = TopicInfo{
			Oldest: in.Oldest, Next: in.Next, Partitions: in.Partitions, Bytes: in.Bytes,
			Messages: in.Messages, Batches: in.Batches, OldestTime: in.OldestTime, NewestTime: in.NewestTime,
			ID: in.ID, State: in.State,
		}
		for _, r := range in.DamagedAt {
			info.DamagedAt = append(info.DamagedAt, OffsetRange{r[0], r[1]})
		}
		info.Fields, err = parseFields(body)
		return err
	})
	return info, noTopic(err)
}

// Field is one named value of a server.
type Field struct {
	Name, Value string
}

// String returns the field as the server writes it.
func (f Field) String() string { return f.Name + ": " + f.Value }

// Stats returns the server's counters in the server's order.
func (c *Client) Stats(ctx context.Context) ([]Field, error) {
	var fields []Field
	_, err := c.body(ctx, "stats", &protocol.Request{Command: protocol.Stats}, maxFields, func(body []byte) (err error) {
		fields, err = parseFields(body)
		return err
	})
	return fields, err
}

// ServerConfig is what a server says of its settings.
type ServerConfig struct {
	// Host is the address that the server listens on.
	Host string
	// Timeout bounds a request, IdleTimeout a connection's rest.
	Timeout, IdleTimeout time.Duration
	// MaxBatchSize is the length of the largest batch, envelope and data.
	MaxBatchSize int64
	// MaxMessages is the largest number of messages to read at once, and 0
	// if the server does not say.
	MaxMessages int64
	// PartitionSize is the length at which a partition is full, Partitions how many
	// of a topic are kept; 0 if the server does not say.
	PartitionSize, Partitions int64
	// FlushBatches is after how many batches of a topic the server syncs,
	// FlushInterval after what time; 0 for never, or if the server does not say.
	FlushBatches  int64
	FlushInterval time.Duration
	// DeleteHook tells that the server has a delete hook.
	DeleteHook bool
	// Version is the server's, "" if it does not say.
	Version string
	// Fields are all lines of the answer, those above included.
	Fields []Field
}

// SyncsFirst reports whether a batch is on stable storage when the server answers
// that it is stored.
func (c *ServerConfig) SyncsFirst() bool { return c.FlushBatches == 1 }

// Config returns the server's settings.
func (c *Client) Config(ctx context.Context) (*ServerConfig, error) {
	var cfg *ServerConfig
	_, err := c.body(ctx, "config", &protocol.Request{Command: protocol.Config}, maxFields, func(body []byte) error {
		s, err := protocol.ParseSettings(body)
		if err != nil {
			return err
		}
		cfg = &ServerConfig{
			Host: s.Host, Timeout: s.Timeout, IdleTimeout: s.IdleTimeout,
			MaxBatchSize: s.MaxBatchSize, MaxMessages: s.MaxMessages, PartitionSize: s.PartitionSize, Partitions: s.Partitions,
			FlushBatches: s.FlushBatches, FlushInterval: s.FlushInterval, DeleteHook: s.DeleteHook, Version: s.Version,
		}
		cfg.Fields, err = parseFields(body)
		return err
	})
	if err != nil {
		return nil, err
	}
	return cfg, nil
}

// maxFields is the length of the longest body of fields, which take many times
// as much memory as the body does.
const maxFields = 1 << 20

// parseFields parses a body of lines of the form "name: value".
func parseFields(body []byte) ([]Field, error) {
	parsed, err := protocol.ParseFields(body)
	var fields []Field
	for _, f := range parsed {
		fields = append(fields, Field(f))
	}
	return fields, err
}

// body asks for a body of at most max bytes, which parse must not keep. It
// returns the address of the server that answered.
func (c *Client) body(ctx context.Context, op string, req *protocol.Request, max int64, parse func(body []byte) error) (addr string, err error) {
	call := c.link.Call(link.AnswerBody, req)
	call.MaxBody = max
	if err := c.do(ctx, op, string(req.Topic), call); err != nil {
		return "", err
	}
	defer call.Release()
	if err := parse(call.Body); err != nil {
		return call.Addr, &OpError{Op: op, Topic: string(req.Topic), Addr: call.Addr, Err: fmt.Errorf("%w: %w", ErrBadAnswer, err)}
	}
	return call.Addr, nil
}
