// Package server speaks the logd protocol. It checks requests and limits, hands
// batches to a [topic.Store], and sends what the store reads straight from its
// files. It stores nothing itself and knows nothing of how the store does.
//
// From the top down: a Server accepts connections and ends them. A conn drives a
// session: it has the socket, the goroutine and the deadlines. The session is fed
// bytes and yields bytes; it finds the requests in them. dispatch does what a
// request asks for, and tells a [Responder]. What it needs for that comes from
// lookup and nowhere else. [Server.Do] is dispatch for whoever has no connection
// here, and one request.
//
// Each connection has one goroutine. It reads as many requests as have
// arrived, answers them in order, and sends the answers with one write before
// it waits for more. A batch alone is committed with those of other connections by
// whoever comes first: see gatherings. An idle connection holds no buffer.
//
// A [Server] is like one of net/http: Serve blocks, Shutdown drains, Close
// cuts.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/socket"
	"github.com/logd-dev/logd/internal/topic"
)

// ErrServerClosed is returned by Serve after Shutdown or Close.
var ErrServerClosed = errors.New("server: closed")

// Options are the settings of a server. Store is required; the zero value of
// every other field is its default.
type Options struct {
	Store topic.Store
	Hooks topic.Hooks // default: none
	// Cluster is the cluster that the Store is of. Default: none.
	Cluster topic.Cluster
	// Positions are where consumers are. Default: none are kept.
	Positions Positions
	// TopicSettings are the settings of single topics. Default: there are none.
	TopicSettings TopicSettings
	Logger        *slog.Logger // default: discard

	// The first Limits.
	Timeout, IdleTimeout         time.Duration
	MaxConnections, MaxHTTPWaits int
	AuthTimeout                  time.Duration
	MaxUnauthenticated           int
	TopicWriteRate               int64

	// Auth says who may do what. Default: everybody may do everything.
	Auth *Auth

	// Unpacker looks into compressed batches. Without one none are taken, whatever the
	// Settings say.
	Unpacker Unpacker

	// Settings are what CONFIG tells, but for what is said above and the address:
	// see SetSettings.
	Settings protocol.Settings
}

// Limits bound what clients can take of a server; see SetLimits. The zero value of a field is its
// default.
type Limits struct {
	Timeout        time.Duration // a request from its first byte to its end, and each response write; default 15s
	IdleTimeout    time.Duration // a connection without a request; default 30s
	MaxConnections int           // default 10000
	MaxHTTPWaits   int           // reads over HTTP that wait; default half of MaxConnections

	// AuthTimeout is how long a connection may go without showing who it is, where
	// that is needed. Default 10s.
	AuthTimeout time.Duration
	// MaxUnauthenticated is how many such connections there may be; of one address
	// there may be 64. Default a quarter of MaxConnections, at least 1.
	MaxUnauthenticated int

	// TopicWriteRate is how many bytes a second are taken for each topic, whoever sends
	// them. Default no limit.
	TopicWriteRate int64
}

func (l *Limits) setDefaults() {
	if l.Timeout <= 0 {
		l.Timeout = 15 * time.Second
	}
	if l.IdleTimeout <= 0 {
		l.IdleTimeout = 30 * time.Second
	}
	if l.MaxConnections <= 0 {
		l.MaxConnections = 10000
	}
	if l.MaxHTTPWaits <= 0 {
		l.MaxHTTPWaits = max(l.MaxConnections/2, 1)
	}
	if l.AuthTimeout <= 0 {
		l.AuthTimeout = 10 * time.Second
	}
	if l.MaxUnauthenticated <= 0 {
		l.MaxUnauthenticated = max(l.MaxConnections/4, 1)
	}
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Hooks == nil {
		o.Hooks = noHooks{}
	}
	if o.Cluster == nil {
		o.Cluster = noCluster{}
	}
}

// Server serves the protocol. Create it with New.
type Server struct {
	o        Options
	doors    doors
	log      *slog.Logger
	counters counters
	refusals chan struct{} // a slot for each connection that is being refused
	settings atomic.Pointer[settings]

	refused    refusals
	strangers  strangers
	topics     topicShares
	gatherings gatherings

	// ctx ends when the server is closed, with the work of all connections.
	ctx    context.Context
	cancel context.CancelCauseFunc

	limits atomic.Pointer[Limits]

	mu        sync.Mutex
	host      string // of the first listener
	listeners map[net.Listener]bool
	members   map[member]bool
	state     state
	group     sync.WaitGroup // members and refusals
}

