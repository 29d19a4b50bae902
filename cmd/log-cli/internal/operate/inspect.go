package operate

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

func infoCommand(a *cli.App) *cobra.Command {
	var t cli.Topic
	cmd := &cobra.Command{
		Use:        "info TOPIC [flags]",
		SuggestFor: []string{"describe", "show"},
		Short:      "Show what a server stores of a topic.",
		Long: `Oldest is the first offset that is still stored. Next is the offset that the
next batch will get. Sizes and times are as people read them on a terminal, and
exact in a pipe, in a file and with -o json.`,
		Example: `  log-cli info greetings
  log-cli info greetings -o json`,
		Args: cli.OnlyTopic(&t),
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			info, err := admin.New(client).Info(ctx, t.Name)
			if errors.Is(err, logd.ErrNotFound) {
				return cli.NoTopic(ctx, client, t.Name)
			}
			if err != nil {
				return err
			}
			fields := append([]admin.Field{{Name: "Topic", Value: t.Name}}, info.Fields...)
			return printFields(a, fields, cli.Snake)
		}),
	}
	a.TopicFlag(cmd, &t)
	a.FormatFlag(cmd)
	return cmd
}

func statsCommand(a *cli.App) *cobra.Command {
	return fieldsCommand(a, "stats", "Show the counters of a server.", nil, (*admin.Client).Stats)
}

func configCommand(a *cli.App) *cobra.Command {
	return fieldsCommand(a, "config", "Show the settings that a server tells its clients.", cli.Snake,
		func(client *admin.Client, ctx context.Context) ([]admin.Field, error) {
			conf, err := client.Config(ctx)
			if err != nil {
				return nil, err
			}
			return conf.Fields, nil
		})
}

// fieldsCommand returns a command that prints values of a server, which get
// returns. In JSON their keys are made by key.
func fieldsCommand(a *cli.App, name, short string, key func(string) string, get func(*admin.Client, context.Context) ([]admin.Field, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:     name + " [flags]",
		Short:   short,
		Example: "  log-cli " + name + "\n  log-cli " + name + " -o json",
		Args:    cobra.NoArgs,
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			fields, err := get(admin.New(client), ctx)
			if err != nil {
				return err
			}
			return printFields(a, fields, key)
		}),
	}
	a.FormatFlag(cmd)
	return cmd
}

// printFields prints a server's values, one a line, or as one object whose
// keys are made by name.
func printFields(a *cli.App, fields []admin.Field, name func(string) string) error {
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, cli.FieldsJSON(fields, name))
	}
	people, now := cli.IsTerminal(a.Stdout), time.Now()
	for _, f := range fields {
		if people {
			f.Value = cli.ForPeople(f, now)
		}
		if err := cli.Printf(a.Stdout, "%s: %s\n", f.Name, f.Value); err != nil {
			return err
		}
	}
	return nil
}

func pingCommand(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ping [flags]",
		Short: "See whether a server answers, and how fast.",
		Example: `  log-cli ping
  log-cli ping --host 127.0.0.1:1774 --timeout 1s && echo it is there`,
		Args: cobra.NoArgs,
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			addr := client.Addr()
			start := time.Now()
			if err := client.Ping(ctx); err != nil {
				return err
			}
			took := time.Since(start).Round(time.Microsecond)
			if a.JSON() {
				return cli.PrintJSON(a.Stdout, struct {
					Addr string `json:"addr"`
					Time int64  `json:"time_us"`
				}{addr, took.Microseconds()})
			}
			return cli.Printf(a.Stdout, "%s answered in %v\n", addr, took)
		}),
	}
	a.FormatFlag(cmd)
	return cmd
}
