package logd

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
)

// ID names a message within its topic. IDs are in the order of the messages, and
// the ID of a message never changes. An ID is a text to encoding packages:
// "70.11", the offset and the delta.
type ID struct {
	Offset int64 // of the message's batch
	Delta  int64 // of the message in its batch
}

// String returns the ID's text.
func (id ID) String() string { return fmt.Sprintf("%d.%d", id.Offset, id.Delta) }

// Compare returns -1 if the message of id comes before that of other in the
// topic, +1 if it comes after it, and 0 if the messages are the same.
func (id ID) Compare(other ID) int {
	if id.Offset != other.Offset {
		return cmp.Compare(id.Offset, other.Offset)
	}
	return cmp.Compare(id.Delta, other.Delta)
}

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := parseID(string(text))
	if err != nil {
		return fmt.Errorf("logd: %q is no ID of a message: %w", text, err)
	}
	*id = parsed
	return nil
}

// parseID parses OFFSET.DELTA.
func parseID(s string) (ID, error) {
	o, d, ok := strings.Cut(s, ".")
	offset, ok1 := batch.ParseInt([]byte(o))
	delta, ok2 := batch.ParseInt([]byte(d))
	if !ok || !ok1 || !ok2 {
		return ID{}, errors.New("want OFFSET.DELTA")
	}
	return ID{offset, delta}, nil
}
