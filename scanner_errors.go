package logd

import (
	"errors"
	"fmt"
)

// ErrTopicReplaced tells that the topic which a Scanner has read, or which its
// Progress is of, was deleted, and that another one has its name.
var ErrTopicReplaced = errors.New("topic was deleted and made anew")

// GoneError tells that what a Scanner wanted to read was removed by the
// topic's retention, or is damaged. It is ErrNotFound to errors.Is.
type GoneError struct {
	// Offset is what was wanted, Oldest the first offset behind it that the topic
	// still has: the gap between them.
	Offset, Oldest int64
	// Damaged tells that the gap is bytes that the server has set aside because
	// they are damaged: there may be older batches.
	Damaged bool
	// File is the name of the damaged file within the server's work directory, if
	// the server says so.
	File string
	// Replaced tells that the topic was deleted and that another one has its name:
	// the error is ErrTopicReplaced to errors.Is. Offset is of the old topic,
	// Oldest of the new one, and neither says anything of the other.
	Replaced bool
}

// Error names both offsets.
func (e *GoneError) Error() string {
	if e.Replaced {
		return fmt.Sprintf("offset %d is of a topic that was deleted: another one has its name now, from offset %d on", e.Offset, e.Oldest)
	}
	if e.Damaged && e.File != "" {
		return fmt.Sprintf("offset %d is damaged (file %s); what is stored goes on at %d", e.Offset, e.File, e.Oldest)
	}
	if e.Damaged {
		return fmt.Sprintf("offset %d is damaged; what is stored goes on at %d", e.Offset, e.Oldest)
	}
	return fmt.Sprintf("offset %d is gone; the oldest is %d", e.Offset, e.Oldest)
}

// Is reports whether target is ErrNotFound, or ErrTopicReplaced and e is that.
func (e *GoneError) Is(target error) bool {
	return target == ErrNotFound || e.Replaced && target == ErrTopicReplaced
}

// OffsetError tells that a Scanner was to read where nothing can begin: beyond
// the end of the topic, or where there is no beginning of a batch or of a
// message. It is ErrNotFound to errors.Is.
type OffsetError struct {
	// Offset and Delta are what was wanted.
	Offset, Delta int64
	// Oldest and Next are what the topic has: from the one to before the
	// other.
	Oldest, Next int64
	// Damaged is how many bytes of the topic the server has set aside because
	// they are damaged. Nothing can be read there.
	Damaged int64
}

// Error says what is wrong with the offset.
func (e *OffsetError) Error() string {
	switch {
	case e.Offset > e.Next:
		return fmt.Sprintf("offset %d is beyond the end, %d", e.Offset, e.Next)
	case e.Delta > 0:
		return fmt.Sprintf("delta %d is not the beginning of a message in the batch at offset %d", e.Delta, e.Offset)
	case e.Damaged > 0:
		return fmt.Sprintf("no batch begins at offset %d, or it is among the topic's %d damaged bytes", e.Offset, e.Damaged)
	}
	return fmt.Sprintf("offset %d is not the beginning of a batch", e.Offset)
}

// Is reports whether target is ErrNotFound.
func (e *OffsetError) Is(target error) bool { return target == ErrNotFound }

// ScanEnd is why a Scanner delivers no more messages.
type ScanEnd uint8

const (
	// NotEnded: it still does, as far as it knows.
	NotEnded ScanEnd = iota
	// EndOfLog: the log has no more for now.
	EndOfLog
	// EndEmpty: the topic has no message at all.
	EndEmpty
	// EndLimit: there were as many messages as ScannerConfig.Limit.
	EndLimit
	// EndFailed: Scanner.Err tells why.
	EndFailed
)

// String returns the constant's name.
func (e ScanEnd) String() string {
	if names := [...]string{"NotEnded", "EndOfLog", "EndEmpty", "EndLimit", "EndFailed"}; int(e) < len(names) {
		return names[e]
	}
	return fmt.Sprintf("ScanEnd(%d)", e)
}
