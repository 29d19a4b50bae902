package socket

import "golang.org/x/sys/unix"

// msgMore has the kernel wait for what follows before it sends.
const msgMore = unix.MSG_MORE
