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
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/glob"
	"github.com/logd-dev/logd/internal/forward/identity"
)

// found is a regular file as a scan has seen it.
type found struct {
	glob.Found
	key key
}

// scan looks at all there is, and decides what every file is:
//
//  1. The files of the pattern are those that are read already, or unknown.
//  2. A file that is read and was not found is moved, or has no name any more, or is lost.
//  3. An unknown one is decided by package identity, also against the lost ones.
//  4. What then is still lost, or has other content, has its rest looked for in its folder.
//     What is not found is a hole.
//
// While the input drains, there are no unknown ones.
func (in *input) scan() {
	begun := time.Now()
	in.events.Lock()
	in.events.all = false
	in.events.Unlock()
	in.scans++
	in.folders = nil
	unknown := in.walk()
	for t := range in.tails {
		if t.state == active && t.seen == in.scans {
			in.look(t)
		}
	}
	for t := range in.tails {
		if t.state == active && t.seen != in.scans && !t.away && !t.changed {
			in.missed(t)
		}
	}
	for t := range in.tails {
		if t.state == active && t.changed {
			in.replace(t)
			if t.seen == in.scans && !in.draining {
				unknown = append(unknown, t.sight)
			}
		}
	}
	in.awake(unknown)
	if !in.m.o.Once || in.scans == 1 || len(in.pending) > 0 {
		in.truncatedFirst(unknown)
		in.decide(unknown)
	}
	in.rests(unknown)
	in.keep()
	in.took = time.Now()
	in.lastScan = in.took.Sub(begun)
	in.nextScan = in.took.Add(in.ScanInterval)
}

// truncatedFirst has what was left of a file decided before its copy, which then is what the
// file was: so it is still known that there was one.
func (in *input) truncatedFirst(unknown []found) {
	if len(unknown) < 2 {
		return
	}
	rank := make(map[key]int)
	for t := range in.tails {
		if t.state == replaced {
			rank[t.key] = -1
		}
	}
	slices.SortStableFunc(unknown, func(a, b found) int { return rank[a.key] - rank[b.key] })
}

// walk notes which files that are read were found, and returns the unknown ones.
func (in *input) walk() []found {
	if in.draining {
		return nil
	}
	var unknown []found
	have := make(map[key]bool)
	var dirs map[string]bool
	if in.m.watch != nil {
		dirs = make(map[string]bool)
	}
	in.find.Walk(glob.Visitor{
		File: func(f glob.Found) {
			k := key{f.Device, f.Inode}
			if t := in.byKey[k]; t != nil {
				if t.excluded || !f.Regular {
					return
				}
				// Of several names it is the one that it has had.
				if t.seen != in.scans || f.Path == t.file.Path {
					t.seen, t.sight = in.scans, found{f, k}
				}
				return
			}
			if have[k] || in.skip(f, k) {
				return
			}
			have[k] = true
			unknown = append(unknown, found{f, k})
		},
		Folder: func(path string) {
			if dirs != nil {
				dirs[path] = true
			}
		},
		Error: func(path string, err error) {
			in.m.tell.say(sayAgain, slog.LevelWarn, path, "can't be looked at; it is tried again", slog.String("input", in.name), slog.Any("error", err))
		},
	})
	if in.m.watch != nil && in.m.watch.want(in, dirs) {
		in.hurry()
	}
	slices.SortFunc(unknown, func(a, b found) int { return strings.Compare(a.Path, b.Path) })
	return unknown
}

var ownError = sync.OnceValue(func() key {
	if fi, err := os.Stderr.Stat(); err == nil && fi.Mode().IsRegular() {
		k, _ := keyOf(fi)
		return k
	}
	return key{}
})

var compressed = map[string]bool{".gz": true, ".xz": true, ".bz2": true, ".zst": true, ".lz4": true, ".lzma": true, ".lzo": true, ".Z": true, ".zip": true, ".br": true, ".7z": true}

