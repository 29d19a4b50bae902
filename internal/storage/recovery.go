package storage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/diagnose"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
)

// openLog opens an existing topic's folder and recovers it:
//
//  1. The journal is read. Without one the folder is of the 0.3 layout, or new.
//     If it says that the topic is deleted, that is finished: ErrDeleted.
//  2. A removal or truncation that a crash interrupted is finished.
//  3. What lies after the last synced mark is scanned. An invalid end that
//     nothing valid follows is a torn tail and is cut off; anything else that
//     is invalid is set aside, its bytes kept.
//  4. What was scanned is written once more and synced (see rewrite), for it
//     will be served.
//
// Older partitions are not read.
func openLog(s *Store, name string) (*Log, error) {
	l := newLog(s, name)
	l.dirDirty.Store(true) // there may be names that were never synced
	wrap := func(op, file string, err error) error {
		return &Error{Op: op, Topic: name, File: file, Offset: -1, Err: err}
	}
	if err := l.openJournal(); errors.Is(err, ErrDeleted) {
		return nil, err
	} else if err != nil {
		return nil, wrap("read journal of", layout.JournalFile(name), err)
	}
	parts, err := l.findPartitions()
	if err != nil {
		return nil, wrap("list partitions of", name, err)
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
	l.parts.Store(&parts)
	if err := l.recover(); err != nil {
		return nil, err
	}
	l.lookAtClock(s.o.Clock.Now().UnixMilli())
	return l, nil
}

// openJournal reads the journal into l.state. A damaged one is put aside and
// what was understood of it goes on.
func (l *Log) openJournal() error {
	s := l.store
	b, err := journal.Read(s.fs, l.name)
	if err != nil {
		return err
	}
	if journal.IsDeleted(b) {
		if err := s.finishDelete(l.name); err != nil {
			return fmt.Errorf("finish deletion: %w", err)
		}
		return ErrDeleted
	}
	state, size, err := journal.Decode(b)
	if errors.Is(err, journal.ErrNewer) {
		return err
	}
	l.state = state
	l.adopted = state.ID == (journal.ID{})
	rewrite := err != nil || l.adopted || size > s.o.journalCompact
	if err != nil {
		// A copy, so that at no time there is none: a topic without one is taken
		// for one of the 0.3 layout.
		kept := layout.JournalFile(l.name) + ".damaged"
		s.log.Error("journal is damaged: it is kept and a new one begun with what is known", "topic", l.name, "kept", kept, "err", err)
		if err := journal.WriteFile(s.fs, kept, s.o.FileMode, b); err != nil {
			return err
		}
	}
	if l.adopted {
		l.state.ID, l.state.Created = journal.NewID(), s.o.Clock.Now().UnixMilli()
	}
	l.id = l.state.ID
	if rewrite {
		if size, _, err = journal.Replace(s.fs, s.o.FileMode, l.name, &l.state); err != nil {
			return err
		}
	}
	l.journal.Size = size
	l.publishState()
	return nil
}

// findPartitions lists the partition files, oldest first, each up to where the
// next one begins.
func (l *Log) findPartitions() ([]*partition, error) {
	dir, err := l.store.fs.ReadDir(l.name)
	if err != nil {
		return nil, err
	}
	var parts []*partition
	for _, d := range dir {
		num, ok := strings.CutSuffix(d.Name(), ".log")
		if !ok || !d.Type().IsRegular() {
			continue
		}
		base, ok := batch.ParseInt([]byte(num))
		if !ok {
			l.store.log.Warn("file is no partition: its name is no offset; left alone", "topic", l.name, "file", d.Name())
			continue
		}
		st, err := d.Info()
		if err != nil {
			return nil, err
		}
		l.locate(st)
		p := l.newPartition(base, base+st.Size())
		if p.end.Load() < base {
			return nil, fmt.Errorf("file %s: offset plus size are too large", p.file.Name)
		}
		if e, ok := l.state.Complete(base); ok && e.End == p.end.Load() {
			sum := e.Totals
			p.sum.Store(&sum)
		}
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b *partition) int { return cmp.Compare(a.base, b.base) })
	return parts, l.removeOrphans(dir, parts)
}

