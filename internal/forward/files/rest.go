package files

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/glob"
	"github.com/logd-dev/logd/internal/forward/identity"
)

// entry is a regular file in a folder.
type entry struct {
	path string
	key  key
	size int64
	// changed is as in glob.Found.
	changed int64
	head    uint64 // the hash of the first 1024 bytes, if headed
	// headed says that head was read; it has none if it is shorter.
	headed bool
}

func entryOf(f found) entry {
	return entry{path: f.Path, key: f.key, size: f.Size, changed: f.Changed}
}

// listing is what is in a folder, or why that is not known. A folder that does not exist
// has nothing.
type listing struct {
	entries []entry
	err     error
}

// entries returns what is in a folder, as it was when this scan looked first.
func (in *input) entries(dir string) *listing {
	if all, ok := in.folders[dir]; ok {
		return all
	}
	var all []entry
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		in.m.tell.say(sayAgain, slog.LevelWarn, dir, "can't be looked at; it is tried again", slog.String("input", in.name), slog.Any("error", err))
	}
	for _, e := range names {
		if e.Type()&fs.ModeType != 0 {
			continue
		}
		f, err := glob.Look(filepath.Join(dir, e.Name()))
		if err != nil || !f.Regular {
			continue
		}
		all = append(all, entryOf(found{f, key{f.Device, f.Inode}}))
	}
	if in.folders == nil {
		in.folders = make(map[string]*listing)
	}
	in.folders[dir] = &listing{all, err}
	return in.folders[dir]
}

// byInode looks for a file under another name.
func (in *input) byInode(t *tail) (*entry, error) {
	var err error
	for _, dir := range folders(&t.file) {
		list := in.entries(dir)
		for i := range list.entries {
			if e := &list.entries[i]; e.key == t.key {
				return e, nil
			}
		}
		err = errors.Join(err, list.err)
	}
	return nil, err
}

// byContent looks for a file with the same beginning and the same anchor, that nobody
// reads, of at least a size: in the folder of the file, and among those that were found and
// are not decided. Of several it is the longest. If there is none, but one of them was moved
// meanwhile, the error is errMoved.
func (in *input) byContent(t *tail, unknown []found, least int64) (*entry, error) {
	known := t.known()
	if known.PrefixLen == 0 {
		return nil, nil
	}
	var some []*entry
	for _, dir := range folders(&t.file) {
		all := in.entries(dir).entries
		for i := range all {
			some = append(some, &all[i])
		}
	}
	for _, u := range unknown {
		e := entryOf(u)
		some = append(some, &e)
	}
	for _, p := range sorted(in.pending) {
		e := entryOf(p.found)
		some = append(some, &e)
	}
	slices.SortStableFunc(some, func(a, b *entry) int { return int(min(1, max(-1, b.size-a.size))) })
	var err error
	for _, e := range some {
		if e.size < max(known.Position, known.PrefixLen, least) {
			break
		}
		if e.key == t.key && t.state != lost {
			continue
		}
		ok, failed := in.reads(e)
		if failed == errMoved {
			err = failed
		}
		if ok {
			continue
		}
		ok, failed = in.holds(e, &known)
		if ok {
			return e, nil
		}
		if failed == errMoved {
			err = failed
		}
	}
	return nil, err
}

// reads reports whether an entry is a file that is read. It need not be because it has the
// inode of one: that may be gone, and its inode used again, as for the next copy, when the
// oldest one was removed to make room; or the copy was written over it. If this scan has not
// seen it as it is now, what it holds tells. Where the next scan will know more the error is
// errMoved.
func (in *input) reads(e *entry) (bool, error) {
	t := in.byKey[e.key]
	if t == nil || !t.away && !t.failed && place(&t.file) == e.path && t.stat == e.size && t.ctime == e.changed {
		return t != nil, nil
	}
	known := t.known()
	if ok, err := in.holds(e, &known); ok || err != nil {
		return true, err
	}
	if !t.away {
		t.stat = -1 // it is looked at again
		return true, errMoved
	}
	in.leave(t)
	t.seen = -1
	return false, nil
}

func sorted(m map[key]*pending) []*pending {
	return slices.SortedFunc(maps.Values(m), func(a, b *pending) int { return strings.Compare(a.found.Path, b.found.Path) })
}

// holds reports whether an entry has what is known of a file.
func (in *input) holds(e *entry, known *feed.File) (bool, error) {
	if e.headed && known.PrefixLen == identity.PrefixMost && e.head != known.Prefix {
		return false, nil
	}
	f, err := in.descriptor(e.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, errMoved
	}
	if err != nil {
		return false, err
	}
	defer in.drop(f)
	if fi, err := f.Stat(); err != nil {
		return false, err
	} else if !sameKey(fi, e.key) {
		return false, errMoved
	}
	if !e.headed && e.size >= identity.PrefixMost {
		if e.head, err = identity.Prefix(f, identity.PrefixMost); err == nil {
			e.headed = true
		}
	}
	return identity.Same(f, known)
}

// rests looks for what was not read of the files that are lost, or whose inodes have other
// content.
func (in *input) rests(unknown []found) {
	for t := range in.tails {
		switch {
		case t.awaits == in.scans:
		case t.state == replaced && t.reused():
			in.rest(t, unknown, feed.Gone, "the file was removed before it was read")
		case t.state == replaced:
			in.rest(t, unknown, feed.Truncated, "the file was truncated before it was read")
		case t.state == lost && t.f != nil:
			in.unlink(t)
		case t.state == lost && t.seen >= 0:
			in.rest(t, unknown, feed.Gone, "the file was removed before it was read")
		}
	}
}

