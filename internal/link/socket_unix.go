//go:build unix

package link

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// socketOf returns a function that looks at the socket of nc without waiting, or
// nil if nc is not one of the operating system's.
func socketOf(nc net.Conn) func() socketState {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	var n int
	var one [1]byte
	var rerr error
	look := func(fd uintptr) bool {
		n, _, rerr = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	}
	return func() socketState {
		switch err := raw.Read(look); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return expired
		case err != nil:
			return hungUp
		case rerr == syscall.EAGAIN || rerr == syscall.EINTR:
			return quiet
		case rerr == nil && n > 0:
			return spoken
		}
		return hungUp
	}
}
