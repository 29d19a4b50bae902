package link

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"
)

// Options say how a Link connects and how long it is patient. All fields are
// needed; logd.ClientConfig says what they mean, and which limits may be negative
// for none.
type Options struct {
	Addrs []string
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	TLS   *tls.Config // nil: none is spoken; it is never changed

	// Token returns what each new connection shows with AUTH. nil: nothing.
	Token           func(context.Context) (string, error)
	AllowPlainToken bool

	ConnectTimeout, ReadTimeout, WriteTimeout, IdleTimeout time.Duration

	ReconnectMin, ReconnectMax time.Duration
	ReconnectAttempts          int

	MaxReplySize int64

	// Codecs are those in which batches are taken, as HELLO names them; empty for none:
	// then there is no HELLO.
	Codecs string

	// The callbacks are called by goroutines of the Link, which wait for them, and
	// with no lock held. A Pool calls them one after another, in order.
	OnConnect       func(addr string)
	OnDisconnect    func(addr string, reason error)
	OnConnectFailed func(err error, pause time.Duration)

	Logger *slog.Logger

	// NotLeader makes the error of an answer that names the leader: it is
	// protocol.ErrNotLeader to errors.Is. Refusal makes that of one which has more than
	// its reason to tell, or nil: the number that is next, say. OtherReply makes that of an error answer that is none
	// of package protocol's. The types are those that users test for.
	NotLeader  func(addr string) error
	Refusal    func(reason string) error
	OtherReply func(reason string) error
}

// deadline returns the time limit from now, or none for a negative limit.
func deadline(limit time.Duration) time.Time {
	if limit < 0 {
		return time.Time{}
	}
	return time.Now().Add(limit)
}
