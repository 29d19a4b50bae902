package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// ErrNotSocket is a path at which something is that is no socket.
var ErrNotSocket = errors.New("there is something that is no socket")

// unixListener removes its socket when it is closed, unless another is there by then.
type unixListener struct {
	*net.UnixListener
	path string
	own  fs.FileInfo
	once sync.Once
}

// Lent returns a listener of somebody else's with its address as clients have it. Its
// socket stays when it is closed.
func Lent(l *net.UnixListener) net.Listener {
	l.SetUnlinkOnClose(false)
	return lent{l}
}

type lent struct{ *net.UnixListener }

func (l lent) Addr() net.Addr { return unixAddr(l.UnixListener.Addr().String()) }

// ListenUnix listens at a path with a mode, and with a group unless gid is negative. The
// socket is never open to more than those: it has no name before it has both. A socket
// that a process left behind when it ended is replaced.
//
// Errors to test for: ErrNotSocket, syscall.EADDRINUSE if somebody answers there, and those
// of chown(2) and rename(2). A path of more than about 90 bytes is too long: unix(7).
func ListenUnix(path string, mode fs.FileMode, gid int) (net.Listener, error) {
	if err := free(path); err != nil {
		return nil, &net.OpError{Op: "listen", Net: "unix", Addr: unixAddr(path), Err: err}
	}
	// Nobody else gets into the folder, so nobody connects before the socket is as it is to be.
	hidden, err := os.MkdirTemp(filepath.Dir(path), ".logd-")
	if err != nil {
		return nil, err
	}
	l, own, err := listenHidden(filepath.Join(hidden, "s"), path, mode, gid)
	if err = errors.Join(err, os.RemoveAll(hidden)); err != nil {
		if l != nil {
			l.Close()
		}
		return nil, err
	}
	return &unixListener{UnixListener: l, path: path, own: own}, nil
}

// free returns why a socket can't be made at a path, or nil.
func free(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != fs.ModeSocket:
		return ErrNotSocket
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return syscall.EADDRINUSE
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("who has the socket that is there: %w", err)
}

// listenHidden listens at a path of its own, gives the socket its mode and group, and then
// its name. It may return a listener with an error.
func listenHidden(hidden, path string, mode fs.FileMode, gid int) (l *net.UnixListener, own fs.FileInfo, err error) {
	if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"}); err != nil {
		return nil, nil, err
	}
	l.SetUnlinkOnClose(false)
	if gid >= 0 {
		if err := os.Chown(hidden, -1, gid); err != nil {
			return l, nil, err
		}
	}
	if err := os.Chmod(hidden, mode.Perm()); err != nil {
		return l, nil, err
	}
	if own, err = os.Lstat(hidden); err != nil {
		return l, nil, err
	}
	return l, own, os.Rename(hidden, path)
}

// unixAddr is the address of a socket as clients have it: unix:PATH.
type unixAddr string

func (a unixAddr) Network() string { return "unix" }
func (a unixAddr) String() string  { return "unix:" + string(a) }

// Addr returns the address as clients have it.
func (l *unixListener) Addr() net.Addr { return unixAddr(l.path) }

// Close stops listening, and removes the socket if it is still this one.
func (l *unixListener) Close() (err error) {
	l.once.Do(func() {
		if st, e := os.Lstat(l.path); e == nil && os.SameFile(st, l.own) {
			err = os.Remove(l.path)
		}
	})
	return errors.Join(err, l.UnixListener.Close())
}
