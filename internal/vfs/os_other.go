//go:build !linux

package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// Where there is no Linux the server is for tests of programs that use the
// client: each file is synced by itself.

func syncfsTells(*os.File) bool  { return false }
func syncfs(int) error           { return unix.ENOTSUP }
func fdatasync(fd int) error     { return unix.Fsync(fd) }
func allocate(int, int64) error  { return unix.ENOTSUP }
func writeOut(int, int64, int64) {}

// blockSize is the unit in which statfs(2) counts.
func blockSize(st *unix.Statfs_t) int64 { return int64(st.Bsize) }
