package backlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/durable"
)

// DiskConfig says where a Disk is and how large it may be. The
// zero value of a field is its documented default.
type DiskConfig struct {
	// Path is the backlog's file, in a folder that exists. There is no default.
	Path string
	// MaxBytes bounds the file, which holds some bytes more than the batches,
	// and for up to a quarter of MaxBytes batches that were delivered. While
	// these are cleared out there are two files. Default 256 MiB; it must have
	// room for a batch of 64 KiB.
	MaxBytes int64
	// NoSync leaves it to the operating system when a batch gets to the disk:
	// it then outlives the process, but perhaps not a power cut. Default: a
	// batch is on stable storage before it counts as kept.
	NoSync bool
	// FileMode is the mode of a file that is made. Default 0600.
	FileMode os.FileMode
}

const (
	// diskRest is what the file may need beside a batch: its name, the
	// headers of two records, and a reason.
	diskRest = 4 << 10
	minDisk  = 64<<10 + diskRest
)

// Validate returns an error that names the field, its value and the allowed
// range if there can be no such backlog.
func (cfg *DiskConfig) Validate() error {
	switch {
	case cfg.Path == "":
		return errors.New(`logd: backlog.DiskConfig.Path is "": want the name of a file`)
	case cfg.MaxBytes != 0 && cfg.MaxBytes < minDisk:
		return fmt.Errorf("logd: backlog.DiskConfig.MaxBytes is %d: want 0 (the default) or at least %d", cfg.MaxBytes, minDisk)
	case cfg.FileMode&^os.ModePerm != 0:
		return fmt.Errorf("logd: backlog.DiskConfig.FileMode is %v: want permissions alone", cfg.FileMode)
	case cfg.FileMode != 0 && cfg.FileMode&0o600 != 0o600:
		return fmt.Errorf("logd: backlog.DiskConfig.FileMode is %v: want at least 0600", cfg.FileMode)
	}
	return nil
}

// Disk is a [Backlog] in a file: what one process could not deliver, the
// next one does.
//
// The file has a record for each batch and for each delivery, with checksums,
// and is only appended to; it is emptied when all is delivered, and rewritten
// (a new file takes its place at once) where delivered batches take too much
// room. A crash at any moment leaves all batches that were kept, and
// at most one that was just coming in torn. Open cuts a torn end off, but
// keeps its bytes beside the file, and says so ([Disk.Torn]; a Writer
// tells its OnError). A file that is damaged in any other way is not
// opened and not changed.
//
// Deliveries are not synced before the last one: after a power cut, the batches
// delivered last may be sent again. A server knows them by their numbers.
//
// Two processes do not use one file at once, on systems that have flock.
type Disk struct {
	cfg DiskConfig

	tornPath  string
	tornBytes int64

	// io is held while the file is read, by any number of readers, or written, and
	// taken before mu.
	io     sync.RWMutex
	file   *os.File
	size   int64 // of the file
	seq    int64
	buf    []byte
	broken error // why the file takes no more writes

	// mu is held for moments only, never while a file is read or written.
	mu      sync.Mutex
	user    user
	closed  bool
	warning error
	// What is kept is changed under both locks; either is enough to read it.
	kept      []keptRecord
	keptBytes int64  // their records' length
	batches   int64  // their batches' length
	owner     string // the topic
}

// OpenDisk opens the backlog in the file, which is made if need be.
//
// Errors to test for: ErrDamaged, ErrVersion, ErrInUse,
// and those of package os.
func OpenDisk(cfg DiskConfig) (*Disk, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 256 << 20
	}
	if cfg.FileMode == 0 {
		cfg.FileMode = 0o600
	}
	b := &Disk{cfg: cfg}
	if err := b.open(); err != nil {
		if b.file != nil {
			durable.CloseLocked(b.file)
		}
		return nil, fmt.Errorf("logd: open backlog %s: %w", cfg.Path, err)
	}
	return b, nil
}

