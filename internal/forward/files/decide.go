package files

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/identity"
)

// beginning is by what records are found that may be the same.
type beginning struct {
	n    int64
	hash uint64
}

// index finds the records that an unknown file could be.
type index struct {
	scan   int64
	byKey  map[key][]*tail
	byPath map[string][]*tail
	begin  map[beginning][]*tail
	length map[int64]bool
}

func (in *input) index() *index {
	x := &index{scan: in.scans, byKey: make(map[key][]*tail), byPath: make(map[string][]*tail), begin: make(map[beginning][]*tail), length: make(map[int64]bool)}
	for t := range in.tails {
		x.add(t)
	}
	return x
}

// add takes in a record, as it is now. Those that it had before stay: they do no harm, for
// a decision looks at what is known now.
func (x *index) add(t *tail) {
	if t.state == replaced || t.state == lost {
		x.byKey[t.key] = append(x.byKey[t.key], t)
	}
	// None of those that this scan has found is a copy of another one.
	if t.file.Position == 0 && t.state != replaced && t.first == x.scan {
		return
	}
	x.byPath[t.file.Path] = append(x.byPath[t.file.Path], t)
	b := beginning{t.file.PrefixLen, t.file.Prefix}
	x.begin[b] = append(x.begin[b], t)
	x.length[b.n] = true
}

// records returns those that a file could be, each once.
func (x *index) records(k key, path string, head []byte) []*tail {
	var all []*tail
	have := make(map[*tail]bool)
	add := func(some []*tail) {
		for _, t := range some {
			if !have[t] {
				have[t] = true
				all = append(all, t)
			}
		}
	}
	add(x.byKey[k])
	add(x.byPath[path])
	for n := range x.length {
		if n <= int64(len(head)) {
			add(x.begin[beginning{n, identity.Hash(head[:n])}])
		}
	}
	return all
}

// decide decides what the unknown files are.
func (in *input) decide(unknown []found) {
	var x *index
	new := 0
	still := make(map[key]bool)
	for i := range unknown {
		u := &unknown[i]
		if in.byKey[u.key] != nil || in.asleep[u.key] {
			continue
		}
		if x == nil {
			x = in.index()
		}
		// A file without content is nobody's yet, but if it is what was left of one.
		if _, cut := in.cut[u.key]; u.Size == 0 && !cut && !slices.ContainsFunc(x.byKey[u.key], func(t *tail) bool { return t.state == replaced && !t.reused() }) {
			continue
		}
		if in.m.o.Once && in.scans > 1 && in.pending[u.key] == nil {
			continue
		}
		f, size, err := in.candidate(u)
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				in.m.tell.say(sayAgain, slog.LevelWarn, u.Path, "file can't be read now; it is tried again", slog.String("input", in.name), slog.Any("error", err))
			}
			continue
		}
		if size < u.Size {
			in.cut[u.key] = filepath.Dir(u.Path) // since the scan has found it
		}
		u.Size = size
		d, tails, err := in.verdict(u, f, x)
		if err != nil {
			in.drop(f)
			in.m.tell.say(sayAgain, slog.LevelWarn, u.Path, "file can't be read now; it is tried again", slog.String("input", in.name), slog.Any("error", err))
			continue
		}
		if d.Rule == identity.RuleSame && tails[d.Record].read > u.Size {
			// More was sent of it than it has now: what is behind its position is other text.
			d.Rule, d.Replaced = identity.RuleCut, d.Record
		}
		switch d.Rule {
		case identity.RuleWaiting:
			in.drop(f)
			still[u.key] = true
			continue
		case identity.RuleSame, identity.RuleSaved, identity.RuleCopy:
			t := tails[d.Record]
			in.drop(f)
			if d.Rule == identity.RuleCopy {
				in.n.Copies.Add(1)
			}
			in.continueAt(t, u, d.Rule == identity.RuleCopy && t.state == replaced)
		default:
			if d.From > 0 && d.CopyOf >= 0 && in.awaited(tails[d.CopyOf], u.Size) {
				in.drop(f)
				in.pends(u)
				still[u.key] = true
				continue
			}
			t := in.fresh(u, f, d, d.Replaced >= 0 && !tails[d.Replaced].reused())
			if t == nil {
				continue
			}
			if d.CopyOf >= 0 {
				t.copyOf, t.copied = tails[d.CopyOf], d.Copied
			}
			if new++; new <= 10 {
				in.m.tell.say(10*time.Second, slog.LevelInfo, u.Path, "file is found", slog.String("input", in.name), slog.Int64("size", u.Size))
			}
		}
		if t := in.byKey[u.key]; t != nil {
			x.add(t)
		}
	}
	if new > 10 {
		in.m.tell.say(time.Second, slog.LevelInfo, in.Glob, "more files are found", slog.String("input", in.name), slog.Int("files", new-10))
	}
	for k := range in.pending {
		if !still[k] {
			delete(in.pending, k)
		}
	}
}

