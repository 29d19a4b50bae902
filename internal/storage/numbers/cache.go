package numbers

import (
	"errors"
	"fmt"
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
// appended (CheckCache). It need not be durable itself.

// A cache is written when a partition was begun, when the log is so many bytes
// longer than what the last one is good for, or when no numbered batch has come
// for a while.
const (
	keepBytes = 16 << 20
	keepAfter = 5 * time.Second
)

// keep writes the cache of the table if it is time to, or anyway if there is
// something new. It returns the memory that the table takes, and whether to look
// again: it does not wait for who writes to the log, whose disk may hang while those
// of others do not.
func (b *Book) keep(now time.Time, anyway bool) (bytes int64, again bool) {
	if !b.Keeping.TryLock() {
		return b.bytes.Load(), true
	}
	defer b.Keeping.Unlock()
	if !b.Writer.TryLock() {
		return b.bytes.Load(), true
	}
	b.Check()
	if b.table == nil {
		b.Writer.Unlock()
		return 0, false
	}
	bytes = b.table.Bytes()
	b.bytes.Store(bytes)
	next := b.Log.Next()
	due := anyway || b.rolled || next-b.saved.Load() >= keepBytes || now.UnixMilli()-b.numbered >= keepAfter.Milliseconds()
	if b.snapshot == nil && b.numbered > 0 && due {
		b.snapshot, b.snapAt = b.cache(), next
		b.numbered, b.rolled = 0, false
	}
	cache, at := b.snapshot, b.snapAt
	if cache != nil && b.Log.Synced() >= at {
		b.snapshot = nil
	} else {
		again = cache != nil || b.numbered > 0
		cache = nil
	}
	b.Writer.Unlock()
	if cache == nil {
		return bytes, again
	}
	if !b.writeCache(cache) {
		return bytes, again
	}
	b.saved.Store(max(b.saved.Load(), at))
	return bytes, false // who has stored more meanwhile has asked for another pass
}

// Close writes the cache of a log that is closed and wholly synced. Caller holds Writer.
func (b *Book) Close() {
	b.Check()
	if b.table == nil || b.numbered == 0 && b.snapshot == nil {
		return
	}
	b.writeCache(b.cache())
	b.letGo()
}

// cache returns the cache of the table. Caller holds Writer.
func (b *Book) cache() []byte {
	next := b.Log.Next()
	aside := *b.made.Load() // not what is known by now
	return b.table.AppendCache(nil, producers.Origin{Topic: b.Log.ID(), Offset: next, Damage: damageBefore(aside, next)})
}

// writeCache replaces the file of the cache, and reports whether it did.
func (b *Book) writeCache(cache []byte) bool {
	err := b.replaceCache(cache)
	if err != nil {
		b.Keeper.Logger.Debug("cache of numbered batches not written", "topic", b.Log.Name(), "err", err)
	}
	return err == nil
}

// replaceCache does not make the file durable: one that did not reach the disk whole
// has a wrong checksum.
func (b *Book) replaceCache(cache []byte) error {
	if err := b.Folder.Enter(); err != nil {
		return err
	}
	defer b.Folder.Leave()
	fsys, name := b.Keeper.FS, b.file()
	f, err := fsys.OpenFile(name+".new", vfs.ReadWrite|vfs.Create|vfs.Truncate, b.Keeper.FileMode)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(cache, 0)
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(name+".new", name)
	}
	if err != nil {
		fsys.Remove(name + ".new") // what is left of it is overwritten by the next
	}
	return err
}

// file returns the name of the cache's file.
func (b *Book) file() string { return layout.ProducersFile(b.Folder.Path()) }

// RemoveCache removes the cache, durably: the log is about to go on with other
// batches. The file is emptied first: a kill before its removal leaves one that is
// found, and removed, by the next start, and a power cut after it brings an empty
// one back.
func (b *Book) RemoveCache() error {
	fsys, name := b.Keeper.FS, b.file()
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
		err = fsys.SyncDir(b.Folder.Path()) // the name may have led to an older one
	}
	if err == nil {
		err = fsys.Remove(name)
	}
	return err
}

// CheckCache removes the cache of a log that was recovered if it speaks of more than
// the log has, or may do so: by the time it is read the log may be longer again, and
// not with the same batches.
func (b *Book) CheckCache() error {
	head, err := b.readHead()
	if files.Shortage(err) {
		return err
	}
	var o producers.Origin
	if err == nil {
		o, err = producers.ParseHeader(head)
	}
	next := b.Log.Next()
	switch {
	case err != nil:
		b.Keeper.Logger.Debug("cache of numbered batches is removed: it can't be read", "topic", b.Log.Name(), "file", b.file(), "err", err)
	case o.Offset <= next && o.Topic == b.Log.ID():
		return nil
	default:
		b.Keeper.Logger.Warn("cache of numbered batches is removed, and they are read from the log: it is of a longer log, or of another one",
			"topic", b.Log.Name(), "file", b.file(), "offset", o.Offset, "next", next)
	}
	return b.RemoveCache()
}

// readHead reads the header of the cache.
func (b *Book) readHead() ([]byte, error) {
	f, err := b.Keeper.FS.OpenFile(b.file(), vfs.ReadOnly, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, producers.HeaderLen)
	return head, vfs.ReadFull(f, head, 0)
}

// readCache reads the cache, if it is there and is of this log as it is, with what
// is set aside, and returns the offset that it is good for.
func (b *Book) readCache(aside []layout.Range, window int64) (*producers.Table, int64) {
	if b.Folder.Enter() != nil {
		return nil, 0 // deleted
	}
	defer b.Folder.Leave()
	cache, err := vfs.ReadFile(b.Keeper.FS, b.file(), producers.MaxCacheLen(window))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0
	}
	var t *producers.Table
	var o producers.Origin
	if err == nil {
		t, o, err = producers.ParseCache(cache)
	}
	switch {
	case err != nil:
	case o.Topic != b.Log.ID():
		err = errors.New("it is of another topic")
	case o.Window != window:
		err = fmt.Errorf("it was made with %d batches", o.Window)
	case o.Offset > b.Log.Next() || o.Oldest > b.Log.Begin() || o.Damage != damageBefore(aside, o.Offset):
		err = errors.New("the log is another one")
	default:
		return t, o.Offset
	}
	b.Keeper.Logger.Debug("cache of numbered batches is not used", "topic", b.Log.Name(), "file", b.file(), "err", err)
	return nil, 0
}
