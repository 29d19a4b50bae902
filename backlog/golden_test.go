package backlog

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files that are missing")

// golden returns a copy of a golden file, which stays as it is for ever.
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

func TestGoldenBacklog(t *testing.T) {
	version := strings.TrimSpace(backlogVersion)
	path := golden(t, "backlog"+version, func(name string) {
		b := openDisk(t, name)
		defer b.Close()
		for _, m := range []string{"first", "second", "third"} {
			keep(t, b, m)
		}
		deliver(t, b, 1)
	})
	b := openDisk(t, path)
	defer b.Close()
	if got, want := kept(t, b), "second third"; got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
	if torn, _ := b.Torn(); torn != "" || b.Topic() != "t" {
		t.Errorf("torn %q, topic %q", torn, b.Topic())
	}
}
