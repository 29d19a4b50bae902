package socket

import (
	"net"

	"golang.org/x/sys/unix"
)

// Peer returns the user and the primary group of the process at the other end of a
// unix socket, as they were when it connected, and false of any other connection.
func Peer(nc net.Conn) (uid, gid uint32, ok bool) {
	c, is := nc.(*net.UnixConn)
	if !is {
		return 0, 0, false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid, gid, ok = cred.Uid, cred.Gid, true
		}
	})
	return uid, gid, ok && err == nil
}