func (in *input) rest(t *tail, unknown []found, kind feed.Kind, cause string) {

	// A copy may be shorter than the file was at last. What it lacks is found to be cut off.
	e, err := in.byContent(t, unknown, 0)
	if err != nil {
		in.hurry()
		return
	}
	in.leave(t)
	if e != nil {
		in.n.Copies.Add(1)
		in.continueIn(t, e)
		return
	}
	in.spill(t) // what it had is nowhere else now
	copied := in.copied(t)
	if from := max(t.read, copied); t.size > from {
		in.hole(t, kind, from, cause)
		in.forget(t)
		return
	}
	if kind == feed.Truncated || copied > 0 {
		in.forget(t)
		return
	}
	// All of it was read. Should it come back, it is known.
	t.state, t.seen = lost, -1
}

// copied returns up to where a file is in a copy that is read from its start.
func (in *input) copied(t *tail) (to int64) {
	for c := range in.tails {
		if c.copyOf == t {
			to = max(to, c.copied)
		}
	}
	return to
}

// continueIn reads the rest of a file from another one in its folder.
func (in *input) continueIn(t *tail, e *entry) {
	in.m.tell.say(10*time.Second, slog.LevelInfo, t.file.Path, "the rest of a file is read from another one", slog.String("input", in.name), slog.String("from", e.path))
	delete(in.pending, e.key)
	path := t.file.Path
	u := found{glob.Found{Path: e.path, Device: e.key.device, Inode: e.key.inode, Size: e.size, Regular: true}, e.key}
	in.continueAt(t, &u, true)
	if _, ok := in.find.Match(e.path); !ok {
		t.outside = true
		t.file.Path, t.file.Real = path, e.path
	}
}

// hole says that what a file had from a place on will not be read.
func (in *input) hole(t *tail, kind feed.Kind, from int64, cause string) {
	in.m.tell.say(10*time.Second, slog.LevelWarn, t.file.Path, "lines are lost: "+cause, slog.String("input", in.name), slog.String("kind", string(kind)), slog.Int64("bytes", t.size-from))
	if t.tell { // before a position behind it: without it a restart would not know the file
		in.notice(t, time.Now())
	}
	t.r.Hole(feed.Hole{Kind: kind, From: from, To: t.size, Messages: -1, Bytes: t.size - from, Cause: cause}, 0)
	t.read = t.size
}

// unlink is for a file that has no name any more and is open. No restart would find it:
// what is not stored of it goes to the spool.
func (in *input) unlink(t *tail) {
	t.state = active
	in.rotate(t)
	t.unlinked = time.Now()
	t.blocked = false
	t.after = nil // it can't wait for another one
	in.spill(t)
	in.sized(t, -1)
	if !t.queued {
		t.queued = true
		in.ready = append([]*tail{t}, in.ready...) // nothing is more urgent
	}
}

// spill puts what was offered of a file, and is not stored, into the spool.
func (in *input) spill(t *tail) {
	if t.r.Position().At < t.read {
		t.r.Spill(nil, func(feed.Position) feed.Anchor { return t.file.Anchors[0] })
	}
}

// rotatedAway ends the reading of a file that has lost its path or its name, once nothing
// has come for long enough. It reports whether the file is forgotten.
func (in *input) rotatedAway(t *tail, now time.Time) bool {
	if !t.unlinked.IsZero() {
		in.spill(t)
	}
	if !t.rotated || t.done || !t.atEnd || t.blocked || t.unread() || now.Sub(t.grown) < in.RotatedWait {
		return false
	}
	if t.split.Seen > 0 || t.split.Cut {
		t.finishing = true
		in.queue(t)
		return false
	}
	return in.finish(t)
}

// finish ends the reading of a file all of which was read.
func (in *input) finish(t *tail) bool {
	t.finishing = false
	if !t.unlinked.IsZero() {
		// What is neither stored nor safe in the spool, only the descriptor has.
		if in.spill(t); t.r.Position().At < t.read {
			return false
		}
	}
	t.done = true
	if !t.turned.IsZero() {
		in.m.tell.say(10*time.Second, slog.LevelInfo, place(&t.file), "file is read to its end", slog.String("input", in.name))
	}
	if !t.unlinked.IsZero() {
		in.forget(t)
		return true
	}
	in.shut(t)
	return false
}

// bound gives up removed files that the spool has no room for, the oldest first, when they
// are too much.
func (in *input) bound() {
	for {
		unlinked := int64(0)
		for t := range in.opened {
			if t.spoolFull {
				unlinked += t.size - t.read
			}
		}
		in.n.UnlinkedBytes.Store(unlinked)
		total := int64(0)
		in.m.each(func(other *input) { total += other.n.UnlinkedBytes.Load() })
		if total <= in.m.o.UnlinkedMax {
			return
		}
		var oldest *tail
		for t := range in.opened {
			if t.spoolFull && (oldest == nil || t.unlinked.Before(oldest.unlinked)) {
				oldest = t
			}
		}
		if oldest == nil {
			return
		}
		in.hole(oldest, feed.Gone, oldest.read, "the file was removed, and neither the spool nor unlinked-max had room for it")
		in.forget(oldest)
	}
}
