package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// answers is all that a log says of itself.
func answers(t *testing.T, l *Log) string {
	t.Helper()
	var b strings.Builder
	in, err := l.Info(t.Context())
	fmt.Fprintln(&b, in.Oldest, in.Next, in.Partitions, in.Bytes, in.Messages, in.Batches, in.Damaged, err)
	for offset := l.Oldest(); offset <= l.Next(); offset += 43 {
		n, err := l.Ordinal(offset)
		fmt.Fprintln(&b, offset, n, errors.Is(err, ErrNotFound))
		for _, messages := range []int64{1, 9} {
			v, err := l.Read(offset, messages, 2000)
			if err != nil {
				fmt.Fprintln(&b, err)
				continue
			}
			data, err := readView(v)
			fmt.Fprintln(&b, crc32.ChecksumIEEE(data), len(data), err)
		}
	}
	return b.String()
}

// fillTwo makes a disk with two topics of three partitions each.
func fillTwo(t *testing.T, o Options) *vfstest.FS {
	t.Helper()
	disk := vfstest.New()
	s := openMem(t, disk, o)
	for _, topic := range []string{"t", "u"} {
		l := mustCreate(t, s, topic)
		for i := range 27 {
			mustAppend(t, l, batchOf(topic, strings.Repeat(topic, 500), fmt.Sprint(i)))
		}
		if n := len(l.Partitions()); n != 3 {
			t.Fatalf("%d partitions", n)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return disk
}

// Whatever stands in the place of an index, answers are the same, also after
// more was appended and a crash.
func TestIndexIsACache(t *testing.T) {
	o := Options{PartitionSize: 6000, Partitions: -1}
	disk := fillTwo(t, o)
	s := openMem(t, disk.CrashKeepNothing(), o)
	l := mustLog(t, s, "t")
	want, bases := answers(t, l), []int64{}
	others := mustLog(t, s, "u").Partitions()
	for _, p := range l.Partitions() {
		bases = append(bases, p.Base())
	}
	kill(s)
	read := func(name string) []byte {
		b, err := disk.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for i, base := range bases {
		own := read(layout.Index("t", base))
		flipped, version := bytes.Clone(own), bytes.Clone(own)
		flipped[len(flipped)-3] ^= 1
		version[8] = 99
		binary.LittleEndian.PutUint32(version[44:], crc32.ChecksumIEEE(version[:44]))
		for name, b := range map[string][]byte{
			"deleted": nil, "flipped": flipped, "short": own[:100], "newer": version, "text": []byte("no index"),
			"another topic's": read(layout.Index("u", others[i].Base())), "another partition's": read(layout.Index("t", bases[(i+1)%3])),
			"with a block too many": append(bytes.Clone(own), own[index.HeaderLen:]...),
		} {
			image := disk.CrashKeepNothing()
			var err error
			if b == nil {
				err = image.Remove(layout.Index("t", base))
			} else {
				err = image.WriteFile(layout.Index("t", base), b)
			}
			// An index's name may be among what the image has lost.
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			for range 2 {
				s := openMem(t, image, o)
				if got := answers(t, mustLog(t, s, "t")); got != want {
					t.Fatalf("index of %d %s: answers are\n%s\nwant\n%s", base, name, got, want)
				}
				kill(s)
			}
		}
	}
}

// A folder with nothing but partitions, or with an index that is not ours,
// opens as it is.
func TestFolderOfTheFirstLayout(t *testing.T) {
	o := Options{PartitionSize: 6000, Partitions: -1}
	disk := fillTwo(t, o)
	s := openMem(t, disk.CrashKeepNothing(), o)
	want := answers(t, mustLog(t, s, "t"))
	kill(s)
	for _, idx := range []bool{false, true} {
		old := vfstest.New()
		for _, name := range disk.Names() {
			b, err := disk.ReadFile(name)
			if err != nil || strings.HasSuffix(name, "journal") {
				continue
			}
			if strings.HasSuffix(name, ".idx") {
				if !idx {
					continue
				}
				b = []byte("an index of another kind")
			}
			if err := old.WriteFile(name, b); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			s := openMem(t, old, o)
			l := mustLog(t, s, "t")
			if got := answers(t, l); got != want {
				t.Fatalf("answers are\n%s\nwant\n%s", got, want)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A journal of a newer version is refused and left alone; a damaged one is
// kept aside, and the log served; records of unknown kinds outlive a rewrite.
func TestJournal(t *testing.T) {
	o := Options{PartitionSize: 6000, Partitions: -1}
	disk := fillTwo(t, o)
	s := openMem(t, disk.CrashKeepNothing(), o)
	want := answers(t, mustLog(t, s, "t"))
	kill(s)
	b, err := disk.ReadFile("t/journal")
	if err != nil {
		t.Fatal(err)
	}

	newer := bytes.Clone(b)
	newer[8]++
	binary.LittleEndian.PutUint32(newer[12:], crc32.ChecksumIEEE(newer[:12]))
	image := disk.CrashKeepNothing()
	if err := image.WriteFile("t/journal", newer); err != nil {
		t.Fatal(err)
	}
	s = openMem(t, image, o)
	if _, err := s.Log([]byte("t")); !errors.Is(err, journal.ErrNewer) || errors.Is(err, journal.ErrDamaged) {
		t.Errorf("newer journal: %v", err)
	}
	mustLog(t, s, "u")
	kill(s)
	if got, err := image.ReadFile("t/journal"); err != nil || !bytes.Equal(got, newer) {
		t.Errorf("newer journal was changed (%v)", err)
	}

	flipped := bytes.Clone(b)
	flipped[journal.HeaderLen+10] ^= 1
	for name, content := range map[string][]byte{
		"damaged": flipped, "torn": b[:len(b)-5], "header damaged": append([]byte("x"), b[1:]...), "empty": {}, "zeros": make([]byte, len(b)),
	} {
		image := disk.CrashKeepNothing()
		if err := image.WriteFile("t/journal", content); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			s := openMem(t, image, o)
			if got := answers(t, mustLog(t, s, "t")); got != want {
				t.Errorf("journal %s: answers are\n%s\nwant\n%s", name, got, want)
			}
			kill(s)
		}
		kept, err := image.ReadFile("t/journal.damaged")
		if aside := strings.Contains(name, "damaged"); aside != (err == nil) || aside && !bytes.Equal(kept, content) {
			t.Errorf("journal %s: kept aside: %v", name, err)
		}
	}

	image = disk.CrashKeepNothing()
	unknown := journal.AppendRecord(nil, 99, []byte("of a later version"))
	if err := image.WriteFile("t/journal", append(bytes.Clone(b), unknown...)); err != nil {
		t.Fatal(err)
	}
	o.journalCompact = 1
	kill(openMem(t, image, o))
	if got, err := image.ReadFile("t/journal"); err != nil || !bytes.Contains(got, unknown) || bytes.HasPrefix(got, b) {
		t.Errorf("record of an unknown kind is lost (%v)", err)
	}
}
