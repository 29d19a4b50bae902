package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/vfs"
)

// TestCrashTearsBlocks looks for each kind of torn write of several blocks.
func TestCrashTearsBlocks(t *testing.T) {
	disk := New()
	check(t, disk.WriteFile("a", bytes.Repeat([]byte{'x'}, 3000)))
	f := open(t, disk, "a", vfs.ReadWrite)
	write(t, f, 2000, strings.Repeat("y", 10000))
	seen := images(disk, func(image *FS) string {
		data, err := image.ReadFile("a")
		if err != nil {
			return err.Error()
		}
		return kindOfTear(data)
	})
	for _, kind := range []string{
		"nothing", "everything", "prefix", "length without data", "sectors lost in between", "length torn",
	} {
		if seen[kind] == 0 {
			t.Errorf("no image with %s: %v", kind, seen)
		}
	}
	if seen["impossible"] > 0 {
		t.Errorf("%d impossible images", seen["impossible"])
	}
}

func kindOfTear(data []byte) string {
	want := append(bytes.Repeat([]byte{'x'}, 2000), bytes.Repeat([]byte{'y'}, 10000)...)
	for i, c := range data {
		if c != want[i] && (i >= 3000 && c != 0 || i < 3000 && c != 'x') {
			return "impossible"
		}
	}
	zeros := bytes.IndexByte(data, 0)
	switch {
	case len(data) == 3000 && !bytes.Contains(data, []byte("y")):
		return "nothing"
	case len(data) == 12000 && bytes.Equal(data, want):
		return "everything"
	case bytes.HasPrefix(want, data):
		return "prefix"
	case len(data) == 12000 && bytes.Count(data[3000:], []byte{0}) == 9000:
		return "length without data"
	case zeros >= 0 && bytes.IndexByte(data[zeros:], 'y') >= 0:
		return "sectors lost in between"
	case len(data) > 3000 && len(data) < 12000:
		return "length torn"
	}
	return "other"
}

// TestCrashIsRepeatable takes the same images from the same seeds.
func TestCrashIsRepeatable(t *testing.T) {
	run := func() []string {
		disk := New()
		rng := rand.New(rand.NewPCG(7, 7))
		var got []string
		disk.OnOp(func(Op) { got = append(got, show(disk.Crash(rng))) })
		for i := range 50 {
			name := fmt.Sprintf("%c", 'a'+i%7)
			f := create(t, disk, name)
			write(t, f, int64(i), "some bytes")
			if i%5 == 0 {
				check(t, f.Sync())
			}
			if i%11 == 0 {
				check(t, disk.Rename(name, "z"))
			}
			if i%13 == 0 {
				check(t, disk.SyncDir("."))
			}
		}
		return got
	}
	first, second := run(), run()
	if !slices.Equal(first, second) {
		t.Error("two runs with one seed differ")
	}
}

// TestImagesAreIndependent changes image and original after a crash.
func TestImagesAreIndependent(t *testing.T) {
	disk := New()
	check(t, disk.WriteFile("d/a", bytes.Repeat([]byte{'x'}, 10000)))
	lock, err := disk.Lock("LOCK")
	check(t, err)
	check(t, disk.SyncDir("."))
	image := disk.CrashKeepNothing()
	second := disk.CrashKeepNothing()

	if l, err := image.Lock("LOCK"); err != nil {
		t.Errorf("an image has a lock: %v", err)
	} else {
		check(t, l.Close())
	}
	check(t, lock.Close())

	write(t, open(t, disk, "d/a", vfs.ReadWrite), 5000, "original")
	write(t, open(t, image, "d/a", vfs.ReadWrite), 5000, "image")
	check(t, open(t, image, "d/a", vfs.ReadWrite).Truncate(6000))
	check(t, disk.Remove("LOCK"))
	create(t, image, "d/b")

	for _, test := range []struct {
		disk  *FS
		want  string
		size  int
		names string
	}{
		{disk, "originalx", 10000, "[d/ d/a]"},
		{image, "imagexxxx", 6000, "[LOCK d/ d/a d/b]"},
		{second, "xxxxxxxxx", 10000, "[LOCK d/ d/a]"},
		{image.CrashKeepNothing(), "xxxxxxxxx", 10000, "[LOCK d/ d/a]"},
	} {
		data, err := test.disk.ReadFile("d/a")
		check(t, err)
		if got := string(data[5000:5009]); got != test.want || len(data) != test.size {
			t.Errorf("got %d bytes with %q, want %d with %q", len(data), got, test.size, test.want)
		}
		if got := fmt.Sprint(test.disk.Names()); got != test.names {
			t.Errorf("names %s, want %s", got, test.names)
		}
	}
}

// TestCrashOfRemovedFolder finds a folder again whose removal was not synced,
// with the files whose removal was not synced either.
func TestCrashOfRemovedFolder(t *testing.T) {
	disk := New()
	check(t, disk.WriteFile("d/a", nil))
	check(t, disk.Remove("d/a"))
	check(t, disk.Remove("d"))
	if got := show(disk.CrashKeepNothing()); got != `d/ d/a=""` {
		t.Errorf("nothing synced: %s", got)
	}
	check(t, disk.SyncDir("."))
	if got := images(disk, show); len(got) != 1 || got[""] == 0 {
		t.Errorf("removal synced: %v", got)
	}
	if _, err := disk.Stat("d"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of a removed folder: %v", err)
	}
}

// BenchmarkCrash takes an image after every operation of a workload that
// appends to a log of 64 KiB, and counts images.
func BenchmarkCrash(b *testing.B) {
	for _, every := range []int{1, 16, 1 << 30} {
		b.Run(fmt.Sprintf("sync=%d", every), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 1))
			record := bytes.Repeat([]byte{'x'}, 512)
			b.ReportAllocs()
			n := 0
			for n < b.N {
				disk := New()
				disk.OnOp(func(Op) { disk.Crash(rng); n++ })
				f, err := disk.OpenFile("0.log", vfs.ReadWrite|vfs.Create, 0o600)
				if err != nil {
					b.Fatal(err)
				}
				disk.SyncDir(".")
				for i := 0; i < 128 && n < b.N; i++ {
					f.WriteAt(record, int64(i*len(record)))
					if i%every == every-1 {
						f.Sync()
					}
				}
			}
			b.ReportMetric(60*float64(n)/b.Elapsed().Seconds(), "images/min")
		})
	}
}
