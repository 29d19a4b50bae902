package files

import (
	"testing"
	"time"
)

// A copy that is found before anything was read of its file is no other file: once the file
// is truncated, it is what was in there. If it was taken for another one, for nothing was
// truncated for long, what it has is no hole.
func TestCopyOfAnUnreadFile(t *testing.T) {
	for _, late := range []time.Duration{0, time.Second, 3 * time.Second, time.Minute} {
		for _, behind := range []string{"", text("a", 100, 120)} {
			inWorld(t, func(w *world) {
				w.sink.setRoom(0)
				w.up()
				w.write("a.log", text("a", 0, 100))
				w.scan()
				w.copy("a.log", "a.log.1")
				w.pass(1100*time.Millisecond + late)
				// What is written between the copy and the truncation is lost, and seen.
				var holes []string
				if behind != "" {
					w.write("a.log", behind)
					w.scan()
					holes = []string{"truncated 400"}
				}
				w.truncate("a.log", 0)
				w.write("a.log", text("b", 0, 200))
				w.scan()
				w.sink.setRoom(-1)
				w.pass(20 * time.Second)
				w.wantEach(text("a", 0, 100)+text("b", 0, 200), holes...)
			})
		}
	}
}

// A file that is moved away, copied back and written to goes on: it is not waited for until
// nothing comes any more.
func TestCopiedBackAndWritten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.scan()
		w.rename("a.log", "a.log.1")
		w.copy("a.log.1", "a.log")
		for i := range 20 {
			w.write("a.log", text("b", i, i+1))
			w.scan()
		}
		// That it is a copy of what is still there is not known: all of it is another file.
		w.want(text("a", 0, 100) + text("a", 0, 100) + text("b", 0, 20))
	})
}

// The files of a program that begins each with the same header wait for each other no
// longer than a copy would, however they grow, while nothing can be read.
func TestSameHeaderUnread(t *testing.T) {
	inWorld(t, func(w *world) {
		header := text("header", 0, 60)
		w.sink.setRoom(0)
		w.up()
		w.write("a.log", header+text("a", 0, 500))
		w.scan()
		w.rename("a.log", "a.log.1")
		w.write("a.log", header+text("b", 0, 1))
		w.scan()
		if n := w.counters().Files.Load(); n != 2 {
			t.Errorf("%d files are known, want 2", n)
		}
		w.sink.setRoom(-1)
		w.pass(20 * time.Second)
		w.want(header + text("a", 0, 500) + header + text("b", 0, 1))
	})
}
