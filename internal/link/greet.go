package link

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// A client that knows codecs says so with HELLO, on each connection before anything else
// but AUTH, and waits for the answer. Whatever a server answers that does not know
// HELLO, it is then one that has no compressed batches for this client.

const (
	// maxGreeting is how long the answer to HELLO may be.
	maxGreeting = 4 << 10
	// plainFor is how long a server is not greeted that has closed the connection on
	// HELLO: by then it may be another one.
	plainFor = time.Minute
)

// greet says HELLO on a new connection. The error is a *protocol.Error if the server
// refuses the connection itself.
func (l *Link) greet(ctx context.Context, nc net.Conn) error {
	return bounded(ctx, nc, func() error { return l.hello(nc) })
}

func (l *Link) hello(nc net.Conn) error {
	hello := protocol.AppendRequest(nil, &protocol.Request{
		Command: protocol.Hello, Speaks: protocol.Version, Offers: []byte(l.opts.Codecs),
	})
	if _, err := nc.Write(hello); err != nil {
		return err
	}
	br := bufio.NewReaderSize(nc, maxGreeting)
	line, err := br.ReadSlice('\n')
	if err != nil {
		return err
	}
	reply, err := protocol.ParseReply(trimEnd(line))
	switch {
	case err != nil:
		return err
	case reply.Kind == protocol.ReplyError:
		e, known := protocol.ErrorFor(string(reply.Reason))
		switch {
		case !known:
			return nil
		case e == protocol.ErrBusy, e == protocol.ErrShuttingDown, e == protocol.ErrTLSRequired:
			return e
		case e.Closes:
			return io.EOF
		}
	case reply.Kind != protocol.ReplyBody || reply.Size > maxGreeting-2:
		return errGreeting
	default:
		if _, err := br.Discard(int(reply.Size) + len("\r\n")); err != nil {
			return err
		}
	}
	if br.Buffered() > 0 {
		return errGreeting // it has said more than it was asked
	}
	return nil
}

var errGreeting = errors.New("the answer to HELLO is none")

func trimEnd(line []byte) []byte {
	n := len(line) - 1
	if n > 0 && line[n-1] == '\r' {
		n--
	}
	return line[:n]
}

// greets reports whether the server at an address is to be greeted.
func (s *Servers) greets(addr string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.plainSince[addr]) > plainFor
}

// plain notes that a server has closed the connection on HELLO.
func (s *Servers) plain(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plainSince == nil {
		s.plainSince = make(map[string]time.Time)
	}
	s.plainSince[addr] = time.Now()
}
