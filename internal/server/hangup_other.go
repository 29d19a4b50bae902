//go:build !linux

package server

import "golang.org/x/sys/unix"

// pollHangUp is, where there is no Linux, not the event of a client that has closed
// its side alone: that is noticed at the end of its wait.
const pollHangUp = unix.POLLHUP
