//go:build !linux

package server

import "golang.org/x/sys/unix"

// Where there is no Linux, answers may go out in one packet more, and a client
// that has closed its side alone is noticed at the end of its wait.
const (
	msgMore    = 0
	pollHangUp = unix.POLLHUP
)
