package files

import (
	"errors"
	"io/fs"
	"syscall"
)

// NoRoom reports whether err is that the disk, or the share of it that the
// process may use, is full.
func NoRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// NoDescriptor reports whether err is that a file could not be opened because
// too many are.
func NoDescriptor(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// Shortage reports whether err is that room on the disk or descriptors were
// missing. That passes: it is never a state of a topic.
func Shortage(err error) bool { return NoRoom(err) || NoDescriptor(err) }

// Transient reports whether err, from writing or opening a file, is one that goes
// away without a restart and left the file as it was or cut short: no room, no
// descriptors, no permission.
func Transient(err error) bool {
	for _, e := range []error{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.EROFS, fs.ErrPermission,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