// removeOrphans removes the indexes that have no partition, durably: a crash
// has left them behind. When the offsets are given out again, and another crash
// follows, they would be taken for the indexes of other batches.
func (l *Log) removeOrphans(dir []fs.DirEntry, parts []*partition) error {
	removed := false
	for _, d := range dir {
		num, ok := strings.CutSuffix(d.Name(), ".idx")
		base, isBase := batch.ParseInt([]byte(num))
		if !ok || !isBase || !d.Type().IsRegular() {
			continue
		}
		if _, has := slices.BinarySearchFunc(parts, base, func(p *partition, base int64) int { return cmp.Compare(p.base, base) }); has {
			continue
		}
		if err := l.store.fs.Remove(layout.Index(l.name, base)); err != nil {
			return err
		}
		removed = true
	}
	if !removed {
		return nil
	}
	return l.store.fs.SyncDir(l.name)
}

// finishTrim removes the partitions before the oldest offset that the journal
// knows.
func (l *Log) finishTrim(parts []*partition) ([]*partition, error) {
	oldest := l.state.Trimmed.Oldest
	n := 0
	for n < len(parts) && parts[n].base < oldest &&
		(parts[n].end.Load() <= oldest || (n+1 < len(parts) && parts[n+1].base <= oldest)) {
		n++
	}
	if n == 0 {
		return parts, nil
	}
	if err := l.removeFiles(parts[:n]); err != nil {
		return nil, err
	}
	return parts[n:], nil
}

// finishCut carries out a truncation that the journal announces.
func (l *Log) finishCut(parts []*partition) ([]*partition, error) {
	cut := l.state.Cut
	if cut < 0 {
		return parts, nil
	}
	n := len(parts)
	for n > 1 && parts[n-1].base > cut {
		n--
	}
	if err := l.removeFiles(parts[n:]); err != nil {
		return nil, err
	}
	parts = parts[:n]
	if n > 0 && parts[n-1].end.Load() > cut {
		p := parts[n-1]
		if err := files.Truncate(p.file, cut-p.base); err != nil {
			return nil, err
		}
		p.end.Store(cut)
		p.sum.Store(nil)
		if err := p.index().Cut(cut - p.base); err != nil {
			return nil, err
		}
	}
	l.state.Synced, l.state.Clean = min(l.state.Synced, cut), false
	l.state.Cut = -1
	l.state.Forget(0, cut)
	l.publishState()
	return parts, l.record(journal.Synced, l.state.Synced)
}

// beginAnew makes the first partition of a folder that has none: a new topic
// whose creation was interrupted, or one whose files are gone. Offsets that
// were given out are not given out again.
func (l *Log) beginAnew() ([]*partition, error) {
	base := max(l.state.Synced, l.state.Trimmed.Oldest)
	for _, e := range l.state.Ends {
		base = max(base, e.End)
	}
	if base > l.state.Trimmed.Oldest {
		l.store.log.Error("partition files are missing: the topic goes on after them", "topic", l.name, "offset", base)
	}
	p, err := l.createPartition(base)
	if err != nil {
		return nil, err
	}
	return []*partition{p}, nil
}

// recover finds the end of the log and makes durable what it will serve.
func (l *Log) recover() error {
	if err := l.dropDeadHeads(); err != nil {
		return err
	}
	l.tellMissing()
	l.closeGaps()
	head := l.head()
	head.sum.Store(nil) // it will grow
	delete(l.state.Ends, head.base)
	size := head.end.Load()
	l.next.Store(size)
	synced := l.state.Synced
	if l.adopted {
		// Nothing is known of the folder: take the older partitions as good until
		// they are read.
		synced = head.base
		if err := l.noteAdopted(head.base); err != nil {
			return err
		}
	}
	l.uncheckedBefore = l.state.Adopted
	if synced == size {
		// Nothing was written after the last mark.
		l.synced.Store(size)
		if l.state.Clean {
			l.headSum = l.state.Head
			l.lastMillis = l.headSum.Last
		}
		return nil
	}
	if synced < size {
		for _, p := range l.partitions() {
			if p.end.Load() > synced {
				if err := l.recoverPartition(p, synced, p == head); err != nil {
					return err
				}
			}
		}
	} else {
		l.store.log.Error("synced data is missing at the end of the topic: the file was cut short by something else",
			"topic", l.name, "file", head.file.Name, "offset", size, "missing", synced-size)
		l.setDamaged(layout.Range{From: size, To: synced})
	}
	// Appends must not reuse offsets that were given out, nor follow bytes that
	// were set aside at the end of a file.
	end := l.next.Load()
	ranges := *l.damaged.Load()
	if n := len(ranges); n > 0 && (ranges[n-1].To > end || (ranges[n-1].To == end && end > head.base)) {
		p, err := l.createPartition(max(end, ranges[n-1].To))
		if err != nil {
			return &Error{Op: "recover", Topic: l.name, File: layout.Partition(l.name, end), Offset: end, Err: err}
		}
		l.headSum = journal.Totals{}
		l.addPartition(p)
		l.next.Store(p.base)
	}
	l.dirDirty.Store(true)
	if err := l.syncNames(); err != nil {
		return err
	}
	end = l.next.Load()
	l.synced.Store(end)
	l.state.Synced, l.state.Clean = end, false
	// What is served is durable by now. The note of it need not be: without it
	// the next start scans the same bytes again, with the same result.
	if err := l.journal.Append(journal.Append(nil, journal.Synced, end)); err != nil && !files.Transient(err) {
		return &Error{Op: "write journal of", Topic: l.name, File: layout.JournalFile(l.name), Offset: end, Err: err}
	}
	return nil
}

