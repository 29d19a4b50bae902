package glob

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Found is a path that matches, and what a look at it has found. A symlink is what it leads
// to.
type Found struct {
	Path          string
	Wild          []string
	Link          bool // it is a symlink
	Regular       bool // a regular file
	Folder        bool
	Device, Inode uint64
	Size          int64
	// Changed is the time of the last change of the file's content or inode. Two looks that
	// find the same have found the same content, but for what was changed in the same tick
	// of the file system's clock.
	Changed int64
}

// Visitor is told what a walk comes by. The functions that are nil are not called.
type Visitor struct {
	File   func(Found)                  // each path that matches
	Folder func(path string)            // each folder whose names were read
	Error  func(path string, err error) // what could not be read; what does not exist is no error
}

// Walk looks for what matches now. ** follows no symlinks; other parts of the pattern do.
// A file may be found more than once, by several paths or several ways.
func (g *Glob) Walk(v Visitor) {
	w := walk{v: v, parts: g.parts}
	w.folder("/", 0, nil, "")
}

type walk struct {
	v     Visitor
	parts []part
	st    unix.Stat_t
}

func (w *walk) fail(path string, err error) {
	if w.v.Error != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		w.v.Error(path, err)
	}
}

// folder looks in dir for what parts i and the following match. wild is what the wildcards
// before stand for; if part i is **, it stands for the folders of stands so far.
func (w *walk) folder(dir string, i int, wild []string, stands string) {
	for ; w.parts[i].wild == 0; i++ { // a name needs no listing
		path := filepath.Join(dir, w.parts[i].literal)
		if i+1 == len(w.parts) {
			w.file(unix.AT_FDCWD, path, path, wild)
			w.visited(dir)
			return
		}
		dir = path
	}
	f, err := os.Open(dir)
	if err != nil {
		w.fail(dir, err)
		return
	}
	entries, err := f.ReadDir(-1)
	if err != nil {
		w.fail(dir, err)
	}
	w.visited(dir)
	next, with := i, wild
	if w.parts[i].any {
		next, with = i+1, append(slices.Clip(wild), stands)
	}
	p, last := &w.parts[next], next+1 == len(w.parts)
	fd, below := int(f.Fd()), strings.TrimSuffix(dir, "/")+"/"
	if last {
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			if got, ok := p.match(e.Name(), slices.Clip(with)); ok {
				w.file(fd, e.Name(), below+e.Name(), got)
			}
		}
	}
	f.Close() // before others are opened: a deep tree needs one descriptor
	for _, e := range entries {
		if !last && (e.IsDir() || e.Type()&fs.ModeSymlink != 0) {
			if got, ok := p.match(e.Name(), slices.Clip(with)); ok {
				w.folder(below+e.Name(), next+1, got, "")
			}
		}
		if w.parts[i].any && e.IsDir() {
			w.folder(below+e.Name(), i, wild, filepath.Join(stands, e.Name()))
		}
	}
}

func (w *walk) visited(dir string) {
	if w.v.Folder != nil {
		w.v.Folder(dir)
	}
}

// file tells of a path that matches, if there is something.
func (w *walk) file(dirfd int, name, path string, wild []string) {
	st := &w.st
	if err := stat(dirfd, name, st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		w.fail(path, err)
		return
	}
	found := Found{Path: path, Wild: wild, Link: st.Mode&unix.S_IFMT == unix.S_IFLNK}
	if found.Link {
		if err := stat(dirfd, name, st, 0); err != nil {
			w.fail(path, err)
			return
		}
	}
	found.Changed = changed(st)
	found.Device, found.Inode, found.Size = uint64(st.Dev), uint64(st.Ino), st.Size
	found.Regular = st.Mode&unix.S_IFMT == unix.S_IFREG
	found.Folder = st.Mode&unix.S_IFMT == unix.S_IFDIR
	if w.v.File != nil {
		w.v.File(found)
	}
}

func stat(dirfd int, name string, st *unix.Stat_t, flags int) error {
	for {
		if err := unix.Fstatat(dirfd, name, st, flags); err != unix.EINTR {
			return err
		}
	}
}
