package group

import (
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/entry"
)

// Output is what follows from events.
type Output struct {
	// Send are raft's messages for others, in order. The bytes that the entries
	// of a MsgApp name are to go with it.
	Send []*pb.Message
	// Tasks are for the disk, in order.
	Tasks []Task
	// Ends are new readable ends, to be told before the verdicts.
	Ends []End
	// Made are topics that are certain now, and Removed those that are none any more.
	// With Reset all topics are others: see Topics.
	Made, Removed []entry.Topic
	Reset         bool
	// Leaders are the entries applied that say who is to lead a group. It is of group 0.
	Leaders []entry.Leader
	// Proposed says which entry a write became, Refused that it became none.
	Proposed []Proposed
	Refused  []Refused
	Verdicts []Verdict
	// Fresh are requests of Fresh that may be answered.
	Fresh []Fresh
}

// Task is for the disk: a [Store], [Write], [Lead], [Carry], [TakeOver], [GiveUp] or
// [Taken].
type Task interface{ task() }

// Store is what raft wants on stable storage, and what else the member log is to
// say. What is in it is written in the order of the fields.
type Store struct {
	Seq uint64

	Hard       bool // Term and Vote have changed
	Term, Vote uint64

	// Void is the index from which on entries are void, 0 for none. That has to be
	// durable before anything is cut off of topics, and that before entries are
	// written.
	Void uint64
	Cuts []VoidRun    // what the void entries had put there, the lowest offset of each topic
	Gone []VoidCreate // topics that the void entries had made

	Entries []Entry
	Bodies  []Body // of Entries; nil where the bytes are in the files already

	Commit uint64       // 0: none
	Synced bool         // a record that says what is synced
	Table  *entry.Table // what the log begins with from now on

	// Sync tells that somebody waits for it to be durable.
	Sync bool
}

// VoidRun is where a topic is to be cut off.
type VoidRun struct {
	Topic  uint32
	Offset int64
}

// VoidCreate is a topic that is not to be, and has no batch.
type VoidCreate struct {
	Topic uint32
	ID    entry.ID
}

// Body is what came with an entry: the shell's own.
type Body any

// Carry is what is now certain.
type Carry struct {
	Topic entry.Topic // as it is by that entry
	What  entry.Data  // Create: the name may be taken. Trim, Delete: it may go.
}

// End is a topic's readable end, and the oldest offset that the log says is stored.
type End struct {
	Topic          uint32
	ID             entry.ID
	Oldest, Offset int64
}

func endOf(t *entry.Topic) End { return End{t.Number, t.ID, t.Oldest, t.End} }

// Verdict is what became of a round that was proposed here.
type Verdict struct {
	Index, Term uint64
	Fate        Fate
}

// Fate says whether something is stored.
type Fate uint8

// The fates.
const (
	Stored  Fate = iota // on a majority, for good
	Not                 // nowhere, for good
	InDoubt             // nobody here can tell
)

func (*Store) task() {}
func (*Write) task() {}
func (Carry) task()  {}
