package logd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Client talks to a server over one connection, which its methods share, or over
// two if there are reads beside other calls; see the package comment. All methods are safe for concurrent use.
//
// A context that ends during a call ends the call at once; only an append
// whose batch is just being written waits for the end of that, for at most a
// second. The connection goes on: the answer to a request that was sent is
// read and thrown away when it comes. If that is the answer to a waiting read
// and nothing else is under way, the connection is dropped instead.
type Client struct {
	cfg  ClientConfig
	life context.Context // ends with Close; the parent of connecting
	stop context.CancelFunc
	wg   sync.WaitGroup // connections, and connecting

	calls callPool

	conn  atomic.Pointer[conn]   // nil or ended if there is none
	reads atomic.Pointer[Client] // has the connection for reads, if they have their own

	mu         sync.Mutex
	closed     bool
	connecting *connecting // nil if nobody is at it
	addr       int         // which of cfg.Addrs is tried first
	leader     string      // is tried before cfg.Addrs, once, because a server named it
	trying     string      // leader, while a round tries it
	failures   int         // in a row, since the last answer that was no error
	notBefore  time.Time   // when the next round may begin
	lastErr    error       // why the last round failed
}

// connecting is one effort to get a connection, for all who wait for it.
type connecting struct {
	cancel  context.CancelFunc
	waiters int           // guarded by Client.mu
	done    chan struct{} // closed at the end
	err     error         // set before done is closed

	// failed is closed when the round that is to come or under way has failed, and
	// another takes its place; roundErr is why. Both are guarded by Client.mu.
	failed   chan struct{}
	roundErr error

	hurry chan struct{} // cap 1: ends a pause
}

// NewClient returns a Client that connects when it is first used.
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	full := cfg.withDefaults()
	full.serializeHooks()
	return newClient(full), nil
}

func newClient(cfg ClientConfig) *Client {
	c := &Client{cfg: cfg}
	c.life, c.stop = context.WithCancel(context.Background())
	return c
}

// sibling returns a Client of the same configuration, hooks included, that is
// not connected. It is closed apart.
func (c *Client) sibling() *Client { return newClient(c.cfg) }

// Dial returns a Client that is connected. It gives up after as many attempts
// as cfg says, or when ctx ends.
func Dial(ctx context.Context, cfg ClientConfig) (*Client, error) {
	c, err := NewClient(cfg)
	if err != nil {
		return nil, err
	}
	if _, err := c.connection(ctx); err != nil {
		c.Close()
		return nil, &OpError{Op: "connect", Err: err}
	}
	return c, nil
}

// Close ends the connection and all calls under way, whose error is ErrClosed,
// and waits for the Client's goroutines. Only the first call does anything; it
// always returns nil.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	if cn := c.conn.Load(); cn != nil {
		cn.end(ErrClosed)
	}
	if reads := c.reads.Load(); reads != nil {
		reads.Close()
	}
	c.wg.Wait()
	return nil
}

// Addr returns the address that the Client is connected to, and "" if it is
// not.
func (c *Client) Addr() string {
	if cn := c.conn.Load(); cn != nil && cn.live() {
		return cn.addr
	}
	return ""
}

