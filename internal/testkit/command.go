package testkit

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Documented checks that each flag of each command is in the manual page of the command,
// in the folder pages, and is offered where a shell asks for completions: complete
// returns what the program prints for those arguments.
func Documented(t *testing.T, root *cobra.Command, pages string, complete func(args ...string) string) {
	t.Helper()
	commands := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.IsAvailableCommand() && c != root {
			return
		}
		commands++
		words := strings.Fields(c.CommandPath())
		page, err := os.ReadFile(filepath.Join(pages, strings.Join(words, "-")+".1"))
		if err != nil {
			t.Error(err)
			return
		}
		offered := complete(append(append([]string{"__complete"}, words[1:]...), "--")...)
		c.InitDefaultHelpFlag()
		flag := func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			if !strings.Contains(string(page), `\fB--`+f.Name+`\fP`) {
				t.Errorf("the manual page of %s does not have --%s", c.CommandPath(), f.Name)
			}
			if !regexp.MustCompile(`(?m)^--` + f.Name + `\b`).MatchString(offered) {
				t.Errorf("--%s of %s is not offered where a shell completes words:\n%s", f.Name, c.CommandPath(), offered)
			}
		}
		c.Flags().VisitAll(flag)
		c.InheritedFlags().VisitAll(flag)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	if commands < 2 {
		t.Errorf("%d commands", commands)
	}
}
