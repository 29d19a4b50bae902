package glob

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, path string
		want          string // what the wildcards stand for, "no" if it does not match
	}{
		{"/var/log/a.log", "/var/log/a.log", ""},
		{"/var/log/a.log", "/var/log/a.log2", "no"},
		{"/var/log/../log/./a", "/var/log/a", ""},
		{"/log/*.log", "/log/a.log", "a"},
		{"/log/*.log", "/log/.log", "<>"},
		{"/log/*.log", "/log/x/a.log", "no"},
		{"/log/*", "/log/.hidden", ".hidden"},
		{"/log/*/*.log*", "/log/app/a.log.1", "app a .1"},
		{"/log/*-*.log", "/log/a-b-c.log", "a b-c"},
		{"/log/*ab*ab", "/log/xababab", "x ab"},
		{"/log/a?c", "/log/abc", "b"},
		{"/log/a?c", "/log/ac", "no"},
		{"/log/[a-c][^x]", "/log/bz", "b z"},
		{"/log/[a-c][!x]", "/log/bx", "no"},
		{"/log/[]a-]*", "/log/]", "] <>"},
		{`/log/[\]]`, "/log/]", "]"},
		{`/log/\*\[`, "/log/*[", ""},
		{`/log/\*`, "/log/a", "no"},
		{"/log/**/a", "/log/a", "<>"},
		{"/log/**/a", "/log/x/y/a", "x/y"},
		{"/log/**/*.log", "/log/x/y/a.log", "x/y a"},
		{"/log/**/b/**/c", "/log/b/b/c", "<> b"},
		{"/log/**", "/log/x/a", "x a"},
		{"/log/**", "/log", "no"},
		{"/**/*.gz", "/a.gz", "<> a"},
		{"**/*.gz", "/var/log/a.gz", "var/log a"},
		{"/log/**/**/a", "/log/x/a", "x"},
		{"/log/a**b", "/log/axxb", "xx"},
		{"/log/*", "log/a", "no"},
		{"/log/*", "/log", "no"},
	} {
		g, err := Compile(test.pattern)
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		if got := show(g.Match(test.path)); got != test.want {
			t.Errorf("%s of %s: %q, want %q", test.pattern, test.path, got, test.want)
		}
	}
}

func show(wild []string, ok bool) string {
	if !ok {
		return "no"
	}
	for i, w := range wild {
		if w == "" {
			wild[i] = "<>"
		}
	}
	return strings.Join(wild, " ")
}

func TestRelativePatterns(t *testing.T) {
	t.Chdir(t.TempDir())
	here, _ := os.Getwd()
	g, err := Compile("logs/*.log")
	if err != nil {
		t.Fatal(err)
	}
	if got := show(g.Match(filepath.Join(here, "logs/a.log"))); got != "a" {
		t.Errorf("%q", got)
	}
}

