package protocol

import (
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// Error is an error answer of the protocol: its reason is stable, and it says
// whether the connection survives it. Errors are compared by identity; use
// errors.Is with the Err values of this package.
type Error struct {
	// Reason follows ERR on the wire.
	Reason string
	// Closes tells that the server closes the connection after this answer.
	Closes bool
	// Status is the HTTP status that says the same.
	Status int
	// RetryAfter is for how long there is no use in asking again, if that is known. HTTP
	// alone has a place for it.
	RetryAfter time.Duration
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

// The error answers.
var (
	ErrNotFound         = &Error{Reason: "not found", Status: 404}
	ErrInvalidRequest   = &Error{Reason: "invalid request", Status: 400}
	ErrInvalidProtocol  = &Error{Reason: "invalid protocol", Status: 400, Closes: true}
	ErrTooLarge         = &Error{Reason: "too large", Status: 413, Closes: true}
	ErrChecksumMismatch = &Error{Reason: "checksum mismatch", Status: 400}
	ErrMaxTopics        = &Error{Reason: "maximum topics allowed", Status: 429}
	ErrTopicNotAllowed  = &Error{Reason: "topic not allowed", Status: 403}
	ErrUnauthorized     = &Error{Reason: "unauthorized", Status: 401}
	ErrUnsupportedCodec = &Error{Reason: "unsupported codec", Status: 400}
	ErrNotLeader        = &Error{Reason: "not leader", Status: 421}
	ErrBusy             = &Error{Reason: "busy", Status: 503}
	ErrShuttingDown     = &Error{Reason: "shutting down", Status: 503, Closes: true}
	ErrReadOnly         = &Error{Reason: "read only", Status: 503}
	ErrOutOfOrder       = &Error{Reason: "out of order", Status: 409} // on the wire a number follows
	ErrSequenceConflict = &Error{Reason: "sequence conflict", Status: 409}
	ErrInternal         = &Error{Reason: "internal error", Status: 500}
	ErrTLSRequired      = &Error{Reason: "tls required", Status: 400, Closes: true}
	ErrVersionConflict  = &Error{Reason: "version conflict", Status: 412} // on the wire a number follows
	ErrHeld             = &Error{Reason: "held", Status: 423}             // on the wire a number follows
	ErrMaxPositions     = &Error{Reason: "maximum positions allowed", Status: 429}
)

// Errors are all error answers.
var Errors = []*Error{
	ErrNotFound, ErrInvalidRequest, ErrInvalidProtocol, ErrTooLarge, ErrChecksumMismatch, ErrMaxTopics,
	ErrTopicNotAllowed, ErrUnauthorized, ErrUnsupportedCodec, ErrNotLeader, ErrBusy, ErrShuttingDown,
	ErrReadOnly, ErrInternal, ErrOutOfOrder, ErrSequenceConflict, ErrTLSRequired,
	ErrVersionConflict, ErrHeld, ErrMaxPositions,
}

var errorsByReason = func() map[string]*Error {
	m := make(map[string]*Error)
	for _, e := range Errors {
		m[e.Reason] = e
	}
	return m
}()

// ErrorFor returns the error answer with the given reason, and whether this
// version of the protocol knows it.
func ErrorFor(reason string) (*Error, bool) {
	if e, ok := errorsByReason[reason]; ok {
		return e, true
	}
	if _, ok := ParseOutOfOrder(reason); ok {
		return ErrOutOfOrder, true
	}
	if _, ok := ParseVersionConflict(reason); ok {
		return ErrVersionConflict, true
	}
	if _, ok := ParseHeld(reason); ok {
		return ErrHeld, true
	}
	return nil, false
}

// Busy returns the answer to a request that can be asked again after a while: ErrBusy
// with that RetryAfter. It is not ErrBusy itself.
func Busy(after time.Duration) *Error {
	e := *ErrBusy
	e.RetryAfter = after
	return &e
}

// OutOfOrder returns the answer to a batch whose number is not the next one, which
// is seq: ErrOutOfOrder with that number. It is not ErrOutOfOrder itself.
func OutOfOrder(seq int64) *Error {
	return numbered(ErrOutOfOrder, seq)
}

// VersionConflict returns the answer to who has set a position by a version that it does
// not have: ErrVersionConflict with the one that it has, 0 if there is no position. It is
// not ErrVersionConflict itself.
func VersionConflict(version int64) *Error { return numbered(ErrVersionConflict, version) }

// Held returns the answer to who has set a position that another one holds:
// ErrHeld with for how many milliseconds yet, at least 1. It is not ErrHeld itself.
func Held(left time.Duration) *Error {
	e := numbered(ErrHeld, max(int64((left+time.Millisecond-1)/time.Millisecond), 1))
	e.RetryAfter = left
	return e
}

// numbered returns a copy of an error with a number behind its reason.
func numbered(err *Error, n int64) *Error {
	e := *err
	e.Reason += " " + strconv.FormatInt(n, 10)
	return &e
}

// NotLeader returns the answer of a server that does not lead: ErrNotLeader, with the
// address of the leader if that is known.
func NotLeader(addr string) *Error {
	if addr == "" {
		return ErrNotLeader
	}
	e := *ErrNotLeader
	e.Reason += " " + addr
	return &e
}

// ParseOutOfOrder returns the number in the reason of an answer that OutOfOrder
// has made, and whether it is one.
func ParseOutOfOrder(reason string) (seq int64, ok bool) {
	seq, ok = parseNumbered(ErrOutOfOrder, reason)
	return seq, ok && seq > 0
}

// ParseVersionConflict is to VersionConflict as ParseOutOfOrder is to OutOfOrder.
func ParseVersionConflict(reason string) (version int64, ok bool) {
	return parseNumbered(ErrVersionConflict, reason)
}

// ParseHeld is to Held as ParseOutOfOrder is to OutOfOrder.
func ParseHeld(reason string) (left time.Duration, ok bool) {
	n, ok := parseNumbered(ErrHeld, reason)
	return milliseconds(n), ok
}

func parseNumbered(err *Error, reason string) (n int64, ok bool) {
	number, is := strings.CutPrefix(reason, err.Reason+" ")
	n, ok = batch.ParseInt([]byte(number))
	return n, ok && is
}
