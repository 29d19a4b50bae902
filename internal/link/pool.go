package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// Pool is the connections of a client: a Link to whichever of its servers answers,
// which is home, and one to each other member of a cluster to which a server has sent
// it on. Of a server in no cluster there is home alone.
//
// Where a topic is asked for is learned from what fails ([Pool.Failed]): the server
// that another one has named, or else the next. All methods are safe for concurrent
// use.
type Pool struct {
	opts    Options
	servers *Servers
	home    *Link
	single  bool // one connection at a time: who is sent on leaves the last one

	routed atomic.Bool // routes is not empty

	mu     sync.Mutex
	closed bool
	routes map[string]string // topic to address, where that is not home
	links  map[string]*Link  // the others, by address
	last   *Link             // of a single one: where it was last
}

// NewPool returns a Pool that connects when it is first used.
func NewPool(o Options) *Pool {
	return newPool(o.inOrder(), newServers(o.Addrs), false)
}

func newPool(o Options, servers *Servers, single bool) *Pool {
	home := newLink(o, servers)
	home.alone = single
	return &Pool{
		opts: o, servers: servers, home: home, single: single, last: home,
		routes: make(map[string]string), links: make(map[string]*Link),
	}
}

// Sibling returns a Pool of the same options, callbacks included, that is not
// connected and is closed apart. What is known of the servers is shared. It is for one
// caller at a time, and has one connection at a time: its reads that wait have none of
// their own.
func (p *Pool) Sibling() *Pool { return newPool(p.opts, p.servers, true) }

// Servers returns what is known of the servers.
func (p *Pool) Servers() *Servers { return p.servers }

// Home returns the Link to whichever server answers.
func (p *Pool) Home() *Link { return p.home }

// Close closes all Links. Only the first call does anything.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	links := p.links
	p.links = nil
	p.mu.Unlock()
	p.home.Close()
	for _, l := range links {
		l.Close()
	}
}

