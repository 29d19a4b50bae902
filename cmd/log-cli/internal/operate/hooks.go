package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/place"
)

func hooksCommand(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hooks [flags]",
		Short: "List the partitions that wait for the server's delete hook.",
		Long: `A server with --delete-hook runs a program for each partition before it removes
it. A partition stays until its hook has succeeded, or is skipped. A hook that
failed is run again after a pause that grows from a second to ten minutes.`,
		Example: `  log-cli hooks
  log-cli hooks retry orders 0
  log-cli hooks skip orders 0`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.UnknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			hooks, err := admin.New(client).Hooks(ctx)
			if err != nil {
				return err
			}
			return printHooks(a, hooks)
		}),
	}
	a.FormatFlag(cmd)
	cmd.AddCommand(
		hookCommand(a, "retry", "Run the hook of a partition again now.", (*admin.Client).RetryHook),
		hookCommand(a, "skip", "Let a partition go without its hook.", (*admin.Client).SkipHook),
	)
	return cmd
}

// hookCommand returns a command that does something with one pending hook.
func hookCommand(a *cli.App, name, short string, act func(*admin.Client, context.Context, string, int64) error) *cobra.Command {
	var t cli.Topic
	var base int64
	cmd := &cobra.Command{
		Use:     name + " TOPIC BASE [flags]",
		Short:   short,
		Long:    "BASE is the partition's first offset, as log-cli hooks lists it.",
		Example: "  log-cli hooks " + name + " orders 0",
		Args: func(_ *cobra.Command, args []string) error {
			rest, err := t.Words(args)
			if err != nil {
				return err
			}
			if len(rest) != 1 {
				return errors.New("want a TOPIC and the BASE of a partition")
			}
			var ok bool
			if base, ok = place.Digits(rest[0]); !ok {
				return fmt.Errorf("BASE is %q: want an offset", rest[0])
			}
			return nil
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			err := act(admin.New(client), ctx, t.Name, base)
			if errors.Is(err, logd.ErrNotFound) {
				return exit.With(exit.NotFound, fmt.Errorf("no hook is pending for the partition at %d of topic %q", base, t.Name))
			}
			return err
		}),
	}
	a.TopicFlag(cmd, &t)
	return cmd
}

func printHooks(a *cli.App, hooks []admin.PendingHook) error {
	if a.JSON() {
		for _, h := range hooks {
			err := cli.PrintJSON(a.Stdout, struct {
				Topic    string     `json:"topic"`
				Base     int64      `json:"base"`
				End      int64      `json:"end"`
				State    string     `json:"state"`
				Attempts int64      `json:"attempts"`
				Next     *time.Time `json:"next,omitempty"`
				Error    string     `json:"error,omitempty"`
			}{h.Topic, h.Base, h.End, h.State, h.Attempts, jsonTime(h.Next), h.Error})
			if err != nil {
				return err
			}
		}
		return nil
	}
	if len(hooks) == 0 {
		a.Note("no partition waits for a hook")
		return nil
	}
	return a.PrintTable("TOPIC\tBASE\tEND\tSTATE\tATTEMPTS\tNEXT\tERROR", func(row func(format string, args ...any)) {
		for _, h := range hooks {
			row("%s\t%d\t%d\t%s\t%d\t%s\t%s", h.Topic, h.Base, h.End, h.State, h.Attempts, shortTime(h.Next), h.Error)
		}
	})
}

// jsonTime returns a time for JSON, nil for none.
func jsonTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// shortTime formats a time to the second, "-" for none.
func shortTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
