package files

import (
	"os"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/forward/lines"
)

// torn is a file that changes while it is read: behind the first half of what one call
// reads is what it had, and then what it has.
type torn struct {
	content
	least  int // of the call
	change func()
}

func (t *torn) ReadAt(p []byte, at int64) (int, error) {
	if len(p) < t.least || t.change == nil {
		return t.content.ReadAt(p, at)
	}
	half := t.least / 2
	n, err := t.content.ReadAt(p[:half], at)
	if err != nil {
		return n, err
	}
	t.change()
	t.change = nil
	more, err := t.content.ReadAt(p[half:], at+int64(half))
	return half + more, err
}

// A file that is truncated while it is read, and is longer again at once, has been read in
// part as it was and in part as it is: none of that is taken.
func TestTruncatedWhileItIsRead(t *testing.T) {
	for _, test := range []struct {
		name    string
		before  int // lines that were read before
		appends bool
	}{
		{"from its start", 0, true},
		{"further on", 100, true},
		{"a writer without O_APPEND, from its start", 0, false},
		{"a writer without O_APPEND, further on", 100, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				before := text("a", 0, test.before)
				if test.before > 0 {
					w.write("a.log", before)
				}
				var file *torn
				w.wrap = func(f content) content {
					if file == nil {
						file = &torn{content: f, least: 4000}
						return file
					}
					return f
				}
				w.up()
				w.scan()
				unread := text("a", test.before, test.before+200)
				after := text("b", 0, 400)
				size := int64(len(before) + len(unread))
				change := func() {
					w.copy("a.log", "a.log.1")
					w.truncate("a.log", 0)
					if test.appends {
						w.write("a.log", after)
						return
					}
					f, err := os.OpenFile(w.path("a.log"), os.O_WRONLY, 0)
					w.must(err)
					_, err = f.WriteAt([]byte(after), size)
					w.must(err)
					f.Close()
				}
				if test.before == 0 { // it is opened when there is something to read
					w.wrap = func(f content) content {
						if file == nil {
							file = &torn{content: f, least: 4000, change: change}
							return file
						}
						return f
					}
				} else {
					file.change = change
				}
				w.write("a.log", unread)
				for range 15 {
					w.scan()
				}
				if file.change != nil {
					t.Fatal("it did not change while it was read")
				}
				w.wantEach(before + unread + after)
			})
		})
	}
}

// A file that was truncated more than once while nobody looked, and a copy that nobody has
// seen before: the NULs that they begin with are left out as well.
func TestNULsOfTwoTruncations(t *testing.T) {
	inWorld(t, func(w *world) {
		w.write("a.log", text("a", 0, 100))
		w.up()
		w.scan()
		w.down()
		end := int64(2000)
		for _, next := range []string{"b", "c", "d"} {
			w.copy("a.log", "a.log."+next)
			w.truncate("a.log", 0)
			f, err := os.OpenFile(w.path("a.log"), os.O_WRONLY, 0)
			w.must(err)
			_, err = f.WriteAt([]byte(text(next, 0, 50)), end)
			w.must(err)
			f.Close()
			end += 1000
		}
		w.up()
		w.pass(w.conf.ScanInterval + 20e9)
		w.wantEach(text("a", 0, 100) + text("b", 0, 50) + text("c", 0, 50) + text("d", 0, 50))
		if n := w.counters().NULs.Load(); n != 2000+3000+4000 {
			t.Errorf("%d NULs, want 9000", n)
		}
	})
	// What begins with NULs for reasons of its own is stored as it is.
	inWorld(t, func(w *world) {
		w.write("a.log", "\x00\x00a\n")
		w.up()
		w.scan()
		w.want("\x00\x00a\n")
	})
}

// A position behind a line that was too long is one by which the file is known again.
func TestRestartBehindALongLine(t *testing.T) {
	for _, long := range []lines.Long{lines.Skip, lines.Truncate} {
		inWorld(t, func(w *world) {
			w.conf.Lines.Long = long
			first := text("a", 0, 10)
			w.write("a.log", first+strings.Repeat("x", 200)+"\n")
			w.up()
			w.scan()
			w.down()
			w.up()
			w.write("a.log", text("b", 0, 10))
			w.scan()
			if long == lines.Skip {
				w.want(first+text("b", 0, 10), "too-long 201")
			} else {
				w.want(first+strings.Repeat("x", 100)+"\n"+text("b", 0, 10), "too-long 101")
			}
		})
	}
}
