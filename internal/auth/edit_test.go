package auth

import (
	"strings"
	"testing"
)

// TestAddToken: a token more, and nothing else is other than before.
func TestAddToken(t *testing.T) {
	d := Sum([]byte("new"))
	digest := `"` + d.String() + `"`
	old := `"` + Sum([]byte("old")).String() + `"`
	for _, test := range []struct{ before, after string }{
		{"", "version = 1\n\n[[identity]]\nname = \"a\"\ntokens = [" + digest + "]\nallow = [\"read *\"]\n"},
		{"version = 1 # mine", "version = 1 # mine\n\n[[identity]]\nname = \"a\"\ntokens = [" + digest + "]\nallow = [\"read *\"]\n"},
		{"version = 1\n[[identity]]\nname = \"a\" # it\nallow = []\n", "version = 1\n[[identity]]\ntokens = [" + digest + "]\nname = \"a\" # it\nallow = []\n"},
		{"version = 1\n[[identity]]\ntokens = []\nname = \"a\"\n", "version = 1\n[[identity]]\ntokens = [" + digest + "]\nname = \"a\"\n"},
		{
			"version = 1\n[[identity]]\nname = \"b\"\ntokens = [\"" + Sum(nil).String() + "\"]\n[[identity]]\nname = \"a\"\n\"tokens\" = [ # [all]\n\t" + old + ", # old\n]\n[[identity]]\nname = \"c\"\n",
			"version = 1\n[[identity]]\nname = \"b\"\ntokens = [\"" + Sum(nil).String() + "\"]\n[[identity]]\nname = \"a\"\n\"tokens\" = [" + digest + ",  # [all]\n\t" + old + ", # old\n]\n[[identity]]\nname = \"c\"\n",
		},
	} {
		var rules []string
		if !strings.Contains(test.before, `name = "a"`) {
			rules = []string{"read *"}
		}
		got, err := AddToken("f", []byte(test.before), "a", d, rules)
		if err != nil || string(got) != test.after {
			t.Errorf("%q:\n%s\n(%v), want\n%s", test.before, got, err, test.after)
		}
		if err == nil && policy(t, string(got)).ByToken(d).Name() != "a" {
			t.Errorf("%q: the token is not a's", got)
		}
	}
	full := []byte("version = 1\n[[identity]]\nname = \"a\"\n")
	var err error
	for i := range 4 {
		if full, err = AddToken("f", full, "a", Sum([]byte{byte(i)}), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		data, name string
		rules      []string
		err        string
	}{
		{string(full), "a", nil, "a has 4 tokens in f, and there may be no more: remove one first"},
		{"version = 1\n[[identity]]\nname = \"a\"\n", "a", []string{"read *"}, "a is in f already, and its rules stay as they are"},
		{"", "off", nil, `"off" is no name`},
		{"", "anonymous", nil, `"anonymous" is no name`},
		{"", "a b", nil, `"a b" is no name`},
		{"", "a", []string{"read"}, `rule "read": not VERB`},
		{"x = 1\n", "a", nil, "f:1: x: unknown key"},
	} {
		if _, err := AddToken("f", []byte(test.data), test.name, Sum([]byte("more")), test.rules); err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%q to %q: %v, want %s", test.name, test.data, err, test.err)
		}
	}
}
