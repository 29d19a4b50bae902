//go:build linux || darwin

package vfs

import "golang.org/x/sys/unix"

func pwritev(fd int, bufs [][]byte, off int64) (int, error) { return unix.Pwritev(fd, bufs, off) }
