package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/internal/exit"
)

func (a *App) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that makes a shell complete the words of log-cli.",
		Long: `The names of topics are completed, too: the server is asked for them. It is the
one of --host, if that comes first on the line, else that of the environment.`,
		Example: `  log-cli completion bash > ~/.local/share/bash-completion/completions/log-cli
  log-cli completion zsh > "${fpath[1]}/_log-cli"
  log-cli completion fish > ~/.config/fish/completions/log-cli.fish`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			a.running = true
			write := map[string]func(io.Writer) error{
				"bash": func(w io.Writer) error { return cmd.Root().GenBashCompletionV2(w, true) },
				"zsh":  cmd.Root().GenZshCompletion,
				"fish": func(w io.Writer) error { return cmd.Root().GenFishCompletion(w, true) },
			}[args[0]]
			return exit.OutputError(write(a.Stdout))
		},
	}
}
