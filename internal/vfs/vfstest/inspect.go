package vfstest

import (
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ReadFile returns a copy of what is visible in a file. Like the other
// methods of this page it is for tests to look behind the scenes: it is no
// operation and meets no fault or limit.
func (f *FS) ReadFile(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.file(name)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return n.cur.bytes(), nil
}

// WriteFile gives a file the content data, all of it synced, and makes the
// file and the folders that it is in where they are missing. They count as
// synced too.
func (f *FS) WriteFile(name string, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.lay(name)
	if err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	f.used += int64(len(data)) - n.cur.size
	n.setSynced(data)
	n.modTime = f.now()
	return nil
}

// SetClock makes files have times of the clock when they are changed.
func (f *FS) SetClock(now func() time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock = now
}

// now returns the time of a change. The caller holds mu.
func (f *FS) now() time.Time {
	if f.clock != nil {
		return f.clock()
	}
	return time.Now()
}

// SetModTime gives a file another time of its last change, as restoring it from
// a backup may.
func (f *FS) SetModTime(name string, at time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.file(name)
	if err != nil {
		return &fs.PathError{Op: "chtimes", Path: name, Err: err}
	}
	n.modTime = at
	return nil
}

// Corrupt changes bytes of a file as a failing disk does, without a trace:
// fn gets the content from off on and changes it in place. What the file then
// shows counts as synced.
func (f *FS) Corrupt(name string, off int64, fn func([]byte)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.file(name)
	if err == nil && (off < 0 || off > n.cur.size) {
		err = syscall.EINVAL
	}
	if err != nil {
		return &fs.PathError{Op: "corrupt", Path: name, Err: err}
	}
	data := make([]byte, n.cur.size-off)
	n.cur.readAt(data, off)
	fn(data)
	n.cur.writeAt(data, off)
	n.synced = n.cur.snapshot()
	n.pending, n.gap = nil, false
	return nil
}

// Names returns the names of all files, and of all folders with a slash
// behind, sorted.
func (f *FS) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	var walk func(n *node, prefix string)
	walk = func(n *node, prefix string) {
		for base, child := range n.entries {
			if child.isDir() {
				names = append(names, prefix+base+"/")
				walk(child, prefix+base+"/")
			} else {
				names = append(names, prefix+base)
			}
		}
	}
	walk(f.root, "")
	slices.Sort(names)
	return names
}

// file finds a file. The caller holds mu.
func (f *FS) file(name string) (*node, error) {
	n, err := f.lookup(name)
	if err == nil && n.isDir() {
		err = syscall.EISDIR
	}
	return n, err
}

// lay finds or makes a file and the folders above it, and makes their names
// durable. The caller holds mu.
func (f *FS) lay(name string) (*node, error) {
	if !fs.ValidPath(name) || name == "." {
		return nil, syscall.EINVAL
	}
	dir := f.root
	for elem, rest := "", name; ; dir = dir.entries[elem] {
		if !dir.isDir() {
			return nil, syscall.ENOTDIR
		}
		var more bool
		elem, rest, more = strings.Cut(rest, "/")
		n := dir.entries[elem]
		if n == nil {
			n = &node{mode: 0o600, modTime: time.Now()}
			if more {
				n = newFolder(0o700, time.Now())
			}
			f.link(&entryOp{dir: dir, sets: [2]entrySet{{elem, n}}})
		}
		// Whatever else is unsynced of this name is superseded.
		for _, o := range f.unsynced {
			if o.dir == dir && (o.sets[0].name == elem || o.sets[1].name == elem) && !o.over {
				o.over = true
				o.apply(dir.durable)
			}
		}
		dir.durable[elem] = n
		if !more {
			f.compact()
			if n.isDir() {
				return nil, syscall.EISDIR
			}
			return n, nil
		}
	}
}
