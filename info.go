package logd

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

// Ping asks the server for an answer.
func (c *Client) Ping(ctx context.Context) error {
	cl := c.calls.request(answerOK, &protocol.Request{Command: protocol.Ping})
	if err := c.do(ctx, "ping", "", cl); err != nil {
		return err
	}
	cl.release()
	return nil
}

// Topics returns the names of all topics, sorted.
func (c *Client) Topics(ctx context.Context) ([]string, error) {
	const op = "topics"
	var names []string
	_, err := c.lines(ctx, op, &protocol.Request{Command: protocol.Topics}, c.cfg.MaxReplySize, func(line []byte) error {
		if !batch.ValidTopic(line) {
			return fmt.Errorf("%w: %q is no name of a topic", ErrBadAnswer, line)
		}
		names = append(names, string(line))
		return nil
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

// parseRanges parses ranges as INFO has them: FROM-TO, with spaces between them.
func parseRanges(s string) ([]OffsetRange, bool) {
	var ranges []OffsetRange
	for word := range strings.FieldsSeq(s) {
		from, to, _ := strings.Cut(word, "-")
		var r OffsetRange
		var okFrom, okTo bool
		r.From, okFrom = batch.ParseInt([]byte(from))
		r.To, okTo = batch.ParseInt([]byte(to))
		if !okFrom || !okTo || r.From >= r.To {
			return nil, false
		}
		ranges = append(ranges, r)
	}
	return ranges, true
}

// Info describes a topic. The error is ErrNotFound if there is none of that
// name.
func (c *Client) Info(ctx context.Context, topic string) (TopicInfo, error) {
	const op = "info"
	var info TopicInfo
	if err := checkTopic(topic); err != nil {
		return info, &OpError{Op: op, Topic: topic, Err: err}
	}
	fields, addr, err := c.fields(ctx, op, protocol.Info, topic)
	if err != nil {
		return info, err
	}
	numbers := map[string]*int64{
		"Oldest": &info.Oldest, "Next": &info.Next, "Partitions": &info.Partitions,
		"Bytes": &info.Bytes, "Messages": &info.Messages, "Batches": &info.Batches,
	}
	times := map[string]*time.Time{"OldestTime": &info.OldestTime, "NewestTime": &info.NewestTime}
	info.Fields = fields
	for _, f := range fields {
		var ok bool
		if number := numbers[f.Name]; number != nil {
			*number, ok = batch.ParseInt([]byte(f.Value))
			delete(numbers, f.Name)
		} else if at := times[f.Name]; at != nil && f.Value != "" {
			*at, err = time.Parse(time.RFC3339, f.Value)
			ok = err == nil
		} else if f.Name == "DamagedAt" {
			info.DamagedAt, ok = parseRanges(f.Value)
		} else if f.Name == "Id" {
			info.ID, ok = f.Value, protocol.ValidID(f.Value)
		} else if f.Name == "State" {
			info.State, ok = f.Value, true
		} else {
			ok = true
		}
		if !ok {
			return info, &OpError{Op: op, Topic: topic, Addr: addr, Err: badField(f)}
		}
	}
	if len(numbers) > 0 || info.Oldest > info.Next {
		err := fmt.Errorf("%w: %v does not describe a topic", ErrBadAnswer, fields)
		return info, &OpError{Op: op, Topic: topic, Addr: addr, Err: err}
	}
	return info, nil
}

// Field is one named value of a server.
type Field struct {
	Name, Value string
}

// String returns the field as the server writes it.
func (f Field) String() string { return f.Name + ": " + f.Value }

// Stats returns the server's counters in the server's order.
func (c *Client) Stats(ctx context.Context) ([]Field, error) {
	fields, _, err := c.fields(ctx, "stats", protocol.Stats, "")
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
	// DeleteHook tells that the server has a delete hook.
	DeleteHook bool
	// Fields are all lines of the answer, those above included.
	Fields []Field
}

// Config returns the server's settings.
func (c *Client) Config(ctx context.Context) (*ServerConfig, error) {
	const op = "config"
	fields, addr, err := c.fields(ctx, op, protocol.Config, "")
	if err != nil {
		return nil, err
	}
	cfg := &ServerConfig{Fields: fields}
	for _, f := range fields {
		var err error
		switch f.Name {
		case "Host":
			cfg.Host = f.Value
		case "Timeout":
			cfg.Timeout, err = time.ParseDuration(f.Value)
		case "IdleTimeout":
			cfg.IdleTimeout, err = time.ParseDuration(f.Value)
		case "MaxBatchSize":
			cfg.MaxBatchSize, err = strconv.ParseInt(f.Value, 10, 64)
		case "MaxMessages":
			cfg.MaxMessages, err = strconv.ParseInt(f.Value, 10, 64)
		case "DeleteHook":
			cfg.DeleteHook, err = strconv.ParseBool(f.Value)
		}
		if err != nil {
			return nil, &OpError{Op: op, Addr: addr, Err: badField(f)}
		}
	}
	return cfg, nil
}

func badField(f Field) error {
	return fmt.Errorf("%w: %q has no value that makes sense", ErrBadAnswer, f)
}

// maxFields is the length of the longest body of fields, which take many times
// as much memory as the body does.
const maxFields = 1 << 20

// fields asks for a body of lines of the form "name: value". It returns the
// address of the server that answered, too.
func (c *Client) fields(ctx context.Context, op string, command protocol.Command, topic string) (fields []Field, addr string, err error) {
	req := &protocol.Request{Command: command, Topic: []byte(topic)}
	addr, err = c.lines(ctx, op, req, maxFields, func(line []byte) error {
		name, value, ok := strings.Cut(string(line), ":")
		if !ok {
			return fmt.Errorf("%w: %q is not a name and a value", ErrBadAnswer, line)
		}
		fields = append(fields, Field{Name: name, Value: strings.TrimSpace(value)})
		return nil
	})
	return fields, addr, err
}

// lines asks for a body of at most max bytes and calls each with its lines,
// without their ends. It returns the address of the server that answered.
func (c *Client) lines(ctx context.Context, op string, req *protocol.Request, max int64, each func(line []byte) error) (addr string, err error) {
	cl := c.calls.request(answerBody, req)
	cl.maxBody = max
	if err := c.do(ctx, op, string(req.Topic), cl); err != nil {
		return "", err
	}
	defer cl.release()
	for line := range bytes.Lines(cl.body) {
		if err := each(bytes.TrimRight(line, "\r\n")); err != nil {
			return cl.addr, &OpError{Op: op, Topic: string(req.Topic), Addr: cl.addr, Err: err}
		}
	}
	return cl.addr, nil
}
