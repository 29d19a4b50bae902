// Package inputs takes what programs send to the agent: lines, messages and syslog over
// sockets, requests over HTTP, and standard input. What it takes it puts into a
// [feed.Sink], which answers for it from then on.
//
// [Start] begins an input and [Input.Stop] ends it: what has arrived by then is read and
// put, and senders who asked for it are told what is safe. The files and the journal,
// which can be read again, are read by other packages; how they are written as inputs is
// here, too: [ParseFrom].
//
// A source of the sink is a connection, a socket of datagrams, or standard input. Nothing
// that is read is kept here for longer than until the sink has it.
package inputs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/lines"
)

// Config says how an input takes what comes. Zero values of numbers and times mean the
// defaults that are named.
type Config struct {
	Name string // of the input
	From From
	Full feed.Full // what becomes of messages for which there is no room

	// Topics are those that a sender may name, by MSG or HTTP; "*" allows all names.
	Topics []string

	MaxLine int  // the longest message, 64 KiB less 1 KiB
	TrimCR  bool // take off a CR before the end of a line
	// LongLines is what becomes of longer lines, and messages of syslog. A MSG is never
	// split, nor is a line over HTTP: they are refused.
	LongLines lines.Long

	MaxBody        int64         // the largest body of a request, 8 MiB
	MaxConnections int           // 1000
	Timeout        time.Duration // how long others may take: 15 s

	// What follows is of the start: a change takes another input.

	SocketMode    fs.FileMode // of a unix socket, 0660
	ReceiveBuffer int         // of a socket of datagrams, 4 MiB
	Insecure      bool        // listen where other machines come, although nothing keeps them out
	TLS           *tls.Config // of syslog+tls
	ClientCA      bool        // TLS asks for certificates of senders
	Stdin         *os.File    // standard input, os.Stdin
}

// The defaults of a Config.
const (
	DefaultMaxLine        = 63 << 10
	DefaultMaxBody        = 8 << 20
	DefaultMaxConnections = 1000
	DefaultTimeout        = 15 * time.Second
	DefaultSocketMode     = 0o660
	DefaultReceiveBuffer  = 4 << 20
)

func (c *Config) withDefaults() *Config {
	d := *c
	d.Topics = slices.Clone(c.Topics)
	setDefault(&d.MaxLine, DefaultMaxLine)
	setDefault(&d.MaxBody, DefaultMaxBody)
	setDefault(&d.MaxConnections, DefaultMaxConnections)
	setDefault(&d.Timeout, DefaultTimeout)
	setDefault(&d.SocketMode, DefaultSocketMode)
	setDefault(&d.ReceiveBuffer, DefaultReceiveBuffer)
	return &d
}

func setDefault[T int | int64 | time.Duration | fs.FileMode](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// allows reports whether a sender may name the topic.
func (c *Config) allows(topic string) bool {
	return batch.ValidTopic(topic) && (slices.Contains(c.Topics, topic) || slices.Contains(c.Topics, "*"))
}

// Counters count what an input does; what it takes, the sink counts. They are safe for
// concurrent use, and go on when an input of the same name is started again.
type Counters struct {
	Connections   atomic.Int64 // open ones
	ParseFailures atomic.Int64 // messages of syslog that are none
	LinesSplit    atomic.Int64
	Blocked       Blocked
}

// Blocked adds up for how long sources have waited for room. Of two that wait at a time,
// both count.
type Blocked struct {
	mu      sync.Mutex
	waiting int
	sum     time.Duration
	at      time.Time // up to which sum counts
}

// Total returns the sum, with what those who wait now have waited.
func (b *Blocked) Total() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count(0)
	return b.sum
}

// count changes the number of those who wait. The caller holds mu.
func (b *Blocked) count(change int) {
	now := time.Now()
	if b.waiting > 0 {
		b.sum += time.Duration(b.waiting) * now.Sub(b.at)
	}
	b.at, b.waiting = now, b.waiting+change
}

// During has b count the time that wait takes.
func (b *Blocked) During(wait func() error) error {
	add := func(change int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.count(change)
	}
	add(1)
	defer add(-1)
	return wait()
}

// Input is an input that runs. Its methods are safe for concurrent use.
type Input struct {
	sink     feed.Sink
	log      *slog.Logger
	counters *Counters
	config   atomic.Pointer[Config]
	service  service

	// life is that of what waits: for room, or for messages to be safe.
	life context.Context
	end  context.CancelFunc

	stop     sync.Once
	stopping chan struct{}
	done     chan struct{}
	sparse   Sparse
}

// service is how an input of one kind is served.
type service interface {
	addr() net.Addr // nil if it doesn't listen
	serve()         // returns when all that has arrived is put, and senders are told
	stop()          // has serve return once what has arrived is read; it doesn't wait
	abort()         // has serve return soon
}