func TestPatternsThatAreNone(t *testing.T) {
	for _, bad := range []string{"", "/log/", "/log/[a", "/log/[]", "/log/[b-a]", `/log/a\`, `/log/[a\`} {
		if g, err := Compile(bad); err == nil {
			t.Errorf("%q is taken as %v", bad, g.parts)
		}
	}
}

// The match is that of a regular expression, and the wildcards stand for what fills the
// pattern up to the path.
func TestMatchIsThatOfARegularExpression(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	some := func(from []string, n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(from[r.IntN(len(from))])
		}
		return b.String()
	}
	expressions := strings.NewReplacer("/**/", "/(?:.*/)?", "**", "[^/]*", "*", "[^/]*", "?", "[^/]", "/", "/")
	matches := 0
	for range 6000 {
		pattern := "/" + some([]string{"a", "b", "*", "?", "[ab]", "/", "/**/"}, r.IntN(7)) + "a"
		g, err := Compile(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pattern = filepath.Clean(pattern)
		for strings.Contains(pattern, "/**/**/") {
			pattern = strings.ReplaceAll(pattern, "/**/**/", "/**/")
		}
		path := filepath.Clean("/" + some([]string{"a", "b", "/"}, r.IntN(9)) + "a")
		want := regexp.MustCompile("^" + expressions.Replace(pattern) + "$").MatchString(path)
		wild, ok := g.Match(path)
		if ok != want {
			t.Fatalf("%s of %s: %v, want %v", pattern, path, ok, want)
		}
		if !ok {
			continue
		}
		matches++
		if len(wild) != g.Wildcards() {
			t.Fatalf("%s of %s: %q, want %d wildcards", pattern, path, wild, g.Wildcards())
		}
		filled := regexp.MustCompile(`\*+|\?|\[ab\]`).ReplaceAllStringFunc(pattern, func(string) string {
			first := wild[0]
			wild = wild[1:]
			return first
		})
		if filepath.Clean(filled) != path {
			t.Fatalf("%s of %s is filled up to %s", pattern, path, filled)
		}
	}
	if matches < 100 {
		t.Errorf("only %d paths matched: the test sees too little", matches)
	}
}

// tree makes files, folders (with a slash at the end) and links (a->b) below a new folder.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		link, to, isLink := strings.Cut(name, "->")
		path := filepath.Join(dir, link)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case isLink:
			err = os.Symlink(to, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o700)
		default:
			err = os.WriteFile(path, []byte(name), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWalk(t *testing.T) {
	dir := tree(t, "a.log", "b.log.1", "x/a.log", "x/y/a.log", "x/y/z/c.txt", "folder.log/", "link.log->x/a.log", "dead.log->nowhere", "up->x", "loop/back->..", "fold.log->x")
	for _, test := range []struct{ pattern, want string }{
		{"a.log", "a.log[]"},
		{"none.log", ""},
		{"none/a.log", ""},
		{"a.log/b", ""},
		{"folder.log", "folder.log[] folder"},
		{"*.log", "a.log[a], fold.log[fold] folder link, link.log[link] link"},
		{"*.log*", "a.log[a ], b.log.1[b .1], fold.log[fold ] folder link, link.log[link ] link"},
		{"*/a.log", "fold.log/a.log[fold.log], up/a.log[up], x/a.log[x]"},
		{"up/a.log", "up/a.log[]"},
		{"**/a.log", "a.log[], x/a.log[x], x/y/a.log[x/y]"},
		{"**/y/*.log", "x/y/a.log[x a]"},
		{"x/**", "x/a.log[ a.log], x/y/a.log[y a.log], x/y/z/c.txt[y/z c.txt]"},
	} {
		g, err := Compile(dir + "/" + test.pattern)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		g.Walk(Visitor{
			File: func(f Found) {
				name, _ := filepath.Rel(dir, f.Path)
				what := fmt.Sprint(name, f.Wild)
				if f.Folder {
					what += " folder"
				}
				if f.Link {
					what += " link"
				}
				got = append(got, what)
				if wild, ok := g.Match(f.Path); !ok || !slices.Equal(wild, f.Wild) {
					t.Errorf("%s: found %s, which matches as %q, %v", test.pattern, what, wild, ok)
				}
				if want, err := os.Stat(f.Path); err != nil || want.Size() != f.Size || want.Mode().IsRegular() != f.Regular {
					t.Errorf("%s: %+v, %v", test.pattern, f, err)
				}
			},
			Error: func(path string, err error) { t.Errorf("%s: %s: %v", test.pattern, path, err) },
		})
		slices.Sort(got)
		if strings.Join(got, ", ") != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.pattern, strings.Join(got, ", "), test.want)
		}
	}
}

func TestWalkTellsOfWhatItCanNotRead(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads everything")
	}
	dir := tree(t, "x/a.log", "y/a.log")
	os.Chmod(dir+"/x", 0)
	defer os.Chmod(dir+"/x", 0o700)
	g, _ := Compile(dir + "/*/*.log")
	var failed, found []string
	g.Walk(Visitor{
		File:  func(f Found) { found = append(found, f.Path) },
		Error: func(path string, err error) { failed = append(failed, path) },
	})
	if !slices.Equal(failed, []string{dir + "/x"}) || len(found) != 1 {
		t.Errorf("failed %q, found %q", failed, found)
	}
}

func TestWalkVisitsFolders(t *testing.T) {
	dir := tree(t, "x/a.log", "x/y/", "z/")
	for pattern, want := range map[string][]string{
		"x/a.log":  {"x"},
		"*/a.log":  {".", "x", "z"},
		"**/a.log": {".", "x", "x/y", "z"},
	} {
		g, _ := Compile(dir + "/" + pattern)
		var got []string
		g.Walk(Visitor{Folder: func(path string) {
			name, _ := filepath.Rel(dir, path)
			got = append(got, name)
		}})
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
}

func BenchmarkWalk(b *testing.B) {
	dir := b.TempDir()
	for i := range 10000 {
		os.WriteFile(fmt.Sprintf("%s/%05d.log", dir, i), nil, 0o600)
	}
	g, _ := Compile(dir + "/*.log")
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		g.Walk(Visitor{File: func(Found) { n++ }})
		if n != 10000 {
			b.Fatal(n)
		}
	}
}
