package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/internal/version"
)

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version [flags]",
		Short: "Show the version of log-cli.",
		Example: `  log-cli version
  log-cli version -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(context.Context, []string) error { return a.printVersion() }),
	}
	a.formatFlag(cmd)
	return cmd
}

func (a *app) printVersion() error {
	a.running = true
	if a.json() {
		return printJSON(a.stdout, version.JSON())
	}
	return printf(a.stdout, "%s", version.Line("log-cli"))
}
