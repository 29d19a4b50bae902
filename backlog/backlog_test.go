package backlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// entry returns a batch of topic "t".
func entry(unknown bool, messages ...string) *Entry {
	return &Entry{
		Raw: rawBatch("t", messages...), Messages: int64(len(messages)),
		Reason: "reason of " + messages[0], Unknown: unknown, Time: time.UnixMilli(1700000000123),
	}
}

// rawBatch returns the bytes of a batch.
func rawBatch(topic string, messages ...string) []byte {
	var b batch.Builder
	for _, m := range messages {
		b.Add([]byte(m))
	}
	return b.Finish(topic)
}

// bodies returns the messages of a batch.
func bodies(raw []byte) (all []string) {
	h, _, err := batch.Parse(raw)
	if err != nil {
		return []string{err.Error()}
	}
	for m := (batch.Messages{Data: raw[h.Len():]}); m.Next(); {
		all = append(all, string(m.Body()))
	}
	return all
}

func keep(t testing.TB, b Backlog, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := b.Put(entry(m == "u", m)); err != nil {
			t.Fatalf("put %q: %v", m, err)
		}
	}
}

// kept returns the first messages of the batches, joined by spaces, in the order
// of All and of Next, which must be the same.
func kept(t testing.TB, b Backlog) string {
	t.Helper()
	var all, next []string
	var size int64
	for e, err := range b.All() {
		if err != nil {
			t.Fatal(err)
		}
		m := bodies(e.Raw)
		if want := entry(m[0] == "u", m...); !bytes.Equal(e.Raw, want.Raw) || e.Messages != want.Messages || e.Reason != want.Reason || e.Unknown != want.Unknown || !e.Time.Equal(want.Time) {
			t.Errorf("entry %+v, want %+v", e, *want)
		}
		all = append(all, m[0])
		size += int64(len(e.Raw))
	}
	var buf []byte
	var messages int64
	for after := int64(0); ; {
		seq, raw, err := b.Next(after, buf)
		if err != nil {
			t.Fatal(err)
		}
		if seq == 0 {
			break
		}
		if seq <= after {
			t.Errorf("batch has number %d, behind %d", seq, after)
		}
		next = append(next, bodies(raw)[0])
		messages += int64(len(bodies(raw)))
		after, buf = seq, raw
	}
	if !slices.Equal(all, next) || b.Len() != int64(len(all)) || b.Bytes() != size || b.Messages() != messages {
		t.Errorf("All has %q (%d bytes), Next %q, Len %d, Bytes %d, Messages %d", all, size, next, b.Len(), b.Bytes(), b.Messages())
	}
	return strings.Join(all, " ")
}

// deliver delivers the first n batches.
func deliver(t testing.TB, b Backlog, n int) {
	t.Helper()
	for range n {
		seq, _, err := b.Next(0, nil)
		if err != nil || seq == 0 {
			t.Fatalf("Next: %d, %v", seq, err)
		}
		if err := b.Delivered(seq); err != nil {
			t.Fatal(err)
		}
	}
}

