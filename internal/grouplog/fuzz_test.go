package grouplog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// FuzzLog reads any records behind a whole beginning, which are sealed for their
// place: what is read is started with, and read again the same.
func FuzzLog(f *testing.F) {
	f.Add([]byte{1, 0, 16, 9, 0, 0, 0, 0, 0, 0, 0, 2})
	f.Add([]byte{2, 0, 17, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 4, 0, 8, 3})
	f.Add(bytes.Repeat([]byte{2, 1, 30, 2, 0, 0}, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := vfstest.New()
		l, err := Create(disk, testMember, 1, nil)
		check(t, err)
		file, err := disk.ReadFile(logDir + "/1")
		check(t, err)
		// Kind, group and length of each payload, then as much of it as there is.
		for len(b) >= 3 && len(file) < 1<<16 {
			at := makePos(1, len(file))
			rec := append(make([]byte, recordHeader), make([]byte, b[2])...)
			rec[8], rec[10] = b[0], b[1]
			binary.LittleEndian.PutUint32(rec[4:], uint32(b[2]))
			binary.LittleEndian.PutUint64(rec[12:], uint64(at))
			b = b[3+copy(rec[recordHeader:], b[3:]):]
			binary.LittleEndian.PutUint32(rec, checksum(at, rec))
			file = append(file, rec...)
		}
		file = append(file, b...)
		check(t, l.File().Close())
		check(t, disk.WriteFile(logDir+"/1", file))
		readBack(t, disk)
	})
}

// FuzzFile reads any file.
func FuzzFile(f *testing.F) {
	golden, err := os.ReadFile("testdata/version1")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(golden)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		if b, err := hex.DecodeString(digits); err == nil && strings.HasPrefix(name, logDir) {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := vfstest.New()
		if err := disk.WriteFile(memberFile, testMember.encode()); err != nil {
			t.Fatal(err)
		}
		check(t, disk.WriteFile(logDir+"/2", b))
		readBack(t, disk)
	})
}

func readBack(t *testing.T, disk vfs.FS) {
	t.Helper()
	r, err := Open(disk)
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNewer) {
		return
	}
	check(t, err)
	before := worldOf(r.Groups)
	l, err := r.Start(1)
	check(t, err)
	again, err := Open(disk)
	check(t, err)
	if after := worldOf(again.Groups); after.text() != before.text() || again.Synced != l.End() || again.Cut != 0 {
		t.Fatalf("read\n%s\nand again\n%s", before.text(), after.text())
	}
	check(t, l.Close())
}
