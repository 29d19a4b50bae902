package group

import (
	"fmt"
	"slices"

	raft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/logd-dev/logd/internal/entry"
)

// Entry is an entry of the group's log.
type Entry struct {
	Index, Term uint64
	Type        uint8  // raft's: 0 normal, 1 and 2 a change of the configuration
	Data        []byte // must not be changed
	// Decoded is what a normal entry says; nil for the empty one that a term begins
	// with, and for changes of the configuration.
	Decoded entry.Data
}

// decode returns raft's entry as ours. The error is entry.ErrNewer or ErrInvalid.
func decode(p *pb.Entry) (Entry, error) {
	e := Entry{Index: p.GetIndex(), Term: p.GetTerm(), Type: uint8(p.GetType()), Data: p.GetData()}
	if p.GetType() != pb.EntryNormal || len(e.Data) == 0 {
		return e, nil
	}
	var err error
	e.Decoded, err = entry.Decode(e.Data)
	return e, err
}

func (e *Entry) raft() *pb.Entry {
	return &pb.Entry{Index: new(e.Index), Term: new(e.Term), Type: pb.EntryType(e.Type).Enum(), Data: e.Data}
}

// runs returns the runs that an entry names.
func (e *Entry) runs() []entry.Run {
	if r, ok := e.Decoded.(*entry.Round); ok {
		return r.Runs
	}
	return nil
}

// raftLog is the group's log as it is, or will be when all tasks were done. It is
// what raft reads.
type raftLog struct {
	begin, beginTerm uint64 // what comes before the first entry
	entries          []Entry
	hard             pb.HardState
	conf             *pb.ConfState // that is in force
	snapshot         func() (*pb.Snapshot, error)
}

var _ raft.Storage = (*raftLog)(nil)

func (l *raftLog) last() uint64 { return l.begin + uint64(len(l.entries)) }

// at returns the entry of an index, or nil.
func (l *raftLog) at(index uint64) *Entry {
	if index <= l.begin || index > l.last() {
		return nil
	}
	return &l.entries[index-l.begin-1]
}

// append adds entries. What it has from the first one's index on is returned, and
// gone.
func (l *raftLog) append(entries []Entry) (void []Entry) {
	first := entries[0].Index
	if first <= l.begin || first > l.last()+1 {
		panic(fmt.Sprintf("group: entry %d of a log from %d to %d", first, l.begin, l.last()))
	}
	k := first - l.begin - 1
	void = slices.Clone(l.entries[k:])
	l.entries = append(l.entries[:k:k], entries...)
	return void
}

// compact forgets the entries up to an index that the log has.
func (l *raftLog) compact(to uint64) {
	e := l.at(to)
	if e == nil {
		return
	}
	l.beginTerm = e.Term
	l.entries = slices.Clone(l.entries[to-l.begin:])
	l.begin = to
}

// restart has the log begin with a table, with nothing behind it.
func (l *raftLog) restart(t *entry.Table) {
	l.begin, l.beginTerm, l.entries = t.Index, t.Term, nil
	l.conf = confState(&t.Conf)
}

// InitialState implements raft.Storage.
func (l *raftLog) InitialState() (*pb.HardState, *pb.ConfState, error) {
	hard := proto.Clone(&l.hard).(*pb.HardState)
	if l.conf == nil {
		return hard, &pb.ConfState{}, nil
	}
	return hard, l.conf, nil
}

// Entries implements raft.Storage.
func (l *raftLog) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	if lo <= l.begin {
		return nil, raft.ErrCompacted
	}
	if hi > l.last()+1 {
		return nil, raft.ErrUnavailable
	}
	var out []*pb.Entry
	var size uint64
	for i := lo; i < hi; i++ {
		p := l.at(i).raft()
		size += uint64(proto.Size(p))
		if len(out) > 0 && size > maxSize {
			break
		}
		out = append(out, p)
	}
	return out, nil
}

// Term implements raft.Storage.
func (l *raftLog) Term(i uint64) (uint64, error) {
	switch {
	case i == l.begin:
		return l.beginTerm, nil
	case i < l.begin:
		return 0, raft.ErrCompacted
	case i > l.last():
		return 0, raft.ErrUnavailable
	}
	return l.at(i).Term, nil
}

// LastIndex implements raft.Storage.
func (l *raftLog) LastIndex() (uint64, error) { return l.last(), nil }

// FirstIndex implements raft.Storage.
func (l *raftLog) FirstIndex() (uint64, error) { return l.begin + 1, nil }

// Snapshot implements raft.Storage.
func (l *raftLog) Snapshot() (*pb.Snapshot, error) { return l.snapshot() }

func confState(c *entry.Conf) *pb.ConfState {
	return &pb.ConfState{
		Voters: c.Voters, Learners: c.Learners, VotersOutgoing: c.Outgoing, LearnersNext: c.Next, AutoLeave: new(c.AutoLeave),
	}
}

// confOf returns raft's configuration as a table has it, where ids ascend.
func confOf(c *pb.ConfState) entry.Conf {
	sorted := func(ids []uint64) []uint64 {
		if len(ids) == 0 {
			return nil
		}
		return slices.Sorted(slices.Values(ids))
	}
	return entry.Conf{
		Voters: sorted(c.GetVoters()), Learners: sorted(c.GetLearners()), Outgoing: sorted(c.GetVotersOutgoing()),
		Next: sorted(c.GetLearnersNext()), AutoLeave: c.GetAutoLeave(),
	}
}

// Decode returns an entry of the member log. The error is entry.ErrNewer or
// ErrInvalid.
func Decode(index, term uint64, kind uint8, data []byte) (Entry, error) {
	return decode(&pb.Entry{Index: new(index), Term: new(term), Type: pb.EntryType(kind).Enum(), Data: data})
}
