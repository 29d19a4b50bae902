package vfstest

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"
)

// node is a file or a folder, whatever its names.
type node struct {
	mode    fs.FileMode // with fs.ModeDir for a folder
	failed  errseq      // writing it back
	modTime time.Time
	inode   uint64
	links   int // visible names
	opens   int // handles

	// Of a file.
	cur     content  // what reads see
	synced  content  // what a power cut leaves at least
	pending []change // what led from synced to cur, unless gap
	gap     bool     // a sync failed: cur has bytes that are not in pending
	locked  bool

	// Of a folder.
	entries map[string]*node // what lookups see
	durable map[string]*node // what a power cut leaves at least
}

// errseq is an error as Linux reports that of writing back (errseq_t): once to
// each descriptor, those included that are opened while nobody was told.
type errseq struct {
	n    uint64 // of errors that somebody was told of, and one that nobody was
	seen bool   // somebody was told of the last one
}

// set notes an error.
func (e *errseq) set() {
	if e.n == 0 || e.seen {
		e.n++
	}
	e.seen = false
}

// sample returns where a new descriptor begins.
func (e *errseq) sample() uint64 {
	if e.n > 0 && !e.seen {
		return e.n - 1
	}
	return e.n
}

// report tells whether there is an error that the descriptor which is at since
// was not told of. It is told by that.
func (e *errseq) report(since *uint64) bool {
	if *since == e.n {
		return false
	}
	*since, e.seen = e.n, true
	return true
}

func newFolder(perm fs.FileMode, now time.Time) *node {
	return &node{
		mode: fs.ModeDir | perm.Perm(), modTime: now,
		entries: make(map[string]*node), durable: make(map[string]*node),
	}
}

func (n *node) isDir() bool { return n.mode.IsDir() }

// names returns the visible names in a folder, sorted.
func (n *node) names() []string { return slices.Sorted(maps.Keys(n.entries)) }

// write changes the visible bytes and notes the change.
func (n *node) write(seq int, bufs [][]byte, total, off int64) {
	data := make([]byte, 0, total)
	for _, b := range bufs {
		data = append(data, b[:min(int64(len(b)), total-int64(len(data)))]...)
	}
	n.cur.writeAt(data, off)
	n.pending = append(n.pending, change{seq: seq, off: off, data: data})
}

// truncate changes the visible length and notes the change.
func (n *node) truncate(seq int, size int64) {
	n.cur.truncate(size)
	n.pending = append(n.pending, change{seq: seq, off: size})
}

// sync makes the bytes durable, those excepted that a failed sync forgot.
func (n *node) sync() {
	switch {
	case len(n.pending) == 0:
	case n.gap:
		for i := range n.pending {
			n.pending[i].apply(&n.synced)
		}
	default:
		n.synced = n.cur.snapshot()
	}
	n.pending = nil
}

// fail is what a write-back that fails does: the bytes count as clean and are
// not durable. Who asks is told later.
func (f *FS) fail(n *node) {
	if len(n.pending) == 0 {
		return
	}
	n.gap, n.pending = true, nil
	n.failed.set()
	f.failed.set()
}

// setSynced replaces the bytes, visible and durable.
func (n *node) setSynced(data []byte) {
	n.cur = content{}
	n.cur.writeAt(data, 0)
	n.synced = n.cur.snapshot()
	n.pending, n.gap = nil, false
}

// change is a write or truncation that is not yet synced.
type change struct {
	seq  int    // the number of its operation
	off  int64  // where data goes; of a truncation, the new length
	data []byte // nil for a truncation
}

// apply makes the change.
func (c *change) apply(to *content) {
	if c.data == nil {
		to.truncate(c.off)
	} else {
		to.writeAt(c.data, c.off)
	}
}

// resize returns the length that the change makes of the given one.
func (c *change) resize(size int64) int64 {
	if c.data == nil {
		return c.off
	}
	return max(size, c.off+int64(len(c.data)))
}

