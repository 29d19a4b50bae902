package files

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/forward/lines"
	"github.com/logd-dev/logd/internal/testkit"
)

// world is a folder with logs, and an agent that reads them. It lives in a bubble of
// synctest, so that scans and waits take no time: pass lets time go by.
type world struct {
	t    *testing.T
	dir  string
	sink *sink
	conf Config
	opt  Options
	m    *Manager
	stop func()
	logs testkit.Buffer // what was logged and done

	events *inotify     // nil while there are none
	kind   kind         // of the file system, for the agent
	denied atomic.Value // a path that can't be opened, a string
	// wrap, if it is set, is between the agent and each file that it opens.
	wrap func(content) content
	// before, if it is set, is called before the agent opens a path.
	before atomic.Pointer[func(path string)]
}

// inWorld runs a test in a world whose agent is not started: in one without events, and in
// one where they come.
func inWorld(t *testing.T, test func(*world)) {
	t.Helper()
	t.Run("without events", func(t *testing.T) { inOne(t, false, test) })
	t.Run("with events", func(t *testing.T) { inOne(t, true, test) })
}

func inOne(t *testing.T, events bool, test func(*world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, sink: newSink(t), kind: local}
		w.conf = Config{Name: "in", Glob: dir + "/*.log*", Lines: lines.Settings{Max: 100}}
		w.opt = Options{NoEvents: !events}
		defer w.down()
		test(w)
	})
}

func (w *world) up() {
	w.t.Helper()
	var err error
	w.opt.Sink = w.sink
	w.opt.Log = slog.New(slog.NewTextHandler(&w.logs, nil))
	if w.m, err = New(w.opt, []Config{w.conf}); err != nil {
		w.t.Fatal(err)
	}
	w.m.rest = 0 // whatever is at its end rests
	w.m.kindOf = func(string) kind { return w.kind }
	w.m.notifier = func() (*notifier, error) {
		var err error
		if w.events, err = newInotify(); err != nil {
			return nil, err
		}
		return w.events.notifier(), nil
	}
	w.m.openFile = func(path string) (content, error) {
		if before := w.before.Load(); before != nil {
			(*before)(path)
		}
		if path == w.denied.Load() {
			return nil, &os.PathError{Op: "open", Path: path, Err: os.ErrPermission}
		}
		f, err := openFile(path)
		if err != nil || w.wrap == nil {
			return f, err
		}
		return w.wrap(f), nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.m.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		if n := w.m.open.Load(); n != 0 {
			w.t.Errorf("%d descriptors are counted behind the end", n)
		}
	}
	synctest.Wait()
	w.sink.recover()
	synctest.Wait()
}

// down ends the agent; what was not stored is forgotten.
// beforeOpen has something done once, before a file is opened for the first time from now on.
func (w *world) beforeOpen(name string, do func()) {
	var done atomic.Bool
	before := func(path string) {
		if path == w.path(name) && done.CompareAndSwap(false, true) {
			do()
		}
	}
	w.before.Store(&before)
}

// emptied is a.log, of 100 lines, that was read and truncated. It is known without any
// content.
func (w *world) emptied() {
	w.write("a.log", text("a", 0, 100))
	w.up()
	w.scan()
	w.truncate("a.log", 0)
	w.scan()
}

func (w *world) down() {
	if w.stop != nil {
		w.stop()
		w.stop, w.events = nil, nil
		w.sink.crash()
	}
}

func (w *world) pass(d time.Duration) {
	w.tell()
	time.Sleep(d)
	synctest.Wait()
}

// tell lets the agent have the events of what was done.
func (w *world) tell() {
	if w.events != nil && w.m.watch != nil {
		for _, e := range w.events.next() {
			w.m.watch.tell(e)
		}
	}
}

