package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/internal/version"
)

func (a *App) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version [flags]",
		Short: "Show the version of log-cli.",
		Example: `  log-cli version
  log-cli version -o json`,
		Args: cobra.NoArgs,
		RunE: a.Do(func(context.Context, []string) error { return a.printVersion() }),
	}
	a.FormatFlag(cmd)
	return cmd
}

func (a *App) printVersion() error {
	a.running = true
	if a.JSON() {
		return PrintJSON(a.Stdout, version.JSON())
	}
	return Printf(a.Stdout, "%s", version.Line("log-cli"))
}
