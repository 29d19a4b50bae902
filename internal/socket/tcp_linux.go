package socket

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// msgMore has the kernel wait for what follows before it sends.
const msgMore = unix.MSG_MORE

// SetUserTimeout has a connection end, if it is one of TCP, when what was written is
// not acknowledged for so long. Else the kernel would try again ever less often, and
// notice late that the other side is back.
func SetUserTimeout(nc net.Conn, d time.Duration) {
	if secured, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = secured.NetConn()
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
		})
	}
}
