//go:build !linux

package socket

import (
	"net"
	"time"
)

// msgMore is nothing where there is no Linux: answers may go out in one packet more.
const msgMore = 0

// SetUserTimeout does nothing where there is no Linux: what was written and is not
// acknowledged ends a connection after as long as the system likes.
func SetUserTimeout(net.Conn, time.Duration) {}
