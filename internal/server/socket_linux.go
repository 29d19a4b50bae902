package server

import "golang.org/x/sys/unix"

const (
	// msgMore has the kernel wait for what follows before it sends.
	msgMore = unix.MSG_MORE
	// pollHangUp is the event of a client that has closed its side.
	pollHangUp = unix.POLLRDHUP
)
