package logd

import (
	"fmt"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/sequence"
)

// Defaults of [WriterConfig]. The buffer is small enough to stay in a
// processor's cache between Write and the network, which a larger one costs a
// fifth of the speed.
const (
	DefaultBatchAge    = 10 * time.Millisecond
	DefaultPatience    = 10 * time.Second
	DefaultInFlight    = 8
	DefaultBufferBytes = 1 << 20
)

// WriterConfig says how a Writer makes batches, how much it holds, and what it
// does with what it cannot deliver. The zero value of every field is its
// documented default.
//
// How long it waits for the server, and how it reconnects, is the Client's
// configuration: see [Writer].
type WriterConfig struct {
	// BatchBytes is the length of the largest batch, envelope and data. The envelope
	// has room for a number, of up to 61 bytes, unless NoSequence is set. A
	// batch is sent when the next message would make it longer. If the server or
	// the topic takes smaller ones only, they are that small. Default:
	// DefaultMaxBatchSize.
	BatchBytes int64
	// BatchTarget is the length up to which messages share a batch, if that is
	// less than BatchBytes: a longer message has a batch of its own. Default:
	// BatchBytes.
	BatchTarget int64
	// BatchMessages is how many messages a batch has at most. Default: as many
	// as fit, and so is Unlimited.
	BatchMessages int64
	// BatchAge is how long a message waits for others to share a batch with.
	// Default: DefaultBatchAge; Unlimited: until the batch is full or flushed.
	BatchAge time.Duration

	// Codec is the name of the codec that batches are compressed with, if that makes them
	// shorter: "zstd" or "s2". It must be registered (see [Codec]) before the Client is
	// made. A server that does not take it gets them as they are. BatchBytes and
	// BatchTarget are lengths before that. Batches in the backlog are compressed, too.
	// Default: none.
	Codec string

	// RequireSync makes the Writer refuse a server that answers before a batch is on
	// stable storage: one whose setting flush-batches is not 1. The error is
	// ErrNotSynced. The Writer asks again over each new connection.
	RequireSync bool

	// InFlight is how many batches are sent before the first of them is
	// answered: up to 32, and with NoSequence up to 1024. Default: DefaultInFlight.
	InFlight int
	// BufferBytes bounds the memory for messages that are not delivered: there
	// are at most as many batches, of BatchBytes each, as it has room for.
	// Default: DefaultBufferBytes, or InFlight+2 batches if that is more.
	BufferBytes int64
	// WhenFull says what becomes of a message when there is no room. Default:
	// Block.
	WhenFull FullPolicy

	// TrimNewline takes one "\n" off the end of every message that ends with
	// it: package log ends every line so. Default: messages are what was
	// written, byte for byte.
	TrimNewline bool

	// Patience is how long the Writer sends batches again before it is failing, and
	// takes messages meanwhile: while the connection is lost, or the server is busy,
	// shutting down, read only or not the leader. It counts from the first failure since
	// the last batch that was stored. With WriteWhileFailing it ends when the buffer is
	// nearly full. It is for batches with numbers: see [Writer].
	// Default: 10s, and with StopOnError not at all; Unlimited: for ever.
	Patience time.Duration
	// NoSequence makes the Writer send batches without numbers, as it does anyway if the
	// server does not know numbers. What is sent again may then be stored twice.
	NoSequence bool

	// Backlog keeps the batches that could not be delivered: a *backlog.Memory, a
	// *backlog.Disk, or backlog.None{} to give them up. It must have room for a
	// batch of BatchBytes. Default: a Memory of the Writer's own, of the default
	// size; with StopOnError none.
	Backlog backlog.Backlog
	// WriteWhileFailing makes the Writer take messages also while it is
	// failing, and be made while the server cannot be reached; the messages go
	// to the Backlog. Default: Write returns why the Writer is failing.
	WriteWhileFailing bool
	// StopOnError makes the Writer send nothing more once a batch has failed, or
	// the server can't be reached, for longer than Patience if that is set. It waits for the answers to what is on its
	// way, puts what is not stored into the Backlog, and is failing until it is
	// closed: it does not reconnect. So whoever makes another Writer decides what
	// is sent next. Not with WriteWhileFailing.
	StopOnError bool

	// The callbacks are called one at a time, by the Writer's goroutine, with no
	// lock held. They must neither block nor call the Writer's Flush, Close,
	// CloseContext or WriteSync, nor a Write that may block. Default: none.

	// OnBatch is called with what became of each batch, after the callbacks of
	// WriteFunc for its messages: when the server has stored it, and when it
	// could not be delivered. A batch that is kept in the Backlog is told of each
	// time that an attempt to deliver it ends; if it is split by then, each of the
	// smaller ones is. Of the first calls for each batch,
	// those of batches that are new in this Writer come in the order of the
	// messages. Of messages that are dropped for want of room OnError is told.
	OnBatch func(r BatchResult)
	// OnError is called with a *BatchError for batches that could not be
	// delivered; with a *DropError for messages that were dropped since the last
	// one; with why batches are sent again, or an attempt to reconnect failed; and with
	// what goes wrong in a Backlog.
	//
	// A failure is told at once. If the same one comes again within a second,
	// OnError is called once more when the second is over, and then once a
	// second: the Messages and Batches of a *BatchError, and the Messages of a
	// *DropError, are those of all that came since; of any other error it is the
	// newest. Nothing is left out when the Writer is closed.
	OnError func(err error)
	// OnState is called with each state the Writer enters after NewWriter, in
	// order, and for StateFailing with the cause.
	OnState func(state WriterState, cause error)
}

