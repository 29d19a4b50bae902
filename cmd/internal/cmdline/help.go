package cmdline

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/internal/exit"
)

// HelpTemplate is the template of help, which begins with a line and examples.
const HelpTemplate = `{{.Short}}

{{if .HasExample}}Examples:
{{.Example}}

{{end}}{{with .Long}}{{.}}

{{end}}Usage:
  {{.UseLine}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}
{{if .LocalNonPersistentFlags.HasAvailableFlags}}
Flags:
{{.LocalNonPersistentFlags.FlagUsagesWrapped 80}}{{end}}{{if .PersistentFlags.HasAvailableFlags}}
Settings:
{{.PersistentFlags.FlagUsagesWrapped 80}}{{end}}{{if .Annotations.settings}}
Settings:
{{.InheritedFlags.FlagUsagesWrapped 80}}{{end}}`

// TakesSettings marks a command whose help shows the flags of settings.
var TakesSettings = map[string]string{"settings": "true"}

// completion is the command that prints scripts for shells.
func (p *Program) completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that makes a shell complete the words of " + p.Name + ".",
		Example: strings.ReplaceAll(`  PROGRAM completion bash > ~/.local/share/bash-completion/completions/PROGRAM
  PROGRAM completion zsh > "${fpath[1]}/_PROGRAM"
  PROGRAM completion fish > ~/.config/fish/completions/PROGRAM.fish`, "PROGRAM", p.Name),
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			p.running = true
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return exit.OutputError(root.GenBashCompletionV2(p.Stdout, true))
			case "zsh":
				return exit.OutputError(root.GenZshCompletion(p.Stdout))
			default:
				return exit.OutputError(root.GenFishCompletion(p.Stdout, true))
			}
		},
	}
}

// Lines puts the program's name before each line of an error, so that each
// problem of many stands for itself.
func Lines(program string, err error) string {
	return program + ": " + strings.ReplaceAll(err.Error(), "\n", "\n"+program+": ") + "\n"
}
