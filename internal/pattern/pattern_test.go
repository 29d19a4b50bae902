package pattern

import (
	"strings"
	"testing"
)

// plainMatch is what a pattern means, with no thought of speed.
func plainMatch(pattern, name string) bool {
	if strings.HasPrefix(name, "__") && !strings.HasPrefix(pattern, "__") {
		return false
	}
	var match func(p, n string) bool
	match = func(p, n string) bool {
		switch {
		case p == "":
			return n == ""
		case p[0] == '*':
			return match(p[1:], n) || n != "" && match(p, n[1:])
		}
		return n != "" && p[0] == n[0] && match(p[1:], n[1:])
	}
	return match(pattern, name)
}

func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"*", "a"}, {"*", "__a"}, {"__*", "__a"}, {"_*", "__a"}, {"orders.*", "orders."}, {"a*a", "a"}, {"a*a", "aa"}, {"*a*b*", "xaxbx"}, {"a*b*c", "abbc"},
		{"**", ""}, {"a", "a"}, {"*ab", "aab"}, {"*a*a", "a"}, {"********", "x"}, {"*********", "x"}, {"a b", "a b"}, {"", ""}, {"*.eu.*", "x.eu.eu.y"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		p, err := Parse(text, nil)
		if err != nil {
			if text != "" && len(text) <= 255 && strings.Count(text, "*") <= 8 && strings.Trim(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz0123456789._-*") == "" {
				t.Errorf("%q is refused: %v", text, err)
			}
			return
		}
		if len(name) > 40 {
			return // the plain matcher takes for ever
		}
		if got, want := p.Match([]byte(name)), plainMatch(text, name); got != want {
			t.Errorf("%q matches %q: %v, want %v", text, name, got, want)
		}
	})
}

// TestParts: what a pattern is made of.
func TestParts(t *testing.T) {
	for _, test := range []struct {
		text       string
		literal    int
		exact, all bool
	}{
		{"a", 1, true, false}, {"*", 0, false, true}, {"**", 0, false, true}, {"orders.*", 7, false, false}, {"*a*b*", 2, false, false},
	} {
		p, err := Parse(test.text, nil)
		if err != nil {
			t.Fatal(err)
		}
		if p.Literal() != test.literal || p.Exact() != test.exact || p.All() != test.all {
			t.Errorf("%s: %d literal bytes, exact %v, all %v", test.text, p.Literal(), p.Exact(), p.All())
		}
	}
	p, err := Parse("*", nil)
	if err != nil {
		t.Fatal(err)
	}
	if name := []byte("__a"); p.Match(name) {
		t.Error("* matches a topic of the server's own")
	} else if p = p.OfAnyName(); !p.Match(name) {
		t.Error("* does not match a name that is no topic's")
	}
}
