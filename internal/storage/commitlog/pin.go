package commitlog

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/vfs"
)

// errCrowded is a file that is not opened because too many wait to be synced.
var errCrowded = fmt.Errorf("storage: too many files wait to be synced: %w", syscall.EMFILE)

// pin keeps the partition's file open until it is synced. If patient is true it
// does not where too many are kept already: errCrowded.
func (l *Log) pin(p *partition.Partition, patient bool) (vfs.File, error) {
	l.pinnedMu.Lock()
	defer l.pinnedMu.Unlock()
	if p.Pinned {
		return p.File.Held(), nil
	}
	if patient && l.store.Files.Crowded() {
		return nil, errCrowded
	}
	f, err := p.File.Acquire(files.ToWrite)
	if err != nil {
		return nil, err
	}
	p.Pinned = true
	l.pinned = append(l.pinned, p)
	return f, nil
}

// isPinned reports whether the partition's file is kept open for a sync.
func (l *Log) isPinned(p *partition.Partition) bool {
	l.pinnedMu.Lock()
	defer l.pinnedMu.Unlock()
	return p.Pinned
}

// Unpin lets go of partitions that are wholly synced. The head is among them
// only when no write is under way; if one is, it stays.
func (l *Log) Unpin() {
	if !l.writer.TryLock() {
		l.unpinTo(l.parts.Head().Base - 1)
		return
	}
	defer l.writer.Unlock()
	l.unpinTo(l.synced.Load())
}

// unpinTo lets go of the partitions that begin at offset or before it and are
// wholly synced.
func (l *Log) unpinTo(offset int64) {
	l.unpinIf(func(p *partition.Partition) bool { return p.Base <= offset && p.End.Load() <= l.synced.Load() })
}

// unpinIf lets go of the partitions for which it reports true.
func (l *Log) unpinIf(which func(*partition.Partition) bool) {
	l.pinnedMu.Lock()
	defer l.pinnedMu.Unlock()
	l.pinned = slices.DeleteFunc(l.pinned, func(p *partition.Partition) bool {
		if !which(p) {
			return false
		}
		p.Pinned = false
		p.File.Release()
		return true
	})
}
