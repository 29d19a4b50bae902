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
		var answer, data []byte
		switch r := r.(type) {
		case *peer.Fetch:
			var got cluster.Fetched
			if got, err = c.t.node.Serve(r.Topic, r.From, r.To); err == nil {
				parts := peer.Parts{From: r.From, Bytes: int64(len(got.Data)), Parts: got.Parts}
				answer, data = parts.Append(nil), got.Data
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
		if err := w.Write(answer, len(data) > 0); err != nil {
			return err
		}
		if len(data) > 0 {
			if err := w.Write(data, false); err != nil {
				return err
			}
		}
	}
}

// fetchConn is the connection on which bytes are asked for, one request at a time.
type fetchConn struct {
	mu   sync.Mutex
	o    *outbound // nil: none
	stop func() bool
}

// drop ends the connection.
func (f *fetchConn) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.close()
}

// close is drop. Caller holds mu.
func (f *fetchConn) close() {
	if f.o != nil {
		f.stop()
		f.o.nc.Close()
		f.o = nil
	}
}

// ErrNotConnected is a member that can't be asked now.
var ErrNotConnected = errors.New("peernet: not connected to the member")

// Fetch gets bytes of a topic from a member: see [cluster.Transport].
func (t *Transport) Fetch(from uint64, topic peer.ID, offset, end int64) (got cluster.Fetched, err error) {
	request := &peer.Fetch{Topic: topic, From: offset, To: end}
	err = t.ask(from, request, func(r *peer.Reader) error {
		parts, err := r.Fetched(request)
		if err != nil {
			return err
		}
		data, err := r.Body(make([]byte, 0, min(parts.Bytes, firstBytes)))
		got = cluster.Fetched{Data: data, Parts: parts.Parts}
		return err
	})
	return got, err
}

// Sums gets the CRC-32C of each MiB of a topic from a member: see [cluster.Node.Sums].
func (t *Transport) Sums(from uint64, topic peer.ID, offset, end int64) (sums []uint32, err error) {
	request := &peer.Sum{Topic: topic, From: offset, To: end}
	err = t.ask(from, request, func(r *peer.Reader) error {
		sums, err = r.Sums(request)
		return err
	})
	return sums, err
}

// ask asks a member, and has the answer read. An answer that is a refusal leaves the
// connection as it is; any other error ends it.
func (t *Transport) ask(from uint64, request peer.Request, read func(*peer.Reader) error) error {
	r := t.remote(from)
	if r == nil {
		return ErrNotConnected
	}
	f := &r.fetch
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := f.o != nil
	err := r.askOnce(request, read)
	if kept && f.o == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
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
	f.o.nc.SetWriteDeadline(time.Now().Add(progress))
	_, err := f.o.nc.Write(peer.AppendRequest(nil, request))
	if err == nil {
		err = read(f.o.reader)
	}
	_, gone := errors.AsType[*peer.GoneError](err)
	if _, refused := errors.AsType[*peer.Refused](err); err != nil && !gone && !refused {
		f.close()
	}
	return err
}
