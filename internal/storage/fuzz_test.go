package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// FuzzIndex puts any bytes in the place of an index: answers are the same.
func FuzzIndex(f *testing.F) {
	disk := vfstest.New()
	s := openMem(f, disk, Options{})
	l := mustCreate(f, s, "t")
	for i := range 5 {
		mustAppend(f, l, batchOf("t", fmt.Sprint(i)))
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := disk.ReadFile("t/0.idx")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:100])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		image := disk.CrashKeepNothing()
		if err := image.WriteFile("t/0.idx", b); err != nil {
			t.Fatal(err)
		}
		s := openMem(t, image, Options{})
		defer s.Close()
		wantBodies(t, mustLog(t, s, "t"), "0", "1", "2", "3", "4")
	})
}

// FuzzRecoverPartition opens any bytes as the only partition of a topic: what
// is served is valid, the rest is accounted for, and the second start serves
// the same.
func FuzzRecoverPartition(f *testing.F) {
	one := batchOf("t", "one", "BATCH 1 t 1 1\r\n").data
	f.Add(one)
	f.Add(append(bytes.Clone(one), one[:20]...))
	f.Add(append(append(bytes.Clone(one), "damage"...), one...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := vfstest.New()
		if err := disk.WriteFile("t/0.log", b); err != nil {
			t.Fatal(err)
		}
		if err := agree(disk, "t"); err != nil {
			t.Fatal(err)
		}
		var first string
		for try := range 3 {
			s, err := Open(context.Background(), Options{FS: disk})
			if err != nil {
				t.Fatal(err)
			}
			l := mustLog(t, s, "t")

			var served []byte
			for offset := l.Oldest(); offset < l.Readable(); {
				v, err := l.Read(offset, 1, 0)
				if errors.Is(err, ErrNotFound) {
					for _, r := range *l.Damaged() {
						if r.From <= offset && offset < r.To {
							offset = r.To - 1
						}
					}
					offset++
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				data, err := readView(v)
				if err != nil {
					t.Fatal(err)
				}
				if h, n, err := batch.Parse(data); err != nil || n != int64(len(data)) || batch.Check(&h, data[n-h.Size:]) != nil {
					t.Fatalf("served at %d: %q", offset, data)
				}
				served = fmt.Appendf(served, "%d %q ", offset, data)
				offset += int64(len(data))
			}
			if try == 0 {
				first = string(served)
			} else if string(served) != first {
				t.Fatalf("start %d serves %s, the first %s", try, served, first)
			}
			if try == 0 {
				kill(s)
			} else if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
