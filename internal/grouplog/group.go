package grouplog

import (
	"errors"
	"slices"
)

// Group is what the log says of one group.
type Group struct {
	Term, Vote uint64
	Commit     uint64 // the highest that was noted; what is committed may be more
	Table      TableRef
	Entries    []LogEntry // those since the table, in order
	bytes      int64      // of their records

	pending string // a table that was written and that no record names yet
}

// TableRef names a table.
type TableRef struct {
	Index, Term uint64 // of the last entry that it stands for; 0: there is none
	CRC         uint32 // CRC-32C of the file
}

// LogEntry is an entry of a group's log.
type LogEntry struct {
	Index, Term uint64
	Type        uint8
	Data        []byte
	At          Pos // of its record
}

// Last returns the index of the last entry, or of the table if there is none.
func (g *Group) Last() uint64 { return g.Table.Index + uint64(len(g.Entries)) }

// entry returns the entry of an index that is after the table's, up to Last.
func (g *Group) entry(index uint64) *LogEntry { return &g.Entries[index-g.Table.Index-1] }

// synced reports whether the log is on stable storage up to the index.
func (g *Group) synced(index uint64, synced Pos) bool {
	return index <= g.Table.Index || index <= g.Last() && g.entry(index).At < synced
}

// cut removes the entries from the index on. What is appended afterwards leaves
// the memory of those untouched, for who has the group as it was.
func (g *Group) cut(index uint64) {
	k := int(index - g.Table.Index - 1)
	for _, e := range g.Entries[k:] {
		g.bytes -= e.size()
	}
	g.Entries = g.Entries[:k:k]
}

func (e *LogEntry) size() int64 { return recordHeader + entryHeader + int64(len(e.Data)) }

// apply does to the group what a record says that stands at a position, when all
// before synced is on stable storage. An error says why it can't be; the group is
// then as it was.
func (g *Group) apply(r *Record, at, synced Pos) error {
	switch r.Kind {
	case Hard:
		if r.Term < g.Term || r.Term == g.Term && g.Vote != 0 && r.Vote != g.Vote {
			return errors.New("a term or vote that goes back")
		}
		g.Term, g.Vote = r.Term, r.Vote
	case Entry:
		before := g.Table.Term
		if n := len(g.Entries); n > 0 {
			before = g.Entries[n-1].Term
		}
		if r.Index != g.Last()+1 || r.Term < before || r.Term > g.Term || r.Term == 0 {
			return errors.New("an entry that does not follow")
		}
		g.Entries = append(g.Entries, LogEntry{Index: r.Index, Term: r.Term, Type: r.Type, Data: r.Data, At: at})
		g.bytes += g.entry(r.Index).size()
	case Void:
		if r.Index <= max(g.Commit, g.Table.Index) || r.Index > g.Last() {
			return errors.New("entries that are not there, or committed, are void")
		}
		g.cut(r.Index)
	case Commit:
		if !g.synced(r.Index, synced) {
			return errors.New("a commit of what is not synced")
		}
		g.Commit = max(g.Commit, r.Index)
	case Table:
		return g.begin(r, synced)
	}
	return nil
}

// begin begins the group's log with another table: the entries that it stands for
// go, or all if it is not of this log.
func (g *Group) begin(r *Record, synced Pos) error {
	if r.Index <= g.Table.Index || r.Term < g.Table.Term || r.Term > g.Term || r.Term == 0 {
		return errors.New("a table that goes back")
	}
	var rest []LogEntry
	if r.Index <= g.Last() && g.entry(r.Index).Term == r.Term {
		if !g.synced(r.Index, synced) {
			return errors.New("a table of what is not synced")
		}
		rest = slices.Clone(g.Entries[r.Index-g.Table.Index:])
	} else if r.Index < g.Commit {
		return errors.New("a table that goes back behind what is committed")
	}
	g.Table = TableRef{r.Index, r.Term, r.CRC}
	g.Entries = rest
	g.bytes = 0
	for i := range rest {
		g.bytes += rest[i].size()
	}
	g.Commit = max(g.Commit, r.Index)
	g.pending = ""
	return nil
}
