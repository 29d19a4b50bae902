package fsck

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/vfs"
)

// topicRepair is the repair of one topic.
type topicRepair struct {
	*mender
	s *survey

	files   *files.Cache
	stage   int           // how far the work has come
	state   journal.State // that the journal is given; from stageErasing on
	begun   bool          // an empty partition: what was the head is complete
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
func (t *topicRepair) do(a *Action) error {
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
		defer t.files.Evict(0)
		return files.Truncate(t.files.File(a.File), a.Position)
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

func (t *topicRepair) enter(stage int) error {
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
func (t *topicRepair) mark() error {
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
	t.state = state
	return t.writeJournal()
}

func (t *topicRepair) writeJournal() error {
	_, _, err := journal.Replace(t.o.FS, t.perm, t.s.topic, &t.state)
	return err
}

// remove removes a file, and a partition's index with it.
func (t *topicRepair) remove(name string) error {
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
func (t *topicRepair) erase(a *Action) error {
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

func (t *topicRepair) begin(base int64) error {
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
func (t *topicRepair) makeIndex(a *Action) error {
	i := slices.IndexFunc(t.s.parts, func(p *partitionFinding) bool { return p.base == a.Offset })
	p, isHead := t.s.parts[i], i == len(t.s.parts)-1
	known, has := t.state.Ends[p.base]
	if st := &t.s.state; isHead && st.Clean && st.Synced == p.end {
		known, has = journal.PartitionEnd{End: p.end, Totals: st.Head}, true
	}
	newest := p.millis
	if has && known.Last > 0 {
		newest = known.Last
	}
	sum, err := t.rebuildIndex(p, newest)
	if err != nil {
		return err
	}
	if has && known.Batches == sum.Batches {
		sum.First, sum.Last = known.First, known.Last
	}
	if isHead && !t.begun {
		t.headSum = sum
		delete(t.state.Ends, p.base)
	} else {
		t.state.Ends[p.base] = journal.PartitionEnd{End: p.end, Totals: sum}
	}
	return nil
}

// rebuildIndex writes an index of a partition whose last batch is of the time
// newest, and returns what the partition holds.
func (t *topicRepair) rebuildIndex(p *partitionFinding, newest int64) (journal.Totals, error) {
	defer t.files.Evict(0)
	file := t.files.File(p.name)
	f, err := file.Acquire(files.ToRead)
	if err != nil {
		return journal.Totals{}, err
	}
	defer file.Release()
	size := p.end - p.base
	ix := index.New(t.files.File(layout.Index(t.s.topic, p.base)), t.state.ID, p.base)
	found, err := ix.Rebuild(&index.Source{
		File: f, Topic: layout.TopicOf(t.s.topic), Size: size, Aside: layout.Clip(t.state.Damaged, p.base, size), Last: newest,
		Latest: func(changed int64) int64 { return max(changed, t.o.Now().UnixMilli()) },
	}, 0)
	if err != nil {
		return journal.Totals{}, err
	}
	for _, r := range found.Damaged {
		t.state.AddDamage(layout.Range{From: p.base + r.From, To: p.base + r.To})
	}
	if ix.Empty() {
		return found.Totals, ix.File.Remove()
	}
	return found.Totals, ix.Settle() // it holds the index then, and no more
}

// syncRest makes durable what stays of the log, as recovery does.
func (t *topicRepair) syncRest() error {
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
	return errors.Join(t.o.FS.SyncDir(t.s.topic), t.o.FS.SyncDir(path.Dir(t.s.topic)))
}

func (t *topicRepair) syncFrom(p *partitionFinding, synced int64) error {
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
func (t *topicRepair) close() error {
	t.state.Synced, t.state.Clean, t.state.Head = t.s.next, true, t.headSum
	oldest := t.s.next
	if len(t.s.parts) > 0 {
		oldest = t.s.parts[0].base
	}
	t.state.Forget(oldest, t.s.next)
	return t.writeJournal()
}
