package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/setting"
)

// docs returns docs/configuration.md.
func docs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocsTables: the documentation has a row for every setting, in the order
// of the table, and what it says of each is true. Meanings are its own.
func TestDocsTables(t *testing.T) {
	var rows []string
	for line := range strings.Lines(docs(t)) {
		if strings.HasPrefix(line, "| `--") && strings.Contains(line, envPrefix) && strings.Count(line, " | ") >= 5 {
			rows = append(rows, line)
		}
	}
	for i, s := range Settings() {
		flag := "--" + s.Name
		if s.Kind != Switch {
			flag += " " + s.Kind.Arg()
		}
		defaultValue := "none"
		if s.Default != "" {
			defaultValue = "`" + s.Default + "`"
		}
		want := "| `" + flag + "` | `" + s.Env() + "` | `" + s.Name + "` | " + defaultValue + " | " + s.Allowed() + " | "
		if i >= len(rows) {
			t.Errorf("no row for %s; it should begin with\n%s", s.Name, want)
			continue
		}
		if meaning, ok := strings.CutPrefix(rows[i], want); !ok {
			t.Errorf("row %d is\n%sbut should begin with\n%s", i+1, rows[i], want)
		} else if strings.Trim(meaning, " |\n") == "" {
			t.Errorf("%s: no meaning", s.Name)
		}
	}
	if len(rows) > len(Settings()) {
		t.Errorf("%d rows for %d settings", len(rows), len(Settings()))
	}
}

// TestDocsNames: the documentation speaks of no key, flag or variable that is
// not there.
func TestDocsNames(t *testing.T) {
	text := docs(t)
	for _, name := range regexp.MustCompile(`LOGD_[A-Z_]*[A-Z]`).FindAllString(text, -1) {
		known := name == EnvFile || !ours(name) || setting.ServiceLink(envPrefix, name, "tcp://10.0.0.1:1774")
		for _, s := range Settings() {
			known = known || s.Env() == name
		}
		if !known {
			t.Errorf("%s is no setting", name)
		}
	}
	for _, m := range regexp.MustCompile("`([a-z-]+) = ([^`]*)`").FindAllStringSubmatch(text, -1) {
		entries, problems := decode("docs", []byte(m[1]+" = "+m[2]))
		if len(problems) > 0 {
			t.Errorf("%s: %v", m[0], problems)
			continue
		}
		c := Default()
		if err := mustLookup(t, entries[0].Name).SetTexts(&c, entries[0].Texts); err != nil {
			t.Errorf("%s: %v", m[0], err)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^- \*\*([a-z-]+)\*\*(?: and \*\*([a-z-]+)\*\*)?: `).FindAllStringSubmatch(text, -1) {
		for _, name := range m[1:] {
			if _, ok := Lookup(name); name != "" && !ok {
				t.Errorf("there is advice on %s, which is no setting", name)
			}
		}
	}
	for _, s := range Settings() {
		if !strings.Contains(text, "**"+s.Name+"**") {
			t.Errorf("there is no advice on %s", s.Name)
		}
	}
}

// TestDocsExample: the example file is accepted and means what is said of it.
func TestDocsExample(t *testing.T) {
	_, rest, ok := strings.Cut(docs(t), "```toml\n")
	example, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("no example")
	}
	t.Chdir(t.TempDir())
	write(t, "logd.toml", example)
	c, _, err := Load(Sources{File: "logd.toml"})
	if err != nil {
		t.Fatal(err)
	}
	if c.FlushBatches != 1 || c.RetentionAge != 7*24*time.Hour || c.RetentionBytes != 50<<30 ||
		int64(c.Partitions)*c.PartitionSize <= c.RetentionBytes {
		t.Errorf("the example does not do what it is said to: %+v", c)
	}
}

// TestDocsMessages: messages that are shown are the ones that users get.
func TestDocsMessages(t *testing.T) {
	file := Origin{Source: FromFile, Name: "/etc/logd/logd.toml"}
	at := func(line int) Origin { o := file; o.Line = line; return o }
	text := docs(t)
	_, problems := decode(file.Name, []byte("\n\nbach-size = \"64KiB\""))
	partitions, _ := Lookup("partitions")
	problems = append(problems, partitions.Problem(at(7), "0", partitions.SetTexts(new(Config), []string{"0"})))
	_, _, err := Load(Sources{Env: []string{"LOGD_TIMEOUT=15"}})
	for _, p := range append(problems, err) {
		if !strings.Contains(text, "\n    logd: "+p.Error()+"\n") {
			t.Errorf("not in the documentation:\n    logd: %v", p)
		}
	}
}

// TestDocsReload: the documentation lists the settings that a reload changes.
func TestDocsReload(t *testing.T) {
	var want []string
	for _, s := range Settings() {
		if s.Change != AtStart {
			want = append(want, s.Name)
		}
	}
	text := strings.Join(strings.Fields(docs(t)), " ")
	list := "These settings take effect at once: " + strings.Join(want, ", ") + "."
	if !strings.Contains(text, list) {
		t.Errorf("the documentation does not say: %s", list)
	}
}
