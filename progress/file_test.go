package progress

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/logd-dev/logd"
)

// In a folder in which others may write, what they have put at names that a
// File could use is neither followed nor changed, and does not hinder it.
func TestFileFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "jobs.state")
	for _, name := range []string{".tmp", ".0.tmp", ".1.tmp", ".new", "~"} {
		if err := os.Symlink(victim, path+name); err != nil {
			t.Fatal(err)
		}
	}
	s, err := OpenFile(FileConfig{Path: path, FileMode: 0o640})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Started(logd.ID{Offset: 0, Delta: 0}); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(victim); err != nil || string(got) != "precious" {
		t.Errorf("another file is overwritten: %q, %v", got, err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o640 {
		t.Errorf("the state's file is of mode %v", info.Mode())
	}
}

// What a crash has left beside the file goes when it is opened, and nothing
// else.
func TestFileClears(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, name := range []string{".123.tmp", ".x.tmp", ".tmp", "2.1.tmp"} {
		if err := os.WriteFile(path+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := OpenFile(FileConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, want := range map[string]bool{".123.tmp": false, ".x.tmp": true, ".tmp": true, "2.1.tmp": true} {
		if _, err := os.Lstat(path + name); (err == nil) != want {
			t.Errorf("%q is there: %v, want %v", "s"+name, err == nil, want)
		}
	}
}
