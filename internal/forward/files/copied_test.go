package files

import (
	"context"
	"os"
	"testing"
	"time"
)

// What is written behind a copy may be read before the file is truncated. Then the copy is
// shorter than what was read, and has nothing that is new.
func TestCopyOfLessThanWasRead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.scan()
		w.copy("a.log", "a.log.1")
		w.write("a.log", text("a", 100, 110))
		w.scan()
		w.truncate("a.log", 0)
		w.write("a.log", text("b", 0, 100))
		w.pass(20 * time.Second)
		w.want(text("a", 0, 110) + text("b", 0, 100))
	})
}

// Of such a copy nothing is left out that is neither stored nor in the spool: a restart
// would find it there alone.
func TestCopyOfLessThanWasReadAndAKill(t *testing.T) {
	for _, spool := range []int64{0, -1} {
		inWorld(t, func(w *world) {
			w.sink.lazy = true
			w.sink.setSpool(spool)
			w.write("a.log", text("a", 0, 100))
			w.up()
			w.sink.store(60)
			w.copy("a.log", "a.log.1")
			w.write("a.log", text("a", 100, 110))
			w.scan()
			w.truncate("a.log", 0)
			w.write("a.log", text("b", 0, 100))
			w.scan()
			w.down()
			w.up()
			w.pass(20 * time.Second)
			w.sink.store(-1)
			if spool == 0 { // what only the agent had is gone
				w.wantEach(text("a", 0, 100)+text("b", 0, 100), "truncated 200")
			} else {
				w.wantEach(text("a", 0, 110) + text("b", 0, 100))
			}
		})
	}
}

// What is known of the beginning of a file is written down before a position behind it.
func TestKilledBeforeTheNextScan(t *testing.T) {
	inWorld(t, func(w *world) {
		w.emptied()
		w.write("a.log", text("b", 0, 100))
		w.sink.setRoom(50)
		in := w.m.inputs["in"]
		w.must(in.do(context.Background(), func() { in.glance(in.byPath[w.path("a.log")]) })) // as for an event
		w.pass(0)
		w.want(text("a", 0, 100) + text("b", 0, 50))
		w.down()
		w.sink.setRoom(-1)
		w.copy("a.log", "old")
		w.truncate("a.log", 0)
		w.write("a.log", text("c", 0, 100))
		w.up()
		w.pass(20 * time.Second)
		w.wantEach(text("a", 0, 100) + text("b", 0, 100) + text("c", 0, 100))
	})
}

// A file that gets another name while the agent looks for it is looked for again.
func TestMovedWhileItIsLookedFor(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.rename("a.log", "a.log.1")
		w.scan()
		w.down()
		w.beforeOpen("a.log.1", func() {
			w.rename("a.log.1", "a.log.2")
			w.write("a.log.1", text("b", 0, 100))
		})
		w.up()
		w.pass(20 * time.Second)
		w.wantEach(text("a", 0, 100) + text("b", 0, 100))
	})
}

// If the first line behind NULs waits for room when the file is truncated again, it is not
// for more NULs to come with the next one.
func TestBlockedBehindNULs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.scan()
		w.sink.setRoom(0)
		for _, next := range []struct {
			name string
			at   int64
		}{{"b", 2000}, {"c", 3000}} {
			w.truncate("a.log", 0)
			if next.name == "b" {
				w.scan()
			}
			w.writeAt("a.log", text(next.name, 0, 50), next.at)
			w.scan()
			w.sink.wake()
			w.scan()
		}
		w.sink.setRoom(-1)
		w.pass(20 * time.Second)
		for _, b := range w.sink.bodies() {
			if b[0] == 0 {
				t.Fatalf("a line begins with NULs: %q", b)
			}
		}
	})
}

// What is left of a file that was truncated before anything of it was stored is not taken for
// the file after a kill, though both begin with as many NULs as are known of a beginning: the first text
// tells that it is another one.
func TestTruncatedBehindNULs(t *testing.T) {
	for name, test := range map[string]func(w *world, truncate func()){
		"killed before": func(w *world, truncate func()) {
			w.down()
			truncate()
			w.up()
		},
		"killed behind": func(w *world, truncate func()) {
			truncate()
			w.down()
			w.up()
		},
	} {
		for _, glob := range []string{"*", "*.log"} {
			t.Run(name+" "+glob, func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.conf.Glob = w.path(glob)
					w.emptied()
					w.sink.lazy = true
					w.writeAt("a.log", text("b", 0, 100), 2000)
					w.scan()
					w.copy("a.log", "a.log.1")
					test(w, func() {
						w.truncate("a.log", 0)
						w.writeAt("a.log", text("c", 0, 100), 4000)
					})
					w.pass(20 * time.Second)
					w.sink.store(-1)
					w.wantEach(text("a", 0, 100) + text("b", 0, 100) + text("c", 0, 100))
				})
			})
		}
	}
}

// Nor is it if nothing of the file was taken yet.
func TestTruncatedBehindNULsBlocked(t *testing.T) {
	for _, glob := range []string{"*", "*.log"} {
		inWorld(t, func(w *world) {
			w.conf.Glob = w.path(glob)
			w.emptied()
			w.sink.setRoom(0)
			w.writeAt("a.log", text("b", 0, 100), 2000)
			w.scan()
			w.copy("a.log", "a.log.1")
			w.truncate("a.log", 0)
			w.writeAt("a.log", text("c", 0, 100), 4000)
			w.scan()
			w.sink.setRoom(-1)
			w.pass(20 * time.Second)
			w.wantEach(text("a", 0, 100) + text("b", 0, 100) + text("c", 0, 100))
		})
	}
}

