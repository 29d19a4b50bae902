package journal

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
)

// Journal is the journal of a log that is open: its file, and what the records in it
// add up to. That changes by records alone, as it does when they are read, so the
// next start finds what was known. [Journal.Record] has one on stable storage first.
// [Journal.Note] is for what may be lost with a crash: it is found again, or costs
// time. [Journal.Remember] is for what can't be recorded now.
//
// The exported fields are set before the first call. All methods are safe for
// concurrent use. Who asks for Damaged, Held, Packed or AllPacked waits for nobody.
type Journal struct {
	File *files.File
	// Unsyncable returns why a sync would tell nothing, or nil.
	Unsyncable func() error
	// Failed is told of a sync that has failed. What it returns is the error then.
	Failed func(error) error
	// Changed is called when what is set aside has become other ranges; nil for nobody.
	// It must not use the journal.
	Changed func()
	// SyncFolder makes the names in the folder of the file durable.
	SyncFolder func() error

	mu      sync.Mutex
	state   State
	size    int64           // where the next record goes
	dirty   bool            // there are records that were not synced
	unnamed bool            // the file took the place of another, and that is not durable
	untold  bool            // the file does not say, or not to older versions, all that is packed
	shown   *[]layout.Range // what Damaged has instead of the state's, until Show; nil for none

	damaged atomic.Pointer[[]layout.Range]
	held    atomic.Pointer[Held]
	packed  atomic.Pointer[map[int64]batch.Codecs] // nil if there are none
}

// Held is what a journal says of partitions that are to be removed. It does not
// change.
type Held struct {
	Due    int64          // those before it are to be removed
	Hooked map[int64]bool // by base: their hooks need not be run again
}

// Begin makes the journal of a new log, with a state. It is not synced.
func (j *Journal) Begin(s State) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.state = s
	j.publish()
	return j.append(s.Encode())
}

// Load makes the journal one that was read: what it adds up to, and its size.
func (j *Journal) Load(s State, size int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.state, j.size = s, size
	j.publish()
}

// State returns what the records add up to. Its maps are the journal's: it is for
// reading, as long as nobody else uses the journal.
func (j *Journal) State() State {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state
}

// Damaged returns the ranges that are set aside, in order. It is another slice, behind
// another pointer, as soon as they are other ranges.
func (j *Journal) Damaged() *[]layout.Range { return j.damaged.Load() }

// Held returns what is known of partitions that are to be removed.
func (j *Journal) Held() *Held { return j.held.Load() }

// publish shows what others see without the lock. Caller holds mu.
func (j *Journal) publish() {
	ranges := j.state.Damaged
	if j.shown != nil {
		ranges = *j.shown
	}
	if known := j.damaged.Load(); known == nil || !slices.Equal(*known, ranges) {
		ranges = slices.Clone(ranges)
		j.damaged.Store(&ranges)
		if j.Changed != nil && (known != nil || len(ranges) > 0) {
			j.Changed()
		}
	}
	if known := j.held.Load(); known == nil || known.Due != j.state.Due || !maps.Equal(known.Hooked, j.state.Hooked) {
		j.held.Store(&Held{Due: j.state.Due, Hooked: maps.Clone(j.state.Hooked)})
	}
	switch known := j.packed.Load(); {
	case len(j.state.Packed) == 0:
		j.packed.Store(nil)
	case known == nil || !maps.Equal(*known, j.state.Packed):
		packed := maps.Clone(j.state.Packed)
		j.packed.Store(&packed)
	}
}

// Packed returns the codecs that batches of the partition at base may be compressed
// with.
func (j *Journal) Packed(base int64) batch.Codecs {
	packed := j.packed.Load()
	if packed == nil {
		return 0
	}
	return (*packed)[base] | (*packed)[EveryBase]
}

// AllPacked returns the codecs that batches of any partition may be compressed with.
func (j *Journal) AllPacked() (all batch.Codecs) {
	if packed := j.packed.Load(); packed != nil {
		for _, c := range *packed {
			all |= c
		}
	}
	return all
}

