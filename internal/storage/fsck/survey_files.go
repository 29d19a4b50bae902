package fsck

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// readJournal reads what the journal knows of the topic.
func (v *surveyor) readJournal(s *survey) {
	name := layout.JournalFile(s.topic)
	s.state = journal.NewState()
	b, err := journal.Read(v.fs, s.topic)
	if err != nil {
		s.state, s.adopted = journal.NewState(), true
		s.unreadable(name, -1, -1, 0, err)
		return
	}
	if journal.IsDeleted(b) {
		s.deleted = true
		s.note(FoundUnfinished, name, "the topic is being deleted; the next start finishes it")
		return
	}
	state, size, err := journal.Decode(b)
	s.state, s.adopted = state, state.ID == journal.ID{}
	if id, isNew := layout.NewID(s.topic); isNew && s.adopted {
		s.state.ID, s.adopted = id, false
	}
	rest := Finding{File: name, Position: size, Offset: -1, Length: int64(len(b)) - size}
	switch {
	case errors.Is(err, journal.ErrNewer):
		s.newer, s.partial = true, true
		s.add(Finding{Level: Unchecked, Kind: FoundNewer, File: name, Position: -1, Offset: -1, Why: err.Error()})
	case err != nil:
		rest.Level, rest.Kind, rest.Why = Damage, FoundJournal, "records after this place are valid and can't be used"
		rest.remedies = []Action{{Kind: ActSave, File: name, Position: 0, Offset: -1, Length: int64(len(b))}, {Kind: ActJournal}}
		s.add(rest)
	case !s.adopted && isOfAnother(s):
		rest.Level, rest.Kind, rest.Position, rest.Length = Damage, FoundJournal, -1, 0
		rest.Why = "it is another topic's: the id is not that of the folder's name; logd leaves it alone"
		s.add(rest)
	case rest.Length > 0 && !v.online:
		rest.Level, rest.Kind, rest.Why = Note, FoundJournalTail, "the last record is not whole"
		rest.remedies = []Action{{Kind: ActJournal}}
		s.add(rest)
	}
}

// isOfAnother reports whether the folder of a topic without its name is that of another
// than its journal.
func isOfAnother(s *survey) bool {
	id, ok := layout.NewID(s.topic)
	return ok && s.state.ID != id
}

// listFiles finds the partitions and looks at the names and modes of all
// files. It reports false if the folder can't be listed.
func (v *surveyor) listFiles(s *survey) bool {
	dir, err := v.fs.ReadDir(s.topic)
	if err != nil {
		s.unreadable(s.topic, -1, -1, 0, err)
		return false
	}
	bases := make(map[int64]bool)
	for _, d := range dir {
		if p := v.partitionAt(s, d); p != nil {
			bases[p.base] = true
			s.parts = append(s.parts, p)
		}
	}
	slices.SortFunc(s.parts, func(a, b *partitionFinding) int { return int(min(max(a.base-b.base, -1), 1)) })
	for _, d := range dir {
		v.checkName(s, d, bases)
	}
	if v.online {
		// What is being removed is none of ours.
		s.parts = slices.DeleteFunc(s.parts, func(p *partitionFinding) bool { return p.base < s.state.Trimmed.Oldest })
		if s.state.Cut >= 0 {
			s.state.Synced = min(s.state.Synced, s.state.Cut)
		}
	}
	return true
}

// partitionAt looks at a file of a topic that has the name of a partition. It
// returns nil if that can't be read as one, or is none.
func (v *surveyor) partitionAt(s *survey, d fs.DirEntry) *partitionFinding {
	base, ok := layout.Base(d.Name())
	if !ok {
		return nil
	}
	name := path.Join(s.topic, d.Name())
	if !d.Type().IsRegular() {
		s.add(Finding{Level: Damage, Kind: FoundFile, File: name, Position: -1, Offset: base,
			Why: "not a regular file: logd does not read it as a partition"})
		return nil
	}
	st, err := d.Info()
	if v.online {
		// What the listing says of a file may be older than the last name in it.
		st, err = v.fs.Stat(name)
	}
	if v.online && errors.Is(err, fs.ErrNotExist) {
		return nil // removed a moment ago
	}
	if err == nil && base+st.Size() < base {
		err = errors.New("offset plus size are too large")
	}
	if err != nil {
		s.unreadable(name, -1, base, 0, err)
		return nil
	}
	return newPartition(name, base, st)
}

