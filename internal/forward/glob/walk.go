package glob

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	Names         uint64 // how many it has, in all folders
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

	// Mark returns a number for a folder: another one than before whenever the names in it
	// may have changed since, 0 if that can't be known. A [Walker] reads a folder again if
	// it has another number than it had, if its times are others, and now and then.
	Mark func(path string, device, inode uint64) int64
	// Known is shown what the last look at a file has found, if its folder was not read
	// again. If it reports true that is enough: the file is not looked at, and File is not
	// called.
	Known func(*Found) bool
}

// Walk looks for what matches now. ** follows no symlinks; other parts of the pattern do.
// A file may be found more than once, by several paths or several ways.
func (g *Glob) Walk(v Visitor) { NewWalker(g).Walk(v) }

// rare is in how many walks a folder is read once, if nothing says that it has changed.
const rare = 10

// Walker walks again and again. If its visitors have a Mark, it keeps what it has found, and
// so need not read all folders each time. It is not safe for concurrent use.
type Walker struct {
	g     *Glob
	walks int64
	have  map[string]*listing
}

// NewWalker returns one that has not walked yet.
func NewWalker(g *Glob) *Walker { return &Walker{g: g, have: make(map[string]*listing)} }

// Walk is as [Glob.Walk].
func (r *Walker) Walk(v Visitor) {
	r.walks++
	w := walk{v: v, parts: r.g.parts, r: r}
	w.folder("/", 0, nil, "")
	if len(r.have) > w.folders {
		maps.DeleteFunc(r.have, func(_ string, l *listing) bool { return l.walk != r.walks })
	}
}

// listing is what a folder has that a part of the pattern is about.
type listing struct {
	walk  int64 // the last one that came by
	again int64 // the walk that is to read it again
	mark  int64
	state state
	files []Found // that match; those that could not be looked at have an inode of 0
	below []below
}

// below is a folder in which the walk goes on.
type below struct {
	path   string
	part   int
	wild   []string
	stands string
}

// state is what changes with the names in a folder.
type state struct {
	device, inode uint64
	modified      int64
	changed       int64
}

type walk struct {
	v       Visitor
	parts   []part
	r       *Walker
	st      unix.Stat_t
	id      []byte
	folders int // that are kept
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
			w.file(unix.AT_FDCWD, path, &Found{Path: path, Wild: wild})
			w.visited(dir)
			return
		}
		dir = path
	}
	if w.v.Mark == nil {
		w.read(dir, &listing{}, i, wild, stands)
		return
	}
	// The times of the folder come before its mark, and both before its names.
	if err := stat(unix.AT_FDCWD, dir, &w.st, 0); err != nil {
		w.fail(dir, err)
		return
	}
	now := state{uint64(w.st.Dev), uint64(w.st.Ino), modified(&w.st), changed(&w.st)}
	mark := w.v.Mark(dir, now.device, now.inode)
	l := w.kept(dir, i, wild, stands)
	l.walk = w.r.walks
	if mark != 0 && mark == l.mark && now == l.state && w.r.walks < l.again {
		w.again(dir, l)
		return
	}
	wait := int64(rare)
	if l.again == 0 { // not all in the same walk
		wait -= int64(now.inode % rare)
	}
	l.mark, l.state, l.again = mark, now, w.r.walks+wait
	if !w.read(dir, l, i, wild, stands) {
		l.mark = 0
	}
}

// kept returns what was found in a folder by this way, or an empty listing.
func (w *walk) kept(dir string, i int, wild []string, stands string) *listing {
	w.id = append(strconv.AppendInt(w.id[:0], int64(i), 10), dir...)
	for _, s := range append(wild[:len(wild):len(wild)], stands) {
		w.id = append(append(w.id, 0), s...)
	}
	w.folders++
	l := w.r.have[string(w.id)]
	if l == nil {
		l = new(listing)
		w.r.have[string(w.id)] = l
	}
	return l
}

// again visits a folder that is as it was.
func (w *walk) again(dir string, l *listing) {
	w.visited(dir)
	for i := range l.files {
		if f := &l.files[i]; f.Inode == 0 || w.v.Known == nil || !w.v.Known(f) {
			w.file(unix.AT_FDCWD, f.Path, f)
		}
	}
	for _, b := range l.below {
		w.folder(b.path, b.part, b.wild, b.stands)
	}
}

// read reads a folder, and reports whether it could.
func (w *walk) read(dir string, l *listing, i int, wild []string, stands string) bool {
	l.files, l.below = l.files[:0], nil
	f, err := os.Open(dir)
	if err != nil {
		w.fail(dir, err)
		return false
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
	fd, start := int(f.Fd()), strings.TrimSuffix(dir, "/")+"/"
	if last {
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			if got, ok := p.match(e.Name(), slices.Clip(with)); ok {
				found := Found{Path: start + e.Name(), Wild: got}
				w.file(fd, found.Path[len(start):], &found)
				if w.v.Mark != nil {
					l.files = append(l.files, found)
				}
			}
		}
	}
	f.Close() // before others are opened: a deep tree needs one descriptor
	for _, e := range entries {
		if !last && (e.IsDir() || e.Type()&fs.ModeSymlink != 0) {
			if got, ok := p.match(e.Name(), slices.Clip(with)); ok {
				l.below = append(l.below, below{start + e.Name(), next + 1, got, ""})
			}
		}
		if w.parts[i].any && e.IsDir() {
			l.below = append(l.below, below{start + e.Name(), i, wild, filepath.Join(stands, e.Name())})
		}
	}
	for _, b := range l.below {
		w.folder(b.path, b.part, b.wild, b.stands)
	}
	return err == nil
}

func (w *walk) visited(dir string) {
	if w.v.Folder != nil {
		w.v.Folder(dir)
	}
}

// file looks at a path that matches, and tells what is there.
func (w *walk) file(dirfd int, name string, f *Found) {
	if w.look(dirfd, name, f) && w.v.File != nil {
		w.v.File(*f)
	}
}

// look looks at a path, and reports whether there is something.
func (w *walk) look(dirfd int, name string, f *Found) bool {
	*f = Found{Path: f.Path, Wild: f.Wild}
	st := &w.st
	if err := stat(dirfd, name, st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		w.fail(f.Path, err)
		return false
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		f.Link = true
		if err := stat(dirfd, name, st, 0); err != nil {
			w.fail(f.Path, err)
			return false
		}
	}
	f.set(st)
	return true
}

func (f *Found) set(st *unix.Stat_t) {
	f.Changed, f.Names = changed(st), uint64(st.Nlink)
	f.Device, f.Inode, f.Size = uint64(st.Dev), uint64(st.Ino), st.Size
	f.Regular = st.Mode&unix.S_IFMT == unix.S_IFREG
	f.Folder = st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// Look returns what is at a path. A symlink is none of its target.
func Look(path string) (Found, error) {
	f := Found{Path: path}
	var st unix.Stat_t
	err := stat(unix.AT_FDCWD, path, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil {
		f.set(&st)
	}
	return f, err
}

func stat(dirfd int, name string, st *unix.Stat_t, flags int) error {
	for {
		if err := unix.Fstatat(dirfd, name, st, flags); err != unix.EINTR {
			return err
		}
	}
}
