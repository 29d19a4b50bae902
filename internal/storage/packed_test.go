package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// keptAway returns an error if a version that does not know compressed batches would
// open a topic that has one, which it would take for a torn end.
func keptAway(disk *vfstest.FS) error {
	for _, name := range disk.Names() {
		if !strings.HasSuffix(name, ".log") || name[0] == '.' { // what is deleted is no topic
			continue
		}
		b, err := disk.ReadFile(name)
		if err != nil {
			return err
		}
		if !bytes.Contains(b, []byte(" codec=s2\r\n")) && !bytes.Contains(b, []byte(" codec=zstd\r\n")) {
			continue
		}
		j, err := disk.ReadFile(path.Join(path.Dir(name), "journal"))
		if base, ok := layout.Base(path.Base(name)); ok {
			if s, _, err := journal.Decode(j); err == nil && base < s.Trimmed.Oldest {
				continue // it is being removed, which any version goes on with before it looks inside
			}
		}
		if err != nil || len(j) < journal.HeaderLen || binary.LittleEndian.Uint32(j[8:]) != journal.Version {
			return fmt.Errorf("%s has a compressed batch, and the journal is none that older versions refuse (%v)", name, err)
		}
	}
	return nil
}

// TestOldVersionsAreKeptAway cuts the power after every operation: wherever a compressed
// batch is left, older versions refuse the topic. On a disk whose syncs do nothing that is
// not so, which is the control.
func TestOldVersionsAreKeptAway(t *testing.T) {
	for _, tc := range []struct {
		name string
		lie  func(*vfstest.FS)
		good bool
	}{
		{"a good disk", nil, true},
		{"syncs of files do nothing", func(disk *vfstest.FS) { disk.IgnoreSync(true) }, false},
		{"syncs of folders do nothing", func(disk *vfstest.FS) { disk.IgnoreSyncDir(true) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var bad error
			for seed := range uint64(30) {
				rng := rand.New(rand.NewPCG(seed, 9))
				disk := vfstest.New()
				s := openMem(t, disk, Options{Partitions: -1, PartitionSize: 300, FlushInterval: -1})
				l := mustCreate(t, s, "t")
				mustAppend(t, l, batchOf("t", "plain"))
				if err := l.SyncTo(t.Context(), l.Next()); err != nil {
					t.Fatal(err)
				}
				if tc.lie != nil {
					tc.lie(disk)
				}
				disk.OnOp(func(op vfstest.Op) {
					if err := keptAway(disk.Crash(rng)); err != nil && bad == nil {
						bad = fmt.Errorf("seed %d, after %s: %w", seed, op, err)
					}
				})
				for i := range 4 {
					r := packedOf("t", batch.Zstd, 7, []byte("packed"))
					if i%2 == 1 {
						r.addPacked("t", batch.S2, 9, bytes.Repeat([]byte("more"), 50))
					}
					if _, err := l.Append(context.Background(), r.data, r.extents); err != nil {
						t.Fatal(err)
					}
				}
				disk.OnOp(nil)
				kill(s)
			}
			if (bad == nil) != tc.good {
				t.Error(bad)
			}
		})
	}
}

