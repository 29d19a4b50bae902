package files

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/identity"
)

// look takes over what the scan has seen of a file that is read.
func (in *input) look(t *tail) {
	s := &t.sight
	if t.outside && s.Path == t.file.Path {
		t.rotated = false // its folder could not be looked at for a while
	}
	t.outside, t.away = false, false
	if t.rests && s.Size != t.stat {
		t.untold = time.Now()
	}
	t.rests = false
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
	case size > 0 && t.file.PrefixLen == 0:
		// Nothing of it is known yet: its size counts together with its beginning.
		file := t.file
		if file.Size = size; !in.begins(&file, t.f) {
			t.stat = -1
			in.hurry()
			return
		}
		t.file.PrefixLen, t.file.Prefix, t.tell = file.PrefixLen, file.Prefix, true
		t.grew(file.Size, time.Now())
		in.queue(t)
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
	t.rests, t.untold = false, time.Time{}
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
		delete(in.byKey, t.key) // another file may have its inode by now
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
	in.truncated(t)
	in.m.tell.say(10*time.Second, slog.LevelInfo, t.file.Path, "file was truncated", slog.String("input", in.name), slog.Int64("unread", t.size-t.read))
}

// truncated notes that a file was.
func (in *input) truncated(t *tail) {
	in.n.Truncations.Add(1)
	in.cut[t.key] = filepath.Dir(t.file.Path)
}

// reused reports whether the inode of a file was found with other content under another
// path: then it was not truncated, but removed.
func (t *tail) reused() bool { return t.sight.Path != "" && t.sight.Path != t.file.Path }

// cutBack is for a file that lost bytes at its end that were seen, but not those before
// where it stands. What was lost may be in a copy; what is written from now on is another
// source.
func (in *input) cutBack(t *tail, size int64) {
	f := t.known()
	f.ID, f.Size = 0, size
	in.folders = nil
	f.Position = t.read
	e, err := in.byContent(t, nil, t.size)
	if err != nil {
		t.stat = -1
		in.hurry()
		return
	}
	in.n.Truncations.Add(1)
	in.m.tell.say(10*time.Second, slog.LevelInfo, t.file.Path, "the end of a file was cut off", slog.String("input", in.name), slog.Int64("bytes", t.size-size))
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
	n.seen, n.looked, n.sight, n.rotated, n.outside, n.stat = t.seen, t.looked, t.sight, t.rotated, t.outside, size
	if t.next != nil {
		n.next, t.next = t.next, nil
		n.next.after = n
	}
	if e == nil {
		in.spill(t) // a restart would find the other source in its place
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
		if err == errMoved {
			in.hurry()
		} else {
			in.fail(t, err)
		}
		if in.asleep == nil {
			in.asleep = make(map[key]bool)
		}
		in.asleep[t.key] = true
	}
	for i := range unknown {
		u := &unknown[i]
		for _, t := range sleeping[u.key] {
			t.saw(in.scans, *u)
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
					in.truncated(t)
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

// errMoved says that a path has another file than it had when the scan saw it.
var errMoved = errors.New("the file was moved just now")

// isSame reports whether a path has what is known of a file, by rule a.
func (in *input) isSame(t *tail, path string) (bool, error) {
	f, err := in.descriptor(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, errMoved
	}
	if err != nil {
		return false, err
	}
	defer in.drop(f)
	fi, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !sameKey(fi, t.key) {
		return false, errMoved
	}
	if fi.Size() < t.read {
		return false, nil
	}
	file := t.known()
	return identity.Same(f, &file)
}
