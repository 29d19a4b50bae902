package logd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/logdtest"
)

// damagedLog is a topic whose every byte is changed once, each time in a copy of
// its own.
type damagedLog struct {
	server  *logdtest.Server
	client  *logd.Client
	bodies  [][]string // of the batches
	offsets []int64    // of the batches, and the end
	second  int64      // where the second partition begins
}

func newDamagedLog(t *testing.T) *damagedLog {
	d := &damagedLog{server: logdtest.Start(t, logdtest.PartitionSize(400), logdtest.Partitions(10))}
	d.client = d.server.Client(t)
	for i := range 8 {
		bodies := []string{fmt.Sprint("body ", i), "BATCH 9 topic-0000 0 1\r\n", strings.Repeat("x", i)}
		d.bodies = append(d.bodies, bodies[:1+i%3])
	}
	d.copy(t, "topic-none")
	parts, err := filepath.Glob(filepath.Join(d.server.WorkDir(), "topic-none", "*.log"))
	if err != nil || len(parts) != 2 {
		t.Fatalf("partitions %q, %v, want 2", parts, err)
	}
	slices.Sort(parts)
	fmt.Sscan(strings.TrimSuffix(filepath.Base(parts[1]), ".log"), &d.second)
	return d
}

// copy makes a topic. Names of the same length make it the same but for them.
func (d *damagedLog) copy(t *testing.T, topic string) {
	d.offsets = d.offsets[:0]
	for _, bodies := range d.bodies {
		d.offsets = append(d.offsets, add(t, d.client, topic, bodies...))
	}
	info, err := d.client.Info(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	d.offsets = append(d.offsets, info.Next)
}

// file returns the name of the file that an offset of the topic is in, within
// the work directory, and where in it.
func (d *damagedLog) file(topic string, offset int64) (name string, pos int64) {
	if offset >= d.second {
		return fmt.Sprintf("%s/%d.log", topic, d.second), offset - d.second
	}
	return topic + "/0.log", offset
}

// change changes bytes of the topic under the running server.
func (d *damagedLog) change(t *testing.T, topic string, offset int64, change func(*os.File, int64) error) {
	t.Helper()
	name, pos := d.file(topic, offset)
	f, err := os.OpenFile(filepath.Join(d.server.WorkDir(), name), os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(change(f, pos), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// check reads the topic, of which the batches from the first to the last are
// damaged, by Scanners that stop there and by Scanners that go on behind.
func (d *damagedLog) check(t *testing.T, topic string, first, last int, stopFirst bool) (err error) {
	var before, behind []string
	for i, bodies := range d.bodies {
		if i < first {
			before = append(before, bodies...)
		} else if i > last {
			behind = append(behind, bodies...)
		}
	}
	file, _ := d.file(topic, d.offsets[first])
	wrong := func(s *logd.Scanner, got []string) error {
		return fmt.Errorf("got %q, %v, %w, want %q, and %q behind offset %d", got, s.End(), s.Err(), before, behind, d.offsets[last+1])
	}
	oldest := false
	scan := func(cfg logd.ScannerConfig) (*logd.Scanner, []string) {
		cfg.Start = logd.AtOffset(0)
		if oldest = !oldest; oldest {
			cfg.Start = logd.AtOldest()
		}
		s := newScanner(t, d.client, topic, cfg)
		got := rest(s)
		s.Close()
		return s, got
	}
	for range 2 {
		for _, stop := range []bool{stopFirst, !stopFirst} {
			if stop {
				s, got := scan(logd.ScannerConfig{})
				stopFirst = false
				gone, ok := errors.AsType[*logd.GoneError](s.Err())
				if !ok || !slices.Equal(got, before) || s.End() != logd.EndFailed {
					return wrong(s, got)
				}
				want := logd.GoneError{Offset: d.offsets[first], Oldest: d.offsets[last+1], Damaged: true, File: file}
				text := s.Err().Error()
				if *gone != want || !strings.Contains(text, fmt.Sprintf("%q", topic)) || !strings.Contains(text, file) ||
					!strings.Contains(text, fmt.Sprint(want.Offset)) || !strings.Contains(text, fmt.Sprint(want.Oldest)) {
					return fmt.Errorf("%w, want %+v", s.Err(), want)
				}
				continue
			}
			var gaps []logd.GoneError
			s, got := scan(logd.ScannerConfig{OnGone: func(gone *logd.GoneError) error {
				gaps = append(gaps, *gone)
				return nil
			}})
			if !slices.Equal(got, slices.Concat(before, behind)) || s.Err() != nil || len(gaps) != 1 {
				return wrong(s, got)
			}
		}
	}
	info, err := d.client.Info(t.Context(), topic)
	if want := (logd.OffsetRange{From: d.offsets[first], To: d.offsets[last+1]}); err != nil ||
		len(info.DamagedAt) != 1 || info.DamagedAt[0] != want {
		return fmt.Errorf("damaged is %v, %w, want %v", info.DamagedAt, err, want)
	}
	return nil
}

// batchAt returns the index of the batch that the offset is in.
func (d *damagedLog) batchAt(offset int64) int {
	i, found := slices.BinarySearch(d.offsets, offset)
	if !found {
		i--
	}
	return i
}

// A byte that changes on the server's disk, any byte, costs a Scanner the batch
// that it is in and nothing else, at once, and tells where: with OnGone all that
// is behind is delivered. What a Writer appends over the same Client meanwhile is
// not hurt.
func TestScannerEveryByteDamaged(t *testing.T) {
	for name, change := range map[string]func(b byte) byte{
		"lowest bit":  func(b byte) byte { return b ^ 1 },
		"highest bit": func(b byte) byte { return b ^ 0x80 },
		"to a nine":   func(b byte) byte { return '9' },
		"to a space":  func(b byte) byte { return ' ' },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDamagedLog(t)
			began := time.Now()
			n := 0
			for at := range d.offsets[len(d.offsets)-1] {
				if (testing.Short() || name != "lowest bit") && at%11 != int64(len(name))%11 {
					continue // storage has them all
				}
				topic := fmt.Sprintf("topic-%04d", at)
				d.copy(t, topic)
				same := false
				d.change(t, topic, at, func(f *os.File, pos int64) error {
					var b [1]byte
					if _, err := f.ReadAt(b[:], pos); err != nil {
						return err
					}
					same = change(b[0]) == b[0]
					b[0] = change(b[0])
					_, err := f.WriteAt(b[:], pos)
					return err
				})
				if same {
					continue
				}
				n++
				i := d.batchAt(at)
				var pending [3]logd.Pending
				for i := range pending {
					var b logd.Batch
					b.Add([]byte("beside"))
					if err := d.client.StartAppend(t.Context(), "beside", &b, &pending[i]); err != nil {
						t.Fatal(err)
					}
				}
				if err := d.check(t, topic, i, i, at%2 == 0); err != nil {
					t.Fatalf("byte %d, in batch %d: %v", at, i, err)
				}
				for i := range pending {
					if _, err := pending[i].Wait(t.Context()); err != nil {
						t.Fatalf("byte %d: append beside it: %v", at, err)
					}
				}
			}
			if took := time.Since(began) / time.Duration(max(n, 1)); took > 2*time.Second {
				t.Errorf("%v for each change: readers wait for bytes that never come", took)
			}
		})
	}
}

// Blocks of zeros, and a file that something else has cut short.
func TestScannerDamagedBlocks(t *testing.T) {
	d := newDamagedLog(t)
	end := d.offsets[len(d.offsets)-1]
	for at := int64(0); at < end; at += 17 {
		partEnd := d.second
		if at >= d.second {
			partEnd = end
		}
		topic := fmt.Sprintf("zeros-%04d", at)
		n := min(100, partEnd-at)
		d.copy(t, topic)
		d.change(t, topic, at, func(f *os.File, pos int64) error {
			_, err := f.WriteAt(make([]byte, n), pos)
			return err
		})
		if err := d.check(t, topic, d.batchAt(at), d.batchAt(at+n-1), at%2 == 0); err != nil {
			t.Errorf("%d zeros at %d: %v", n, at, err)
		}
		topic = fmt.Sprintf("short-%04d", at)
		d.copy(t, topic)
		d.change(t, topic, at, func(f *os.File, pos int64) error { return f.Truncate(pos) })
		if err := d.check(t, topic, d.batchAt(at), d.batchAt(partEnd-1), at%2 == 0); err != nil {
			t.Errorf("cut at %d: %v", at, err)
		}
		// A log whose file was cut short fails, and would fail the server's end.
		info, err := d.client.Info(t.Context(), topic)
		if err == nil {
			err = admin.New(d.client).Delete(t.Context(), topic, admin.DeleteOptions{ID: info.ID, Now: true})
		}
		if err != nil {
			t.Error(err)
		}
	}
}
