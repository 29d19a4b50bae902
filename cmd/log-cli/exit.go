package main

import (
	"errors"
	"io"
	"syscall"

	"github.com/logd-dev/logd"
)

// The exit codes.
const (
	exitDone      = 0
	exitFailed    = 1
	exitUsage     = 2
	exitNotFound  = 3
	exitDamage    = 4
	exitRefused   = 5
	exitTemporary = 75
	exitConfig    = 78
)

// errQuiet ends the command as if it were done.
var errQuiet = errors.New("the reader of the output went away")

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
	is := func(targets ...error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
	switch {
	case is(logd.ErrInvalidRequest):
		return exitUsage
	case is(logd.ErrNotFound):
		return exitNotFound
	case is(logd.ErrTooLarge, logd.ErrMaxTopics, logd.ErrTopicNotAllowed, logd.ErrUnauthorized, logd.ErrReadOnly):
		return exitRefused
	case is(logd.ErrConnect, logd.ErrConnectionLost, logd.ErrBusy, logd.ErrShuttingDown, logd.ErrNotLeader):
		return exitTemporary
	}
	return exitFailed
}

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
