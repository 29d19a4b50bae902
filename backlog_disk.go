package logd

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/durable"
)

// DiskBacklogConfig says where a DiskBacklog is and how large it may be. The
// zero value of a field is its documented default.
type DiskBacklogConfig struct {
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
	// diskBacklogRest is what the file may need beside a batch: its name, the
	// headers of two records, and a reason.
	diskBacklogRest = 4 << 10
	minDiskBacklog  = 64<<10 + diskBacklogRest
)

// Validate returns an error that names the field, its value and the allowed
// range if there can be no such backlog.
func (cfg *DiskBacklogConfig) Validate() error {
	switch {
	case cfg.Path == "":
		return errors.New(`logd: DiskBacklogConfig.Path is "": want the name of a file`)
	case cfg.MaxBytes != 0 && cfg.MaxBytes < minDiskBacklog:
		return fmt.Errorf("logd: DiskBacklogConfig.MaxBytes is %d: want 0 (the default) or at least %d", cfg.MaxBytes, minDiskBacklog)
	case cfg.FileMode&^os.ModePerm != 0:
		return fmt.Errorf("logd: DiskBacklogConfig.FileMode is %v: want permissions alone", cfg.FileMode)
	case cfg.FileMode != 0 && cfg.FileMode&0o600 != 0o600:
		return fmt.Errorf("logd: DiskBacklogConfig.FileMode is %v: want at least 0600", cfg.FileMode)
	}
	return nil
}

// DiskBacklog is a [Backlog] in a file: what one process could not deliver, the
// next one does.
//
// The file has a record for each batch and for each delivery, with checksums,
// and is only appended to; it is emptied when all is delivered, and rewritten
// (a new file takes its place at once) where delivered batches take too much
// room. A crash at any moment leaves all batches that were kept, and
// at most one that was just coming in torn. Open cuts a torn end off, but
// keeps its bytes beside the file, and says so ([DiskBacklog.Torn]; a Writer
// tells its OnError). A file that is damaged in any other way is not
// opened and not changed.
//
// Deliveries are not synced before the last one: after a power cut, the batches
// delivered last may be delivered again.
//
// Two processes do not use one file at once, on systems that have flock.
type DiskBacklog struct {
	cfg DiskBacklogConfig

	mu        sync.Mutex
	user      user
	file      *os.File
	size      int64 // of the file
	kept      []keptRecord
	keptBytes int64 // their records' length
	batches   int64 // their batches' length
	cursor    int   // in kept: what next returns
	seq       int64
	owner     string // the topic
	buf       []byte
	broken    error // why the file takes no more writes
	warn      error
	tornPath  string
	tornBytes int64
}

// OpenDiskBacklog opens the backlog in the file, which is made if need be.
//
// Errors to test for: ErrBacklogDamaged, ErrBacklogVersion, ErrBacklogInUse,
// and those of package os.
func OpenDiskBacklog(cfg DiskBacklogConfig) (*DiskBacklog, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	setDefault(&cfg.MaxBytes, 256<<20)
	setDefault(&cfg.FileMode, 0o600)
	b := &DiskBacklog{cfg: cfg}
	if err := b.open(); err != nil {
		if b.file != nil {
			durable.CloseLocked(b.file)
		}
		return nil, fmt.Errorf("logd: open backlog %s: %w", cfg.Path, err)
	}
	return b, nil
}

func (b *DiskBacklog) open() error {
	var err error
	if b.file, err = durable.OpenLocked(b.cfg.Path); errors.Is(err, os.ErrNotExist) {
		b.file, err = b.create(nil, true)
		if err == nil {
			err = durable.SyncFolder(b.cfg.Path)
		}
	}
	if errors.Is(err, durable.ErrLocked) {
		return fmt.Errorf("%w: %w", ErrBacklogInUse, err)
	}
	if err != nil {
		return err
	}
	info, err := b.file.Stat()
	if err != nil {
		return err
	}
	scan, err := scanBacklog(b.file, info.Size())
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
func (b *DiskBacklog) create(records func(*os.File) error, only bool) (_ *os.File, err error) {
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
		return nil, fmt.Errorf("%w: another process has just made it", ErrBacklogInUse)
	} else if err != nil {
		return nil, err
	}
	return temp, nil
}

