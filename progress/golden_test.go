package progress

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/logd-dev/logd"
)

var update = flag.Bool("update", false, "write the golden files of this version's formats, those that are not there")

// Files in testdata/golden are what some version has written, one for each
// version of a format. They are never changed: all that was ever written has to
// be read.
func golden(t *testing.T, name string, write func(name string)) (path string) {
	t.Helper()
	name = filepath.Join("testdata", "golden", name)
	if _, err := os.Stat(name); *update && err != nil {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		write(name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), filepath.Base(name))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGolden(t *testing.T) {
	for kind, want := range map[string]logd.Position{
		"offset": logd.AtOffset(1 << 40), "message": logd.At(logd.ID{Offset: 70, Delta: 11}), "after": logd.After(logd.ID{Offset: 70, Delta: 11}),
		"oldest": logd.AtOldest(), "next": logd.AtNext(), "time": logd.AtTime(time.Date(2026, 1, 2, 15, 4, 5, 6, time.UTC)),
	} {
		for version, topic := range map[int]string{1: "", 2: "0123456789abcdef0123456789abcdef"} {
			path := golden(t, fmt.Sprintf("state%d-%s", version, kind), func(name string) {
				if err := os.WriteFile(name, encode(want, topic), 0o644); err != nil {
					t.Fatal(err)
				}
			})
			s, err := OpenFile(FileConfig{Path: path})
			if err != nil {
				t.Errorf("%s: %v", kind, err)
				continue
			}
			if got := s.Peek(); got != want || s.TopicID() != topic {
				t.Errorf("%s: position %v of topic %q, want %v of %q", kind, got, s.TopicID(), want, topic)
			}
		}
	}
}
