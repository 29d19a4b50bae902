package backlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// split returns a batch for each message; nil for a batch of one.
func split(raw []byte) (pieces [][]byte) {
	all := bodies(raw)
	if len(all) == 1 {
		return nil
	}
	for _, m := range all {
		pieces = append(pieces, rawBatch("t", m))
	}
	return pieces
}

// firsts returns the first messages of the batches, joined by spaces.
func firsts(t *testing.T, b Backlog) string {
	t.Helper()
	var all []string
	for after := int64(0); ; {
		seq, raw, err := b.Next(after, nil)
		if err != nil {
			t.Fatal(err)
		}
		if seq == 0 {
			return strings.Join(all, " ")
		}
		if seq <= after {
			t.Errorf("a batch has number %d, behind %d", seq, after)
		}
		all, after = append(all, bodies(raw)[0]), seq
	}
}

// TestBacklogRewrite: batches are replaced in their place, and can be delivered one by one;
// whoever has the number of an old one delivers nothing. What was put before and comes
// after is as it was, also when the file is opened again.
func TestBacklogRewrite(t *testing.T) {
	backlogs(t, 0, func(t *testing.T, b Backlog) {
		for _, e := range []*Entry{entry(false, "0"), entry(false, "a"), entry(true, "b", "c", "d"), entry(false, "e")} {
			if err := b.Put(e); err != nil {
				t.Fatal(err)
			}
		}
		deliver(t, b, 1)
		old, _, err := b.Next(0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.(interface {
			Rewrite(func([]byte) [][]byte) error
		}).Rewrite(split); err != nil {
			t.Fatal(err)
		}
		check := func(want string, messages int64) {
			t.Helper()
			if got := firsts(t, b); got != want || b.Messages() != messages || b.Len() != messages {
				t.Errorf("%q, %d messages in %d batches, want %q", got, b.Messages(), b.Len(), want)
			}
		}
		check("a b c d e", 5)
		if err := b.Delivered(old); err != nil {
			t.Error(err)
		}
		check("a b c d e", 5)
		for e, err := range b.All() {
			if first := bodies(e.Raw)[0]; err != nil || e.Unknown != slices.Contains([]string{"b", "c", "d"}, first) || !strings.HasPrefix(e.Reason, "reason of ") {
				t.Errorf("%s: %+v, %v", first, e, err)
			}
		}
		keep(t, b, "f")
		deliver(t, b, 2)
		check("c d e f", 4)
		if disk, ok := b.(*Disk); ok {
			disk.Close()
			again := openDisk(t, disk.cfg.Path)
			if got := firsts(t, again); got != "c d e f" {
				t.Errorf("opened again: %q", got)
			}
		}
	})
}

// TestBacklogRewriteFull: if there is no room for smaller batches, or the backlog is closed,
// all stays as it was.
func TestBacklogRewriteFull(t *testing.T) {
	memory, _ := NewMemory(MemoryConfig{MaxBytes: 200})
	disk, err := OpenDisk(DiskConfig{Path: filepath.Join(t.TempDir(), "backlog"), MaxBytes: minDisk})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	for _, test := range []struct {
		b interface {
			Backlog
			Rewrite(func([]byte) [][]byte) error
		}
		messages int
	}{{memory, 10}, {disk, 2000}} {
		var all []string
		for i := range test.messages {
			all = append(all, fmt.Sprint(i))
		}
		if err := test.b.Put(entry(false, all...)); err != nil {
			t.Fatal(err)
		}
		if err := test.b.Rewrite(split); !errors.Is(err, ErrFull) {
			t.Errorf("%T: %v", test.b, err)
		}
		if got := firsts(t, test.b); got != "0" || test.b.Messages() != int64(test.messages) {
			t.Errorf("%T: %q", test.b, got)
		}
		keep(t, test.b, "z")
		test.b.Close()
		if err := test.b.Rewrite(split); !errors.Is(err, ErrClosed) {
			t.Errorf("%T: closed: %v", test.b, err)
		}
	}
}