func (b *Disk) open() error {
	var err error
	if b.file, err = durable.OpenLocked(b.cfg.Path); errors.Is(err, os.ErrNotExist) {
		b.file, err = b.create(nil, true)
		if err == nil {
			err = durable.SyncFolder(b.cfg.Path)
		}
	}
	if errors.Is(err, durable.ErrLocked) {
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	if err != nil {
		return err
	}
	info, err := b.file.Stat()
	if err != nil {
		return err
	}
	scan, err := scanFile(b.file, info.Size())
	if err != nil {
		return err
	}
	durable.Clean(b.cfg.Path)
	b.kept, b.seq, b.owner, b.size = scan.kept, scan.seq, scan.topic, info.Size()
	if scan.end < b.size {
		if err := b.cutTorn(scan.end); err != nil {
			return err
		}
	}
	for i := range b.kept {
		b.keptBytes += b.kept[i].len()
		b.batches += b.kept[i].batchLen
	}
	if err := b.empty(); err != nil {
		return err
	}
	// What is served must not vanish: it may come from a process that died
	// before its sync.
	if b.cfg.NoSync {
		return nil
	}
	return b.file.Sync()
}

// create makes a file with these records take the backlog's place, and returns
// it. If only is set, it takes no place that is taken. The folder is not synced.
func (b *Disk) create(records func(*os.File) error, only bool) (_ *os.File, err error) {
	temp, err := durable.Create(b.cfg.Path, b.cfg.FileMode)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			temp.Close()
			os.Remove(temp.Name())
		}
	}()
	if err := durable.Lock(temp); err != nil {
		return nil, err
	}
	if _, err := temp.WriteString(backlogName + backlogVersion); err != nil {
		return nil, err
	}
	if records != nil {
		if err := records(temp); err != nil {
			return nil, err
		}
	}
	if err := temp.Sync(); err != nil {
		return nil, err
	}
	if !only {
		return temp, durable.Place(temp, b.cfg.Path)
	}
	if err := durable.PlaceNew(temp, b.cfg.Path); errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%w: another process has just made it", ErrInUse)
	} else if err != nil {
		return nil, err
	}
	return temp, nil
}

// cutTorn moves the torn end of the file, from end on, into a file beside it.
func (b *Disk) cutTorn(end int64) error {
	var aside *os.File
	var err error
	for n := 1; n < 10000; n++ {
		aside, err = os.OpenFile(b.cfg.Path+".torn-"+strconv.Itoa(n), os.O_WRONLY|os.O_CREATE|os.O_EXCL, b.cfg.FileMode)
		if !errors.Is(err, os.ErrExist) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("its end is torn, and cannot be kept aside: %w", err)
	}
	defer aside.Close()
	n, err := io.Copy(aside, io.NewSectionReader(b.file, end, b.size-end))
	if err == nil && !b.cfg.NoSync {
		if err = aside.Sync(); err == nil {
			err = durable.SyncFolder(b.cfg.Path)
		}
	}
	if err == nil {
		err = b.file.Truncate(end)
	}
	if err != nil {
		return fmt.Errorf("its end is torn, and cannot be kept aside: %w", err)
	}
	b.size, b.tornPath, b.tornBytes = end, aside.Name(), n
	b.warning = fmt.Errorf("logd: backlog %s: a batch was just coming in when the process before this one ended; its %d bytes are in %s",
		b.cfg.Path, n, b.tornPath)
	return nil
}

// Torn returns what Open has cut off: the name of the file where it is, and
// its length; "" and 0 if nothing was torn.
func (b *Disk) Torn() (path string, bytes int64) { return b.tornPath, b.tornBytes }

// Len returns how many batches are kept.
func (b *Disk) Len() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(len(b.kept))
}

// Bytes returns the length of the kept batches. The file is longer.
func (b *Disk) Bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.batches
}

// All returns what is kept, oldest first; what is delivered meanwhile may be
// missing, and what comes in may be there. An error ends it.
func (b *Disk) All() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var seq int64
		for {
			e, next, err := b.after(seq)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if next == 0 || !yield(e, nil) {
				return
			}
			seq = next
		}
	}
}