// skip reports whether a file that the pattern finds is not read.
func (in *input) skip(f glob.Found, k key) bool {
	if in.excludes(f.Path) {
		return true
	}
	why := ""
	switch {
	case f.Folder:
		return true
	case strings.HasPrefix(filepath.Base(f.Path), ".nfs"):
		return true
	case !f.Regular:
		why = "it is no regular file"
	case compressed[filepath.Ext(f.Path)]:
		why = "its name is that of a compressed file"
	case in.m.o.StateDir != "" && strings.HasPrefix(f.Path, in.m.o.StateDir+"/"):
		why = "it is in the agent's state-dir"
	case k == ownError() && k != (key{}):
		why = "it is what the agent writes its own log to"
	default:
		return false
	}
	in.m.tell.say(365*24*time.Hour, slog.LevelInfo, f.Path, "file is left out", slog.String("input", in.name), slog.String("why", why))
	return true
}

func (in *input) excludes(path string) bool {
	for _, g := range in.exclude {
		if _, ok := g.Match(path); ok {
			return true
		}
	}
	return false
}

// look takes over what the scan has seen of a file that is read.
func (in *input) look(t *tail) {
	s := &t.sight
	if t.outside && s.Path == t.file.Path {
		t.rotated = false // its folder could not be looked at for a while
	}
	t.outside, t.away = false, false
	// The time decides nothing: it only says where to look again though the size is the same.
	if s.Changed != t.ctime {
		t.ctime, t.stat = s.Changed, -1
	}
	if s.Path == t.file.Path {
		in.sized(t, s.Size)
		return
	}
	path, real := t.file.Path, t.file.Real
	t.file.Path, t.file.Real = s.Path, ""
	if s.Link {
		t.file.Real, _ = filepath.EvalSymlinks(s.Path)
	}
	t.stat = -1
	in.sized(t, s.Size)
	if t.changed { // another file has its inode
		t.file.Path, t.file.Real = path, real
		return
	}
	in.rotate(t)
	in.byPath[s.Path] = t
	t.tell = true
}

// rotate notes that a file has lost its path.
func (in *input) rotate(t *tail) {
	if t.rotated {
		return
	}
	t.rotated = true
	t.grown = time.Now()
	in.n.Rotations.Add(1)
	in.m.tell.say(10*time.Second, slog.LevelInfo, t.file.Path, "file is rotated; it is read to its end", slog.String("input", in.name))
}

// sized looks whether the content is still the same if the size is another one.
func (in *input) sized(t *tail, size int64) {
	if size == t.stat && size == t.size || t.changed {
		return
	}
	if !in.open(t) || !t.resumed && in.resume(t) != nil {
		return
	}
	// What was seen by the caller may be late: a chunk was read since.
	size, ok, err := t.measure(t.f)
	if err != nil {
		in.fail(t, err)
		return
	}
	t.stat = size
	switch {
	case !ok || size < t.split.At:
		t.changed = true
	case size < t.size:
		in.cutBack(t, size)
	default:
		t.grew(size, time.Now())
		if err := t.extend(nil); err != nil {
			in.fail(t, err)
		}
		in.queue(t)
	}
}

// glance looks at a file that was written to.
func (in *input) glance(t *tail) {
	if t.f == nil {
		if fi, err := os.Stat(place(&t.file)); err != nil || !sameKey(fi, t.key) {
			in.hurry()
			return
		}
		t.stat = -1
		in.sized(t, -1)
		return
	}
	t.stat = -1
	in.sized(t, -1)
	if t.changed {
		in.hurry()
	}
}

func sameKey(fi os.FileInfo, k key) bool {
	got, _ := keyOf(fi)
	return got == k
}

// missed is for a file that the pattern did not find. If it is open, it tells where it is;
// if not, it may have another name in its folder.
func (in *input) missed(t *tail) {
	if in.draining { // nothing was looked for; it is where it was, or it is not
		if fi, err := os.Stat(place(&t.file)); err == nil && sameKey(fi, t.key) {
			in.sized(t, fi.Size())
			return
		}
	}
	if t.f != nil {
		fi, err := t.f.Stat()
		if err != nil {
			in.fail(t, err)
			return
		}
		if _, links := keyOf(fi); links == 0 {
			if t.unlinked.IsZero() {
				t.state = lost // another one may be the same, as when an editor saves it
			} else {
				in.sized(t, fi.Size())
			}
			return
		}
		if !t.outside {
			in.rotate(t)
			t.outside = true
			if e, _ := in.byInode(t); e != nil {
				in.placed(t, e.path)
			}
		}
		in.sized(t, fi.Size())
		if t.done {
			in.shut(t)
			t.away = true
		}
		return
	}
	e, err := in.byInode(t)
	if err != nil {
		in.fail(t, err)
		return
	}
	if e == nil {
		t.state = lost
		return
	}
	in.rotate(t)
	t.outside = true
	in.placed(t, e.path)
	in.sized(t, e.size)
	t.away = t.done
}