// BatchResult is what became of one batch.
type BatchResult struct {
	// Offset is where the batch is stored, if Err is nil, and -1 if the server can't
	// tell that any more.
	Offset int64
	// Messages is how many messages it has.
	Messages int64
	// Raw is the batch as it is sent, envelope and data. It must not be changed,
	// and is valid until the callback returns.
	Raw []byte
	// FromBacklog tells that the batch was in the backlog: an attempt to deliver
	// it failed before, in this Writer or in an earlier one.
	FromBacklog bool
	// Err is nil if the batch is stored. Otherwise it is a *BatchError, which says
	// why it is not, and whether it is in the backlog now (ErrBacklogged).
	Err error
}

// FullPolicy is what a Writer does with a message that it has no room for.
type FullPolicy uint8

const (
	// Block makes the caller wait for room: until the caller's context ends,
	// the Writer fails or is closed.
	Block FullPolicy = iota
	// Fail refuses the message: the error is ErrBufferFull.
	Fail
	// DropNewest drops the message and counts it. Write succeeds; WriteFunc,
	// whose caller wants to know, returns ErrDropped.
	DropNewest
	// DropOldest drops the oldest batch that is not yet on its way, and counts
	// its messages. If there is none, it does as DropNewest.
	DropOldest
)

// String returns the constant's name.
func (p FullPolicy) String() string {
	if names := [...]string{"Block", "Fail", "DropNewest", "DropOldest"}; int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("FullPolicy(%d)", p)
}

// maxInFlight bounds InFlight: beyond it, more is only more to lose.
const maxInFlight = 1024

// Validate returns an error that names the field, its value and the allowed
// range if a Writer cannot work with cfg.
func (cfg *WriterConfig) Validate() error {
	const minBatchBytes = 128 // the smallest limit that a server can have
	bad := func(field string, value any, want string, args ...any) error {
		return fmt.Errorf("logd: WriterConfig.%s is %v: want %s", field, value, fmt.Sprintf(want, args...))
	}
	switch {
	case cfg.BatchBytes != 0 && (cfg.BatchBytes < minBatchBytes || cfg.BatchBytes > maxBatchBytes):
		return bad("BatchBytes", cfg.BatchBytes, "0 (the default), or %d to %d", minBatchBytes, maxBatchBytes)
	case cfg.BatchTarget < 0 || cfg.BatchTarget > cfg.withDefaults().BatchBytes:
		return bad("BatchTarget", cfg.BatchTarget, "0 (the default), or up to BatchBytes, %d", cfg.withDefaults().BatchBytes)
	case cfg.BatchMessages < Unlimited:
		return bad("BatchMessages", cfg.BatchMessages, "0 (the default) or more, or Unlimited (-1)")
	case cfg.BatchAge < Unlimited:
		return bad("BatchAge", cfg.BatchAge, "0 (the default) or more, or Unlimited (-1)")
	case cfg.InFlight < 0 || cfg.InFlight > maxInFlight:
		return bad("InFlight", cfg.InFlight, "0 (the default) to %d", maxInFlight)
	case cfg.InFlight > sequence.MaxUnanswered && !cfg.NoSequence:
		return bad("InFlight", cfg.InFlight, "up to %d: a server knows no more batches again that were sent twice. With NoSequence it may be up to %d",
			sequence.MaxUnanswered, maxInFlight)
	case cfg.Patience < Unlimited:
		return bad("Patience", cfg.Patience, "0 (the default) or more, or Unlimited (-1)")
	case cfg.BufferBytes < 0:
		return bad("BufferBytes", cfg.BufferBytes, "0 (the default) or more")
	case cfg.WhenFull > DropOldest:
		return bad("WhenFull", cfg.WhenFull, "Block, Fail, DropNewest or DropOldest")
	}
	full := cfg.withDefaults()
	least := 2 * full.BatchBytes
	why := "2 batches of BatchBytes"
	if full.WhenFull == DropOldest {
		least = int64(full.InFlight+2) * full.BatchBytes
		why = fmt.Sprintf("InFlight+2 batches of BatchBytes, for DropOldest to have one that is not on its way (InFlight is %d)", full.InFlight)
	}
	switch {
	case full.BufferBytes < least:
		return bad("BufferBytes", full.BufferBytes, "at least %d, %s", least, why)
	case full.WriteWhileFailing && full.Backlog == backlog.None{}:
		return bad("WriteWhileFailing", true, "a Backlog with it, not backlog.None")
	case full.WriteWhileFailing && full.StopOnError:
		return bad("StopOnError", true, "it without WriteWhileFailing: a Writer that has stopped takes no messages")
	case full.Backlog != nil && full.Backlog.MaxBatch() < full.BatchBytes:
		return bad("BatchBytes", full.BatchBytes, "at most %d, which is what the Backlog has room for while it is empty", full.Backlog.MaxBatch())
	}
	return nil
}

// maxBatchBytes is what the length of a batch in a backlog's file can be.
const maxBatchBytes = 1<<31 - 1

// withDefaults returns a copy in which no field that has a default is zero.
func (cfg *WriterConfig) withDefaults() WriterConfig {
	c := *cfg
	setDefault(&c.BatchBytes, DefaultMaxBatchSize)
	setDefault(&c.BatchTarget, c.BatchBytes)
	if c.BatchMessages == Unlimited {
		c.BatchMessages = 0
	}
	setDefault(&c.BatchMessages, c.BatchBytes/int64(batch.MinMessageLen))
	setDefault(&c.BatchAge, DefaultBatchAge)
	setDefault(&c.InFlight, DefaultInFlight)
	if !c.StopOnError {
		setDefault(&c.Patience, DefaultPatience)
	}
	setDefault(&c.BufferBytes, max(DefaultBufferBytes, int64(c.InFlight+2)*c.BatchBytes))
	return c
}
