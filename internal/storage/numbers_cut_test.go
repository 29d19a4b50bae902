package storage

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

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
		file, upTo := "t/0.log", end+1 // read up to there, it has what is cut off
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
			file, upTo = name, int64(len(b))
		}
		ready, read := make(chan error, 1), make(chan struct{})
		var removing, seen sync.Once
		var cutting, reading atomic.Bool
		hook := &readHook{FS: disk}
		hook.open = func(name string, flag int) {
			if cutting.Load() && name == layout.ProducersFile("t") && flag&vfs.ReadWrite != 0 { // to remove it
				removing.Do(func() {
					reading.Store(true)
					go func() { ready <- l.ReadyNumbers(t.Context()) }()
					<-read
				})
			}
		}
		hook.readTo = func(name string, offset int64) {
			if reading.Load() && name == file && offset >= upTo {
				seen.Do(func() { close(read) })
			}
		}
		s = openStore(t, Options{FS: hook, Managed: true})
		l = mustLog(t, s, "t")
		cutting.Store(true)
		must(t, l.TruncateTo(t.Context(), end))
		must(t, <-ready)
		if res := led(tail); res.Bytes != int64(len(tail.data)) || res.Offset != end {
			t.Errorf("cached %v: of what was cut off %d bytes are stored again at %d, want %d at %d: %+v", cached, res.Bytes, res.Offset, len(tail.data), end, res.Parts)
		}
	}
}
