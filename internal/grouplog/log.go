package grouplog

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"syscall"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/vfs"
)

// fileSize is by how much a file grows before the next is begun.
const fileSize = 16 << 20

// maxFile is how long a file may be.
const maxFile = math.MaxInt32

// ErrFailed is a log that can be written no more: a write or a sync of it failed.
// What it was is wrapped, too. A sync is never tried again.
var ErrFailed = errors.New("grouplog: failed")

// Log is the member log, to append to. [Recovery.Start] and [Create] make one.
//
// It keeps the entries since each group's table in memory, and shares their data
// with who appended them: see Bytes.
//
// What is appended is on stable storage once File was synced afterwards, and the
// caller has told so by Durable. The order that the rules of replication ask for is
// the caller's: what is to be synced before what, and what is done only afterwards.
// What no correct caller appends, an entry that leaves a gap or a vote that goes
// back, panics, and nothing of it is written.
type Log struct {
	fs     vfs.FS
	member Member
	boot   uint64
	grow   int // fileSize, but for tests

	file   vfs.File
	number uint32
	size   int    // where the next record goes
	begun  int    // what the file began with
	past   uint64 // what was appended before
	synced Pos
	groups []Group
	failed error

	buf   []byte
	saved []Group // as they were before records that are being written
}

// Append writes records, in order, with one call of the file's, and keeps the data
// of entries, which must not change any more. With an error none of them counts. If
// it is that of a full disk the log goes on, and the same may be tried again;
// else it is [ErrFailed], and so is that of every later call.
func (l *Log) Append(records ...Record) error {
	if l.failed != nil {
		return l.failed
	}
	l.buf = l.buf[:0]
	l.saved = append(l.saved[:0], l.groups...)
	defer clear(l.saved)
	for i := range records {
		r := &records[i]
		at := makePos(l.number, l.size+len(l.buf))
		if err := l.apply(r, at); err != nil {
			panic(fmt.Sprintf("grouplog: %v: kind %d, group %d, index %d, term %d", err, r.Kind, r.Group, r.Index, r.Term))
		}
		l.buf = appendRecord(l.buf, at, l.synced, r)
	}
	if len(l.buf) > maxFile-l.size {
		copy(l.groups, l.saved)
		return l.fail(errors.New("the file is too long: none was begun in time"))
	}
	if _, err := l.file.WriteAt(l.buf, int64(l.size)); err != nil {
		copy(l.groups, l.saved)
		if !noRoom(err) {
			return l.fail(err)
		}
		// Whole records may be there now: they must be gone before others follow.
		if err := errors.Join(l.file.Truncate(int64(l.size)), l.file.Sync()); err != nil {
			return l.fail(err)
		}
		return err
	}
	l.size += len(l.buf)
	return nil
}

func (l *Log) apply(r *Record, at Pos) error {
	if r.Group < 0 || r.Group >= len(l.groups) || len(r.Data) > MaxData || r.Type > maxEntryType {
		return errors.New("out of bounds")
	}
	g := &l.groups[r.Group]
	switch r.Kind {
	case Hard, Entry, Void, Commit, Synced:
	case Table:
		if g.pending != tableName(r.Group, TableRef{r.Index, r.Term, r.CRC}) {
			return errors.New("a table that was not written")
		}
	default:
		return errors.New("no record to append")
	}
	return g.apply(r, at, l.synced)
}

// Unsynced returns the first entry of a group that is not known to be on stable
// storage, or 0.
func (l *Log) Unsynced(group int) uint64 {
	entries := l.groups[group].Entries
	i := len(entries)
	for i > 0 && entries[i-1].At >= l.synced {
		i--
	}
	if i == len(entries) {
		return 0
	}
	return entries[i].Index
}

// File is what to sync. It may be synced while others append, and not during
// Roll and Close.
func (l *Log) File() vfs.File { return l.file }

// End returns the position behind what was appended.
func (l *Log) End() Pos { return makePos(l.number, l.size) }

// Synced returns the position of the last Durable, or the end of what the file
// began with.
func (l *Log) Synced() Pos { return l.synced }

// Position returns how many bytes of records were ever appended and are on stable
// storage. It is what peers are told: a log that says less than it did was put back
// to an older state.
func (l *Log) Position() uint64 { return l.past + uint64(l.synced.offset()-int64(l.begun)) }

// Durable tells that the log is on stable storage up to a position, which was its
// End before File was synced, and so are all bytes of topics that entries before it
// name, if they are not void. Later records carry it. It returns the error of a
// log that has failed: then what waited for the sync is not to be answered.
func (l *Log) Durable(pos Pos) error {
	if pos > l.End() {
		panic(fmt.Sprintf("grouplog: synced up to %v, which is behind the end at %v", pos, l.End()))
	}
	if l.failed == nil {
		l.synced = max(l.synced, pos)
	}
	return l.failed
}

