package files

import (
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watcher wakes inputs when something happens in the folders that they look at. All of it
// is help only: what it misses, the next scan finds.
type watcher struct {
	m *Manager
	w *fsnotify.Watcher

	mu     sync.Mutex
	wanted map[*input]map[string]bool
	by     map[string]bool // the folders that are watched, or can't be
	again  time.Time       // when those that could not be watched are tried again
}

// newWatcher returns nil if there are no events.
func newWatcher(m *Manager) *watcher {
	w, err := fsnotify.NewBufferedWatcher(1024)
	if err != nil {
		m.o.Log.Warn("no events of the file system: files are looked at once in each scan-interval", "error", err)
		return nil
	}
	return &watcher{m: m, w: w, wanted: make(map[*input]map[string]bool), by: make(map[string]bool)}
}

func (w *watcher) close() { w.w.Close() }

func (w *watcher) run() {
	for {
		select {
		case e, ok := <-w.w.Events:
			if !ok {
				return
			}
			w.tell(e)
		case err, ok := <-w.w.Errors:
			if !ok {
				return
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				w.m.tell.say(sayAgain, slog.LevelWarn, "events", "events of the file system fail", slog.Any("error", err))
			}
			w.m.each(func(in *input) { in.happened("", false) })
		}
	}
}

func (w *watcher) tell(e fsnotify.Event) {
	if e.Op == fsnotify.Chmod {
		return
	}
	dir := filepath.Dir(e.Name)
	w.mu.Lock()
	defer w.mu.Unlock()
	for in, dirs := range w.wanted {
		if dirs[dir] || dirs[e.Name] {
			in.happened(e.Name, e.Op == fsnotify.Write)
		}
	}
	if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		delete(w.by, e.Name) // a folder that is gone is not watched any more
	}
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
		for dir, ok := range w.by {
			if !ok {
				delete(w.by, dir)
			}
		}
	}
	for dir := range dirs {
		if _, known := w.by[dir]; known {
			continue
		}
		w.by[dir] = false
		if remote(dir) {
			w.m.tell.say(365*24*time.Hour, slog.LevelInfo, dir, "no events come from this file system: the folder is looked at once in each scan-interval")
			continue
		}
		if err := w.w.Add(dir); err != nil {
			w.m.tell.say(sayAgain, slog.LevelWarn, "events", "a folder can't be watched: it is looked at once in each scan-interval", slog.String("folder", dir), slog.Any("error", err))
			continue
		}
		w.by[dir], added = true, true
	}
	for dir, watched := range w.by {
		if !w.isWanted(dir) {
			if watched {
				w.w.Remove(dir)
			}
			delete(w.by, dir)
		}
	}
	return added
}

func (w *watcher) isWanted(dir string) bool {
	for _, dirs := range w.wanted {
		if dirs[dir] {
			return true
		}
	}
	return false
}
