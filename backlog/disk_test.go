package backlog

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// image makes a backlog's file of these bytes in the folder, and returns its
// name.
func image(t testing.TB, dir string, bytes []byte) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "backlog")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func readAll(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// history returns the bytes of a backlog's file after each of some steps, and
// what was kept then. The file only grows.
func history(t testing.TB) (images [][]byte, want []string) {
	path := filepath.Join(t.TempDir(), "backlog")
	b := openDisk(t, path)
	defer b.Close()
	note := func() {
		images = append(images, readAll(t, path))
		want = append(want, kept(t, b))
	}
	note()
	for _, m := range []string{"a", "u", "c"} {
		keep(t, b, m)
		note()
	}
	deliver(t, b, 1)
	note()
	keep(t, b, "e")
	note()
	deliver(t, b, 1)
	note()
	deliver(t, b, 1)
	note()
	return images, want
}

func TestDiskReopens(t *testing.T) {
	images, want := history(t)
	dir := t.TempDir()
	for i := range images {
		path := image(t, dir, images[i])
		b := openDisk(t, path)
		if got := kept(t, b); got != want[i] {
			t.Errorf("step %d: kept %q, want %q", i, got, want[i])
		}
		if torn, _ := b.Torn(); torn != "" || b.Warning() != nil {
			t.Errorf("step %d: torn", i)
		}
		if want[i] != "" && b.Topic() != "t" {
			t.Errorf("step %d: topic %q", i, b.Topic())
		}
	}
}

// A crash in the middle of a step leaves a part of what it writes. All that was
// kept before the step is there, the part is set aside, and the file goes on.
func TestDiskTorn(t *testing.T) {
	images, want := history(t)
	dir := t.TempDir()
	tried := 0
	for i := 1; i < len(images); i++ {
		before, after := len(images[i-1]), len(images[i])
		for cut := before + 1; cut < after; cut++ {
			// The rest of the bytes is missing, or not yet written.
			for _, tail := range [][]byte{nil, make([]byte, after-cut)} {
				if tail != nil && (cut%4 != 0 || bytes.Equal(tail, images[i][cut:after])) {
					continue // a part of these is enough, and some bytes are zeros anyway
				}
				torn := append(bytes.Clone(images[i][:cut]), tail...)
				path := image(t, dir, torn)
				b := openImage(t, path)
				if got := kept(t, b); got != want[i-1] {
					t.Fatalf("step %d cut at %d: kept %q, want %q", i, cut, got, want[i-1])
				}
				aside, n := b.Torn()
				if got := readAll(t, aside); !bytes.Equal(got, torn[before:]) || n != int64(len(got)) {
					t.Fatalf("step %d cut at %d: %q is set aside", i, cut, got)
				}
				if err := b.Warning(); err == nil || !strings.Contains(err.Error(), aside) || b.Warning() != nil {
					t.Fatalf("step %d cut at %d: warning %v", i, cut, err)
				}
				keep(t, b, "z")
				b.Close()
				b = openImage(t, path)
				if got := kept(t, b); got != strings.TrimSpace(want[i-1]+" z") {
					t.Fatalf("step %d cut at %d: kept %q afterwards", i, cut, got)
				}
				b.Close()
				tried++
			}
		}
	}
	t.Logf("%d crash images", tried)
}

// openImage opens a backlog without syncing, which takes long.
func openImage(t testing.TB, path string) *Disk {
	t.Helper()
	b, err := OpenDisk(DiskConfig{Path: path, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// refused makes sure that the file is not opened, for this reason, and not
// changed.
func refused(t *testing.T, what string, bad []byte, reason error) {
	t.Helper()
	path := image(t, t.TempDir(), bad)
	b, err := OpenDisk(DiskConfig{Path: path})
	if err == nil {
		b.Close()
	}
	if !errors.Is(err, reason) {
		t.Errorf("%s: %v, want %v", what, err, reason)
	} else if !strings.Contains(err.Error(), path) {
		t.Errorf("%s: %v does not name the file", what, err)
	}
	if !bytes.Equal(readAll(t, path), bad) {
		t.Errorf("%s: the file was changed", what)
	}
}

// What is torn and followed by something that was written later is damage: the
// control of TestDiskTorn.
func TestDiskTornInTheMiddle(t *testing.T) {
	images, _ := history(t)
	for i := 2; i < len(images)-1; i++ {
		before, after := len(images[i-1]), len(images[i])
		for cut := before + 1; cut < after; cut += 7 {
			bad := bytes.Clone(images[len(images)-1])
			if bytes.Equal(bad[cut:after], make([]byte, after-cut)) {
				continue
			}
			clear(bad[cut:after])
			refused(t, "zeros in the middle", bad, ErrDamaged)
			if cut < before+recordHeaderLen {
				refused(t, "a hole", append(bytes.Clone(images[i][:cut]), images[len(images)-1][after:]...), ErrDamaged)
			}
		}
	}
}

// The bytes of records in a message prove nothing of the record that holds the
// message: torn anywhere behind its header, it is torn, and no damage. Records
// behind its end prove damage.
func TestDiskRecordsInMessage(t *testing.T) {
	raw := rawBatch("t", "mine")
	for name, inner := range map[string][]byte{
		"a delivery": appendDeliveredRecord(nil, 1, time.Now()),
		"a batch":    appendBatchRecord(nil, 7, &Entry{Raw: raw, Messages: 1, Time: time.Now()}),
	} {
		path := filepath.Join(t.TempDir(), "backlog")
		b := openDisk(t, path)
		keep(t, b, "kept")
		before := len(readAll(t, path))
		keep(t, b, string(inner)+strings.Repeat(".", 50))
		b.Close()
		whole := readAll(t, path)
		for cut := before + recordHeaderLen; cut < len(whole); cut += 3 {
			for _, tail := range [][]byte{nil, make([]byte, len(whole)-cut)} {
				b := openImage(t, image(t, t.TempDir(), append(bytes.Clone(whole[:cut]), tail...)))
				if got := kept(t, b); got != "kept" {
					t.Fatalf("%s in a message cut at %d: kept %q", name, cut, got)
				}
				if _, n := b.Torn(); n != int64(cut+len(tail)-before) {
					t.Fatalf("%s in a message cut at %d: %d bytes are torn", name, cut, n)
				}
				b.Close()
			}
			bad := append(append(bytes.Clone(whole[:cut]), make([]byte, len(whole)-cut)...), inner...)
			refused(t, name+" behind", bad, ErrDamaged)
		}
	}
}

// Every flipped byte is noticed: the file is refused, or, in its last record,
// taken for torn. Nothing else than what was put ever comes out.
func TestDiskFlippedBytes(t *testing.T) {
	images, want := history(t)
	dir := t.TempDir()
	whole, last := images[5], len(images[4])
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 0x20
		path := image(t, dir, bad)
		b, err := OpenDisk(DiskConfig{Path: path, NoSync: true})
		switch {
		case err == nil && i < last:
			t.Errorf("byte %d: opened, with %q", i, kept(t, b))
		case err == nil:
			if got := kept(t, b); got != want[4] {
				t.Errorf("byte %d: kept %q, want %q", i, got, want[4])
			}
			if _, n := b.Torn(); n != int64(len(whole)-last) {
				t.Errorf("byte %d: %d bytes are torn", i, n)
			}
		case !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion):
			t.Errorf("byte %d: %v", i, err)
		case !bytes.Equal(readAll(t, path), bad):
			t.Errorf("byte %d: the file was changed", i)
		}
		if b != nil {
			b.Close()
		}
	}
}

func TestDiskRefuses(t *testing.T) {
	images, _ := history(t)
	whole := images[3]
	refused(t, "a newer version", bytes.Replace(whole, []byte("backlog 1"), []byte("backlog 2"), 1), ErrVersion)
	refused(t, "another file", []byte("something else entirely"), ErrDamaged)
	refused(t, "an empty file", nil, ErrDamaged)
	refused(t, "a short file", []byte("logd"), ErrDamaged)
	twice := append(bytes.Clone(whole), whole[len(images[0]):]...)
	refused(t, "records that repeat", twice, ErrDamaged)

	path := image(t, t.TempDir(), whole)
	b := openDisk(t, path)
	again, err := OpenDisk(DiskConfig{Path: path})
	if !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	if again != nil {
		again.Close()
	}
	b.Close()
	if b, err := OpenDisk(DiskConfig{Path: filepath.Join(path, "x")}); err == nil {
		b.Close()
		t.Error("opened in a folder that is none")
	}
}

// A file that is damaged while it is used is noticed when it is read.
func TestDiskDamagedInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backlog")
	b := openDisk(t, path)
	keep(t, b, "a", "b")
	raw := readAll(t, path)
	raw[len(raw)-3] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	first, _, err := b.Next(0, nil)
	if first == 0 || err != nil {
		t.Errorf("the first batch: %d, %v", first, err)
	}
	if _, _, err := b.Next(first, nil); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("the second batch: %v", err)
	}
}

