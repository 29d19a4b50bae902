package files

import (
	"errors"
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
