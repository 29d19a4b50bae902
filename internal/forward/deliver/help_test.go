package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/render"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
	"github.com/logd-dev/logd/logdtest"
)

func config(t *testing.T, s *logdtest.Server, disk vfs.FS) Config {
	t.Helper()
	cc := s.ClientConfig()
	cc.ReconnectAttempts = 1
	c, err := logd.NewClient(cc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return Config{
		Client: c, FS: disk, Memory: 8 << 20, SpoolBytes: 64 << 20, LedgerBytes: 64 << 20, DeadBytes: 1 << 20,
		BatchSize: 4096, BatchAge: time.Millisecond, InFlight: 4, SpoolSync: 20 * time.Millisecond,
		MaxTopics: 3, Fallback: "other", Host: "here", Logger: slog.New(slog.DiscardHandler),
	}
}

func begin(t *testing.T, cfg Config, inputs ...Input) *Delivery {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range inputs {
		d.SetInput(in)
	}
	return d
}

func input(t testing.TB, name, topic string) Input {
	t.Helper()
	tmpl, err := render.ParseTemplate(topic)
	if err != nil {
		t.Fatal(err)
	}
	return Input{Name: name, Topic: tmpl}
}

// reads begins to read what is known of a file, or new.
func reads(t *testing.T, d *Delivery, state feed.File, from feed.Replay) feed.Replayed {
	t.Helper()
	src, err := d.File(state, from)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func idle(t *testing.T, d *Delivery) {
	t.Helper()
	testkit.Eventually(t, func() string {
		n, _, _ := d.Waiting()
		return testkit.Unless(n == 0, fmt.Sprintf("%d messages wait; lanes: %+v", n, d.Lanes()))
	})
}

// stored returns the messages of a topic.
func stored(t *testing.T, c *logd.Client, topic string) (all []string) {
	t.Helper()
	for at := int64(0); ; {
		r, err := c.Read(t.Context(), topic, at, logd.ReadOptions{})
		if errors.Is(err, logd.ErrNotFound) { // or nothing is in it yet
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Batches) == 0 {
			return all
		}
		for _, b := range r.Batches {
			for m := range b.All() {
				all = append(all, string(m.Body))
			}
		}
		at = r.Next
	}
}

// file is a file in memory, of lines with LF.
type file struct {
	mu   sync.Mutex
	data []byte
}

func (f *file) write(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data = append(f.data, s+"\n"...)
}

// numbered returns a file of n lines.
func numbered(n int) *file {
	f := new(file)
	for i := range n {
		f.write(fmt.Sprint("line ", i))
	}
	return f
}

// lines returns some lines from a position on.
func (f *file) lines(from int64, most int) (all []feed.Line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for at := from; len(all) < most; {
		i := bytes.IndexByte(f.data[at:], '\n')
		if i < 0 {
			break
		}
		end := at + int64(i) + 1
		body := bytes.Clone(f.data[at : end-1])
		all = append(all, feed.Line{Message: feed.Message{Body: body}, From: feed.Position{At: at}, To: feed.Position{At: end}})
		at = end
	}
	return all
}

func (f *file) Replay(_ context.Context, how string, from, to feed.Position, yield func(*feed.Line) error) error {
	for _, l := range f.lines(from.At, 1<<30) {
		if l.From.At >= to.At {
			break
		}
		if err := yield(&l); err != nil {
			return err
		}
	}
	return nil
}

func anchor(p feed.Position) feed.Anchor { return feed.Anchor{At: p.At, Hash: uint64(p.At) * 7} }

// read offers what is there until stop is closed and all is offered, or d has ended.
func (f *file) read(d *Delivery, src feed.Replayed, stop <-chan struct{}) {
	room := d.Room()
	for {
		lines := f.lines(src.Read().At, 50)
		n := src.Offer(lines, anchor)
		if n > 0 {
			continue
		}
		wait := time.After(time.Millisecond)
		if len(lines) == 0 {
			select {
			case <-stop:
				return
			case <-wait:
			}
			continue
		}
		select {
		case <-room:
		case <-wait:
		case <-d.life.Done():
			return
		}
	}
}

// killed returns the disk as a kill leaves it, after which nothing more is written.
func killed(disk *vfstest.FS) *vfstest.FS {
	disk.FailAt(1, vfstest.Fault{Forever: true})
	image := vfstest.New()
	for _, name := range disk.Names() {
		if data, err := disk.ReadFile(name); err == nil {
			image.WriteFile(name, data)
		}
	}
	return image
}
