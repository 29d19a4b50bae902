package storage

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/vfs"
)

// mending is the repair of one topic.
type mending struct {
	*mender
	s *survey

	stage   int  // how far the work has come
	log     *Log // from stageErasing on
	begun   bool // an empty partition: what was the head is complete
	headSum journal.Totals
}

// The stages of a repair. Each begins with what makes the ones before durable.
const (
	stageSaving   = iota
	stageRemoving // copies and report are durable
	stageCutting  // names are gone for good
	stageErasing  // the journal knows what is damaged
	stageClosing  // all bytes that stay are durable
)

var stageOf = map[ActionKind]int{
	ActSave: stageSaving, ActRemove: stageRemoving, ActCut: stageCutting, ActMark: stageErasing, ActUnmark: stageErasing,
	ActErase: stageErasing, ActBegin: stageErasing, ActIndex: stageErasing, ActJournal: stageClosing,
}

// do carries out one action; a dry run only looks up how a copy will be called.
func (t *mending) do(a *Action) error {
	if t.o.DryRun {
		if a.Kind == ActSave {
			_, err := t.nameCopy(a)
			return err
		}
		return nil
	}
	for t.stage < stageOf[a.Kind] {
		t.stage++
		if err := t.enter(t.stage); err != nil {
			return err
		}
	}
	switch a.Kind {
	case ActSave:
		return t.save(a)
	case ActRemove:
		return t.remove(a.File)
	case ActCut:
		return files.Truncate(t.file(a.File), a.Position)
	case ActMark, ActUnmark:
		return nil // the journal that began the stage has it
	case ActErase:
		return t.erase(a)
	case ActBegin:
		return t.begin(a.Offset)
	case ActIndex:
		return t.makeIndex(a)
	default:
		return t.close()
	}
}

// file returns a file of the topic as code of the store takes it.
func (t *mending) file(name string) *files.File {
	c := &files.Cache{FS: t.o.FS, Perm: t.perm} // keeps nothing open
	return c.File(name)
}

func (t *mending) enter(stage int) error {
	switch stage {
	case stageRemoving:
		return t.syncCopies()
	case stageCutting:
		return t.o.FS.SyncDir(t.s.topic)
	case stageErasing:
		return t.mark()
	case stageClosing:
		return t.syncRest()
	}
	return nil
}

// mark writes a journal that knows what is damaged, before the bytes go: half
// of a range that is being erased must not be searched for batches.
func (t *mending) mark() error {
	s := t.s
	state := s.state
	state.Damaged = s.damaged()
	state.Cut, state.Clean = -1, false
	state.Ends = make(map[int64]journal.PartitionEnd, len(s.state.Ends))
	for base := range s.state.Ends {
		if e, ok := s.state.Complete(base); ok {
			state.Ends[base] = e // of others a repair would make what they never were: known as durable
		}
	}
	if s.adopted {
		state.ID, state.Created = journal.NewID(), t.o.Now().UnixMilli()
	}
	t.log = t.offlineLog(s.topic)
	t.log.id, t.log.state = state.ID, state
	t.log.damaged.Store(&state.Damaged)
	return t.writeJournal()
}

func (t *mending) writeJournal() error {
	l := t.log
	size, _, err := journal.Replace(t.o.FS, t.perm, l.name, &l.state)
	l.journal.Size = size
	return err
}

// remove removes a file, and a partition's index with it.
func (t *mending) remove(name string) error {
	if err := t.o.FS.Remove(name); err != nil {
		return err
	}
	partition, ok := strings.CutSuffix(name, ".log")
	if !ok {
		return nil
	}
	if err := t.o.FS.Remove(partition + ".idx"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// erase overwrites a range with zeros.
func (t *mending) erase(a *Action) error {
	f, err := t.o.FS.OpenFile(a.File, vfs.ReadWrite, 0)
	if err != nil {
		return err
	}
	b := make([]byte, min(scan.Chunk, a.Length))
	for pos, end := a.Position, a.Position+a.Length; pos < end && err == nil; pos += int64(len(b)) {
		b = b[:min(int64(len(b)), end-pos)]
		if err = t.ctx.Err(); err == nil {
			_, err = f.WriteAt(b, pos)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (t *mending) begin(base int64) error {
	t.begun = true
	f, err := t.o.FS.OpenFile(layout.Partition(t.s.topic, base), vfs.ReadWrite|vfs.Create, t.perm)
	if err != nil {
		return err
	}
	t.s.next = base
	return errors.Join(f.Sync(), f.Close())
}

// makeIndex makes the index of a partition anew and notes what it counted. The
// times of the old one are kept as far as it can be read.
func (t *mending) makeIndex(a *Action) error {
	i := slices.IndexFunc(t.s.parts, func(p *surveyed) bool { return p.base == a.Offset })
	found := t.s.parts[i]
	l := t.log
	p := l.newPartition(found.base, found.end)
	known, has := l.state.Ends[p.base]
	if st := &t.s.state; i == len(t.s.parts)-1 && st.Clean && st.Synced == found.end {
		known, has = journal.PartitionEnd{End: found.end, Totals: st.Head}, true
	}
	newest := journal.Totals{Last: found.millis}
	if has && known.Last > 0 {
		newest.Last = known.Last
	}
	p.sum.Store(&newest)
	f, err := p.file.Acquire(files.ToRead)
	if err != nil {
		return err
	}
	sum, _, err := l.reindex(p, p.index(), f, 0)
	p.file.Release()
	if err == nil {
		err = t.writeIndex(p)
	}
	l.store.files.Evict(0)
	if err != nil {
		return err
	}
	if has && known.Batches == sum.Batches {
		sum.First, sum.Last = known.First, known.Last
	}
	if i == len(t.s.parts)-1 && !t.begun {
		t.headSum = sum
		delete(l.state.Ends, p.base)
	} else {
		l.state.Ends[p.base] = journal.PartitionEnd{End: found.end, Totals: sum}
	}
	return nil
}

// writeIndex makes an index's file hold the index and no more.
func (t *mending) writeIndex(p *partition) error {
	if p.index().Empty() {
		err := t.log.dropIndex(p)
		return err
	}
	return p.index().Settle()
}

// syncRest makes durable what stays of the log, as recovery does.
func (t *mending) syncRest() error {
	synced := t.s.state.Synced
	if n := len(t.s.parts); t.s.adopted && n > 0 {
		synced = t.s.parts[n-1].base
	}
	for _, p := range t.s.parts {
		if p.end > synced {
			if err := t.syncFrom(p, synced); err != nil {
				return err
			}
		}
	}
	return errors.Join(t.o.FS.SyncDir(t.s.topic), t.o.FS.SyncDir("."))
}

func (t *mending) syncFrom(p *surveyed, synced int64) error {
	f, err := t.o.FS.OpenFile(p.name, vfs.ReadWrite, 0)
	if err != nil {
		return err
	}
	if !t.s.adopted {
		err = files.Rewrite(f, max(synced-p.base, 0), p.end-p.base)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// close writes the journal that ends the repair: the log is as if it had been
// closed cleanly.
func (t *mending) close() error {
	l := t.log
	l.state.Synced, l.state.Clean, l.state.Head = t.s.next, true, t.headSum
	oldest := t.s.next
	if len(t.s.parts) > 0 {
		oldest = t.s.parts[0].base
	}
	l.state.Forget(oldest, t.s.next)
	return t.writeJournal()
}
