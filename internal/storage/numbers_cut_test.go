package storage

import (
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// cutHook is a file system that calls a function when the cache of numbered batches is about
// to be removed, and tells when a file has been read up to an offset.
type cutHook struct {
	vfs.FS
	removes func()
	file    string
	upTo    int64
	read    chan struct{}
	once    sync.Once
}

func (h *cutHook) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if name == layout.ProducersFile("t") && flag&vfs.ReadWrite != 0 && h.removes != nil {
		removes := h.removes
		h.removes = nil
		removes()
	}
	f, err := h.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return cutFile{f, name, h}, nil
}

type cutFile struct {
	vfs.File
	name string
	h    *cutHook
}

func (f cutFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	if f.h.removes == nil && f.name == f.h.file && off+int64(n) >= f.h.upTo {
		f.h.once.Do(func() { close(f.h.read) })
	}
	return n, err
}

// TestNumbersCutWhileRead: a log is being cut off while the table of its numbered batches is
// read. What is cut off is not known again: who sends it once more would be told that it is
// stored, and it is not.
func TestNumbersCutWhileRead(t *testing.T) {
	const batches = 40 // more than is read at once while nobody may append
	body := strings.Repeat("x", 40_000)
	var kept, tail run
	for seq := range int64(batches) {
		kept.number("t", "a", seq+1, body)
	}
	tail.number("t", "a", batches+1, body)
	end := int64(len(kept.data))
	for _, cached := range []bool{false, true} {
		disk := vfstest.New()
		s := openMem(t, disk, Options{Managed: true})
		l := mustCreate(t, s, "t")
		led := func(r run) LedResult {
			t.Helper()
			must(t, l.ReadyNumbers(t.Context()))
			res, err := l.AppendLed(t.Context(), &LedRun{Offset: l.Next(), Parts: []Part{{Data: r.data, Extents: r.extents}}})
			must(t, err)
			return res
		}
		led(kept)
		led(tail)
		must(t, s.Close())
		hook := &cutHook{FS: disk, file: "t/0.log", upTo: end + 1, read: make(chan struct{})}
		for _, name := range disk.Names() {
			if name != layout.ProducersFile("t") {
				continue
			}
			if !cached {
				must(t, disk.Remove(name))
				continue
			}
			b, err := disk.ReadFile(name)
			must(t, err)
			hook.file, hook.upTo = name, int64(len(b))
		}
		s = openStore(t, Options{FS: hook, Managed: true})
		l = mustLog(t, s, "t")
		ready := make(chan error, 1)
		hook.removes = func() {
			go func() { ready <- l.ReadyNumbers(t.Context()) }()
			<-hook.read
		}
		must(t, l.TruncateTo(t.Context(), end))
		if hook.removes != nil {
			t.Fatal("no cache was removed")
		}
		must(t, <-ready)
		if res := led(tail); res.Bytes != int64(len(tail.data)) || res.Offset != end {
			t.Errorf("cached %v: of what was cut off %d bytes are stored again at %d, want %d at %d: %+v", cached, res.Bytes, res.Offset, len(tail.data), end, res.Parts)
		}
	}
}
