package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// smallLog is a closed log of one partition of 64 KiB, of which any byte may be
// changed.
type smallLog struct {
	disk   *vfstest.FS
	data   []byte  // of the partition
	index  []byte  // of its index
	starts []int64 // of the batches, and the end
}

const (
	smallSize  = 64 << 10
	smallFile  = "t/0.log"
	smallIndex = "t/0.idx"
)

func newSmallLog(t *testing.T) *smallLog {
	disk := vfstest.New()
	s := openMem(t, disk, Options{Partitions: -1})
	l := mustCreate(t, s, "t")
	for l.Next() < smallSize {
		left := smallSize - l.Next()
		r := batchOf("t", strings.Repeat("x", int(500+l.Next()%700)), fmt.Sprint(l.Next()))
		if left < 3000 { // the last one fills the file
			r = batchOf("t", strings.Repeat("y", int(left)))
			r = batchOf("t", strings.Repeat("y", int(2*left)-len(r.data)))
		}
		mustAppend(t, l, r)
	}
	m := &smallLog{starts: []int64{0}}
	end := l.Next()
	if err := s.Close(); err != nil || end != smallSize {
		t.Fatalf("a log of %d bytes (%v), want %d", end, err, smallSize)
	}
	m.disk = vfstest.New() // where every file is durable
	for _, name := range []string{smallFile, smallIndex, "t/journal"} {
		b, err := disk.ReadFile(name)
		if err == nil {
			err = m.disk.WriteFile(name, b)
		}
		if err != nil {
			t.Fatal(err)
		}
		switch name {
		case smallFile:
			m.data = b
		case smallIndex:
			m.index = b
		}
	}
	for at := int64(0); at < smallSize; {
		_, n, err := batch.Parse(m.data[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += n
		m.starts = append(m.starts, at)
	}
	return m
}

// change is one thing done to a file: a bit flipped, or the file cut short.
type change struct {
	bit int // of the file, or -1
	cut int64
}

func (c change) String() string {
	if c.bit < 0 {
		return fmt.Sprintf("cut at %d", c.cut)
	}
	return fmt.Sprintf("bit %d of byte %d flipped", c.bit%8, c.bit/8)
}

// open opens a copy of the disk with a file changed.
func (m *smallLog) open(file string, c change) (*Store, *Log, error) {
	disk := m.disk.CrashKeepNothing()
	var err error
	if c.bit >= 0 {
		err = disk.Corrupt(file, int64(c.bit/8), func(b []byte) { b[0] ^= 1 << (c.bit % 8) })
	} else if c.cut >= 0 {
		var f vfs.File
		if f, err = disk.OpenFile(file, vfs.ReadWrite, 0); err == nil {
			err = errors.Join(f.Truncate(c.cut), f.Close())
		}
	}
	if err != nil {
		return nil, nil, err
	}
	s, err := Open(context.Background(), Options{FS: disk, Partitions: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, err
	}
	l, err := s.Log([]byte("t"))
	if err != nil {
		s.Close()
	}
	return s, l, err
}

// served calls visit for what reads of the whole log give, batch by batch. Of
// one that is damaged it may be a part.
func (m *smallLog) served(l *Log, visit func(from, to int64, data []byte) error) error {
	buf := buffers.Get().(*[smallSize]byte)[:]
	defer buffers.Put((*[smallSize]byte)(buf))
	for i := 0; i < len(m.starts)-1; {
		at := m.starts[i]
		v, err := l.Read(at, 1<<40, 0)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrEnd) {
			i++
			continue
		}
		if err != nil {
			return err
		}
		b, err := readViewInto(buf, v)
		if err != nil {
			return err
		}
		end := at + int64(len(b))
		for i < len(m.starts)-1 && m.starts[i] < end {
			from, to := m.starts[i], m.starts[i+1]
			if to > end && from > at {
				break // a wrong size has led here; it is read by itself
			}
			if err := visit(from, to, b[from-at:min(to, end)-at]); err != nil {
				return err
			}
			i++
		}
	}
	return nil
}

var buffers = sync.Pool{New: func() any { return new([smallSize]byte) }}

// readViewInto is readView into a buffer of its length at least.
func readViewInto(buf []byte, v topic.View) ([]byte, error) {
	defer v.Close()
	var n int64
	for i := range v.Sections() {
		r, pos, size := v.Section(i)
		if n+size > int64(len(buf)) {
			return nil, fmt.Errorf("a view of %d bytes", v.Len())
		}
		if err := vfs.ReadFull(r, buf[n:n+size], pos); err != nil {
			return nil, err
		}
		n += size
	}
	return buf[:n], nil
}

// check opens the log with a changed partition and checks that every batch
// which is whole is served, that none of the others is once the partition was
// scanned, and that no offset is given out again.
func (m *smallLog) check(c change) error {
	s, l, err := m.open(smallFile, c)
	if err != nil {
		return err
	}
	defer s.Close()
	whole := func(from, to int64) bool {
		if c.bit >= 0 {
			return int64(c.bit/8) < from || int64(c.bit/8) >= to
		}
		return to <= c.cut
	}
	var want int
	for i := range len(m.starts) - 1 {
		if whole(m.starts[i], m.starts[i+1]) {
			want++
		}
	}
	for _, scanned := range []bool{false, true} {
		if scanned {
			p := l.Partitions()[0]
			if err := rescan(p); err != nil {
				return err
			}
		}
		got := 0
		err := m.served(l, func(from, to int64, data []byte) error {
			same := bytes.Equal(data, m.data[from:to])
			switch {
			case whole(from, to) && !same:
				return fmt.Errorf("batch at %d is whole and served as %.100q", from, data)
			case whole(from, to):
				got++
			case same || scanned:
				return fmt.Errorf("batch at %d is damaged and served", from)
			}
			return nil
		})
		if err == nil && got != want {
			err = fmt.Errorf("%d batches are served of %d that are whole", got, want)
		}
		if err != nil {
			return fmt.Errorf("%w (scanned: %v)", err, scanned)
		}
	}
	r := batchOf("t", "after")
	a, err := l.Append(context.Background(), r.data, r.extents)
	if err != nil {
		return err
	}
	if a.Offset < smallSize {
		return fmt.Errorf("offset %d is given out again", a.Offset)
	}
	v, err := l.Read(a.Offset, 1, 0)
	if err != nil {
		return fmt.Errorf("batch appended after the damage: %w", err)
	}
	if b, err := readView(v); err != nil || !bytes.Equal(b, r.data) {
		return fmt.Errorf("batch appended after the damage: %q (%v)", b, err)
	}
	return nil
}

// answers is what the log says of itself with a changed index.
func (m *smallLog) answers(c change) (string, error) {
	s, l, err := m.open(smallIndex, c)
	if err != nil {
		return "", err
	}
	defer s.Close()
	in, err := l.Info(context.Background())
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintln(&b, in.Oldest, in.Next, in.Bytes, in.Messages, in.Batches, in.Damaged)
	for i := 0; i < len(m.starts)-1; i += 3 {
		v, err := l.Read(m.starts[i], int64(1+i%7), 0)
		if err != nil {
			return "", fmt.Errorf("read at %d: %w", m.starts[i], err)
		}
		fmt.Fprintln(&b, v.Offset(), v.Batches(), v.Len())
		v.Close()
		n, err := l.Ordinal(m.starts[i])
		if err != nil {
			return "", err
		}
		offset, err := l.OffsetOf(int64(i))
		fmt.Fprintln(&b, n, offset, err)
		_, err = l.Read(m.starts[i]+7, 1, 0)
		fmt.Fprintln(&b, err)
	}
	return b.String(), nil
}

// eachChange calls check for every single bit flip and every truncation of a
// file of size bytes, or for some of them unless LOGD_DAMAGE_ALL is set.
func eachChange(t *testing.T, size, some int, check func(change) error) {
	t.Helper()
	n := 9 * size
	order := rand.Perm(n)
	if os.Getenv("LOGD_DAMAGE_ALL") == "" {
		order = order[:min(n, some)]
	}
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(order) && !failed.Load(); i = int(next.Add(1)) - 1 {
				c := change{bit: order[i], cut: -1}
				if c.bit >= 8*size {
					c = change{bit: -1, cut: int64(c.bit - 8*size)}
				}
				if err := check(c); err != nil && !failed.Swap(true) {
					t.Errorf("%v: %v", c, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d of %d changes", len(order), n)
}

// TestDamageAnywhere flips bits of a log of 64 KiB and of its index, and cuts
// them short: each bit, and at each byte, if LOGD_DAMAGE_ALL is set.
func TestDamageAnywhere(t *testing.T) {
	m := newSmallLog(t)
	t.Run("log", func(t *testing.T) { eachChange(t, len(m.data), 2000, m.check) })
	t.Run("index", func(t *testing.T) {
		want, err := m.answers(change{bit: -1, cut: -1})
		if err != nil {
			t.Fatal(err)
		}
		eachChange(t, len(m.index), 1000, func(c change) error {
			got, err := m.answers(c)
			if err == nil && got != want {
				err = fmt.Errorf("answers are\n%s\nwant\n%s", got, want)
			}
			return err
		})
	})
}
