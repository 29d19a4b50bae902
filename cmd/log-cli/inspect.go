package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
)

func (a *app) infoCommand() *cobra.Command {
	var t topic
	cmd := &cobra.Command{
		Use:        "info TOPIC [flags]",
		SuggestFor: []string{"describe", "show"},
		Short:      "Show what a server stores of a topic.",
		Long: `Oldest is the first offset that is still stored. Next is the offset that the
next batch will get. Sizes and times are as people read them on a terminal, and
exact in a pipe, in a file and with -o json.`,
		Example: `  log-cli info greetings
  log-cli info greetings -o json`,
		Args: onlyTopic(&t),
		RunE: a.ask(func(ctx context.Context, client *logd.Client) error {
			info, err := admin.New(client).Info(ctx, t.name)
			if errors.Is(err, logd.ErrNotFound) {
				return noTopic(ctx, client, t.name)
			}
			if err != nil {
				return err
			}
			fields := append([]admin.Field{{Name: "Topic", Value: t.name}}, info.Fields...)
			return a.printFields(fields, snake)
		}),
	}
	a.topicFlag(cmd, &t)
	a.formatFlag(cmd)
	return cmd
}

func (a *app) statsCommand() *cobra.Command {
	return a.fieldsCommand("stats", "Show the counters of a server.", nil, (*admin.Client).Stats)
}

func (a *app) configCommand() *cobra.Command {
	return a.fieldsCommand("config", "Show the settings that a server tells its clients.", snake,
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
func (a *app) fieldsCommand(name, short string, key func(string) string, get func(*admin.Client, context.Context) ([]admin.Field, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:     name + " [flags]",
		Short:   short,
		Example: "  log-cli " + name + "\n  log-cli " + name + " -o json",
		Args:    cobra.NoArgs,
		RunE: a.ask(func(ctx context.Context, client *logd.Client) error {
			fields, err := get(admin.New(client), ctx)
			if err != nil {
				return err
			}
			return a.printFields(fields, key)
		}),
	}
	a.formatFlag(cmd)
	return cmd
}

// printFields prints a server's values, one a line, or as one object whose
// keys are made by name.
func (a *app) printFields(fields []admin.Field, name func(string) string) error {
	if a.json() {
		return printJSON(a.stdout, fieldsJSON(fields, name))
	}
	people, now := isTerminal(a.stdout), time.Now()
	for _, f := range fields {
		if people {
			f.Value = forPeople(f, now)
		}
		if err := printf(a.stdout, "%s: %s\n", f.Name, f.Value); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) pingCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ping [flags]",
		Short: "See whether a server answers, and how fast.",
		Example: `  log-cli ping
  log-cli ping --host 127.0.0.1:1774 --timeout 1s && echo it is there`,
		Args: cobra.NoArgs,
		RunE: a.ask(func(ctx context.Context, client *logd.Client) error {
			addr := client.Addr()
			start := time.Now()
			if err := client.Ping(ctx); err != nil {
				return err
			}
			took := time.Since(start).Round(time.Microsecond)
			if a.json() {
				return printJSON(a.stdout, struct {
					Addr string `json:"addr"`
					Time int64  `json:"time_us"`
				}{addr, took.Microseconds()})
			}
			return printf(a.stdout, "%s answered in %v\n", addr, took)
		}),
	}
	a.formatFlag(cmd)
	return cmd
}
