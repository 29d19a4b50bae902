package storage

import (
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestWriteOut: what was appended since an offset begins to go to the disk, but for what is
// in older partitions, which a sync has to do.
func TestWriteOut(t *testing.T) {
	fsys := &writeOutFS{FS: vfstest.New()}
	s := openStore(t, Options{FS: fsys, Managed: true})
	l := mustCreate(t, s, "t")
	r := batchOf("t", "one")
	size := int64(len(r.data))
	for i := range int64(4) {
		run := &Run{Offset: i * size, Roll: i == 2, Data: r.data, Extents: r.extents}
		if _, err := l.AppendRun(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
	l.WriteOut(3 * size)
	l.WriteOut(size)
	want := []string{
		fmt.Sprintf("t/%d.log: %d from %d", 2*size, size, size),
		fmt.Sprintf("t/%d.log: %d from %d", 2*size, 2*size, 0),
	}
	if !slices.Equal(fsys.wrote, want) {
		t.Errorf("written out %q, want %q", fsys.wrote, want)
	}
}

// writeOutFS notes what is written out.
type writeOutFS struct {
	vfs.FS
	wrote []string
}

func (w *writeOutFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := w.FS.OpenFile(name, flag, perm)
	return &writeOutFile{f, w, name}, err
}

type writeOutFile struct {
	vfs.File
	of   *writeOutFS
	name string
}

func (f *writeOutFile) WriteOut(off, n int64) {
	f.of.wrote = append(f.of.wrote, fmt.Sprintf("%s: %d from %d", f.name, n, off))
}
