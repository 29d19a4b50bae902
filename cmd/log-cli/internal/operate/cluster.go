package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
)

func clusterCommand(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster COMMAND [flags]",
		Short: "Look after a cluster: its members, and which of them lead.",
		Long: `A cluster is servers, its members, that each have all topics. The topics are in
groups. Each group has one member as its leader: what is written to its topics
goes there first. Ask any member: what only another one can do goes there.`,
		Example: `  log-cli cluster status
  log-cli cluster groups
  log-cli cluster drain b`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.UnknownCommand(cmd, args[0])
			}
			return errors.New("want a command: status, groups, transfer, drain, leave, replace or set")
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.AddCommand(
		clusterStatus(a), clusterGroups(a), clusterTransfer(a), clusterDrain(a), clusterLeave(a), clusterReplace(a), clusterSet(a),
	)
	return cmd
}

// jsonMember is a member as one line of JSON.
type jsonMember struct {
	Cluster  string `json:"cluster"`
	Member   int64  `json:"member"`
	Name     string `json:"name"`
	Addr     string `json:"addr"`
	Peer     string `json:"peer"`
	Role     string `json:"role"`
	State    string `json:"state"`
	Leads    int64  `json:"leads"`
	LagBytes int64  `json:"lag_bytes"`
	LagMS    int64  `json:"lag_ms"`
	Free     int64  `json:"free"`
	Version  string `json:"version"`
	Auth     string `json:"auth"`
	HTTP     string `json:"http"`
}

func clusterStatus(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [flags]",
		Short: "List the members of the cluster.",
		Long: `ROLE is voter or learner: a batch is answered when a majority of the voters has
stored it, and a learner has what is stored but does not count. LEADS is of how
many groups it is the leader. BEHIND is what it has still to get, and for how
long. FREE is the room on its disk. AUTH is a digest of its auth file: where
that differs, the files do. All is as the member that was asked sees it.`,
		Example: `  log-cli cluster status
  log-cli cluster status -o json`,
		Args: cobra.NoArgs,
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			cluster, err := askCluster(ctx, client)
			if err != nil {
				return err
			}
			if differ := differentAuth(cluster.Members); differ != "" {
				defer a.Note("the members do not go by the same auth file: %s; copy it to all of them", differ)
			}
			if a.JSON() {
				for _, m := range cluster.Members {
					if err := cli.PrintJSON(a.Stdout, jsonMember{
						cluster.ID, m.ID, m.Name, m.Addr, m.Peer, m.Role, m.State, m.Leads, m.LagBytes, m.Lag.Milliseconds(), m.Free, m.Version, m.Auth, m.HTTP,
					}); err != nil {
						return err
					}
				}
				return nil
			}
			if err := cli.Printf(a.Stdout, "cluster %s: %s, %s of topics\n", cluster.ID,
				cli.Count(int64(len(cluster.Members)), "member"), cli.Count(cluster.Groups, "group")); err != nil {
				return err
			}
			return a.PrintTable("NAME\tID\tROLE\tSTATE\tLEADS\tBEHIND\tFREE\tADDRESS\tAUTH\tVERSION", func(row func(string, ...any)) {
				for _, m := range cluster.Members {
					row("%s\t%d\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s", m.Name, m.ID, m.Role, m.State, m.Leads, behind(&m), cli.FormatBytes(float64(m.Free)), m.Addr, cmp.Or(m.Auth, "-"), m.Version)
				}
			})
		}),
	}
	a.FormatFlag(cmd)
	return cmd
}

// differentAuth tells, if the members that are up do not all go by the same auth file,
// which one each goes by.
func differentAuth(members []admin.Member) string {
	var each []string
	differ, last := false, ""
	for _, m := range members {
		if m.State == "down" {
			continue // it may have another one by now
		}
		auth := cmp.Or(m.Auth, "none")
		differ = differ || len(each) > 0 && auth != last
		each, last = append(each, m.Name+" "+auth), auth
	}
	if !differ {
		return ""
	}
	return strings.Join(each, ", ")
}

// behind says what a member has still to get.
func behind(m *admin.Member) string {
	if m.LagBytes == 0 && m.Lag == 0 {
		return "-"
	}
	return fmt.Sprintf("%s, %v", cli.FormatBytes(float64(m.LagBytes)), m.Lag.Round(100*time.Millisecond))
}