// scan lets a scan come by, and what it begins.
func (w *world) scan() { w.pass(1100 * time.Millisecond) }

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// write appends to a file.
func (w *world) write(name, text string) {
	w.t.Helper()
	f, err := os.OpenFile(w.path(name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	w.must(err)
}

// writeAt writes as a program without O_APPEND: before the place there may be NULs.
func (w *world) writeAt(name, text string, at int64) {
	w.t.Helper()
	f, err := os.OpenFile(w.path(name), os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteAt([]byte(text), at)
		f.Close()
	}
	w.must(err)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) rename(from, to string) { w.t.Helper(); w.must(os.Rename(w.path(from), w.path(to))) }
func (w *world) remove(name string)     { w.t.Helper(); w.must(os.Remove(w.path(name))) }
func (w *world) truncate(name string, n int64) {
	w.t.Helper()
	w.must(os.Truncate(w.path(name), n))
}

func (w *world) copy(from, to string) {
	w.t.Helper()
	b, err := os.ReadFile(w.path(from))
	w.must(err)
	w.must(os.WriteFile(w.path(to), b, 0o600))
}

// text is the lines of a writer from one number up to another, of 20 bytes each.
func text(writer string, from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%-8s %10d\n", writer, i)
	}
	return b.String()
}

// want says that these lines were taken, in order, and that there are these holes.
func (w *world) want(lines string, holes ...string) {
	w.t.Helper()
	if err := w.differs(lines, holes...); err != nil {
		w.t.Errorf("%v\nlog:\n%s", err, w.logs.String())
	}
}

func (w *world) differs(lines string, holes ...string) error {
	got := w.sink.bodies()
	want := strings.Split(strings.TrimSuffix(lines, "\n"), "\n")
	if lines == "" {
		want = nil
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			at := func(s []string) string { return fmt.Sprintf("%q", s[min(i, len(s)):min(i+3, len(s))]) }
			return fmt.Errorf("%d lines were taken, want %d; at %d there is %s, want %s", len(got), len(want), i, at(got), at(want))
		}
	}
	if got := w.sink.holes(); !slices.Equal(got, holes) {
		return fmt.Errorf("holes %q, want %q", got, holes)
	}
	return nil
}

// wantEach is want for lines in whatever order.
func (w *world) wantEach(lines string, holes ...string) {
	w.t.Helper()
	got := slices.Sorted(slices.Values(w.sink.bodies()))
	want := slices.Sorted(strings.SplitSeq(strings.TrimSuffix(lines, "\n"), "\n"))
	if !slices.Equal(got, want) {
		w.t.Errorf("%d lines were taken, want %d", len(got), len(want))
	}
	if got := w.sink.holes(); !slices.Equal(got, holes) {
		w.t.Errorf("holes %q, want %q\nlog:\n%s", got, holes, w.logs.String())
	}
}

func (w *world) counters() *Counters { return w.m.Counters()["in"] }

func TestFollow(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("a.log", text("a", 0, 10))
		w.write("b.txt", "not mine\n")
		w.up()
		<-w.m.Ready()
		w.want(text("a", 0, 10))
		w.write("a.log", text("a", 10, 20)+"begun")
		w.scan()
		w.want(text("a", 0, 20))
		w.write("a.log", " and ended\n")
		w.scan()
		w.want(text("a", 0, 20) + "begun and ended\n")
		w.scan()
		if n := w.counters(); n.Files.Load() != 1 || n.Open.Load() != 1 || n.LagBytes.Load() != 0 {
			t.Errorf("files %d, open %d, lag %d", n.Files.Load(), n.Open.Load(), n.LagBytes.Load())
		}
		// At rest it is closed, and opened when it grows.
		w.pass(6 * time.Minute)
		if n := w.counters().Open.Load(); n != 0 {
			t.Errorf("%d files are open after 6 minutes of rest", n)
		}
		w.write("a.log", "more\n")
		w.scan()
		w.want(text("a", 0, 20) + "begun and ended\nmore\n")
		// A new run goes on where this one was.
		w.down()
		w.write("a.log", "and more\n")
		w.up()
		w.want(text("a", 0, 20) + "begun and ended\nmore\nand more\n")
	})
}

func TestStartAtEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		w.conf.AtEnd, w.conf.First = true, true
		w.write("a.log", text("a", 0, 10))
		w.write("empty.log", "")
		w.up()
		w.want("")
		w.write("a.log", text("a", 10, 20))
		w.scan()
		w.want(text("a", 10, 20))
		w.write("b.log", text("b", 0, 10))
		w.scan()
		w.want(text("a", 10, 20) + text("b", 0, 10))
		w.write("empty.log", text("e", 0, 10))
		w.scan()
		w.want(text("a", 10, 20) + text("b", 0, 10) + text("e", 0, 10))
	})
	inWorld(t, func(w *world) {
		w.conf.AtEnd = true // but it is not the first start
		w.write("a.log", text("a", 0, 10))
		w.up()
		w.want(text("a", 0, 10))
	})
}

func TestWhatIsLeftOut(t *testing.T) {
	inWorld(t, func(w *world) {
		w.conf.Exclude = []string{w.dir + "/x*"}
		w.opt.StateDir = w.path("state.log")
		w.conf.Glob = w.dir + "/**/*.log*"
		w.write("a.log", "a\n")
		w.write("a.log.gz", "compressed\n")
		w.write("x.log", "excluded\n")
		w.write(".nfs1.log", "nfs\n")
		w.must(os.Mkdir(w.path("state.log"), 0o700))
		w.write("state.log/b.log", "state\n")
		w.must(os.Mkdir(w.path("folder.log"), 0o700))
		w.must(os.Symlink(w.path("a.log"), w.path("link.log")))
		w.must(os.Symlink("nowhere", w.path("dead.log")))
		mkfifo(t, w.path("fifo.log"))
		w.up()
		w.scan()
		w.want("a\n")
		w.scan()
		for _, name := range []string{"a.log.gz", "fifo.log", "state.log/b.log"} {
			if n := strings.Count(w.logs.String(), "source="+w.path(name)); n != 1 {
				t.Errorf("%s is named %d times:\n%s", name, n, w.logs.String())
			}
		}
	})
}

