package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/partition"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// openMem opens a store on a disk in memory. The test ends it, by Close or by
// kill.
func openMem(t testing.TB, disk *vfstest.FS, o Options) *Store {
	t.Helper()
	o.FS = disk
	if o.Logger == nil {
		o.Logger = testLogger(t)
	}
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// headOf returns a log's newest partition.
func headOf(l *Log) partition.OnDisk {
	parts := l.Partitions()
	return parts[len(parts)-1]
}

// record adds records to the journal of a topic that no store has open.
func record(t testing.TB, disk *vfstest.FS, topic string, records []byte) {
	t.Helper()
	b, err := disk.ReadFile(layout.JournalFile(topic))
	must(t, err)
	must(t, disk.WriteFile(layout.JournalFile(topic), append(bytes.Clone(b), records...)))
}

// rescan has a partition scanned, and what is damaged set aside, as the scrub has it done
// where an index leads astray.
func rescan(p partition.OnDisk) error {
	for {
		pos := p.Past(0)
		if err := p.Damaged(pos, 1); err != nil || p.Past(0) == pos {
			return err
		}
	}
}

// partitionAt returns the partition that an offset is in.
func partitionAt(l *Log, offset int64) (p partition.OnDisk) {
	for _, at := range l.Partitions() {
		if at.Base() <= offset {
			p = at
		}
	}
	return p
}

// dirOf returns the folder of a log.
func dirOf(l *Log) string {
	if l.Named() {
		return l.Name()
	}
	return layout.NewFolder(l.Name(), l.ID())
}

func mustLog(t testing.TB, s *Store, topic string) *Log {
	t.Helper()
	l, err := s.Log([]byte(topic))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// wantBodies checks every message of a log from its oldest on.
func wantBodies(t testing.TB, l *Log, want ...string) {
	t.Helper()
	got, err := bodiesFrom(l, l.Oldest())
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %q (%v), want %q", got, err, want)
	}
}

// small makes every batch a partition of its own.
var small = Options{PartitionSize: 1, Partitions: -1, FlushInterval: -1}

// A power cut just after a partition was begun may leave its file with a
// length and no bytes. The torn tail then begins in the partition before: no
// hole may be left at the end of the log.
func TestTornTailAcrossPartitions(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, small)
	l := mustCreate(t, s, "t")
	mustAppend(t, l, batchOf("t", "one"))
	if err := l.SyncTo(t.Context(), l.Next()); err != nil {
		t.Fatal(err)
	}
	next := l.Next()
	a := mustAppend(t, l, batchOf("t", "two"))
	b := mustAppend(t, l, batchOf("t", "three"))
	kill(s)
	image := disk.CrashKeepNothing()
	for _, p := range []Appended{a, b} {
		if err := image.WriteFile(layout.Partition("t", p.Offset), make([]byte, p.End-p.Offset)); err != nil {
			t.Fatal(err)
		}
	}
	s = openMem(t, image, small)
	defer s.Close()
	l = mustLog(t, s, "t")
	if l.Next() != next {
		t.Fatalf("next is %d, want %d", l.Next(), next)
	}
	wantBodies(t, l, "one")
	mustAppend(t, l, batchOf("t", "again"))
	wantBodies(t, l, "one", "again")
}

// What Open serves is durable, the names of folders included that a process
// which was killed had made and not synced.
func TestOpenSyncsFolders(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, small)
	mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "one"))
	kill(s)
	s = openMem(t, disk, small)
	kill(s)
	s = openMem(t, disk.CrashKeepNothing(), small)
	defer s.Close()
	wantBodies(t, mustLog(t, s, "t"), "one")
}

// A partition that was begun, and had nothing written to it when the process
// was killed, has a name that was never synced.
func TestBegunPartitionIsSyncedAfterKill(t *testing.T) {
	disk := vfstest.New()
	o := small
	s := openMem(t, disk, o)
	l := mustCreate(t, s, "t")
	mustAppend(t, l, batchOf("t", "one"))
	if err := l.SyncTo(t.Context(), l.Next()); err != nil {
		t.Fatal(err)
	}
	if err := l.Roll(t.Context(), l.Next()); err != nil {
		t.Fatal(err)
	}
	kill(s)

	s = openMem(t, disk, o)
	l = mustLog(t, s, "t")
	mustAppend(t, l, batchOf("t", "two"))
	if err := l.SyncTo(t.Context(), l.Next()); err != nil {
		t.Fatal(err)
	}
	kill(s)

	s = openMem(t, disk.CrashKeepNothing(), o)
	defer s.Close()
	wantBodies(t, mustLog(t, s, "t"), "one", "two")
}

