package settings

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/setting"
)

func docs(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../docs/forwarder.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// row is how the documentation has a setting: its default and what it takes, and what it
// says of itself.
func row(name, defaultValue, allowed, usage string) string {
	if defaultValue == "" {
		defaultValue = "none"
	} else {
		defaultValue = "`" + defaultValue + "`"
	}
	return "| `" + name + "` | " + defaultValue + " | " + allowed + " | " + strings.ReplaceAll(usage, "|", `\|`) + " |"
}

// TestDocsTables: the tables of the documentation have a row for each setting: those of the
// agent, those of all inputs, and those that stand under [[input]] alone.
func TestDocsTables(t *testing.T) {
	var want []string
	for _, s := range agent {
		want = append(want, row(s.Name, s.Default, s.Allowed(), s.Usage))
	}
	for _, s := range shared {
		want = append(want, row(s.Name, s.Default, s.Allowed(), s.Usage))
	}
	for _, s := range own {
		d := s.Default
		if s.Name == "from" {
			d = ""
		}
		want = append(want, row(s.Name, d, s.Allowed(), s.Usage))
	}
	rows := regexp.MustCompile("(?m)^\\| `[a-z-]+` \\| (?:none|`[^`]*`) \\|.*\\|$").FindAllString(docs(t), -1)
	for i, r := range want {
		if i >= len(rows) || rows[i] != r {
			t.Errorf("row %d should be\n%s", i+1, r)
		}
	}
	if len(rows) != len(want) {
		t.Errorf("%d rows for %d settings", len(rows), len(want))
	}
}

// TestDocsNames: the documentation speaks of no variable that is not there.
func TestDocsNames(t *testing.T) {
	for _, name := range regexp.MustCompile(`LOGD_[A-Z_]*[A-Z]`).FindAllString(docs(t), -1) {
		ok := name == EnvFile || name == tokenEnv
		for _, v := range client {
			ok = ok || v.name == name
		}
		for _, s := range Settings() {
			ok = ok || s.Env() == name
		}
		if !ok {
			t.Errorf("%s is no setting", name)
		}
	}
}

// TestDocsExample: the example file, and the one that is installed, are accepted.
func TestDocsExample(t *testing.T) {
	_, rest, ok := strings.Cut(docs(t), "```toml\n")
	example, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("no example")
	}
	if c := mustLoad(t, example, Sources{}); len(c.Inputs) < 3 {
		t.Errorf("%d inputs", len(c.Inputs))
	}
}

// TestDocsReload: the documentation lists what a reload changes.
func TestDocsReload(t *testing.T) {
	var now, ifLarger []string
	for _, s := range agent {
		switch {
		case s.Change == setting.AtStart:
		case larger[s.Name] != nil:
			ifLarger = append(ifLarger, "`"+s.Name+"`")
		default:
			now = append(now, "`"+s.Name+"`")
		}
	}
	text := strings.Join(strings.Fields(docs(t)), " ")
	for _, want := range []string{
		"All settings of inputs, and " + strings.Join(now, ", ") + ", take effect at once.",
		"Larger values of " + strings.Join(ifLarger, ", ") + " do, too.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the documentation does not say: %s", want)
		}
	}
}
