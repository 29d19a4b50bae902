package storage

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/index"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

var update = flag.Bool("update", false, "write the golden work directory of this version's format, if there is none")

// goldens are work directories that some version has written, one for each
// version of the format. They are never changed: all that was ever written has
// to open.
const goldens = "testdata/golden"

// goldenBodies are what is in topic "t" of each of them; topic "damaged" has a
// byte of "two" changed, set aside.
var goldenBodies = []string{"one", "two", "", "\r\nMSG 5\r\n", strings.Repeat("long ", 50), "six", "seven"}

// writeGolden writes the work directory of this version.
func writeGolden(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); err == nil {
		t.Fatalf("%s is there: a new format needs a new name", dir)
	}
	o := Options{FS: osFS(t, dir), PartitionSize: 200, Partitions: -1, FlushInterval: -1, Logger: testLogger(t)}
	for _, topic := range []string{"t", "damaged"} {
		s := openStore(t, o)
		l := mustCreate(t, s, topic)
		for i := range goldenBodies {
			if i > 0 && i%2 == 0 {
				continue // it is in the batch of the one before
			}
			mustAppend(t, l, batchOf(topic, goldenBodies[i:min(i+1+i%2, len(goldenBodies))]...))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := openStore(t, o)
	l := mustCreate(t, s, "packed")
	mustAppend(t, l, batchOf("packed", "plain"))
	data := []byte(strings.Repeat("MSG 6\r\npacked\r\n", 30))
	mustAppend(t, l, packedOf("packed", batch.Zstd, 30, codec.NewZstd(codec.Default).Encode(nil, data)))
	mustAppend(t, l, packedOf("packed", batch.S2, 30, codec.NewS2().Encode(nil, data)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "damaged", "0.log")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(b), "two", "tvo", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, o)
	l = mustLog(t, s, "damaged")
	if _, err := bodiesFrom(l, 0); err == nil {
		t.Fatal("the damage is not found")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t, filepath.Join(goldens, fmt.Sprintf("index%d-journal%d", index.Version, journal.Version)))
	}
	dirs, err := os.ReadDir(goldens)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) {
			disk, files := openGolden(t, filepath.Join(goldens, d.Name()))
			old := files["t/journal"] == "" // of 0.3, which had partitions alone
			damage := 0
			_, err := fsck.Check(t.Context(), fsck.CheckOptions{FS: disk}, func(f fsck.Finding) {
				if f.Topic == "damaged" {
					damage++
				} else if !old {
					t.Errorf("in a good topic: %+v", f)
				}
			})
			if err != nil || damage == 0 {
				t.Errorf("Check: %v; the damage is found %d times", err, damage)
			}

			s := openMem(t, disk, Options{FlushInterval: -1, Partitions: -1})
			l := mustLog(t, s, "t")
			wantBodies(t, l, goldenBodies...)
			next := l.Next()
			if a := mustAppend(t, l, batchOf("t", "new")); a.Offset != next {
				t.Errorf("appended at %d, want %d", a.Offset, next)
			}
			if offset, err := l.Seek(time.Time{}); err != nil || offset != 0 {
				t.Errorf("Seek: %d, %v", offset, err)
			}
			if files["packed/journal"] != "" {
				packed := mustLog(t, s, "packed")
				in, err := packed.Info(t.Context())
				if err != nil || in.Codecs != batch.S2|batch.Zstd || in.Messages != 61 || in.Batches != 3 {
					t.Errorf("the topic with compressed batches: %+v, %v", in, err)
				}
			}
			damaged := mustLog(t, s, "damaged")
			info, err := damaged.Info(t.Context())
			if err != nil {
				t.Error(err)
			} else if !old && (info.Damaged == 0 || info.Messages != int64(len(goldenBodies)-2)) {
				t.Errorf("the damaged topic: %+v", info)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			// What was good is as it was, the indexes, too: they were not made anew.
			for name, want := range files {
				if !strings.HasPrefix(name, "t/") || name == "t/journal" {
					continue
				}
				got, err := disk.ReadFile(name)
				if head := strings.HasPrefix(name, fmt.Sprintf("t/%d.", headOf(l).Base())); err != nil || !head && string(got) != want {
					t.Errorf("%s was changed: %v", name, err)
				}
			}
		})
	}
}

// openGolden copies a golden directory to a disk in memory.
func openGolden(t *testing.T, dir string) (*vfstest.FS, map[string]string) {
	t.Helper()
	disk, files := vfstest.New(), make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if e.IsDir() {
			return disk.Mkdir(name, 0o700)
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		files[name] = string(b)
		return disk.WriteFile(name, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	return disk, files
}