// Rotations in all the ways that there are, while the agent reads, while it is blocked, and
// while it is down. All lines come once, and in order.
func TestRotations(t *testing.T) {
	first, second, third := text("first", 0, 100), text("second", 100, 200), text("third", 200, 300)
	type op func(w *world)
	rename := func(w *world) { w.rename("a.log", "a.log.1"); w.write("a.log", third) }
	for _, test := range []struct {
		name   string
		rotate op
		late   string // what the old file gets after it was rotated
		glob   string
	}{
		{"rename", rename, "a.log.1", ""},
		{"rename out of the glob", func(w *world) { w.rename("a.log", "old"); w.write("a.log", third) }, "old", ""},
		{"rename, the name is not in the glob", rename, "a.log.1", "a.log"},
		{"twice", func(w *world) {
			w.rename("a.log", "a.log.2")
			w.write("a.log", third)
			w.rename("a.log", "a.log.1")
			w.write("a.log", "")
		}, "a.log.2", ""},
		{"copytruncate", func(w *world) {
			w.copy("a.log", "a.log.1")
			w.truncate("a.log", 0)
			w.write("a.log", third)
		}, "", ""},
		{"copytruncate out of the glob", func(w *world) {
			w.copy("a.log", "old")
			w.truncate("a.log", 0)
			w.write("a.log", third)
		}, "", ""},
		{"copytruncate, and longer again", func(w *world) {
			w.copy("a.log", "a.log.1")
			w.truncate("a.log", 0)
			w.write("a.log", third+text("fourth", 300, 500))
		}, "", ""},
	} {
		want := first + second + third
		if strings.HasSuffix(test.name, "again") {
			want += text("fourth", 300, 500)
		}
		begin := func(w *world) {
			if test.glob != "" {
				w.conf.Glob = w.path(test.glob)
			}
		}
		t.Run(test.name, func(t *testing.T) {
			t.Run("up", func(t *testing.T) {
				inWorld(t, func(w *world) {
					begin(w)
					w.write("a.log", first)
					w.up()
					w.scan()
					w.write("a.log", second)
					w.scan()
					test.rotate(w)
					w.scan()
					w.pass(10 * time.Second)
					w.want(want)
				})
			})
			t.Run("up, not read to the end", func(t *testing.T) {
				inWorld(t, func(w *world) {
					begin(w)
					w.write("a.log", first)
					w.up()
					w.scan()
					w.write("a.log", second)
					test.rotate(w)
					w.scan()
					w.pass(10 * time.Second)
					w.want(want)
				})
			})
			t.Run("blocked", func(t *testing.T) {
				inWorld(t, func(w *world) {
					begin(w)
					w.sink.setRoom(50)
					w.write("a.log", first)
					w.up()
					w.scan()
					w.write("a.log", second)
					w.scan()
					test.rotate(w)
					w.pass(20 * time.Second)
					w.want(text("first", 0, 50))
					w.sink.setRoom(100)
					w.scan()
					w.sink.setRoom(-1)
					w.pass(10 * time.Second)
					w.want(want)
				})
			})
			t.Run("down", func(t *testing.T) {
				inWorld(t, func(w *world) {
					begin(w)
					w.sink.setRoom(80)
					w.write("a.log", first)
					w.up()
					w.scan()
					w.down()
					w.write("a.log", second)
					test.rotate(w)
					w.sink.setRoom(-1)
					w.up()
					w.pass(20 * time.Second)
					w.want(want)
				})
			})
			if test.late == "" {
				return
			}
			t.Run("written to behind it", func(t *testing.T) {
				inWorld(t, func(w *world) {
					begin(w)
					w.write("a.log", first)
					w.up()
					w.scan()
					w.write("a.log", second[:2000-7])
					w.scan()
					test.rotate(w)
					w.pass(2 * time.Second)
					w.write(test.late, second[2000-7:])
					w.pass(20 * time.Second)
					w.want(want)
				})
			})
		})
	}
}

// The test above can fail: a file that is removed while nobody looks is missing, and known
// to be.
func TestRemovedWhileDown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sink.setRoom(80)
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.scan()
		w.down()
		w.write("new", text("b", 0, 100)) // while the old one has its inode
		w.rename("new", "a.log")
		w.sink.setRoom(-1)
		w.up()
		w.pass(10 * time.Second)
		w.want(text("a", 0, 80)+text("b", 0, 100), "gone 400")
	})
}

