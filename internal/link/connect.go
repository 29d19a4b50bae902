package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/tlsconn"
)

// effort is one effort to get a connection, for all who wait for it: rounds of
// attempts with pauses between them.
type effort struct {
	cancel  context.CancelFunc
	waiters int           // guarded by Link.mu
	done    chan struct{} // closed at the end
	err     error         // set before done is closed

	round     *round        // the one that is to come or under way; guarded by Link.mu
	skipPause chan struct{} // cap 1: ends a pause
}

// round is one attempt for each address.
type round struct {
	failed chan struct{} // closed when the round has ended without a connection
	err    error         // why; set before failed is closed
}

func newRound() *round { return &round{failed: make(chan struct{})} }

// Connect makes sure that there is a connection.
func (l *Link) Connect(ctx context.Context) error {
	_, err := l.connection(ctx)
	return err
}

// ConnectOnce is Connect, but gives up as soon as one round has failed, however
// many attempts are allowed. Whoever tries on meets the Link's pauses.
func (l *Link) ConnectOnce(ctx context.Context) error {
	for {
		cn, effort, round, err := l.join()
		if cn != nil || err != nil {
			return err
		}
		select {
		case <-round.failed:
			l.leave(effort, nil)
			return round.err
		case <-effort.done:
			if effort.err != nil || l.conn.Load() != nil {
				return effort.err
			} // it was given to the reads
		case <-ctx.Done():
			return l.leave(effort, ctx.Err())
		}
	}
}

// connection returns a connection that takes calls, made if need be. It may have
// ended since: the caller finds out, and counts that.
func (l *Link) connection(ctx context.Context) (*conn, error) {
	for {
		cn, effort, _, err := l.join()
		if cn != nil || err != nil {
			return cn, err
		}
		select {
		case <-effort.done:
			if effort.err != nil {
				return nil, effort.err
			}
			if cn := l.conn.Load(); cn != nil {
				return cn, nil
			} // it was given to the reads
		case <-ctx.Done():
			return nil, l.leave(effort, ctx.Err())
		}
	}
}

// join returns the connection, or if there is none the effort to get one and its
// round. The caller counts as waiting for the effort until it is done, or leave.
func (l *Link) join() (*conn, *effort, *round, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil, nil, ErrClosed
	}
	if cn := l.conn.Load(); cn != nil && cn.live() {
		return cn, nil, nil, nil
	}
	if l.connecting == nil {
		l.connect()
	}
	l.connecting.waiters++
	return nil, l.connecting, l.connecting.round, nil
}

// leave is for a caller who can't wait any longer. The last one to leave ends
// the effort.
func (l *Link) leave(e *effort, cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.waiters--; e.waiters == 0 {
		e.cancel()
		if l.connecting == e {
			l.connecting = nil
		}
	}
	if cause != nil && l.lastErr != nil {
		return fmt.Errorf("%w: %w", cause, l.lastErr)
	}
	return cause
}

// connect begins an effort to connect. Caller holds mu.
func (l *Link) connect() {
	ctx, cancel := context.WithCancel(l.life)
	last := l.conn.Load()
	e := &effort{cancel: cancel, done: make(chan struct{}), round: newRound(), skipPause: make(chan struct{}, 1)}
	l.connecting = e
	l.wg.Go(func() {
		defer cancel()
		if last != nil {
			<-last.gone // one connection at a time; this one has ended
		}
		e.err = l.rounds(ctx, e)
		l.mu.Lock()
		if l.connecting == e {
			l.connecting = nil
		}
		l.mu.Unlock()
		close(e.done)
	})
}

// rounds tries all addresses, again and again with pauses, until there is a
// connection, the attempts are used up or ctx ends.
func (l *Link) rounds(ctx context.Context, e *effort) error {
	for attempt := 1; ; attempt++ {
		if err := l.pause(ctx, e); err != nil {
			return l.orClosed(err)
		}
		nc, err := l.tryAll(ctx)
		if err == nil {
			if err = l.adopt(e, nc); err != nil {
				nc.Close()
			}
			return err
		}
		if ctx.Err() != nil {
			return l.orClosed(ctx.Err())
		}
		pause := l.failed(err)
		l.opts.Logger.Debug("cannot connect", slog.Any("reason", err), slog.Duration("pause", pause))
		l.opts.OnConnectFailed(err, pause)
		l.mu.Lock()
		last := e.round
		e.round = newRound()
		l.mu.Unlock()
		last.err = err
		close(last.failed)
		if l.opts.ReconnectAttempts > 0 && attempt >= l.opts.ReconnectAttempts || !errors.Is(err, ErrConnect) {
			return err
		}
	}
}

// orClosed returns ErrClosed in place of err if that is why.
func (l *Link) orClosed(err error) error {
	if l.life.Err() != nil {
		return ErrClosed
	}
	return err
}

// SkipPause has the next round begin without a pause: it is somebody's last.
func (l *Link) SkipPause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notBefore = time.Time{}
	if l.connecting != nil {
		select {
		case l.connecting.skipPause <- struct{}{}:
		default:
		}
	}
}