// after returns the first kept batch behind the one with this number, and its
// number, 0 if there is none.
func (b *Disk) after(seq int64) (Entry, int64, error) {
	b.io.RLock()
	defer b.io.RUnlock()
	i := b.index(seq + 1)
	if i == len(b.kept) {
		return Entry{}, 0, nil
	}
	rec, err := b.read(i, nil)
	if err != nil {
		return Entry{}, 0, err
	}
	e, err := rec.entry()
	return e, rec.seq, err
}

// index returns the index of the first kept record whose number is seq or greater.
// Caller holds io.
func (b *Disk) index(seq int64) int {
	i, _ := slices.BinarySearchFunc(b.kept, seq, func(k keptRecord, seq int64) int { return cmp.Compare(k.seq, seq) })
	return i
}

// read reads the i-th kept record. Caller holds io.
func (b *Disk) read(i int, buf []byte) (record, error) {
	if b.file == nil {
		return record{buf: buf}, ErrClosed
	}
	rec, err := readRecord(b.file, b.kept[i].pos, b.size, buf)
	if err == nil && rec.recordHeader != b.kept[i].recordHeader {
		err = fmt.Errorf("%w at %d: it is another one than before", errRecord, rec.pos)
	}
	if errors.Is(err, errRecord) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		err = fmt.Errorf("backlog %s: %w", b.cfg.Path, err)
	}
	return rec, err
}

// Close closes the file, which stays.
func (b *Disk) Close() error {
	b.io.Lock()
	defer b.io.Unlock()
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	if b.file == nil {
		return nil
	}
	err := durable.CloseLocked(b.file)
	b.file = nil
	return err
}

// MaxBatch returns the length of the largest batch that fits into the file.
func (b *Disk) MaxBatch() int64 { return b.cfg.MaxBytes - diskRest }

// Messages returns how many messages are kept.
func (b *Disk) Messages() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.kept {
		n += b.kept[i].messages
	}
	return n
}

// Topic returns whose batches are kept, "" if there are none.
func (b *Disk) Topic() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kept) == 0 {
		return ""
	}
	return b.owner
}

// Claim makes the caller the one Writer.
func (b *Disk) Claim() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	return b.user.claim()
}

// Release ends what Claim began.
func (b *Disk) Release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.user.claimed = false
}

// Warning returns what a person should know of what Open met, the first time that
// it is called, and then nil: that the file's end was torn.
func (b *Disk) Warning() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	warning := b.warning
	b.warning = nil
	return warning
}

// Next returns the next batch: see [Backlog].
func (b *Disk) Next(after int64, buf []byte) (seq int64, raw []byte, err error) {
	b.io.RLock()
	defer b.io.RUnlock()
	i := b.index(after + 1)
	if i == len(b.kept) {
		return 0, buf, nil
	}
	rec, err := b.read(i, buf)
	if err != nil {
		return 0, buf, err
	}
	// The batch moves to the front, so that all of the memory comes back.
	n := copy(rec.buf, rec.buf[rec.reasonLen:])
	return rec.seq, rec.buf[:n], nil
}

// Front returns the oldest batch, and false if there is none. The batch stays.
func (b *Disk) Front() (e Entry, ok bool, err error) {
	e, seq, err := b.after(0)
	return e, seq != 0, err
}

// Drop forgets the oldest batch, which was delivered. With an error it is
// forgotten until the backlog is opened again.
func (b *Disk) Drop() error {
	b.io.Lock()
	defer b.io.Unlock()
	if len(b.kept) == 0 {
		return nil
	}
	return b.deliver(0)
}

// Delivered forgets the batch.
func (b *Disk) Delivered(seq int64) error {
	b.io.Lock()
	defer b.io.Unlock()
	i := b.index(seq)
	if i == len(b.kept) || b.kept[i].seq != seq {
		return nil
	}
	return b.deliver(i)
}