// noteAdopted writes down that the partitions before offset, and the beginning of
// the one there, are older than the journal. It need not be durable, but stands before every mark that is.
func (l *Log) noteAdopted(offset int64) error {
	l.state.Adopted = offset
	if err := l.journal.Append(journal.Append(nil, journal.Adopted, offset)); err != nil {
		return &Error{Op: "write journal of", Topic: l.name, File: layout.JournalFile(l.name), Offset: offset, Err: err}
	}
	return nil
}

// dropDeadHeads removes heads of which no batch reached the disk, if they begin
// after the synced mark: the log's torn tail then begins in the partition
// before, and is looked for there.
func (l *Log) dropDeadHeads() error {
	for {
		parts := l.partitions()
		n := len(parts) - 1
		head := parts[n]
		if n == 0 || head.base <= l.state.Synced {
			return nil
		}
		place := func(err error) error {
			return &Error{Op: "recover", Topic: l.name, File: head.file.Name, Offset: head.base, Err: err}
		}
		if alive, err := l.hasBatch(head); err != nil {
			return place(err)
		} else if alive {
			return nil
		}
		if size := head.end.Load() - head.base; size > 0 {
			l.store.log.Warn("partition removed: of its appends, never acknowledged as durable, none reached the disk whole",
				"topic", l.name, "file", head.file.Name, "offset", head.base, "bytes", size)
		}
		if err := l.removeFiles(parts[n:]); err != nil {
			return place(err)
		}
		parts = slices.Clone(parts[:n])
		parts[n-1].sum.Store(nil)
		l.parts.Store(&parts)
	}
}

// hasBatch reports whether anything in the partition is a reason to keep it.
func (l *Log) hasBatch(p *partition) (bool, error) {
	size := p.end.Load() - p.base
	if size == 0 {
		return false, nil
	}
	f, err := p.file.Acquire(files.ToRead)
	if err != nil {
		return false, err
	}
	defer p.file.Release()
	return diagnose.Alive(&scan.Scanner{File: f, Size: size, Topic: l.name})
}

// tellMissing says which partitions were complete, were not removed by logd, and
// are gone from the beginning of the log: closeGaps can't know of them.
func (l *Log) tellMissing() {
	first := l.partitions()[0].base
	for _, base := range slices.Sorted(maps.Keys(l.state.Ends)) {
		if base >= l.state.Trimmed.Oldest && base < first {
			l.store.log.Error("partition file is gone, and the journal knows of no removal: the log begins behind it", "topic", l.name,
				"file", layout.Partition(l.name, base), "offset", base, "bytes", l.state.Ends[base].End-base, "oldest", first)
		}
	}
}

// closeGaps makes the partitions follow one another: what is missing between
// two is damage, and bytes of one that reach into the next are left unread.
func (l *Log) closeGaps() {
	parts := l.partitions()
	for i, p := range parts[:len(parts)-1] {
		next, end := parts[i+1].base, p.end.Load()
		switch {
		case end > next:
			l.store.log.Error("partition reaches into the next one; its bytes from there on are not served",
				"file", p.file.Name, "size", end-p.base, "next", next)
			p.end.Store(next)
			p.sum.Store(nil)
		case end < next:
			l.store.log.Error("bytes are missing at the end of a partition", "file", p.file.Name, "offset", end, "missing", next-end)
			l.setDamaged(layout.Range{From: end, To: next})
		}
	}
}