// jsonGroup is a group as one line of JSON.
type jsonGroup struct {
	Group        int64    `json:"group"`
	Leader       string   `json:"leader"`
	Prefers      string   `json:"prefers"`
	Term         int64    `json:"term"`
	Index        int64    `json:"index"`
	Commit       int64    `json:"commit"`
	Applied      int64    `json:"applied"`
	Topics       int64    `json:"topics"`
	Voters       []string `json:"voters"`
	Learners     []string `json:"learners"`
	DamagedBytes int64    `json:"damaged_bytes"`
}

func clusterGroups(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "groups [flags]",
		Short: "List the groups of topics, and who leads them.",
		Long: `PREFERS is the member that is to lead the group whenever it can. DAMAGED is what
the member that was asked has set aside, and gets from the others. All is as
that member sees it.`,
		Example: `  log-cli cluster groups
  log-cli cluster groups -o json`,
		Args: cobra.NoArgs,
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			groups, err := admin.New(client).Groups(ctx)
			if err != nil {
				return inNoCluster(client, err)
			}
			if a.JSON() {
				for _, g := range groups {
					if err := cli.PrintJSON(a.Stdout, jsonGroup(g)); err != nil {
						return err
					}
				}
				return nil
			}
			return a.PrintTable("GROUP\tLEADER\tPREFERS\tTOPICS\tVOTERS\tLEARNERS\tDAMAGED", func(row func(string, ...any)) {
				or := func(s, none string) string {
					if s == "" {
						return none
					}
					return s
				}
				for _, g := range groups {
					damaged := "-"
					if g.DamagedBytes > 0 {
						damaged = cli.FormatBytes(float64(g.DamagedBytes))
					}
					row("%d\t%s\t%s\t%s\t%s\t%s\t%s", g.Group, or(g.Leader, "none"), or(g.Prefers, "-"), humanize.Comma(g.Topics),
						or(strings.Join(g.Voters, ","), "-"), or(strings.Join(g.Learners, ","), "-"), damaged)
				}
			})
		}),
	}
	a.FormatFlag(cmd)
	return cmd
}

// clusterChange is what was done to a cluster, as one line of JSON.
type clusterChange struct {
	Done   string  `json:"done"`
	Member string  `json:"member,omitempty"`
	With   string  `json:"with,omitempty"`
	Topic  string  `json:"topic,omitempty"`
	Groups []int64 `json:"groups,omitempty"`
	Key    string  `json:"key,omitempty"`
	Value  string  `json:"value,omitempty"`
}

// print prints what was done as JSON, or as the text says it.
func (done *clusterChange) print(a *cli.App, format string, args ...any) error {
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, done)
	}
	return cli.Printf(a.Stdout, format+"\n", args...)
}

func clusterTransfer(a *cli.App) *cobra.Command {
	var name, topic string
	var group int64
	var all bool
	cmd := &cobra.Command{
		Use:   "transfer NAME (--topic TOPIC | --group N | --all) [flags]",
		Short: "Make a member the leader of a group of topics.",
		Long: `The member leads that group as soon as it has all that is stored, and from then
on whenever it can. Of a topic the whole group is meant, with the other topics
in it. Writers are held up for about a tenth of a second.`,
		Example: `  log-cli cluster transfer b --topic orders
  log-cli cluster transfer b --group 3
  log-cli cluster transfer b --all`,
		Args: cli.OneWord(&name, "NAME", "of a member"),
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			return transfer(ctx, a, client, name, topic, group, all)
		}),
	}
	cmd.Flags().StringVarP(&topic, "topic", "t", "", "the group that this `TOPIC` is in")
	cmd.Flags().Int64Var(&group, "group", 0, "the group with the number `N`, as log-cli cluster groups lists it")
	cmd.Flags().BoolVar(&all, "all", false, "all groups")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		given := 0
		for _, flag := range []string{"topic", "group", "all"} {
			if cmd.Flags().Changed(flag) {
				given++
			}
		}
		if topic != "" || !cmd.Flags().Changed("group") {
			group = -1
		}
		switch {
		case given != 1 || cmd.Flags().Changed("all") && !all || cmd.Flags().Changed("topic") && topic == "":
			return errors.New("want one of --topic TOPIC, --group N and --all")
		case cmd.Flags().Changed("group") && group < 0:
			return fmt.Errorf("--group is %d: want 0 or more", group)
		}
		return nil
	}
	a.FormatFlag(cmd)
	return cmd
}

