package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"syscall"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/internal/vfs"
)

// explainStart turns an error of starting a node into one that says what to
// do.
func explainStart(err error, c *config.Config, o config.Origins) error {
	switch {
	case errors.Is(err, node.ErrMembership), errors.Is(err, node.ErrInUse), errors.Is(err, node.ErrGoneBack):
		return exit.With(exit.Config, err)
	case errors.Is(err, node.ErrRemoved):
		return exit.With(exit.Refused, err)
	}
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("the work directory %s is in use by another logd: stop that one, or give this one a folder of its own with --workdir",
			absolute(c.WorkDir))
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "listen" {
		return exit.With(listenCode(op), explainListen(op, c, o))
	}
	return err
}

// listenCode tells what another try may mend from what nothing but another
// setting will.
func listenCode(op *net.OpError) int {
	dns, isDNS := errors.AsType[*net.DNSError](op.Err)
	switch {
	case errors.Is(op.Err, syscall.EACCES):
		return exit.Failed
	case errors.Is(op.Err, node.ErrNotSocket):
		return exit.Config
	case isDNS && dns.IsNotFound:
		return exit.Config
	}
	return exit.Temporary
}

func explainListen(op *net.OpError, c *config.Config, o config.Origins) error {
	reason := op.Err
	if errno, ok := errors.AsType[syscall.Errno](op.Err); ok {
		reason = errno // without the name of the system call
	}
	name := "host"
	if op.Net == "unix" {
		name = "unix-socket"
	}
	if op.Addr != nil && sameAddress(c.PeerHost, op.Addr) {
		name = "peer-host"
	}
	if op.Addr != nil && sameAddress(c.HTTPHost, op.Addr) {
		name = "http-host"
	}
	s, _ := config.Lookup(name)
	advice := "choose another with --" + name
	if errors.Is(reason, syscall.EADDRINUSE) {
		advice = "stop what listens there, or " + advice
	}
	return fmt.Errorf("cannot listen on %s (%s: %s): %w; %s", s.Value(c), name, o.Of(name), reason, advice)
}

// sameAddress reports whether a setting's value is what addr was made of.
func sameAddress(setting string, addr net.Addr) bool {
	a, err := net.ResolveTCPAddr("tcp", setting)
	return err == nil && a.String() == addr.String()
}

// absolute returns the path as it is from everywhere, where that can be known.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