// placed says where a file is that the pattern does not find.
func (in *input) placed(t *tail, path string) {
	if place(&t.file) != path {
		t.file.Real = path
		t.tell = true
	}
}

// replace notes that the inode of a file has other content. Its rest may be elsewhere.
func (in *input) replace(t *tail) {
	t.state = replaced
	t.changed = false
	in.shut(t)
	delete(in.byKey, t.key)
	if t.reused() {
		return
	}
	in.n.Truncations.Add(1)
	in.m.tell.say(10*time.Second, slog.LevelInfo, t.file.Path, "file was truncated", slog.String("input", in.name), slog.Int64("unread", t.size-t.read))
}

// reused reports whether the inode of a file was found with other content under another
// path: then it was not truncated, but removed.
func (t *tail) reused() bool { return t.sight.Path != "" && t.sight.Path != t.file.Path }

// cutBack is for a file that lost bytes at its end that were seen, but not those before
// where it stands. What was lost may be in a copy; what is written from now on is another
// source.
func (in *input) cutBack(t *tail, size int64) {
	in.n.Truncations.Add(1)
	in.m.tell.say(10*time.Second, slog.LevelInfo, t.file.Path, "the end of a file was cut off", slog.String("input", in.name), slog.Int64("bytes", t.size-size))
	f := t.known()
	f.ID, f.Size = 0, size
	in.folders = nil
	f.Position = t.read
	e := in.byContent(t, nil, t.size)
	if e != nil {
		f.Position = size
	}
	n := in.newTail(f)
	if f.Position > t.read {
		a, err := identity.Anchor(t.f, f.Position)
		if err != nil {
			in.fail(t, err)
			return
		}
		n.file.Anchors = [2]feed.Anchor{a}
	}
	if !in.begin(n) {
		return
	}
	in.activate(n)
	in.byPath[n.file.Path] = n
	n.seen, n.sight, n.rotated, n.outside, n.stat = t.seen, t.sight, t.rotated, t.outside, size
	if t.next != nil {
		n.next, t.next = t.next, nil
		n.next.after = n
	}
	if e == nil {
		if from := max(size, in.copied(t)); t.size > from {
			in.hole(t, feed.Truncated, from, "the end of the file was cut off before it was read")
		}
		in.forget(t)
	} else {
		in.continueIn(t, e)
	}
}

// activate lets a file be read.
func (in *input) activate(t *tail) {
	t.state = active
	in.byKey[t.key] = t
	t.grown = time.Now()
	t.atEnd = t.size == t.read && t.stat == t.size
	t.ended = t.atEnd
	if t.size > t.read {
		t.mark(t.grown)
	}
	in.queue(t)
}

// awake finds the files of the ledger, at the first scan: in the pattern, or in their
// folders.
func (in *input) awake(unknown []found) {
	var sleeping map[key][]*tail
	for t := range in.tails {
		if t.state == dormant {
			if sleeping == nil {
				sleeping = make(map[key][]*tail)
			}
			sleeping[t.key] = append(sleeping[t.key], t)
		}
	}
	in.asleep = nil
	sleepOn := func(t *tail, err error) {
		in.fail(t, err)
		if in.asleep == nil {
			in.asleep = make(map[key]bool)
		}
		in.asleep[t.key] = true
	}
	for i := range unknown {
		u := &unknown[i]
		for _, t := range sleeping[u.key] {
			t.seen, t.sight = in.scans, *u
			if in.byKey[u.key] != nil {
				continue
			}
			if same, err := in.isSame(t, u.Path); err != nil {
				sleepOn(t, err)
				continue
			} else if !same {
				continue
			}
			if u.Size == t.size {
				t.stat, t.ctime = u.Size, u.Changed
			}
			in.activate(t)
			in.look(t)
		}
	}
	for _, same := range sleeping {
		for _, t := range same {
			switch {
			case t.state != dormant || in.asleep[t.key]:
			case t.seen == in.scans:
				t.state = replaced
				if !t.reused() {
					in.n.Truncations.Add(1)
				}
			default:
				e, err := in.byInode(t)
				same := false
				if e != nil && in.byKey[t.key] == nil {
					same, err = in.isSame(t, e.path)
				}
				if err != nil {
					sleepOn(t, err)
					continue
				}
				if !same {
					t.state = lost
					continue
				}
				in.activate(t)
				in.rotate(t)
				t.outside = true
				in.placed(t, e.path)
				in.sized(t, e.size)
			}
		}
	}
}