// Nothing is left in the folder but the backlog, and its mode is as wanted.
func TestDiskFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "backlog")
	b, err := OpenDisk(DiskConfig{Path: path, FileMode: 0o640, MaxBytes: minDisk})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	long := strings.Repeat("x", 9000)
	for range 10 { // until it was rewritten
		for b.Put(entry(false, "a", long)) == nil {
		}
		deliver(t, b, 3)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
	deliver(t, b, int(b.Len()))
	if info, err := os.Stat(path); err != nil || info.Size() != int64(len(backlogName+backlogVersion)) {
		t.Errorf("the file has %d bytes, and nothing is kept", info.Size())
	}
}

// What a crash has left of a file that was to take the backlog's place goes, and
// nothing else.
func TestDiskClears(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "backlog")
	openDisk(t, path).Close()
	for _, name := range []string{"backlog.123.tmp", "backlog.x.tmp", "backlog2.1.tmp", "backlog.torn-1", "backlog.1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openDisk(t, path).Close()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if want := []string{"backlog", "backlog.1", "backlog.torn-1", "backlog.x.tmp", "backlog2.1.tmp"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
}

func FuzzScanFile(f *testing.F) {
	images, _ := history(f)
	for _, raw := range images {
		f.Add(raw)
		f.Add(raw[:len(raw)-1])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		scan, err := scanFile(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
				t.Errorf("%v", err)
			}
			return
		}
		for _, k := range scan.kept {
			rec, err := readRecord(bytes.NewReader(raw), k.pos, int64(len(raw)), nil)
			if err != nil {
				t.Fatal(err)
			}
			if e, err := rec.entry(); err != nil || topicOf(e.Raw) != scan.topic || k.pos+k.len() > scan.end {
				t.Errorf("entry %+v, %v", e, err)
			}
		}
	})
}

// A file that fails to be written takes no more, says so each time, and loses
// nothing that was kept.
func TestDiskBreaks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backlog")
	b := openDisk(t, path)
	keep(t, b, "a", "b")
	b.file.Close() // all that is done with it fails from now on
	first := b.Put(entry(false, "c"))
	if first == nil || !errors.Is(first, os.ErrClosed) || !strings.Contains(first.Error(), path) {
		t.Errorf("put: %v", first)
	}
	if err := b.Put(entry(false, "d")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("second put: %v", err)
	}
	if err := b.Delivered(1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("delivered: %v", err)
	}
	if b.Len() != 1 {
		t.Errorf("%d batches, want the one that is not delivered", b.Len())
	}
	b.Close()
	b = openDisk(t, path)
	if got := kept(t, b); got != "a b" {
		t.Errorf("kept %q after reopening", got)
	}
}
