package files

import (
	"os"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// rounds is how many scans there are at most between two looks at a file that rests.
const rounds = 10

// silently does something of which the agent gets no event.
func (w *world) silently(f func()) {
	w.tell()
	f()
	w.events.next()
}

// resting runs a test in worlds with events, once for each place that a scan may have in the
// round of looks. A file was read, and nothing has happened for long.
func resting(t *testing.T, before, test func(*world)) {
	t.Helper()
	for i := range rounds {
		inOne(t, true, func(w *world) {
			w.conf.Glob = w.dir + "/p/*/*.log"
			w.must(os.MkdirAll(w.path("p/x"), 0o700))
			w.write("p/x/a.log", text("a", 0, 10))
			if before != nil {
				before(w)
			}
			w.up()
			if w.m.watch == nil {
				t.Skip("there are no events here")
			}
			for range 2*rounds + i {
				w.scan()
			}
			w.want(text("a", 0, 10))
			test(w)
		})
	}
}

// grows writes to a file, and returns how many scans it takes until that is read.
func (w *world) grows(path string, from int) (scans int) {
	w.t.Helper()
	w.silently(func() { w.write(path, text("a", from, from+10)) })
	for scans = 1; scans <= 2*rounds; scans++ {
		w.pass(w.m.inputs["in"].ScanInterval)
		if w.differs(text("a", 0, from+10)) == nil {
			return scans
		}
	}
	w.want(text("a", 0, from+10))
	return scans
}

// Where events tell of changes, a file that rests is looked at in one of ten scans. If it
// has grown then, and no event has told of it, each scan looks at the files of its folder.
func TestRestingFiles(t *testing.T) {
	most := 0
	resting(t, nil, func(w *world) {
		most = max(most, w.grows("p/x/a.log", 10))
		w.scan() // within which an event may still come
		for range 2 * rounds {
			w.scan()
		}
		if n := w.grows("p/x/a.log", 20); n > 1 {
			t.Errorf("though events of the folder are known not to come, it took %d scans", n)
		}
	})
	if !t.Failed() && most != rounds {
		t.Errorf("it took up to %d scans to find what no event told of, want %d", most, rounds)
	}
}

// An event, or word that some were missed, has a file looked at that rests.
func TestRestingFileIsWoken(t *testing.T) {
	soon := func(w *world, lines string) {
		w.t.Helper()
		w.pass(100 * time.Millisecond)
		w.want(lines)
	}
	resting(t, nil, func(w *world) {
		w.write("p/x/a.log", text("a", 10, 20))
		soon(w, text("a", 0, 20))
		w.pass(3 * w.m.inputs["in"].ScanInterval)
		w.silently(func() { w.write("p/x/a.log", text("a", 20, 30)) })
		w.m.inputs["in"].missedEvents()
		soon(w, text("a", 0, 30))
		if len(w.m.inputs["in"].blind) > 0 {
			t.Error("the folder is not trusted any more, though all events have come or were known to be missed")
		}
		// All the others are found with one that is renamed.
		w.silently(func() { w.write("p/x/a.log", text("a", 30, 40)) })
		k := folderKey(w.path("p/x"))
		mark := w.m.watch.mark(w.path("p/x"), k)
		w.write("p/x/new", "not of the pattern")
		w.rename("p/x/new", "p/x/newer")
		soon(w, text("a", 0, 40))
		if w.m.watch.mark(w.path("p/x"), k) == mark {
			t.Error("a file was renamed, and the folder has the mark that it had")
		}
	})
}

// A folder is trusted though a scan was faster than an event.
func TestEventBehindTheScan(t *testing.T) {
	resting(t, nil, func(w *world) {
		w.grows("p/x/a.log", 10)
		w.m.watch.tell(fsnotify.Event{Name: w.path("p/x/a.log"), Op: fsnotify.Write})
		for range 3 {
			w.scan()
		}
		if len(w.m.inputs["in"].blind) > 0 {
			t.Error("the folder is not trusted any more")
		}
	})
}

// What could change without an event does not rest.
func TestWhatDoesNotRest(t *testing.T) {
	for name, before := range map[string]func(*world){
		"another name":        func(w *world) { w.must(os.Link(w.path("p/x/a.log"), w.path("elsewhere"))) },
		"another file system": func(w *world) { w.kind = unknown },
		"a link": func(w *world) {
			w.rename("p/x/a.log", "elsewhere")
			w.must(os.Symlink("../../elsewhere", w.path("p/x/a.log")))
		},
		"two names of the folder": func(w *world) { w.must(os.Symlink("x", w.path("p/y"))) },
	} {
		t.Run(name, func(t *testing.T) {
			resting(t, before, func(w *world) {
				if n := w.grows("p/x/a.log", 10); n > 1 {
					t.Errorf("it took %d scans", n)
				}
			})
		})
	}
}

// If one above it is renamed, another folder may have the path of one that is watched, and
// that tells nothing of it.
func TestAnotherFolderIsWatched(t *testing.T) {
	resting(t, func(w *world) { w.conf.Glob = w.path("p/x/*.log") }, func(w *world) {
		w.silently(func() {
			w.rename("p", "q")
			w.must(os.MkdirAll(w.path("p/x"), 0o700))
			w.write("p/x/a.log", text("b", 0, 10))
		})
		w.scan()
		w.want(text("a", 0, 10) + text("b", 0, 10))
		w.write("p/x/a.log", text("b", 10, 20))
		w.pass(100 * time.Millisecond)
		w.want(text("a", 0, 10) + text("b", 0, 20))
	})
}
