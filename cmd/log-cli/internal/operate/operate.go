// Package operate has the commands of log-cli with which a person looks after a
// server: what it stores, its settings and counters, retention, delete hooks, the
// end of topics, and the members of its cluster. What they ask and have done is in package admin.
package operate

import (
	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

// Commands returns the commands, in the order of the help. Each talks to a server.
func Commands(a *cli.App) []*cobra.Command {
	return []*cobra.Command{
		topicsCommand(a), infoCommand(a), createCommand(a), setCommand(a), deleteCommand(a), trimCommand(a), statsCommand(a), configCommand(a), pingCommand(a),
		hooksCommand(a), retentionCommand(a), clusterCommand(a),
	}
}
