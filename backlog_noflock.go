//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package logd

import "os"

// lockFile does nothing: there is no flock.
func lockFile(f *os.File) error { return nil }

func closeLocked(f *os.File) error { return f.Close() }

// syncFolder does nothing: folders cannot be synced everywhere.
func syncFolder(path string) error { return nil }
