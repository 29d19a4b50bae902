package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

// TestHelp looks at the help of every command: how it begins, how wide it is,
// and what its flags' values are called.
func TestHelp(t *testing.T) {
	const width = 80
	var out bytes.Buffer
	a := &cli.App{Stdout: &out}
	shorts := 0
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
		shorts++
		out.Reset()
		if err := cmd.Help(); err != nil {
			t.Error(err)
		}
		text := out.String()
		if !strings.HasPrefix(text, cmd.Short+"\n\nExamples:\n  log-cli") && !strings.HasPrefix(text, cmd.Short+"\n\nExamples:\n  echo hello | log-cli") {
			t.Errorf("%s begins with %q", cmd.CommandPath(), text[:min(len(text), 100)])
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%s: a line of %d columns: %s", cmd.CommandPath(), n, line)
			}
		}
		if !regexp.MustCompile(`^[A-Z].*\.$`).MatchString(cmd.Short) {
			t.Errorf("%s: %q is no sentence", cmd.CommandPath(), cmd.Short)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			name, usage := pflag.UnquoteUsage(f)
			if name != strings.ToUpper(name) {
				t.Errorf("%s --%s: its value is called %q", cmd.CommandPath(), f.Name, name)
			}
			if first, _, _ := strings.Cut(usage, " "); first != strings.ToUpper(first) && first != strings.ToLower(first) || strings.HasSuffix(usage, ".") {
				t.Errorf("%s --%s: %q does not begin or end as others do", cmd.CommandPath(), f.Name, usage)
			}
		})
	}
	visit(root(a))
	if shorts < 20 {
		t.Errorf("%d commands", shorts)
	}
}

// TestConnectionFlags makes sure that those have them who have use for them.
func TestConnectionFlags(t *testing.T) {
	offline := map[string]bool{"check": true, "dump": true, "repair": true, "completion": true, "version": true, "help": true, "token": true}
	for _, cmd := range root(new(cli.App)).Commands() {
		if got := cmd.Flags().Lookup("host") != nil; got == offline[cmd.Name()] {
			t.Errorf("%s: --host: %v", cmd.Name(), got)
		}
	}
}

// TestExamplesAreUnderstood makes sure that the command lines in examples have
// no flag that there is not.
func TestExamplesAreUnderstood(t *testing.T) {
	flag := regexp.MustCompile(` (--?[a-zA-Z][a-z-]*)`)
	for _, cmd := range root(new(cli.App)).Commands() {
		for line := range strings.Lines(cmd.Example) {
			_, line, _ = strings.Cut(line, "log-cli ")
			line, _, _ = strings.Cut(line, "| ")
			for _, m := range flag.FindAllStringSubmatch(line, -1) {
				name := strings.TrimLeft(m[1], "-")
				if len(name) == 1 && cmd.Flags().ShorthandLookup(name) == nil || len(name) > 1 && cmd.Flags().Lookup(name) == nil {
					t.Errorf("%s: the example %q has an unknown flag %s", cmd.Name(), line, m[1])
				}
			}
		}
	}
}

// failing is a standard output that nothing can be written to.
type failing struct{ error }

func (f failing) Write([]byte) (int, error) { return 0, f.error }

// TestHelpFails makes sure that help that can't be printed is a failure.
func TestHelpFails(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"read", "-h"}, {"--version"}, {"help"}, {"help", "read"}} {
		var stderr bytes.Buffer
		a := &cli.App{Stdout: failing{bytes.ErrTooLarge}, Stderr: &stderr, Getenv: func(string) string { return "" }}
		if code := a.Run(t.Context(), root(a), args); code != 1 || stderr.String() != "log-cli: "+bytes.ErrTooLarge.Error()+"\n" {
			t.Errorf("%q: exit code %d, %q", args, code, &stderr)
		}
	}
}
