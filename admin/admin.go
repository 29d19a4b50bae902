// Package admin is what an operator asks of a logd server, and has it do, over
// the protocol: settings and counters, what is stored of a topic, retention and
// delete hooks, the end of topics, and the members of a cluster.
//
//	client, err := logd.Dial(ctx, logd.ClientConfig{Addrs: []string{addr}})
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//	operator := admin.New(client)
//	plan, err := operator.Retention(ctx, "orders", admin.RetentionOptions{})
//
// A [Client] asks over the connection of a [logd.Client], which it does not own.
// It knows nothing of messages: to write and read them, and to list topics, is for
// package logd.
//
// # Clusters
//
// TransferTopic, TransferGroup, Drain, Undrain, Leave, Replace and Set change a cluster,
// and return when that is done. Any member can be asked: the request goes on to the one
// that can do it. If the error is logd.ErrBusy, or the connection is lost, the cluster may
// be still about it. If a server is in no cluster, or a change can't be made, the error is
// logd.ErrInvalidRequest.
//
// # Errors
//
// Every error is a [*logd.OpError], to be tested as those of package logd are:
// logd.ErrNotFound, logd.ErrNoTopic, logd.ErrReadOnly, logd.IsRetryable and so on.
// If a server is too old to know a command, the error is logd.ErrInvalidProtocol
// or logd.ErrInvalidRequest, and after the former it closes the connection. If the
// error is logd.ErrConnectionLost, or the context has ended, the server may have
// done what was asked for.
package admin

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

// Client asks a server what operators want to know, and has it do what they
// want. All methods are safe for concurrent use. Each is one request, if its
// documentation does not say otherwise.
type Client struct {
	client *logd.Client
}

// New returns a Client that asks over c, which stays the caller's to close.
func New(c *logd.Client) *Client { return &Client{c} }

// send sends the request and returns the answer. The error says that it is of op.
func (c *Client) send(ctx context.Context, op string, req *protocol.Request) (logd.Reply, error) {
	topic := string(req.Topic)
	if req.Topic != nil && req.Command != protocol.Set && !batch.ValidTopic(topic) {
		err := fmt.Errorf("%w: topic %s: no name of a topic", logd.ErrInvalidRequest, strconv.Quote(topic))
		return logd.Reply{}, &logd.OpError{Op: op, Topic: topic, Err: err}
	}
	line := protocol.AppendRequest(nil, req)
	reply, err := c.client.Command(ctx, string(line[:len(line)-len("\r\n")]))
	if e, ok := err.(*logd.OpError); ok {
		e.Op, e.Topic = op, topic
	}
	return reply, err
}

// bad returns the error for an answer that is none to the request.
func bad(op string, req *protocol.Request, addr string, err error) error {
	return &logd.OpError{Op: op, Topic: string(req.Topic), Addr: addr, Err: fmt.Errorf("%w: %w", logd.ErrBadAnswer, err)}
}

// ok sends a request that has no answer but OK.
func (c *Client) ok(ctx context.Context, op string, req *protocol.Request) error {
	reply, err := c.send(ctx, op, req)
	if err == nil && (reply.Offset >= 0 || reply.Body != nil) {
		err = bad(op, req, reply.Addr, errForm)
	}
	return err
}

// offset sends a request whose answer is an offset.
func (c *Client) offset(ctx context.Context, op string, req *protocol.Request) (int64, error) {
	reply, err := c.send(ctx, op, req)
	if err == nil && reply.Offset < 0 {
		err = bad(op, req, reply.Addr, errForm)
	}
	return max(reply.Offset, 0), err
}

// body sends a request whose answer is a body, and returns what parse makes of it.
func body[T any](ctx context.Context, c *Client, op string, req *protocol.Request, parse func([]byte) (T, error)) (T, error) {
	var none T
	reply, err := c.send(ctx, op, req)
	if err != nil {
		return none, err
	}
	if reply.Body == nil {
		return none, bad(op, req, reply.Addr, errForm)
	}
	parsed, err := parse(reply.Body)
	if err != nil {
		return none, bad(op, req, reply.Addr, err)
	}
	return parsed, nil
}

// errForm is what is wrong with an answer such as OK to a request for a body.
var errForm = errors.New("it is of another kind than the request")

// noTopic returns the error of a call with logd.ErrNoTopic in place of
// logd.ErrNotFound, for a call that fails so only if there is no such topic.
func noTopic(err error) error {
	if e, ok := err.(*logd.OpError); ok && e.Err == logd.ErrNotFound {
		e.Err = logd.ErrNoTopic
	}
	return err
}
