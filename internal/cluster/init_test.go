package cluster

import (
	"errors"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestInitAndSingle: a single node's directory becomes the first member, and a single
// node's again, with the same bytes.
func TestInitAndSingle(t *testing.T) {
	disk := vfstest.New()
	open := func(managed bool) *storage.Store {
		t.Helper()
		s, err := storage.Open(t.Context(), storage.Options{FS: disk, Managed: managed, Partitions: -1, PartitionSize: 200})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(false)
	files := make(map[string]string)
	for _, name := range []string{"a", "b", "c"} {
		l, err := s.Create([]byte(name))
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			wire := []byte(testkit.Batch(name, strings.Repeat("x", 60)))
			if _, err := l.Append(t.Context(), wire, []batch.Extent{{Len: int64(len(wire)), Messages: 1}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	partitions := func() map[string]string {
		found := make(map[string]string)
		for _, name := range disk.Names() {
			if strings.HasSuffix(name, ".log") {
				b, err := disk.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				found[name] = string(b)
			}
		}
		return found
	}
	same := func(when string) {
		t.Helper()
		got := partitions()
		if len(got) != len(files) {
			t.Errorf("%s: %d partitions, want %d", when, len(got), len(files))
		}
		for name, b := range files {
			if got[name] != b {
				t.Errorf("%s: %s is another", when, name)
			}
		}
	}
	files = partitions()

	s = open(true)
	if _, err := Single(t.Context(), disk, s); !errors.Is(err, ErrNoMember) {
		t.Errorf("Single of no member: %v", err)
	}
	first := First{Cluster: entry.ID{7}, Groups: 2, Name: "m", Addr: "h:1", PeerAddr: "h:2", Boot: 1}
	if err := Init(t.Context(), disk, s, first); err != nil {
		t.Fatal(err)
	}
	if err := Init(t.Context(), disk, s, first); !errors.Is(err, ErrMember) {
		t.Errorf("a second Init: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	same("after Init")
	disk = disk.CrashKeepNothing() // it is on stable storage

	s = open(true)
	n, err := Open(Options{FS: disk, Store: s, Boot: 2})
	if err != nil {
		t.Fatal(err)
	}
	topics := 0
	for _, cg := range n.core.groups {
		for _, p := range cg.g.Topics() {
			topics++
			if l := s.ByID(p.ID); l == nil || l.Readable() != p.End || l.Next() != p.End || p.End == 0 {
				t.Errorf("topic %+v is %v", p, l)
			}
		}
	}
	if topics != 3 {
		t.Errorf("%d topics", topics)
	}
	if err := errors.Join(n.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	same("as a member")

	s = open(true)
	if id, err := Single(t.Context(), disk, s); err != nil || id != first.Cluster {
		t.Fatalf("Single: %x, %v", id, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	disk = disk.CrashKeepNothing()
	s = open(false)
	if got := s.Topics(); len(got) != 3 {
		t.Errorf("topics %v", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	same("as a single node again")
}