// cutTorn moves the torn end of the file, from end on, into a file beside it.
func (b *DiskBacklog) cutTorn(end int64) error {
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
	b.warn = fmt.Errorf("logd: backlog %s: a batch was just coming in when the process before this one ended; its %d bytes are in %s",
		b.cfg.Path, n, b.tornPath)
	return nil
}

// Torn returns what Open has cut off: the name of the file where it is, and
// its length; "" and 0 if nothing was torn.
func (b *DiskBacklog) Torn() (path string, bytes int64) { return b.tornPath, b.tornBytes }

// Len returns how many batches are kept.
func (b *DiskBacklog) Len() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(len(b.kept))
}

// Bytes returns the length of the kept batches. The file is longer.
func (b *DiskBacklog) Bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.batches
}

// All returns what is kept, oldest first; what is delivered meanwhile may be
// missing. The loop must not call the Backlog's methods. An error ends it.
func (b *DiskBacklog) All() iter.Seq2[BacklogEntry, error] {
	return func(yield func(BacklogEntry, error) bool) {
		var seq int64
		for {
			e, next, err := b.after(seq)
			if err != nil {
				yield(BacklogEntry{}, err)
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
func (b *DiskBacklog) after(seq int64) (BacklogEntry, int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.kept {
		if b.kept[i].seq > seq {
			rec, err := b.read(i, nil)
			if err != nil {
				return BacklogEntry{}, 0, err
			}
			e, err := rec.entry()
			return e, rec.seq, err
		}
	}
	return BacklogEntry{}, 0, nil
}

// read reads the i-th kept record. Caller holds mu.
func (b *DiskBacklog) read(i int, buf []byte) (record, error) {
	if b.file == nil {
		return record{buf: buf}, ErrBacklogClosed
	}
	rec, err := readRecord(b.file, b.kept[i].pos, b.size, buf)
	if err == nil && rec.recordHeader != b.kept[i].recordHeader {
		err = fmt.Errorf("%w at %d: it is another one than before", errRecord, rec.pos)
	}
	if errors.Is(err, errRecord) {
		err = fmt.Errorf("%w: %w", ErrBacklogDamaged, err)
	}
	if err != nil {
		err = fmt.Errorf("backlog %s: %w", b.cfg.Path, err)
	}
	return rec, err
}

// Close closes the file, which stays.
func (b *DiskBacklog) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == nil {
		return nil
	}
	err := durable.CloseLocked(b.file)
	b.file = nil
	return err
}

func (b *DiskBacklog) room() int64 { return b.cfg.MaxBytes - diskBacklogRest }

func (b *DiskBacklog) messages() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.kept {
		n += b.kept[i].messages
	}
	return n
}

func (b *DiskBacklog) topic() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kept) == 0 {
		return ""
	}
	return b.owner
}

func (b *DiskBacklog) claim() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == nil {
		return ErrBacklogClosed
	}
	return b.user.claim()
}

func (b *DiskBacklog) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.user.claimed = false
}

func (b *DiskBacklog) warning() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	warn := b.warn
	b.warn = nil
	return warn
}

func (b *DiskBacklog) rewind() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cursor = 0
}

func (b *DiskBacklog) next(buf []byte) (seq int64, raw []byte, ok bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cursor == len(b.kept) {
		return 0, buf, false, nil
	}
	rec, err := b.read(b.cursor, buf)
	if err != nil {
		return 0, buf, false, err
	}
	b.cursor++
	// The batch moves to the front, so that all of the memory comes back.
	n := copy(rec.buf, rec.buf[rec.reasonLen:])
	return rec.seq, rec.buf[:n], true, nil
}

