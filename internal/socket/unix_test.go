package socket

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestListenUnix(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") // a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "logd.sock")

	l, err := ListenUnix(path, 0o620, os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(path); err != nil || st.Mode() != fs.ModeSocket|0o620 {
		t.Errorf("the socket is %v, %v", st, err)
	}
	if got := l.Addr().String(); got != "unix:"+path {
		t.Errorf("listens at %s", got)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if c, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := ListenUnix(path, 0o600, -1); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second listener: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is there after Close: %v", err)
	}

	// What a process that was killed has left behind is replaced.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if l, err = ListenUnix(path, 0o600, -1); err != nil {
		t.Fatal(err)
	}
	// Another's socket is not removed.
	os.Remove(path)
	other, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("another's socket is gone: %v", err)
	}
	other.Close()

	// What is no socket is kept.
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(path, 0o600, -1); !errors.Is(err, ErrNotSocket) {
		t.Errorf("over a file: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "data" {
		t.Errorf("the file has %q", b)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, ".*")); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestListenUnixgram(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") // a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "log")
	c, err := ListenUnixgram(path, 0o622, -1)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(path); err != nil || st.Mode() != fs.ModeSocket|0o622 {
		t.Errorf("the socket is %v, %v", st, err)
	}
	sender, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	b := make([]byte, 10)
	sender.Write([]byte("hello"))
	if n, _, err := c.ReadFrom(b); err != nil || string(b[:n]) != "hello" {
		t.Errorf("received %q, %v", b[:n], err)
	}
	// It is in use for datagrams and for connections.
	if _, err := ListenUnixgram(path, 0o600, -1); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second one: %v", err)
	}
	if _, err := ListenUnix(path, 0o600, -1); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a listener there: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if names, _ := os.ReadDir(dir); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
	// One that was left behind is replaced.
	stale, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.Close()
	if c, err = ListenUnixgram(path, 0o600, -1); err != nil {
		t.Fatal(err)
	}
	c.Close()
}
