package socket

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sendChunk is how much is sent under one deadline: who takes less than this in the
// timeout is cut.
const sendChunk = 512 << 10

// Counters count what Writers write.
type Counters struct {
	Bytes     atomic.Int64
	Sendfiles atomic.Int64 // calls
}

// Writer writes to a connection, with a deadline for each piece. It is for one
// goroutine, and is made by Init. After an error the connection is of no use.
type Writer struct {
	nc       net.Conn
	timeout  time.Duration
	counters *Counters
	moved    func(n int)
	deadline Deadline

	raw     syscall.RawConn // nil: the connection is not used by its descriptor
	gather  gatherer        // nil: the connection is none
	sendFn  func(fd uintptr) bool
	tryFn   func(fd uintptr)
	fileFn  func(fd uintptr) bool
	sending []byte // argument of sendFn
	flags   int
	src     int // arguments of fileFn
	pos     int64
	left    int
	err     error
}

// gatherer is a connection that keeps what it is given with WriteMore for the next Write.
type gatherer interface{ WriteMore(p []byte) (int, error) }

// Init makes w the Writer of a connection. What is written is added to counters;
// moved is told of what is sent of files, as it goes. Only a bare connection of TCP or
// of a unix socket is used by its descriptor: what wraps one, as TLS does, has bytes of
// its own to add.
func (w *Writer) Init(nc net.Conn, timeout time.Duration, counters *Counters, moved func(n int)) {
	*w = Writer{nc: nc, timeout: timeout, counters: counters, moved: moved, deadline: Deadline{Set: nc.SetWriteDeadline}}
	w.gather, _ = nc.(gatherer)
	if w.raw = bare(nc); w.raw != nil {
		w.sendFn, w.fileFn = w.sendReady, w.fileReady
		w.tryFn = func(fd uintptr) { w.sendReady(fd) }
	}
}

// bare returns the descriptor of a connection that is one, or nil.
func bare(nc net.Conn) syscall.RawConn {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		if raw, err := nc.(syscall.Conn).SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// SetTimeout has writes that begin from here on end within d.
func (w *Writer) SetTimeout(d time.Duration) { w.timeout = d }

// Raw returns the connection's descriptor, or nil if it is not to be used.
func (w *Writer) Raw() syscall.RawConn { return w.raw }

// Write writes all of p. With more, what follows at once is sent along with it.
func (w *Writer) Write(p []byte, more bool) error {
	for len(p) > sendChunk {
		if err := w.write(p[:sendChunk], true); err != nil {
			return err
		}
		p = p[sendChunk:]
	}
	return w.write(p, more)
}

func (w *Writer) write(p []byte, more bool) error {
	w.extend()
	var err error
	if w.raw == nil && w.gather != nil && more {
		_, err = w.gather.WriteMore(p)
	} else if w.raw == nil {
		_, err = w.nc.Write(p)
	} else {
		w.flags = 0
		if more {
			w.flags = msgMore
		}
		w.sending, w.err = p, nil
		if err = w.raw.Write(w.sendFn); err == nil {
			err = w.err
		}
		w.sending = nil
	}
	w.counters.Bytes.Add(int64(len(p)))
	return err
}

// Try writes what of p the connection takes at once, and returns how much that is. It is
// for a connection that is used by its descriptor.
func (w *Writer) Try(p []byte) (n int, err error) {
	w.flags, w.sending, w.err = 0, p, nil
	if err = w.raw.Control(w.tryFn); err == nil {
		err = w.err
	}
	n = len(p) - len(w.sending)
	w.sending = nil
	w.counters.Bytes.Add(int64(n))
	return n, err
}

func (w *Writer) extend() { w.deadline.By(time.Now().Add(w.timeout), w.timeout/32) }

// sendReady sends what is to be sent, as far as the socket takes it.
func (w *Writer) sendReady(fd uintptr) bool {
	for len(w.sending) > 0 {
		var n int
		var err error
		if w.flags == 0 {
			n, err = unix.Write(int(fd), w.sending)
		} else {
			n, err = unix.SendmsgN(int(fd), w.sending, nil, nil, w.flags|unix.MSG_NOSIGNAL)
		}
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return false
		case err != nil:
			w.err = err
			return true
		default:
			w.sending = w.sending[n:]
		}
	}
	return true
}

// Section writes n bytes of r at pos: from the file's descriptor, if r has a method
// Fd() (uintptr, bool) that reports true. If there are fewer, some of them are sent,
// and the error is io.ErrUnexpectedEOF.
func (w *Writer) Section(r io.ReaderAt, pos, n int64) error {
	if file, ok := r.(interface{ Fd() (uintptr, bool) }); ok && w.raw != nil {
		if fd, ok := file.Fd(); ok {
			return w.sendFile(int(fd), pos, n)
		}
	}
	return w.copy(r, pos, n)
}

// sendFile sends n bytes of the file src at pos.
func (w *Writer) sendFile(src int, pos, n int64) error {
	w.src, w.pos, w.err = src, pos, nil
	for n > 0 {
		w.left = int(min(n, sendChunk))
		n -= int64(w.left)
		w.extend()
		if err := w.raw.Write(w.fileFn); err != nil {
			return err
		}
		if w.err != nil {
			return w.err
		}
		w.moved(sendChunk)
	}
	return nil
}

// fileReady sends what is left of a chunk, as far as the socket takes it. The
// offset is explicit, so that readers share descriptors.
func (w *Writer) fileReady(fd uintptr) bool {
	for w.left > 0 {
		n, err := unix.Sendfile(int(fd), w.src, &w.pos, w.left)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return false
		case err != nil:
			w.err = err
			return true
		case n == 0:
			// The file is shorter than it was: the other side can't be given what
			// it was promised.
			w.err = io.ErrUnexpectedEOF
			return true
		default:
			w.left -= n
			w.counters.Sendfiles.Add(1)
			w.counters.Bytes.Add(int64(n))
		}
	}
	return true
}

type buffer [64 << 10]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// copy is for connections and files without a descriptor.
func (w *Writer) copy(r io.ReaderAt, pos, n int64) error {
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	for n > 0 {
		p := b[:min(int64(len(b)), n)]
		m, err := r.ReadAt(p, pos)
		if m < len(p) {
			if err == io.EOF || err == nil {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		w.extend()
		if _, err := w.nc.Write(p); err != nil {
			return err
		}
		w.counters.Bytes.Add(int64(m))
		w.moved(m)
		pos += int64(m)
		n -= int64(m)
	}
	return nil
}
