package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
)

func (a *app) topicsCommand() *cobra.Command {
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
		RunE: a.ask(func(ctx context.Context, client *logd.Client) error {
			topics, err := client.Topics(ctx)
			if err != nil {
				return err
			}
			if table || !names && !a.json() && isTerminal(a.stdout) {
				return a.printTopics(ctx, client, topics)
			}
			return a.printNames(topics)
		}),
	}
	cmd.Flags().BoolVar(&table, "table", false, "print the table wherever it goes")
	cmd.Flags().BoolVar(&names, "names", false, "print the names alone, also on a terminal")
	a.formatFlag(cmd)
	return cmd
}

func (a *app) printNames(topics []string) error {
	for _, name := range topics {
		var err error
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

func (a *app) printTopics(ctx context.Context, client *logd.Client, topics []string) error {
	names, infos, err := infos(ctx, admin.New(client), topics)
	if err != nil {
		return err
	}
	if a.json() {
		for i := range infos {
			fields := append([]admin.Field{{Name: "Topic", Value: names[i]}}, infos[i].Fields...)
			if err := printJSON(a.stdout, fieldsJSON(fields, snake)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(names) == 0 {
		a.note("there is no topic")
		return nil
	}
	now := time.Now()
	return a.printTable("NAME\tSIZE\tMESSAGES\tOLDEST\tNEWEST\tSTATE", func(row func(format string, args ...any)) {
		for i := range infos {
			info := &infos[i]
			row("%s\t%s\t%s\t%s\t%s\t%s", names[i], formatBytes(float64(info.Bytes)), humanize.Comma(info.Messages),
				when(info.OldestTime, now), when(info.NewestTime, now), state(info))
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
