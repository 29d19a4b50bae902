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
	var l *net.UnixListener
	own, err := place("unix", path, mode, gid, func(hidden *net.UnixAddr) (err error) {
		if l, err = net.ListenUnix("unix", hidden); err == nil {
			l.SetUnlinkOnClose(false)
		}
		return err
	})
	if err != nil {
		if l != nil {
			l.Close()
		}
		return nil, err
	}
	return &unixListener{UnixListener: l, path: path, own: own}, nil
}

// unixgramConn removes its socket when it is closed, unless another is there by then.
type unixgramConn struct {
	*net.UnixConn
	path string
	own  fs.FileInfo
	once sync.Once
}

// PacketConn is a connection of datagrams whose descriptor can be used.
type PacketConn interface {
	net.PacketConn
	syscall.Conn
}

// ListenUnixgram is ListenUnix for datagrams.
func ListenUnixgram(path string, mode fs.FileMode, gid int) (PacketConn, error) {
	var c *net.UnixConn
	own, err := place("unixgram", path, mode, gid, func(hidden *net.UnixAddr) (err error) {
		c, err = net.ListenUnixgram("unixgram", hidden)
		return err
	})
	if err != nil {
		if c != nil {
			c.Close()
		}
		return nil, err
	}
	return &unixgramConn{UnixConn: c, path: path, own: own}, nil
}

// place has a socket made under a hidden name, gives it its mode and group, and then its
// path. It returns what is there then.
func place(network, path string, mode fs.FileMode, gid int, listen func(hidden *net.UnixAddr) error) (own fs.FileInfo, err error) {
	if err := free(network, path); err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: unixAddr(path), Err: err}
	}
	// Nobody else gets into the folder, so nobody connects before the socket is as it is to be.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".logd-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	hidden := filepath.Join(dir, "s")
	if err := listen(&net.UnixAddr{Name: hidden, Net: network}); err != nil {
		return nil, err
	}
	if gid >= 0 {
		if err := os.Chown(hidden, -1, gid); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(hidden, mode.Perm()); err != nil {
		return nil, err
	}
	if own, err = os.Lstat(hidden); err != nil {
		return nil, err
	}
	return own, os.Rename(hidden, path)
}

// free returns why a socket can't be made at a path, or nil.
func free(network, path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != fs.ModeSocket:
		return ErrNotSocket
	}
	c, err := net.DialTimeout(network, path, time.Second)
	if err == nil {
		c.Close()
		return syscall.EADDRINUSE
	}
	if errors.Is(err, syscall.EPROTOTYPE) { // one of the other kind
		return syscall.EADDRINUSE
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("who has the socket that is there: %w", err)
}

// unixAddr is the address of a socket as clients have it: unix:PATH.
type unixAddr string

func (a unixAddr) Network() string { return "unix" }
func (a unixAddr) String() string  { return "unix:" + string(a) }

// Addr returns the address as clients have it.
func (l *unixListener) Addr() net.Addr { return unixAddr(l.path) }

// Close stops listening, and removes the socket if it is still this one.
func (l *unixListener) Close() (err error) {
	l.once.Do(func() { err = removeOwn(l.path, l.own) })
	return errors.Join(err, l.UnixListener.Close())
}

// LocalAddr returns the address as the settings have it.
func (c *unixgramConn) LocalAddr() net.Addr { return unixAddr(c.path) }

// Close ends the receiving, and removes the socket if it is still this one.
func (c *unixgramConn) Close() (err error) {
	c.once.Do(func() { err = removeOwn(c.path, c.own) })
	return errors.Join(err, c.UnixConn.Close())
}

func removeOwn(path string, own fs.FileInfo) error {
	if st, err := os.Lstat(path); err == nil && os.SameFile(st, own) {
		return os.Remove(path)
	}
	return nil
}
