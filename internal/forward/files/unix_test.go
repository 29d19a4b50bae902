package files

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/logd-dev/logd/internal/forward/feed"
)

type feedLine = feed.Line

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	k, _ := keyOf(fi)
	return k.inode
}
