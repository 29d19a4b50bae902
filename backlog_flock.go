//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package logd

import (
	"os"
	"path/filepath"
	"syscall"
)

// lockFile makes the file this opening's own, until it is closed. It does not
// wait.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// closeLocked releases the lock and closes the file. To close it is not enough
// while a process that is being started has a copy of the descriptor.
func closeLocked(f *os.File) error {
	return joined(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

// syncFolder makes the file's name durable.
func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
