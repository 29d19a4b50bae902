package protocol

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
	ErrInternal         = &Error{Reason: "internal error", Status: 500}
)

// Errors are all error answers.
var Errors = []*Error{
	ErrNotFound, ErrInvalidRequest, ErrInvalidProtocol, ErrTooLarge, ErrChecksumMismatch, ErrMaxTopics,
	ErrTopicNotAllowed, ErrUnauthorized, ErrUnsupportedCodec, ErrNotLeader, ErrBusy, ErrShuttingDown,
	ErrReadOnly, ErrInternal,
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
	e, ok := errorsByReason[reason]
	return e, ok
}
