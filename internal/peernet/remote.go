package peernet

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/logd-dev/logd/internal/cluster"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/socket"
)

// remote is a member that is spoken to. It has a goroutine for each connection, and
// another that notices the end of that.
type remote struct {
	t      *Transport
	id     uint64
	addr   string
	ctx    context.Context
	cancel context.CancelFunc

	control, data queue
	counters      socket.Counters
	wake          chan struct{} // has room for one: the member has just dialed us

	fetch fetchConn
}

func newRemote(t *Transport, id uint64, addr string) *remote {
	r := &remote{t: t, id: id, addr: addr, control: newQueue(), data: newQueue(), wake: make(chan struct{}, 1)}
	r.ctx, r.cancel = context.WithCancel(t.ctx)
	return r
}

// send has a message sent, or drops it.
func (r *remote) send(l letter) {
	switch kindOf(l.m) {
	case peer.KindBeat:
		r.control.putHeartbeat(l)
	case peer.KindMessage:
		r.control.put(l)
	case peer.KindAppend:
		if !r.data.put(l) {
			r.t.node.Unreachable(r.id, int(l.group))
		}
	case peer.KindTable:
		r.data.put(l) // the group sees that it is not on its way
	}
}

// pause is how long to wait until the next try: 5 ms, and twice as long each time.
type pause time.Duration

const minPause, maxPause = 5 * time.Millisecond, 500 * time.Millisecond

func (p *pause) next() time.Duration {
	d := max(time.Duration(*p), minPause)
	*p = pause(min(2*d, maxPause))
	return d/2 + rand.N(d/2)
}

// wait waits, or less if the member dials meanwhile: then it is there.
func (r *remote) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.wake:
	case <-r.ctx.Done():
	}
}

// run keeps the control connection, and those that depend on it.
func (r *remote) run() {
	defer r.fetch.drop()
	var p pause
	lost := false // a connection, and the node was not told
	for r.ctx.Err() == nil {
		o, err := r.dial(r.ctx, peer.Control)
		if err == nil {
			began := time.Now()
			r.t.log.Info("connected to member", "id", r.id, "addr", r.addr)
			err = r.keep(o)
			if r.ctx.Err() != nil {
				return
			}
			r.t.log.Warn("connection to member lost", "id", r.id, "addr", r.addr, "err", err)
			lost = true
			if time.Since(began) > maxPause {
				p = 0 // it may be gone: to know that early is worth a try
			}
		} else {
			r.t.log.Debug("no connection to member", "id", r.id, "addr", r.addr, "err", err)
		}
		if refused, ok := errors.AsType[*peer.Refused](err); ok && r.t.o.Refused != nil {
			r.t.o.Refused(r.id, refused.Reason)
		}
		if lost && errors.Is(err, syscall.ECONNREFUSED) {
			lost = false
			r.gone()
		}
		r.wait(p.next())
	}
}

// gone tells the node that the member's process is gone.
func (r *remote) gone() {
	r.t.node.PeerGone(r.id)
	r.t.wg.Go(func() {
		least, most := 10*time.Millisecond, 90*time.Millisecond
		for range campaigns {
			timer := time.NewTimer(least + rand.N(most))
			select {
			case <-timer.C:
				r.t.node.Campaign(r.id)
			case <-r.ctx.Done():
				timer.Stop()
				return
			}
			least, most = 100*time.Millisecond, 150*time.Millisecond
		}
	})
}

// campaigns is how often the node is to campaign, as long as nobody leads: two that do so
// at the same time keep each other from being elected.
const campaigns = 3

// outbound is a connection that was dialed.
type outbound struct {
	nc     net.Conn
	in     input
	reader *peer.Reader
}