// Start begins an input. It listens when Start returns; where, is logged. Counters may be
// nil, and so may log.
//
// Errors of the listening wrap those of the system, and socket.ErrNotSocket.
func Start(c Config, sink feed.Sink, counters *Counters, log *slog.Logger) (*Input, error) {
	if counters == nil {
		counters = new(Counters)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := CheckExposed(c.From, c.Insecure, c.ClientCA); err != nil {
		return nil, err
	}
	in := &Input{
		sink: sink, counters: counters, log: log.With("input", c.Name),
		stopping: make(chan struct{}), done: make(chan struct{}),
	}
	in.life, in.end = context.WithCancel(context.Background())
	in.config.Store(c.withDefaults())
	var err error
	if in.service, err = newService(in); err != nil {
		in.end()
		return nil, fmt.Errorf("input %q: %w", c.Name, err)
	}
	if addr := in.service.addr(); addr != nil {
		in.log.Info("listening", "from", c.From.String(), "address", addr.String())
	}
	go func() {
		defer close(in.done)
		in.service.serve()
	}()
	return in, nil
}

// newService opens what an input takes from.
func newService(in *Input) (service, error) {
	switch c := in.config.Load(); c.From.Kind {
	case Msg:
		return newServer(in, "ERR busy\r\n", in.serveMsg)
	case Lines:
		return newServer(in, "", in.serveLines)
	case HTTP:
		return newHTTP(in)
	case Stdin:
		return newStdin(in)
	case Syslog:
		if c.From.Datagrams() {
			return newDatagrams(in)
		}
		return newServer(in, "", in.serveSyslog)
	default:
		return nil, fmt.Errorf("%q is taken elsewhere", c.From)
	}
}

// Addr returns where the input listens, with the port that it got, or nil.
func (in *Input) Addr() net.Addr { return in.service.addr() }

// Done returns a channel that is closed when the input has ended: after Stop, and when
// standard input is at its end. All that was taken is put by then.
func (in *Input) Done() <-chan struct{} { return in.done }

// Update has the input take what comes by another Config from now on, and loses nothing.
// It returns an error, and changes nothing, if what differs is of the start.
func (in *Input) Update(c Config) error {
	if err := in.config.Load().fits(&c); err != nil {
		return err
	}
	in.config.Store(c.withDefaults())
	return nil
}

// fits returns what of a Config takes another input.
func (c *Config) fits(next *Config) error {
	n := next.withDefaults()
	changed := ""
	switch {
	case c.Name != n.Name:
		changed = "name"
	case c.From != n.From:
		changed = "from"
	case c.SocketMode != n.SocketMode:
		changed = "socket-mode"
	case c.ReceiveBuffer != n.ReceiveBuffer:
		changed = "receive-buffer"
	case (c.TLS == nil) != (n.TLS == nil):
		changed = "tls-cert"
	case c.ClientCA != n.ClientCA:
		changed = "tls-client-ca"
	}
	if changed != "" {
		return fmt.Errorf("input %q: a change of %s takes another input", c.Name, changed)
	}
	return CheckExposed(n.From, n.Insecure, n.ClientCA)
}

// Stop ends the input: nothing new is let in, what has arrived is read and put, and
// senders are told what is safe. If ctx ends before that, they are cut off, and its error
// is returned: what was not put is not taken. A second call waits for the first.
func (in *Input) Stop(ctx context.Context) error {
	in.stop.Do(func() {
		close(in.stopping)
		in.service.stop()
	})
	var err error
	select {
	case <-in.done:
	case <-ctx.Done():
		err = context.Cause(ctx)
		in.end()
		// Nothing waits any more; what is known is told before all is cut.
		select {
		case <-in.done:
		case <-time.After(drainPause):
			in.service.abort()
			<-in.done
		}
	}
	in.end()
	return err
}

// isStopping reports whether Stop was called.
func (in *Input) isStopping() bool {
	select {
	case <-in.stopping:
		return true
	default:
		return false
	}
}

// errStopped ends the reading of what has arrived when Stop is called.
var errStopped = errors.New("the input stops")

// put puts messages of a source, and waits for room if it is to.
func (in *Input) put(ctx context.Context, live feed.Live, messages []feed.Message, full feed.Full, safe func()) error {
	// It is asked without waiting first, so that only waiting counts as such.
	first := full
	if full == feed.Block {
		first = feed.Refuse
	}
	err := live.Put(ctx, messages, first, safe)
	if full == feed.Block && errors.Is(err, feed.ErrFull) {
		err = in.counters.Blocked.During(func() error { return live.Put(ctx, messages, full, safe) })
	}
	return err
}