func (b *DiskBacklog) delivered(seq int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.kept {
		if b.kept[i].seq != seq {
			continue
		}
		b.keptBytes -= b.kept[i].len()
		b.batches -= b.kept[i].batchLen
		b.kept = without(b.kept, i)
		if i < b.cursor {
			b.cursor--
		}
		break
	}
	if len(b.kept) == 0 {
		return b.empty()
	}
	return b.append(appendDeliveredRecord(b.buf[:0], seq, time.Now()), false)
}

func (b *DiskBacklog) put(e *BacklogEntry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = appendBatchRecord(b.buf[:0], b.seq+1, e)
	n := int64(len(b.buf))
	// Each batch that is kept needs room for the record of its delivery, too.
	room := b.cfg.MaxBytes - recordHeaderLen*int64(len(b.kept)+1)
	if n > room-b.size {
		// Rewriting costs as much as what is kept, so it must win something.
		if b.size-b.keptBytes < b.cfg.MaxBytes/4 || n > room-b.keptBytes-int64(len(backlogName+backlogVersion)) {
			return fmt.Errorf("%w: %s: %d bytes, %d of %d are taken", ErrBacklogFull, b.cfg.Path, n, b.size, b.cfg.MaxBytes)
		}
		if err := b.rewrite(); err != nil {
			return fmt.Errorf("backlog %s: %w", b.cfg.Path, err)
		}
	}
	pos := b.size
	if err := b.append(b.buf, !b.cfg.NoSync); err != nil {
		return err
	}
	h, _ := parseRecordHeader(b.buf)
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
// Caller holds mu.
func (b *DiskBacklog) append(rec []byte, sync bool) error {
	b.buf = rec
	if b.file == nil {
		return ErrBacklogClosed
	}
	if b.broken != nil {
		return b.broken
	}
	if _, err := b.file.WriteAt(rec, b.size); err != nil {
		if cut := b.file.Truncate(b.size); cut != nil {
			return b.breaks(joined(err, cut))
		}
		return fmt.Errorf("backlog %s: %w", b.cfg.Path, err)
	}
	if sync {
		if err := b.file.Sync(); err != nil {
			return b.breaks(joined(err, b.file.Truncate(b.size)))
		}
	}
	b.size += int64(len(rec))
	return nil
}

// breaks ends writing to the file until it is opened again. Caller holds mu.
func (b *DiskBacklog) breaks(err error) error {
	b.broken = fmt.Errorf("backlog %s takes no more: %w", b.cfg.Path, err)
	return b.broken
}

// empty cuts everything off if nothing is kept. Caller holds mu.
func (b *DiskBacklog) empty() error {
	name := int64(len(backlogName + backlogVersion))
	if len(b.kept) > 0 || b.size == name || b.broken != nil {
		return b.broken
	}
	if b.file == nil {
		return ErrBacklogClosed
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

// rewrite replaces the file by one without what was delivered. Caller holds
// mu; the record in buf stays there.
func (b *DiskBacklog) rewrite() error {
	if b.broken != nil {
		return b.broken
	}
	name := int64(len(backlogName + backlogVersion))
	file, err := b.create(func(f *os.File) error {
		for i := range b.kept {
			from := io.NewSectionReader(b.file, b.kept[i].pos, b.kept[i].len())
			if n, err := io.Copy(f, from); err != nil {
				return err
			} else if n != b.kept[i].len() {
				return io.ErrUnexpectedEOF
			}
		}
		return nil
	}, false)
	if err != nil {
		return err
	}
	durable.CloseLocked(b.file)
	b.file, b.size = file, name
	for i := range b.kept {
		b.kept[i].pos = b.size
		b.size += b.kept[i].len()
	}
	if err := durable.SyncFolder(b.cfg.Path); err != nil {
		return b.breaks(err)
	}
	return nil
}