// send gives the call to a connection, by one of its ways to enqueue. Its error
// means that the call was not sent.
func (c *Client) send(ctx context.Context, cl *call, enqueue func(*conn, *call) bool) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// A connection may end between its making and its first call, but trying
	// on is of no use if it happens again and again.
	unasked := 0
	for range 3 + len(c.cfg.Addrs) {
		if cl.kind == answerBatches {
			if reads := c.reads.Load(); reads != nil {
				return reads.send(ctx, cl, enqueue)
			}
		}
		cn := c.conn.Load()
		if cn == nil || !cn.live() {
			var err error
			if cn, err = c.connection(ctx); err != nil {
				return nil, err
			}
		}
		err := c.admit(ctx, cn, cl)
		switch {
		case err == nil && c.enqueue(cn, cl, enqueue):
			return cn, nil
		case err == errUnasked && !cn.live():
			if unasked++; unasked >= len(c.cfg.Addrs) {
				return nil, cn.whyUnasked()
			}
		case err != nil && err != errUnasked:
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: it ends before it can be used", ErrConnectionLost)
}

// do sends the call and waits until it is over. If it returns nil the call has
// its answer and is the caller's, to be released.
func (c *Client) do(ctx context.Context, op, topic string, cl *call) error {
	for try := 1; ; try++ {
		if again, err := c.try(ctx, op, topic, cl, try); !again {
			return err
		}
	}
}

// try is do, once. With again the call is ready to be sent anew: a read that was
// lost to another one, or a call that does no harm and went to a host that has
// closed the connection before it ever answered, and there are other hosts.
func (c *Client) try(ctx context.Context, op, topic string, cl *call, try int) (again bool, err error) {
	const maxLost = 10
	kind := cl.kind
	cn, err := c.send(ctx, cl, (*conn).enqueueDirect)
	if err != nil {
		cl.release()
		return false, &OpError{Op: op, Topic: topic, Err: err, outcome: outcomeFor(kind, true)}
	}
	cn.readDirect(ctx, cl)
	select {
	case <-cl.done:
	case <-ctx.Done():
		if sig := cn.forsake(cl); sig != over {
			return false, &OpError{Op: op, Topic: topic, Addr: cn.addr, Err: ctx.Err(), outcome: outcomeFor(kind, sig == cut)}
		}
		if !cl.answered {
			cl.err = ctx.Err()
		}
	}
	if errors.Is(cl.err, errForsaken) && ctx.Err() != nil {
		cl.err = ctx.Err() // which is what has ended the connection
	}
	if cl.err != nil {
		elsewhere := cl.repeats && !cn.proven.Load() && errors.Is(cl.err, ErrConnectionLost) && ctx.Err() == nil
		if try < maxLost && cl.lostToAnother() || try < len(c.cfg.Addrs) && elsewhere {
			cl.again()
			return true, nil
		}
		err := &OpError{Op: op, Topic: topic, Addr: cn.addr, Err: cl.err, outcome: cl.failure()}
		cl.release()
		return false, err
	}
	cl.addr = cn.addr
	return false, nil
}

// connection returns a connection that takes calls, made if need be.
func (c *Client) connection(ctx context.Context) (*conn, error) {
	return c.connectionOr(ctx, false)
}

// reach makes sure that there is a connection. Unlike connection it gives up
// as soon as one round has failed, however many attempts are allowed; whoever
// tries on meets the Client's pauses.
func (c *Client) reach(ctx context.Context) error {
	_, err := c.connectionOr(ctx, true)
	return err
}

func (c *Client) connectionOr(ctx context.Context, oneRound bool) (*conn, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		if cn := c.conn.Load(); cn != nil && cn.live() {
			c.mu.Unlock()
			return cn, nil
		}
		effort := c.connecting
		if effort == nil {
			effort = c.connect()
		}
		effort.waiters++
		var failed chan struct{}
		if oneRound {
			failed = effort.failed
		}
		c.mu.Unlock()

		select {
		case <-failed:
			c.leave(effort, nil)
			c.mu.Lock()
			defer c.mu.Unlock()
			return nil, effort.roundErr
		case <-effort.done:
			if effort.err != nil {
				return nil, effort.err
			}
			// It may have ended since. The caller finds out, and counts that.
			if cn := c.conn.Load(); cn != nil {
				return cn, nil
			} // it was given to the reads
		case <-ctx.Done():
			return nil, c.leave(effort, ctx.Err())
		}
	}
}

// leave is for a caller who can't wait any longer. The last one to leave ends
// the effort.
func (c *Client) leave(effort *connecting, cause error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if effort.waiters--; effort.waiters == 0 {
		effort.cancel()
		if c.connecting == effort {
			c.connecting = nil
		}
	}
	if cause != nil && c.lastErr != nil {
		return fmt.Errorf("%w: %w", cause, c.lastErr)
	}
	return cause
}

// connect begins an effort to connect. Caller holds mu.
func (c *Client) connect() *connecting {
	ctx, cancel := context.WithCancel(c.life)
	last := c.conn.Load()
	effort := &connecting{cancel: cancel, done: make(chan struct{}), failed: make(chan struct{}), hurry: make(chan struct{}, 1)}
	c.connecting = effort
	c.wg.Go(func() {
		defer cancel()
		if last != nil {
			<-last.gone // one connection at a time; this one has ended
		}
		effort.err = c.rounds(ctx, effort)
		c.mu.Lock()
		if c.connecting == effort {
			c.connecting = nil
		}
		c.mu.Unlock()
		close(effort.done)
	})
	return effort
}

// rounds tries all addresses, again and again with pauses, until there is a
// connection, the attempts are used up or ctx ends.
func (c *Client) rounds(ctx context.Context, effort *connecting) error {
	for attempt := 1; ; attempt++ {
		if err := c.pause(ctx, effort); err != nil {
			return c.orClosed(err)
		}
		nc, addr, err := c.round(ctx)
		if err == nil {
			return c.adopt(effort, nc, addr)
		}
		if ctx.Err() != nil {
			return c.orClosed(ctx.Err())
		}
		pause := c.failed(err)
		c.cfg.Logger.Debug("cannot connect", slog.Any("reason", err), slog.Duration("pause", pause))
		c.cfg.OnConnectFailed(err, pause)
		c.mu.Lock()
		effort.roundErr = err
		close(effort.failed)
		effort.failed = make(chan struct{})
		c.mu.Unlock()
		if c.cfg.ReconnectAttempts > 0 && attempt >= c.cfg.ReconnectAttempts {
			return err
		}
	}
}

