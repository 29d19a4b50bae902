package files

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watcher wakes inputs when something happens in the folders that they look at. What it
// misses, the next scan finds.
//
// It also tells them where nothing has happened. The kernel queues an event before the call
// that it is about returns, and says so if it had to leave one out. So where a file system
// is this machine's alone, a folder need not be read again, nor its files be looked at one
// by one, while there is no event: see [watcher.mark].
type watcher struct {
	m *Manager
	w *notifier

	mu     sync.Mutex
	wanted map[*input]map[string]bool
	by     map[string]*watched // the folders that are watched, or can't be
	dirs   map[key]string      // what is watched by which name
	shared map[key]bool        // what was watched by two: events come by one of them alone
	marks  int64               // the last one that was given
	again  time.Time           // when those that could not be watched are tried again
}

// watched is a folder that events are wanted of.
type watched struct {
	is   bool  // it is watched; else that was tried
	key  key   // what is watched, if all that happens there is told; 0 if not
	mark int64 // another one whenever more happens than that a file is written to
}

// kind is that of a file system.
type kind uint8

const (
	unknown kind = iota // there may be changes without an event
	remote              // others change it, and this machine has no events of that
	local               // this machine alone does
)

// notifier is where events come from: a fsnotify.Watcher, but in tests.
type notifier struct {
	events      <-chan fsnotify.Event
	errors      <-chan error
	add, remove func(dir string) error
	close       func() error
}

func newNotifier() (*notifier, error) {
	w, err := fsnotify.NewBufferedWatcher(1024)
	if err != nil {
		return nil, err
	}
	return &notifier{w.Events, w.Errors, w.Add, w.Remove, w.Close}, nil
}

// newWatcher returns nil if there are no events.
func newWatcher(m *Manager) *watcher {
	w, err := m.notifier()
	if err != nil {
		m.o.Log.Warn("no events of the file system: files are looked at once in each scan-interval", "error", err)
		return nil
	}
	return &watcher{m: m, w: w, wanted: make(map[*input]map[string]bool), by: make(map[string]*watched), dirs: make(map[key]string), shared: make(map[key]bool)}
}

func (w *watcher) close() { w.w.close() }

func (w *watcher) run() {
	for {
		select {
		case e, ok := <-w.w.events:
			if !ok {
				return
			}
			w.tell(e)
		case err, ok := <-w.w.errors:
			if !ok {
				return
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				w.m.tell.say(sayAgain, slog.LevelWarn, "events", "events of the file system fail", slog.Any("error", err))
			}
			w.m.each(func(in *input) { in.missedEvents() })
		}
	}
}

func (w *watcher) tell(e fsnotify.Event) {
	if e.Op == fsnotify.Chmod {
		return
	}
	dir, written := filepath.Dir(e.Name), e.Op == fsnotify.Write
	w.mu.Lock()
	defer w.mu.Unlock()
	if !written {
		for _, path := range []string{dir, e.Name} {
			if f := w.by[path]; f != nil {
				f.mark = w.newMark()
			}
		}
	}
	for in, dirs := range w.wanted {
		if dirs[dir] || dirs[e.Name] {
			in.happened(e.Name, written)
		}
	}
	if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		w.leave(e.Name) // a folder that is gone is not watched any more
	}
}

// leave forgets a folder that is not watched any more, or could not be.
func (w *watcher) leave(dir string) {
	if f := w.by[dir]; f != nil && w.dirs[f.key] == dir {
		delete(w.dirs, f.key)
	}
	delete(w.by, dir)
}

func (w *watcher) newMark() int64 {
	w.marks++
	return w.marks
}

// mark returns a number for a folder, another one whenever more may have happened in it than
// that files were written to; 0 if that would not be told.
func (w *watcher) mark(dir string, k key) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.by[dir]
	if f == nil || f.key == (key{}) || w.shared[f.key] || len(w.shared) > maxRecords {
		return 0
	}
	if f.key != k { // one above it was renamed: it is another folder that is watched
		w.w.remove(dir)
		w.leave(dir)
		return 0
	}
	return f.mark
}

// want says which folders an input looks at; nil for none. It reports whether there are
// new ones: what has happened in them before they were watched is not told.
func (w *watcher) want(in *input, dirs map[string]bool) (added bool) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if dirs == nil {
		delete(w.wanted, in)
	} else {
		w.wanted[in] = dirs
	}
	if now.After(w.again) {
		w.again = now.Add(time.Minute)
		for dir, f := range w.by {
			if !f.is {
				w.leave(dir)
			}
		}
	}
	for dir := range dirs {
		if w.by[dir] != nil {
			continue
		}
		f := new(watched)
		w.by[dir] = f
		kind := w.m.kindOf(dir)
		if kind == remote {
			w.m.tell.say(365*24*time.Hour, slog.LevelInfo, dir, "no events come from this file system: the folder is looked at once in each scan-interval")
			continue
		}
		before := folderKey(dir)
		if err := w.w.add(dir); err != nil {
			w.m.tell.say(sayAgain, slog.LevelWarn, "events", "a folder can't be watched: it is looked at once in each scan-interval", slog.String("folder", dir), slog.Any("error", err))
			continue
		}
		f.is, added = true, true
		if kind == local && before != (key{}) && before == folderKey(dir) {
			f.key, f.mark = before, w.newMark()
			if w.dirs[f.key] != "" {
				w.shared[f.key] = true
			}
			w.dirs[f.key] = dir
		}
	}
	for dir, f := range w.by {
		if !w.isWanted(dir) {
			if f.is {
				w.w.remove(dir)
			}
			w.leave(dir)
		}
	}
	return added
}

func folderKey(dir string) key {
	fi, err := os.Stat(dir)
	if err != nil {
		return key{}
	}
	k, _ := keyOf(fi)
	return k
}

func (w *watcher) isWanted(dir string) bool {
	for _, dirs := range w.wanted {
		if dirs[dir] {
			return true
		}
	}
	return false
}
