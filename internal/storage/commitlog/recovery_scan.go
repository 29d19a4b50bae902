package commitlog

import (
	"slices"

	"github.com/logd-dev/logd/internal/storage/diagnose"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/vfs"
)

// recover finds the end of the log and makes durable what it will serve.
func (l *Log) recover() error {
	if err := l.dropDeadHeads(); err != nil {
		return err
	}
	l.tellMissing()
	l.closeGaps()
	head := l.parts.Head()
	head.Sum.Store(nil) // it will grow
	l.journal.Grows(head.Base)
	end := head.End.Load()
	l.next.Store(end)
	if l.adopted {
		if err := l.noteAdopted(head.Base); err != nil {
			return err
		}
	}
	disk := l.onDisk(l.parts.All())
	l.parts.Unchecked = disk.UncheckedBefore()
	if next, _ := disk.GoesOn(*l.journal.Damaged()); disk.Synced() == end && next == end {
		// Nothing was written after the last mark, and the log goes on there.
		l.synced.Store(end)
		if sum, known := l.journal.Head(end); known {
			l.parts.HeadSum = sum
			l.parts.LastMillis = l.parts.HeadSum.Last
		}
		return nil
	}
	if err := l.recoverEnd(disk); err != nil {
		return err
	}
	if err := l.beginBehindDamage(); err != nil {
		return err
	}
	return l.markRecovered()
}

// recoverEnd recovers the partitions that reach beyond the synced mark. If the log
// ends before the mark, what is missing is set aside.
func (l *Log) recoverEnd(disk *diagnose.Log) error {
	if missing := disk.Missing(); missing.From < missing.To {
		l.store.Logger.Error("synced data is missing at the end of the topic: the file was cut short by something else",
			"topic", l.name, "file", l.parts.Head().File.Name(), "offset", missing.From, "missing", missing.To-missing.From)
		l.parts.SetDamaged(missing, l.parts.Head())
		return nil
	}
	for _, p := range l.parts.All() {
		if p.End.Load() > disk.Synced() {
			if err := l.recoverPartition(p, disk); err != nil {
				return err
			}
		}
	}
	return nil
}

// beginBehindDamage begins a partition if appends can't follow what the head ends
// with.
func (l *Log) beginBehindDamage() error {
	next, begins := l.onDisk(l.parts.All()).GoesOn(*l.journal.Damaged())
	if !begins {
		return nil
	}
	p, err := l.createPartition(next)
	if err != nil {
		end := l.next.Load()
		return &Error{Op: "recover", Topic: l.name, File: layout.Partition(l.dir(), end), Offset: end, Err: err}
	}
	l.parts.HeadSum = journal.Totals{}
	l.parts.Add(p)
	l.next.Store(p.Base)
	return nil
}

// markRecovered makes the names in the folder durable and notes that all of the
// log is.
func (l *Log) markRecovered() error {
	l.member.FolderDirty.Store(true)
	if err := l.syncNames(); err != nil {
		return err
	}
	end := l.next.Load()
	l.synced.Store(end)
	// What is served is durable by now. The note of it need not be: without it
	// the next start scans the same bytes again, with the same result.
	if err := l.journal.Note(journal.Synced, end); err != nil && !files.Transient(err) {
		return &Error{Op: "write journal of", Topic: l.name, File: l.journal.File.Name(), Offset: end, Err: err}
	}
	return nil
}

// noteAdopted writes down that the partitions before offset, and the beginning of
// the one there, are older than the journal. It need not be durable, but stands before every mark that is.
func (l *Log) noteAdopted(offset int64) error {
	if err := l.journal.Note(journal.Adopted, offset); err != nil {
		return &Error{Op: "write journal of", Topic: l.name, File: l.journal.File.Name(), Offset: offset, Err: err}
	}
	return nil
}

// dropDeadHeads removes heads of which no batch reached the disk, if they begin
// after the synced mark: the log's torn tail then begins in the partition
// before, and is looked for there.
func (l *Log) dropDeadHeads() error {
	for l.onDisk(l.parts.All()).InDoubt() {
		parts := l.parts.All()
		n := len(parts) - 1
		head := parts[n]
		place := func(err error) error {
			return &Error{Op: "recover", Topic: l.name, File: head.File.Name(), Offset: head.Base, Err: err}
		}
		if alive, err := l.isAlive(head); err != nil {
			return place(err)
		} else if alive {
			return nil
		}
		if size := head.End.Load() - head.Base; size > 0 {
			l.store.Logger.Warn("partition removed: of its appends, never acknowledged as durable, none reached the disk whole",
				"topic", l.name, "file", head.File.Name(), "offset", head.Base, "bytes", size)
		}
		if err := l.removeFiles(parts[n:]); err != nil {
			return place(err)
		}
		parts = slices.Clone(parts[:n])
		parts[n-1].Sum.Store(nil)
		l.parts.Set(parts)
	}
	return nil
}