func TestTruncatedWithoutACopy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sink.setRoom(80)
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.scan()
		w.write("a.log", text("a", 100, 110))
		w.scan()
		w.truncate("a.log", 0)
		w.write("a.log", text("b", 0, 300)) // longer than before
		w.scan()
		w.sink.setRoom(-1)
		w.scan()
		w.want(text("a", 0, 80)+text("b", 0, 300), "truncated 600")
		if n := w.counters().Truncations.Load(); n != 1 {
			t.Errorf("%d truncations, want 1", n)
		}
	})
}

// A program without O_APPEND leaves NULs where its text was.
func TestNULsBehindATruncation(t *testing.T) {
	for _, down := range []bool{false, true} {
		inWorld(t, func(w *world) {
			w.emptied()
			if down {
				w.down()
			}
			f, err := os.OpenFile(w.path("a.log"), os.O_WRONLY, 0)
			w.must(err)
			_, err = f.WriteAt([]byte(text("b", 0, 100)), 2000)
			w.must(err)
			f.Close()
			if down {
				w.up()
			}
			w.scan()
			w.want(text("a", 0, 100) + text("b", 0, 100))
			if n := w.counters().NULs.Load(); n != 2000 {
				t.Errorf("%d NULs, want 2000", n)
			}
			w.down()
			w.up()
			w.scan()
			w.want(text("a", 0, 100) + text("b", 0, 100))
		})
	}
}

// The copies of what a program without O_APPEND writes all begin with the same NULs.
func TestCopiesOfNULs(t *testing.T) {
	for _, copied := range []string{"a.log.%d", "a-%d.log"} {
		inWorld(t, func(w *world) {
			w.write("a.log", text("g0", 0, 100))
			w.up()
			want, end := "", int64(len(text("g0", 0, 100)))
			for i := range 4 {
				w.scan()
				want += text(fmt.Sprint("g", i), 0, 100)
				w.want(want)
				w.copy("a.log", fmt.Sprintf(copied, i))
				w.truncate("a.log", 0)
				if i%2 == 0 {
					w.scan()
				}
				f, err := os.OpenFile(w.path("a.log"), os.O_WRONLY, 0)
				w.must(err)
				more := text(fmt.Sprint("g", i+1), 0, 100)
				_, err = f.WriteAt([]byte(more), end)
				w.must(err)
				f.Close()
				end += int64(len(more))
			}
			w.pass(10 * time.Second)
			w.want(want + text("g4", 0, 100))
		})
	}
}

// What is written between the copy and the truncation, and was seen, is a hole; what the
// copy has is not.
func TestWrittenBehindTheCopy(t *testing.T) {
	for _, outside := range []bool{false, true} {
		inWorld(t, func(w *world) {
			copied := "a.log.1"
			if outside {
				copied = "old"
			}
			w.write("a.log", text("a", 0, 100))
			w.up()
			w.scan()
			w.sink.setRoom(0)
			w.write("a.log", text("a", 100, 150))
			w.scan()
			w.copy("a.log", copied)
			w.write("a.log", text("a", 150, 160))
			w.scan()
			w.truncate("a.log", 0)
			w.write("a.log", text("b", 0, 300))
			w.scan()
			w.sink.setRoom(-1)
			w.pass(10 * time.Second)
			// By source: what is read of the copy is one of its own, without what was cut off.
			w.want(text("a", 0, 100)+text("b", 0, 300)+text("a", 100, 150), "truncated 200")
		})
	}
}

func TestUnlinked(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sink.lazy = true
		w.sink.setRoom(10)
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.scan()
		w.remove("a.log")
		w.scan()
		w.want(text("a", 0, 100))
		// All of it is safe now, without any of it being stored.
		r := w.sink.sources()[0]
		if r.stored != 100 || r.spilt != 90 {
			t.Errorf("%d are safe, %d were spilled", r.stored, r.spilt)
		}
		w.pass(10 * time.Second)
		if !r.forgot.Load() || w.counters().Open.Load() != 0 {
			t.Errorf("forgotten %v, %d open", r.forgot.Load(), w.counters().Open.Load())
		}
	})
}

