package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Sockets are the listening sockets that this process was started with, by what they are
// for; nil is one that it was not. Who made them goes on to hold them: they outlast the
// process, and those of unix keep their path when they are closed here.
type Sockets struct {
	Protocol net.Listener // the protocol's: of TCP, or of unix
	HTTP     net.Listener // of TCP
	Unix     net.Listener // one more of the protocol: of unix
}

// The names of sockets, and the order of those without such a name.
const (
	nameProtocol = "protocol"
	nameHTTP     = "http"
	nameUnix     = "unix"
)

var order = []string{nameProtocol, nameHTTP}

// firstInherited is the file descriptor of the first socket: those before it are the
// standard streams.
const firstInherited = 3

// Inherit returns the sockets of an environment, as os.Environ has it: none if it speaks
// of another process. No program that this one starts inherits them. It is called once,
// and before anything is started: it takes the file descriptors. An error names the
// variable, or the socket, and nothing is taken then.
func Inherit(env []string) (s Sockets, err error) {
	names, err := inherited(env, os.Getpid())
	if err != nil || len(names) == 0 {
		return s, err
	}
	for i, name := range names {
		if err := checkSocket(firstInherited+i, name); err != nil {
			return s, fmt.Errorf("systemd: inherited socket %q (file descriptor %d): %w", name, firstInherited+i, err)
		}
	}
	for i, name := range names {
		l, err := take(firstInherited + i)
		if err != nil {
			return s, fmt.Errorf("systemd: inherited socket %q (file descriptor %d): %w", name, firstInherited+i, err)
		}
		switch name {
		case nameProtocol:
			s.Protocol = l
		case nameHTTP:
			s.HTTP = l
		case nameUnix:
			s.Unix = l
		}
	}
	return s, nil
}

// inherited returns what each socket is for that the variables give the process pid.
func inherited(env []string, pid int) (names []string, err error) {
	count, of := lookup(env, "LISTEN_FDS"), lookup(env, "LISTEN_PID")
	if count == "" || of == "" {
		return nil, nil
	}
	switch p, err := strconv.ParseInt(of, 10, 32); {
	case err != nil || p <= 0:
		return nil, fmt.Errorf("systemd: LISTEN_PID is %.40q: want the number of a process", of)
	case int(p) != pid:
		return nil, nil // they are another process's
	}
	n, err := strconv.ParseUint(count, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("systemd: LISTEN_FDS is %.40q: want how many sockets there are", count)
	}
	if n == 0 {
		return nil, nil
	}
	text := lookup(env, "LISTEN_FDNAMES")
	if text != "" {
		names = strings.Split(text, ":")
		if uint64(len(names)) != n {
			return nil, fmt.Errorf("systemd: LISTEN_FDNAMES is %.200q: want as many names, with : between, as LISTEN_FDS says: %d", text, n)
		}
	}
	known, seen := 0, make(map[string]bool)
	for _, name := range names {
		if name != nameProtocol && name != nameHTTP && name != nameUnix {
			continue
		}
		if known++; seen[name] {
			return nil, fmt.Errorf("systemd: LISTEN_FDNAMES is %.200q: there can be one socket %s", text, name)
		}
		seen[name] = true
	}
	switch {
	case known == 0 && n > uint64(len(order)):
		return nil, fmt.Errorf("systemd: LISTEN_FDS is %d: want at most %d without names: %s; a socket unit gives a name by FileDescriptorName=, to each of several units one: protocol, http or unix",
			n, len(order), strings.Join(order, ", "))
	case known == 0: // a socket that was given no name has that of its unit
		return order[:n], nil
	case known < len(names):
		return nil, fmt.Errorf("systemd: LISTEN_FDNAMES is %.200q: want protocol, http and unix (FileDescriptorName= of a socket unit), or none of these", text)
	}
	return names, nil
}

// checkSocket returns why a file descriptor is no socket for what it is to be, or nil.
func checkSocket(fd int, name string) error {
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	switch {
	case errors.Is(err, unix.EBADF):
		return errors.New("it is not open: LISTEN_FDS counts more than there are")
	case err != nil:
		return fmt.Errorf("it is no socket: %w", err)
	case listens == 0:
		return errors.New("it does not listen: want one of ListenStream=, with Accept=no")
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return err
	}
	tcp := domain == unix.AF_INET || domain == unix.AF_INET6
	switch {
	case kind != unix.SOCK_STREAM:
		return errors.New("it is no socket of streams: want one of ListenStream=")
	case name == nameUnix && domain != unix.AF_UNIX:
		return errors.New("it is no unix socket: want a path in ListenStream=")
	case name == nameHTTP && !tcp:
		return errors.New("HTTP is served on TCP alone: want an address and a port in ListenStream=")
	case !tcp && domain != unix.AF_UNIX:
		return errors.New("it is neither of TCP nor of unix")
	}
	return nil
}

// take makes a listener of a socket, and gives the descriptor back.
func take(fd int) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), "inherited socket")
	l, err := net.FileListener(f) // has a descriptor of its own, which is closed on exec
	return l, errors.Join(err, f.Close())
}
