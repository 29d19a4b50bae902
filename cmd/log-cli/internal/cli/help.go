package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is how wide help may be.
const helpWidth = 80

// help prints what a command does: a line, examples that work, and the rest.
func (a *App) help(cmd *cobra.Command, _ []string) {
	_, err := io.WriteString(a.Stdout, helpText(cmd))
	a.helpErr = err
}

func helpText(cmd *cobra.Command) string {
	var b strings.Builder
	section := func(heading, text string) {
		if text = strings.TrimRight(text, "\n"); text != "" {
			if heading != "" {
				heading += ":\n"
			}
			fmt.Fprintf(&b, "\n%s%s\n", heading, text)
		}
	}
	fmt.Fprintln(&b, cmd.Short)
	section("Examples", cmd.Example)
	section("", cmd.Long)
	usage := "  " + cmd.UseLine()
	if !cmd.HasParent() {
		usage += " COMMAND"
	} else if cmd.HasAvailableSubCommands() {
		usage += "\n  " + cmd.CommandPath() + " COMMAND"
	}
	section("Usage", usage)
	section("Commands", commandList(cmd))
	own, connection := pflag.NewFlagSet("", pflag.ContinueOnError), pflag.NewFlagSet("", pflag.ContinueOnError)
	own.SortFlags, connection.SortFlags = false, false
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, ok := f.Annotations[connectionGroup]; ok {
			connection.AddFlag(f)
		} else {
			own.AddFlag(f)
		}
	})
	section("Flags", own.FlagUsagesWrapped(helpWidth))
	section("Connection", connection.FlagUsagesWrapped(helpWidth))
	return b.String()
}

// commandList has a line for each command below cmd.
func commandList(cmd *cobra.Command) string {
	var b strings.Builder
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			fmt.Fprintf(&b, "  %-*s %s\n", c.NamePadding(), c.Name(), c.Short)
		}
	}
	return b.String()
}

// helpCommand makes "log-cli help COMMAND" the same as "log-cli COMMAND --help".
func (a *App) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command.",
		Example: `  log-cli help read
  log-cli help hooks retry`,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return UnknownCommand(cmd.Root(), args[0])
			}
			return target.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if target, _, err := cmd.Root().Find(args); err == nil {
				for _, c := range target.Commands() {
					if c.IsAvailableCommand() {
						names = append(names, c.Name()+"\t"+c.Short)
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// UnknownCommand says that there is no such command below cmd, and which one
// may be meant.
func UnknownCommand(cmd *cobra.Command, word string) error {
	var known []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
			if c.HasAlias(word) || suggestedFor(c, word) {
				return fmt.Errorf("unknown command %q for %q%s", word, cmd.CommandPath(), meant(c.Name()))
			}
		}
	}
	return fmt.Errorf("unknown command %q for %q%s", word, cmd.CommandPath(), didYouMean(word, known))
}

func suggestedFor(cmd *cobra.Command, word string) bool {
	for _, other := range cmd.SuggestFor {
		if strings.EqualFold(other, word) {
			return true
		}
	}
	return false
}
