//go:build !linux

package files

import (
	"errors"

	"github.com/fsnotify/fsnotify"
)

// inotify is what other systems don't have.
type inotify struct{}

func newInotify() (*inotify, error) { return nil, errors.ErrUnsupported }

func (*inotify) notifier() *notifier    { return nil }
func (*inotify) next() []fsnotify.Event { return nil }
