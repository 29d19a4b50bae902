package files

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/identity"
)

// changing is a file that is truncated and written anew before one of the looks at it.
type changing struct {
	t             *testing.T
	before, after string
	looks         int // before it changes
}

func (c *changing) now() string {
	if c.looks--; c.looks >= 0 {
		return c.before
	}
	return c.after
}

func (c *changing) ReadAt(p []byte, at int64) (int, error) {
	return strings.NewReader(c.now()).ReadAt(p, at)
}

func (c *changing) Close() error { return nil }

func (c *changing) Stat() (os.FileInfo, error) {
	path := c.t.TempDir() + "/f"
	if err := os.WriteFile(path, []byte(c.now()), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return os.Stat(path)
}

// Whenever a file is truncated and written anew while it is looked at: what it holds then
// never counts as having grown, or as having been cut back, before.
func TestMeasureWhileItChanges(t *testing.T) {
	before := text("before", 0, 100)
	for _, after := range []string{text("after", 0, 120), text("after", 0, 90), ""} {
		for _, at := range []int64{0, 400, 1600} {
			for looks := range 5 {
				f := strings.NewReader(before)
				tail := &tail{file: feed.File{PrefixLen: identity.PrefixMost}}
				tail.split.At = at
				var err error
				if tail.file.Prefix, err = identity.Prefix(f, identity.PrefixMost); err != nil {
					t.Fatal(err)
				}
				if tail.check, err = identity.Anchor(f, at); err != nil {
					t.Fatal(err)
				}
				size, same, err := tail.measure(&changing{t: t, before: before, after: after, looks: looks})
				if err != nil {
					t.Fatal(err)
				}
				if same && size != int64(len(before)) {
					t.Errorf("it had %d bytes, then others, of which there are %d: after %d looks, %d bytes count", len(before), len(after), looks, size)
				}
				if looks == 0 && same || looks == 4 && !same {
					t.Errorf("after %d looks it is the same: %v", looks, same)
				}
			}
		}
	}
}

// What is behind a line that was begun counts only if it belongs to that.
func TestPeekWhileItChanges(t *testing.T) {
	inWorld(t, func(w *world) {
		w.conf.Lines.Max = 100_000
		w.write("a.log", strings.Repeat("a", 2*peekBytes))
		w.up()
		w.scan()
		in := w.m.inputs["in"]
		w.must(in.do(context.Background(), func() {
			for tail := range in.tails {
				w.truncate("a.log", 0)
				w.write("a.log", strings.Repeat("b", 3*peekBytes))
				if in.peek(tail) || tail.size != 2*peekBytes {
					t.Errorf("another file's bytes count: %d bytes were seen", tail.size)
				}
			}
		}))
		w.write("a.log", "\n")
		w.pass(10 * time.Second)
		w.want(strings.Repeat("b", 3*peekBytes), "truncated 8192")
	})
}
