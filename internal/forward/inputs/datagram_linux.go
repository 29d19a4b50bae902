package inputs

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// recvFlags has the kernel tell how long a datagram is that is longer than what is read.
const recvFlags = unix.MSG_DONTWAIT | unix.MSG_TRUNC

// receiveBufferFactor is how much more the kernel says than it was asked for: socket(7).
const receiveBufferFactor = 2

// forceReceiveBuffer sets the buffer beyond what others may have, where that is allowed.
func forceReceiveBuffer(fd, size int) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size)
}

// countDrops has datagrams come with the number of those that were dropped before. Where
// there is no such thing, none are known.
func countDrops(fd int) { unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1) }

// parseDrops returns that number.
func parseDrops(control []byte) (uint32, bool) {
	if len(control) == 0 {
		return 0, false
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_RXQ_OVFL && len(m.Data) >= 4 {
			return binary.NativeEndian.Uint32(m.Data), true
		}
	}
	return 0, false
}

// askDrops returns how many datagrams were dropped up to now.
func askDrops(fd int) (uint32, bool) {
	const drops = 8 // SK_MEMINFO_DROPS
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return info[drops], errno == 0 && size >= uint32(unsafe.Sizeof(info))
}
