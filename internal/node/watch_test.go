package node

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWatch: each way in which files are replaced is noticed, once, and not while it
// goes on.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := time.Now()
	later := func(name string) {
		at = at.Add(time.Second)
		if _, err := os.Stat(path(name)); err == nil {
			must(os.Chtimes(path(name), at, at))
		}
	}
	write("plain", "one")
	// As Kubernetes has it: what is named is a link to one in a folder that is a link.
	must(os.Mkdir(path("v1"), 0o700))
	must(os.Mkdir(path("v2"), 0o700))
	write("v1/file", "one")
	write("v2/file", "two")
	must(os.Symlink("v1", path("data")))
	must(os.Symlink("data/file", path("mounted")))
	must(os.Chtimes(path("v1/file"), at, at))
	must(os.Chtimes(path("v2/file"), at, at))

	for _, test := range []struct {
		name   string
		file   string
		change func()
	}{
		{"longer", "plain", func() { write("plain", "longer") }},
		{"a time", "plain", func() { later("plain") }},
		{"a mode", "plain", func() { must(os.Chmod(path("plain"), 0o644)) }},
		{"a rename", "plain", func() {
			write("new", "LONGER")
			must(os.Chmod(path("new"), 0o644))
			must(os.Chtimes(path("new"), at, at))
			must(os.Rename(path("new"), path("plain")))
		}},
		{"it goes", "plain", func() { must(os.Remove(path("plain"))) }},
		{"it comes", "plain", func() { write("plain", "one") }},
		{"a link on the way", "mounted", func() {
			must(os.Symlink("v2", path("data.new")))
			must(os.Rename(path("data.new"), path("data")))
		}},
	} {
		var w watch
		files := []string{path("other"), path(test.file)}
		look := func(want bool, when string) {
			t.Helper()
			if got := w.look(files); got != want {
				t.Errorf("%s: %v %s, want %v", test.name, got, when, want)
			}
		}
		w.look(files)
		w.taken()
		look(false, "without a change")
		test.change()
		look(false, "at once")
		if _, err := os.Stat(files[1]); err == nil {
			later(test.file)
			look(false, "while it changes")
		}
		look(true, "when it is the same twice")
		w.taken()
		look(false, "after it was taken")
	}
}
