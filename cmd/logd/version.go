package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/version"
)

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version [flags]",
		Short: "Show the version of logd.",
		Example: `  logd version
  logd version -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func([]string) error {
			if a.json() {
				return exit.OutputError(json.NewEncoder(a.stdout).Encode(version.JSON()))
			}
			_, err := io.WriteString(a.stdout, version.Line("logd"))
			return exit.OutputError(err)
		}),
	}
	a.formatFlag(cmd)
	return cmd
}
