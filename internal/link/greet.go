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
// HELLO, it is then one that has no compressed batches for this client. If it has some
// after all, and says so, it is not that server any more: it is greeted on a new
// connection.

const (
	// maxGreeting is how long the answer to HELLO may be.
	maxGreeting = 4 << 10
	// plainFor is how long a server is not greeted that has closed the connection on
	// HELLO: by then it may be another one.
	plainFor = time.Minute
)

// greet says HELLO on a new connection, and reports whether the server knows it. The
// error is a *protocol.Error if the server refuses the connection itself.
func (l *Link) greet(ctx context.Context, nc net.Conn) (known bool, err error) {
	err = bounded(ctx, nc, func() error {
		known, err = l.hello(nc)
		return err
	})
	return known, err
}

func (l *Link) hello(nc net.Conn) (known bool, err error) {
	hello := protocol.AppendRequest(nil, &protocol.Request{
		Command: protocol.Hello, Speaks: protocol.Version, Offers: []byte(l.opts.Codecs),
	})
	if _, err := nc.Write(hello); err != nil {
		return false, err
	}
	br := bufio.NewReaderSize(nc, maxGreeting)
	line, err := br.ReadSlice('\n')
	if err != nil {
		return false, err
	}
	reply, err := protocol.ParseReply(trimEnd(line))
	switch {
	case err != nil:
		return false, err
	case reply.Kind == protocol.ReplyError:
		e, ours := protocol.ErrorFor(string(reply.Reason))
		switch {
		case !ours:
			return false, nil
		case e == protocol.ErrBusy, e == protocol.ErrShuttingDown, e == protocol.ErrTLSRequired:
			return false, e
		case e.Closes:
			return false, io.EOF
		}
	case reply.Kind != protocol.ReplyBody || reply.Size > maxGreeting-2:
		return false, errGreeting
	default:
		if _, err := br.Discard(int(reply.Size) + len("\r\n")); err != nil {
			return false, err
		}
	}
	if br.Buffered() > 0 {
		return false, errGreeting // it has said more than it was asked
	}
	return reply.Kind == protocol.ReplyBody, nil
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

// forgetPlain has the server be greeted on the next connection.
func (s *Servers) forgetPlain(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.plainSince, addr)
}

// errUngreeted ends a connection whose server has not been greeted, and has a batch that
// it gives only to who was.
var errUngreeted = errors.New("the server is to be greeted")

// greetAnew reports whether the read, which is over, was refused for want of a greeting.
// The connection has ended then, and the next one is greeted: the read can be sent again.
// Only other reads lose the connection with it, and can be sent again, too.
func (cn *conn) greetAnew(cl *Call) bool {
	if cl.kind != AnswerBatches || cl.greeted || cn.greeted || cn.opts.Codecs == "" {
		return false
	}
	if cl.err != protocol.ErrUnsupportedCodec && !errors.Is(cl.err, errUngreeted) {
		return false
	}
	cl.greeted = true // once: it may hang up on HELLO again
	cn.servers.forgetPlain(cn.addr)
	cn.end(errUngreeted)
	return true
}
