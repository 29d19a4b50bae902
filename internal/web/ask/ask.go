// Package ask makes requests of the protocol in the process, for those who come by
// HTTP. So every right, limit, quota and count over HTTP is the protocol's: there is no
// other way from a page to a topic.
//
// A [Caller] is who makes the requests of one HTTP request. Each of them is judged by
// itself, as those of a connection are, by what there is to be known of the caller then.
package ask

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/topic"
)

// ErrUnknown is returned for a batch that may be stored or not, and nobody can tell.
var ErrUnknown = errors.New("ask: the batch may be stored or not")

type shownKey struct{}

// Show returns the request with what it shows of who makes it.
func Show(r *http.Request, shown server.Shown) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), shownKey{}, shown))
}

// Shown returns what a request has shown of who makes it.
func Shown(r *http.Request) server.Shown {
	s, _ := r.Context().Value(shownKey{}).(server.Shown)
	return s
}

// CodecsOf returns the codecs in which a client takes batches, as its header says, and
// whether the header makes sense.
func CodecsOf(h http.Header) (batch.Codecs, bool) {
	switch lists := h["Logd-Codecs"]; len(lists) {
	case 0:
		return 0, true
	case 1:
		return batch.ParseCodecs([]byte(lists[0]))
	}
	return 0, false
}

// Caller makes requests of the protocol. It is for one goroutine at a time.
type Caller struct {
	// Codecs are those in which the caller takes batches.
	Codecs batch.Codecs

	server   *server.Server // nil while there is none
	remote   string
	shown    server.Shown
	follower *server.Follower // of the topic that it follows, or nil
}

// New returns the caller that has made an HTTP request. The server may be nil, as it is
// while it starts: then all is refused as busy.
func New(s *server.Server, r *http.Request) *Caller {
	return &Caller{server: s, remote: r.RemoteAddr, shown: Shown(r)}
}

// Answer is the answer to one request that was not refused.
type Answer struct {
	Offset, Batches int64  // of one that names an offset
	Body            []byte // of one that is text
	// View has the batches of a read that has found some, else it is nil. Who asked
	// closes it.
	View topic.View

	known bool
}

// Ask makes one request that is no batch, and returns its answer. One that waits ends when
// ctx does. The error is the protocol's, as a *protocol.Error, or ErrUnknown.
func (c *Caller) Ask(ctx context.Context, req *protocol.Request) (Answer, error) {
	var buf [128]byte
	return c.send(ctx, protocol.AppendRequest(buf[:0], req))
}

// Batch has a whole batch stored, with its envelope, and returns its offset. known
// reports that it is a numbered one which was stored before. raw is the caller's again on
// return. The error is as that of Ask.
func (c *Caller) Batch(ctx context.Context, raw []byte) (offset int64, known bool, err error) {
	a, err := c.send(ctx, raw)
	return a.Offset, a.known, err
}

// send makes one request as it stands on the wire.
func (c *Caller) send(ctx context.Context, request []byte) (Answer, error) {
	if c.server == nil {
		return Answer{}, protocol.ErrBusy
	}
	var a answer
	do := c.doWhole
	if c.follower != nil {
		do = c.follower.Do
	}
	if err := do(ctx, request, &a); err != nil || !a.given {
		return Answer{}, ErrUnknown
	}
	if a.err != nil {
		return Answer{}, a.err
	}
	return a.Answer, nil
}

func (c *Caller) doWhole(ctx context.Context, request []byte, to server.Responder) error {
	return c.server.DoWhole(ctx, c.remote, c.shown, c.Codecs, request, to)
}

// Follow has the caller follow a topic: until Unfollow all that it asks is about that
// topic, and never about another of its name. Meanwhile it counts as a connection that
// waits. The error is as that of Ask.
func (c *Caller) Follow(topic string) error {
	if c.server == nil {
		return protocol.ErrBusy
	}
	f, err := c.server.Follow(c.remote, c.shown, c.Codecs, []byte(topic))
	if err != nil {
		return err
	}
	c.follower = f
	return nil
}

// Unfollow ends what Follow has begun, if it has.
func (c *Caller) Unfollow() {
	if c.follower != nil {
		c.follower.Close()
		c.follower = nil
	}
}

// Deleted reports whether the topic that it follows was deleted.
func (c *Caller) Deleted() bool { return c.follower != nil && c.follower.Deleted() }

// Refusal returns why a request with that line would be refused whoever leads and
// whatever there is, by its syntax, its size and rights, or nil. One that would be is
// counted and noted as if it was made.
func (c *Caller) Refusal(req *protocol.Request) error {
	if c.server == nil {
		return protocol.ErrBusy
	}
	line := bytes.TrimSuffix(protocol.AppendRequest(nil, req), []byte("\r\n"))
	if err := c.server.Refusal(c.remote, c.shown, line); err != nil {
		return err
	}
	return nil
}

// May reports whether the caller has the right to a request, which makes no topic: see
// Server.Allows. Nothing is counted or noted.
func (c *Caller) May(req *protocol.Request) bool {
	return c.server != nil && c.server.Allows(c.shown, req)
}

// Elsewhere returns an answer of the protocol unless this server is the one to change a
// topic by, which need not exist, or if topic is empty the cluster. Who asks is to have the
// right to do that: see Refusal.
func (c *Caller) Elsewhere(topic string) error {
	if c.server == nil {
		return protocol.ErrBusy
	}
	var name []byte
	if topic != "" {
		name = []byte(topic)
	}
	if err := c.server.Elsewhere(name); err != nil {
		return err
	}
	return nil
}

// PositionsElsewhere is Elsewhere of the topic in which positions are kept: they are changed
// by its leader.
func (c *Caller) PositionsElsewhere() error { return c.Elsewhere(topic.Positions) }

// Sent counts bytes of answers that were sent to the client.
func (c *Caller) Sent(n int) {
	if c.server != nil {
		c.server.Sent(n)
	}
}

// SentFiles counts calls of sendfile(2) by which some of them were.
func (c *Caller) SentFiles(calls int64) {
	if c.server != nil {
		c.server.SentFiles(calls)
	}
}

// Draining reports whether the server has begun to shut down.
func (c *Caller) Draining() bool { return c.server != nil && c.server.Draining() }

// answer is a server.Responder that keeps what it is given.
type answer struct {
	Answer Answer
	err    *protocol.Error
	given  bool
}

func (a *answer) Known() { a.Answer.known = true }

func (a *answer) OK() { a.given = true }

func (a *answer) Offset(offset, batches int64) {
	a.Answer.Offset, a.Answer.Batches, a.given = offset, batches, true
}

func (a *answer) Body(body []byte) { a.Answer.Body, a.given = body, true }

func (a *answer) Batches(v topic.View) {
	a.Answer.Offset, a.Answer.Batches, a.Answer.View, a.given = v.Offset(), v.Batches(), v, true
}

func (a *answer) Error(err *protocol.Error) { a.err, a.given = err, true }
