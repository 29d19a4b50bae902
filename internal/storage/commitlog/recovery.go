package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/diagnose"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/topic"
)

// Open opens an existing topic's folder and recovers it:
//
//  1. The journal is read. Without one the folder is of the 0.3 layout, or new.
//     If it says that the topic is deleted, that is finished: ErrDeleted.
//  2. A removal or truncation that a crash interrupted is finished.
//  3. What lies after the last synced mark is scanned. An invalid end that
//     nothing valid follows is a torn tail and is cut off; anything else that
//     is invalid is set aside, its bytes kept.
//  4. What was scanned is written once more and synced (see rewrite), for it
//     will be served.
//  5. A cache of numbered batches that speaks of more than there is is removed.
//
// Older partitions are not read.
func Open(s *Shared, dir string) (*Log, error) {
	l := newLog(s, dir)
	l.member.FolderDirty.Store(true) // there may be names that were never synced
	wrap := func(op, file string, err error) error {
		return &Error{Op: op, Topic: l.name, File: file, Offset: -1, Err: err}
	}
	if err := l.openJournal(); errors.Is(err, topic.ErrDeleted) {
		return nil, err
	} else if err != nil {
		return nil, wrap("read journal of", layout.JournalFile(dir), err)
	}
	entries, err := s.FS.ReadDir(l.dir())
	var parts []*partition.Partition
	if err == nil {
		parts, err = l.parts.FindFiles(entries, l.locate)
	}
	if err != nil {
		return nil, wrap("list partitions of", dir, err)
	}
	if parts, err = l.finishTrim(parts); err != nil {
		return nil, wrap("finish removal in", "", err)
	}
	if parts, err = l.finishCut(parts); err != nil {
		return nil, wrap("finish truncation of", "", err)
	}
	if len(parts) == 0 {
		if parts, err = l.beginAnew(); err != nil {
			return nil, wrap("create first partition of", "", err)
		}
	}
	l.parts.Set(parts)
	if err := l.recover(); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(entries, func(d fs.DirEntry) bool { return d.Name() == layout.Producers && d.Type().IsRegular() }) {
		if err := l.numbers.CheckCache(); err != nil {
			return nil, wrap("remove", layout.ProducersFile(dir), err)
		}
	}
	l.lookAtClock(s.Clock.Now().UnixMilli())
	return l, nil
}

// openJournal reads the journal. A damaged one is put aside and what was understood
// of it goes on.
func (l *Log) openJournal() error {
	s := l.store
	b, err := journal.Read(s.FS, l.dir())
	if err != nil {
		return err
	}
	if journal.IsDeleted(b) {
		if err := s.Deleted.Finish(l.dir()); err != nil {
			return fmt.Errorf("finish deletion: %w", err)
		}
		return topic.ErrDeleted
	}
	state, size, err := journal.Decode(b)
	if errors.Is(err, journal.ErrNewer) {
		return err
	}
	anonymous := state.ID == (journal.ID{})
	rewrite := err != nil || anonymous || state.Behind() || size > s.JournalCompact
	if err != nil {
		// A copy, so that at no time there is none: a topic without one is taken
		// for one of the 0.3 layout.
		kept := layout.JournalFile(l.dir()) + ".damaged"
		s.Logger.Error("journal is damaged: it is kept and a new one begun with what is known", "topic", l.name, "kept", kept, "err", err)
		if err := journal.WriteFile(s.FS, kept, s.FileMode, b); err != nil {
			return err
		}
	}
	id, isNew := layout.NewID(l.dir())
	switch {
	case anonymous && isNew: // not of the 0.3 layout: nothing of it is known to be synced
		state.ID = id
	case anonymous:
		l.adopted = true
		state.ID = journal.NewID()
		if had, err := l.hadJournal(); err != nil {
			return err
		} else if had {
			state.Packed[journal.EveryBase] = batch.AllCodecs
		}
	case isNew && state.ID != id:
		return fmt.Errorf("%w: the journal is another topic's, whose id is %s", layout.ErrDisplaced, layout.HexID(state.ID))
	}
	if anonymous {
		state.Created = s.Clock.Now().UnixMilli()
	}
	l.parts.ID, l.parts.Created = state.ID, state.Created
	if rewrite {
		if size, _, err = journal.Replace(s.FS, s.FileMode, l.dir(), &state); err != nil {
			return err
		}
	}
	l.journal.Load(state, size)
	if rewrite || state.Clean {
		return nil
	}
	return l.writeJournalAgain(b[:size])
}