func TestUnlinkedAndTheSpoolIsFull(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opt.UnlinkedMax = 2500
		w.sink.setRoom(0)
		w.sink.setSpool(10)
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.remove("a.log")
		w.scan()
		w.want(text("a", 0, 10))
		if n := w.counters().UnlinkedBytes.Load(); n != 1800 {
			t.Errorf("%d bytes are held open, want 1800", n)
		}
		w.write("b.log", text("b", 0, 100))
		w.scan()
		w.remove("b.log")
		w.pass(20 * time.Second)
		// The older one is given up.
		w.want(text("a", 0, 10), "gone 1800")
		w.sink.setSpool(-1)
		w.pass(20 * time.Second)
		w.want(text("a", 0, 10)+text("b", 0, 100), "gone 1800")
		if n := w.counters(); n.UnlinkedBytes.Load() != 0 || n.Open.Load() != 0 {
			t.Errorf("%d bytes, %d open", n.UnlinkedBytes.Load(), n.Open.Load())
		}
	})
}

func TestSymlinkTurned(t *testing.T) {
	for _, how := range []string{"up", "blocked", "down"} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.conf.Glob = w.path("current.log")
				w.must(os.Mkdir(w.path("d"), 0o700))
				w.write("d/1", text("a", 0, 100))
				w.must(os.Symlink("d/1", w.path("current.log")))
				if how != "up" {
					w.sink.setRoom(50)
				}
				w.up()
				w.scan()
				if how == "down" {
					w.down()
				}
				w.write("d/1", text("a", 100, 120))
				w.write("d/2", text("b", 0, 100))
				w.must(os.Symlink("d/2", w.path("new")))
				w.rename("new", "current.log")
				if how == "down" {
					w.up()
				}
				w.scan()
				w.sink.setRoom(-1)
				w.pass(10 * time.Second)
				w.want(text("a", 0, 120) + text("b", 0, 100))
			})
		})
	}
}

// An editor writes a new file and gives it the name of the old one.
func TestSavedByAnEditor(t *testing.T) {
	for _, down := range []bool{false, true} {
		inWorld(t, func(w *world) {
			w.write("a.log", text("a", 0, 100))
			w.up()
			w.scan()
			if down {
				w.down()
			}
			w.copy("a.log", "tmp")
			w.write("tmp", text("a", 100, 110))
			w.rename("tmp", "a.log")
			if down {
				w.up()
			}
			w.pass(10 * time.Second)
			w.want(text("a", 0, 110))
			w.write("a.log", text("a", 110, 120))
			w.scan()
			w.want(text("a", 0, 120))
		})
		// One of less than 1024 bytes comes again whole, as the docs say.
		inWorld(t, func(w *world) {
			w.write("a.log", text("a", 0, 10))
			w.up()
			w.scan()
			w.copy("a.log", "tmp")
			w.rename("tmp", "a.log")
			w.pass(10 * time.Second)
			w.want(text("a", 0, 10) + text("a", 0, 10))
		})
	}
}

func TestNewCopies(t *testing.T) {
	inWorld(t, func(w *world) {
		w.conf.NewCopies = true
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.scan()
		w.copy("a.log", "tmp")
		w.rename("tmp", "a.log")
		w.scan()
		w.want(text("a", 0, 100) + text("a", 0, 100))
	})
}

// The same first 1024 bytes make no same file.
func TestSameBeginning(t *testing.T) {
	header := text("header", 0, 100)
	for _, how := range []string{"up", "down"} {
		inWorld(t, func(w *world) {
			w.write("a.log", header+text("a", 0, 50))
			w.up()
			w.scan()
			if how == "down" {
				w.down()
			}
			w.rename("a.log", "a.log.1")
			w.write("a.log", header+text("b", 0, 60))
			w.write("b.log", header+text("c", 0, 40))
			if how == "down" {
				w.up()
			}
			w.pass(20 * time.Second)
			w.want(header + text("a", 0, 50) + header + text("b", 0, 60) + header + text("c", 0, 40))
			// Cut back to the header, and other text behind it.
			w.truncate("a.log", int64(len(header)))
			w.write("a.log", text("d", 0, 70))
			w.pass(20 * time.Second)
			w.want(header + text("a", 0, 50) + header + text("b", 0, 60) + header + text("c", 0, 40) + header + text("d", 0, 70))
		})
	}
}

// The same in two files is read twice: that they are two is known once both were there for
// a while.
func TestSameContentInTwoFiles(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("a.log", text("a", 0, 100))
		w.write("b.log", text("a", 0, 100))
		w.up()
		w.scan()
		w.want(text("a", 0, 100) + text("a", 0, 100))
		w.copy("a.log", "c.log")
		w.scan()
		w.want(text("a", 0, 100) + text("a", 0, 100))
		w.pass(10 * time.Second)
		w.want(text("a", 0, 100) + text("a", 0, 100) + text("a", 0, 100))
	})
}

