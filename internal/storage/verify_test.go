package storage

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// verifyLog is a log of two partitions in an open store, every byte of which is
// to be changed once.
type verifyLog struct {
	disk   *vfstest.FS
	store  *Store
	log    *Log
	logged bytes.Buffer
	starts []int64 // of the batches, and the end
	data   []byte  // of the log
}

func newVerifyLog(t *testing.T) *verifyLog {
	v := &verifyLog{disk: vfstest.New()}
	v.store = openMem(t, v.disk, Options{
		PartitionSize: 700, Partitions: -1, FlushInterval: -1, Logger: slog.New(slog.NewTextHandler(&v.logged, nil)),
	})
	v.log = mustCreate(t, v.store, "t")
	t.Cleanup(func() { v.store.Close() })
	for i := range 14 {
		r := batchOf("t", fmt.Sprint("body ", i), strings.Repeat("x", 5*i), "BATCH 9 t 0 1")
		v.starts = append(v.starts, mustAppend(t, v.log, r).Offset)
		v.data = append(v.data, r.data...)
	}
	v.starts = append(v.starts, v.log.Next())
	return v
}

// file returns the partition that an offset is in, and the position there.
func (v *verifyLog) file(offset int64) (string, int64) {
	p := partitionAt(v.log, offset)
	return p.File().Name(), offset - p.Base()
}

// check reads all of the log, and expects the batches that lie in the ranges, and
// they alone, to be damaged.
func (v *verifyLog) check(t *testing.T, damaged ...layout.Range) error {
	t.Helper()
	bad := func(i int) bool {
		for _, r := range damaged {
			if v.starts[i] < r.To && r.From < v.starts[i+1] {
				return true
			}
		}
		return false
	}
	for _, read := range []func(int64, int64, int64) (topic.View, error){v.log.Verify, v.log.Read} {
		for i := 0; i < len(v.starts)-1; {
			view, err := read(v.starts[i], 1000, 0)
			if bad(i) {
				if !errors.Is(err, ErrNotFound) {
					return fmt.Errorf("read of damage at %d: %v", v.starts[i], err)
				}
				i++
				continue
			}
			if err != nil {
				return fmt.Errorf("read at %d: %w", v.starts[i], err)
			}
			batches := view.Batches()
			b, err := readView(view)
			if err != nil {
				return err
			}
			// A read may end where a partition does.
			for ; len(b) > 0 && batches > 0 && !bad(i); i, batches = i+1, batches-1 {
				want := v.data[v.starts[i]:v.starts[i+1]]
				if !bytes.HasPrefix(b, want) {
					return fmt.Errorf("batch at %d is read as %q, want %q", v.starts[i], b, want)
				}
				b = b[len(want):]
			}
			if len(b) > 0 || batches > 0 {
				return fmt.Errorf("%d batches too many, %q, are read before %d", batches, b, v.starts[i])
			}
		}
	}
	in, err := v.log.Info(t.Context())
	if err != nil {
		return err
	}
	var want Info
	for i := range len(v.starts) - 1 {
		if bad(i) {
			want.Damaged += v.starts[i+1] - v.starts[i]
		} else {
			want.Batches++
			want.Messages += 3
		}
	}
	if in.Damaged != want.Damaged || in.Batches != want.Batches || in.Messages != want.Messages || len(in.DamagedAt) != len(in.DamagedIn) {
		return fmt.Errorf("info is %+v", in)
	}
	for i, r := range in.DamagedAt {
		if name, _ := v.file(r[0]); in.DamagedIn[i] != name {
			return fmt.Errorf("damage at %d is in %s, not in %s", r[0], name, in.DamagedIn[i])
		}
		if said := v.logged.String(); !strings.Contains(said, in.DamagedIn[i]) || !strings.Contains(said, fmt.Sprint("offset=", r[0])) {
			return fmt.Errorf("what is logged does not name %s and %d:\n%s", in.DamagedIn[i], r[0], said)
		}
	}
	return nil
}