// Pack has it on stable storage that batches of the partition at base may be compressed
// with some more codecs, if that is not so already, unless gone reports that the partition
// was removed: see Restart. The first time, the journal gets a new file, whose version
// keeps those away who do not know such batches: see Compact.
func (j *Journal) Pack(base int64, c batch.Codecs, gone func() bool, renew func(*State) (size int64, err error)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	known := j.state.Packed[base] | j.state.Packed[EveryBase]
	switch c &^= known; {
	case gone():
		return nil
	case j.untold:
	case c == 0 && j.unnamed:
		return j.sync()
	case c == 0:
		return nil
	case len(j.state.Packed) > 0:
		records := Append(nil, Packed, base, int64(c))
		_, err := j.record(records)
		if err == nil {
			j.apply(records)
		}
		return err
	}
	s := j.state
	s.Packed = maps.Clone(s.Packed)
	s.Packed[base] |= c
	if s.Packed[base] == 0 {
		delete(s.Packed, base) // EveryBase has it
	}
	replaced, err := j.replace(&s, renew)
	if replaced {
		j.state = s
		j.publish()
	}
	return err
}

// apply adds records to the state. Caller holds mu.
func (j *Journal) apply(records []byte) {
	for len(records) > 0 {
		n, ok := recordLen(records)
		if !ok || !j.state.Apply(records[:n]) {
			panic("journal: a record that can't be")
		}
		records = records[n:]
	}
	j.publish()
}

// Record makes records durable, see [Append], and then part of the state. With an error
// they are none, but a crash may leave them, or the first of them, if written is true:
// only the sync has failed then.
func (j *Journal) Record(records []byte) (written bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	written, err = j.record(records)
	if err == nil {
		j.apply(records)
	}
	return written, err
}

// RecordHidden is Record of what is damaged or healed, with which Damaged stays as it is
// until Show, but for what Damage adds. It counts as soon as it is written, also if
// its sync has failed: the next start may find it all the same.
func (j *Journal) RecordHidden(records []byte) (written bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if written, err = j.record(records); written {
		j.shown = j.damaged.Load()
		j.apply(records)
	}
	return written, err
}

// Show has Damaged as the state has it.
func (j *Journal) Show() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.shown = nil
	j.publish()
}

// record writes records and syncs them. Caller holds mu.
func (j *Journal) record(records []byte) (written bool, err error) {
	// One descriptor from the write to the sync, which is told if it failed.
	if _, err := j.File.Acquire(files.ToCreate); err != nil {
		return false, err
	}
	defer j.File.Release()
	if err := j.append(records); err != nil {
		return false, err
	}
	return true, j.sync()
}

// Note appends a record without a sync. It is part of the state whatever becomes of
// that.
func (j *Journal) Note(kind Kind, ints ...int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.note(kind, ints...)
}

func (j *Journal) note(kind Kind, ints ...int64) error {
	rec := Append(nil, kind, ints...)
	j.apply(rec)
	return j.append(rec)
}

// Remember makes a record part of the state without writing it.
func (j *Journal) Remember(kind Kind, ints ...int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.untold = j.untold || kind == Packed
	j.apply(Append(nil, kind, ints...))
}

// Damage notes that a range is damaged. It reports false, and notes nothing, if that is
// known, or gone reports that what the range is in was removed: see Restart.
func (j *Journal) Damage(r layout.Range, gone func() bool) (isNew bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if gone() || layout.Contains(j.state.Damaged, r) {
		return false, nil
	}
	if j.shown != nil {
		shown := layout.Join(*j.shown, r)
		j.shown = &shown
	}
	return true, j.note(Damaged, r.From, r.To)
}

// Complete notes what a partition that is complete holds, unless that is known, or
// gone reports that it was removed: see Restart.
func (j *Journal) Complete(base int64, e PartitionEnd, gone func() bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state.Ends[base] == e || gone() {
		return nil
	}
	return j.note(End, base, e.End, e.Messages, e.Batches, e.First, e.Last)
}

