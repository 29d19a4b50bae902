package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/version"
)

func (a *app) topicsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topics [flags]",
		Short: "List the topics of a server.",
		Example: `  log-cli topics
  log-cli topics -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			return a.withClient(ctx, func(client *logd.Client) error {
				names, err := client.Topics(ctx)
				if err != nil {
					return err
				}
				for _, name := range names {
					if a.json() {
						err = printJSON(a.stdout, struct {
							Topic string `json:"topic"`
						}{name})
					} else {
						err = printf(a.stdout, "%s\n", name)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		}),
	}
	a.formatFlag(cmd)
	return cmd
}

func (a *app) infoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "info TOPIC [flags]",
		Short: "Show what a server stores of a topic.",
		Long:  "Oldest is the first offset that is still stored, Next the one that the next batch will get.",
		Example: `  log-cli info greetings
  log-cli info greetings -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("want one TOPIC")
			}
			return nil
		},
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.withClient(ctx, func(client *logd.Client) error {
				topic := args[0]
				info, err := client.Info(ctx, topic)
				if errors.Is(err, logd.ErrNotFound) {
					return noTopic(topic)
				}
				if err != nil {
					return err
				}
				fields := append([]logd.Field{{Name: "Topic", Value: topic}}, info.Fields...)
				return a.printFields(fields, snake)
			})
		}),
	}
	a.formatFlag(cmd)
	return cmd
}

// noTopic returns the error for a topic that there is not.
func noTopic(topic string) error {
	return exit.With(exit.NotFound, fmt.Errorf("there is no topic %q", topic))
}

func (a *app) statsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats [flags]",
		Short: "Show the counters of a server.",
		Example: `  log-cli stats
  log-cli stats -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			return a.withClient(ctx, func(client *logd.Client) error {
				fields, err := client.Stats(ctx)
				if err != nil {
					return err
				}
				return a.printFields(fields, nil)
			})
		}),
	}
	a.formatFlag(cmd)
	return cmd
}

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config [flags]",
		Short: "Show the settings that a server tells its clients.",
		Example: `  log-cli config
  log-cli config -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			return a.withClient(ctx, func(client *logd.Client) error {
				conf, err := client.Config(ctx)
				if err != nil {
					return err
				}
				return a.printFields(conf.Fields, snake)
			})
		}),
	}
	a.formatFlag(cmd)
	return cmd
}

// printFields prints a server's values, one a line, or as one object whose
// keys are made by name.
func (a *app) printFields(fields []logd.Field, name func(string) string) error {
	if a.json() {
		return printJSON(a.stdout, fieldsJSON(fields, name))
	}
	for _, f := range fields {
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
		RunE: a.do(func(ctx context.Context, _ []string) error {
			return a.withClient(ctx, func(client *logd.Client) error {
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
			})
		}),
	}
	a.formatFlag(cmd)
	return cmd
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version [flags]",
		Short: "Show the version of log-cli.",
		Example: `  log-cli version
  log-cli version -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(context.Context, []string) error {
			if a.json() {
				return printJSON(a.stdout, version.JSON())
			}
			return printf(a.stdout, "%s", version.Line("log-cli"))
		}),
	}
	a.formatFlag(cmd)
	return cmd
}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that makes a shell complete the words of log-cli.",
		Example: `  log-cli completion bash > ~/.local/share/bash-completion/completions/log-cli
  log-cli completion zsh > "${fpath[1]}/_log-cli"
  log-cli completion fish > ~/.config/fish/completions/log-cli.fish`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			a.running = true
			write := map[string]func(io.Writer) error{
				"bash": func(w io.Writer) error { return cmd.Root().GenBashCompletionV2(w, true) },
				"zsh":  cmd.Root().GenZshCompletion,
				"fish": func(w io.Writer) error { return cmd.Root().GenFishCompletion(w, true) },
			}[args[0]]
			return exit.OutputError(write(a.stdout))
		},
	}
}
