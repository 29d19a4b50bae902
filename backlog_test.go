package logd

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
)

// entry returns a batch of topic "t".
func entry(unknown bool, messages ...string) *BacklogEntry {
	return &BacklogEntry{
		Raw: []byte(stored("t", messages...)), Messages: int64(len(messages)),
		Reason: "reason of " + messages[0], Unknown: unknown, Time: time.UnixMilli(1700000000123),
	}
}

func keep(t testing.TB, b Backlog, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := b.put(entry(m == "u", m)); err != nil {
			t.Fatalf("put %q: %v", m, err)
		}
	}
}

// kept returns the first messages of the batches, joined by spaces, in the order
// of All and of next, which must be the same.
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
	b.rewind()
	var buf []byte
	for {
		seq, raw, ok, err := b.next(buf)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if seq < 1 {
			t.Errorf("batch has number %d", seq)
		}
		next = append(next, bodies(raw)[0])
		buf = raw
	}
	b.rewind()
	if !slices.Equal(all, next) || b.Len() != int64(len(all)) || b.Bytes() != size {
		t.Errorf("All has %q (%d bytes), next %q, Len %d, Bytes %d", all, size, next, b.Len(), b.Bytes())
	}
	return strings.Join(all, " ")
}

// deliver delivers the first n batches.
func deliver(t testing.TB, b Backlog, n int) {
	t.Helper()
	b.rewind()
	for range n {
		seq, _, ok, err := b.next(nil)
		if err != nil || !ok {
			t.Fatalf("next: %v, %v", ok, err)
		}
		if err := b.delivered(seq); err != nil {
			t.Fatal(err)
		}
	}
}

