package vfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncfsTells reports whether syncfs(2) returns an error whenever something
// could not be written, as it does since Linux 5.8 for the files and since 5.17
// for the rest, and whether the file system is one for which that was tried:
// ext4 or xfs.
func syncfsTells(dir *os.File) bool {
	var name unix.Utsname
	var stat unix.Statfs_t
	if unix.Uname(&name) != nil || unix.Fstatfs(int(dir.Fd()), &stat) != nil {
		return false
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		return false
	}
	known := stat.Type == unix.EXT4_SUPER_MAGIC || stat.Type == unix.XFS_SUPER_MAGIC
	return known && (major > 5 || major == 5 && minor >= 17)
}

func syncfs(fd int) error    { return unix.Syncfs(fd) }
func fdatasync(fd int) error { return unix.Fdatasync(fd) }

func allocate(fd int, size int64) error { return unix.Fallocate(fd, 0, 0, size) }

// writeOut does not wait, and so takes no error from the file that a sync is to be told.
func writeOut(fd int, off, n int64) { unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE) }

// blockSize is the unit in which statfs(2) counts.
func blockSize(st *unix.Statfs_t) int64 { return st.Frsize }