// A byte that changes under a running store costs the batch that it is in,
// whichever it is, and nothing else: as soon as a reader that has met it asks,
// after a restart, and for what is appended meanwhile.
func TestVerifyEveryByte(t *testing.T) {
	changes := map[string]func(b []byte){
		"bit 0 flipped": func(b []byte) { b[0] ^= 1 },
		"bit 7 flipped": func(b []byte) { b[0] ^= 0x80 },
		"made a nine": func(b []byte) {
			if b[0] == '9' {
				b[0] = '8'
			}
			b[0] = '9'
		},
	}
	size := len(newVerifyLog(t).data)
	for name, change := range changes {
		for at := range int64(size) {
			if testing.Short() && at%7 != 0 {
				continue
			}
			v := newVerifyLog(t)
			file, pos := v.file(at)
			if name == "made a nine" && v.data[at] == '9' {
				continue
			}
			must(t, v.disk.Corrupt(file, pos, change))
			if err := v.check(t, layout.Range{From: at, To: at + 1}); err != nil {
				t.Fatalf("byte %d, %q, %s: %v", at, v.data[at], name, err)
			}
			if at%50 != 0 {
				must(t, v.store.Close())
				continue
			}
			r := batchOf("t", "more", "of", "it")
			v.data = append(v.data, r.data...)
			a := mustAppend(t, v.log, r)
			v.starts = append(v.starts, a.End)
			for range 2 {
				if err := v.check(t, layout.Range{From: at, To: at + 1}); err != nil {
					t.Fatalf("byte %d, %q, %s, and an append: %v", at, v.data[at], name, err)
				}
				must(t, v.store.Close())
				v.store = openMem(t, v.disk, Options{
					PartitionSize: 700, Partitions: -1, FlushInterval: -1, Logger: slog.New(slog.NewTextHandler(&v.logged, nil)),
				})
				v.log = mustCreate(t, v.store, "t")
			}
			must(t, v.store.Close())
		}
	}
}

// Damage of other kinds, too: blocks of zeros, a file that was cut short, and a
// batch whose checksum is right and whose framing is not.
func TestVerifyDamage(t *testing.T) {
	for at := int64(0); at < int64(len(newVerifyLog(t).data)); at += 37 {
		v := newVerifyLog(t)
		file, pos := v.file(at)
		_, end := v.file(v.starts[len(v.starts)-1] - 1)
		n := int64(100)
		if last := v.log.Partitions()[len(v.log.Partitions())-1]; last.File().Name() == file {
			n = min(n, end+1-pos)
		} else if next := v.log.Partitions()[1]; at < next.Base() {
			n = min(n, next.Base()-at)
		}
		if name, _ := v.file(at + n - 1); name != file {
			n = 1
		}
		for i := range n {
			must(t, v.disk.Corrupt(file, pos+i, func(b []byte) { b[0] = 0 }))
		}
		if err := v.check(t, layout.Range{From: at, To: at + n}); err != nil {
			t.Fatalf("%d zeros at %d: %v", n, at, err)
		}
		must(t, v.store.Close())

		v = newVerifyLog(t)
		whole := partitionAt(v.log, at)
		f, err := v.disk.OpenFile(file, vfs.ReadWrite, 0)
		must(t, err)
		must(t, f.Truncate(pos))
		must(t, f.Close())
		if err := v.check(t, layout.Range{From: at, To: whole.End()}); err != nil {
			t.Fatalf("%s cut at %d: %v", file, at, err)
		}
		v.store.Close() // the topic is read only: it may tell so
	}
	v := newVerifyLog(t)
	i := 3
	b := bytes.Clone(v.data[v.starts[i]:v.starts[i+1]])
	h, n, err := batch.Parse(b)
	must(t, err)
	data := b[n-h.Size:]
	data[bytes.IndexByte(data, '\r')] = ' '
	h.CRC = batch.Checksum(data)
	bad := append(batch.AppendHeader(nil, &h), data...)
	for len(bad) != len(b) { // the checksum has to have as many digits
		data[6]++
		h.CRC = batch.Checksum(data)
		bad = append(batch.AppendHeader(nil, &h), data...)
	}
	file, pos := v.file(v.starts[i])
	for j := range bad {
		must(t, v.disk.Corrupt(file, pos+int64(j), func(b []byte) { b[0] = bad[j] }))
	}
	if err := v.check(t, layout.Range{From: v.starts[i], To: v.starts[i+1]}); err != nil {
		t.Fatal(err)
	}
	must(t, v.store.Close())
}

// Setting a batch aside loses the times of no others.
func TestVerifyKeepsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushInterval: -1})
		l := mustCreate(t, s, "t")
		var all []Appended
		var times []time.Time
		for range 500 {
			times = append(times, time.Now())
			all = append(all, mustAppend(t, l, batchOf("t", strings.Repeat("x", 2000))))
			time.Sleep(time.Second)
		}
		must(t, disk.Corrupt("t/0.log", all[200].Offset+50, scribble))
		if _, err := l.Verify(all[200].Offset, 1, 0); !errors.Is(err, ErrNotFound) {
			t.Fatalf("got %v", err)
		}
		for i, at := range times {
			offset, err := l.Seek(at)
			want := all[i].Offset
			if i == 200 {
				want = all[201].Offset
			}
			if err != nil || offset != want {
				t.Errorf("the batch of %v is at %d (%v), want %d", at, offset, err, want)
			}
		}
		must(t, s.Close())
	})
}
