package link

import (
	"errors"
	"strings"
)

// Why a call has no answer, beside the error answers of package protocol. Package
// logd documents them, under the same names.
var (
	ErrClosed         = errors.New("client closed")
	ErrConnect        = errors.New("cannot connect")
	ErrConnectionLost = errors.New("connection lost")
	ErrBadAnswer      = errors.New("answer breaks the protocol")
	ErrCorrupt        = errors.New("batch is corrupt")
	ErrPlainToken     = errors.New("the token would be sent in the open: use TLS")
)

// Failure is why a call has no answer of the right kind. It is not an error: what
// the call was for is for its caller to say.
type Failure struct {
	Addr    string // the server's address, empty when there was no connection
	Err     error
	Outcome Outcome

	Answered bool   // Err is the server's answer
	Undone   bool   // the server certainly did not do what was asked for
	Leader   string // the address that Err names, if it names the leader
}

// Outcome is what is known of a failed append.
type Outcome uint8

// The outcomes.
const (
	NotAppend Outcome = iota // the call was none
	NotStored                // the server refused the batch, or never got all of it
	Unknown                  // the batch may be stored or not
)

// outcomeFor returns the outcome of a failed call of the kind, which the
// server certainly did not carry out or perhaps did.
func outcomeFor(kind AnswerKind, certain bool) Outcome {
	switch {
	case kind != answerAppend:
		return NotAppend
	case certain:
		return NotStored
	default:
		return Unknown
	}
}

// DamageError is an answer of batches of which the one at Offset can't be taken:
// what stands there is damaged, or got lost on its way.
type DamageError struct {
	Offset int64
	Err    error
}

// Error returns the text of Err.
func (e *DamageError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *DamageError) Unwrap() error { return e.Err }

// Errors is several errors, on one line.
type Errors []error

// Error returns their texts.
func (e Errors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns them for errors.Is and errors.As.
func (e Errors) Unwrap() []error { return e }