// An inode that is used again holds another file.
func TestInodeReuse(t *testing.T) {
	for _, how := range []string{"up", "down"} {
		inWorld(t, func(w *world) {
			reused := 0
			want := ""
			w.up()
			for i := range 30 {
				name := fmt.Sprintf("w%d", i)
				w.write("a.log", text(name, 0, 60+i))
				want += text(name, 0, 60+i)
				w.scan()
				before := inode(t, w.path("a.log"))
				w.pass(6 * time.Minute) // it is closed: its inode is free when it is removed
				if how == "down" {
					w.down()
				}
				w.remove("a.log")
				w.write("a.log", text(name+"new", 0, 61+i))
				want += text(name+"new", 0, 61+i)
				if inode(t, w.path("a.log")) == before {
					reused++
				}
				if how == "down" {
					w.up()
				}
				w.scan()
				w.remove("a.log")
				w.pass(10 * time.Second)
			}
			w.want(want)
			if reused == 0 {
				t.Skip("the file system used no inode again")
			}
		})
	}
}

// A copy that is being made may have the inode of a file that was removed.
func TestCopyOnAReusedInode(t *testing.T) {
	inWorld(t, func(w *world) {
		want := ""
		for i := range 20 { // of which each has text of its own: the same may be the same file
			old, a := text(fmt.Sprint("old", i), 0, 100), text(fmt.Sprint("a", i), 0, 100)
			want += old + a
			w.write("old.log", old)
			if i == 0 {
				w.up()
			}
			w.pass(6 * time.Minute) // it is closed
			before := inode(t, w.path("old.log"))
			w.write("a.log", a)
			w.scan()
			w.remove("old.log")
			w.write("a.log.1", "")
			reused := inode(t, w.path("a.log.1")) == before
			w.scan() // sees the copy without content
			w.copy("a.log", "a.log.1")
			w.truncate("a.log", 0)
			w.pass(10 * time.Second)
			if reused {
				w.want(want)
				return
			}
			w.remove("a.log.1")
			w.remove("a.log")
			w.pass(10 * time.Second)
		}
		t.Skip("the file system used no inode again")
	})
}

// Cut back: what stays is read from the last anchor on, at most a batch twice.
func TestCutBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sink.lazy = true
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.sink.store(80)
		w.sink.store(10)
		w.scan()
		w.down() // position at 90, the batch before ended at 80
		w.truncate("a.log", 85*20)
		w.sink.lazy = false
		w.up()
		w.scan()
		w.write("a.log", text("b", 0, 10))
		w.scan()
		w.want(text("a", 0, 90)+text("a", 80, 85)+text("b", 0, 10), "truncated 200")
	})
}

// The end of a file is cut off, but not what was read.
func TestEndCutOff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sink.setRoom(50)
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.scan()
		w.truncate("a.log", 80*20)
		w.scan()
		w.write("a.log", text("b", 0, 100))
		w.scan()
		w.sink.setRoom(-1)
		w.scan()
		w.want(text("a", 0, 80)+text("b", 0, 100), "truncated 400")
	})
}

func TestLongLines(t *testing.T) {
	for _, long := range []lines.Long{lines.Split, lines.Truncate, lines.Skip} {
		inWorld(t, func(w *world) {
			w.conf.Lines = lines.Settings{Max: 100, Long: long}
			w.sink.setRoom(3)
			x := strings.Repeat("x", 100)
			w.write("a.log", "a\n"+x+x+x+x+"yy\nb\n")
			w.up()
			w.scan()
			w.down() // within the line, with Split and Truncate
			w.sink.setRoom(-1)
			w.up()
			w.scan()
			switch long {
			case lines.Split:
				w.want("a\n" + x + "\n" + x + "\n" + x + "\n" + x + "\nyy\nb\n")
				var parts []string
				for _, l := range w.sink.sources()[0].lines {
					parts = append(parts, fmt.Sprint(l.Part, l.Last))
				}
				if got := strings.Join(parts, " "); got != "0 false 1 false 2 false 3 false 4 false 5 true 0 false" {
					t.Errorf("parts %s", got)
				}
			case lines.Truncate:
				w.want("a\n"+x+"\nb\n", "too-long 303")
			case lines.Skip:
				w.want("a\nb\n", "too-long 403")
			}
			// Of a line whose beginning is stored, the hole has no message.
			for _, h := range w.sink.sources()[0].holes {
				if want := int64(long - lines.Truncate); h.Messages != want {
					t.Errorf("%s: the hole has %d messages, want %d", long, h.Messages, want)
				}
			}
		})
	}
}

// A line of any length needs no more memory than the buffer.
func TestMemoryOfALongLine(t *testing.T) {
	inWorld(t, func(w *world) {
		w.conf.Lines.Max = 1 << 20
		chunk := strings.Repeat("x", 1<<20)
		f, err := os.Create(w.path("a.log"))
		w.must(err)
		for range 32 {
			f.WriteString(chunk)
		}
		f.WriteString("\n")
		f.Close()
		w.up()
		w.scan()
		w.m.mu.Lock()
		in := w.m.inputs["in"]
		w.m.mu.Unlock()
		if len(in.buf) > 1<<20+1000 {
			t.Errorf("the buffer has %d bytes", len(in.buf))
		}
		if got := w.sink.bodies(); len(got) != 32 {
			t.Errorf("%d parts, want 32", len(got))
		}
	})
}

