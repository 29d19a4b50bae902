package files

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/forward/glob"
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
	missed := in.events.missed
	in.events.all, in.events.missed = false, false
	in.events.Unlock()
	in.scans++
	in.folders = nil
	unknown := in.walk(missed)
	var some []*tail // mostly there are few: all the others rest
	for t := range in.tails {
		if t.state == active && (t.looked == in.scans || t.seen != in.scans || t.changed) {
			some = append(some, t)
		}
	}
	for _, t := range some {
		if t.looked == in.scans {
			in.look(t)
		}
	}
	for _, t := range some {
		if t.state == active && t.seen != in.scans && !t.away && !t.changed {
			in.missed(t)
		}
	}
	for _, t := range some {
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

// walk notes which files that are read were found, and returns the unknown ones. If events
// were missed, everything is looked at.
func (in *input) walk(missed bool) []found {
	if in.draining {
		return nil
	}
	var unknown []found
	have := make(map[key]bool)
	v := glob.Visitor{
		File: func(f glob.Found) {
			k := key{f.Device, f.Inode}
			if t := in.byKey[k]; t != nil {
				if t.excluded || !f.Regular {
					return
				}
				if missed {
					t.rests, t.untold = false, time.Time{}
				}
				// Of several names it is the one that it has had.
				if t.seen != in.scans || f.Path == t.file.Path {
					t.saw(in.scans, found{f, k})
				}
				return
			}
			if have[k] || in.skip(f, k) {
				return
			}
			have[k] = true
			unknown = append(unknown, found{f, k})
		},
		Error: func(path string, err error) {
			in.m.tell.say(sayAgain, slog.LevelWarn, path, "can't be looked at; it is tried again", slog.String("input", in.name), slog.Any("error", err))
		},
	}
	var dirs map[string]bool
	if in.m.watch != nil {
		dirs = make(map[string]bool)
		v.Folder = func(path string) { dirs[path] = true }
		now := time.Now()
		v.Known = func(f *glob.Found) bool { return in.resting(f, now) }
		v.Mark = func(dir string, device, inode uint64) int64 {
			if missed || in.blind[dir] {
				return 0
			}
			return in.m.watch.mark(dir, key{device, inode})
		}
	}
	in.walker.Walk(v)
	if in.m.watch != nil && in.m.watch.want(in, dirs) {
		in.hurry()
	}
	slices.SortFunc(unknown, func(a, b found) int { return strings.Compare(a.Path, b.Path) })
	return unknown
}

// resting reports whether a file need not be looked at, though it is time for that: it is read
// to its end, has been as it is for long, and nothing but its path leads to it, so that an
// event tells if it is written to.
func (in *input) resting(f *glob.Found, now time.Time) bool {
	t := in.byKey[key{f.Device, f.Inode}]
	if t == nil || t.looked == in.scans || t.state != active || t.file.Path != f.Path || f.Link || f.Names != 1 ||
		t.stat != f.Size || t.size != f.Size || t.ctime != f.Changed || t.unread() ||
		t.changed || t.excluded || t.outside || !t.unlinked.IsZero() || now.Sub(t.grown) < in.m.rest {
		return false
	}
	t.seen, t.rests = in.scans, true
	return true
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
		if t.recent != nil && now.Sub(t.grown) >= idleRecent {
			t.recent = nil
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
		if !t.untold.IsZero() && now.Sub(t.untold) >= in.ScanInterval {
			t.untold = time.Time{}
			in.distrust(filepath.Dir(t.file.Path))
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

// distrust has all files of a folder looked at by each scan from now on: one of them has
// grown, and no event has told of it.
func (in *input) distrust(dir string) {
	if len(in.blind) > maxRecords {
		clear(in.blind)
	}
	in.blind[dir] = true
	in.m.tell.say(365*24*time.Hour, slog.LevelInfo, dir, "not all events come from this folder: its files are looked at once in each scan-interval", slog.String("input", in.name))
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
	if len(in.cut) > maxRecords {
		clear(in.cut)
	}
	if len(in.byPath) > 2*len(in.tails)+1000 {
		maps.DeleteFunc(in.byPath, func(_ string, t *tail) bool { return t.state != active })
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