// entryOp is a change of one folder that is not yet synced.
type entryOp struct {
	seq  int
	dir  *node
	sets [2]entrySet // the second's name is empty but for a rename, whose old name it is
	// after is, of the removal half of a rename from folder to folder, the
	// other half: a file is not lost between two folders.
	after *entryOp
	// with is, of either half of a folder's rename from folder to folder, the
	// other: both are kept or lost.
	with *entryOp
	over bool // durable, or forgotten
	gone bool // forgotten
}

// entrySet gives a name to a node, or removes the name if that is nil.
type entrySet struct {
	name string
	to   *node
}

// apply changes the entries of the folder.
func (o *entryOp) apply(entries map[string]*node) {
	for _, s := range o.sets {
		switch {
		case s.name == "":
		case s.to == nil:
			delete(entries, s.name)
		default:
			entries[s.name] = s.to
		}
	}
}

// lookup finds the node of a visible name.
func (f *FS) lookup(name string) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, syscall.EINVAL
	}
	n := f.root
	if name == "." {
		return n, nil
	}
	for elem := range strings.SplitSeq(name, "/") {
		if !n.isDir() {
			return nil, syscall.ENOTDIR
		}
		if n = n.entries[elem]; n == nil {
			// A missing name further on is the same error.
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

// parent finds the folder that a name is in, and the name's last element.
func (f *FS) parent(name string) (dir *node, base string, err error) {
	if !fs.ValidPath(name) || name == "." {
		return nil, "", syscall.EINVAL
	}
	folder, base := ".", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		folder, base = name[:i], name[i+1:]
	}
	if dir, err = f.lookup(folder); err != nil {
		return nil, "", err
	}
	if !dir.isDir() {
		return nil, "", syscall.ENOTDIR
	}
	return dir, base, nil
}

// link makes a change of a folder visible and notes it as unsynced.
func (f *FS) link(o *entryOp) {
	before := o.dir.modTime
	for _, s := range o.sets {
		if s.name == "" {
			continue
		}
		if old := o.dir.entries[s.name]; old != nil {
			old.links--
			f.reclaim(old)
		}
		if s.to != nil {
			s.to.links++
		}
	}
	o.apply(o.dir.entries)
	o.dir.modTime = time.Now()
	if !o.dir.modTime.After(before) {
		o.dir.modTime = before.Add(1) // each change is seen
	}
	f.unsynced = append(f.unsynced, o)
}

// reclaim gives back the space of a file that has neither names nor handles.
func (f *FS) reclaim(n *node) {
	if n.links == 0 && n.opens == 0 && !n.isDir() {
		f.used -= n.cur.size
	}
}

// syncEntries makes the names in dir durable.
func (f *FS) syncEntries(dir *node) {
	for _, o := range f.unsynced {
		if o.dir != dir || o.over {
			continue
		}
		o.over = true
		for _, other := range [...]*entryOp{o.after, o.with} {
			if other != nil && !other.over {
				f.syncEntries(other.dir)
			}
		}
		o.apply(dir.durable)
	}
}

// failEntries is what a write-back of dir that fails does: the names count as
// clean and are not durable. Who asks is told later.
func (f *FS) failEntries(dir *node) {
	for _, o := range f.unsynced {
		if !o.over && (o.dir == dir || o.after != nil && o.after.gone || o.with != nil && o.with.dir == dir) {
			o.over, o.gone = true, true
			o.dir.failed.set()
			f.failed.set()
		}
	}
}

// compact drops what is over from the unsynced entries, and those of folders
// that neither a lookup nor a power cut can find again.
func (f *FS) compact() {
	f.unsynced = slices.DeleteFunc(f.unsynced, func(o *entryOp) bool { return o.over })
	if len(f.unsynced) == 0 {
		return
	}
	found := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		if n == nil || !n.isDir() || found[n] {
			return
		}
		found[n] = true
		for _, c := range n.entries {
			visit(c)
		}
		for _, c := range n.durable {
			visit(c)
		}
	}
	visit(f.root)
	for _, o := range f.unsynced {
		if found[o.dir] {
			visit(o.sets[0].to) // the other one only takes a name away
		}
	}
	f.unsynced = slices.DeleteFunc(f.unsynced, func(o *entryOp) bool { return !found[o.dir] })
}
