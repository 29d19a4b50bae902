// Package topic is the contract between those who serve topics, over TCP or
// HTTP, and those who keep them, on disk or in memory. It has interfaces, the
// values that go through them, and the errors that both sides know; it does
// nothing itself.
//
// A [Store] has the topics, a [Log] one of them. The way of the data ([Topics],
// [Appender], [Reader]) is apart from administration ([Catalog], [Admin]), so that
// who needs one asks for no more. Package topictest has the tests that every
// Store passes.
//
// All methods are safe for concurrent use and keep no argument, unless one says
// otherwise.
package topic

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// The errors of stores and logs, to test for with errors.Is. Any other is a
// fault of the store's own.
var (
	// ErrNotFound is a topic that does not exist, or an offset at which no batch
	// begins: deleted, set aside, inside a batch or beyond the readable end.
	ErrNotFound = errors.New("storage: offset not found")
	// ErrEnd is the readable end: no batch yet, but the next one goes there.
	ErrEnd = errors.New("storage: end of log")
	// ErrReadOnly is a log that can't be written: its disk is full, or a write
	// or sync failed. Nothing of the append is stored.
	ErrReadOnly = errors.New("storage: read only")
	// ErrConflict is a numbered batch whose number another one has, which is stored.
	ErrConflict = errors.New("storage: the number is another batch's")
	// ErrBusy is an append refused because too much is queued already.
	ErrBusy = errors.New("storage: too many appends queued")
	// ErrOffset is an append that was to get another offset than the next one.
	ErrOffset = errors.New("storage: not the next offset")
	// ErrName is a name that no topic can have.
	ErrName = errors.New("storage: invalid topic name")
	// ErrMaxTopics is a new topic over the limit.
	ErrMaxTopics = errors.New("storage: maximum number of topics reached")
	// ErrNotAllowed is a new topic that is not on the list.
	ErrNotAllowed = errors.New("storage: topic not allowed")
	// ErrClosed is a store that was closed.
	ErrClosed = errors.New("storage: closed")
	// ErrDeleted is the use of a log whose topic was deleted. Nothing of the call
	// is stored; another topic may have the name by now.
	ErrDeleted = errors.New("storage: topic was deleted")
	// ErrInvalid is what can't be done in a cluster as it is. What wraps it says why.
	ErrInvalid = errors.New("storage: it can't be")
	// ErrCodec is a read that begins at a batch which is compressed as the reader does
	// not know.
	ErrCodec = errors.New("storage: codec is not known to the reader")
	// ErrInDoubt is returned for batches that may be stored or not: they were
	// written, and it failed, or nobody waited, to make them durable or to take them
	// back. It is to be tested for before its cause, which it may wrap.
	ErrInDoubt = errors.New("storage: batches are in doubt")
)

// NotLeaderError is what this server can't do, or know, and the leader of the topic
// can. Nothing of the call is stored.
type NotLeaderError struct {
	Addr string // where clients find the leader; empty if nobody is known to lead
	// Beyond is set for a read of an offset beyond the readable end here: it may be
	// that the batch is there, and it may come here yet. Watch tells.
	Beyond bool
	// Leads is set where this member leads as far as it knows: if it still does after
	// Cluster.Fresh, there is no such batch. The error is ErrNotFound, too, then.
	Leads bool
}

// Is reports whether the error stands for ErrNotFound, as far as this member knows.
func (e *NotLeaderError) Is(target error) bool { return e.Leads && target == ErrNotFound }

// Error tells where to go.
func (e *NotLeaderError) Error() string {
	if e.Addr == "" {
		return "storage: not the leader"
	}
	return "storage: not the leader, which is at " + e.Addr
}

// Positions is the topic in which the server keeps the positions of consumers. It is one
// of the server's own: see batch.Own.
const Positions = "__positions"

// Store is where the topics are.
type Store interface {
	Topics
	Catalog
}

// Topics finds and makes topics.
type Topics interface {
	// Log returns the log of an existing topic, or ErrNotFound.
	Log(name []byte) (Log, error)
	// Create returns the log of a topic and makes it if need be. It refuses with
	// ErrName, ErrNotAllowed, ErrMaxTopics and ErrReadOnly. Where others have to
	// agree it waits for them; a done ctx ends the waiting, with ErrBusy.
	Create(ctx context.Context, name []byte) (Log, error)
}

