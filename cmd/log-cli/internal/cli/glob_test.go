package cli

import "testing"

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a", true}, {"*", "a.b", true}, {"*", "__positions", false}, {"__*", "__positions", true},
		{"app.*", "app.", true}, {"app.*", "app.x.y", true}, {"app.*", "app", false}, {"app.*", "xapp.y", false},
		{"*.log", "a.log", true}, {"*.log", "a.log.1", false}, {"a*b*c", "abc", true}, {"a*b*c", "axbxc", true},
		{"a*b*c", "acb", false}, {"a*a", "a", false}, {"a*a", "aa", true}, {"**", "x", true}, {"a", "a", true},
		{"a", "ab", false}, {"a.b*", "axb", false}, {"*a*a*", "aba", true}, {"*ab*ab*", "abab", true}, {"*ab*ab", "abab", true}, {"ab*ab", "ab", false},
	} {
		if got := Glob(test.pattern, test.name); got != test.want {
			t.Errorf("%s matches %s: %v", test.pattern, test.name, got)
		}
	}
}