// Grows forgets what was noted of a partition, which is not complete after all. The
// next note of it says otherwise than the one in the file.
func (j *Journal) Grows(base int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.state.Ends, base)
}

// Close notes that the log is wholly synced and ends at next, with what its newest
// partition holds, and makes that durable.
func (j *Journal) Close(next int64, head Totals) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.note(Clean, next, head.Messages, head.Batches, head.First, head.Last); err != nil {
		return err
	}
	return j.syncFile()
}

// IsClosed reports whether Close has noted just that, and all is synced.
func (j *Journal) IsClosed(next int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.Clean && j.state.Synced == next && !j.dirty
}

// Head returns what the newest partition holds if it ends there, as Close has noted it.
func (j *Journal) Head(end int64) (head Totals, known bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.Head, j.state.Clean && j.state.Synced == end
}

// Recount takes back what Close has noted of the newest partition: it is counted anew.
func (j *Journal) Recount() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.state.Clean {
		return nil
	}
	return j.note(Synced, j.state.Synced)
}

// Trimmed returns what was removed: the oldest offset that is left, and the messages
// and batches before it.
func (j *Journal) Trimmed() (oldest, messages, batches int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := &j.state.Trimmed
	return t.Oldest, t.Messages, t.Batches
}

// Sync makes all records durable, and the file's name.
func (j *Journal) Sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.sync()
}

// sync is Sync for a caller who holds mu. A failure is final, as that of any sync is.
func (j *Journal) sync() error {
	if err := j.Unsyncable(); err != nil {
		return err
	}
	err := j.syncFile()
	if err != nil && !files.NoDescriptor(err) {
		return j.Failed(err)
	}
	if err == nil && j.unnamed {
		err = j.SyncFolder()
		j.unnamed = err != nil
	}
	return err
}

// Compact writes the journal anew if its file is longer than most. renew is given the
// state, puts a durable file that says the same in the place of the old one, and
// returns its size.
func (j *Journal) Compact(most int64, renew func(*State) (size int64, err error)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.size <= most {
		return nil
	}
	_, err := j.replace(&j.state, renew)
	return err
}

// Restart makes the journal that of a log that is about to be emptied and to begin at
// base, see State.Restart, with a new file, see Compact. If it reports false nothing has
// changed. Otherwise an error tells that it is not durable. In between emptied is
// called, before others see the new state: what it makes of the log is what those are
// told who ask whether something is gone.
func (j *Journal) Restart(base int64, renew func(*State) (size int64, err error), emptied func()) (replaced bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.state
	s.Restart(base)
	if replaced, err = j.replace(&s, renew); !replaced {
		return false, err
	}
	j.state, j.shown = s, nil
	emptied()
	j.publish()
	return true, err
}

// replace puts a new file in the place of the journal's, and reports whether it did.
// Caller holds mu.
func (j *Journal) replace(s *State, renew func(*State) (size int64, err error)) (replaced bool, err error) {
	size, err := renew(s)
	if err != nil {
		return false, err
	}
	j.File.Replaced()
	j.size, j.dirty, j.untold = size, false, false
	err = j.SyncFolder()
	j.unnamed = err != nil
	return true, err
}

// append adds records to the file without syncing them.
func (j *Journal) append(records []byte) error {
	f, err := j.File.Acquire(files.ToCreate)
	if err != nil {
		return err
	}
	defer j.File.Release()
	if _, err := f.WriteAt(records, j.size); err != nil {
		return err
	}
	j.size += int64(len(records))
	j.dirty = true
	return nil
}

// syncFile makes the records durable, though not the file's name.
func (j *Journal) syncFile() error {
	f, err := j.File.Acquire(files.ToWrite)
	if err != nil {
		return err
	}
	defer j.File.Release()
	if err := f.Sync(); err != nil {
		return err
	}
	j.dirty = false
	return nil
}
