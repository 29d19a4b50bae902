package logd

import (
	"context"
	"fmt"
	"time"

	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

// Ping asks the server for an answer.
func (c *Client) Ping(ctx context.Context) error {
	call := c.pool.Home().Call(link.AnswerOK, &protocol.Request{Command: protocol.Ping})
	if err := c.do(ctx, "ping", "", call); err != nil {
		return err
	}
	call.Release()
	return nil
}

// Topics returns the names of all topics, sorted.
func (c *Client) Topics(ctx context.Context) ([]string, error) {
	var names []string
	err := c.body(ctx, "topics", &protocol.Request{Command: protocol.Topics}, c.cfg.MaxReplySize, func(body []byte) (err error) {
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
	// ID tells the topic from others that have had its name. It is empty if the
	// server does not say.
	ID string
	// State is "writable", or "read only: " and why the topic takes no batches. It
	// is empty if the server does not say.
	State string
}

// OffsetRange is the offsets from From to before To.
type OffsetRange struct {
	From, To int64
}

// Info describes a topic. The error is ErrNoTopic if there is none of that
// name. In a cluster, Info sees every batch that was stored before.
func (c *Client) Info(ctx context.Context, topic string) (TopicInfo, error) {
	if err := checkTopic(topic); err != nil {
		return TopicInfo{}, &OpError{Op: "info", Topic: topic, Err: err}
	}
	in, err := c.freshInfo(ctx, topic)
	if err != nil {
		return TopicInfo{}, err
	}
	info := TopicInfo{
		Oldest: in.Oldest, Next: in.Next, Partitions: in.Partitions, Bytes: in.Bytes, Messages: in.Messages, Batches: in.Batches,
		OldestTime: in.OldestTime, NewestTime: in.NewestTime, ID: in.ID, State: in.State,
	}
	for _, r := range in.DamagedAt {
		info.DamagedAt = append(info.DamagedAt, OffsetRange{r[0], r[1]})
	}
	return info, nil
}

// freshInfo asks for what the leader knows, or the one server there is.
func (c *Client) freshInfo(ctx context.Context, topic string) (*protocol.TopicInfo, error) {
	servers := c.pool.Servers()
	asked := servers.Cluster()
	info, err := c.info(ctx, topic, asked)
	if !asked && servers.Cluster() { // which the answer has told
		info, err = c.info(ctx, topic, true)
	}
	return info, err
}

// info asks for what one server knows, or with fresh for what the leader does.
func (c *Client) info(ctx context.Context, topic string, fresh bool) (*protocol.TopicInfo, error) {
	var info protocol.TopicInfo
	req := &protocol.Request{Command: protocol.Info, Topic: []byte(topic), Fresh: fresh}
	err := c.body(ctx, "info", req, maxFields, func(body []byte) (err error) {
		if info, err = protocol.ParseInfo(body); err == nil {
			c.pool.Servers().Learn(info.Role)
		}
		return err
	})
	return &info, noTopic(err)
}

// settings returns what the server says of its settings.
func (c *Client) settings(ctx context.Context) (s protocol.Settings, err error) {
	err = c.body(ctx, "config", &protocol.Request{Command: protocol.Config}, maxFields, func(body []byte) (err error) {
		s, err = protocol.ParseSettings(body)
		return err
	})
	return s, err
}

// settingsOver is settings of the server that the link is to, which a Writer of the
// topic is about to use, with the number of the connection: see link.Call. It makes one
// attempt to connect.
func (c *Client) settingsOver(ctx context.Context, topic string, via *link.Link) (s protocol.Settings, connection int64, err error) {
	if err := via.ConnectOnce(ctx); err != nil {
		c.pool.Failed(topic, via, &link.Failure{Err: err})
		return s, 0, &OpError{Op: "connect", Err: err}
	}
	call := via.Call(link.AnswerBody, &protocol.Request{Command: protocol.Config})
	call.MaxBody = maxFields
	if f := via.Do(ctx, call); f != nil {
		c.pool.Failed(topic, via, f)
		return s, 0, failed("config", "", f)
	}
	connection = call.Connection
	err = parsed("config", "", call, func(body []byte) (err error) {
		s, err = protocol.ParseSettings(body)
		return err
	})
	return s, connection, err
}

// ServerLimits is what a server says that it takes.
type ServerLimits struct {
	// MaxBatchSize is the length of the largest batch, envelope and data.
	MaxBatchSize int64
	// Producers is for how many batches of a topic the server knows a producer that has
	// sent none; 0 if it takes no numbered batches. See [Batch.SetNumber].
	Producers int64
	// FlushBatches is 1 if a batch is on stable storage when the server answers.
	FlushBatches int64
}

// Limits asks the server that batches of the topic go to. It connects if need be. After a
// lost connection the server may be another one, with other limits.
func (c *Client) Limits(ctx context.Context, topic string) (ServerLimits, error) {
	if err := checkTopic(topic); err != nil {
		return ServerLimits{}, &OpError{Op: "config", Topic: topic, Err: err}
	}
	s, _, err := c.settingsOver(ctx, topic, c.pool.Route(topic))
	if err != nil {
		return ServerLimits{}, err
	}
	return ServerLimits{MaxBatchSize: s.MaxBatchSize, Producers: s.Producers, FlushBatches: s.FlushBatches}, nil
}

// inCluster reports whether the servers are a cluster, which it asks if nobody has.
func (c *Client) inCluster(ctx context.Context) (bool, error) {
	servers := c.pool.Servers()
	if !servers.Known() {
		if _, err := c.settings(ctx); err != nil {
			return false, err
		}
	}
	return servers.Cluster(), nil
}

// maxFields is the length of the longest body of fields, which take many times
// as much memory as the body does.
const maxFields = 1 << 20

// body asks for a body of at most max bytes, which parse must not keep.
func (c *Client) body(ctx context.Context, op string, req *protocol.Request, max int64, parse func(body []byte) error) error {
	call := c.pool.Home().Call(link.AnswerBody, req)
	call.MaxBody = max
	if err := c.do(ctx, op, string(req.Topic), call); err != nil {
		return err
	}
	return parsed(op, string(req.Topic), call, parse)
}

// parsed releases a call that has its answer when its body is parsed.
func parsed(op, topic string, call *link.Call, parse func(body []byte) error) error {
	defer call.Release()
	if err := parse(call.Body); err != nil {
		return &OpError{Op: op, Topic: topic, Addr: call.Addr, Err: fmt.Errorf("%w: %w", ErrBadAnswer, err)}
	}
	return nil
}

// times returns when the batches between two offsets were appended: a mark for
// the first batch at or after from, and one for each batch before to whose time
// is not that of the batch before.
func (c *Client) times(ctx context.Context, topic string, from, to int64) ([]protocol.TimeMark, error) {
	asked := protocol.NewTimesRange(topic, from, to)
	for more := true; more; {
		err := c.body(ctx, "times", asked.Request(), c.cfg.MaxReplySize, func(body []byte) (err error) {
			more, err = asked.Add(body)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return asked.Marks, nil
}
