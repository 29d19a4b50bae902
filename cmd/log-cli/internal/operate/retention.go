package operate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

// retentionFlags are the flags of retention.
type retentionFlags struct {
	partitions int64
	bytes      cli.Size
	age        time.Duration
}

func retentionCommand(a *cli.App) *cobra.Command {
	var f retentionFlags
	var t cli.Topic
	cmd := &cobra.Command{
		Use:   "retention TOPIC [flags]",
		Short: "Show which partitions of a topic are removed next, why and when.",
		Long: `Without flags the answer is what the server does with its own settings. Each
flag asks what would be if that setting were another one. Nothing is changed.

BECAUSE says what will remove a kept partition: a number of new partitions, a
number of new bytes, or a time. The first to come counts.`,
		Example: `  log-cli retention orders
  log-cli retention orders --partitions 2
  log-cli retention orders --retention-age 24h -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if f.partitions < 0 || f.age < 0 {
				return errors.New("--partitions and --retention-age must not be negative")
			}
			return t.Only(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.Ask(func(ctx context.Context, client *logd.Client) error {
				plan, err := admin.New(client).Retention(ctx, t.Name, f.options(cmd))
				if errors.Is(err, logd.ErrNotFound) {
					return cli.NoTopic(ctx, client, t.Name)
				}
				if err != nil {
					return err
				}
				return printPlan(a, t.Name, plan)
			})(cmd, args)
		},
	}
	flags := cmd.Flags()
	a.TopicFlag(cmd, &t)
	flags.Var((*cli.Number)(&f.partitions), "partitions", "as if `N` partitions were kept; 0 for all (default: the server's setting)")
	flags.Var(&f.bytes, "retention-bytes", "as if this `SIZE` were kept; 0 for all (default: the server's setting)")
	flags.DurationVar(&f.age, "retention-age", 0, "as if partitions were kept for this `TIME`; 0 for ever (default: the server's setting)")
	a.FormatFlag(cmd)
	return cmd
}

// options returns what the flags ask about.
func (f *retentionFlags) options(cmd *cobra.Command) admin.RetentionOptions {
	asked := func(flag string, n int64) int64 {
		switch {
		case !cmd.Flags().Changed(flag):
			return 0
		case n == 0:
			return -1
		}
		return n
	}
	return admin.RetentionOptions{
		Partitions: asked("partitions", f.partitions),
		Bytes:      asked("retention-bytes", int64(f.bytes)),
		Age:        time.Duration(asked("retention-age", int64(f.age))),
	}
}

func printPlan(a *cli.App, topic string, plan []admin.PlannedPartition) error {
	if a.JSON() {
		for _, p := range plan {
			err := cli.PrintJSON(a.Stdout, struct {
				Topic           string     `json:"topic"`
				Base            int64      `json:"base"`
				End             int64      `json:"end"`
				Newest          *time.Time `json:"newest,omitempty"`
				Verdict         string     `json:"verdict"`
				Why             string     `json:"why,omitempty"`
				AfterPartitions int64      `json:"after_partitions,omitempty"`
				AfterBytes      int64      `json:"after_bytes,omitempty"`
				At              *time.Time `json:"at,omitempty"`
			}{topic, p.Base, p.End, jsonTime(p.Newest), p.Verdict, p.Why, p.AfterPartitions, p.AfterBytes, jsonTime(p.At)})
			if err != nil {
				return err
			}
		}
		return nil
	}
	return a.PrintTable("BASE\tEND\tBYTES\tNEWEST\tVERDICT\tBECAUSE", func(row func(format string, args ...any)) {
		for _, p := range plan {
			row("%d\t%d\t%s\t%s\t%s\t%s", p.Base, p.End, cli.FormatBytes(float64(p.End-p.Base)), shortTime(p.Newest), p.Verdict, because(&p))
		}
	})
}

// because says why a partition is removed, or when it will be.
func because(p *admin.PlannedPartition) string {
	if p.Verdict != "keep" {
		return p.Why
	}
	var when []string
	if n := p.AfterPartitions; n == 1 {
		when = append(when, "until a partition is begun")
	} else if n > 1 {
		when = append(when, fmt.Sprintf("until %d partitions are begun", n))
	}
	if n := p.AfterBytes; n > 0 {
		when = append(when, fmt.Sprintf("until %s more are written", cli.FormatBytes(float64(n))))
	}
	if !p.At.IsZero() {
		when = append(when, "until "+shortTime(p.At))
	}
	return strings.Join(when, ", or ")
}
