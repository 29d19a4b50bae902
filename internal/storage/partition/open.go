package partition

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/layout"
)

// FindFiles returns the partitions whose files are among the entries of the log's folder,
// oldest first, and removes the indexes of others. They are not the list's yet. found is
// told of each file.
func (l *List) FindFiles(entries []fs.DirEntry, found func(fs.FileInfo)) (parts []*Partition, err error) {
	state := l.Journal.State()
	for _, d := range entries {
		num, ok := strings.CutSuffix(d.Name(), ".log")
		if !ok || !d.Type().IsRegular() {
			continue
		}
		base, ok := batch.ParseInt([]byte(num))
		if !ok {
			l.Logger.Warn("file is no partition: its name is no offset; left alone", "topic", l.Topic, "file", d.Name())
			continue
		}
		st, err := d.Info()
		if err != nil {
			return nil, err
		}
		found(st)
		p := l.New(base, base+st.Size())
		if p.End.Load() < base {
			return nil, fmt.Errorf("file %s: offset plus size are too large", p.File.Name())
		}
		if e, ok := state.Complete(base); ok && e.End == p.End.Load() {
			sum := e.Totals
			p.Sum.Store(&sum)
		}
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b *Partition) int { return cmp.Compare(a.Base, b.Base) })
	return parts, l.removeOrphans(entries, parts)
}

// removeOrphans removes the indexes that have no partition, durably: a crash
// has left them behind. When the offsets are given out again, and another crash
// follows, they would be taken for the indexes of other batches.
func (l *List) removeOrphans(entries []fs.DirEntry, parts []*Partition) error {
	removed := false
	for _, d := range entries {
		num, ok := strings.CutSuffix(d.Name(), ".idx")
		base, isBase := batch.ParseInt([]byte(num))
		if !ok || !isBase || !d.Type().IsRegular() {
			continue
		}
		if _, has := slices.BinarySearchFunc(parts, base, func(p *Partition, base int64) int { return cmp.Compare(p.Base, base) }); has {
			continue
		}
		if err := l.FS.Remove(layout.Index(l.Folder.Path(), base)); err != nil {
			return err
		}
		removed = true
	}
	if !removed {
		return nil
	}
	return l.FS.SyncDir(l.Folder.Path())
}
