package logd

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

// The server's error answers. Test for them with errors.Is.
var (
	// ErrNotFound: there is no such topic, or no batch starts at the offset. The
	// error is ErrNoTopic or ErrNoBatch, too, where it is known which.
	ErrNotFound error = protocol.ErrNotFound
	// ErrNoTopic: there is no such topic. It is ErrNotFound to errors.Is.
	ErrNoTopic error = &notFoundError{"no such topic"}
	// ErrNoBatch: the topic has no batch that starts at the offset. It is
	// ErrNotFound to errors.Is.
	ErrNoBatch error = &notFoundError{"no batch starts there"}
	// ErrInvalidRequest: an argument is outside what the server allows.
	ErrInvalidRequest error = protocol.ErrInvalidRequest
	// ErrInvalidProtocol: the server did not understand the request. It closes
	// the connection.
	ErrInvalidProtocol error = protocol.ErrInvalidProtocol
	// ErrTooLarge: the batch is larger than the server's MaxBatchSize. The Client
	// does not send such a batch. If a server gets one all the same it closes the
	// connection. Or the batch is larger than its topic's, which the server refuses.
	ErrTooLarge error = protocol.ErrTooLarge
	// ErrChecksumMismatch: the batch was damaged on its way to the server.
	ErrChecksumMismatch error = protocol.ErrChecksumMismatch
	// ErrMaxTopics: the topic would be one more than the server keeps.
	ErrMaxTopics error = protocol.ErrMaxTopics
	// ErrTopicNotAllowed: the topic is not on the server's whitelist.
	ErrTopicNotAllowed error = protocol.ErrTopicNotAllowed
	// ErrUnauthorized: the server wants a token, or another one, or no rule of it allows
	// what was asked for. Nothing was done.
	ErrUnauthorized error = protocol.ErrUnauthorized
	// ErrUnsupportedCodec: the batch is compressed in a way that this client
	// did not offer to read.
	ErrUnsupportedCodec error = protocol.ErrUnsupportedCodec
	// ErrNotLeader: another member of the cluster leads, or none. The error is a
	// *NotLeaderError where the server said which. The Client goes there, or else to the
	// next member: a call has this error when its attempts are over, and a Pending at
	// once.
	ErrNotLeader error = protocol.ErrNotLeader
	// ErrBusy: a limit on connections or queued work was reached.
	ErrBusy error = protocol.ErrBusy
	// ErrShuttingDown: the server is about to end. It closes the connection.
	ErrShuttingDown error = protocol.ErrShuttingDown
	// ErrReadOnly: the server's storage refuses writes; reads go on.
	ErrReadOnly error = protocol.ErrReadOnly
	// ErrOutOfOrder: the number of a batch is not the one that is next: see [Writer].
	// The error is an *OutOfOrderError.
	ErrOutOfOrder error = protocol.ErrOutOfOrder
	// ErrSequenceConflict: the number of a batch is that of another batch, which is
	// stored.
	ErrSequenceConflict error = protocol.ErrSequenceConflict
	// ErrTLSRequired: the server wants TLS, and the Client has begun without. It closes
	// the connection.
	ErrTLSRequired error = protocol.ErrTLSRequired
	// ErrVersionConflict: a position was to be set that has another version. The error is
	// a *VersionConflictError.
	ErrVersionConflict error = protocol.ErrVersionConflict
	// ErrHeld: another one holds the position. The error is a *HeldError.
	ErrHeld error = protocol.ErrHeld
	// ErrMaxPositions: the position would be one more than the server keeps.
	ErrMaxPositions error = protocol.ErrMaxPositions
	// ErrInternal: the server failed; its log says why.
	ErrInternal error = protocol.ErrInternal
)

// The Client's own errors.
var (
	// ErrClosed: the Client, Writer, Scanner or file of progress was closed. The text
	// of the error says which.
	ErrClosed = link.ErrClosed
	// ErrConnect: no address could be reached. The request was not sent. The error
	// wraps the reason of each address, too, for errors.Is and errors.As.
	ErrConnect = link.ErrConnect
	// ErrConnectionLost: the connection ended before the answer.
	ErrConnectionLost = link.ErrConnectionLost
	// ErrBadAnswer: the server's answer breaks the protocol. The connection is
	// closed, since nothing behind such an answer can be trusted.
	ErrBadAnswer = link.ErrBadAnswer
	// ErrCorrupt: a batch was read whose data is not what its envelope says, or
	// the bytes where one must be are none.
	ErrCorrupt = link.ErrCorrupt
	// ErrPlainToken: a token would have gone over TCP without TLS to another machine.
	// It was not sent. See ClientConfig.AllowPlainToken.
	ErrPlainToken = link.ErrPlainToken
	// ErrEmptyBatch: a batch without messages cannot be appended.
	ErrEmptyBatch = errors.New("batch has no messages")
)

// closedError is ErrClosed, and says what was closed.
type closedError struct{ what string }

