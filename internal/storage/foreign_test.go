package storage

import (
	"testing"

	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// putFile writes a file of a topic's folder, which it makes.
func putFile(t *testing.T, disk *vfstest.FS, topic, name string, data []byte) {
	t.Helper()
	disk.Mkdir(topic, 0o700) // it may be there
	f, err := disk.OpenFile(topic+"/"+name, vfs.ReadWrite|vfs.Create, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// sizeOf returns the length of a file.
func sizeOf(t *testing.T, disk *vfstest.FS, name string) int64 {
	t.Helper()
	st, err := disk.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

// A folder that was renamed holds batches of another topic. They are not
// served, and not a byte of them goes.
func TestBatchesOfAnotherTopicAreKept(t *testing.T) {
	disk := vfstest.New()
	first, second := batchOf("old", "one").data, batchOf("old", "two").data
	putFile(t, disk, "new", "0.log", first)
	putFile(t, disk, "new", "39.log", second)
	if len(first) != 39 {
		t.Fatalf("a batch has %d bytes", len(first))
	}
	s := openMem(t, disk, Options{FlushInterval: -1, Partitions: -1})
	defer s.Close()
	l := mustLog(t, s, "new")
	a := mustAppend(t, l, batchOf("new", "three"))
	if want := int64(len(first) + len(second)); a.Offset != want {
		t.Errorf("the next batch is at %d, want %d", a.Offset, want)
	}
	in, err := l.Info(t.Context())
	if err != nil || in.Damaged != a.Offset || in.Messages != 1 {
		t.Errorf("info %+v, %v", in, err)
	}
	wantBodies(t, l, "three")
	for name, want := range map[string]int{"new/0.log": len(first), "new/39.log": len(second)} {
		if n := sizeOf(t, disk, name); n != int64(want) {
			t.Errorf("%s has %d bytes, had %d", name, n, want)
		}
	}
}

// A folder that appears beside a running store is opened when its topic is
// first written to, not taken for a new one.
func TestCreateOverAFolder(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{FlushInterval: -1, Partitions: -1})
	defer s.Close()
	before := batchOf("t", "before")
	putFile(t, disk, "t", "0.log", before.data)
	l := mustCreate(t, s, "t")
	if a := mustAppend(t, l, batchOf("t", "after")); a.Offset != int64(len(before.data)) {
		t.Errorf("the next batch is at %d, want %d", a.Offset, len(before.data))
	}
	wantBodies(t, l, "before", "after")
}
