package commitlog

import (
	"errors"
	"io/fs"
	"time"

	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// INVARIANT: a cache of numbered batches never speaks of batches that are not
// there, and of which others may have taken the place by the time it is read. It is
// written of what is on stable storage, so no crash leaves such a one; it is
// removed before the log is cut off; and where the log comes back shorter all the
// same, from a disk that lies or an older copy, it is removed before anything is
// appended (checkCache). It need not be durable itself.

// A cache is written when a partition was begun, when the log is so many bytes
// longer than what the last one is good for, or when no numbered batch has come
// for a while.
const (
	keepBytes = 16 << 20
	keepAfter = 5 * time.Second
)

// NumbersUsed returns when the table was last used, in ms, and whether there is one.
func (l *Log) NumbersUsed() (millis int64, has bool) {
	return l.numbers.used.Load(), l.numbers.made.Load() != nil
}

// DropNumbers lets go of the table, unless somebody is writing: then it returns false.
func (l *Log) DropNumbers() bool {
	if !l.writer.TryLock() {
		return false
	}
	defer l.writer.Unlock()
	l.numbers.letGo()
	return true
}

// KeepNumbers writes the cache of the log's table if it is time to, or anyway if
// there is something new. It returns the memory that the table takes, and whether
// to look again: it does not wait for who writes to the log, whose disk may hang
// while those of others do not.
func (l *Log) KeepNumbers(now time.Time, anyway bool) (bytes int64, again bool) {
	nb := &l.numbers
	if !nb.keeping.TryLock() {
		return nb.bytes.Load(), true
	}
	defer nb.keeping.Unlock()
	if !l.writer.TryLock() {
		return nb.bytes.Load(), true
	}
	l.checkNumbers()
	if nb.table == nil {
		l.writer.Unlock()
		return 0, false
	}
	bytes = nb.table.Bytes()
	nb.bytes.Store(bytes)
	next := l.next.Load()
	due := anyway || nb.rolled || next-nb.saved.Load() >= keepBytes || now.UnixMilli()-nb.numbered >= keepAfter.Milliseconds()
	if nb.snapshot == nil && nb.numbered > 0 && due {
		nb.snapshot, nb.snapAt = l.numbersCache(), next
		nb.numbered, nb.rolled = 0, false
	}
	cache, at := nb.snapshot, nb.snapAt
	if cache != nil && l.synced.Load() >= at {
		nb.snapshot = nil
	} else {
		again = cache != nil || nb.numbered > 0
		cache = nil
	}
	l.writer.Unlock()
	if cache == nil {
		return bytes, again
	}
	if err := l.writeNumbers(cache); err != nil {
		l.store.Logger.Debug("cache of numbered batches not written", "topic", l.name, "err", err)
		return bytes, again
	}
	nb.saved.Store(max(nb.saved.Load(), at))
	return bytes, false // who has stored more meanwhile has asked for another pass
}

// numbersCache returns the cache of the table. Caller holds writer.
func (l *Log) numbersCache() []byte {
	next := l.next.Load()
	aside := *l.numbers.made.Load() // not what is known by now
	return l.numbers.table.AppendCache(nil, producers.Origin{Topic: l.id, Offset: next, Damage: damageBefore(aside, next)})
}

// closeNumbers writes the cache of a log that is closed and wholly synced. Caller
// holds writer.
func (l *Log) closeNumbers() {
	nb := &l.numbers
	l.checkNumbers()
	if nb.table == nil || nb.numbered == 0 && nb.snapshot == nil {
		return
	}
	if err := l.writeNumbers(l.numbersCache()); err != nil {
		l.store.Logger.Debug("cache of numbered batches not written", "topic", l.name, "err", err)
	}
	nb.letGo()
}

// writeNumbers replaces the file of the cache. It is not made durable: one that
// did not reach the disk whole has a wrong checksum.
func (l *Log) writeNumbers(b []byte) error {
	if err := l.folder.Enter(); err != nil {
		return err
	}
	defer l.folder.Leave()
	fsys, name := l.store.FS, layout.ProducersFile(l.dir())
	f, err := fsys.OpenFile(name+".new", vfs.ReadWrite|vfs.Create|vfs.Truncate, l.store.FileMode)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(name+".new", name)
	}
	if err != nil {
		fsys.Remove(name + ".new") // what is left of it is overwritten by the next
	}
	return err
}

// removeNumbers removes the cache, durably: the log is about to go on with other
// batches. The file is emptied first: a kill before its removal leaves one that is
// found, and removed, by the next start, and a power cut after it brings an empty
// one back.
func (l *Log) removeNumbers() error {
	fsys, name := l.store.FS, layout.ProducersFile(l.dir())
	f, err := fsys.OpenFile(name, vfs.ReadWrite, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, vfs.ErrNotRegular) {
		return nil
	}
	if err != nil {
		return err
	}
	if err = f.Truncate(0); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.SyncDir(l.dir()) // the name may have led to an older one
	}
	if err == nil {
		err = fsys.Remove(name)
	}
	return err
}

// checkCache removes the cache of a log that was recovered if it speaks of more than
// the log has, or may do so: by the time it is read the log may be longer again, and
// not with the same batches.
func (l *Log) checkCache() error {
	name := layout.ProducersFile(l.dir())
	head, err := readHead(l.store.FS, name, producers.HeaderLen)
	if files.Shortage(err) {
		return err
	}
	var o producers.Origin
	if err == nil {
		o, err = producers.ParseHeader(head)
	}
	next := l.next.Load()
	switch {
	case err != nil:
		l.store.Logger.Debug("cache of numbered batches is removed: it can't be read", "topic", l.name, "file", name, "err", err)
	case o.Offset <= next && o.Topic == l.id:
		return nil
	default:
		l.store.Logger.Warn("cache of numbered batches is removed, and they are read from the log: it is of a longer log, or of another one",
			"topic", l.name, "file", name, "offset", o.Offset, "next", next)
	}
	return l.removeNumbers()
}

// readHead reads the first n bytes of a file.
func readHead(fsys vfs.FS, name string, n int) ([]byte, error) {
	f, err := fsys.OpenFile(name, vfs.ReadOnly, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, n)
	return b, vfs.ReadFull(f, b, 0)
}