// A last line without LF is taken when its file is finished, and only then.
func TestUnfinishedLine(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("a.log", "a\nbegun")
		w.up()
		w.pass(time.Minute)
		w.want("a\n")
		w.rename("a.log", "a.log.1")
		w.write("a.log", "new\n")
		w.pass(3 * time.Second)
		if got := w.sink.bodies(); slices.Contains(got, "begun") {
			t.Error("the begun line is taken at once")
		}
		w.pass(10 * time.Second)
		w.want("a\nbegun\nnew\n")
		w.write("a.log.1", "later\n")
		w.pass(10 * time.Second)
		w.want("a\nbegun\nlater\nnew\n")
	})
}

func TestByteByByte(t *testing.T) {
	inWorld(t, func(w *world) {
		w.conf.Lines.Max = 20000
		w.conf.ScanInterval = time.Millisecond
		w.up()
		want := strings.Repeat("abcdefghij", 1000)
		for i := range 1000 {
			w.write("a.log", want[i*10:i*10+10])
			w.pass(time.Millisecond)
		}
		w.want("")
		w.write("a.log", "\nnext\n")
		w.scan()
		w.want(want + "\nnext\n")
	})
}

func TestOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opt.Once = true
		w.opt.Sink = w.sink
		w.write("a.log", text("a", 0, 100)+"unfinished")
		w.write("b.log", text("b", 0, 10))
		w.write("c.log", "")
		m, err := New(w.opt, []Config{w.conf})
		w.must(err)
		w.must(m.Run(w.t.Context()))
		w.want(text("a", 0, 100) + "unfinished\n" + text("b", 0, 10))
		w.sink.crash()
		// Again: there is nothing new.
		m, err = New(w.opt, []Config{w.conf})
		w.must(err)
		w.must(m.Run(w.t.Context()))
		w.want(text("a", 0, 100) + "unfinished\n" + text("b", 0, 10))
	})
}

func TestReload(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sink.setRoom(50)
		w.write("a.log", text("a", 0, 100))
		w.write("b.txt", text("b", 0, 100))
		w.up()
		w.scan()
		// Bad settings change nothing.
		if err := w.m.Reload([]Config{{Name: "in", Glob: "["}}); err == nil {
			t.Error("a bad pattern is taken")
		}
		other := w.conf
		other.Name, other.Glob = "other", w.dir+"/*.txt"
		w.must(w.m.Reload([]Config{other}))
		w.scan()
		w.write("new.log", "not found any more\n")
		if n := len(w.m.Counters()); n != 2 {
			t.Errorf("%d inputs, want the old one, that drains, and the new one", n)
		}
		w.sink.setRoom(-1)
		w.scan()
		w.want(text("a", 0, 100) + text("b", 0, 100))
		if n := len(w.m.Counters()); n != 1 {
			t.Errorf("%d inputs, want the new one", n)
		}
		// Other lengths of lines hold from now on.
		other.Lines.Max = 4
		w.must(w.m.Reload([]Config{other}))
		w.scan()
		w.write("b.txt", "123456\n")
		w.scan()
		w.want(text("a", 0, 100) + text("b", 0, 100) + "1234\n56\n")
	})
}

func TestReplay(t *testing.T) {
	for _, long := range []lines.Long{lines.Split, lines.Truncate, lines.Skip} {
		inWorld(t, func(w *world) {
			w.conf.Lines = lines.Settings{Max: 100, Long: long, TrimCR: true}
			x := strings.Repeat("x", 100)
			w.write("a.log", "a\nb\r\n"+x+x+"y\nc\n"+x+"\n"+x+x+"\nunfinished")
			w.up()
			w.rename("a.log", "a.log.1")
			w.pass(20 * time.Second)
			w.write("a.log.1", " but longer\n") // the last line was taken before
			w.scan()
			r := w.sink.sources()[0]
			how := r.file.How
			all := slices.Clone(r.lines)
			if string(all[len(all)-2].Body) != "unfinished" {
				w.t.Fatalf("%v: the last line is %q", long, all[len(all)-2].Body)
			}
			check := func(what string) {
				t.Helper()
				for i := range all {
					for j := i + 1; j <= len(all); j++ {
						k := i
						err := r.replay.Replay(w.t.Context(), how, all[i].From, all[j-1].To, func(l *feedLine) error {
							if k >= j || string(l.Body) != string(all[k].Body) || l.From != all[k].From || l.To != all[k].To || l.Part != all[k].Part || l.Last != all[k].Last {
								return fmt.Errorf("line %+v, want %+v", l, all[min(k, j-1)])
							}
							k++
							return nil
						})
						// An unfinished line in the middle was continued: that can't be seen.
						if i < len(all)-1 && j == len(all) {
							continue
						}
						if err != nil || k != j {
							w.t.Fatalf("%s, %v: lines %d to %d: %d came, %v", what, long, i, j, k-i, err)
						}
					}
				}
			}
			check("in its place")
			w.rename("a.log.1", "elsewhere")
			check("renamed")
			w.copy("elsewhere", "copied")
			w.remove("elsewhere")
			check("copied")
			w.remove("copied")
			if err := r.replay.Replay(w.t.Context(), how, all[0].From, all[1].To, func(*feedLine) error { return nil }); err == nil {
				t.Error("no error where the file is gone")
			}
		})
	}
}