// Catalog is what operators ask of a store.
type Catalog interface {
	// Topics returns all names, sorted.
	Topics() []string
	// BrokenInfo describes a topic that exists and that Log can't return, as far
	// as that can be, and reports whether there is such a topic.
	BrokenInfo(name string) (Info, bool)
	// Delete deletes the topic that has the id, in hexadecimal, for good when it
	// returns nil; its files are kept for a while unless now is set. The error is
	// ErrNotFound if there is none; of one that it has deleted a while ago a store may
	// return nil again. A done ctx ends the waiting for what else is
	// done to the topic.
	Delete(ctx context.Context, name, id string, now bool) error
	// Counts returns what is counted over all topics.
	Counts() Counts
}

// Counts is what is counted over all topics of a store.
type Counts struct {
	Topics     int64 // that exist
	Disallowed int64 // refused by the list or the limit
	Misses     int64 // reads of offsets that do not exist
	Duplicates int64 // numbered batches that came again and were not stored again
}

// Log is the log of one topic. Once the topic is deleted all methods that can
// fail return ErrDeleted.
type Log interface {
	Appender
	Reader
	Admin
	// Deleted reports whether the topic was deleted.
	Deleted() bool
	// HexID returns the topic's id, as Info has it.
	HexID() string
}

// Appender is the way into a log.
type Appender interface {
	// Append appends valid batches for this topic that stand one after another
	// in data, in canonical form. They may be acknowledged when Commit of the
	// result has returned nil. With an error, the first Appended.Batches were
	// appended all the same, and the others not, unless it is ErrInDoubt. data is
	// the caller's again on return.
	//
	// A numbered batch is appended if it is the next one of its producer. If it is
	// stored already, or can't be told what it is, that is its Outcome, and no
	// error. An error is of this call alone: of a batch that was sent before it says
	// nothing.
	Append(ctx context.Context, data []byte, extents []batch.Extent) (Appended, error)
	// AppendAt is Append of batches that have no numbers, if they get that offset. If the
	// log's next offset is another, nothing is appended and the error is ErrOffset: it
	// says that something else was appended since, or that it may be.
	AppendAt(ctx context.Context, offset int64, data []byte, extents []batch.Extent) (Appended, error)
	// Commit returns nil when the appended batches are as durable as the store
	// promises of what is acknowledged. It blocks while the disk does; a done ctx
	// ends only the waiting. Unless an error is ErrInDoubt, they are not stored.
	Commit(ctx context.Context, a Appended) error
	// SyncTo returns nil when all that is committed before offset is on stable storage:
	// here, or where others have it, too, on that of a majority.
	SyncTo(ctx context.Context, offset int64) error
}

// Gatherer is a Log that takes at once what several callers append.
type Gatherer interface {
	Log
	// Gathers reports whether that is better than a call of Append for each, of which
	// some may be made while another waits for its Commit.
	Gathers() bool
	// AppendAll is Append for each of the parts.
	AppendAll(ctx context.Context, parts []Part)
}

// Part is one call of Append among others: its arguments, and its results.
type Part struct {
	Data     []byte
	Extents  []batch.Extent
	Appended Appended
	Err      error

	Ticket any // the log's own, until AppendAll returns
}

// Appended tells where a run of batches went.
type Appended struct {
	Offset  int64 // of the first batch; the others follow without a gap
	End     int64 // offset after the last batch
	Batches int   // how many were appended: all, unless there is an error

	// Outcomes are what became of each of these batches, if there was one that was
	// not to be appended because of its number; else nil. Each is committed by
	// itself then.
	Outcomes []Outcome

	// Ordinal counts the batches appended to the log since it was opened, up to
	// and with the last of these. It is for Commit.
	Ordinal int64
	// Ticket is for Commit, too: what the log wants to find again.
	Ticket any
}

// Outcome is what became of a batch of a run.
type Outcome struct {
	// Err is why the batch is not stored: ErrConflict or an *OutOfOrderError. Of one
	// that is stored, now or when it came before, it is nil.
	Err    error
	Offset int64 // where it is stored

	// End and Ordinal are for Commit. What Err says may be told when Commit has
	// returned nil, too: it relies on batches that may be on their way.
	End, Ordinal int64
	Ticket       any
}

// Appended returns what is to be committed before the outcome may be told.
func (o *Outcome) Appended() Appended {
	a := Appended{Offset: o.Offset, End: o.End, Ordinal: o.Ordinal, Ticket: o.Ticket}
	if o.End > 0 {
		a.Batches = 1
	}
	return a
}

// OutOfOrderError is a numbered batch that is not the next one of its producer.
// All before the next one are stored, and none from that on.
type OutOfOrderError struct{ Next int64 }

