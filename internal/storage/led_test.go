package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// parts are runs of callers as a leader has them.
func parts(runs ...run) (parts []Part) {
	for _, r := range runs {
		parts = append(parts, Part{Data: r.data, Extents: r.extents})
	}
	return parts
}

// numbered returns a numbered batch of producer p.
func numbered(seq int64, body string) run {
	var r run
	r.number("t", "p", seq, body)
	return r
}

// appendLed is AppendLed once the table of numbered batches is there.
func appendLed(l *Log, r *LedRun) (LedResult, error) {
	for {
		res, err := l.AppendLed(context.Background(), r)
		if !errors.Is(err, ErrBusy) {
			return res, err
		}
		if err := l.ReadyNumbers(context.Background()); err != nil {
			return res, err
		}
	}
}

// storedAs returns nil if a result says that the log has these bytes of a run.
func storedAs(res *LedResult, want []byte, batches int, roll bool, millis int64) error {
	if res.Bytes != int64(len(want)) || res.Batches != int64(batches) || res.Messages != int64(batches) ||
		res.CRC != crc32.Checksum(want, crc32.MakeTable(crc32.Castagnoli)) || res.Roll != roll || res.Millis != millis {
		return fmt.Errorf("%+v, want %d bytes in %d batches at %d, roll %t", *res, len(want), batches, millis, roll)
	}
	return nil
}

// TestAppendLed: the leader's copy stores what it has decided, and says what that was.
func TestAppendLed(t *testing.T) {
	var l *Log
	var c *copied
	store := func(at, millis int64, stored run, roll bool, callers ...run) LedResult {
		t.Helper()
		c.cut(at)
		res, err := appendLed(l, &LedRun{Offset: at, Millis: millis, Parts: parts(callers...)})
		must(t, err)
		if res.Offset != at || len(res.Parts) != len(callers) {
			t.Fatalf("%+v", res)
		}
		want := max(millis, res.Millis) // of nothing it does not matter
		if len(stored.data) > 0 {
			if n := len(c.runs); n > 0 {
				millis = max(millis, c.runs[n-1].Millis)
			}
			want = millis
			c.runs = append(c.runs, placed(at, millis, roll, stored))
		}
		must(t, storedAs(&res, stored.data, len(stored.extents), roll, want))
		return res
	}
	both := func(runs ...run) (r run) {
		for _, o := range runs {
			r.data, r.extents = append(r.data, o.data...), append(r.extents, o.extents...)
		}
		return r
	}
	big, one, two := batchOf("t", strings.Repeat("x", 500)), batchOf("t", "one"), batchOf("t", "two")
	var keep, at int64
	steps := []func(){
		// A run is in one partition, however large; one that does not fit begins another.
		func() { store(0, 100, both(big, one), true, big, one) },
		func() { store(c.next(), 90, one, true, one) }, // time does not go back
		func() { store(c.next(), 110, both(two, one), false, two, one) },
		func() { store(c.next(), 120, both(two, big), true, two, big) },

		// What was begun for a run that is void is begun for the next.
		func() {
			keep = c.runs[len(c.runs)-1].Offset
			l.SetReadable(keep)
			store(keep, 115, one, true, one)
		},
		func() { store(c.next(), 116, two, false, two) },
		func() { store(keep+int64(len(one.data)), 117, one, false, one) },

		// Numbered batches are stored once, whoever sends them, also twice in one run.
		func() {
			res := store(c.next(), 200, both(numbered(1, "a"), one, numbered(2, "b")), false,
				both(numbered(1, "a"), one), numbered(1, "a"), both(numbered(2, "b"), numbered(4, "d")), numbered(2, "B"))
			at = res.Offset
			end := at + int64(len(numbered(1, "a").data))
			if out := res.Parts[1].Outcomes; res.Parts[0].Outcomes != nil || len(out) != 1 || out[0].Err != nil || out[0].Offset != at || out[0].End != end {
				t.Errorf("a duplicate in the run: %+v", res.Parts)
			}
			if got, want := told(res.Parts[2].Outcomes, nil), fmt.Sprintf("%d, want 3", end+int64(len(one.data))); got != want {
				t.Errorf("one that is out of order: %s, want %s", got, want)
			}
			if got := told(res.Parts[3].Outcomes, nil); got != "conflict" {
				t.Errorf("another with its number: %s", got)
			}
		},
		func() {
			res := store(c.next(), 200, run{}, false, numbered(1, "a"), numbered(2, "b"))
			if out := res.Parts[0].Outcomes; len(out) != 1 || out[0].Offset != at || res.Parts[1].Outcomes[0].Err != nil {
				t.Errorf("duplicates alone: %+v", res.Parts)
			}
		},

		// What is cut off was never sent.
		func() { store(at, 200, numbered(1, "other"), false, numbered(1, "other")) },

		// What is readable stays; what leaves a gap is refused.
		func() {
			for _, at := range []int64{-1, 0, c.runs[2].Offset, c.next() + 1} {
				if _, err := appendLed(l, &LedRun{Offset: at, Millis: 500, Parts: parts(one)}); !errors.Is(err, ErrOffset) {
					t.Errorf("append at %d of %d, readable %d: %v", at, l.Next(), l.Readable(), err)
				}
			}
		},
	}
	afterEach(t, steps, func() { must(t, hasRuns(l, c.runs, c.next(), false)) }, func() *Store {
		c = newCopied()
		s := openMem(t, vfstest.New(), c.o)
		l = mustCreate(t, s, "t")
		return s
	})
}

