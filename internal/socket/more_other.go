//go:build !linux

package socket

// msgMore is nothing where there is no Linux: answers may go out in one packet more.
const msgMore = 0
