package grouplog

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/vfs"
)

// Recovery is what a member log says at a start, before anything is done by it.
type Recovery struct {
	Member Member
	Boot   uint64 // what Start was told the last time
	Clean  bool   // the log was closed
	Cut    int64  // how many bytes follow the log's end and are no part of it

	// Synced is S. The log, and all bytes that entries before it name, were on
	// stable storage. Of entries at or after it the caller checks the bytes, ends
	// the group's log at the first that fails, and writes and syncs the bytes of the
	// others again, all before Start.
	Synced Pos
	Groups []Group
	Tables []*entry.Table // by group; nil where its log begins with none

	fs     vfs.FS
	number uint32
	past   uint64 // what was ever appended
}

// Open reads the member log and changes nothing. The error is fs.ErrNotExist where
// nobody has been made a member, [ErrNewer], or [ErrDamaged] where what was on
// stable storage is not there any more.
func Open(fsys vfs.FS) (*Recovery, error) {
	m, err := ReadMember(fsys)
	if err != nil {
		return nil, err
	}
	number, err := newest(fsys)
	if err != nil {
		return nil, err
	}
	if number == 0 {
		return nil, damage(logDir, 0, "missing")
	}
	r := &Recovery{Member: m, fs: fsys, number: number}
	name := logDir + "/" + strconv.FormatUint(uint64(number), 10)
	b, err := readFile(fsys, name, maxFile)
	if err != nil {
		return nil, err
	}
	if err := r.read(name, b); err != nil {
		return nil, err
	}
	r.Tables = make([]*entry.Table, len(r.Groups))
	for i := range r.Groups {
		if ref := r.Groups[i].Table; ref.Index > 0 {
			if r.Tables[i], err = readTable(fsys, i, ref); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// newest returns the highest number of a file, or 0 if there is none.
func newest(fsys vfs.FS) (number uint32, err error) {
	entries, err := fsys.ReadDir(logDir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range entries {
		if n, ok := fileNumber(e.Name()); ok {
			number = max(number, n)
		}
	}
	return number, err
}

// read replays a file of the log.
func (r *Recovery) read(name string, b []byte) error {
	h, err := decodeHeader(name, b)
	if err != nil {
		return err
	}
	if h.number != r.number || h.member != r.Member.ID {
		return damage(name, 0, "the file of another member, or of another number")
	}
	r.Boot = h.boot
	r.Groups = make([]Group, r.Member.Groups)
	end := -1   // where the log ends, once that is known
	begun := -1 // where what the file began with ends
	for at := headerLen; at < len(b); {
		n := checkRecord(makePos(r.number, at), b[at:])
		if n == 0 {
			if end < 0 {
				end = at
			}
			at++ // there may be records behind, which tell S
			continue
		}
		rec, synced, err := decodeRecord(b[at : at+n])
		if errors.Is(err, ErrNewer) {
			return fmt.Errorf("%s, byte %d: %w", name, at, err)
		}
		r.Synced = max(r.Synced, synced)
		if begun < 0 && synced == makePos(r.number, at+n) {
			begun = at + n
		}
		if end < 0 {
			if err == nil {
				err = r.apply(&rec, makePos(r.number, at), synced)
			}
			if err != nil {
				return damage(name, int64(at), err.Error())
			}
		}
		at += n
	}
	if end < 0 {
		end = len(b)
	}
	r.Cut = int64(len(b) - end)
	r.Clean = r.Clean && r.Cut == 0
	if r.Synced > makePos(r.number, end) || begun < 0 {
		return damage(name, int64(end), fmt.Sprintf("the log ends, and was on stable storage up to %v", r.Synced))
	}
	r.past = h.past + uint64(end-begun)
	return nil
}

func (r *Recovery) apply(rec *Record, at, synced Pos) error {
	if rec.Group >= len(r.Groups) {
		return errors.New("a group that there is not")
	}
	rec.Data = slices.Clone(rec.Data) // and not all of the file
	r.Clean = rec.Kind == Clean && synced == at
	return r.Groups[rec.Group].apply(rec, at, synced)
}

// End ends a group's log before an entry at or after Synced, whose bytes are not
// what it says. They may be cut off after Start, and not before.
func (r *Recovery) End(group int, index uint64) {
	g := &r.Groups[group]
	if index <= max(g.Commit, g.Table.Index) || index > g.Last() || g.entry(index).At < r.Synced {
		panic(fmt.Sprintf("grouplog: the log of group %d can't end at %d", group, index))
	}
	g.cut(index)
}

// Start begins a new file and returns the log to append to. All that the groups
// say, and the bytes that their entries name, has to be on stable storage but for
// this log itself, which is written again. boot is a number that is another one
// each time that the machine starts.
func (r *Recovery) Start(boot uint64) (*Log, error) {
	l := &Log{fs: r.fs, member: r.Member, boot: boot, grow: fileSize, groups: slices.Clone(r.Groups)}
	return l, l.begin(r.number+1, r.past)
}

// Create makes the member, in place of any that there was, and its log, which
// begins with the tables of the groups, if there are any. With an error it may be
// there or not; a member that there was before can't be opened any more.
func Create(fsys vfs.FS, m Member, boot uint64, tables []*entry.Table) (*Log, error) {
	line := m.encode()
	if err := makeDir(fsys, ".", Dir); err != nil {
		return nil, err
	}
	if err := makeDir(fsys, Dir, logDir); err != nil {
		return nil, err
	}
	number, err := newest(fsys)
	if err != nil {
		return nil, err
	}
	l := &Log{fs: fsys, member: m, boot: boot, grow: fileSize, groups: make([]Group, m.Groups)}
	for _, t := range tables {
		ref, err := writeTable(fsys, t)
		if err != nil {
			return nil, err
		}
		l.groups[t.Group] = Group{Term: t.Term, Commit: t.Index, Table: ref}
	}
	if err := l.begin(number+1, 0); err != nil {
		return nil, err
	}
	if _, err := writeFile(fsys, Dir, memberFile[len(Dir)+1:], line); err != nil {
		l.file.Close()
		return nil, err
	}
	return l, nil
}