func openDisk(t testing.TB, path string) *DiskBacklog {
	t.Helper()
	b, err := OpenDiskBacklog(DiskBacklogConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// backlogs runs a test with each kind of backlog that keeps something.
func backlogs(t *testing.T, maxBytes int64, test func(t *testing.T, b Backlog)) {
	t.Run("memory", func(t *testing.T) {
		b, err := NewMemoryBacklog(MemoryBacklogConfig{MaxBytes: maxBytes})
		if err != nil {
			t.Fatal(err)
		}
		test(t, b)
	})
	t.Run("disk", func(t *testing.T) {
		b, err := OpenDiskBacklog(DiskBacklogConfig{Path: filepath.Join(t.TempDir(), "backlog"), MaxBytes: maxBytes, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		test(t, b)
	})
}

func TestBacklog(t *testing.T) {
	backlogs(t, 0, func(t *testing.T, b Backlog) {
		if got := kept(t, b); got != "" || b.topic() != "" {
			t.Errorf("a new one has %q of topic %q", got, b.topic())
		}
		keep(t, b, "a", "u", "c", "d")
		if got := kept(t, b); got != "a u c d" || b.topic() != "t" {
			t.Errorf("kept %q of topic %q", got, b.topic())
		}
		deliver(t, b, 2)
		keep(t, b, "e")
		if got := kept(t, b); got != "c d e" {
			t.Errorf("kept %q", got)
		}
		// Out of order, as with several in flight.
		first, _, _, _ := b.next(nil)
		second, _, _, _ := b.next(nil)
		if err := b.delivered(second); err != nil {
			t.Fatal(err)
		}
		if got := kept(t, b); got != "c e" {
			t.Errorf("kept %q", got)
		}
		if err := b.delivered(first); err != nil {
			t.Fatal(err)
		}
		deliver(t, b, 1)
		if got := kept(t, b); got != "" || b.topic() != "" {
			t.Errorf("kept %q of topic %q when all is delivered", got, b.topic())
		}
	})
}

func TestBacklogClaim(t *testing.T) {
	backlogs(t, 0, func(t *testing.T, b Backlog) {
		if err := b.claim(); err != nil {
			t.Fatal(err)
		}
		if err := b.claim(); !errors.Is(err, ErrBacklogInUse) {
			t.Errorf("second claim: %v", err)
		}
		b.release()
		if err := b.claim(); err != nil {
			t.Errorf("claim after release: %v", err)
		}
		b.Close()
		b.release()
		if err := b.claim(); !errors.Is(err, ErrBacklogClosed) {
			t.Errorf("claim after Close: %v", err)
		}
		if err := b.put(entry(false, "a")); !errors.Is(err, ErrBacklogClosed) {
			t.Errorf("put after Close: %v", err)
		}
	})
}

// The bound holds, room comes back with deliveries, and what did not fit has
// left nothing behind.
func TestBacklogFull(t *testing.T) {
	const maxBytes = minDiskBacklog
	long := strings.Repeat("x", 9000)
	backlogs(t, maxBytes, func(t *testing.T, b Backlog) {
		n := 0
		for round := range 20 {
			for {
				err := b.put(entry(false, fmt.Sprint(n), long))
				if errors.Is(err, ErrBacklogFull) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				n++
			}
			if d, ok := b.(*DiskBacklog); ok {
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
		if err := b.put(&BacklogEntry{Raw: make([]byte, maxBytes+1)}); !errors.Is(err, ErrBacklogFull) {
			t.Errorf("a batch over the bound: %v", err)
		}
		if d, ok := b.(*DiskBacklog); ok {
			want := kept(t, d)
			d.Close()
			if got := kept(t, openDisk(t, d.cfg.Path)); got != want {
				t.Errorf("kept %q after reopening, want %q", got, want)
			}
		}
	})
}

func TestMemoryBacklogCloseTells(t *testing.T) {
	b, _ := NewMemoryBacklog(MemoryBacklogConfig{})
	keep(t, b, "a", "b")
	if err := b.Close(); err == nil || !strings.Contains(err.Error(), "2 batches") {
		t.Errorf("Close: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestNoBacklog(t *testing.T) {
	b := NoBacklog{}
	if b.put(entry(false, "a")) == nil || b.Len() != 0 || b.Bytes() != 0 || kept(t, b) != "" || b.Close() != nil {
		t.Error("NoBacklog keeps something")
	}
}

func TestBacklogConfigValidate(t *testing.T) {
	for _, tt := range []struct {
		err  error
		says []string
	}{
		{(&MemoryBacklogConfig{MaxBytes: -1}).Validate(), []string{"MemoryBacklogConfig.MaxBytes", "-1"}},
		{(&DiskBacklogConfig{}).Validate(), []string{"DiskBacklogConfig.Path"}},
		{(&DiskBacklogConfig{Path: "x", MaxBytes: 1000}).Validate(), []string{"DiskBacklogConfig.MaxBytes", "1000", fmt.Sprint(minDiskBacklog)}},
		{(&DiskBacklogConfig{Path: "x", FileMode: os.ModeDir}).Validate(), []string{"DiskBacklogConfig.FileMode"}},
		{(&DiskBacklogConfig{Path: "x", FileMode: 0o400}).Validate(), []string{"DiskBacklogConfig.FileMode", "0600"}},
	} {
		for _, part := range tt.says {
			if tt.err == nil || !strings.Contains(tt.err.Error(), part) {
				t.Errorf("%v does not say %q", tt.err, part)
			}
		}
	}
	if err := (&MemoryBacklogConfig{}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (&DiskBacklogConfig{Path: "x"}).Validate(); err != nil {
		t.Error(err)
	}
}

// Against a model: whatever is put and delivered, in whatever order, and opened
// again, the backlog has what it should.
func TestBacklogModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	backlogs(t, minDiskBacklog, func(t *testing.T, b Backlog) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var model []string
		for i := range 300 {
			switch op := rnd.IntN(20); {
			case op < 11:
				m := fmt.Sprint(i)
				err := b.put(entry(false, m, strings.Repeat("x", rnd.IntN(4000))))
				if err == nil {
					model = append(model, m)
				} else if !errors.Is(err, ErrBacklogFull) {
					t.Fatal(err)
				}
			case op < 18:
				if len(model) == 0 {
					continue
				}
				which := min(rnd.IntN(4), len(model)-1)
				b.rewind()
				var seq int64
				for range which + 1 {
					seq, _, _, _ = b.next(nil)
				}
				if err := b.delivered(seq); err != nil {
					t.Fatal(err)
				}
				model = slices.Delete(model, which, which+1)
			default:
				if d, ok := b.(*DiskBacklog); ok {
					d.Close()
					again, err := OpenDiskBacklog(d.cfg)
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