// isSame reports whether a path has what is known of a file, by rule a.
func (in *input) isSame(t *tail, path string) (bool, error) {
	f, err := in.descriptor(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer in.drop(f)
	fi, err := f.Stat()
	if err != nil || !sameKey(fi, t.key) || fi.Size() < t.read {
		return false, err
	}
	file := t.known()
	return identity.Same(f, &file)
}

// keep is what is to be done for each file now and then.
func (in *input) keep() {
	now := time.Now()
	var lag int64
	var oldest time.Duration
	files := int64(0)
	var away []*tail
	for t := range in.tails {
		t.failed = false
		if t.state != active {
			away = append(away, t)
			continue
		}
		files++
		if in.rotatedAway(t, now) {
			continue
		}
		if in.may(t) {
			in.queue(t)
		}
		// What is not read yet, or may be written to, is held open even while it may not be
		// read: it may be removed.
		if t.f == nil && !t.done && (t.unread() || now.Sub(t.grown) < idleClose) && !t.complete && in.m.open.Load() < int64(in.m.o.MaxOpen) {
			in.open(t)
		}
		if t.f != nil && t.atEnd && !t.unread() && t.unlinked.IsZero() && now.Sub(t.grown) >= idleClose {
			in.shut(t)
		}
		if t.limit < 0 && in.m.o.Once {
			t.limit = t.size
		}
		if !t.stored {
			bytes, since := t.lag(now)
			lag += bytes
			oldest = max(oldest, since)
			t.stored = bytes == 0
		}
		if t.tell || t.size != t.file.Size && now.Sub(t.told) >= time.Second || now.Sub(t.told) >= in.ForgetAfter/100 {
			in.notice(t, now)
		}
	}
	in.n.Files.Store(files)
	in.n.LagBytes.Store(lag)
	in.n.LagNanos.Store(int64(oldest))
	in.bound()
	in.forgetOld(away, now)
}

// notice tells the sink what is known of a file.
func (in *input) notice(t *tail, now time.Time) {
	t.tell, t.told = false, now
	t.file.Size, t.file.Seen = t.size, now.Unix()
	t.replay.set(&t.file)
	t.r.Seen(t.file)
}

// forgetOld forgets what was not seen for long, and what is too much.
func (in *input) forgetOld(away []*tail, now time.Time) {
	old := now.Add(-in.ForgetAfter).Unix()
	slices.SortFunc(away, func(a, b *tail) int { return int(a.file.Seen - b.file.Seen) })
	for _, t := range away {
		if t.file.Seen >= old && len(in.tails) <= maxRecords {
			break
		}
		in.forget(t)
	}
	for path, t := range in.byPath {
		if t.state != active && len(in.byPath) > 2*len(in.tails)+1000 {
			delete(in.byPath, path)
		}
	}
}

// forget ends a source: the ledger will not have it.
func (in *input) forget(t *tail) {
	in.leave(t)
	t.r.Forget()
	delete(in.tails, t)
}

// leave lets nothing lead to a file that is not read any more.
func (in *input) leave(t *tail) {
	in.shut(t)
	if in.byKey[t.key] == t {
		delete(in.byKey, t.key)
	}
	if in.byPath[t.file.Path] == t {
		delete(in.byPath, t.file.Path)
	}
	if t.state == active {
		t.state = lost
	}
	in.ended(t)
}

func sorted(m map[key]*pending) []*pending {
	return slices.SortedFunc(maps.Values(m), func(a, b *pending) int { return strings.Compare(a.found.Path, b.found.Path) })
}
