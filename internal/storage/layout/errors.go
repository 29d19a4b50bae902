package layout

import (
	"errors"
	"fmt"
	"strings"
)

// Error is a failure at a place: which topic and file, and where.
type Error struct {
	Op     string // what was being done
	Topic  string
	File   string // name within the work directory, or empty
	Offset int64  // offset in the topic's log, or -1
	Err    error
}

// Error says all that is known of the place.
func (e *Error) Error() string {
	s := e.Op + " topic " + e.Topic
	if e.File != "" {
		s += ", file " + e.File
	}
	if e.Offset >= 0 {
		s += fmt.Sprintf(", offset %d", e.Offset)
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrDisplaced is a file that its log still uses and that others have removed,
// replaced or cut short: what is written to it can't be found again.
var ErrDisplaced = errors.New("removed, replaced or cut short by another program while logd is using it")

// IsDisplaced reports whether a topic's State, as INFO tells it, is ErrDisplaced.
func IsDisplaced(state string) bool { return strings.Contains(state, ErrDisplaced.Error()) }

// ErrLinked is a topic's folder that is not in the work directory.
var ErrLinked = errors.New("the topic's folder is a symbolic link, which is not followed, for two topics could then write to one file: " +
	"move the folder to its place, or mount it there (mount --bind)")