// A removal that a power cut interrupts is finished although the partition
// that was to be the oldest is lost.
func TestTrimIsFinishedWithoutTheNewOldest(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, small)
	l := mustCreate(t, s, "t")
	mustAppend(t, l, batchOf("t", "one"))
	second := mustAppend(t, l, batchOf("t", "two"))
	third := mustAppend(t, l, batchOf("t", "three"))
	if err := l.SyncTo(t.Context(), l.Next()); err != nil {
		t.Fatal(err)
	}
	kill(s)
	record(t, disk, "t", journal.Append(nil, journal.Trim, second.Offset, 1, 1))
	if err := disk.Remove(layout.Partition("t", second.Offset)); err != nil {
		t.Fatal(err)
	}
	s = openMem(t, disk, small)
	defer s.Close()
	l = mustLog(t, s, "t")
	wantBodies(t, l, "three")
	if n, err := l.Ordinal(third.Offset); err != nil || n != 1 {
		t.Fatalf("ordinal %d (%v), want 1: two is lost, one was removed", n, err)
	}
}

// What recovery learns of an older partition outlives the next start.
func TestTotalsOfDamagedPartitionAreKept(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, small)
	l := mustCreate(t, s, "t")
	first := mustAppend(t, l, batchOf("t", "one"))
	mustAppend(t, l, batchOf("t", "two", "three"))
	kill(s)
	if err := disk.WriteFile(layout.Partition("t", 0), make([]byte, first.End)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s = openMem(t, disk, small)
		in, err := mustLog(t, s, "t").Info(t.Context())
		if err != nil || in.Batches != 1 || in.Messages != 2 || in.Damaged != first.End {
			t.Fatalf("info %+v (%v)", in, err)
		}
		kill(s)
	}
}

// A partition that was complete, was cut, and grew to the same size again is
// another one than the journal knew: its batches are younger.
func TestTotalsOfAnotherPartitionAreForgotten(t *testing.T) {
	o := Options{PartitionSize: 150, Partitions: -1, FlushInterval: -1}
	readJournalFile := func(t *testing.T, disk *vfstest.FS) []byte {
		b, err := disk.ReadFile(layout.JournalFile("t"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// crash is a power cut that only the journal's given bytes and what was
	// synced survive.
	crash := func(t *testing.T, s *Store, disk *vfstest.FS, journal []byte) *vfstest.FS {
		kill(s)
		image := disk.CrashKeepNothing()
		if err := image.WriteFile(layout.JournalFile("t"), journal); err != nil {
			t.Fatal(err)
		}
		return image
	}
	for _, tt := range []struct {
		name string
		cut  func(t *testing.T, s *Store, disk *vfstest.FS, offset int64) (*Store, *vfstest.FS)
	}{
		{"truncated", func(t *testing.T, s *Store, disk *vfstest.FS, offset int64) (*Store, *vfstest.FS) {
			if err := mustLog(t, s, "t").TruncateTo(t.Context(), offset); err != nil {
				t.Fatal(err)
			}
			return s, disk
		}},
		{"torn", func(t *testing.T, s *Store, disk *vfstest.FS, offset int64) (*Store, *vfstest.FS) {
			disk = crash(t, s, disk, readJournalFile(t, disk))
			return openMem(t, disk, o), disk
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfstest.New()
				s := openMem(t, disk, o)
				l := mustCreate(t, s, "t")
				one := mustAppend(t, l, batchOf("t", "one"))
				if err := l.SyncTo(t.Context(), one.End); err != nil {
					t.Fatal(err)
				}
				two := mustAppend(t, l, batchOf("t", "two"))
				mustAppend(t, l, batchOf("t", strings.Repeat("x", 150)))

				s, disk = tt.cut(t, s, disk, two.Offset)
				l = mustLog(t, s, "t")
				if l.Next() != two.Offset {
					t.Fatalf("next is %d, want %d", l.Next(), two.Offset)
				}
				journal := readJournalFile(t, disk)
				time.Sleep(time.Hour)
				again := time.Now()
				mustAppend(t, l, batchOf("t", "TWO"))
				last := mustAppend(t, l, batchOf("t", strings.Repeat("x", 150)))
				if parts := l.Partitions(); len(parts) != 2 || parts[1].Base() != two.End {
					t.Fatalf("%d partitions, want two, of which the first ends where it did", len(parts))
				}
				if err := l.SyncTo(t.Context(), last.End); err != nil {
					t.Fatal(err)
				}
				// The power fails before the journal's new records reach the disk.
				s = openMem(t, crash(t, s, disk, journal), o)
				defer s.Close()
				// A time that is not known may be taken as too late.
				if got, err := mustLog(t, s, "t").Seek(again); err != nil || got > two.Offset {
					t.Errorf("seek gives %d (%v), want %d or less", got, err, two.Offset)
				}
			})
		})
	}
}

// TruncateTo makes all before the cut durable, for it says so.
func TestTruncateToSyncsWhatItKeeps(t *testing.T) {
	for _, o := range []Options{small, {FlushInterval: -1}} {
		disk := vfstest.New()
		s := openMem(t, disk, o)
		l := mustCreate(t, s, "t")
		mustAppend(t, l, batchOf("t", "one"))
		a := mustAppend(t, l, batchOf("t", "two"))
		mustAppend(t, l, batchOf("t", "three"))
		if err := l.TruncateTo(t.Context(), a.End); err != nil {
			t.Fatal(err)
		}
		if err := l.SyncTo(t.Context(), a.End); err != nil {
			t.Fatal(err)
		}
		kill(s)
		s = openMem(t, disk.CrashKeepNothing(), o)
		wantBodies(t, mustLog(t, s, "t"), "one", "two")
		kill(s)
	}
}

// A sync that was under way when the log was cut must not count what comes
// after the cut as synced.
func TestTruncateToWaitsForSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		o := Options{FlushInterval: -1}
		s := openMem(t, disk, o)
		l := mustCreate(t, s, "t")
		first := mustAppend(t, l, batchOf("t", "one"))
		long := mustAppend(t, l, batchOf("t", string(make([]byte, 1000))))

		goOn := make(chan struct{})
		var once sync.Once
		disk.BeforeOp(func(op vfstest.Op) {
			if op.Kind == vfstest.OpSync {
				once.Do(func() { <-goOn })
			}
		})
		synced, cut := make(chan error, 1), make(chan error, 1)
		go func() { synced <- l.SyncTo(t.Context(), long.End) }()
		synctest.Wait()
		go func() { cut <- l.TruncateTo(t.Context(), first.End) }()
		synctest.Wait()
		close(goOn)
		if err := <-cut; err != nil {
			t.Fatal(err)
		}
		if err := <-synced; err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		a := mustAppend(t, l, batchOf("t", "two"))
		if err := l.SyncTo(t.Context(), a.End); err != nil {
			t.Fatal(err)
		}
		kill(s)
		s = openMem(t, disk.CrashKeepNothing(), o)
		defer s.Close()
		wantBodies(t, mustLog(t, s, "t"), "one", "two")
	})
}