// An error of one file stops no other, and is said once a minute.
func TestFileThatCanNotBeRead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("a.log", text("a", 0, 10))
		w.denied.Store(w.path("a.log"))
		w.write("b.log", text("b", 0, 10))
		w.up()
		w.pass(90 * time.Second)
		w.want(text("b", 0, 10))
		if n := strings.Count(w.logs.String(), "permission denied"); n != 2 {
			t.Errorf("it is said %d times in 90 seconds:\n%s", n, w.logs.String())
		}
		w.denied.Store("")
		w.scan()
		w.want(text("b", 0, 10) + text("a", 0, 10))
		// One that is known is neither lost nor a new one meanwhile.
		w.down()
		w.write("a.log", text("a", 10, 20))
		w.denied.Store(w.path("a.log"))
		w.up()
		w.pass(time.Minute)
		w.rename("a.log", "a.log.1")
		w.denied.Store(w.path("a.log.1"))
		w.pass(time.Minute)
		w.want(text("b", 0, 10) + text("a", 0, 10))
		w.denied.Store("")
		w.scan()
		if got := w.sink.sources(); len(got) != 2 || len(got[1].lines) != 20 {
			t.Errorf("%d sources, taken %q", len(got), w.sink.bodies())
		}
		w.want(text("b", 0, 10) + text("a", 0, 20))
	})
}

func TestDescriptors(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opt.MaxOpen = 3
		w.sink.setRoom(5)
		want := ""
		for i := range 20 {
			w.write(fmt.Sprintf("%02d.log", i), text(fmt.Sprint(i), 0, 10))
			want += text(fmt.Sprint(i), 0, 10)
		}
		w.up()
		w.scan()
		if n := w.counters().Open.Load(); n > 3 {
			t.Errorf("%d files are open, the most is 3", n)
		}
		w.sink.setRoom(-1)
		w.pass(10 * time.Second)
		w.want(want)
		if n := w.counters().Open.Load(); n > 3 {
			t.Errorf("%d files are open, the most is 3", n)
		}
	})
}

func TestForgetAfter(t *testing.T) {
	inWorld(t, func(w *world) {
		w.conf.ForgetAfter = time.Hour
		w.write("a.log", text("a", 0, 100))
		w.write("b.log", text("b", 0, 100))
		w.up()
		w.scan()
		w.pass(10 * time.Minute)
		w.remove("a.log")
		w.pass(50 * time.Minute)
		if r := w.sink.sources(); r[0].forgot.Load() || r[1].forgot.Load() {
			t.Error("forgotten too early")
		}
		w.pass(20 * time.Minute)
		if r := w.sink.sources(); !r[0].forgot.Load() || r[1].forgot.Load() {
			t.Errorf("forgotten: %v and %v", r[0].forgot.Load(), r[1].forgot.Load())
		}
	})
}

func TestSources(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sink.lazy = true
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.sink.store(50)
		w.pass(10 * time.Second)
		all, err := w.m.Sources(w.t.Context())
		if err != nil || len(all) != 1 {
			w.t.Fatalf("%+v, %v", all, err)
		}
		s := all[0]
		if s.Path != w.path("a.log") || s.Position != 1000 || s.Size != 2000 || s.Lag < 9*time.Second || s.Lag > 11*time.Second || s.Input != "in" || !slices.Equal(s.Wild, []string{"a", ""}) {
			t.Errorf("%+v", s)
		}
		if n := w.counters(); n.LagBytes.Load() != 1000 || time.Duration(n.LagNanos.Load()) < 8*time.Second {
			t.Errorf("lag %d bytes, %v", n.LagBytes.Load(), time.Duration(n.LagNanos.Load()))
		}
		if time.Since(w.m.Beat()) > 2*time.Second {
			t.Errorf("the last beat was at %v", w.m.Beat())
		}
	})
}