// Error tells the number that comes next.
func (e *OutOfOrderError) Error() string {
	return "storage: batch is out of order, the next one is " + strconv.FormatInt(e.Next, 10)
}

// Reader is the way out of a log.
type Reader interface {
	// Read returns whole batches from offset on, as many as have the messages
	// that are asked for, in up to maxBytes bytes (0 for no limit) but for the
	// first: ErrEnd at the readable end, ErrNotFound where no batch begins. The
	// caller closes the View.
	Read(offset, messages, maxBytes int64) (View, error)
	// Verify is Read of batches that are checked first. Those that are damaged are
	// set aside, and never read again.
	Verify(offset, messages, maxBytes int64) (View, error)
	// Oldest returns the first offset that is stored and not damaged.
	Oldest() int64
	// Readable returns the readable end: up to there it can be read.
	Readable() int64
	// MessagesFrom returns how many messages the batches from offset on have, up to the
	// readable end. It reads a few KiB, by the index, and partitions that no index knows
	// whole. The error is ErrNotFound where no batch begins, and before Oldest.
	MessagesFrom(offset int64) (int64, error)
	// Watch asks for one call of w.Wake when the readable end passes offset or
	// the topic is deleted, and reports false if that is so already. After
	// Unwatch has returned, Wake is not called any more.
	Watch(offset int64, w Waker) bool
	Unwatch(w Waker)
	// Seek returns the offset of the first batch appended at t or later, or the
	// readable end.
	Seek(t time.Time) (int64, error)
	// Times returns when the batches from one offset up to another were appended,
	// as at most so many marks: the first for the first batch at or after from,
	// nothing at or behind to or the readable end.
	Times(from, to int64, limit int) ([]TimeMark, error)
}

// Waker is somebody who waits for a log to grow.
type Waker interface {
	// Wake is called once after the log has grown. It must not block.
	Wake()
}

// View is what a read found: sections of files, one after another, which stay
// until Close, also when retention removes the files. Close is called once. A
// View is for one goroutine.
type View interface {
	Offset() int64  // of the first batch
	Batches() int64 // at least 1
	Len() int64     // of all sections, in bytes
	Sections() int  // some may be empty
	// Codecs are those that batches may be compressed with. That none of them is says
	// nothing: it is known of partitions.
	Codecs() batch.Codecs
	// Cut takes all batches out of the View but those in its first n bytes, which are so
	// many.
	Cut(n, batches int64)
	// Section returns n bytes of r at pos. If r has a method
	// Fd() (uintptr, bool) that reports true, they may be read from the descriptor
	// at explicit positions until Close.
	Section(i int) (r io.ReaderAt, pos, n int64)
	Close()
}

// TimeMark says that the batches from an offset on, up to the next mark's, were
// appended at a time.
type TimeMark struct {
	Offset int64
	Millis int64 // since 1970 UTC
}

// Admin is what operators ask of one topic.
type Admin interface {
	// Info describes the log. It may have to read partitions that no index knows,
	// which a done ctx ends.
	Info(ctx context.Context) (Info, error)
	// Trim removes the partitions that end at or before offset, after their
	// delete hooks, and returns the oldest offset then. An offset at or behind the
	// end begins a new partition first.
	Trim(ctx context.Context, offset int64) (oldest int64, err error)
	// Roll begins another partition at offset, which is to be the next one, or the error
	// is ErrOffset. If the newest partition is empty, that is it.
	Roll(ctx context.Context, offset int64) error
	// Plan returns what retention would do with each partition, oldest first,
	// within these limits. It changes nothing.
	Plan(l Limits) []Planned
}

// Info describes a log at a moment.
type Info struct {
	Oldest, Next int64 // offsets; Next is the readable end
	Partitions   int
	Bytes        int64 // that are served
	Messages     int64
	Batches      int64
	OldestTime   time.Time // when the oldest batch was appended; zero if there is none
	NewestTime   time.Time
	Damaged      int64        // bytes set aside
	Synced       int64        // offset: all before it is on stable storage
	ID           string       // hexadecimal; empty if there is none
	ReadOnly     error        // why the topic takes no appends, or nil
	Codecs       batch.Codecs // that batches may be compressed with

	// Of a topic of a cluster; else Role is empty.
	Role   Role
	Group  int64
	Leader string // where clients find it; empty if nobody is known to lead
	Term   int64

	// DamagedAt are the ranges that were set aside, in order: the first offset of
	// each and the one behind it.
	DamagedAt [][2]int64
	// DamagedIn are the names of the files in which these ranges begin.
	DamagedIn []string
}

// Role is what a member of a cluster is to a topic.
type Role string

