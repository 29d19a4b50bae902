package logd

import (
	"context"

	"github.com/logd-dev/logd/internal/link"
)

// Client talks to a server over one connection, which its methods share, or over
// more if there are reads beside other calls; see the package comment. All methods
// are safe for concurrent use.
//
// # Clusters
//
// If the servers are a cluster, ClientConfig.Addrs are where the Client begins: it asks
// for the other members by itself, and again after each failure, and with calls that
// succeed after some time; a Writer asks only when it connects. It has a connection to
// each member that it needs, and remembers which one leads a topic. If a member can't
// be reached, is silent, busy or shutting down, or does not lead, a call is sent to the
// member that was named, or else to the next: until its context ends, or all members
// have had it ClientConfig.ReconnectAttempts times. Between attempts there are pauses of
// 5 ms to 500 ms. What may have been done and must not be done twice is not sent again:
// an append without a number after the connection was lost, say, whose error is
// [IsUnknown].
//
// The Client learns that there is a cluster when a server sends it on, and when it asks
// for CONFIG: for a Writer, a Scanner, Info, Seek, and a batch of more than 128 bytes.
//
// A context that ends during a call ends the call at once; only an append
// whose batch is just being written waits for the end of that, for at most a
// second. The connection goes on: the answer to a request that was sent is
// read and thrown away when it comes. The connection of a read that waits is
// dropped instead.
type Client struct {
	cfg    ClientConfig
	pool   *link.Pool
	codecs map[string]Codec // does not change
}

// NewClient returns a Client that connects when it is first used.
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	full, codecs := cfg.withDefaults(), registered()
	options := full.options()
	options.Codecs = offers(codecs)
	return &Client{cfg: full, pool: link.NewPool(options), codecs: codecs}, nil
}

// sibling returns a Client of the same configuration, hooks included, that is
// not connected. It is closed apart.
func (c *Client) sibling() *Client {
	return &Client{cfg: c.cfg, pool: c.pool.Sibling(), codecs: c.codecs}
}

// Dial returns a Client that is connected. It gives up after as many attempts
// as cfg says, or when ctx ends.
func Dial(ctx context.Context, cfg ClientConfig) (*Client, error) {
	c, err := NewClient(cfg)
	if err != nil {
		return nil, err
	}
	if err := c.pool.Home().Connect(ctx); err != nil {
		c.Close()
		return nil, &OpError{Op: "connect", Err: err}
	}
	return c, nil
}

// Close ends the connection and all calls under way, whose error is ErrClosed,
// and waits for the Client's goroutines. Only the first call does anything; it
// always returns nil.
func (c *Client) Close() error {
	c.pool.Close()
	return nil
}

// Addr returns an address that the Client is connected to, and "" if it is
// not.
func (c *Client) Addr() string { return c.pool.Addr() }

// do sends the call and waits until it is over. If it returns nil the call has
// its answer and is the caller's, to be released.
func (c *Client) do(ctx context.Context, op, topic string, call *link.Call) error {
	if f := c.pool.Do(ctx, topic, call); f != nil {
		return failed(op, topic, f)
	}
	return nil
}