// isAlive reports whether anything in the partition is a reason to keep it.
func (l *Log) isAlive(p *partition.Partition) (bool, error) {
	size := p.End.Load() - p.Base
	if size == 0 {
		return false, nil
	}
	f, err := p.File.Acquire(files.ToRead)
	if err != nil {
		return false, err
	}
	defer p.File.Release()
	return diagnose.Alive(&scan.Scanner{File: f, Size: size, Topic: l.name})
}

// tellMissing says which partitions were complete, were not removed by logd, and
// are gone from the beginning of the log: closeGaps can't know of them.
func (l *Log) tellMissing() {
	disk := l.onDisk(l.parts.All())
	for _, gone := range disk.Gone() {
		l.store.Logger.Error("partition file is gone, and the journal knows of no removal: the log begins behind it", "topic", l.name,
			"file", layout.Partition(l.dir(), gone.From), "offset", gone.From, "bytes", gone.To-gone.From, "oldest", disk.Parts[0].From)
	}
}

// closeGaps makes the partitions follow one another: what is missing between
// two is damage, and bytes of one that reach into the next are left unread.
func (l *Log) closeGaps() {
	parts := l.parts.All()
	for i, p := range parts[:len(parts)-1] {
		switch joint, r := diagnose.Between(p.End.Load(), parts[i+1].Base); joint {
		case diagnose.Overlap:
			l.store.Logger.Error("partition reaches into the next one; its bytes from there on are not served",
				"file", p.File.Name(), "size", r.To-p.Base, "next", r.From)
			p.End.Store(r.From)
			p.Sum.Store(nil)
		case diagnose.Gap:
			l.store.Logger.Error("bytes are missing at the end of a partition", "file", p.File.Name(), "offset", r.From, "missing", r.To-r.From)
			l.parts.SetDamaged(r, p)
		}
	}
}

// recoverPartition scans the part of a partition that was not marked as
// synced, and syncs it.
func (l *Log) recoverPartition(p *partition.Partition, disk *diagnose.Log) error {
	place := func(op string, offset int64, err error) error {
		return &Error{Op: op, Topic: l.name, File: p.File.Name(), Offset: offset, Err: err}
	}
	f, err := p.File.Acquire(files.ToWrite)
	if err != nil {
		return place("recover", p.Base, err)
	}
	defer p.File.Release()
	synced := max(disk.Synced()-p.Base, 0)
	found, err := l.parts.Reindex(p, p.Index(), f, synced)
	if err != nil {
		return place("recover", p.Base, err)
	}
	if err := l.settleRecovered(p, found.Totals.Last); err != nil {
		return place("cut index of", p.Base, err)
	}
	if op, err := l.recoverTail(p, f, found.Tail, disk); err != nil {
		return place(op, p.Base+found.Tail, err)
	}
	if !l.adopted {
		if err := files.Rewrite(f, synced, found.Valid); err != nil {
			return place("rewrite unsynced end of", disk.Synced(), err)
		}
	}
	if err := f.Sync(); err != nil {
		return place("sync", p.Base+found.Tail, err)
	}
	if p != l.parts.Head() {
		l.parts.SetTotals(p, found.Totals)
		return nil
	}
	l.parts.HeadSum = found.Totals
	if found.Totals.Batches > 0 {
		l.parts.LastMillis = found.Totals.Last
	}
	l.next.Store(p.End.Load())
	return nil
}

// settleRecovered makes the index's file hold the index and no more, if it holds
// what is no longer true, or if what recovery changes now would give the partition's
// file a time before newest: the next recovery could not find the times again.
func (l *Log) settleRecovered(p *partition.Partition, newest int64) error {
	ix := p.Index()
	if !ix.Stale && l.store.Clock.Now().UnixMilli() >= newest {
		return nil
	}
	err := ix.Settle()
	if files.Transient(err) { // it is stale until there is room: no append comes before that
		l.store.Logger.Warn("index not written; it is tried again before an append", "topic", l.name, "file", ix.File.Name(), "err", err)
		return nil
	}
	return err
}

// recoverTail cuts invalid bytes at the end of a partition off, from a position on,
// or sets them aside. It returns what has failed.
func (l *Log) recoverTail(p *partition.Partition, f vfs.File, tail int64, disk *diagnose.Log) (op string, err error) {
	from, end := p.Base+tail, p.End.Load()
	if from >= end {
		return "", nil
	}
	torn, err := disk.Torn(&scan.Scanner{File: f, Size: end - p.Base, Topic: l.name}, p.Base, tail)
	if err != nil {
		return "recover", err
	}
	if !torn {
		l.parts.SetAside(p, layout.Range{From: from, To: end})
		return "", nil
	}
	l.store.Logger.Warn("torn tail cut off: an append that was never acknowledged as durable did not reach the disk whole",
		"topic", l.name, "file", p.File.Name(), "offset", from, "bytes", end-from)
	if err := f.Truncate(tail); err != nil {
		return "cut torn tail of", err
	}
	p.End.Store(from)
	return "", nil
}