// pause waits until the next round may begin. Who asks for a pinned Link pauses by
// itself.
func (l *Link) pause(ctx context.Context, e *effort) error {
	l.mu.Lock()
	wait := time.Until(l.notBefore)
	l.mu.Unlock()
	if wait <= 0 || l.pinned {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-e.skipPause:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dialed is a new connection.
type dialed struct {
	net.Conn
	addr    string
	greeted bool // the server has answered HELLO
}

// tryAll tries every address once.
func (l *Link) tryAll(ctx context.Context) (dialed, error) {
	var reasons Errors
	l.mu.Lock()
	first := l.addr
	l.mu.Unlock()
	all := l.addrs()
	for _, addr := range l.servers.order(all, first) {
		nc, err := l.dial(ctx, addr)
		if err == nil {
			l.mu.Lock()
			l.addr = slices.Index(all, addr)
			l.mu.Unlock()
			return nc, nil
		}
		if ctx.Err() == nil {
			l.servers.lost(addr)
		}
		reasons = append(reasons, err)
	}
	if !slices.ContainsFunc(reasons, func(err error) bool { return !hopeless(err) }) {
		return dialed{}, reasons // nothing that time would mend
	}
	return dialed{}, fmt.Errorf("%w: %w", ErrConnect, reasons)
}

func (l *Link) dial(ctx context.Context, addr string) (dialed, error) {
	limit := l.opts.ConnectTimeout
	if p := l.servers.Patience(); p > 0 && (limit < 0 || p < limit) {
		limit = p
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	nc, err := l.enter(ctx, addr, limit)
	if err != nil || l.opts.Codecs == "" || !l.servers.greets(addr) {
		return dialed{nc, addr, false}, err
	}
	known, err := l.greet(ctx, nc)
	if err != nil {
		nc.Close()
		if _, refused := err.(*protocol.Error); refused || ctx.Err() != nil {
			return dialed{}, fmt.Errorf("%s: %w", addr, err)
		}
		// It may be of the 0.3 line, and close the connection on what it does not know: if
		// it is there at all.
		nc, err := l.enter(ctx, addr, limit)
		if err == nil {
			l.servers.plain(addr)
		}
		return dialed{nc, addr, false}, err
	}
	return dialed{nc, addr, known}, nil
}

// enter opens a connection within the limit, and shows who the client is.
func (l *Link) enter(ctx context.Context, addr string, limit time.Duration) (net.Conn, error) {
	nc, err := l.open(ctx, addr)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("%s: no connection within %v", addr, limit)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = errors.New(err.Error()) // it is not the caller's context that has ended
	}
	if err != nil || l.opts.Token == nil {
		return nc, err
	}
	if err = l.authenticate(ctx, nc, addr); err != nil {
		nc.Close()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("%s: no answer to AUTH within %v", addr, limit)
		}
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return nc, nil
}

// UnixPath returns the path of a unix socket, and whether the address is of one.
func UnixPath(addr string) (path string, ok bool) { return strings.CutPrefix(addr, "unix:") }

// open opens a connection and does the handshake of TLS, if that is spoken.
func (l *Link) open(ctx context.Context, addr string) (net.Conn, error) {
	if path, ok := UnixPath(addr); ok {
		return l.opts.Dial(ctx, "unix", path)
	}
	nc, err := l.opts.Dial(ctx, "tcp", addr)
	if err != nil || l.opts.TLS == nil {
		return nc, err
	}
	config := l.opts.TLS
	if config.ServerName == "" {
		config = config.Clone()
		if config.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			nc.Close()
			return nil, err
		}
	}
	secure := tlsconn.Client(nc, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return secure, nil
}

// isAlert reports whether the other side has ended TLS by an alert.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// failed notes that a round failed, or a connection before its first good
// answer, and puts the next round off, by what it returns.
func (l *Link) failed(err error) (pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastErr = err
	pause = l.Backoff(l.failures)
	l.notBefore = time.Now().Add(pause)
	l.failures++
	return pause
}

// Backoff returns how long to pause after so many failures in a row, and one:
// twice as long each time, between Options.ReconnectMin and ReconnectMax. In a
// cluster, where another server takes over soon, the bounds are lower.
func (l *Link) Backoff(failures int) time.Duration {
	least, most := l.opts.ReconnectMin, l.opts.ReconnectMax
	if l.servers.Cluster() {
		least, most = min(least, 5*time.Millisecond), min(most, 500*time.Millisecond)
	}
	pause := most
	if failures < 32 { // no shift beyond that is less than most
		pause = min(least<<failures, most)
		if pause < least {
			pause = most // shifted out
		}
	}
	return pause - rand.N(pause/2+1)
}

// proved notes that the server answers.
func (l *Link) proved() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = 0
	l.notBefore = time.Time{}
	l.lastErr = nil
}

// adopt makes nc the Link's connection, unless the effort that made it was
// given up: another may have a connection by now, and there is only one. With an error
// nc is still its caller's.
func (l *Link) adopt(e *effort, nc dialed) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return ErrClosed
	case l.connecting != e:
		return context.Canceled
	}
	proved, addr := false, nc.addr
	cn := newConn(nc, l, func() {
		proved = true
		l.proved()
		l.servers.answered(addr)
	})
	if l.reads.Load() != nil {
		cn.purpose = forOthers
	}
	l.conn.Store(cn)
	l.wg.Go(func() {
		l.opts.Logger.Debug("connected", slog.String("remote", addr))
		l.opts.OnConnect(addr)
		reason := cn.run()
		own := slices.ContainsFunc([]error{errIdle, errAbandoned, errLeft, errDropped, errUngreeted, ErrClosed}, func(own error) bool { return errors.Is(reason, own) })
		if !own {
			l.servers.lost(addr)
		}
		if !proved && !own {
			l.failed(reason)
			l.nextAddr()
		} else if errors.Is(reason, protocol.ErrShuttingDown) {
			l.nextAddr()
		}
		l.opts.Logger.Debug("disconnected", slog.String("remote", addr), slog.Any("reason", reason))
		l.opts.OnDisconnect(addr, reason)
		close(cn.gone)
	})
	return nil
}

// nextAddr makes the next round begin with another address.
func (l *Link) nextAddr() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr = (l.addr + 1) % len(l.addrs())
}
