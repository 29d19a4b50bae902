package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/vfs"
)

// The exit codes.
const (
	exitDone      = 0
	exitFailed    = 1
	exitUsage     = 2
	exitTemporary = 75
	exitConfig    = 78
)

// exitError gives an error its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// exitCode returns the exit code that says what err says.
func exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFailed
}

// explainStart turns an error of starting a node into one that says what to
// do.
func explainStart(err error, c *config.Config, o config.Origins) error {
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("the work directory %s is in use by another logd: stop that one, or give this one a folder of its own with --workdir",
			absolute(c.WorkDir))
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "listen" {
		return &exitError{exitTemporary, explainListen(op, c, o)}
	}
	return err
}

func explainListen(op *net.OpError, c *config.Config, o config.Origins) error {
	reason := op.Err
	if errno, ok := errors.AsType[syscall.Errno](op.Err); ok {
		reason = errno // without the name of the system call
	}
	name := "host"
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

// errQuiet ends the command as if it were done.
var errQuiet = errors.New("the reader of the output went away")

// outputError returns the error of writing data: errQuiet if nobody wants to
// read it any more.
func outputError(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return errQuiet
	}
	return err
}

// helpWriter writes help, which may be cut short by its reader.
type helpWriter struct{ io.Writer }

func (w helpWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		return len(p), nil
	}
	return n, err
}

// lines puts the program's name before each line of an error, so that each
// problem of many stands for itself.
func lines(err error) string {
	return "logd: " + strings.ReplaceAll(err.Error(), "\n", "\nlogd: ") + "\n"
}