func transfer(ctx context.Context, a *cli.App, client *logd.Client, name, topic string, group int64, all bool) error {
	members, err := membersNamed(ctx, client, name)
	if err != nil {
		return err
	}
	member, operator := members[0], admin.New(client)
	done := &clusterChange{Done: "transfer", Member: name, Topic: topic}
	if topic != "" {
		if err := operator.TransferTopic(ctx, name, topic); err != nil {
			return refused(err, cannotLead(&member))
		}
		return done.print(a, "member %q leads the group of topic %q", name, topic)
	}
	if !all {
		if err := operator.TransferGroup(ctx, name, group); err != nil {
			return refused(err, fmt.Sprintf("there is no group %d, or %s", group, cannotLead(&member)))
		}
		done.Groups = []int64{group}
		return done.print(a, "member %q leads group %d", name, group)
	}
	groups, err := operator.Groups(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g.Leader == name && g.Prefers == name {
			continue
		}
		if err := operator.TransferGroup(ctx, name, g.Group); err != nil {
			return fmt.Errorf("group %d, after %s: %w", g.Group, cli.Count(int64(len(done.Groups)), "group"), refused(err, cannotLead(&member)))
		}
		done.Groups = append(done.Groups, g.Group)
	}
	return done.print(a, "member %q leads all %s; %d had to change", name, cli.Count(int64(len(groups)), "group"), len(done.Groups))
}

// cannotLead says why a member may not be made a leader.
func cannotLead(m *admin.Member) string {
	switch {
	case m.State != "up":
		return fmt.Sprintf("member %q is %s", m.Name, m.State)
	case m.Role != "voter":
		return fmt.Sprintf("member %q is a %s: only a voter leads", m.Name, m.Role)
	}
	return fmt.Sprintf("member %q is not caught up, or is drained", m.Name)
}

func clusterDrain(a *cli.App) *cobra.Command {
	var name string
	var off bool
	cmd := &cobra.Command{
		Use:   "drain NAME [flags]",
		Short: "Have a member lead nothing, before it is restarted.",
		Long: `Other members take over what it leads. It stays a member, and leads nothing
until its next start, or until --off.`,
		Example: `  log-cli cluster drain b
  log-cli cluster drain b --off`,
		Args: cli.OneWord(&name, "NAME", "of a member"),
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			if _, err := membersNamed(ctx, client, name); err != nil {
				return err
			}
			operator := admin.New(client)
			act, what, text := operator.Drain, "drain", "member %q leads nothing"
			if off {
				act, what, text = operator.Undrain, "undrain", "member %q may lead again"
			}
			if err := act(ctx, name); err != nil {
				return refused(err, "no other member can take over what it leads")
			}
			return (&clusterChange{Done: what, Member: name}).print(a, text, name)
		}),
	}
	cmd.Flags().BoolVar(&off, "off", false, "let it lead again")
	a.FormatFlag(cmd)
	return cmd
}

func clusterLeave(a *cli.App) *cobra.Command {
	var name string
	var force bool
	cmd := &cobra.Command{
		Use:   "leave NAME [flags]",
		Short: "Remove a member from the cluster.",
		Long: `The member is removed, whether it is up or down, and can't come back under its
id. NAME is its name or its id. If less than three voters would be left, or an
even number of them, --force is needed: fewer disks may then be lost.`,
		Example: `  log-cli cluster leave d
  log-cli cluster leave c --force`,
		Args: cli.OneWord(&name, "NAME", "of a member"),
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			if _, err := membersNamed(ctx, client, name); err != nil {
				return err
			}
			if err := admin.New(client).Leave(ctx, name, admin.LeaveOptions{Force: force}); err != nil {
				hint := "less than three voters would be left, or an even number of them: --force does it all the same"
				if force {
					hint = "it is the last voter, or another change is under way"
				}
				return refused(err, hint)
			}
			return (&clusterChange{Done: "leave", Member: name}).print(a, "member %q is removed", name)
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "also if that leaves less than three voters, or an even number")
	a.FormatFlag(cmd)
	return cmd
}

