package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// begun returns the journal of a new log, and its disk.
func begun(t *testing.T) (*Journal, *vfstest.FS) {
	t.Helper()
	disk := vfstest.New()
	if err := disk.Mkdir("t", 0o700); err != nil {
		t.Fatal(err)
	}
	c := &files.Cache{FS: disk, Perm: 0o600, Limit: 2}
	var failed error
	j := &Journal{
		File:       c.File(layout.JournalFile("t")),
		Unsyncable: func() error { return failed },
		Failed:     func(err error) error { failed = err; return err },
		SyncFolder: func() error { return disk.SyncDir("t") },
	}
	s := NewState()
	s.ID, s.Created = ID{1}, 1000
	if err := errors.Join(j.Begin(s), disk.SyncDir("t"), disk.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	return j, disk
}

func no() bool { return false }

// read returns what the file says.
func read(t *testing.T, disk *vfstest.FS) State {
	t.Helper()
	b, err := Read(disk, "t")
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestJournalIsWhatIsRead does random things, some of which fail: the journal knows
// what the next start reads, and what was recorded is there after a power cut.
func TestJournalIsWhatIsRead(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		j, disk := begun(t)
		next := int64(100)
		for range 40 {
			at := rng.Int64N(next)
			failing := rng.IntN(6) == 0
			if failing { // a write: nothing is known of a sync that fails
				disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpWrite }})
			}
			before := j.State()
			durable := func(kind Kind, ints ...int64) {
				written, err := j.Record(Append(nil, kind, ints...))
				if after := j.State(); err != nil && (written || !bytes.Equal(after.Encode(), before.Encode())) {
					t.Fatalf("seed %d: a record that was not written counts: %+v, before %+v", seed, after, before)
				}
				s := read(t, disk.CrashKeepNothing())
				if known := j.State(); err == nil && !bytes.Equal(s.Encode(), known.Encode()) {
					t.Fatalf("seed %d: after a power cut %+v, want %+v", seed, s, known)
				}
			}
			lost := false // a note may be in memory alone
			switch rng.IntN(9) {
			case 0:
				durable(Due, at)
			case 1:
				durable(Hooked, at)
			case 2:
				durable(Trim, at, at, at)
			case 3:
				isNew, err := j.Damage(layout.Range{From: at, To: at + 10}, no)
				lost = isNew && err != nil
			case 4:
				if r := before.Damaged; len(r) > 0 {
					healed := r[rng.IntN(len(r))]
					j.RecordHidden(Append(nil, Healed, healed.From, healed.To))
					j.Show()
				}
			case 5:
				lost = j.Complete(at, PartitionEnd{End: next, Totals: Totals{Messages: 2, Batches: 1, First: 5, Last: 6}}, no) != nil
			case 6:
				lost = j.Close(next, Totals{Messages: 2, Batches: 1, First: 5, Last: 6}) != nil
				if !lost && !j.IsClosed(next) {
					t.Fatalf("seed %d: it is not closed", seed)
				}
			case 7:
				lost = j.Recount() != nil
			case 8:
				durable(Cut, at)
				next = max(at, 1)
				durable(Synced, next)
			}
			disk.ClearFaults()
			if lost {
				break
			}
			known, found := j.State(), read(t, disk)
			if !bytes.Equal(known.Encode(), found.Encode()) {
				t.Fatalf("seed %d: known is %+v, a start reads %+v", seed, known, found)
			}
			if !slices.Equal(*j.Damaged(), found.Damaged) || j.Held().Due != found.Due || len(j.Held().Hooked) != len(found.Hooked) {
				t.Fatalf("seed %d: shown is %v, %+v of %+v", seed, *j.Damaged(), *j.Held(), found)
			}
			next += 10
		}
	}
}

// TestJournalShowsWhatIsHealedLater: what is healed is set aside for readers until
// Show, whatever is noted meanwhile.
func TestJournalShowsWhatIsHealedLater(t *testing.T) {
	j, disk := begun(t)
	shown := func(want ...layout.Range) {
		t.Helper()
		if got := *j.Damaged(); !slices.Equal(got, want) {
			t.Errorf("shown are %v, want %v", got, want)
		}
	}
	heal := func(r layout.Range) (bool, error) { return j.RecordHidden(Append(nil, Healed, r.From, r.To)) }
	first, second, third := layout.Range{From: 10, To: 20}, layout.Range{From: 30, To: 40}, layout.Range{From: 50, To: 60}
	for _, r := range []layout.Range{first, second} {
		if isNew, err := j.Damage(r, no); !isNew || err != nil {
			t.Fatal(isNew, err)
		}
	}
	before := j.Damaged()
	if isNew, err := j.Damage(layout.Range{From: 12, To: 18}, no); isNew || err != nil || j.Damaged() != before {
		t.Errorf("what is known is new: %v, %v", isNew, err)
	}
	disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC})
	if healed, err := heal(first); healed || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("healed: %v, %v", healed, err)
	}
	disk.ClearFaults()
	if healed, err := heal(first); !healed || err != nil {
		t.Fatal(healed, err)
	}
	shown(first, second)
	if _, err := j.Damage(third, no); err != nil {
		t.Fatal(err)
	}
	shown(first, second, third)
	j.Show()
	shown(second, third)

	// Of a record whose sync has failed a start may know.
	disk.FailAt(1, vfstest.Fault{Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSync }})
	healed, err := heal(second)
	if !healed || err == nil {
		t.Errorf("healed: %v, %v", healed, err)
	}
	j.Show()
	shown(third)
	if got := read(t, disk).Damaged; fmt.Sprint(got) != fmt.Sprint(*j.Damaged()) {
		t.Errorf("a start reads %v", got)
	}
}

// TestPackIsTold: after what a scan has found could not be written, the next Pack tells all
// of it, in a file that older versions refuse. A file that they read, though there may be
// compressed batches, says that it is behind.
func TestPackIsTold(t *testing.T) {
	j, disk := begun(t)
	renew := func(s *State) (int64, error) { return Renew(disk, 0o600, "t", s) }
	j.Remember(Packed, 0, int64(batch.Zstd)) // as if there had been no room
	for _, base := range []int64{0, 70} {
		if err := j.Pack(base, batch.Zstd, no, renew); err != nil {
			t.Fatal(err)
		}
		b, err := Read(disk.CrashKeepNothing(), "t")
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := Decode(b)
		if v := binary.LittleEndian.Uint32(b[8:]); err != nil || v != Version || s.Packed[base] != batch.Zstd || s.Packed[0] != batch.Zstd || s.Behind() {
			t.Errorf("at %d: version %d, %+v, %v", base, v, s, err)
		}
	}
	if err := j.Pack(140, batch.S2, func() bool { return true }, renew); err != nil || j.Packed(140) != 0 {
		t.Errorf("of a partition that was removed: %v, %v", err, j.Packed(140))
	}

	plain := NewState()
	plain.ID = ID{1}
	old := Append(plain.Encode(), Packed, 0, int64(batch.S2))
	if s, _, err := Decode(old); err != nil || !s.Behind() {
		t.Errorf("a file of version 1 with compressed batches: behind %v, %v", s.Behind(), err)
	}
	old[9] ^= 1
	if s, _, err := Decode(old); !errors.Is(err, ErrDamaged) || s.Packed[EveryBase] != batch.AllCodecs {
		t.Errorf("a damaged header: %v, %v", s.Packed, err)
	}
}
