package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/diagnose"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// Level tells what a finding means for the data.
type Level uint8

// The levels.
const (
	// Note is something to know of that loses nothing: what an interrupted write
	// left, a cache that is made anew by itself, a file that is not logd's.
	Note Level = iota
	// Damage is data that was stored and can't be read, or may not be.
	Damage
	// Unchecked is data of which nothing can be said: it can't be read, or a
	// newer version wrote it.
	Unchecked
)

// String returns the word for the level.
func (l Level) String() string { return [...]string{"note", "damage", "unchecked"}[l] }

// FindingKind says what was found. Its text is stable.
type FindingKind string

// The kinds of damage.
const (
	// FoundBatch is a range of a partition that is no valid batch.
	FoundBatch FindingKind = "batch"
	// FoundSetAside is a range that the journal knows as damaged and whose bytes
	// are still where they were.
	FoundSetAside FindingKind = "set-aside"
	// FoundMissing is a range of offsets that is in no file.
	FoundMissing FindingKind = "missing"
	// FoundOverlap is the end of a partition that reaches into the next one.
	FoundOverlap FindingKind = "overlap"
	// FoundJournal is a journal with damage before its end.
	FoundJournal FindingKind = "journal"
	// FoundFile is a file that logd should read and can't: it is no regular file.
	FoundFile FindingKind = "file"
	// FoundServer is what a server that has the directory open says of a topic.
	FoundServer FindingKind = "server"
)

// The kinds of notes.
const (
	// FoundTornTail is an append that did not reach the disk whole and was never
	// known to be durable. The next start cuts it off.
	FoundTornTail FindingKind = "torn-tail"
	// FoundJournalTail is the same of the journal.
	FoundJournalTail FindingKind = "journal-tail"
	// FoundHole is a range that the journal knows as damaged and that has no
	// bytes any more.
	FoundHole FindingKind = "hole"
	// FoundMended is a range that the journal knows as damaged and that holds
	// valid batches: put back from a backup, say.
	FoundMended FindingKind = "mended"
	// FoundIndex is an index that does not fit its partition. It is made anew
	// when it is needed.
	FoundIndex FindingKind = "index"
	// FoundTotals is a count in the journal that is not the partition's.
	FoundTotals FindingKind = "totals"
	// FoundUnfinished is a removal, truncation or deletion of a topic that a crash
	// interrupted. The next start finishes it.
	FoundUnfinished FindingKind = "unfinished"
	// FoundLeftOver is a file of logd's that it does not need any more.
	FoundLeftOver FindingKind = "left-over"
	// FoundStray is a file or folder that is not logd's. It is left alone.
	FoundStray FindingKind = "stray"
	// FoundMode is a mode that lets too many write, or the owner too little.
	FoundMode FindingKind = "mode"
)

// The kinds of what could not be checked.
const (
	FoundUnreadable FindingKind = "unreadable"
	FoundNewer      FindingKind = "newer"
)

// Finding is one thing that a check found.
type Finding struct {
	Level Level
	Kind  FindingKind
	Topic string // empty for the work directory itself
	File  string // name within the work directory

	Position int64 // in the file, where the range begins; -1 for the file as a whole
	Offset   int64 // in the topic's log; -1 where there is none
	Length   int64 // bytes
	Why      string

	remedies []Action
}

// CheckOptions are the settings of a check. FS is required.
type CheckOptions struct {
	FS vfs.FS
	// Online checks a work directory that a server may have open: only what no
	// longer changes is read, which is everything before the last synced mark
	// and all partitions but the newest. Indexes are left out.
	Online bool
	// Progress, if not nil, is told how many of the bytes have been read.
	Progress func(done, total int64)
}

// CheckReport sums up a check.
type CheckReport struct {
	Topics, Partitions int64
	Batches, Messages  int64 // that are valid
	Bytes              int64 // of partitions, that were read
	DamagedBytes       int64
	Damages, Notes     int64 // findings
	Unchecked          int64
	// Unmarked is how many bytes an online check has left out because they were
	// written since the last synced mark.
	Unmarked int64
}