// dial establishes a connection.
func (r *remote) dial(ctx context.Context, use peer.Use) (*outbound, error) {
	ctx, cancel := context.WithTimeout(ctx, handshake)
	defer cancel()
	nc, err := r.t.o.Dial(ctx, "tcp", r.addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	o := &outbound{nc: nc, in: newInput(nc)}
	o.reader = peer.NewReader(&o.in)
	hello := &peer.Hello{Cluster: r.t.o.Cluster, From: r.t.o.ID, To: r.id, Use: use}
	if _, err = nc.Write(peer.AppendRequest(nil, hello)); err == nil {
		err = o.reader.Accepted()
	}
	if !stop() {
		err = errors.Join(err, context.Cause(ctx))
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return o, nil
}

// watch ends a connection on which nothing is to be received: when the other side ends
// it, or when ctx is done. The context that it returns is done then, for a cause.
func (o *outbound) watch(ctx context.Context, wg *sync.WaitGroup) (context.Context, context.CancelCauseFunc) {
	ctx, end := context.WithCancelCause(ctx)
	context.AfterFunc(ctx, func() { o.nc.Close() })
	wg.Go(func() {
		err := o.reader.Accepted() // it may still be refused
		if err == nil {
			err = peer.ErrInvalid
		}
		end(err)
	})
	return ctx, end
}

// keep speaks on a control connection until it ends, and has the data connection kept
// meanwhile.
func (r *remote) keep(o *outbound) error {
	socket.SetUserTimeout(o.nc, r.t.silence)
	var wg sync.WaitGroup
	ctx, end := o.watch(r.ctx, &wg)
	r.control.setOpen(true)
	wg.Go(func() { r.keepData(ctx) })
	end(r.speak(ctx, o.nc))
	r.control.setOpen(false)
	wg.Wait()
	return context.Cause(ctx)
}

// batchBytes is about how much of what is small is written at once.
const batchBytes = 64 << 10

// speak sends what is in the control queue.
func (r *remote) speak(ctx context.Context, nc net.Conn) error {
	var w socket.Writer
	w.Init(nc, r.t.silence, &r.counters, func(int) {})
	start := peer.Start{Number: r.t.o.Start, Position: r.t.node.Position(), Version: r.t.o.Version}
	buf := peer.AppendFrame(nil, &peer.Frame{Kind: peer.KindStart, Message: start.Append(nil)})
	var message []byte
	for {
		if b, heartbeats := r.control.takeBeat(); b != nil {
			var err error
			if message, err = appendBeat(message[:0], b, heartbeats); err != nil {
				return err
			}
			buf = peer.AppendFrame(buf, &peer.Frame{Kind: peer.KindBeat, Message: message})
		}
		for len(buf) < batchBytes {
			l, ok := r.control.take()
			if !ok {
				break
			}
			if l.m == nil {
				buf = peer.AppendFrame(buf, &peer.Frame{Kind: peer.KindSuggest, Message: l.suggested})
				continue
			}
			var err error
			if message, err = (proto.MarshalOptions{}).MarshalAppend(message[:0], l.m); err != nil {
				return err
			}
			if len(message) > peer.MaxMessage {
				r.t.tooLarge(l, len(message), 0)
				continue
			}
			buf = peer.AppendFrame(buf, &peer.Frame{Kind: peer.KindMessage, Group: l.group, Message: message})
		}
		if len(buf) > 0 {
			if err := w.Write(buf, false); err != nil {
				return err
			}
			buf = buf[:0]
			continue
		}
		select {
		case <-r.control.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// keepData keeps the data connection as long as the control connection lives.
func (r *remote) keepData(ctx context.Context) {
	var p pause
	for ctx.Err() == nil {
		o, err := r.dial(ctx, peer.Data)
		if err == nil {
			began := time.Now()
			err = r.feed(ctx, o)
			if time.Since(began) > maxPause {
				p = 0
			}
		}
		r.t.log.Debug("no data connection to member", "id", r.id, "addr", r.addr, "err", err)
		timer := time.NewTimer(p.next())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// feed sends what is in the data queue until the connection ends.
func (r *remote) feed(ctx context.Context, o *outbound) error {
	var wg sync.WaitGroup
	ctx, end := o.watch(ctx, &wg)
	r.data.setOpen(true)
	end(r.feedAll(ctx, o.nc))
	r.data.setOpen(false)
	r.t.node.Unreachable(r.id, -1)
	wg.Wait()
	return context.Cause(ctx)
}

func (r *remote) feedAll(ctx context.Context, nc net.Conn) error {
	f := feeder{r: r}
	f.w.Init(nc, progress, &r.counters, func(int) {})
	for {
		for {
			l, ok := r.data.take()
			if !ok {
				break
			}
			err := f.send(l)
			r.data.sent(l)
			if err != nil {
				return err
			}
		}
		select {
		case <-r.data.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tooLarge tells that a message is dropped which no member would take.
func (t *Transport) tooLarge(l letter, message int, body int64) {
	t.log.Error("message is too large for other members", "group", l.group, "type", l.m.GetType(), "message", message, "body", body)
}

// feeder sends messages with the bytes of topics.
type feeder struct {
	r            *remote
	w            socket.Writer
	message, buf []byte // used again
}

// send sends a message with the bytes of its runs. If they are not there it is dropped:
// it may be sent again with others.
func (f *feeder) send(l letter) (err error) {
	kind := kindOf(l.m)
	var views []cluster.View
	ok := true
	if kind == peer.KindAppend {
		views, ok = f.r.t.node.Bodies(int(l.group), l.m)
		defer func() {
			for _, v := range views {
				v.Close()
			}
		}()
	}
	var body int64
	for _, v := range views {
		body += v.Len()
	}
	if f.message, err = (proto.MarshalOptions{}).MarshalAppend(f.message[:0], l.m); err != nil {
		return err
	}
	most := peer.MaxMessage
	if kind == peer.KindTable {
		most = peer.MaxTable
	}
	if body > maxBody || len(f.message) > most {
		f.r.t.tooLarge(l, len(f.message), body)
		ok = false
	}
	if !ok {
		f.r.t.node.Unreachable(f.r.id, int(l.group))
		return nil
	}
	f.buf = peer.AppendFrame(f.buf[:0], &peer.Frame{Kind: kind, Group: l.group, Message: f.message, Body: uint32(body)})
	if err := f.w.Write(f.buf, body > 0); err != nil {
		return err
	}
	if kind == peer.KindTable {
		f.message, f.buf = nil, nil // they may be large
	}
	for _, v := range views {
		for i := range v.Sections() {
			if err := f.w.Section(v.Section(i)); err != nil {
				return err
			}
		}
	}
	return nil
}