// member is a connection or an exchange, which the end of the server waits for.
type member interface {
	topic.Waker
	drain() // has it answer what has arrived, and end
	cut()   // has it end now
}

type state uint8

const (
	serving state = iota
	draining
	closed
)

// parallelRefusals bounds the connections that are kept for a moment after they
// were told that there are too many of them; they are at most half as many as
// MaxConnections, but some.
const parallelRefusals = 64

// New returns a server for the store.
func New(o Options) *Server {
	o.setDefaults()
	limits := Limits{o.Timeout, o.IdleTimeout, o.MaxConnections, o.MaxHTTPWaits, o.AuthTimeout, o.MaxUnauthenticated, o.TopicWriteRate}
	limits.setDefaults()
	s := &Server{
		o: o, log: o.Logger,
		refusals:  make(chan struct{}, max(min(parallelRefusals, limits.MaxConnections/2), 8)),
		listeners: make(map[net.Listener]bool),
		members:   make(map[member]bool),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.doors = doors{store: o.Store, deleteHooks: o.Hooks, cluster: o.Cluster, positions: o.Positions, topicSettings: o.TopicSettings, auth: o.Auth, limits: &s.limits}
	s.limits.Store(&limits)
	s.strangers.setMost(limits.MaxUnauthenticated)
	s.SetSettings(o.Settings)
	return s
}

// SetLimits has the server keep to other limits from here on. It does not block.
// Deadlines that are set already stay, and so do connections beyond a lower
// MaxConnections.
func (s *Server) SetLimits(l Limits) {
	l.setDefaults()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits.Store(&l)
	s.strangers.setMost(l.MaxUnauthenticated)
	p := *s.settings.Load()
	p.follow(&l)
	s.follow(&p)
}

// SetTopicLimits has the server keep to limits of single topics from here on: of returns
// them, and must not block; nil: there are none.
func (s *Server) SetTopicLimits(of func(topic []byte) TopicLimits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := *s.settings.Load()
	p.of = of
	s.follow(&p)
}

// follow puts settings in force. Caller holds mu.
func (s *Server) follow(p *settings) {
	s.settings.Store(p)
	if s.topics.setRate(func(topic []byte) int64 { return p.limitsOf(topic).WriteRate }) {
		for m := range s.members { // of which some may wait by the old one
			m.Wake()
		}
	}
}

// settings are what is looked at for each batch.
type settings struct {
	protocol.Settings
	topicWriteRate int64
	of             func(topic []byte) TopicLimits
}

// follow takes from the limits what is theirs to say.
func (p *settings) follow(l *Limits) {
	p.Timeout, p.IdleTimeout, p.topicWriteRate = l.Timeout, l.IdleTimeout, l.TopicWriteRate
}

// SetSettings says what CONFIG tells, but for timeouts and the address, and with it
// what requests are held to: MaxBatchSize, envelope and data, in bytes (0: 65536),
// MaxMessages of a READ or TAIL (0: 50000), Producers (0: no numbered batches), Codecs (0:
// no compressed batches) and MaxUncompressedSize of those.
func (s *Server) SetSettings(p protocol.Settings) {
	if p.MaxBatchSize <= 0 {
		p.MaxBatchSize = protocol.DefaultMaxBatchSize
	}
	if p.MaxMessages <= 0 {
		p.MaxMessages = 50000
	}
	if s.o.Unpacker == nil {
		p.Codecs = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	in := settings{Settings: p}
	if was := s.settings.Load(); was != nil {
		in.of = was.of
	}
	in.follow(s.limits.Load())
	s.follow(&in)
}

// Serve accepts connections on l until Shutdown or Close, and then returns
// ErrServerClosed. Any other failure to accept is taken as passing, logged and
// waited out.
func (s *Server) Serve(l net.Listener) error { return s.serve(l, nil) }

// ServeTLS is Serve for clients that speak TLS, or may.
func (s *Server) ServeTLS(l net.Listener, t *TLS) error { return s.serve(l, t) }

func (s *Server) serve(l net.Listener, t *TLS) error {
	s.mu.Lock()
	if s.state != serving {
		s.mu.Unlock()
		l.Close()
		return ErrServerClosed
	}
	s.listeners[l] = true
	if s.host == "" {
		s.host = l.Addr().String()
	}
	s.mu.Unlock()
	const minBackoff, maxBackoff = 5 * time.Millisecond, time.Second
	backoff := minBackoff
	for {
		nc, err := l.Accept()
		if err != nil {
			if s.ctx.Err() != nil || !s.accepting() {
				return ErrServerClosed
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			s.log.Warn("accept failed", "err", err, "retry", backoff)
			select {
			case <-time.After(backoff):
			case <-s.ctx.Done():
			}
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		backoff = minBackoff
		s.serveConn(nc, t)
	}
}

func (s *Server) accepting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == serving
}

// ServeConn serves one connection in a goroutine of its own. The server owns
// nc from here on.
func (s *Server) ServeConn(nc net.Conn) { s.serveConn(nc, nil) }

func (s *Server) serveConn(nc net.Conn, t *TLS) {
	c := newConn(s, nc, t)
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.admit()
	if err == nil && (t != nil || c.isStranger()) && !c.becomeStranger(false) {
		s.counters.refused.Add(1)
		err = protocol.ErrBusy
	}
	if err == nil && !c.sitEarly() {
		s.counters.throttled[connections].Add(1)
		c.endStranger()
		err = protocol.ErrBusy
	}
	switch err {
	case nil:
	case protocol.ErrBusy:
		if t != nil {
			nc.Close() // without a byte: whoever begins a handshake is told nothing plain
			return
		}
		s.refuse(nc)
		return
	default:
		nc.Close()
		return
	}
	s.members[c] = true
	s.counters.active.Add(1)
	s.counters.total.Add(1)
	s.group.Go(func() {
		defer s.forget(c)
		c.serve()
	})
}

// admit returns why there can't be another member, or nil. Caller holds mu.
func (s *Server) admit() *protocol.Error {
	if s.state != serving {
		return protocol.ErrShuttingDown
	}
	if len(s.members) >= s.limits.Load().MaxConnections {
		s.counters.refused.Add(1)
		return protocol.ErrBusy
	}
	return nil
}

// enter makes m a member, which is waited for until leave and group.Done, or
// returns why it can't be one.
func (s *Server) enter(m member) *protocol.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.admit()
	if err == nil {
		s.members[m] = true
		s.group.Add(1)
	}
	return err
}

func (s *Server) leave(m member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.members, m)
}

// refuse answers busy and closes. Caller holds mu.
func (s *Server) refuse(nc net.Conn) {
	select {
	case s.refusals <- struct{}{}:
	default:
		if _, ok := nc.(*net.TCPConn); ok {
			nc.Write(protocol.AppendError(nil, protocol.ErrBusy)) // a new socket has room: this does not wait
		}
		nc.Close()
		return
	}
	s.group.Go(func() {
		defer func() { <-s.refusals }()
		nc.SetWriteDeadline(time.Now().Add(time.Second))
		nc.Write(protocol.AppendError(nil, protocol.ErrBusy))
		socket.Linger(nc)
	})
}

func (s *Server) forget(c *conn) {
	if r := recover(); r != nil {
		s.logPanic(c.from(), r)
	}
	c.accepted.Close() // what matters was flushed or is lost to a client that is gone
	c.releaseBuffers()
	c.endStranger()
	c.stand()
	s.leave(c)
	s.counters.active.Add(-1)
}

// logPanic is called by the deferred function that has recovered r.
func (s *Server) logPanic(remote string, r any) {
	s.counters.panics.Add(1)
	s.log.Error("panic in a connection; it is closed", "remote", remote, "panic", r, "stack", string(debug.Stack()))
}

// Shutdown stops accepting, lets every connection answer the requests that
// have arrived, wakes the readers that wait, and returns when all connections
// are closed. If ctx is done before, it cuts the rest and returns the context's
// error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.state == serving {
		s.state = draining
	}
	err := s.closeListeners()
	for m := range s.members {
		m.drain()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.group.Wait()
		close(done)
	}()
	select {
	case <-done:
		return errors.Join(err, s.Close())
	case <-ctx.Done():
		err = errors.Join(err, context.Cause(ctx), s.Close())
		<-done
		return err
	}
}

// Close cuts all connections and waits for their goroutines.
func (s *Server) Close() error {
	s.mu.Lock()
	s.state = closed
	s.cancel(ErrServerClosed)
	err := s.closeListeners()
	for m := range s.members {
		m.cut()
	}
	s.mu.Unlock()
	s.group.Wait()
	return err
}

// closeListeners closes what Serve accepts from. Caller holds mu.
func (s *Server) closeListeners() error {
	var errs []error
	for l := range s.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
		delete(s.listeners, l)
	}
	return errors.Join(errs...)
}

// Draining reports whether the server has begun to shut down.
func (s *Server) Draining() bool { return !s.accepting() }

func (s *Server) address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.host
}
