package logd

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
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

func TestGoldenState(t *testing.T) {
	for kind, want := range map[string]Position{
		"offset": AtOffset(1 << 40), "message": At(ID{70, 11}), "after": After(ID{70, 11}),
		"oldest": AtOldest(), "next": AtNext(), "time": AtTime(time.Date(2026, 1, 2, 15, 4, 5, 6, time.UTC)),
	} {
		for version, topic := range map[int]string{1: "", 2: "0123456789abcdef0123456789abcdef"} {
			path := golden(t, fmt.Sprintf("state%d-%s", version, kind), func(name string) {
				if err := os.WriteFile(name, encodeState(want, topic), 0o644); err != nil {
					t.Fatal(err)
				}
			})
			s, err := OpenFileState(FileStateConfig{Path: path})
			if err != nil {
				t.Errorf("%s: %v", kind, err)
				continue
			}
			if got := s.Position(); got != want || s.TopicID() != topic {
				t.Errorf("%s: position %v of topic %q, want %v of %q", kind, got, s.TopicID(), want, topic)
			}
		}
	}
}