// The roles.
const (
	Leader   Role = "leader"
	Follower Role = "follower"
	Learner  Role = "learner" // it follows and has no vote
)

// Limits say what is kept of a topic. A field that is 0 is no limit, a negative
// one stands for the store's own.
type Limits struct {
	Partitions int64
	Bytes      int64
	Age        time.Duration // of a partition's newest batch
}

// Reason says why a partition is to be removed.
type Reason uint8

// The reasons. Keep is none.
const (
	Keep         Reason = iota
	ByPartitions        // there are more partitions than are kept
	ByBytes             // the topic has more bytes than are kept
	ByAge               // its newest batch is older than what is kept
)

// String returns the name of the setting.
func (r Reason) String() string {
	return [...]string{"keep", "partitions", "retention-bytes", "retention-age"}[r]
}

// Planned is what retention has in mind for a partition.
type Planned struct {
	Base, End int64
	File      string    // name within the work directory
	Newest    time.Time // when its newest batch was appended; zero for an empty one
	Messages  int64     // it has; -1 if they can't be counted
	Head      bool      // the head goes only by age, after another was begun
	// Remove is why the partition is to be removed now, or Keep.
	Remove Reason
	// Held tells that it waits for its delete hook.
	Held bool
	// What will remove a partition that stays, if nothing else does first: that
	// so many more partitions are begun, that so many more bytes are written,
	// and the time. Zero where the setting does not limit.
	NewPartitions int
	NewBytes      int64
	At            time.Time
}

// Hooks are the delete hooks of a store's partitions.
type Hooks interface {
	// Hooks returns the partitions that wait for their delete hook.
	Hooks() []Hook
	// RetryHook has the hook of the partition that begins at base run again
	// soon, SkipHook lets the partition go without. The error is ErrNotFound if
	// that partition waits for no hook.
	RetryHook(name string, base int64) error
	SkipHook(name string, base int64) error
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

// Cluster is what operators ask of a member of a cluster, and clients that ask any
// member. Besides those that are named the errors are a *NotLeaderError, where another
// member has to be asked, and ErrBusy if ctx is done first: what was begun goes on.
// One that wraps ErrInvalid says why it can't be.
type Cluster interface {
	// Fresh returns when this member knows all of a topic, or of all topics if name is
	// nil, that any member has acknowledged before the call.
	Fresh(ctx context.Context, name []byte) error
	// Elsewhere returns a *NotLeaderError unless this member leads a topic, or would if
	// there were one of that name; if name is nil, unless it leads what changes the
	// cluster. It does not wait.
	Elsewhere(name []byte) error
	// Members and Groups tell what this member sees.
	Members() Members
	Groups() []Group
	// Transfer has a member lead a group, now, and whenever it can from now on. A
	// group of -1 is that of the topic.
	Transfer(ctx context.Context, member string, group int64, name []byte) error
	// Drain has a member lead nothing until its next start, or until off is set.
	Drain(ctx context.Context, member string, off bool) error
	// Leave removes a member. Unless force is set as many voters are left as a cluster
	// should have.
	Leave(ctx context.Context, member string, force bool) error
	// Replace has one member vote in the place of another, which is removed.
	Replace(ctx context.Context, old, with string) error
	// Set gives a setting of the cluster a value. It returns when that is in force
	// here, for good.
	Set(ctx context.Context, key, value string) error
}

// Members is a cluster as a member sees it.
type Members struct {
	Cluster string // hexadecimal id
	Groups  int64
	Members []Member // by id
}

// Member is a member as another one sees it.
type Member struct {
	ID       int64
	Name     string
	Addr     string // for clients
	Peer     string // for the other members
	Role     string // voter, learner, joining or leaving
	State    string // up, down, failed or full
	Leads    int64  // of how many groups it is the leader
	LagBytes int64  // bytes that the one that was asked has stored and this one not yet
	LagMS    int64  // for how long it has lagged behind, in milliseconds
	Free     int64  // bytes of room on its disk
	Version  string
	Auth     string // digest of its file of identities; empty if it says none
	HTTP     string // for clients of HTTP, http(s)://HOST:PORT; empty if it says none
}

// Group is a group of topics as a member sees it.
type Group struct {
	Group        int64
	Leader       string // the name of who leads; empty if nobody is known to
	Prefers      string // who is to lead; empty if that is nobody
	Term         int64
	Index        int64 // of the newest entry
	Commit       int64
	Applied      int64
	Topics       int64
	Voters       []string // names
	Learners     []string
	DamagedBytes int64 // set aside here
}
