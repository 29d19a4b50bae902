// Package socket writes to connections: bytes, and sections of files, which go from
// the file's descriptor to the socket inside the kernel where both have one. It
// knows nothing of what is written.
package socket

import (
	"net"
	"time"
)

// Deadline is one of a connection's deadlines. Setting one costs a timer, so it is
// set somewhat later than asked for and left alone while it is late enough.
type Deadline struct {
	Set func(time.Time) error // the connection's
	at  time.Time
}

// By sees to it that the deadline is at want or up to slack later.
func (d *Deadline) By(want time.Time, slack time.Duration) {
	if d.at.Before(want) || d.at.After(want.Add(slack)) {
		d.at = want.Add(slack / 2)
		d.Set(d.at) // fails only on a closed connection, as what follows will
	}
}

// Forget makes the next call of By set the deadline.
func (d *Deadline) Forget() { d.at = time.Time{} }

// Linger closes a connection so that what was sent last arrives: closing with input
// unread would reset it. It waits a moment for the other side to close.
func Linger(nc net.Conn) {
	const wait, most = time.Second, 4 << 20
	if w, ok := nc.(interface{ CloseWrite() error }); ok && w.CloseWrite() == nil {
		nc.SetReadDeadline(time.Now().Add(wait))
		b := make([]byte, 4096)
		for n := 0; n < most; {
			m, err := nc.Read(b)
			if err != nil {
				break
			}
			n += m
		}
	}
	nc.Close()
}
