package peernet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/cluster"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/socket"
)

// fetches answers the requests of a fetch connection.
func (c *inbound) fetches() error {
	c.nc.SetDeadline(time.Time{})
	var counters socket.Counters
	var w socket.Writer
	w.Init(c.nc, progress, &counters, func(int) {})
	for {
		c.in.forEver()
		if err := c.reader.Wait(); err != nil {
			return err
		}
		c.in.timeout = progress
		r, err := c.reader.Request()
		if err != nil {
			return err
		}
		var answer []byte
		var view cluster.View
		switch r := r.(type) {
		case *peer.Fetch:
			var parts []peer.Part
			if view, parts, err = c.t.node.Serve(r.Topic, r.From, r.To); err == nil {
				answer = (&peer.Parts{From: r.From, Bytes: view.Len(), Parts: parts}).Append(nil)
			}
		case *peer.Sum:
			var sums []uint32
			if sums, err = c.t.node.Sums(r.Topic, r.From, r.To); err == nil {
				answer = peer.AppendSums(nil, sums)
			}
		default:
			return peer.ErrInvalid
		}
		if gone, ok := errors.AsType[*peer.GoneError](err); ok {
			answer = peer.AppendGone(nil, gone.Oldest)
		} else if err != nil {
			answer = peer.AppendRefusal(nil, err.Error())
		}
		err = w.Write(answer, view != nil)
		if view != nil {
			for i := 0; i < view.Sections() && err == nil; i++ {
				err = w.Section(view.Section(i))
			}
			view.Close()
		}
		if err != nil {
			return err
		}
	}
}

// fetchConn is the connection on which bytes are asked for, one request at a time.
type fetchConn struct {
	mu    sync.Mutex
	o     *outbound // nil: none
	stop  func() bool
	ahead *ahead // nil: nothing was asked for before it is wanted
}

// ahead is the answer to a request for what follows the bytes that were fetched last: it
// arrives while who fetches has those to do with.
type ahead struct {
	request peer.Fetch
	done    chan struct{} // closed when got and err are there
	got     cluster.Fetched
	err     error
	forget  *time.Timer // there once done is closed
}

// keepAhead is how long what was asked for ahead is kept for who wants it: longer than
// anybody takes who goes on. Who is done, or has given up, does not say so.
const keepAhead = time.Minute

// drop ends the connection.
func (f *fetchConn) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.close()
}

// close is drop. Caller holds mu.
func (f *fetchConn) close() {
	if f.o == nil {
		return
	}
	f.stop()
	f.o.nc.Close()
	f.o = nil
	if f.ahead != nil {
		<-f.ahead.done
		f.ahead.forget.Stop()
		f.ahead = nil
	}
}

// settle has the connection be free for a request, and returns what was asked for ahead
// and came, if anything. Caller holds mu.
func (f *fetchConn) settle() *ahead {
	a := f.ahead
	if a == nil {
		return nil
	}
	<-a.done
	a.forget.Stop() // else it would hold the memory meanwhile
	f.ahead = nil
	if ends(a.err) {
		f.close()
	}
	if a.err != nil {
		return nil // it may be another answer by now
	}
	return a
}

// ends reports whether an error of a request ends the connection: an answer that is a
// refusal does not.
func ends(err error) bool {
	_, gone := errors.AsType[*peer.GoneError](err)
	_, refused := errors.AsType[*peer.Refused](err)
	return err != nil && !gone && !refused
}

// ErrNotConnected is a member that can't be asked now.
var ErrNotConnected = errors.New("peernet: not connected to the member")

// Fetch gets bytes of a topic from a member: see [cluster.Transport]. What follows them is
// asked for at once, and is read while the caller works.
func (t *Transport) Fetch(from uint64, topic peer.ID, offset, end int64) (got cluster.Fetched, err error) {
	r := t.remote(from)
	if r == nil {
		return got, ErrNotConnected
	}
	f := &r.fetch
	f.mu.Lock()
	defer f.mu.Unlock()
	request := &peer.Fetch{Topic: topic, From: offset, To: end}
	if a := f.settle(); a != nil && a.request == *request {
		got = a.got
	} else if err = r.ask(request, func(r *peer.Reader) (err error) {
		got, err = readFetched(r, request)
		return err
	}); err != nil {
		return got, err
	}
	if request.From += int64(len(got.Data)); request.From < end {
		f.askAhead(*request)
	}
	return got, nil
}

// readFetched reads the answer to a request.
func readFetched(r *peer.Reader, request *peer.Fetch) (cluster.Fetched, error) {
	parts, err := r.Fetched(request)
	if err != nil {
		return cluster.Fetched{}, err
	}
	data, err := r.Body(make([]byte, 0, min(parts.Bytes, cluster.FetchBytes)))
	return cluster.Fetched{Data: data, Parts: parts.Parts}, err
}

// askAhead has a request made, and its answer read. Caller holds mu.
func (f *fetchConn) askAhead(request peer.Fetch) {
	a := &ahead{request: request, done: make(chan struct{})}
	f.ahead = a
	o := f.o
	go func() {
		defer close(a.done)
		defer func() { a.forget = time.AfterFunc(keepAhead, func() { f.unwanted(a) }) }()
		if a.err = o.ask(&request); a.err == nil {
			a.got, a.err = readFetched(o.reader, &request)
		}
	}()
}

// unwanted lets go of what was asked for ahead, unless that was already done.
func (f *fetchConn) unwanted(a *ahead) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ahead == a {
		f.settle()
	}
}

// Sums gets the CRC-32C of each MiB of a topic from a member: see [cluster.Node.Sums].
func (t *Transport) Sums(from uint64, topic peer.ID, offset, end int64) (sums []uint32, err error) {
	r := t.remote(from)
	if r == nil {
		return nil, ErrNotConnected
	}
	r.fetch.mu.Lock()
	defer r.fetch.mu.Unlock()
	r.fetch.settle()
	request := &peer.Sum{Topic: topic, From: offset, To: end}
	err = r.ask(request, func(r *peer.Reader) error {
		sums, err = r.Sums(request)
		return err
	})
	return sums, err
}

// ask asks the member, and has the answer read. An answer that is a refusal leaves the
// connection as it is; any other error ends it. Caller holds fetch.mu, and nothing is
// asked for ahead.
func (r *remote) ask(request peer.Request, read func(*peer.Reader) error) error {
	kept := r.fetch.o != nil
	err := r.askOnce(request, read)
	if kept && r.fetch.o == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = r.askOnce(request, read) // it may have ended long ago
	}
	return err
}

func (r *remote) askOnce(request peer.Request, read func(*peer.Reader) error) error {
	f := &r.fetch
	if f.o == nil {
		if !r.control.isOpen() {
			return ErrNotConnected
		}
		o, err := r.dial(r.ctx, peer.ForFetch)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotConnected, err)
		}
		o.in.timeout = progress
		f.o, f.stop = o, context.AfterFunc(r.ctx, func() { o.nc.Close() })
	}
	err := f.o.ask(request)
	if err == nil {
		err = read(f.o.reader)
	}
	if ends(err) {
		f.close()
	}
	return err
}

// ask sends a request.
func (o *outbound) ask(request peer.Request) error {
	o.nc.SetWriteDeadline(time.Now().Add(progress))
	_, err := o.nc.Write(peer.AppendRequest(nil, request))
	return err
}