// To sync what is not there yet is an error, and no loop.
func TestSyncToBeyondTheEnd(t *testing.T) {
	s := openMem(t, vfstest.New(), small)
	defer s.Close()
	l := mustCreate(t, s, "t")
	a := mustAppend(t, l, batchOf("t", "one"))
	if err := l.SyncTo(t.Context(), a.End+1); !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v, want %v", err, ErrNotFound)
	}
}

// A truncation that could not be announced durably must not happen at the next
// start, after more was acknowledged.
func TestTruncateToFailsWithTheJournal(t *testing.T) {
	disk := vfstest.New()
	o := Options{FlushBatches: 1}
	s := openMem(t, disk, o)
	l := mustCreate(t, s, "t")
	first := mustAppend(t, l, batchOf("t", "one"))
	mustAppend(t, l, batchOf("t", "two"))
	disk.FailAt(1, vfstest.Fault{Match: func(op vfstest.Op) bool {
		return op.Kind == vfstest.OpSync && op.Name == layout.JournalFile("t")
	}})
	if err := l.TruncateTo(t.Context(), first.End); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("truncate: %v", err)
	}
	r := batchOf("t", "three")
	a, err := l.Append(t.Context(), r.data, r.extents)
	if err == nil {
		err = l.Commit(t.Context(), a)
	}
	acked := err == nil
	kill(s)
	s = openMem(t, disk, o)
	defer s.Close()
	got, err := bodiesFrom(mustLog(t, s, "t"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if acked && fmt.Sprint(got) != "[one two three]" {
		t.Fatalf("got %q, although three was acknowledged", got)
	}
}

// Damage at the start of a partition leaves the times and the index of the rest
// alone.
func TestDamageAtTheStart(t *testing.T) {
	disk := vfstest.New()
	o := Options{FlushInterval: -1}
	s := openMem(t, disk, o)
	l := mustCreate(t, s, "t")
	mustAppend(t, l, batchOf("t", "one"))
	second := mustAppend(t, l, batchOf("t", "two"))
	kill(s)
	if err := disk.Corrupt("t/0.log", 0, func(b []byte) { clear(b[:5]) }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s = openMem(t, disk, o)
		l = mustLog(t, s, "t")
		in, err := l.Info(t.Context())
		if err != nil || in.Batches != 1 || in.OldestTime.IsZero() || in.NewestTime.IsZero() {
			t.Fatalf("info %+v (%v)", in, err)
		}
		if got, err := bodiesFrom(l, second.Offset); err != nil || fmt.Sprint(got) != "[two]" {
			t.Fatalf("got %q (%v)", got, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Damage that reaches from before the synced mark to the end is not cut off as a
// torn tail would be: its bytes were promised once, and are kept.
func TestDamageUpToATornTailIsKept(t *testing.T) {
	disk := vfstest.New()
	o := Options{FlushInterval: -1}
	s := openMem(t, disk, o)
	l := mustCreate(t, s, "t")
	mustAppend(t, l, batchOf("t", "one"))
	second := mustAppend(t, l, batchOf("t", "two"))
	if err := l.SyncTo(t.Context(), second.End); err != nil {
		t.Fatal(err)
	}
	torn := mustAppend(t, l, batchOf("t", "three"))
	kill(s)
	f, err := disk.OpenFile("t/0.log", vfs.ReadWrite, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(f.Truncate(torn.End-5), f.Close(), disk.Remove("t/0.idx"),
		disk.Corrupt("t/0.log", second.Offset, func(b []byte) { b[2] ^= 1 }))
	if err != nil {
		t.Fatal(err)
	}
	before, err := disk.ReadFile("t/0.log")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s = openMem(t, disk, o)
		l = mustLog(t, s, "t")
		if got, err := disk.ReadFile("t/0.log"); err != nil || !bytes.HasPrefix(got, before[:second.End]) {
			t.Errorf("of the file %d bytes are left (%v), want the %d that were synced", len(got), err, second.End)
		}
		if a := mustAppend(t, l, batchOf("t", "after")); a.Offset < second.End {
			t.Errorf("offset %d is given out again", a.Offset)
		}
		if in, err := l.Info(t.Context()); err != nil || in.Damaged < second.End-second.Offset {
			t.Errorf("info %+v (%v)", in, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A truncation can leave damage at the end, and appends go on behind it. What is
// torn there is no part of the damage.
func TestTornTailAfterKnownDamage(t *testing.T) {
	disk := vfstest.New()
	o := Options{FlushInterval: -1}
	s := openMem(t, disk, o)
	l := mustCreate(t, s, "t")
	mustAppend(t, l, batchOf("t", "one"))
	second := mustAppend(t, l, batchOf("t", "two"))
	third := mustAppend(t, l, batchOf("t", "three"))
	must(t, l.SyncTo(t.Context(), third.End))
	must(t, disk.Corrupt("t/0.log", second.Offset, scribble))
	if _, err := l.Read(second.Offset, 1, 0); !errors.Is(err, ErrNotFound) {
		t.Fatalf("read of what is damaged: %v", err)
	}
	must(t, l.TruncateTo(t.Context(), third.Offset))
	mustAppend(t, l, batchOf("t", "torn"))
	kill(s)
	put(t, disk, "t/0.log", func(b []byte) []byte { return append(b[:third.Offset+5], "torn"...) })

	if found, _ := check(t, clone(t, disk)); kinds(found) != "torn-tail set-aside" {
		t.Errorf("check finds %s", kinds(found))
	}
	s = openMem(t, disk, o)
	defer s.Close()
	l = mustLog(t, s, "t")
	if want := []layout.Range{{From: second.Offset, To: second.End}}; !slices.Equal(*l.Damaged(), want) || l.Next() != third.Offset {
		t.Errorf("damage %v and end %d, want %v and %d", *l.Damaged(), l.Next(), want, third.Offset)
	}
	after := mustAppend(t, l, batchOf("t", "after"))
	if v, err := l.Read(after.Offset, 1, 0); err != nil {
		t.Error(err)
	} else {
		v.Close()
	}
}

// Of a folder without a journal nothing is known to have been whole. Where a
// torn message holds batches of its own topic they are not served, neither at
// once nor after restarts.
func TestTornBeforeTheJournal(t *testing.T) {
	nested := string(batchOf("t", strings.Repeat("n", 50)).data)
	run := batchOf("t", strings.Repeat("x", 300)+strings.Repeat(nested, 3)+"y")
	disk := vfstest.New()
	// A power cut took the journal, the beginning and the end of the partition.
	torn := append(make([]byte, 300), run.data[300:len(run.data)-len(nested)/2]...)
	second := batchOf("t", "two")
	err := errors.Join(disk.Mkdir("t", 0o700), disk.WriteFile("t/0.log", torn),
		disk.WriteFile(layout.Partition("t", int64(len(run.data))), second.data))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s := openMem(t, disk, Options{})
		l := mustLog(t, s, "t")
		for offset := range int64(len(run.data)) {
			if v, err := l.Read(offset, 1, 0); err == nil {
				b, _ := readView(v)
				t.Fatalf("at %d there is %q", offset, b)
			}
		}
		if got, err := bodiesFrom(l, int64(len(run.data))); err != nil || fmt.Sprint(got) != "[two]" {
			t.Fatalf("got %q (%v)", got, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// An index whose partition a crash took away is removed for good: with offsets
// given out again it would be taken for the index of other batches.
func TestOrphanedIndexIsRemoved(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, small)
	l := mustCreate(t, s, "t")
	mustAppend(t, l, batchOf("t", "one"))
	orphan := layout.Index("t", l.Next())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	index, err := disk.ReadFile(layout.Index("t", 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.WriteFile(orphan, index); err != nil {
		t.Fatal(err)
	}
	s = openMem(t, disk, small)
	kill(s)
	if _, err := disk.CrashKeepNothing().Stat(orphan); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the orphan after a power cut: %v", err)
	}
	if _, err := disk.Stat(layout.Index("t", 0)); err != nil {
		t.Fatalf("the index that has a partition: %v", err)
	}
}

// Without its journal a topic is taken for one of the 0.3 layout, of which
// nothing is known. A damaged one stays until the new one has its place.
func TestDamagedJournalStaysInPlace(t *testing.T) {
	for _, suffix := range []string{"", ".damaged", ".new"} { // where the disk is full
		t.Run(suffix, func(t *testing.T) {
			disk := vfstest.New()
			o := Options{FlushBatches: 1}
			s := openMem(t, disk, o)
			l := mustCreate(t, s, "t")
			mustAppend(t, l, batchOf("t", "one"))
			last := mustAppend(t, l, batchOf("t", "two"))
			must(t, s.Close())
			put(t, disk, "t/journal", func(b []byte) []byte { return journal.Append(append(b, 7), journal.Hooked, 5) })
			must(t, disk.Corrupt("t/0.log", last.End-5, scribble))
			if suffix != "" {
				disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC, Match: func(op vfstest.Op) bool { return strings.HasSuffix(op.Name, suffix) }})
				s = openMem(t, disk, o)
				if s.Broken()["t"] == nil {
					t.Error("the topic is served although its journal could not be written")
				}
				must(t, s.Close())
				disk.ClearFaults()
			}
			s = openMem(t, disk, o)
			defer s.Close()
			l = mustLog(t, s, "t")
			if l.Next() < last.End {
				t.Errorf("next is %d: offsets up to %d were given out", l.Next(), last.End)
			}
			v, err := l.Read(0, 1, 0)
			must(t, err)
			v.Close()
		})
	}
}

// The first files of a log may be gone because logd removed them, or because
// somebody else did: only that is worth a word.
func TestFirstPartitionGone(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, small)
	l := mustCreate(t, s, "t")
	var at []Appended
	for _, body := range []string{"one", "two", "three", "four"} {
		at = append(at, mustAppend(t, l, batchOf("t", body)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reopen := func(partitions int) string {
		t.Helper()
		var logged strings.Builder
		o := small
		o.Partitions, o.Logger = partitions, slog.New(slog.NewTextHandler(&logged, nil))
		s := openMem(t, disk, o)
		l := mustLog(t, s, "t")
		if partitions < 0 && l.Oldest() != at[1].Offset {
			t.Errorf("oldest %d, want %d", l.Oldest(), at[1].Offset)
		}
		mustAppend(t, l, batchOf("t", "more"))
		if err := l.Retain(time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return logged.String()
	}
	if err := disk.Remove(layout.Partition("t", 0)); err != nil {
		t.Fatal(err)
	}
	if got := reopen(-1); !strings.Contains(got, "file=t/0.log") || !strings.Contains(got, "level=ERROR") {
		t.Errorf("nothing is said of the missing file:\n%s", got)
	}
	reopen(2) // retention removes the next one
	if got := reopen(2); strings.Contains(got, "level=ERROR") {
		t.Errorf("what retention has removed is missed:\n%s", got)
	}
}
