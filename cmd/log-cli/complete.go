package main

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
)

// completeTimeout is how long a shell that completes a word waits for the
// server, if the line does not say.
const completeTimeout = 500 * time.Millisecond

// completeTopic asks the server for the topics that begin as a word does. A
// server that does not answer has none.
func (a *app) completeTopic(cmd *cobra.Command, _ []string, begun string) (names []string, _ cobra.ShellCompDirective) {
	a.resolveHost(cmd)
	if !cmd.Flags().Changed("timeout") {
		a.timeout = completeTimeout
	}
	a.withClient(cmd.Context(), func(client *logd.Client) error {
		all, err := client.Topics(cmd.Context())
		for _, name := range all {
			if strings.HasPrefix(name, begun) {
				names = append(names, name)
			}
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completePlace offers the places that have names.
func completePlace(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"start", "end", "today", "yesterday"}, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completionCommand() *cobra.Command {
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
			return exit.OutputError(write(a.stdout))
		},
	}
}