// Fail tells that a sync of File has failed. The log can be written no more.
func (l *Log) Fail(err error) {
	if l.failed == nil {
		l.fail(err)
	}
}

func (l *Log) fail(err error) error {
	l.failed = fmt.Errorf("%w: %w", ErrFailed, err)
	return l.failed
}

// Bytes returns how much of the log a group's entries take, which a table would
// make less.
func (l *Log) Bytes(group int) int64 { return l.groups[group].bytes }

// Full reports whether it is time for Roll.
func (l *Log) Full() bool { return l.size-l.begun >= max(l.grow, l.begun) }

// Roll begins a new file, which says all that the log says, and removes the old
// one, and the tables that no group begins with any more. It panics unless all is
// durable: Synced is at End. It takes as long as to write and sync the entries of
// all groups. Errors are as Append's: after that of a full disk the old file goes on.
func (l *Log) Roll() error {
	if l.failed != nil {
		return l.failed
	}
	if l.synced != l.End() {
		panic(fmt.Sprintf("grouplog: a file begun at %v, which is synced up to %v", l.End(), l.synced))
	}
	return l.begin(l.number+1, l.Position())
}

// begin begins the file of a number, when all that the groups say and name is on
// stable storage.
func (l *Log) begin(number uint32, past uint64) error {
	b := beginning(header{number, l.member.ID, l.boot, past}, l.groups)
	name := strconv.FormatUint(uint64(number), 10)
	named, err := writeFile(l.fs, logDir, name, b)
	if err != nil && !named && noRoom(err) {
		return err
	}
	var f vfs.File
	if err == nil {
		f, err = l.fs.OpenFile(logDir+"/"+name, vfs.ReadWrite, 0)
	}
	if err != nil {
		return l.fail(err)
	}
	if l.file != nil {
		l.file.Close() // nothing in it is needed any more
	}
	l.file, l.number, l.size, l.begun, l.past = f, number, len(b), len(b), past
	l.synced = l.End()
	l.tidy()
	return nil
}

// beginning encodes what a file begins with. Everything before each record will be
// on stable storage when the file has its name, and the last one, too.
func beginning(h header, groups []Group) []byte {
	b := h.append(nil)
	add := func(r Record) {
		at := makePos(h.number, len(b))
		b = appendRecord(b, at, at, &r)
	}
	for i := range groups {
		g := &groups[i]
		add(Record{Kind: Hard, Group: i, Term: g.Term, Vote: g.Vote})
		if t := g.Table; t.Index > 0 {
			add(Record{Kind: Table, Group: i, Index: t.Index, Term: t.Term, CRC: t.CRC})
		}
		for _, e := range g.Entries {
			add(Record{Kind: Entry, Group: i, Index: e.Index, Term: e.Term, Type: e.Type, Data: e.Data})
		}
		if g.Commit > g.Table.Index {
			add(Record{Kind: Commit, Group: i, Index: g.Commit})
		}
	}
	at := makePos(h.number, len(b))
	return appendRecord(b, at, at+recordHeader, &Record{Kind: Synced})
}

// WriteTable puts a table on stable storage and returns the record that makes the
// log of its group begin with it. Until that is appended, and durable, the old one
// counts. Another table of that group may take its place before. The record says
// that the log and the bytes up to the table's index are on stable storage; of an
// index that the log does not have, or has in another term, it makes all entries
// void.
func (l *Log) WriteTable(t *entry.Table) (Record, error) {
	if l.failed != nil {
		return Record{}, l.failed
	}
	if int(t.Group) >= len(l.groups) || t.Index == 0 {
		panic(fmt.Sprintf("grouplog: table %d of group %d", t.Index, t.Group))
	}
	ref, err := writeTable(l.fs, t)
	if err != nil {
		return Record{}, err
	}
	l.groups[t.Group].pending = tableName(int(t.Group), ref)
	return Record{Kind: Table, Group: int(t.Group), Index: ref.Index, Term: ref.Term, CRC: ref.CRC}, nil
}

// Close notes that all is durable, if it is, and closes the file. Nobody may use
// the log afterwards.
func (l *Log) Close() error {
	defer l.Fail(errors.New("closed"))
	if l.failed != nil || l.synced != l.End() {
		return l.file.Close()
	}
	_, err := l.file.WriteAt(appendRecord(nil, l.End(), l.synced, &Record{Kind: Clean}), int64(l.size))
	if err == nil {
		err = l.file.Sync()
	}
	return errors.Join(err, l.file.Close())
}

// noRoom reports whether the disk is full.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