// All of a run is stored, or nothing.
func TestAppendLedRefused(t *testing.T) {
	disk, c := vfstest.New(), newCopied()
	s := openMem(t, disk, c.o)
	defer s.Close()
	l := mustCreate(t, s, "t")
	r := batchOf("t", strings.Repeat("x", 400))
	c.runs = []*Run{placed(0, 100, true, r)}
	_, err := appendLed(l, &LedRun{Millis: 100, Parts: parts(r)})
	must(t, err)

	// The table is not there.
	numbers := &LedRun{Offset: c.next(), Millis: 100, Parts: parts(batchOf("t", "x"), numbered(1, "a"))}
	if _, err := l.AppendLed(t.Context(), numbers); !errors.Is(err, ErrBusy) {
		t.Errorf("numbered batches without their table: %v", err)
	}
	must(t, hasRuns(l, c.runs, c.next(), false))

	// There is no room: for a partition, at once, or after a part.
	must(t, l.ReadyNumbers(t.Context()))
	for _, fault := range []vfstest.Fault{
		{Err: syscall.ENOSPC, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpCreate && strings.HasSuffix(op.Name, ".log") }},
		{Err: syscall.ENOSPC, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpWrite && strings.HasSuffix(op.Name, ".log") }},
		{Err: syscall.ENOSPC, Written: 50, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpWrite && strings.HasSuffix(op.Name, ".log") }},
	} {
		disk.FailAt(1, fault)
		res, err := l.AppendLed(t.Context(), numbers)
		if !errors.Is(err, ErrReadOnly) || errors.Is(err, ErrInDoubt) || res.Bytes > 0 || res.Parts != nil {
			t.Errorf("without room: %+v, %v", res, err)
		}
		disk.ClearFaults()
		must(t, hasRuns(l, c.runs, c.next(), false))
	}
	res, err := l.AppendLed(t.Context(), numbers)
	must(t, err)
	c.runs = append(c.runs, &Run{Offset: numbers.Offset, Millis: 100, Roll: true, Data: bytes.Join([][]byte{numbers.Parts[0].Data, numbers.Parts[1].Data}, nil)})
	must(t, storedAs(&res, c.runs[1].Data, 2, true, 100))
	must(t, hasRuns(l, c.runs, c.next(), false))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.AppendLed(ctx, numbers); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits any more: %v", err)
	}
}

// Where the newest partition is empty, times go on from the one before, also after a
// restart.
func TestAppendLedTimes(t *testing.T) {
	disk, c := vfstest.New(), newCopied()
	s := openMem(t, disk, c.o)
	defer func() { kill(s) }()
	l := mustCreate(t, s, "t")
	r := batchOf("t", strings.Repeat("x", 400))
	_, err := appendLed(l, &LedRun{Millis: 1e15, Parts: parts(r)})
	must(t, err)
	l.SetReadable(l.Next())
	disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpWrite && strings.HasSuffix(op.Name, ".log") }})
	if _, err := appendLed(l, &LedRun{Offset: l.Next(), Millis: 5, Parts: parts(r)}); !errors.Is(err, ErrReadOnly) {
		t.Fatal(err)
	}
	disk.ClearFaults()
	must(t, s.Close())
	s = openMem(t, disk, c.o)
	l = mustLog(t, s, "t")
	res, err := appendLed(l, &LedRun{Offset: l.Next(), Millis: 5, Parts: parts(r)})
	if err != nil || res.Millis != 1e15 || !res.Roll {
		t.Errorf("%+v, %v", res, err)
	}
}

// appendLed appends a run to a log as a leader: batches of some callers, numbered or
// not, some of which are stored already.
func (c *copied) appendLed(l *Log, rng *rand.Rand, runs []*Run, at, millis int64) error {
	var last []run // numbered batches that are stored
	for _, r := range runs {
		last = append(last, c.numbers[r]...)
	}
	var callers []run
	stored := run{}
	var numbers []run
	for range 1 + rng.IntN(3) {
		var r run
		for range 1 + rng.IntN(2) {
			if n := len(last); n > 0 && rng.IntN(4) == 0 {
				r.data, r.extents = append(r.data, last[n-1].data...), append(r.extents, last[n-1].extents...)
				continue
			}
			body := strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(150))
			b := batchOf("t", body)
			if rng.IntN(2) == 0 {
				b = numbered(int64(len(last))+1, body)
				last, numbers = append(last, b), append(numbers, b)
			}
			r.data, r.extents = append(r.data, b.data...), append(r.extents, b.extents...)
			stored.data, stored.extents = append(stored.data, b.data...), append(stored.extents, b.extents...)
		}
		callers = append(callers, r)
	}
	c.runs = runs
	for len(c.bases) > 0 && c.bases[len(c.bases)-1] > at {
		c.bases = c.bases[:len(c.bases)-1]
	}
	if len(c.bases) == 0 {
		c.bases = []int64{0}
	}
	roll := false
	if len(stored.data) > 0 {
		base := c.bases[len(c.bases)-1]
		roll = at == base || at-base+int64(len(stored.data)) > c.o.PartitionSize
		if roll && at > base {
			c.bases = append(c.bases, at)
		}
		r := placed(at, millis, roll, stored)
		c.numbers[r] = numbers
		c.runs = append(runs[:len(runs):len(runs)], r)
	}
	res, err := appendLed(l, &LedRun{Offset: at, Millis: millis, Parts: parts(callers...)})
	if err == nil && len(stored.data) > 0 {
		if c.restarted {
			// The time of the batch before may be known as later than it was.
			millis = max(millis, res.Millis)
			c.runs[len(c.runs)-1].Millis = millis
		}
		err = storedAs(&res, stored.data, len(stored.extents), roll, millis)
	}
	return err
}

func TestAppendLedCrash(t *testing.T) { crashCopies(t, true) }
