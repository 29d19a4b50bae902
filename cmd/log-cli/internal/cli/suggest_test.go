package cli

import "testing"

func TestNearest(t *testing.T) {
	known := []string{"read", "write", "topics", "greetings", "limit", "orders", "orders-eu", "x"}
	for word, want := range map[string]string{
		"raed": "read", "rea": "read", "wirte": "write", "topic": "topics", "greetigns": "greetings",
		"lmit": "limit", "LIMIT": "limit", "greet": "greetings", "order": "orders", "orders-e": "orders-eu",
		"": "", "y": "", "xy": "x", "abc": "", "payments": "", "gr": "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "ab", 1},
		{"kitten", "sitting", 3}, {"ca", "abc", 3}, {"abcdef", "uvwxyz", 4}, {"a", "abcdefgh", 4},
	} {
		if got := distance(test.a, test.b, 4); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