// hadJournal reports whether a log without a journal had one: version 0.3, which knew no
// journals, nor compressed batches, made no indexes.
func (l *Log) hadJournal() (bool, error) {
	entries, err := l.store.FS.ReadDir(l.dir())
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return layout.IsIndex(e.Name()) }), err
}

// writeJournalAgain writes what the journal has once more, for the next sync: a record
// whose sync has failed can be read, and counts as clean. It would be gone with the
// power, and whatever was made durable behind it, too.
func (l *Log) writeJournalAgain(b []byte) error {
	f, err := l.journal.File.Acquire(files.ToWrite)
	if err != nil {
		return err
	}
	defer l.journal.File.Release()
	_, err = f.WriteAt(b, 0)
	return err
}

// onDisk returns what is known of the log before its bytes are looked at. What is
// done about it, here as in a repair, is what package diagnose makes of that.
func (l *Log) onDisk(parts []*partition.Partition) *diagnose.Log {
	state := l.journal.State()
	d := &diagnose.Log{Journal: &state, Adopted: l.adopted, Parts: make([]layout.Range, len(parts))}
	for i, p := range parts {
		d.Parts[i] = layout.Range{From: p.Base, To: p.End.Load()}
	}
	return d
}

// finishTrim removes the partitions before the oldest offset that the journal
// knows.
func (l *Log) finishTrim(parts []*partition.Partition) ([]*partition.Partition, error) {
	n := l.onDisk(parts).Trimmed()
	if n == 0 {
		return parts, nil
	}
	if err := l.journal.Sync(); err != nil { // which says so
		return nil, err
	}
	if err := l.removeFiles(parts[:n]); err != nil {
		return nil, err
	}
	return parts[n:], nil
}

// finishCut carries out a truncation that the journal announces.
func (l *Log) finishCut(parts []*partition.Partition) ([]*partition.Partition, error) {
	disk := l.onDisk(parts)
	keep, shorten, announced := disk.Cut()
	if !announced {
		return parts, nil
	}
	if err := l.journal.Sync(); err != nil { // which says so
		return nil, err
	}
	if err := l.numbers.RemoveCache(); err != nil {
		return nil, err
	}
	if err := l.removeFiles(parts[keep:]); err != nil {
		return nil, err
	}
	parts = parts[:keep]
	if keep == 0 {
		p, err := l.createPartition(disk.Journal.Cut)
		if err == nil {
			err = l.syncFolder()
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if shorten {
		if err := l.shorten(parts[keep-1], disk.Journal.Cut); err != nil {
			return nil, err
		}
	}
	return parts, l.record(journal.Synced, min(disk.Journal.Synced, disk.Journal.Cut))
}

// shorten cuts a partition and its index off at offset, durably.
func (l *Log) shorten(p *partition.Partition, offset int64) error {
	if err := files.Truncate(p.File, offset-p.Base); err != nil {
		return err
	}
	p.End.Store(offset)
	p.Sum.Store(nil)
	return p.Index().Cut(offset - p.Base)
}

// beginAnew makes the first partition of a folder that has none: a new topic
// whose creation was interrupted, or one whose files are gone. Offsets that
// were given out are not given out again.
func (l *Log) beginAnew() ([]*partition.Partition, error) {
	disk := l.onDisk(nil)
	base, _ := disk.GoesOn(nil)
	if base > disk.Journal.Trimmed.Oldest {
		l.store.Logger.Error("partition files are missing: the topic goes on after them", "topic", l.name, "offset", base)
	}
	p, err := l.createPartition(base)
	if err != nil {
		return nil, err
	}
	return []*partition.Partition{p}, nil
}