var (
	errWriterClosed  error = &closedError{"writer"}
	errScannerClosed error = &closedError{"scanner"}
)

func (e *closedError) Error() string { return e.what + " closed" }

func (e *closedError) Is(target error) bool { return target == ErrClosed }

// notFoundError is ErrNotFound, and says what was not found.
type notFoundError struct{ what string }

func (e *notFoundError) Error() string { return ErrNotFound.Error() + ": " + e.what }

func (e *notFoundError) Is(target error) bool { return target == ErrNotFound }

// noTopic returns the error of a call with ErrNoTopic in place of ErrNotFound, for
// a call that fails so only if there is no such topic.
func noTopic(err error) error {
	if e, ok := err.(*OpError); ok && e.Err == ErrNotFound {
		e.Err = ErrNoTopic
	}
	return err
}

// NotLeaderError tells which member of a cluster leads. It is ErrNotLeader to errors.Is.
type NotLeaderError struct {
	// Addr is the leader's HOST:PORT.
	Addr string
}

// Error returns the answer's text.
func (e *NotLeaderError) Error() string { return "not leader: " + e.Addr + " is" }

// Is reports whether target is ErrNotLeader.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// OutOfOrderError tells which number the server wants next from the sender of a
// numbered batch: all before it are stored, and none from it on. It is ErrOutOfOrder
// to errors.Is.
type OutOfOrderError struct {
	Next int64
}

// Error returns the answer's text.
func (e *OutOfOrderError) Error() string {
	return "out of order: number " + strconv.FormatInt(e.Next, 10) + " is next"
}

// Is reports whether target is ErrOutOfOrder.
func (e *OutOfOrderError) Is(target error) bool { return target == ErrOutOfOrder }

// ReplyError is an error answer that this version of the client does not know.
type ReplyError struct {
	// Reason is the answer without its leading ERR.
	Reason string
}

// Error returns the quoted reason.
func (e *ReplyError) Error() string { return "server answered with error " + strconv.Quote(e.Reason) }

// Outcome is what is known of a failed append.
type Outcome uint8

const (
	// OutcomeNone: the call was no append.
	OutcomeNone = Outcome(link.NotAppend)
	// OutcomeNotStored: the batch is certainly not stored.
	OutcomeNotStored = Outcome(link.NotStored)
	// OutcomeUnknown: the batch may be stored or not.
	OutcomeUnknown = Outcome(link.Unknown)
)

// OpError is the error of every call of a Client.
type OpError struct {
	Op    string // what was done: "append", "read", …
	Topic string // empty for calls that have none
	Addr  string // the server's address, empty when there was no connection
	Err   error  // why it failed

	// Outcome is what is known of the batch, if the call was an append: see
	// IsNotStored and IsUnknown.
	Outcome Outcome
}

// failed returns the error of a call that has failed.
func failed(op, topic string, f *link.Failure) *OpError {
	return &OpError{Op: op, Topic: topic, Addr: f.Addr, Err: f.Err, Outcome: Outcome(f.Outcome)}
}

// Error says what failed, where and why.
func (e *OpError) Error() string {
	s := "logd: " + e.Op
	if e.Topic != "" {
		s += " " + strconv.Quote(e.Topic)
	}
	if e.Addr != "" {
		s += " at " + e.Addr
	}
	s += ": " + e.Err.Error()
	if e.Outcome == OutcomeUnknown {
		s += " (the batch may be stored or not)"
	}
	return s
}

// Unwrap returns Err.
func (e *OpError) Unwrap() error { return e.Err }

// IsRetryable reports whether the same call may succeed later, or elsewhere,
// without anybody changing it: the connection failed, the server is busy,
// shutting down, read only, not the leader, or failed inside, a Writer has
// no room, or another one holds a position.
//
// The end of a caller's context is not retryable, nor is a closed Client. An
// append that is retried although [IsUnknown] is true may be stored twice.
func IsRetryable(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	for _, target := range [...]error{
		ErrConnect, ErrConnectionLost, ErrBusy, ErrShuttingDown, ErrReadOnly, ErrNotLeader, ErrInternal,
		ErrBufferFull, ErrHeld,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// IsNotStored reports whether err is of an append whose batch is certainly not
// stored: the server refused it, or never got all of it.
func IsNotStored(err error) bool { return outcomeOf(err) == OutcomeNotStored }

// IsUnknown reports whether err is of an append whose batch may be stored or
// not: it was sent, and the connection or the caller's patience ended before
// the answer.
func IsUnknown(err error) bool { return outcomeOf(err) == OutcomeUnknown }

func outcomeOf(err error) Outcome {
	if e, ok := errors.AsType[*OpError](err); ok {
		return e.Outcome
	}
	return OutcomeNone
}

// errorList is several errors, on one line.
type errorList = link.Errors

// joined returns what is not nil of errs as one error on one line, nil if that is
// nothing.
func joined(errs ...error) error {
	list := errorList(slices.DeleteFunc(errs, func(err error) bool { return err == nil }))
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return list
}
