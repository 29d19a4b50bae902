package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run is a run of batches as Append takes it.
type run struct {
	data    []byte
	extents []batch.Extent
}

func (r *run) add(topic string, bodies ...string) {
	var b batch.Builder
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	wire := b.Finish(topic)
	r.data = append(r.data, wire...)
	r.extents = append(r.extents, batch.Extent{Len: int64(len(wire)), Messages: int32(len(bodies))})
}

func batchOf(topic string, bodies ...string) run {
	var r run
	r.add(topic, bodies...)
	return r
}

// addPacked adds a compressed batch, as far as storage can tell: it looks at no data.
func (r *run) addPacked(topic string, codec batch.Codecs, messages int32, data []byte) {
	h := batch.Header{Size: int64(len(data)), Topic: []byte(topic), CRC: batch.Checksum(data), Messages: int64(messages), Codec: codec.String()}
	r.data = append(batch.AppendHeader(r.data, &h), data...)
	r.extents = append(r.extents, h.Extent())
}

func packedOf(topic string, codec batch.Codecs, messages int32, data []byte) run {
	var r run
	r.addPacked(topic, codec, messages, data)
	return r
}

// openStore opens a store and closes it with the test.
func openStore(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func osFS(t testing.TB, dir string) vfs.FS {
	t.Helper()
	fsys, err := vfs.OpenOS(dir, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fsys.Close() })
	return fsys
}

func mustCreate(t testing.TB, s *Store, topic string) *Log {
	t.Helper()
	l, err := s.Create([]byte(topic))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustAppend(t testing.TB, l *Log, r run) Appended {
	t.Helper()
	a, err := l.Append(context.Background(), r.data, r.extents)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(context.Background(), a); err != nil {
		t.Fatal(err)
	}
	return a
}

// readView returns the bytes of a view and closes it.
func readView(v topic.View) ([]byte, error) {
	defer v.Close()
	var out []byte
	for i := range v.Sections() {
		r, pos, n := v.Section(i)
		b, err := io.ReadAll(io.NewSectionReader(r, pos, n))
		if err != nil {
			return out, err
		}
		if int64(len(b)) != n {
			return out, io.ErrUnexpectedEOF
		}
		out = append(out, b...)
	}
	return out, nil
}

// bodiesFrom reads the log from offset to its end and returns every message.
func bodiesFrom(l *Log, offset int64) ([]string, error) {
	var out []string
	for {
		v, err := l.Read(offset, 7, 0)
		if errors.Is(err, ErrEnd) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("offset %d: %w", offset, err)
		}
		want := v.Batches()
		b, err := readView(v)
		if err != nil {
			return out, err
		}
		for len(b) > 0 {
			h, n, err := batch.Parse(b)
			if err != nil {
				return out, err
			}
			if err := batch.Check(&h, b[n-h.Size:n]); err != nil {
				return out, err
			}
			m := batch.Messages{Data: b[n-h.Size : n]}
			for m.Next() {
				out = append(out, string(m.Body()))
			}
			b = b[n:]
			offset += n
			want--
		}
		if want != 0 {
			return out, fmt.Errorf("view announced %d batches more than it has", want)
		}
	}
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func TestAppendReadReopen(t *testing.T) {
	o := Options{FS: osFS(t, t.TempDir()), PartitionSize: 1000, Partitions: -1, Logger: testLogger(t)}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	l := mustCreate(t, s, "t")
	var want []string
	var offsets []int64
	for i := range 100 {
		body := fmt.Sprintf("message %d", i)
		a := mustAppend(t, l, batchOf("t", body))
		offsets = append(offsets, a.Offset)
		want = append(want, body)
	}
	check := func(l *Log) {
		t.Helper()
		for i, off := range offsets {
			got, err := bodiesFrom(l, off)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want[i:]) {
				t.Fatalf("from %d: got %q", off, got)
			}
			if _, err := l.Read(off+1, 1, 0); !errors.Is(err, ErrNotFound) {
				t.Fatalf("read inside a batch: %v", err)
			}
		}
		in, err := l.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if in.Messages != 100 || in.Batches != 100 {
			t.Fatalf("info %+v", in)
		}
	}
	check(l)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, o)
	l, err = s.Log([]byte("t"))
	if err != nil {
		t.Fatal(err)
	}
	check(l)
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 65000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := openStore(b, Options{FS: osFS(b, b.TempDir()), Partitions: 2, PartitionSize: 256 << 20})
			l := mustCreate(b, s, "t")
			r := batchOf("t", string(make([]byte, size)))
			b.SetBytes(int64(len(r.data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Append(context.Background(), r.data, r.extents); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What is appended and not readable yet is in no count either, in whichever
// partition it is.
func TestInfoCountsWhatIsReadable(t *testing.T) {
	s := openStore(t, Options{FS: osFS(t, t.TempDir()), FlushBatches: 1, PartitionSize: 1})
	l := mustCreate(t, s, "t")
	mustAppend(t, l, batchOf("t", "one"))
	for range 2 {
		r := batchOf("t", "two")
		if _, err := l.Append(t.Context(), r.data, r.extents); err != nil {
			t.Fatal(err)
		}
	}
	in, err := l.Info(t.Context())
	if err != nil || in.Batches != 1 || in.Messages != 1 || in.Next != l.Readable() {
		t.Fatalf("info %+v (%v), want one batch", in, err)
	}
}

// Retention does not run ahead of the readable end: what readers and a power
// cut would find instead is not there yet.
func TestRetentionStopsAtTheReadableEnd(t *testing.T) {
	s := openStore(t, Options{FS: osFS(t, t.TempDir()), FlushBatches: 1, PartitionSize: 1, Partitions: -1})
	l := mustCreate(t, s, "t")
	a := mustAppend(t, l, batchOf("t", "one"))
	for range 3 {
		r := batchOf("t", "two")
		if _, err := l.Append(t.Context(), r.data, r.extents); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.AdvanceOldest(l.Next()); err != nil {
		t.Fatal(err)
	}
	if l.Oldest() > l.Readable() || l.Oldest() != a.End {
		t.Fatalf("oldest is %d, readable end %d", l.Oldest(), l.Readable())
	}
}

// After a truncation the newest batch is the last one that was kept, not the
// first that was cut off.
func TestTruncateToKeepsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{FlushInterval: -1}
		s := openMem(t, vfstest.New(), o)
		defer s.Close()
		l := mustCreate(t, s, "t")
		mustAppend(t, l, batchOf("t", "one"))
		want := time.Now()
		time.Sleep(time.Hour)
		a := mustAppend(t, l, batchOf("t", "two"))
		if err := l.TruncateTo(t.Context(), a.Offset); err != nil {
			t.Fatal(err)
		}
		if in, err := l.Info(t.Context()); err != nil || !in.NewestTime.Equal(want) {
			t.Fatalf("newest is of %v (%v), want %v", in.NewestTime, err, want)
		}
		time.Sleep(time.Hour)
		b := mustAppend(t, l, batchOf("t", "three"))
		if got, err := l.Seek(time.Now()); err != nil || got != b.Offset {
			t.Fatalf("seek gives %d (%v), want %d", got, err, b.Offset)
		}
	})
}
