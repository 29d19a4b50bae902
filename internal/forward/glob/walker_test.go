package glob

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// walks walks, and returns which paths were looked at, and which were known.
func walks(r *Walker, dir string, mark map[string]int64) (looked, known string) {
	var files, rest []string
	name := func(path string) string { s, _ := filepath.Rel(dir, path); return s }
	r.Walk(Visitor{
		File:  func(f Found) { files = append(files, name(f.Path)) },
		Mark:  func(path string, _, inode uint64) int64 { return mark[name(path)] },
		Known: func(f *Found) bool { rest = append(rest, name(f.Path)); return !strings.HasSuffix(f.Path, "/busy.log") },
	})
	slices.Sort(files)
	slices.Sort(rest)
	return strings.Join(files, " "), strings.Join(rest, " ")
}

// A folder that has its mark and its times is not read again, and of its files those alone
// are looked at that are not known.
func TestWalkerKeepsWhatItHasFound(t *testing.T) {
	for _, pattern := range []string{"/*/*.log", "/**/*.log"} {
		dir := tree(t, "x/a.log", "x/busy.log", "y/a.log")
		g, err := Compile(dir + pattern)
		if err != nil {
			t.Fatal(err)
		}
		r := NewWalker(g)
		mark := map[string]int64{".": 1, "x": 2, "y": 3}
		want := func(why, wantLooked, wantKnown string) {
			t.Helper()
			if looked, known := walks(r, dir, mark); looked != wantLooked || known != wantKnown {
				t.Errorf("%s: %s: looked at %q and knew %q, want %q and %q", pattern, why, looked, known, wantLooked, wantKnown)
			}
		}
		all := "x/a.log x/busy.log y/a.log"
		// At first it looks at everything, and within rare walks at each folder once more.
		var times int
		want("at first", all, "")
		for range rare {
			looked, _ := walks(r, dir, mark)
			times += strings.Count(looked, "a.log")
			if !strings.Contains(looked, "busy.log") {
				t.Errorf("%s: what is not known was not looked at", pattern)
			}
		}
		if times != 2 {
			t.Errorf("%s: in %d walks, 2 files were looked at %d times, want each once", pattern, rare, times)
		}
		// Now it is known when the next time comes.
		calm := func() {
			t.Helper()
			for _, l := range r.have {
				l.again = r.walks + 100
			}
		}
		calm()
		want("as it was", "x/busy.log", all)
		mark["y"]++
		want("another mark", "x/busy.log y/a.log", "x/a.log x/busy.log")
		calm()
		os.WriteFile(dir+"/x/b.log", nil, 0o600)
		want("another time", "x/a.log x/b.log x/busy.log", "y/a.log")
		calm()
		mark["x"] = 0
		want("no mark", "x/a.log x/b.log x/busy.log", "y/a.log")
		want("still no mark", "x/a.log x/b.log x/busy.log", "y/a.log")
		mark["x"] = 5
		want("a mark again", "x/a.log x/b.log x/busy.log", "y/a.log")
		calm()
		want("as it was then", "x/busy.log", "x/a.log x/b.log x/busy.log y/a.log")
		// Another folder in its place, with its times and its mark.
		os.Rename(dir+"/y", dir+"/z")
		os.MkdirAll(dir+"/y", 0o700)
		os.WriteFile(dir+"/y/c.log", nil, 0o600)
		mark["z"] = 6
		want("renamed", "x/busy.log y/c.log z/a.log", "x/a.log x/b.log x/busy.log")
		if err := os.RemoveAll(dir + "/z"); err != nil {
			t.Fatal(err)
		}
		want("removed", "x/busy.log", "x/a.log x/b.log x/busy.log y/c.log")
		for id := range r.have {
			if strings.Contains(id, "/z") {
				t.Errorf("%s: a folder that is gone is kept", pattern)
			}
		}
	}
}