func clusterReplace(a *cli.App) *cobra.Command {
	var old, with string
	cmd := &cobra.Command{
		Use:   "replace OLD NEW [flags]",
		Short: "Put a new member in the place of one that is to go.",
		Long: `NEW is a learner that is caught up: it becomes a voter. OLD is removed, whether
it is up or down. Both are names or ids. If a disk was lost, start the server
anew with an empty directory and its old name: it joins as a learner with a new
id.`,
		Example: `  log-cli cluster replace b d
  log-cli cluster replace 2 4`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("want OLD and NEW, the names or ids of two members")
			}
			old, with = args[0], args[1]
			if old == with {
				return fmt.Errorf("OLD and NEW are both %q: if two members have one name, give their ids", old)
			}
			return nil
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			members, err := membersNamed(ctx, client, old, with)
			if err != nil {
				return err
			}
			if err := admin.New(client).Replace(ctx, old, with); err != nil {
				hint := fmt.Sprintf("member %q is not caught up, or another change is under way", with)
				if m := members[1]; m.Role != "learner" || m.State != "up" {
					hint = fmt.Sprintf("member %q is a %s and %s: want a learner that is up", with, m.Role, m.State)
				}
				return refused(err, hint)
			}
			return (&clusterChange{Done: "replace", Member: old, With: with}).print(a, "member %q has the place of %q", with, old)
		}),
	}
	a.FormatFlag(cmd)
	return cmd
}

func clusterSet(a *cli.App) *cobra.Command {
	var key, value string
	cmd := &cobra.Command{
		Use:   "set KEY VALUE [flags]",
		Short: "Change a setting on all members.",
		Long: `Keys are those of logd's settings that a cluster has in common: batch-size,
partition-size, partitions, retention-age, retention-bytes, topics,
topics-whitelist, max-messages, keep-free and producers. A VALUE is written as
in logd's configuration. log-cli config shows what is set.`,
		Example: `  log-cli cluster set retention-age 720h
  log-cli cluster set partitions 16`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] == "" || args[1] == "" {
				return errors.New("want a KEY and a VALUE")
			}
			key, value = args[0], args[1]
			for _, word := range args {
				if strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
					return fmt.Errorf("%q has a space or a control character in it", word)
				}
			}
			return nil
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			if _, err := askCluster(ctx, client); err != nil {
				return err
			}
			if err := admin.New(client).Set(ctx, key, value); err != nil {
				return refused(err, fmt.Sprintf("%q is no setting of a cluster, or can't be %q", key, value))
			}
			return (&clusterChange{Done: "set", Key: key, Value: value}).print(a, "%s is %s", key, value)
		}),
	}
	a.FormatFlag(cmd)
	return cmd
}

// askCluster returns the cluster that the server is in.
func askCluster(ctx context.Context, client *logd.Client) (admin.Cluster, error) {
	cluster, err := admin.New(client).Cluster(ctx)
	return cluster, inNoCluster(client, err)
}

// inNoCluster says of a refusal that the server is in no cluster, or is too old for one.
func inNoCluster(client *logd.Client, err error) error {
	if errors.Is(err, logd.ErrInvalidRequest) || errors.Is(err, logd.ErrInvalidProtocol) {
		at := client.Addr()
		if op, ok := errors.AsType[*logd.OpError](err); ok {
			at = op.Addr
		}
		return exit.With(exit.Failed, fmt.Errorf("the server at %s is in no cluster", at))
	}
	return err
}

// membersNamed returns the members of these names or ids.
func membersNamed(ctx context.Context, client *logd.Client, names ...string) ([]admin.Member, error) {
	cluster, err := askCluster(ctx, client)
	if err != nil {
		return nil, err
	}
	var found []admin.Member
	var all []string
	for _, name := range names {
		n := len(found)
		for _, m := range cluster.Members {
			if len(found) == n && (m.Name == name || fmt.Sprint(m.ID) == name) {
				found = append(found, m)
			}
		}
		if len(found) > n {
			continue
		}
		for _, m := range cluster.Members {
			all = append(all, m.Name)
		}
		return nil, exit.With(exit.NotFound, fmt.Errorf("there is no member %q; the members are %s", name, strings.Join(all, ", ")))
	}
	return found, nil
}

// refused says why a cluster may have refused a change, or that it goes on.
func refused(err error, why string) error {
	switch {
	case errors.Is(err, logd.ErrInvalidRequest):
		return exit.With(exit.Refused, fmt.Errorf("the cluster refuses it: %s", why))
	case errors.Is(err, logd.ErrBusy):
		return fmt.Errorf("%w: it takes longer, and goes on; see log-cli cluster status", err)
	}
	return err
}