// Addr returns the address of a server that there is a connection to, home's if there
// is that, and "" if there is none.
func (p *Pool) Addr() string {
	if addr := p.home.Addr(); addr != "" || !p.routed.Load() {
		return addr
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, l := range p.links {
		if l.Addr() != "" {
			return addr
		}
	}
	return ""
}

// Start is [Link.Start] of a batch of the topic. It returns the Link over which the
// batch is sent. Nothing is sent twice: only servers that can't be reached are passed
// over.
func (p *Pool) Start(ctx context.Context, topic string, out []byte, pending *Pending) (*Link, *Failure) {
	for n := 0; ; n++ {
		l := p.Route(topic)
		f := l.Start(ctx, out, pending)
		if f == nil {
			return l, nil
		}
		p.Failed(topic, l, f)
		if !l.pinned || !errors.Is(f.Err, ErrConnect) || !p.mayTry(n) {
			return l, f
		}
	}
}

// Route returns the Link for requests about a topic, and home for those about none.
func (p *Pool) Route(topic string) *Link {
	if !p.routed.Load() {
		return p.home
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.linkTo(p.routes[topic])
}

// linkTo returns the Link to the address, and home for none. Caller holds mu.
func (p *Pool) linkTo(addr string) *Link {
	l := p.home
	if addr != "" && !p.closed && p.home.Addr() != addr {
		if l = p.links[addr]; l == nil {
			o := p.opts
			o.Addrs, o.ReconnectAttempts = []string{addr}, 1 // who asks there goes elsewhere if need be
			l = newLink(o, p.servers)
			l.alone, l.pinned = p.single, true
			p.links[addr] = l
		}
	}
	if p.single && p.last != l {
		p.last.drop()
		p.last = l
	}
	return l
}

// Failed learns from the failure of a request about a topic, which was sent over l,
// where the next one goes.
func (p *Pool) Failed(topic string, l *Link, f *Failure) {
	if topic == "" || !elsewhere(f.Err) {
		return
	}
	if errors.Is(f.Err, protocol.ErrNotLeader) {
		p.servers.suspect()
	}
	if !p.servers.several() {
		return
	}
	next := p.next(l, f)
	p.mu.Lock()
	defer p.mu.Unlock()
	if route := p.routes[topic]; route != f.from(l) && (route != "" || l != p.home) {
		return // it has gone elsewhere meanwhile: this is old news
	}
	if next == "" {
		delete(p.routes, topic)
	} else {
		p.routes[topic] = next
	}
	p.routed.Store(len(p.routes) > 0)
}

// next returns the address to go to after a failure over l, and "" for home.
func (p *Pool) next(l *Link, f *Failure) string {
	at := f.from(l)
	switch {
	case f.named() != "":
		return f.Leader
	case errors.Is(f.Err, ErrConnectionLost) || errors.Is(f.Err, ErrConnect):
		if home := p.home.Addr(); l.pinned && home == at {
			break // it is not home, but as far away
		}
		return "" // where home has a connection, or makes one to the next server
	}
	return p.servers.after(at)
}

// from returns the address from which the failure comes, over l, and "" if it comes
// from home, which could not be connected.
func (f *Failure) from(l *Link) string {
	if f.Addr == "" && l.pinned {
		return l.opts.Addrs[0]
	}
	return f.Addr
}

// named returns the leader that the server has named, if that leads away from it.
func (f *Failure) named() string {
	if f.Leader == f.Addr {
		return ""
	}
	if _, _, err := net.SplitHostPort(f.Leader); err != nil {
		return ""
	}
	return f.Leader
}

// elsewhere reports whether another server may answer, or the same one later, what
// has failed with err.
func elsewhere(err error) bool {
	if _, damaged := err.(*DamageError); damaged {
		return false
	}
	return slices.ContainsFunc([]error{
		ErrConnectionLost, ErrConnect, protocol.ErrNotLeader, protocol.ErrBusy, protocol.ErrShuttingDown,
	}, func(target error) bool { return errors.Is(err, target) })
}

// Do sends the call, which is about a topic or none, and waits until it is over. If it
// returns nil the call has its answer and is the caller's, to be released; otherwise
// the call is gone.
//
// If there are several servers it sends the call to another one, as long as that does
// no harm: until ctx ends, or all have had it as often as Options.ReconnectAttempts
// allows.
func (p *Pool) Do(ctx context.Context, topic string, cl *Call) *Failure {
	l := p.Route(topic)
	f, mine := l.attempt(ctx, cl)
	if f != nil {
		f, l = p.failover(ctx, topic, cl, l, f, mine)
	}
	if f == nil && p.servers.old() {
		p.Refresh(ctx, l)
	}
	return f
}

// failover is Do after the first attempt, over l, has failed. The call is the caller's
// if mine is true. It returns the Link over which the call was answered.
func (p *Pool) failover(ctx context.Context, topic string, cl *Call, l *Link, f *Failure, mine bool) (*Failure, *Link) {
	for n, named := 0, false; ; {
		p.Failed(topic, l, f)
		if !mine {
			return f, l
		}
		if !p.mayRepeat(cl, l, f) || !p.mayTry(n) {
			cl.Release()
			return f, l
		}
		if f.Answered && p.servers.stale.Load() {
			p.Refresh(ctx, l)
		}
		// Servers that name each other are not to be asked in a tight loop.
		sentOn := !named && f.named() != ""
		named = f.named() != ""
		if !sentOn {
			if err := p.pause(ctx, n); err != nil {
				cl.Release()
				f.Err = fmt.Errorf("%w: %w", err, f.Err)
				return f, l
			}
			n++
		}
		if topic != "" {
			l = p.Route(topic)
		} else {
			next := p.next(l, f)
			p.mu.Lock()
			l = p.linkTo(next)
			p.mu.Unlock()
		}
		cl.again()
		if f, mine = l.attempt(ctx, cl); f == nil {
			return nil, l
		}
	}
}

// mayRepeat reports whether the call that has failed over l may be sent again.
func (p *Pool) mayRepeat(cl *Call, l *Link, f *Failure) bool {
	switch {
	case !elsewhere(f.Err) || errors.Is(f.Err, ErrClosed):
		return false
	case errors.Is(f.Err, protocol.ErrNotLeader):
		return true
	case !p.servers.several():
		return false
	case errors.Is(f.Err, ErrConnect):
		return l.pinned // home has tried all
	case cl.repeats:
		return true
	case errors.Is(f.Err, protocol.ErrBusy):
		return cl.kind == answerAppend // else it may be under way
	}
	return f.Undone
}

// mayTry reports whether there may be another attempt after n that followed the first:
// for as long as a cluster may take to have a leader again, and else one for each
// server.
func (p *Pool) mayTry(n int) bool {
	rounds := 1
	if p.servers.Cluster() {
		rounds = p.opts.ReconnectAttempts
	}
	return rounds <= 0 || n+1 < rounds*max(len(p.servers.all()), 2)
}

// Backoff returns how long to pause after so many failures in a row, and one.
func (p *Pool) Backoff(failures int) time.Duration { return p.home.Backoff(failures) }

// pause waits before the next attempt in a cluster. Otherwise home does that.
func (p *Pool) pause(ctx context.Context, failures int) error {
	if !p.servers.Cluster() {
		return ctx.Err()
	}
	timer := time.NewTimer(p.Backoff(failures))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.home.life.Done():
		return ErrClosed
	}
}

// maxCluster is how long the answer to CLUSTER may be.
const maxCluster = 1 << 20

// Refresh asks over l who the members are, if that is to be asked.
func (p *Pool) Refresh(ctx context.Context, l *Link) {
	if !p.servers.stale.CompareAndSwap(true, false) {
		return
	}
	cl := p.home.Call(AnswerBody, &protocol.Request{Command: protocol.Cluster})
	cl.MaxBody = maxCluster
	f, mine := l.attempt(ctx, cl)
	switch {
	case f == nil:
		if info, err := protocol.ParseCluster(cl.Body); err == nil {
			var addrs []string
			for _, m := range info.Members {
				if _, _, err := net.SplitHostPort(m.Addr); err == nil {
					addrs = append(addrs, m.Addr)
				}
			}
			p.servers.setMembers(addrs)
		}
	case !f.Answered || elsewhere(f.Err):
		p.servers.stale.Store(true)
	default: // it is in none, whatever another one has said
		p.servers.setMembers(nil)
	}
	if mine {
		cl.Release()
	}
}