// TestPackedPartitions: which codecs a partition has is known after each kind of start,
// and of partitions without compressed batches it is known that they have none.
func TestPackedPartitions(t *testing.T) {
	disk := vfstest.New()
	o := Options{Partitions: -1, PartitionSize: 200, FlushInterval: -1}
	s := openMem(t, disk, o)
	l := mustCreate(t, s, "t")
	fill := strings.Repeat("x", 150)
	mustAppend(t, l, batchOf("t", fill)) // 0
	if b, _ := disk.ReadFile("t/journal"); binary.LittleEndian.Uint32(b[8:]) != 1 {
		t.Error("without compressed batches the journal is a new one")
	}
	second := mustAppend(t, l, packedOf("t", batch.Zstd, 3, []byte(fill))).Offset
	third := mustAppend(t, l, batchOf("t", "small")).Offset
	mustAppend(t, l, packedOf("t", batch.S2, 3, []byte("y")))
	mustAppend(t, l, packedOf("t", batch.Zstd, 4, []byte("z")))
	check := func(what string, l *Log) {
		t.Helper()
		for offset, want := range map[int64]batch.Codecs{0: 0, second: batch.Zstd, third: batch.S2 | batch.Zstd} {
			v, err := l.Read(offset, 1, 0)
			if err != nil {
				t.Errorf("%s: read at %d: %v", what, offset, err)
				continue
			}
			if v.Codecs() != want {
				t.Errorf("%s: the partition at %d has codecs %v, want %v", what, offset, v.Codecs(), want)
			}
			v.Close()
		}
		in, err := l.Info(context.Background())
		if err != nil || in.Codecs != batch.S2|batch.Zstd || in.Messages != 1+3+1+3+4 {
			t.Errorf("%s: Info: %+v, %v", what, in, err)
		}
	}
	check("as it was written", l)
	kill(s)
	s = openMem(t, disk, o)
	check("after a kill", mustLog(t, s, "t"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openMem(t, disk, o)
	check("after a clean end", mustLog(t, s, "t"))
	s.Close()
	o.journalCompact = 1
	s = openMem(t, disk, o)
	check("after the journal was written anew", mustLog(t, s, "t"))
	s.Close()
	// Without a journal, or with a damaged one, any partition may have any; what a repair
	// has read of the partitions it knows.
	b, err := disk.ReadFile("t/journal")
	if err != nil {
		t.Fatal(err)
	}
	for what, harm := range map[string]func(*vfstest.FS) error{
		"no journal":       func(disk *vfstest.FS) error { return disk.Remove("t/journal") },
		"a damaged header": func(disk *vfstest.FS) error { b := bytes.Clone(b); b[9] ^= 1; return disk.WriteFile("t/journal", b) },
		"a damaged record": func(disk *vfstest.FS) error {
			b := bytes.Clone(b)
			b[journal.HeaderLen+40] ^= 1
			return disk.WriteFile("t/journal", b)
		},
	} {
		for _, repaired := range []bool{false, true} {
			disk := clone(t, disk)
			if err := harm(disk); err != nil {
				t.Fatal(err)
			}
			if repaired {
				repair(t, disk, false)
			} else {
				openMem(t, disk, o).Close()
			}
			if err := keptAway(disk); err != nil {
				t.Errorf("%s, repaired %v: %v", what, repaired, err)
			}
			s := openMem(t, disk, o)
			for _, offset := range []int64{second, third} {
				v, err := mustLog(t, s, "t").Read(offset, 1, 0)
				if err != nil || v.Codecs()&batch.Zstd == 0 {
					t.Errorf("%s, repaired %v: at %d: %v, %v", what, repaired, offset, v, err)
					continue
				}
				v.Close()
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestPackedTrim: when the last compressed batch was removed, older versions may have the
// topic again.
func TestPackedTrim(t *testing.T) {
	disk := vfstest.New()
	o := Options{Partitions: -1, PartitionSize: 200, FlushInterval: -1, journalCompact: 1}
	s := openMem(t, disk, o)
	l := mustCreate(t, s, "t")
	mustAppend(t, l, packedOf("t", batch.Zstd, 3, bytes.Repeat([]byte("x"), 150)))
	plain := mustAppend(t, l, batchOf("t", strings.Repeat("y", 150))).Offset
	if _, err := l.Trim(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openMem(t, disk, o) // the journal is written anew
	defer s.Close()
	l = mustLog(t, s, "t")
	if b, _ := disk.ReadFile("t/journal"); binary.LittleEndian.Uint32(b[8:]) != 1 {
		t.Error("the journal is still a new one")
	}
	mustAppend(t, l, packedOf("t", batch.S2, 3, []byte("z")))
	if err := keptAway(disk); err != nil {
		t.Error(err)
	}
}

// TestPackedUnsynced: if the sync fails that has the journal say so, the topic is read only
// for good, and the log does not promise that it ends.
func TestPackedUnsynced(t *testing.T) {
	disk := vfstest.New()
	var logged bytes.Buffer
	s := openMem(t, disk, Options{Partitions: -1, FlushInterval: -1, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	defer s.Close()
	l := mustCreate(t, s, "t")
	mustAppend(t, l, packedOf("t", batch.S2, 3, []byte("x")))
	disk.FailSync("t/journal")
	r := packedOf("t", batch.Zstd, 3, []byte("x"))
	if _, err := l.Append(t.Context(), r.data, r.extents); !errors.Is(err, topic.ErrReadOnly) {
		t.Errorf("Append: %v", err)
	}
	disk.ClearFaults()
	r = batchOf("t", "plain")
	if _, err := l.Append(t.Context(), r.data, r.extents); !errors.Is(err, topic.ErrReadOnly) {
		t.Errorf("Append of a plain one after that: %v", err)
	}
	if got := logged.String(); strings.Count(got, "read only until logd is restarted") != 1 || strings.Contains(got, "taken again") {
		t.Error(got)
	}
}

// TestPackedWithoutRoom: if the journal can't say so, no compressed batch is written, and
// others are.
func TestPackedWithoutRoom(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{Partitions: -1, FlushInterval: -1})
	defer s.Close()
	l := mustCreate(t, s, "t")
	mustAppend(t, l, batchOf("t", "plain"))
	disk.SetSpace(disk.Used() + 60)
	r := packedOf("t", batch.Zstd, 3, []byte("x"))
	next := l.Next()
	if _, err := l.Append(t.Context(), r.data, r.extents); !errors.Is(err, topic.ErrReadOnly) || l.Next() != next {
		t.Errorf("Append: %v; the log ends at %d, before at %d", err, l.Next(), next)
	}
	disk.SetSpace(disk.Used() + 60)
	mustAppend(t, l, batchOf("t", "also plain"))
	disk.SetSpace(-1)
	mustAppend(t, l, r)
	if err := keptAway(disk); err != nil {
		t.Error(err)
	}
}

// TestAcceptFindsTheFirst: whatever the sizes of batches and partitions are.
func TestAcceptFindsTheFirst(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, most := range []int{200, 3000, 40000} {
		s := openMem(t, vfstest.New(), Options{Partitions: -1, PartitionSize: 30000, FlushInterval: -1})
		defer s.Close()
		l := mustCreate(t, s, "t")
		const n, other = 60, 41 // which one the reader does not know
		var offsets []int64
		for i := range n {
			codec := batch.S2
			if i == other {
				codec = batch.Zstd
			}
			offsets = append(offsets, mustAppend(t, l, packedOf("t", codec, 1, bytes.Repeat([]byte("x"), 1+rng.IntN(most)))).Offset)
		}
		for i, offset := range offsets {
			v, err := l.Read(offset, 1e6, 8<<20)
			if err != nil {
				t.Fatal(err)
			}
			want := int64(other - i)
			if i > other {
				want = v.Batches()
			}
			err = topic.Accept(v, batch.S2)
			if i == other && err != topic.ErrCodec || i != other && (err != nil || v.Batches() != want) {
				t.Errorf("of up to %d bytes, from batch %d on: %d batches, want %d, %v", most, i, v.Batches(), want, err)
			}
			v.Close()
		}
	}
}
