package operate

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

func topicsCommand(a *cli.App) *cobra.Command {
	var table, names bool
	cmd := &cobra.Command{
		Use:        "topics [flags]",
		SuggestFor: []string{"list", "ls"},
		Short:      "List the topics of a server.",
		Long: `On a terminal it prints a table: name, size, number of messages, how old the
oldest and the newest message are, and whether the topic can be written to. Into
a pipe or a file it prints the names alone, one on a line.`,
		Example: `  log-cli topics
  log-cli topics --table | less
  log-cli topics -o json --table`,
		Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			if table && names {
				return errors.New("--table and --names: give one of them")
			}
			return nil
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			topics, err := client.Topics(ctx)
			if err != nil {
				return err
			}
			if table || !names && !a.JSON() && cli.IsTerminal(a.Stdout) {
				return printTopics(ctx, a, client, topics)
			}
			return printNames(a, topics)
		}),
	}
	cmd.Flags().BoolVar(&table, "table", false, "print the table wherever it goes")
	cmd.Flags().BoolVar(&names, "names", false, "print the names alone, also on a terminal")
	a.FormatFlag(cmd)
	return cmd
}

func printNames(a *cli.App, topics []string) error {
	for _, name := range topics {
		var err error
		if a.JSON() {
			err = cli.PrintJSON(a.Stdout, struct {
				Topic string `json:"topic"`
			}{name})
		} else {
			err = cli.Printf(a.Stdout, "%s\n", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// askTopics is how many topics are asked about at once.
const askTopics = 32

// infos asks about each topic. One that is gone meanwhile is left out.
func infos(ctx context.Context, client *admin.Client, topics []string) (names []string, found []admin.TopicInfo, err error) {
	all, errs := make([]admin.TopicInfo, len(topics)), make([]error, len(topics))
	next := make(chan int)
	var group sync.WaitGroup
	for range min(askTopics, len(topics)) {
		group.Go(func() {
			for i := range next {
				all[i], errs[i] = client.Info(ctx, topics[i])
			}
		})
	}
	for i := range topics {
		next <- i
	}
	close(next)
	group.Wait()
	for i, err := range errs {
		if errors.Is(err, logd.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		names, found = append(names, topics[i]), append(found, all[i])
	}
	return names, found, nil
}

func printTopics(ctx context.Context, a *cli.App, client *logd.Client, topics []string) error {
	names, infos, err := infos(ctx, admin.New(client), topics)
	if err != nil {
		return err
	}
	if a.JSON() {
		for i := range infos {
			fields := append([]admin.Field{{Name: "Topic", Value: names[i]}}, infos[i].Fields...)
			if err := cli.PrintJSON(a.Stdout, cli.FieldsJSON(fields, cli.Snake)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(names) == 0 {
		a.Note("there is no topic")
		return nil
	}
	now := time.Now()
	return a.PrintTable("NAME\tSIZE\tMESSAGES\tOLDEST\tNEWEST\tSTATE", func(row func(format string, args ...any)) {
		for i := range infos {
			info := &infos[i]
			row("%s\t%s\t%s\t%s\t%s\t%s", names[i], cli.FormatBytes(float64(info.Bytes)), humanize.Comma(info.Messages),
				cli.When(info.OldestTime, now), cli.When(info.NewestTime, now), state(info))
		}
	})
}

// state says whether a topic can be written to, - if the server does not.
func state(info *admin.TopicInfo) string {
	if info.State == "" {
		return "-"
	}
	return info.State
}