// deliver forgets the i-th kept batch. Caller holds io.
func (b *Disk) deliver(i int) error {
	seq := b.kept[i].seq
	b.mu.Lock()
	b.keptBytes -= b.kept[i].len()
	b.batches -= b.kept[i].batchLen
	b.kept = without(b.kept, i)
	b.mu.Unlock()
	if len(b.kept) == 0 {
		return b.empty()
	}
	return b.append(appendDeliveredRecord(b.buf[:0], seq, time.Now()), false)
}

// Put keeps a batch. It is as durable on return as the configuration says.
func (b *Disk) Put(e *Entry) error {
	b.io.Lock()
	defer b.io.Unlock()
	if len(b.kept) > 0 {
		if err := wrongTopic(b.owner, e.Raw); err != nil {
			return fmt.Errorf("logd: backlog %s: %w", b.cfg.Path, err)
		}
	}
	b.buf = appendBatchRecord(b.buf[:0], b.seq+1, e)
	n := int64(len(b.buf))
	// Each batch that is kept needs room for the record of its delivery, too.
	room := b.cfg.MaxBytes - recordHeaderLen*int64(len(b.kept)+1)
	if n > room-b.size {
		// Rewriting costs as much as what is kept, so it must win something.
		if b.size-b.keptBytes < b.cfg.MaxBytes/4 || n > room-b.keptBytes-int64(len(backlogName+backlogVersion)) {
			return fmt.Errorf("%w: %s: %d bytes, %d of %d are taken", ErrFull, b.cfg.Path, n, b.size, b.cfg.MaxBytes)
		}
		if err := b.compact(); err != nil {
			return fmt.Errorf("backlog %s: %w", b.cfg.Path, err)
		}
	}
	pos := b.size
	if err := b.append(b.buf, !b.cfg.NoSync); err != nil {
		return err
	}
	h, _ := parseRecordHeader(b.buf)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kept) == 0 {
		raw := b.buf[recordHeaderLen+h.reasonLen:]
		b.owner = topicOf(raw)
	}
	b.kept = append(b.kept, keptRecord{recordHeader: h, pos: pos, messages: e.Messages})
	b.keptBytes += n
	b.batches += h.batchLen
	b.seq = h.seq
	return nil
}

// append writes a record at the end of the file. What it can't write whole it
// cuts off again. If that fails, or syncing does, the file takes no more.
// Caller holds io.
func (b *Disk) append(rec []byte, sync bool) error {
	b.buf = rec
	if b.file == nil {
		return ErrClosed
	}
	if b.broken != nil {
		return b.broken
	}
	if _, err := b.file.WriteAt(rec, b.size); err != nil {
		if cut := b.file.Truncate(b.size); cut != nil {
			return b.breaks(fmt.Errorf("%w; %w", err, cut))
		}
		return fmt.Errorf("backlog %s: %w", b.cfg.Path, err)
	}
	if sync {
		if err := b.file.Sync(); err != nil {
			if cut := b.file.Truncate(b.size); cut != nil {
				err = fmt.Errorf("%w; %w", err, cut)
			}
			return b.breaks(err)
		}
	}
	b.size += int64(len(rec))
	return nil
}

// breaks ends writing to the file until it is opened again. Caller holds io.
func (b *Disk) breaks(err error) error {
	b.broken = fmt.Errorf("backlog %s takes no more: %w", b.cfg.Path, err)
	return b.broken
}

// empty cuts everything off if nothing is kept. Caller holds io.
func (b *Disk) empty() error {
	name := int64(len(backlogName + backlogVersion))
	if len(b.kept) > 0 || b.size == name || b.broken != nil {
		return b.broken
	}
	if b.file == nil {
		return ErrClosed
	}
	err := b.file.Truncate(name)
	if err == nil && !b.cfg.NoSync {
		// The next batch goes where the first one was. Were its bytes to get to
		// the disk before the new length does, what is left of the others
		// behind them would look like damage.
		err = b.file.Sync()
	}
	if err != nil {
		return b.breaks(err)
	}
	b.size = name
	return nil
}
