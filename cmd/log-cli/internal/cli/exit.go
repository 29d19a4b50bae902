package cli

import (
	"errors"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
)

// ExitCode returns the exit code that says what err says.
func ExitCode(err error) int {
	if e, ok := errors.AsType[*exit.Error](err); ok {
		return e.Code
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
	case is(logd.ErrPlainToken):
		return exit.Config
	case is(logd.ErrInvalidRequest):
		return exit.Usage
	case is(logd.ErrNotFound):
		return exit.NotFound
	case is(logd.ErrTooLarge, logd.ErrMaxTopics, logd.ErrTopicNotAllowed, logd.ErrUnauthorized, logd.ErrReadOnly):
		return exit.Refused
	case is(logd.ErrConnect, logd.ErrConnectionLost, logd.ErrBusy, logd.ErrShuttingDown, logd.ErrNotLeader):
		return exit.Temporary
	}
	return exit.Failed
}