// recoverPartition scans the part of a partition that was not marked as
// synced, and syncs it.
func (l *Log) recoverPartition(p *partition, synced int64, head bool) error {
	place := func(op string, offset int64, err error) error {
		return &Error{Op: op, Topic: l.name, File: p.file.Name, Offset: offset, Err: err}
	}
	f, err := p.file.Acquire(files.ToWrite)
	if err != nil {
		return place("recover", p.base, err)
	}
	defer p.file.Release()
	found, err := l.reindex(p, p.index(), f, max(synced-p.base, 0))
	if err != nil {
		return place("recover", p.base, err)
	}
	// What follows changes the file, which then has the clock's time: if that is
	// before the times that were found, the next recovery could not find them again.
	if p.index().Stale || l.store.o.Clock.Now().UnixMilli() < found.Totals.Last {
		switch err := p.index().Settle(); {
		case err == nil:
		case files.Transient(err): // it is stale until there is room: no append comes before that
			l.store.log.Warn("index not written; it is tried again before an append", "topic", l.name, "file", p.index().File.Name, "err", err)
		default:
			return place("cut index of", p.base, err)
		}
	}
	from, end := p.base+found.Tail, p.end.Load()
	if tail := end - from; tail > 0 {
		sc := &scan.Scanner{File: f, Size: end - p.base, Topic: l.name}
		torn, err := diagnose.Torn(sc, found.Tail, synced-p.base)
		if err != nil {
			return place("recover", from, err)
		}
		if head && torn {
			l.store.log.Warn("torn tail cut off: an append that was never acknowledged as durable did not reach the disk whole",
				"topic", l.name, "file", p.file.Name, "offset", from, "bytes", tail)
			if err := f.Truncate(found.Tail); err != nil {
				return place("cut torn tail of", from, err)
			}
			p.end.Store(from)
		} else {
			l.setAside(p, layout.Range{From: from, To: end})
		}
	}
	if !l.adopted {
		if err := files.Rewrite(f, max(synced-p.base, 0), found.Valid); err != nil {
			return place("rewrite unsynced end of", synced, err)
		}
	}
	if err := f.Sync(); err != nil {
		return place("sync", from, err)
	}
	if head {
		l.headSum = found.Totals
		if found.Totals.Batches > 0 {
			l.lastMillis = found.Totals.Last
		}
		l.next.Store(p.end.Load())
		return nil
	}
	l.setTotals(p, found.Totals)
	return nil
}

// setAsideAll sets ranges of positions of a partition aside.
func (l *Log) setAsideAll(p *partition, damaged []layout.Range) {
	for _, r := range damaged {
		l.setAside(p, layout.Range{From: p.base + r.From, To: p.base + r.To})
	}
}

// setAside notes that a range of a partition is damaged, and says so once.
func (l *Log) setAside(p *partition, r layout.Range) {
	if !l.setDamaged(r) {
		return
	}
	l.store.log.Error("corruption: the bytes are kept and set aside; reads of them answer not found, all else is served",
		"topic", l.name, "file", p.file.Name, "position", r.From-p.base, "offset", r.From, "bytes", r.To-r.From)
}

// setDamaged adds a damaged range to what readers see and to the journal. It
// reports false if the range was known.
func (l *Log) setDamaged(r layout.Range) bool {
	l.journalMu.Lock()
	defer l.journalMu.Unlock()
	if r.To <= l.begin() {
		return false // it was removed meanwhile
	}
	known := slices.ContainsFunc(l.state.Damaged, func(o layout.Range) bool { return o.From <= r.From && o.To >= r.To })
	if known {
		return false
	}
	l.state.AddDamage(r)
	l.publishState()
	if err := l.journal.Append(journal.Append(nil, journal.Damaged, r.From, r.To)); err != nil {
		l.store.log.Warn("journal record not written; the damage will be found again", "topic", l.name, "err", err)
	}
	l.dirDirty.Store(true)
	return true
}
