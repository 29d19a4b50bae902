package vfstest

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/logd-dev/logd/internal/vfs"
)

// history is what a slow and simple model knows of a disk with one folder:
// every state since the last sync, of each file and of each name.
type history struct {
	disk  *FS
	files map[string]*fileHistory // by visible name
	names []map[string]bool       // the first is synced
}

type fileHistory struct {
	handle vfs.File
	states [][]byte // the first is synced
}

func (h *history) step(rng *rand.Rand) error {
	name := string(rune('a' + rng.IntN(3)))
	file := h.files[name]
	if file == nil {
		f, err := h.disk.OpenFile(name, vfs.ReadWrite|vfs.Create|vfs.Exclusive, 0o600)
		h.files[name] = &fileHistory{f, [][]byte{nil}}
		h.named()
		return err
	}
	last := slices.Clone(file.states[len(file.states)-1])
	switch rng.IntN(12) {
	case 0:
		other := string(rune('a' + rng.IntN(3)))
		if other != name {
			delete(h.files, name)
			h.files[other] = file
		}
		err := h.disk.Rename(name, other)
		h.named()
		return err
	case 1:
		delete(h.files, name)
		err := h.disk.Remove(name)
		h.named()
		return err
	case 2, 3:
		h.names = h.names[len(h.names)-1:]
		return h.disk.SyncDir(".")
	case 4, 5:
		file.states = file.states[len(file.states)-1:]
		return file.handle.Sync()
	case 6:
		size := rng.IntN(2 * (len(last) + 1))
		last = append(last, make([]byte, size)...)[:size]
		file.states = append(file.states, last)
		return file.handle.Truncate(int64(size))
	default:
		data := make([]byte, 1+rng.IntN(6000))
		for i := range data {
			data[i] = byte(1 + rng.IntN(255))
		}
		off := rng.IntN(len(last) + 1)
		if rng.IntN(2) == 0 {
			off = len(last)
		}
		last = append(last, make([]byte, max(0, off+len(data)-len(last)))...)
		copy(last[off:], data)
		file.states = append(file.states, last)
		_, err := file.handle.WriteAt(data, int64(off))
		return err
	}
}

// named notes the names that are now visible.
func (h *history) named() {
	now := make(map[string]bool)
	for name := range h.files {
		now[name] = true
	}
	h.names = append(h.names, now)
}

// judge says what is wrong with an image. Contents are judged where the name
// has been one file's since before the last SyncDir.
func (h *history) judge(image *FS) error {
	for _, name := range []string{"a", "b", "c"} {
		always, never := true, true
		for _, names := range h.names {
			always = always && names[name]
			never = never && !names[name]
		}
		data, err := image.ReadFile(name)
		if err == nil && never {
			return fmt.Errorf("%s is there, and never was since the last SyncDir", name)
		}
		if err != nil && always {
			return fmt.Errorf("%s is not there, and always was since the last SyncDir", name)
		}
		if file := h.files[name]; err == nil && len(h.names) == 1 {
			if err := file.judge(data); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// judge finds each byte, and the length, among the states.
func (f *fileHistory) judge(data []byte) error {
	shortest, longest := len(f.states[0]), 0
	for _, s := range f.states {
		shortest, longest = min(shortest, len(s)), max(longest, len(s))
	}
	if len(data) < shortest || len(data) > longest {
		return fmt.Errorf("length %d is outside of all since the last sync, %d to %d", len(data), shortest, longest)
	}
	for i, c := range data {
		found := false
		for _, s := range f.states {
			if found = i < len(s) && s[i] == c || i >= len(s) && c == 0; found {
				break
			}
		}
		if !found {
			return fmt.Errorf("byte %d is none of those since the last sync", i)
		}
	}
	return nil
}

// same reports whether two disks show the same.
func same(a, b *FS) bool {
	names := a.Names()
	for _, name := range names {
		x, _ := a.ReadFile(name)
		y, _ := b.ReadFile(name)
		if !bytes.Equal(x, y) {
			return false
		}
	}
	return slices.Equal(names, b.Names())
}

// run does one random workload, judges images after every operation and
// returns the first verdict against one.
func run(seed uint64, prepare func(*FS)) error {
	rng := rand.New(rand.NewPCG(seed, 2))
	h := &history{disk: New(), files: map[string]*fileHistory{}, names: []map[string]bool{{}}}
	if prepare != nil {
		prepare(h.disk)
	}
	for i := range 60 {
		if err := h.step(rng); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		strict := h.disk.CrashKeepNothing()
		if err := h.judge(strict); err != nil {
			return fmt.Errorf("step %d, strict: %w\n%s", i, err, h.disk.Trace())
		}
		want := slices.Sorted(maps.Keys(h.names[0]))
		if got := strict.Names(); prepare == nil && !slices.Equal(got, want) {
			return fmt.Errorf("step %d, strict: names %v, want %v\n%s", i, got, want, h.disk.Trace())
		}
		for range 4 {
			image := h.disk.Crash(rng)
			if err := h.judge(image); err != nil {
				return fmt.Errorf("step %d: %w\n%s", i, err, h.disk.Trace())
			}
			// What an image shows is synced: it can't be lost any more.
			if !same(image.Crash(rng), image) {
				return fmt.Errorf("step %d: the image of an image differs", i)
			}
		}
	}
	return nil
}

func TestCrashAgainstHistory(t *testing.T) {
	for seed := range uint64(50) {
		if err := run(seed, nil); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestCrashAgainstHistoryNoticesLies is the negative control: the same test
// fails on disks that lie.
func TestCrashAgainstHistoryNoticesLies(t *testing.T) {
	for name, lie := range map[string]func(*FS){
		"IgnoreSync":    func(disk *FS) { disk.IgnoreSync(true) },
		"IgnoreSyncDir": func(disk *FS) { disk.IgnoreSyncDir(true) },
	} {
		noticed := 0
		for seed := range uint64(20) {
			if run(seed, lie) != nil {
				noticed++
			}
		}
		if noticed == 0 {
			t.Errorf("%s was not noticed", name)
		}
	}
}