// candidate opens an unknown file.
func (in *input) candidate(u *found) (content, int64, error) {
	f, err := in.descriptor(u.Path)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err == nil && !sameKey(fi, u.key) {
		err = os.ErrNotExist // it is another one by now: the next scan sees it
		in.hurry()
	}
	if err != nil {
		in.drop(f)
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

// verdict decides one file, or notes that it is to be waited for.
func (in *input) verdict(u *found, f content, x *index) (identity.Decision, []*tail, error) {
	head := make([]byte, min(u.Size, identity.PrefixMost))
	n, err := f.ReadAt(head, 0)
	if n < len(head) && err != nil && u.Size == 0 {
		return identity.Decision{}, nil, err
	}
	tails := x.records(u.key, u.Path, head[:n])
	records := make([]identity.Record, len(tails))
	for i, t := range tails {
		records[i] = in.record(t)
	}
	now := time.Now()
	p := in.pends(u)
	d, err := identity.Decide(identity.Candidate{
		Path: u.Path, Device: u.Device, Inode: u.Inode, Size: u.Size, Content: f,
		First: p.first, Waited: now.Sub(p.begun) >= settleAfter, Settled: now.Sub(p.grown) >= settleAfter,
	}, records, !in.NewCopies)
	return d, tails, err
}

// pends notes a file that is not decided, for as long as it is.
func (in *input) pends(u *found) *pending {
	now := time.Now()
	p := in.pending[u.key]
	if p == nil {
		p = &pending{first: in.scans, begun: now, grown: now}
		in.pending[u.key] = p
	} else if p.found.Size != u.Size {
		p.grown = now
	}
	p.found = *u
	return p
}

// awaited reports whether a truncated file is to be waited for before a copy of less than
// was read of it is one that nobody reads: what is neither stored nor in the spool, a
// restart finds in the copy alone.
func (in *input) awaited(t *tail, size int64) bool {
	if t.r.Position().At >= size {
		return false
	}
	in.spill(t)
	if t.r.Position().At >= size {
		return false
	}
	t.awaits = in.scans
	return true
}

// fresh begins a source for a file that was not known; f is open. truncated says that it is
// what was left of another.
func (in *input) fresh(u *found, f content, d identity.Decision, truncated bool) *tail {
	file := feed.File{Input: in.name, Path: u.Path, Device: u.Device, Inode: u.Inode, Position: d.From, Size: u.Size, Wild: u.Wild, Seen: time.Now().Unix()}
	if d.Rule == identity.RuleNew && in.AtEnd && in.First && in.scans == 1 {
		file.Position = u.Size
	}
	if u.Link {
		file.Real, _ = filepath.EvalSymlinks(u.Path)
	}
	if !in.begins(&file, f) { // it was cut back just now: the next scan looks again
		in.drop(f)
		in.hurry()
		for t := range in.tails {
			if t.state == replaced && t.key == u.key {
				t.awaits = in.scans // that it was truncated must not be forgotten before
			}
		}
		return nil
	}
	set := in.Lines
	_, cut := in.cut[u.key]
	set.LeadingNULs = truncated || cut || in.leftNULs(f, filepath.Dir(u.Path))
	file.How = set.String()
	t := in.newTail(file)
	if !in.begin(t) {
		in.drop(f)
		return nil
	}
	delete(in.cut, u.key)
	t.tell = false
	t.told = time.Now()
	t.stat, t.ctime = file.Size, u.Changed
	if t.size > t.read {
		in.hold(t, f)
	} else {
		in.drop(f)
	}
	t.saw(in.scans, *u)
	if before := in.byPath[u.Path]; before != nil && before != t && before.state == active && !before.ended {
		t.after, before.next = before, t
	}
	in.byPath[u.Path] = t
	in.activate(t)
	return t
}

// begins takes for what is known of a file what it begins with, its size, and what stands
// before its position. It reports whether all of them are of one content: the beginning is
// the same before and behind the others.
func (in *input) begins(file *feed.File, f content) bool {
	var err error
	file.PrefixLen = min(file.Size, identity.PrefixMost)
	if file.PrefixLen == 0 {
		file.Prefix = identity.Hash(nil)
		return true
	}
	if file.Prefix, err = identity.Prefix(f, file.PrefixLen); err != nil {
		return false
	}
	fi, err := f.Stat()
	if err != nil || fi.Size() < max(file.PrefixLen, file.Position) {
		return false
	}
	file.Size = fi.Size()
	if file.Position > 0 {
		if file.Anchors[0], err = identity.Anchor(f, file.Position); err != nil {
			return false
		}
	}
	ok, err := identity.Begins(f, file)
	return ok && err == nil
}

// leftNULs reports whether a file of a folder begins with NULs, and another one there was
// truncated: then it is a copy of what was written behind a truncation, or the file itself,
// after more than one of them.
func (in *input) leftNULs(f content, dir string) bool {
	var first [1]byte
	if n, _ := f.ReadAt(first[:], 0); n == 0 || first[0] != 0 {
		return false
	}
	for t := range in.tails {
		if (t.state == replaced && !t.reused() || t.split.LeadingNULs) && slices.Contains(folders(&t.file), dir) {
			return true
		}
	}
	for _, of := range in.cut {
		if of == dir {
			return true
		}
	}
	return false
}

// continueAt goes on with a file that is known under another inode, or again.
func (in *input) continueAt(t *tail, u *found, rest bool) {
	if t.state == replaced && !t.reused() {
		// That it was truncated must be known after a restart: see leftNULs. To the file
		// itself it makes no difference.
		t.split.LeadingNULs = true
		t.file.How = t.split.Settings.String()
	}
	in.leave(t)
	path := t.file.Path
	t.key = u.key
	t.file.Device, t.file.Inode = u.Device, u.Inode
	t.file.Path, t.file.Real = u.Path, ""
	if u.Link {
		t.file.Real, _ = filepath.EvalSymlinks(u.Path)
	}
	t.outside, t.away, t.done, t.finishing, t.changed, t.failed = false, false, false, false, false, false
	t.rotated = rest
	t.unlinked, t.spoolFull = time.Time{}, false
	t.resumed, t.stored = false, false
	t.stat = -1
	t.tell = true
	t.saw(in.scans, *u)
	if in.byPath[u.Path] == nil || !rest {
		in.byPath[u.Path] = t
	}
	in.activate(t)
	defer in.sized(t, u.Size)
	if !rest {
		return
	}
	// The new content of the path begins when this is read.
	switch next := in.byPath[path]; {
	case next == nil:
		in.byPath[path] = t
	case next != t && next.state == active && next.first == in.scans && next.after == nil && !t.ended:
		next.after, t.next = t, next
	}
}
