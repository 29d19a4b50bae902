package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/internal/vfs"
)

// maxGroups is how many groups a cluster may have.
const maxGroups = 64

func (a *app) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Make a cluster of a work directory, or a single server again.",
		Example: `  logd cluster init --workdir /var/lib/logd --node a --advertise a:1774 --peer-advertise a:1776
  logd cluster single --workdir /var/lib/logd`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("which one: logd cluster init or logd cluster single?")
		},
	}
	groups := 8
	begin := &cobra.Command{
		Use:   "init [flags]",
		Short: "Make a work directory that of the first member of a new cluster.",
		Example: `  logd cluster init --workdir /var/lib/logd --node a --advertise a:1774 --peer-advertise a:1776
  logd cluster init --node a --groups 1`,
		Long: `No server may have the work directory open. Its topics stay as they are, and
become the cluster's. Prints the id of the cluster, which members that join are
started with. The settings of the cluster are taken from the flags, the
environment and the file.`,
		Args: cobra.NoArgs,
		RunE: a.Do(func([]string) error {
			if groups < 1 || groups > maxGroups {
				return exit.With(exit.Usage, fmt.Errorf("--groups is %d: want 1 to %d", groups, maxGroups))
			}
			return a.clusterInit(groups)
		}),
		Annotations: cmdline.TakesSettings,
	}
	begin.Flags().IntVar(&groups, "groups", groups, "`N` groups of topics, each of which has a leader; for ever")
	single := &cobra.Command{
		Use:     "single [flags]",
		Short:   "Make the work directory of a member that of a server in no cluster.",
		Example: `  logd cluster single --workdir /var/lib/logd`,
		Long: `No server may have the work directory open. All bytes of its topics stay, also
those that were not acknowledged yet. It is the way back to one server, also if
a majority of the members is gone for good. The other members must not be
started again.`,
		Args:        cobra.NoArgs,
		RunE:        a.Do(a.clusterSingle),
		Annotations: cmdline.TakesSettings,
	}
	for _, c := range []*cobra.Command{begin, single} {
		c.DisableFlagsInUseLine = true
		c.Flags().SortFlags = false
		cmd.AddCommand(c)
	}
	return cmd
}

func (a *app) clusterInit(groups int) error {
	c, _, err := a.load(a.ConfigFile)
	if err != nil {
		return err
	}
	if c.Node == "" {
		return exit.With(exit.Usage, errors.New("the member needs a name: --node NAME"))
	}
	id, err := node.InitCluster(context.Background(), &c, groups)
	if err != nil {
		return a.explainOffline(err, c.WorkDir)
	}
	_, err = fmt.Fprintln(a.Stdout, id)
	return exit.OutputError(err)
}

func (a *app) clusterSingle([]string) error {
	c, _, err := a.load(a.ConfigFile)
	if err != nil {
		return err
	}
	// It would be made, as that of a new server is.
	if _, err := os.Stat(c.WorkDir); errors.Is(err, fs.ErrNotExist) {
		return exit.With(exit.Config, fmt.Errorf("there is no work directory %s: --workdir names that of the member", absolute(c.WorkDir)))
	}
	id, unread, err := node.SingleNode(context.Background(), &c)
	if err != nil {
		return a.explainOffline(err, c.WorkDir)
	}
	if unread != nil {
		fmt.Fprintf(a.Stderr, "logd: what was set for single topics can't be read, and is what it was before this server was a member: %v. Look at it by logd config show --topic.\n", unread)
	}
	_, err = fmt.Fprintf(a.Stdout, "%s is a server in no cluster now. Do not start the other members of cluster %s again: they would go on without what this one has.\n",
		absolute(c.WorkDir), id)
	return exit.OutputError(err)
}

// explainOffline turns an error of what needs the work directory for itself into one
// that says what to do.
func (a *app) explainOffline(err error, workDir string) error {
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return exit.With(exit.Temporary, fmt.Errorf("the work directory %s is in use by a logd: stop that first", absolute(workDir)))
	case errors.Is(err, node.ErrMembership):
		return exit.With(exit.Config, fmt.Errorf("%s: %w", absolute(workDir), err))
	}
	return err
}
