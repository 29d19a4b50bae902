package server

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// input is a connection's side that reads. Its bytes stay where they are until
// the next fill, so that a run of batches is appended from where read(2) put
// it.
type input struct {
	buf  *buffer // nil while there is nothing unread and nothing arrives
	r, w int     // unread bytes are buf.b[r:w]

	// class is the size of the next buffer: what the last one had to grow to,
	// up to firstBuffer, since a client that has sent much once tends to do so
	// again. It shrinks with each use of less than a quarter of it.
	class int

	raw    syscall.RawConn // nil: bytes do not come from the descriptor as they are
	readFn func(fd uintptr) bool
	socket syscall.RawConn // the descriptor, also under TLS; nil if there is none
	n      int             // result of readFn
	err    error
	one    [1]byte
	poll   [1]unix.PollFd // argument of poll(2)
}

// unread returns the bytes that have arrived and not been consumed.
func (in *input) unread() []byte {
	if in.buf == nil {
		return nil
	}
	return in.buf.b[in.r:in.w]
}

// consume drops the first n unread bytes.
func (in *input) consume(n int) { in.r += n }

// full reports whether a fill would have to grow the buffer past limit.
func (in *input) full(limit int) bool {
	return in.buf != nil && in.r == 0 && in.w == len(in.buf.b) && in.w >= limit
}

// fill reads once from the connection. It makes room first, moving what is
// unread: slices into the buffer are void after it.
func (c *conn) fill() error {
	in := &c.in
	if in.r == in.w {
		in.shrink()
		in.r, in.w = 0, 0
	}
	if in.buf != nil && in.w == len(in.buf.b) {
		if in.r > 0 {
			was := in.w
			in.w = copy(in.buf.b, in.buf.b[in.r:in.w])
			in.r = 0
			if c.mayHoldToken() {
				clear(in.buf.b[in.w:was])
			}
		} else {
			c.grow()
		}
	}
	if in.raw == nil {
		c.readConn()
	} else {
		err := in.raw.Read(in.readFn)
		if c.takeBack(); c.ahead != goOn {
			return nil
		}
		if err != nil {
			return err
		}
	}
	if in.n > 0 {
		in.w += in.n
		c.srv.counters.bytesIn.Add(int64(in.n))
		c.moved(in.n)
		// What fills the buffer at once is a stream: read more at a time.
		if in.w == len(in.buf.b) && in.r == 0 && len(in.buf.b) < c.mostBuffer() {
			c.grow()
		}
		return nil
	}
	if in.err != nil {
		return in.err
	}
	return io.EOF
}

// readConn reads from a connection that is not used by its descriptor. While nothing is
// unread it takes one byte, so that an idle connection holds no buffer.
func (c *conn) readConn() {
	in := &c.in
	if in.r < in.w {
		in.n, in.err = c.nc.Read(in.buf.b[in.w:])
		return
	}
	if in.buf != nil {
		putBuffer(in.buf)
		in.buf = nil
	}
	c.idle()
	if in.n, in.err = c.nc.Read(in.one[:]); in.n > 0 {
		in.buf = getBuffer(in.class)
		in.buf.b[0] = in.one[0]
	}
}

// shrink gives the buffer back if the next one is to be smaller. Nothing is
// unread.
func (in *input) shrink() {
	if in.buf == nil {
		return
	}
	if in.w > 0 && in.w < len(in.buf.b)/4 && in.class > 0 {
		in.class--
	}
	if sizeClass(len(in.buf.b)) > in.class {
		putBuffer(in.buf)
		in.buf = nil
	}
}

// grow doubles the buffer.
func (c *conn) grow() {
	in := &c.in
	class := sizeClass(len(in.buf.b)) + 1
	in.class = min(class, sizeClass(firstBuffer))
	larger := getBuffer(class)
	in.w = copy(larger.b, in.buf.b[in.r:in.w])
	in.r = 0
	if c.auth != nil {
		clear(in.buf.b) // what nobody has looked at may have a token anywhere
	}
	putBuffer(in.buf)
	in.buf = larger
}

// readReady reads what has arrived. While nothing has, a connection without unread
// bytes gives its buffer back before it waits. A request that is answered meanwhile leaves
// it waiting, if there is nothing more: the poller may have told of the end of the stream
// together with the request, and does not again.
func (c *conn) readReady(fd uintptr) bool {
	in := &c.in
	for {
		if c.takeBack(); c.ahead != goOn {
			return true
		}
		if in.buf == nil {
			in.buf = getBuffer(in.class)
		}
		room := in.buf.b[in.w:]
		in.n, in.err = unix.Read(int(fd), room)
		switch in.err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if in.r == in.w {
				in.letGo()
				c.idle()
			}
			return false
		}
		few := 0 < in.n && in.n < len(room) && in.w+in.n < minBuffer // more is a stream, which has its turns
		if !few || !c.mayAnswer() || !c.answerHere() {
			return true
		}
		if !in.more(fd) {
			return false
		}
	}
}

// more reports whether something stands in the socket: bytes, the end, or an error. The
// buffer may be lent meanwhile.
func (in *input) more(fd uintptr) bool {
	in.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	n, err := unix.Poll(in.poll[:], 0)
	return n > 0 || err != nil
}

// letGo gives the buffer back. Nothing is unread.
func (in *input) letGo() {
	in.shrink()
	in.r, in.w = 0, 0
	if in.buf != nil {
		putBuffer(in.buf)
		in.buf = nil
	}
}

// awaitHangUp waits until the client has closed the connection, or its side of
// it, which is io.EOF, or until the deadline. Nothing is read: the poller tells of
// each change of the socket.
func (c *conn) awaitHangUp() error {
	err := c.in.socket.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: pollHangUp}}
		_, err := unix.Poll(p, 0)
		return err == nil && p[0].Revents&(pollHangUp|unix.POLLHUP|unix.POLLERR) != 0
	})
	if err == nil {
		err = io.EOF
	}
	return err
}

// isTimeout reports whether err is a deadline that has passed.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
