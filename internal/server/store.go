package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

// Store is where the topics are. What it and its logs return as an error is
// answered as the *protocol.Error that it wraps; one that wraps none is logged
// and answered as an internal error. All methods are safe for concurrent use
// and keep no argument.
type Store interface {
	// Log returns the log of an existing topic, or protocol.ErrNotFound.
	Log(topic []byte) (Log, error)
	// Create returns the log of a topic and makes it if need be.
	Create(topic []byte) (Log, error)
	// Topics returns all names, sorted.
	Topics() []string
	// Broken describes a topic that exists and that Log can't return, as far as
	// that can be, and reports whether there is such a topic.
	Broken(topic []byte) (Info, bool)
	// Delete deletes the topic that has the id, in hexadecimal, for good when it
	// returns nil; its files are kept for a while unless now is set. The error is
	// protocol.ErrNotFound if there is none. A done ctx ends the waiting for what
	// else is done to the topic.
	Delete(ctx context.Context, topic, id string, now bool) error
	// Counts returns what STATS tells of the store.
	Counts() Counts
	// Hooks returns the partitions that wait for their delete hook.
	Hooks() []Hook
	// RetryHook has the hook of the partition that begins at base run again
	// soon, SkipHook lets the partition go without. The error is
	// protocol.ErrNotFound if that partition waits for no hook.
	RetryHook(topic string, base int64) error
	SkipHook(topic string, base int64) error
}

// Hook is a partition that waits for its delete hook.
type Hook struct {
	Topic     string
	Base, End int64
	State     string
	Attempts  int
	Next      time.Time // of the next attempt; zero if none is foreseen
	Err       error     // of the last attempt
}

// Counts is what STATS tells of a store.
type Counts struct {
	Topics     int64 // that exist
	Disallowed int64 // refused by the list or the limit
	Misses     int64 // reads of offsets that do not exist
}

// Log is the log of one topic. Once the topic is deleted all methods that can
// fail return ErrDeleted.
type Log interface {
	// Deleted reports whether the topic was deleted.
	Deleted() bool
	// Append appends valid batches for this topic that stand one after another
	// in data, in canonical form. They may be acknowledged when Commit of the
	// result has returned nil. With an error, the first Appended.Batches were
	// appended all the same, and the others not, unless it is ErrInDoubt. data is
	// the caller's again on return.
	Append(ctx context.Context, data []byte, extents []batch.Extent) (Appended, error)
	// Commit returns nil when the appended batches are as durable as the store
	// promises of what is acknowledged. It blocks while the disk does; a done ctx
	// ends only the waiting. Unless an error is ErrInDoubt, they are not stored.
	Commit(ctx context.Context, a Appended) error
	// Read returns whole batches from offset on, as many as have the messages
	// that are asked for, in up to maxBytes bytes (0 for no limit) but for the
	// first: ErrEnd at the readable end, protocol.ErrNotFound where no batch
	// begins. The caller closes the View.
	Read(offset, messages, maxBytes int64) (View, error)
	// Verify is Read of batches that are checked first. Those that are damaged are
	// set aside, and never read again.
	Verify(offset, messages, maxBytes int64) (View, error)
	// Oldest returns the first offset that is stored and not damaged.
	Oldest() int64
	// Watch asks for one call of w.Wake when the readable end passes offset or
	// the topic is deleted, and reports false if that is so already. After
	// Unwatch has returned, Wake is not called any more.
	Watch(offset int64, w Waker) bool
	Unwatch(w Waker)
	// Info describes the log. It may have to read partitions that no index knows,
	// which a done ctx ends.
	Info(ctx context.Context) (Info, error)
	// Seek returns the offset of the first batch appended at t or later, or the
	// readable end.
	Seek(t time.Time) (int64, error)
	// Times returns when the batches from one offset up to another were appended,
	// as at most so many marks: the first for the first batch at or after from,
	// nothing at or behind to or the readable end.
	Times(from, to int64, limit int) ([]protocol.TimeMark, error)
	// Trim removes the partitions that end at or before offset, after their
	// delete hooks, and returns the oldest offset then. An offset at or behind the
	// end begins a new partition first.
	Trim(ctx context.Context, offset int64) (oldest int64, err error)
	// Plan returns what retention would do with each partition, oldest first,
	// under settings of which a negative one stands for the store's own.
	Plan(k protocol.Keep) []Planned
}

// Planned is what retention has in mind for a partition.
type Planned struct {
	Base, End int64
	Newest    time.Time // of its batches; zero for none
	Messages  int64     // it has; negative if they can't be counted
	Verdict   string    // "remove", "held" until its hook has succeeded, or "keep"
	Why       string    // name of the setting that removes it; empty if it is kept

	// What removes a partition that is kept if nothing else does first: so many
	// more partitions begun, so many more bytes written, that time. Zero where
	// the settings do not limit.
	NewPartitions, NewBytes int64
	At                      time.Time
}

// ErrInDoubt is an error after which batches may be stored or not. No answer
// says that: the connection is closed instead.
var ErrInDoubt = errors.New("server: batches are in doubt")

// ErrDeleted is returned by the methods of a Log whose topic was deleted.
// Nothing of the call is stored.
var ErrDeleted = fmt.Errorf("server: topic was deleted: %w", protocol.ErrNotFound)

// ErrEnd is returned by Log.Read at the readable end.
var ErrEnd = errors.New("server: end of log")

// Waker is what Log.Watch wakes. Wake must not block.
type Waker interface{ Wake() }

// Appended tells where appended batches went.
type Appended struct {
	Offset  int64 // of the first; the others follow without a gap
	End     int64
	Batches int
	Ordinal int64 // the store's own, for Commit
}

// View is what a read found: sections of files, one after another, which stay
// until Close, also when retention removes the files. Close is called once. A
// View is for one goroutine.
type View interface {
	Offset() int64  // of the first batch
	Batches() int64 // at least 1
	Len() int64     // of all sections, in bytes
	Sections() int
	// Section returns n bytes of r at pos. If r has a method
	// Fd() (uintptr, bool) that reports true, they are sent from the descriptor
	// by sendfile(2), else copied.
	Section(i int) (r io.ReaderAt, pos, n int64)
	Close()
}

// Info is what INFO tells of a topic.
type Info struct {
	Oldest, Next           int64
	Partitions             int
	Bytes                  int64
	Messages, Batches      int64
	OldestTime, NewestTime time.Time // zero for an empty log
	Damaged                int64     // bytes set aside
	Synced                 int64     // offset: all before it is on stable storage
	ID                     string    // hexadecimal; empty if there is none
	ReadOnly               error     // why the topic takes no batches, or nil

	// DamagedAt are the ranges that were set aside, in order: the first offset of
	// each and the one behind it.
	DamagedAt [][2]int64
	// DamagedIn are the names of the files in which these ranges begin.
	DamagedIn []string
}