// What is known of the beginning of a file is written down before a hole, too.
func TestLostBeforeTheNextScan(t *testing.T) {
	inWorld(t, func(w *world) {
		w.emptied()
		in := w.m.inputs["in"]
		w.must(in.do(context.Background(), func() {
			w.write("a.log", text("b", 0, 100))
			in.glance(in.byPath[w.path("a.log")]) // as for an event
			w.truncate("a.log", 0)
			in.scan()
		}))
		w.pass(20 * time.Second)
		w.want(text("a", 0, 100), "truncated 2000")
	})
}

// A copy that has nothing but NULs yet is waited for.
func TestCopyOfNULsIsBeingMade(t *testing.T) {
	for _, room := range []int64{0, -1} {
		inWorld(t, func(w *world) {
			w.emptied()
			w.sink.setRoom(room)
			w.writeAt("a.log", text("b", 0, 100), 4000)
			w.scan()
			w.writeAt("a.log.1", "\x00", 2000)
			w.scan()
			w.writeAt("a.log.1", text("b", 0, 100), 4000)
			w.truncate("a.log", 0)
			w.scan()
			w.sink.setRoom(-1)
			w.pass(20 * time.Second)
			w.wantEach(text("a", 0, 100) + text("b", 0, 100))
		})
	}
}

// A copy has the inode of an older one, and is renamed while the agent looks at it: what it
// is now could not be looked at, so it is not taken for the older one.
func TestCopyInAnotherInodeIsMoved(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("a.log.2", text("old", 0, 100))
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.pass(2 * idleClose) // they are not open any more
		w.rename("a.log.2", "a.log.1")
		w.truncate("a.log.1", 0)
		w.write("a.log.1", text("a", 0, 100))
		w.truncate("a.log", 0)
		w.write("a.log", text("b", 0, 100))
		w.beforeOpen("a.log.1", func() {
			w.rename("a.log.1", "a.log.2")
		})
		w.pass(20 * time.Second)
		w.wantEach(text("old", 0, 100) + text("a", 0, 100) + text("b", 0, 100))
	})
}

// A file that was truncated when a scan had just found it was truncated all the same: the NULs
// that it begins with then are no text.
func TestTruncatedWhenItIsFound(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("a.log", text("a", 0, 100))
		w.beforeOpen("a.log", func() {
			w.truncate("a.log", 0)
		})
		w.up()
		w.writeAt("a.log", text("b", 0, 100), 2000)
		w.pass(20 * time.Second)
		w.want(text("b", 0, 100))
	})
}

// That a file was truncated is known after a kill, too, if what was left of it was not
// decided yet.
func TestKilledBeforeWhatIsLeftIsDecided(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.scan()
		w.copy("a.log", "a.log.1")
		w.truncate("a.log", 0)
		w.denied.Store(w.path("a.log"))
		w.scan()
		w.down()
		w.writeAt("a.log", text("b", 0, 100), 2000)
		w.denied.Store("")
		w.up()
		w.pass(20 * time.Second)
		w.want(text("a", 0, 100) + text("b", 0, 100))
	})
}

// A copy has the inode of a file that was removed, of which a scan could not decide yet whether
// its rest is elsewhere: it is not taken for that file.
func TestCopyInInodeOfLost(t *testing.T) {
	inWorld(t, func(w *world) {
		w.conf.Glob = w.path("*.log")
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.scan()
		w.copy("a.log", "a.log.1")
		w.truncate("a.log", 0)
		w.scan()
		w.write("a.log", text("b", 0, 50))
		w.scan()
		w.down()
		w.sink.setRoom(0)
		w.write("a.log", text("b", 50, 100))
		w.write("other", text("other", 0, 200))
		w.must(os.Mkdir(w.path("away"), 0o700))
		var opened, moved int
		before := func(path string) {
			switch path {
			case w.path("a.log.1"):
				if opened++; opened == 2 { // it was known again just before
					w.rename("a.log.1", "away/x")
				}
			case w.path("other"):
				if moved++; moved > 1 {
					break
				}
				w.rename("other", "another")
				w.truncate("away/x", 0)
				w.write("away/x", text("b", 0, 100))
				w.rename("away/x", "a.log.2")
				w.truncate("a.log", 0)
				w.write("a.log", text("c", 0, 10))
			}
		}
		w.before.Store(&before)
		w.up()
		w.scan()
		w.sink.setRoom(-1)
		w.pass(20 * time.Second)
		if opened < 2 || moved == 0 {
			t.Errorf("opened %d times, moved %d times", opened, moved)
		}
		w.wantEach(text("a", 0, 100) + text("b", 0, 100) + text("c", 0, 10))
	})
}

// A copy is written over an older one when a scan has just looked at that: it is not taken for
// the older one.
func TestCopyOverAnOlderOne(t *testing.T) {
	for name, test := range map[string]struct {
		glob string
		old  int
	}{
		"of another size":               {"*.log*", 100},
		"of the same size":              {"*.log*", 200},
		"out of glob, of another size":  {"*.log", 100},
		"out of glob, of the same size": {"*.log", 200},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.conf.Glob = w.path(test.glob)
				w.write("a.log", text("old", 0, test.old))
				w.up()
				w.scan()
				w.copy("a.log", "a.log.1")
				w.truncate("a.log", 0)
				w.scan()
				w.write("a.log", text("a", 0, 100))
				w.pass(2 * idleClose) // they are not open any more
				w.write("a.log", text("a", 100, 200))
				w.beforeOpen("a.log", func() {
					w.copy("a.log", "a.log.1")
					w.truncate("a.log", 0)
					w.write("a.log", text("b", 0, 10))
				})
				w.pass(20 * time.Second)
				w.wantEach(text("old", 0, test.old) + text("a", 0, 200) + text("b", 0, 10))
			})
		})
	}
}