// Errors of checking and repairing, beside those of the file system.
var (
	// ErrNoWorkDir is a folder that is not a work directory but a topic's.
	ErrNoWorkDir = errors.New("storage: a topic's folder, not a work directory")
)

// Check reads every byte of the work directory o.FS and calls found for
// whatever is not as a server would have left it, topic by topic. It changes
// nothing, and makes no file.
//
// The work directory is locked meanwhile if it has a lock file; the error
// wraps vfs.ErrLocked if a server has it. What is wrong with the data is no
// error.
func Check(ctx context.Context, o CheckOptions, found func(Finding)) (CheckReport, error) {
	unlock := func() error { return nil }
	if !o.Online {
		var err error
		if unlock, err = layout.LockToRead(o.FS); err != nil {
			return CheckReport{}, err
		}
	}
	v := newSurveyor(ctx, o.FS)
	v.online = o.Online
	v.progress = o.Progress
	var r CheckReport
	err := v.all(func(s *survey) error {
		r.add(s)
		for _, f := range s.findings {
			found(f)
		}
		return nil
	})
	return r, errors.Join(err, unlock())
}

func (r *CheckReport) add(s *survey) {
	if s.topic != "" && !s.deleted {
		r.Topics++
	}
	for _, p := range s.parts {
		r.Partitions++
		r.Batches += p.sum.Batches
		r.Messages += p.sum.Messages
		r.Bytes += p.read
		r.Unmarked += p.unmarked
	}
	for _, f := range s.findings {
		switch f.Level {
		case Damage:
			r.Damages++
			r.DamagedBytes += f.Length
		case Unchecked:
			r.Unchecked++
		default:
			r.Notes++
		}
	}
}

// all surveys the work directory itself, under the topic "", and then every
// topic.
func (v *surveyor) all(each func(*survey) error) error {
	dir, err := v.fs.ReadDir(".")
	if err != nil {
		return fmt.Errorf("list work directory: %w", err)
	}
	root := &survey{}
	v.checkMode(root, ".")
	var topics []string
	partitions := 0
	for _, d := range dir {
		name := d.Name()
		switch {
		case layout.IsFolder(d) && batch.ValidTopic(name):
			switch found, err := diagnose.ContentsOf(v.fs, name); {
			case err != nil || found == diagnose.Topic:
				topics = append(topics, name)
			case found == diagnose.Foreign:
				root.note(FoundStray, name, "folder without partitions or a journal; logd leaves it alone")
			case !v.online: // else it may be a topic that is being made
				root.note(FoundLeftOver, name, "a topic whose creation or deletion was interrupted; the next start removes the folder")
			}
		case name == layout.OldLockName && d.Type().IsRegular():
		case layout.Reserved(name):
		case d.IsDir():
			root.note(FoundStray, name, "folder whose name no topic can have; logd leaves it alone")
		default:
			if _, ok := layout.Base(name); ok {
				partitions++
			}
			root.note(FoundStray, name, "file that is not logd's; logd leaves it alone")
		}
	}
	if len(topics) == 0 && partitions > 0 {
		return ErrNoWorkDir
	}
	if err := v.measure(topics); err != nil {
		return err
	}
	if err := each(root); err != nil {
		return err
	}
	for _, name := range topics {
		s, err := v.topic(name)
		if err == nil {
			err = each(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// measure adds up how much there is to read.
func (v *surveyor) measure(topics []string) error {
	if v.progress == nil {
		return nil
	}
	for _, name := range topics {
		if b, err := journal.Read(v.fs, name); err == nil && journal.IsDeleted(b) {
			continue // not read
		}
		dir, err := v.fs.ReadDir(name)
		if err != nil {
			continue // the survey of the topic will say so
		}
		for _, d := range dir {
			if _, ok := layout.Base(d.Name()); !ok || !d.Type().IsRegular() {
				continue
			}
			if st, err := d.Info(); err == nil {
				v.total += st.Size()
			}
		}
	}
	return v.ctx.Err()
}
