package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd/internal/setting"
)

func TestNearest(t *testing.T) {
	for _, test := range []struct{ name, want string }{
		{"batch-size", "batch-size"}, {"batch_size", "batch-size"}, {"BATCH-SIZE", "batch-size"},
		{"bach-size", "batch-size"}, {"batchsizes", "batch-size"}, {"batch", ""},
		{"hots", "host"}, {"topcs", "topics"}, {"x", ""}, {"", ""},
	} {
		if got := settings.Nearest(test.name); got != test.want {
			t.Errorf("nearest(%q) = %q, want %q", test.name, got, test.want)
		}
	}
}

// FuzzFile: no file is too strange to be refused properly, and the settings
// that one is accepted with can be written as a file that means the same.
func FuzzFile(f *testing.F) {
	f.Add("")
	f.Add("host = \"127.0.0.1:0\"\nhttp-host = ''\n")
	f.Add("batch-size = \"64KiB\"\npartition-size = 0x10_0000\nfile-mode = 0o640\n")
	f.Add("topics-whitelist = [\n 'a', # one\n \"\"\"b\"\"\"\n]\nverbose = true\nflush-interval = \"-1s\"")
	f.Add("[table]\nhost = 1")
	f.Add("a.b.\"c d\" = {x = [1, 2.5, 1979-05-27T07:32:00Z]}")
	f.Add("\"a\\nb\" = 1\n\"a\\nb\" = 2")
	f.Add("\"a\\nb\" = 1\n\"\" = 2\n[\"\\n\"]")
	f.Add("host = \"\\u00e9\"\ntopics = +1")
	f.Fuzz(func(t *testing.T, text string) {
		first, ok := fileConfig(t, text)
		if !ok {
			return
		}
		var written strings.Builder
		for _, s := range Settings() {
			written.WriteString(s.Name + " = " + tomlLiteral(s, &first) + "\n")
		}
		again, ok := fileConfig(t, written.String())
		if !ok {
			t.Fatalf("%q was accepted, but not written again:\n%s", text, written.String())
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("%q (-first +written again):\n%s", text, diff)
		}
	})
}

// decode returns what a file says of settings.
func decode(path string, data []byte) ([]setting.Pair, []error) {
	parts, problems := setting.Decode(path, data, settings, nil)
	return parts[0].Pairs, problems
}

func mustLookup(t *testing.T, name string) Setting {
	t.Helper()
	s, ok := Lookup(name)
	if !ok {
		t.Fatalf("%s is no setting", name)
	}
	return s
}

// fileConfig returns the settings that a file makes of the default ones, and
// whether it is accepted.
func fileConfig(t *testing.T, text string) (Config, bool) {
	t.Helper()
	entries, problems := decode("c.toml", []byte(text))
	for _, p := range problems {
		if strings.Contains(p.Error(), "\n") || !strings.HasPrefix(p.Error(), "c.toml:") {
			t.Errorf("%q: message %q is not one line that begins with the place", text, p)
		}
	}
	c := Default()
	for _, e := range entries {
		if e.Line < 1 || e.Line > 1+strings.Count(text, "\n") {
			t.Errorf("%q: %s is on line %d", text, e.Name, e.Line)
		}
		if err := mustLookup(t, e.Name).SetTexts(&c, e.Texts); err != nil {
			problems = append(problems, err)
		}
	}
	return c, len(problems) == 0
}

// tomlLiteral writes a setting's value without help from the code under test.
func tomlLiteral(s Setting, c *Config) string {
	literal := func(text string) string {
		var b strings.Builder
		b.WriteByte('"')
		for _, r := range text {
			const hex = "0123456789abcdef"
			b.WriteString(`\U`)
			for shift := 28; shift >= 0; shift -= 4 {
				b.WriteByte(hex[r>>shift&15])
			}
		}
		b.WriteByte('"')
		return b.String()
	}
	switch text := s.Value(c); s.Kind {
	case Number, Switch:
		return text
	case Names, Hosts, Addresses:
		var items []string
		for _, name := range s.Texts(c) {
			items = append(items, literal(name))
		}
		return "[" + strings.Join(items, ", ") + "]"
	default:
		return literal(text)
	}
}
