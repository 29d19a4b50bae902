package logd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/logd-dev/logd/internal/fetch"
	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

// source is a Scanner's topic as a Client reads it, for package fetch.
type source struct {
	client *Client
	own    bool // client is the Scanner's own
	topic  string
	bytes  int64  // to ask for at once
	addr   string // of the server that was read from
}

// newSource returns the source of a Scanner with such a configuration.
func newSource(client *Client, topic string, cfg *ScannerConfig) *source {
	src := &source{client: client, own: cfg.Follow || cfg.Times, topic: topic, bytes: cfg.ReadBytes}
	if src.own {
		src.client = client.sibling()
	}
	return src
}

// close closes the Client if it is the Scanner's own.
func (src *source) close() {
	if src.own {
		src.client.Close()
	}
}

func (src *source) Read(ctx context.Context, offset, messages int64, wait time.Duration, fresh bool) (*link.Batches, error) {
	command := protocol.Read
	if offset == fetch.FromOldest {
		command = protocol.Tail
	}
	in, err := src.client.read(ctx, command, src.topic, offset, ReadOptions{Messages: messages, MaxBytes: src.bytes, Wait: wait}, fresh)
	if err == nil {
		src.addr = src.client.Addr()
	}
	return in, err
}

func (src *source) Info(ctx context.Context, fresh bool) (*protocol.TopicInfo, error) {
	if fresh {
		return src.client.freshInfo(ctx, src.topic)
	}
	return src.client.info(ctx, src.topic, false)
}

func (src *source) Seek(ctx context.Context, at time.Time) (int64, error) {
	return src.client.Seek(ctx, src.topic, at)
}

func (src *source) Times(ctx context.Context, from, to int64) ([]protocol.TimeMark, error) {
	return src.client.times(ctx, src.topic, from, to)
}

func (src *source) MaxMessages(ctx context.Context) (int64, error) {
	s, err := src.client.settings(ctx)
	return s.MaxMessages, err
}

func (src *source) Learn(ctx context.Context) { src.client.inCluster(ctx) }

func (src *source) Cluster() bool { return src.client.pool.Servers().Cluster() }

func (src *source) Gone() error {
	if src.client.pool.Route(src.topic).Connected() {
		return nil
	}
	return &OpError{Op: "read", Topic: src.topic, Addr: src.addr, Err: fmt.Errorf("%w: closed by the server", ErrConnectionLost)}
}

// Retry: ErrConnect comes when the Client has made all its attempts. After a lost
// connection, or where a leader was named, connecting has pauses of its own.
func (src *source) Retry(err error) (again, atOnce bool) {
	_, named := errors.AsType[*NotLeaderError](err)
	return IsRetryable(err) && !errors.Is(err, ErrConnect), named || errors.Is(err, ErrConnectionLost)
}

func (src *source) Backoff(failures int) time.Duration { return src.client.pool.Backoff(failures) }

// fetchError returns the error of a Fetcher as the Scanner tells it: that of a call, or
// its own.
func (s *Scanner) fetchError(err error) error {
	switch e := err.(type) {
	case nil, *OpError:
		return err
	case *fetch.PlaceError:
		err = &OffsetError{Offset: e.Offset, Delta: e.Delta, Oldest: e.Oldest, Next: e.Next, Damaged: e.Damaged}
	}
	return scanError(s.topic, err)
}
