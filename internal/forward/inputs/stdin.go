package inputs

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// stdin takes the lines of standard input, a file that may be anything: it is asked
// whether there is something to read, so that a read never keeps the input from stopping.
type stdin struct {
	in     *Input
	file   *os.File
	wake   *os.File // readable when the input stops
	waker  *os.File
	before func() error
	until  time.Time // of the reading of what has arrived
}

func newStdin(in *Input) (*stdin, error) {
	s := &stdin{in: in, file: in.config.Load().Stdin}
	if s.file == nil {
		s.file = os.Stdin
	}
	var err error
	s.wake, s.waker, err = os.Pipe()
	return s, err
}

func (s *stdin) addr() net.Addr { return nil }

func (s *stdin) serve() {
	defer s.wake.Close()
	live := s.in.sink.Live(s.in.config.Load().Name, "stdin")
	defer live.Close()
	t := &lineTaker{taker: taker{in: s.in, live: live}}
	s.before = t.put
	s.in.serveStream(s, t, "")
}

func (s *stdin) stop() { s.waker.Close() }

func (s *stdin) abort() {}

// Read implements io.Reader. Once the input stops, it reads what is there, and then fails
// with errStopped.
func (s *stdin) Read(p []byte) (n int, err error) {
	if err := s.before(); err != nil {
		return 0, err
	}
	for {
		ready, err := s.wait()
		if err != nil {
			return 0, err
		}
		if stopping := s.in.isStopping(); stopping {
			if s.until.IsZero() {
				s.until = time.Now().Add(drainMost)
			}
			if !ready || time.Now().After(s.until) {
				return 0, errStopped
			}
		}
		if !ready {
			continue
		}
		if e := s.control(s.file, func(fd int) { n, err = unix.Read(fd, p) }); e != nil {
			return 0, e
		}
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, &os.PathError{Op: "read", Path: "stdin", Err: err}
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// wait waits until there is something to read or the input stops, and reports whether
// there is.
func (s *stdin) wait() (ready bool, err error) {
	e := s.control(s.file, func(fd int) {
		err = s.control(s.wake, func(wake int) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
			_, err = unix.Poll(fds, -1)
			ready = fds[0].Revents != 0
			if errors.Is(err, unix.EINTR) {
				err = nil
			}
		})
	})
	return ready, errors.Join(e, err)
}

// control calls f with a file's descriptor, which stays open meanwhile.
func (s *stdin) control(file *os.File, f func(fd int)) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}