func openDisk(t testing.TB, path string) *Disk {
	t.Helper()
	b, err := OpenDisk(DiskConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// backlogs runs a test with each kind of backlog that keeps something.
func backlogs(t *testing.T, maxBytes int64, test func(t *testing.T, b Backlog)) {
	t.Run("memory", func(t *testing.T) {
		b, err := NewMemory(MemoryConfig{MaxBytes: maxBytes})
		if err != nil {
			t.Fatal(err)
		}
		test(t, b)
	})
	t.Run("disk", func(t *testing.T) {
		b, err := OpenDisk(DiskConfig{Path: filepath.Join(t.TempDir(), "backlog"), MaxBytes: maxBytes, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		test(t, b)
	})
}

func TestBacklog(t *testing.T) {
	backlogs(t, 0, func(t *testing.T, b Backlog) {
		if got := kept(t, b); got != "" || b.Topic() != "" {
			t.Errorf("a new one has %q of topic %q", got, b.Topic())
		}
		keep(t, b, "a", "u", "c", "d")
		if got := kept(t, b); got != "a u c d" || b.Topic() != "t" {
			t.Errorf("kept %q of topic %q", got, b.Topic())
		}
		deliver(t, b, 2)
		keep(t, b, "e")
		if got := kept(t, b); got != "c d e" {
			t.Errorf("kept %q", got)
		}
		// Out of order, as with several in flight.
		first, _, _ := b.Next(0, nil)
		second, _, _ := b.Next(first, nil)
		if err := b.Delivered(second); err != nil {
			t.Fatal(err)
		}
		if got := kept(t, b); got != "c e" {
			t.Errorf("kept %q", got)
		}
		if err := b.Delivered(first); err != nil {
			t.Fatal(err)
		}
		deliver(t, b, 1)
		if got := kept(t, b); got != "" || b.Topic() != "" {
			t.Errorf("kept %q of topic %q when all is delivered", got, b.Topic())
		}
	})
}

func TestBacklogClaim(t *testing.T) {
	backlogs(t, 0, func(t *testing.T, b Backlog) {
		if err := b.Claim(); err != nil {
			t.Fatal(err)
		}
		if err := b.Claim(); !errors.Is(err, ErrInUse) {
			t.Errorf("second claim: %v", err)
		}
		b.Release()
		if err := b.Claim(); err != nil {
			t.Errorf("claim after release: %v", err)
		}
		b.Close()
		b.Release()
		if err := b.Claim(); !errors.Is(err, ErrClosed) {
			t.Errorf("claim after Close: %v", err)
		}
		if err := b.Put(entry(false, "a")); !errors.Is(err, ErrClosed) {
			t.Errorf("put after Close: %v", err)
		}
	})
}

// The bound holds, room comes back with deliveries, and what did not fit has
// left nothing behind.
func TestBacklogFull(t *testing.T) {
	const maxBytes = minDisk
	long := strings.Repeat("x", 9000)
	backlogs(t, maxBytes, func(t *testing.T, b Backlog) {
		n := 0
		for round := range 20 {
			for {
				err := b.Put(entry(false, fmt.Sprint(n), long))
				if errors.Is(err, ErrFull) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				n++
			}
			if d, ok := b.(*Disk); ok {
				if info, err := os.Stat(d.cfg.Path); err != nil || info.Size() > maxBytes {
					t.Fatalf("round %d: the file has %d bytes, %v", round, info.Size(), err)
				}
			}
			if b.Bytes() > maxBytes || b.Len() < 5 {
				t.Fatalf("round %d: full with %d batches, %d bytes", round, b.Len(), b.Bytes())
			}
			deliver(t, b, 4)
			var want []string
			for i := range int(b.Len()) {
				want = append(want, fmt.Sprint(n-int(b.Len())+i))
			}
			if got := kept(t, b); got != strings.Join(want, " ") {
				t.Fatalf("round %d: kept %q, want %q", round, got, want)
			}
		}
		if n < 50 {
			t.Errorf("%d batches went through: no room came back", n)
		}
		if err := b.Put(&Entry{Raw: rawBatch("t", strings.Repeat("x", maxBytes)), Messages: 1}); !errors.Is(err, ErrFull) {
			t.Errorf("a batch over the bound: %v", err)
		}
		if d, ok := b.(*Disk); ok {
			want := kept(t, d)
			d.Close()
			if got := kept(t, openDisk(t, d.cfg.Path)); got != want {
				t.Errorf("kept %q after reopening, want %q", got, want)
			}
		}
	})
}

// The front can be taken by whoever has no Writer, and All can be left for it.
func TestBacklogFront(t *testing.T) {
	backlogs(t, 0, func(t *testing.T, b Backlog) {
		front := b.(interface {
			Front() (Entry, bool, error)
			Drop() error
		})
		if _, ok, err := front.Front(); ok || err != nil || front.Drop() != nil {
			t.Errorf("an empty one has a front: %v, %v", ok, err)
		}
		keep(t, b, "a", "u", "c")
		if err := b.Put(&Entry{Raw: rawBatch("other", "x"), Messages: 1}); err == nil || errors.Is(err, ErrFull) {
			t.Errorf("a batch of another topic: %v", err)
		}
		for e, err := range b.All() { // may change what it ranges over
			if err != nil {
				t.Fatal(err)
			}
			first, ok, err := front.Front()
			if !ok || err != nil || !bytes.Equal(first.Raw, e.Raw) {
				t.Errorf("front is %q, %v, %v", first.Raw, ok, err)
			}
			if err := front.Drop(); err != nil {
				t.Fatal(err)
			}
			if bodies(e.Raw)[0] == "u" {
				break
			}
		}
		if got := kept(t, b); got != "c" {
			t.Errorf("kept %q", got)
		}
	})
}

// Who asks how much is kept does not wait for who reads or writes the file.
func TestDiskCountsWithoutWaiting(t *testing.T) {
	b := openDisk(t, filepath.Join(t.TempDir(), "backlog"))
	keep(t, b, "a", "b")
	b.io.Lock() // as a Put does that waits for a disk
	defer b.io.Unlock()
	if b.Len() != 2 || b.Messages() != 2 || b.Topic() != "t" || b.Bytes() == 0 || b.MaxBatch() == 0 {
		t.Errorf("%d batches, %d messages of %q", b.Len(), b.Messages(), b.Topic())
	}
}

func TestMemoryCloseTells(t *testing.T) {
	b, _ := NewMemory(MemoryConfig{})
	keep(t, b, "a", "b")
	if err := b.Close(); err == nil || !strings.Contains(err.Error(), "2 batches") {
		t.Errorf("Close: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestNone(t *testing.T) {
	b := None{}
	if b.Put(entry(false, "a")) == nil || b.Len() != 0 || b.Bytes() != 0 || kept(t, b) != "" || b.Close() != nil {
		t.Error("None keeps something")
	}
}

func TestConfigValidate(t *testing.T) {
	for _, tt := range []struct {
		err  error
		says []string
	}{
		{(&MemoryConfig{MaxBytes: -2}).Validate(), []string{"backlog.MemoryConfig.MaxBytes", "-2"}},
		{(&DiskConfig{}).Validate(), []string{"backlog.DiskConfig.Path"}},
		{(&DiskConfig{Path: "x", MaxBytes: 1000}).Validate(), []string{"backlog.DiskConfig.MaxBytes", "1000", fmt.Sprint(minDisk)}},
		{(&DiskConfig{Path: "x", FileMode: os.ModeDir}).Validate(), []string{"backlog.DiskConfig.FileMode"}},
		{(&DiskConfig{Path: "x", FileMode: 0o400}).Validate(), []string{"backlog.DiskConfig.FileMode", "0600"}},
	} {
		for _, part := range tt.says {
			if tt.err == nil || !strings.Contains(tt.err.Error(), part) {
				t.Errorf("%v does not say %q", tt.err, part)
			}
		}
	}
	if err := (&MemoryConfig{}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (&DiskConfig{Path: "x"}).Validate(); err != nil {
		t.Error(err)
	}
}

// Against a model: whatever is put and delivered, in whatever order, and opened
// again, the backlog has what it should.
func TestBacklogModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	backlogs(t, minDisk, func(t *testing.T, b Backlog) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var model []string
		for i := range 300 {
			switch op := rnd.IntN(20); {
			case op < 11:
				m := fmt.Sprint(i)
				err := b.Put(entry(false, m, strings.Repeat("x", rnd.IntN(4000))))
				if err == nil {
					model = append(model, m)
				} else if !errors.Is(err, ErrFull) {
					t.Fatal(err)
				}
			case op < 18:
				if len(model) == 0 {
					continue
				}
				which := min(rnd.IntN(4), len(model)-1)
				var seq int64
				for range which + 1 {
					seq, _, _ = b.Next(seq, nil)
				}
				if err := b.Delivered(seq); err != nil {
					t.Fatal(err)
				}
				model = slices.Delete(model, which, which+1)
			default:
				if d, ok := b.(*Disk); ok {
					d.Close()
					again, err := OpenDisk(d.cfg)
					if err != nil {
						t.Fatalf("step %d: %v", i, err)
					}
					t.Cleanup(func() { again.Close() })
					b = again
				}
			}
			if got := kept(t, b); got != strings.Join(model, " ") {
				t.Fatalf("step %d: kept %q, want %q", i, got, model)
			}
		}
	})
}
