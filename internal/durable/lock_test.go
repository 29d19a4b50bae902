//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, err := OpenLocked(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := OpenLocked(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLocked(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second time: %v", err)
	}
	// Another file has the path now, which nobody has locked.
	if err := Replace(OS, path, 0o600, []byte("another"), false); err != nil {
		t.Fatal(err)
	}
	second, err := OpenLocked(path)
	if err != nil {
		t.Fatalf("the file that took the path: %v", err)
	}
	if err := errors.Join(CloseLocked(first), CloseLocked(second)); err != nil {
		t.Error(err)
	}
	if err := CloseLocked(first); err == nil {
		t.Error("closed twice without an error")
	}
	third, err := OpenLocked(path)
	if err != nil {
		t.Fatalf("after CloseLocked: %v", err)
	}
	CloseLocked(third)
}
