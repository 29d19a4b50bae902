package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

// TestDocs types what docs/log-cli.md shows, in its order, and compares what
// comes back where the page shows that. Times differ, and a command that
// follows is given an end.
func TestDocs(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	page, err := os.ReadFile("../../docs/log-cli.md")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t)
	run(t, s.addr, "hello\n", "write", "greetings") // as in the README
	run(t, s.addr, "one\ntwo\nthree\n", "write", "greetings")
	run(t, s.addr, "", "write", "app", "an error", "a word")
	t.Setenv(cli.CLIHostEnv, s.addr)
	times := regexp.MustCompile(`20\d\d-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)`)
	same := func(text string) string { return times.ReplaceAllString(strings.TrimRight(text, "\n"), "TIME") }

	shown := shellBlocks(string(page))
	if len(shown) < 10 {
		t.Fatalf("the page shows %d commands", len(shown))
	}
	dir := t.TempDir()
	for _, c := range shown {
		command := strings.Replace(c.line, " -F", " -F --limit 1", 1)
		cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir)
		got, err := cmd.CombinedOutput()
		if err != nil && c.output == "" {
			t.Errorf("%s: %v\n%s", command, err, got)
		}
		if c.output != "" && same(string(got)) != same(c.output) {
			t.Errorf("$ %s\n%s\nthe page says\n%s", command, got, c.output)
		}
	}
}

// shellCommand is a command that a page shows, and what it prints if the page
// shows that, too.
type shellCommand struct{ line, output string }

// shellBlocks returns the commands of a page: lines that begin with a $, each
// with the lines that follow it.
func shellBlocks(page string) (shown []shellCommand) {
	for line := range strings.Lines(page) {
		code, ok := strings.CutPrefix(line, "    ")
		if command, is := strings.CutPrefix(code, "$ "); ok && is {
			command, _, _ = strings.Cut(strings.TrimSpace(command), "  #")
			shown = append(shown, shellCommand{line: command})
		} else if ok && len(shown) > 0 {
			shown[len(shown)-1].output += code
		}
	}
	return shown
}
