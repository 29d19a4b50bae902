package server

import (
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sendChunk is how much of a file is sent under one write deadline: a reader
// that takes less than this in --timeout is cut.
const sendChunk = 512 << 10

// output is a connection's side that writes.
type output struct {
	write deadline

	raw     syscall.RawConn
	sendFn  func(fd uintptr) bool
	fileFn  func(fd uintptr) bool
	sending []byte // argument of sendFn
	flags   int
	src     int // arguments of fileFn
	pos     int64
	left    int
	err     error
}

// flush sends the session's answers. With more, what follows at once is sent
// along with them.
func (c *conn) flush(more bool) error {
	o := &c.sock
	if len(c.out) == 0 {
		return nil
	}
	c.writeDeadline()
	var err error
	if o.raw == nil {
		_, err = c.nc.Write(c.out)
	} else {
		o.flags = 0
		if more {
			o.flags = msgMore
		}
		o.sending, o.err = c.out, nil
		if err = o.raw.Write(o.sendFn); err == nil {
			err = o.err
		}
	}
	c.srv.counters.bytesOut.Add(int64(len(c.out)))
	c.sent()
	return err
}

func (c *conn) writeDeadline() {
	timeout := c.srv.o.Timeout
	c.sock.write.by(time.Now().Add(timeout), timeout/32)
}

// sendReady sends what is to be sent, as far as the socket takes it.
func (c *conn) sendReady(fd uintptr) bool {
	o := &c.sock
	for len(o.sending) > 0 {
		n, err := unix.SendmsgN(int(fd), o.sending, nil, nil, o.flags|unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return false
		case err != nil:
			o.err = err
			return true
		default:
			o.sending = o.sending[n:]
		}
	}
	return true
}

// sendView sends the session's answers and then the sections of its view: from
// the files' descriptors to the socket inside the kernel, where both have one.
func (c *conn) sendView() error {
	v := c.view
	c.view = nil
	defer v.Close()
	if err := c.flush(true); err != nil {
		return err
	}
	for i := range v.Sections() {
		r, pos, n := v.Section(i)
		file, ok := r.(interface{ Fd() (uintptr, bool) })
		if ok && c.sock.raw != nil {
			if fd, ok := file.Fd(); ok {
				if err := c.sendFile(int(fd), pos, n); err != nil {
					return err
				}
				continue
			}
		}
		if err := c.copySection(r, pos, n); err != nil {
			return err
		}
	}
	return nil
}

// sendFile sends n bytes of the file src at pos.
func (c *conn) sendFile(src int, pos, n int64) error {
	o := &c.sock
	o.src, o.pos, o.err = src, pos, nil
	for n > 0 {
		o.left = int(min(n, sendChunk))
		n -= int64(o.left)
		c.writeDeadline()
		if err := o.raw.Write(o.fileFn); err != nil {
			return err
		}
		if o.err != nil {
			return o.err
		}
		c.moved(sendChunk)
	}
	return nil
}

// fileReady sends what is left of a chunk, as far as the socket takes it. The
// offset is explicit, so that readers share descriptors.
func (c *conn) fileReady(fd uintptr) bool {
	o := &c.sock
	for o.left > 0 {
		n, err := unix.Sendfile(int(fd), o.src, &o.pos, o.left)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return false
		case err != nil:
			o.err = err
			return true
		case n == 0:
			// The file is shorter than it was: the client can't be given what
			// it was promised.
			o.err = io.ErrUnexpectedEOF
			return true
		default:
			o.left -= n
			c.srv.counters.sentFiles.Add(1)
			c.srv.counters.bytesOut.Add(int64(n))
		}
	}
	return true
}

// copySection is for connections and files without a descriptor.
func (c *conn) copySection(r io.ReaderAt, pos, n int64) error {
	b := getBuffer(sizeClass(int(min(n, 64<<10))))
	defer putBuffer(b)
	for n > 0 {
		p := b.b[:min(int64(len(b.b)), n)]
		m, err := r.ReadAt(p, pos)
		if m < len(p) {
			if err == io.EOF || err == nil {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		c.writeDeadline()
		if _, err := c.nc.Write(p); err != nil {
			return err
		}
		c.srv.counters.bytesOut.Add(int64(m))
		c.moved(m)
		pos += int64(m)
		n -= int64(m)
	}
	return nil
}