// orClosed returns ErrClosed in place of err if that is why.
func (c *Client) orClosed(err error) error {
	if c.life.Err() != nil {
		return ErrClosed
	}
	return err
}

// hurry has the next round begin without a pause: it is somebody's last.
func (c *Client) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notBefore = time.Time{}
	if c.connecting != nil {
		select {
		case c.connecting.hurry <- struct{}{}:
		default:
		}
	}
}

// pause waits until the next round may begin.
func (c *Client) pause(ctx context.Context, effort *connecting) error {
	c.mu.Lock()
	wait := time.Until(c.notBefore)
	c.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-effort.hurry:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// round tries the leader, if one was named, and every address once.
func (c *Client) round(ctx context.Context) (net.Conn, string, error) {
	var reasons errorList
	if leader := c.takeLeader(); leader != "" {
		nc, err := c.dial(ctx, leader)
		if err == nil {
			return nc, leader, nil
		}
		reasons = append(reasons, err)
	}
	c.mu.Lock()
	first := c.addr
	c.mu.Unlock()
	for i := range c.cfg.Addrs {
		which := (first + i) % len(c.cfg.Addrs)
		addr := c.cfg.Addrs[which]
		nc, err := c.dial(ctx, addr)
		if err == nil {
			c.mu.Lock()
			c.addr = which
			c.mu.Unlock()
			return nc, addr, nil
		}
		reasons = append(reasons, err)
	}
	return nil, "", fmt.Errorf("%w: %w", ErrConnect, reasons)
}

func (c *Client) dial(ctx context.Context, addr string) (net.Conn, error) {
	if limit := c.cfg.ConnectTimeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	nc, err := c.cfg.Dial(ctx, "tcp", addr)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("%s: no connection within %v", addr, c.cfg.ConnectTimeout)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = errors.New(err.Error()) // it is not the caller's context that has ended
	}
	return nc, err
}

// failed notes that a round failed, or a connection before its first good
// answer, and puts the next round off, by what it returns.
func (c *Client) failed(err error) (pause time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastErr = err
	pause = c.cfg.backoff(c.failures)
	c.notBefore = time.Now().Add(pause)
	c.failures++
	return pause
}

// backoff returns how long to pause after so many failures in a row, and one.
func (cfg *ClientConfig) backoff(failures int) time.Duration {
	pause := cfg.ReconnectMax
	if failures < 32 { // no shift beyond that is less than ReconnectMax
		pause = min(cfg.ReconnectMin<<failures, pause)
		if pause < cfg.ReconnectMin {
			pause = cfg.ReconnectMax // shifted out
		}
	}
	return pause - rand.N(pause/2+1)
}

// proved notes that the server answers.
func (c *Client) proved() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = 0
	c.notBefore = time.Time{}
	c.lastErr = nil
}

// adopt makes nc the Client's connection, unless the effort that made it was
// given up: another may have a connection by now, and there is only one.
func (c *Client) adopt(effort *connecting, nc net.Conn, addr string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		nc.Close()
		return ErrClosed
	case c.connecting != effort:
		nc.Close()
		return context.Canceled
	}
	proved := false
	cn := newConn(nc, addr, &c.cfg, func() {
		proved = true
		c.proved()
	})
	cn.redirected, c.trying = addr == c.trying, ""
	if c.reads.Load() != nil {
		cn.role = forOthers
	}
	c.conn.Store(cn)
	c.wg.Go(func() {
		c.cfg.Logger.Debug("connected", slog.String("remote", addr))
		c.cfg.OnConnect(addr)
		reason := cn.run()
		if own := errors.Is(reason, errIdle) || errors.Is(reason, errForsaken); !proved && !own {
			c.failed(reason)
			c.nextAddr()
		} else if errors.Is(reason, ErrShuttingDown) {
			c.nextAddr()
		} else if errors.Is(reason, ErrNotLeader) {
			c.redirect(cn, reason)
		}
		c.cfg.Logger.Debug("disconnected", slog.String("remote", addr), slog.Any("reason", reason))
		c.cfg.OnDisconnect(addr, reason)
		close(cn.gone)
	})
	return nil
}

// nextAddr makes the next round begin with another address.
func (c *Client) nextAddr() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addr = (c.addr + 1) % len(c.cfg.Addrs)
}