// checkName looks at the name and mode of one file of a topic.
func (v *surveyor) checkName(s *survey, d fs.DirEntry, bases map[int64]bool) {
	name := path.Join(s.topic, d.Name())
	switch base, isIndex := strings.CutSuffix(d.Name(), ".idx"); {
	case d.Name() == layout.Journal:
	case d.Name() == layout.Journal+".damaged" && d.Type().IsRegular():
		s.note(FoundLeftOver, name, "a damaged journal that recovery has put aside", v.moveFile(name, d)...)
		return
	case d.Name() == layout.Journal+".new" && d.Type().IsRegular():
		if !v.online {
			s.note(FoundLeftOver, name, "a journal that was being written", Action{Kind: ActRemove})
		}
		return
	case d.Name() == layout.Producers && d.Type().IsRegular():
	case d.Name() == layout.Producers+".new" && d.Type().IsRegular():
		if !v.online {
			s.note(FoundLeftOver, name, "a cache that was being written", Action{Kind: ActRemove})
		}
		return
	case isIndex && d.Type().IsRegular():
		if n, ok := batch.ParseInt([]byte(base)); !ok {
			s.note(FoundStray, name, "file that is not logd's; logd leaves it alone")
			return
		} else if !bases[n] && !v.online {
			s.note(FoundLeftOver, name, "an index without a partition", Action{Kind: ActRemove})
			return
		}
	default:
		if _, ok := layout.Base(d.Name()); !ok {
			s.note(FoundStray, name, "file that is not logd's; logd leaves it alone")
			return
		}
	}
	v.checkMode(s, name)
}

// moveFile returns the remedies that move a file out.
func (v *surveyor) moveFile(name string, d fs.DirEntry) []Action {
	st, err := d.Info()
	if err != nil {
		return nil
	}
	return []Action{{Kind: ActSave, File: name, Offset: -1, Length: st.Size()}, {Kind: ActRemove}}
}

// checkMode notes a mode that can't be meant: whatever the settings say, the
// owner reads and writes, and not everybody does.
func (v *surveyor) checkMode(s *survey, name string) {
	st, err := v.fs.Stat(name)
	if err != nil || (!st.IsDir() && !st.Mode().IsRegular()) {
		return // said elsewhere
	}
	perm, need := st.Mode().Perm(), fs.FileMode(0o600)
	if st.IsDir() {
		need = 0o700
	}
	switch {
	case perm&need != need:
		s.note(FoundMode, name, fmt.Sprintf("mode %04o: the owner needs %04o", perm, need))
	case perm&0o002 != 0:
		s.note(FoundMode, name, fmt.Sprintf("mode %04o: everybody can change it", perm))
	}
}

// source reads a file for a survey.
type source struct {
	vfs.File
	v      *surveyor
	failed int64 // where the last read failed
}

func (v *surveyor) open(name string) (*source, error) {
	f, err := v.fs.OpenFile(name, vfs.ReadOnly, 0)
	if err != nil {
		return nil, err
	}
	return &source{File: f, v: v}, nil
}

// ReadAt reads, unless the survey is to end.
func (r *source) ReadAt(b []byte, off int64) (int, error) {
	if err := r.v.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.File.ReadAt(b, off)
	if err != nil && err != io.EOF {
		r.failed = off + int64(n)
	}
	return n, err
}

// advance moves progress on by n bytes.
func (v *surveyor) advance(n int64) {
	if v.progress == nil {
		return
	}
	v.done = min(v.done+n, v.total)
	v.progress(v.done, v.total)
}
