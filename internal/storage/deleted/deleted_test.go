package deleted

import (
	"errors"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/syncs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// room is a work directory whose clock stands still.
type room struct {
	*Topics
	disk *vfstest.FS
	now  time.Time
	full bool
}

func newRoom(t *testing.T, after time.Duration) *room {
	t.Helper()
	r := &room{disk: vfstest.New(), now: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)}
	quiet := slog.New(slog.DiscardHandler)
	now := func() time.Time { return r.now }
	r.Topics = &Topics{
		FS: r.disk, Now: now, Logger: quiet, Files: &files.Cache{FS: r.disk, Perm: 0o600, Limit: 10},
		Syncs: &syncs.Queue{FS: r.disk, Now: now, Logger: quiet, Together: 4}, After: after, Full: func() bool { return r.full },
	}
	return r
}

// topic makes the folder of a topic, with a batch or what passes for one.
func (r *room) topic(t *testing.T, name string) {
	t.Helper()
	if err := r.disk.Mkdir(name, 0o700); err != nil {
		t.Fatal(err)
	}
	state := journal.NewState()
	for file, b := range map[string][]byte{layout.JournalFile(name): state.Encode(), layout.Partition(name, 0): []byte("a batch")} {
		if err := r.disk.WriteFile(file, b); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *room) exists(name string) bool {
	_, err := r.disk.Stat(name)
	return err == nil
}

func (r *room) take(t *testing.T, name string, now bool) Kept {
	t.Helper()
	kept, gone, err := r.Take(name, journal.ID{0xab}, now || !r.Keeps())
	if err != nil || !gone {
		t.Fatalf("Take: %v, %v", gone, err)
	}
	r.Discard(kept)
	if r.exists(name) {
		t.Errorf("%s is still there", name)
	}
	return kept
}

// A folder's name says of which topic it is, and since when; nothing else that is
// in .deleted is ours.
func TestKept(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, k := range []Kept{
		{topic: "t", at: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), id: journal.ID{1}},
		{topic: "t", now: true, id: journal.ID{1}},
		{topic: long[:maxTopic], now: true},
	} {
		got, ok := parseKept(path.Base(k.path()))
		if !ok || got != k {
			t.Errorf("%s: %+v, %v", k.path(), got, ok)
		}
		if (k.String() == "") != k.now {
			t.Errorf("kept in %q", k.String())
		}
	}
	if name := path.Base((&Kept{topic: long}).path()); len(name) > 255 {
		t.Errorf("a name of %d bytes", len(name))
	}
	for _, name := range []string{
		"", "t", "~~", "t~now", "t~now~", "t~now~00", "t~never~01000000000000000000000000000000", "t~now~0100000000000000000000000000000g",
		"..~now~01000000000000000000000000000000", "t~2026-01-02~01000000000000000000000000000000", "t~now~01000000000000000000000000000000~",
	} {
		if k, ok := parseKept(name); ok {
			t.Errorf("%q: %+v", name, k)
		}
	}
}

// Files are kept for their time, and not longer; on a full disk, or if nobody
// wants them, not at all.
func TestTime(t *testing.T) {
	r := newRoom(t, time.Hour)
	r.topic(t, "a")
	a := r.take(t, "a", false)
	if !r.exists(a.String() + "/0.log") {
		t.Fatal("its files are not kept")
	}
	r.topic(t, "b")
	if b := r.take(t, "b", true); b.String() != "" || r.exists(b.path()) {
		t.Errorf("%q was to go at once", b.path())
	}
	if err := r.disk.Mkdir(Dir+"/not ours", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after time.Duration
		kept  bool
	}{{0, true}, {59 * time.Minute, true}, {time.Minute, false}} {
		r.now = r.now.Add(step.after)
		r.Empty()
		if r.exists(a.String()) != step.kept {
			t.Errorf("%v later: kept %v", step.after, !step.kept)
		}
	}
	if !r.exists(Dir + "/not ours") {
		t.Error("what is not ours is gone")
	}

	r.topic(t, "c")
	c := r.take(t, "c", false)
	r.full = true
	r.Empty()
	if r.exists(c.String()) {
		t.Error("the disk is full, and files are kept")
	}
	r.topic(t, "d")
	if d := r.take(t, "d", false); d.String() != "" {
		t.Errorf("the disk is full, and files are kept in %q", d.String())
	}
}

// Another start goes by the name of the folder, which a wrong clock may have given
// a time to come.
func TestTimeOfAnotherStart(t *testing.T) {
	r := newRoom(t, time.Hour)
	names := make(map[string]string)
	for topic, off := range map[string]time.Duration{"old": -time.Hour, "young": -59 * time.Minute, "ahead": 1000 * time.Hour} {
		names[topic] = (&Kept{topic: topic, at: r.now.Add(off)}).path()
		if err := r.disk.WriteFile(names[topic]+"/0.log", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	r.Empty()
	if r.exists(names["old"]) || !r.exists(names["young"]) || !r.exists(names["ahead"]) {
		t.Error("the first look")
	}
	r.now = r.now.Add(time.Hour)
	r.Empty()
	if r.exists(names["young"]) || r.exists(names["ahead"]) {
		t.Error("an hour later")
	}
}

// Where the folder can't be renamed the topic is marked, and removed where it is:
// at once, or by the next who asks for the name.
func TestMark(t *testing.T) {
	r := newRoom(t, time.Hour)
	r.topic(t, "t")
	noRename := vfstest.Fault{Err: syscall.ENOSPC, Forever: true, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpRename }}
	r.disk.FailAt(1, noRename)
	if kept := r.take(t, "t", false); kept.String() != "" {
		t.Errorf("kept in %q", kept.String())
	}

	r.topic(t, "u")
	if left, err := r.FinishLeft("u"); left || err != nil {
		t.Errorf("a topic is taken for one that is being deleted: %v, %v", left, err)
	}
	if err := Mark(r.disk, "u"); err != nil {
		t.Fatal(err)
	}
	if left, err := r.FinishLeft("u"); !left || err != nil || r.exists("u") {
		t.Errorf("what a deletion has left: %v, %v, %v", left, err, r.exists("u"))
	}
	if err := Mark(r.disk, "none"); err != nil {
		t.Errorf("a folder without a journal: %v", err)
	}
}

// What a power cut may bring back is not removed.
func TestMayComeBack(t *testing.T) {
	r := newRoom(t, 0)
	r.topic(t, "t")
	r.disk.FailAt(1, vfstest.Fault{Err: syscall.EIO, Forever: true, Match: func(op vfstest.Op) bool {
		return op.Kind == vfstest.OpSyncDir && op.Name == Dir
	}})
	kept, gone, err := r.Take("t", journal.ID{1}, true)
	if !gone || !errors.Is(err, syscall.EIO) {
		t.Fatalf("%v, %v", gone, err)
	}
	r.disk.ClearFaults()
	r.Empty()
	if !r.exists(kept.path()) {
		t.Error("its files are removed")
	}
	if _, _, err := r.Take("none", journal.ID{1}, true); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that somebody has removed: %v", err)
	}
}
