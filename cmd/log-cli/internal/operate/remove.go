package operate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/cmd/log-cli/internal/places"
	"github.com/logd-dev/logd/internal/exit"
)

// removal are the flags that delete and trim have in common.
type removal struct {
	topic cli.Topic
	cli.Consent
}

func removalFlags(a *cli.App, cmd *cobra.Command, r *removal) {
	a.TopicFlag(cmd, &r.topic)
	cli.ConsentFlags(cmd, &r.Consent, "show what would go, and do nothing")
}

// nothingRemoved is what is said if somebody does not want it.
const nothingRemoved = "nothing is removed"

func deleteCommand(a *cli.App) *cobra.Command {
	var r removal
	var now bool
	var id string
	cmd := &cobra.Command{
		Use:        "delete TOPIC [flags]",
		SuggestFor: []string{"remove", "rm", "drop"},
		Short:      "Delete a topic with all its messages.",
		Long: `The topic is gone at once, and its name is free for a new one. The server keeps
the files for a while (its setting delete-after, 24h unless changed) under
.deleted in its work directory. With --now, and if the disk is full, it removes
them at once. Delete hooks are not run.

The topic that has the name now is deleted. With --id it is deleted only if its
Id is that, as log-cli info shows it. In a cluster it is gone on all members.

On a terminal it asks. Elsewhere it wants --yes.`,
		Example: `  log-cli delete greetings --dry-run
  log-cli delete greetings --yes
  log-cli delete greetings --now`,
		Args: cli.OnlyTopic(&r.topic),
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("id") && strings.Trim(id, "0123456789abcdef") != "" || cmd.Flags().Changed("id") && id == "" {
				return fmt.Errorf("--id is %q: want the hexadecimal digits of the topic's Id, as log-cli info shows it", id)
			}
			return r.Possible(a, "go")
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			return deleteTopic(ctx, a, client, &r, id, now)
		}),
	}
	cmd.Flags().StringVar(&id, "id", "", "only the topic with this `ID`")
	cmd.Flags().BoolVar(&now, "now", false, "remove the files at once, too")
	removalFlags(a, cmd, &r)
	a.FormatFlag(cmd)
	return cmd
}

// jsonRemoved is what was removed from a topic, or would be, as one line of
// JSON.
type jsonRemoved struct {
	Topic      string `json:"topic"`
	DryRun     bool   `json:"dry_run"`
	Oldest     *int64 `json:"oldest,omitempty"`
	Partitions int64  `json:"partitions"`
	Messages   int64  `json:"messages"`
	Bytes      int64  `json:"bytes"`
	// Hooks are the partitions, by base offset, that the delete hook runs for.
	Hooks []int64 `json:"hooks,omitempty"`
}

func (j *jsonRemoved) String() string {
	messages := humanize.Comma(j.Messages) + " messages"
	if j.Messages == 1 {
		messages = "1 message"
	}
	return fmt.Sprintf("%s (%s) in %s", messages, cli.FormatBytes(float64(j.Bytes)), cli.Count(j.Partitions, "partition"))
}

// bases names partitions by their base offsets.
func bases(offsets []int64) string {
	var b strings.Builder
	b.WriteString(map[bool]string{true: "the partition at ", false: "the partitions at "}[len(offsets) == 1])
	for i, offset := range offsets {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, offset)
	}
	return b.String()
}

func deleteTopic(ctx context.Context, a *cli.App, client *logd.Client, r *removal, id string, now bool) error {
	name := r.topic.Name
	info, err := client.Info(ctx, name)
	if errors.Is(err, logd.ErrNotFound) {
		return cli.NoTopic(ctx, client, name)
	}
	if err != nil {
		return err
	}
	if id != "" && info.ID != id {
		return exit.With(exit.NotFound, fmt.Errorf("topic %q has the id %s, not %s", name, info.ID, id))
	}
	gone := &jsonRemoved{Topic: name, DryRun: r.DryRun, Partitions: info.Partitions, Messages: info.Messages, Bytes: info.Bytes}
	if r.DryRun {
		return printRemoved(a, gone, "would delete topic %q: %v; no delete hook would run", name, gone)
	}
	if err := r.Ask(a, fmt.Sprintf("delete topic %q: %v?", name, gone), nothingRemoved); err != nil {
		return err
	}
	// The id keeps a topic that has come in the place of the one that was shown.
	err = admin.New(client).Delete(ctx, name, admin.DeleteOptions{ID: info.ID, Now: now})
	if errors.Is(err, logd.ErrNotFound) {
		return exit.With(exit.NotFound, fmt.Errorf("topic %q is not there any more", name))
	}
	if err != nil {
		return err
	}
	return printRemoved(a, gone, "deleted topic %q: %v", name, gone)
}

// printRemoved prints what was removed as JSON, or as the text says it.
func printRemoved(a *cli.App, gone *jsonRemoved, format string, args ...any) error {
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, gone)
	}
	return cli.Printf(a.Stdout, format+"\n", args...)
}

func trimCommand(a *cli.App) *cobra.Command {
	var r removal
	var before places.Flag
	cmd := &cobra.Command{
		Use:        "trim TOPIC --before PLACE [flags]",
		SuggestFor: []string{"purge", "truncate", "prune"},
		Short:      "Remove the oldest messages of a topic.",
		Long: `Removes the partitions that end at or before a PLACE. "log-cli read --help" says
what a PLACE may be. A partition is removed as a whole, so that up to a
partition of older messages may stay. "--before end" removes all messages.

If the server has a delete hook, it runs for each partition, and a partition
goes when its hook has succeeded: log-cli hooks shows those that wait.

On a terminal it asks. Elsewhere it wants --yes.`,
		Example: `  log-cli trim greetings --before -7d --dry-run
  log-cli trim greetings --before 2026-11-01 --yes
  log-cli trim greetings --before end`,
		Args: cli.OnlyTopic(&r.topic),
		PreRunE: func(*cobra.Command, []string) error {
			if !before.IsSet() {
				return errors.New("want --before PLACE; \"--before end\" removes all messages")
			}
			return r.Possible(a, "go")
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			return trimTopic(ctx, a, client, &r, &before)
		}),
	}
	cmd.Flags().Var(&before, "before", "remove what is before this `PLACE`")
	cmd.RegisterFlagCompletionFunc("before", places.Complete)
	removalFlags(a, cmd, &r)
	a.FormatFlag(cmd)
	return cmd
}

func trimTopic(ctx context.Context, a *cli.App, client *logd.Client, r *removal, before *places.Flag) error {
	name := r.topic.Name
	f := &places.Finder{Client: client, Topic: name}
	offset, _, err := f.Find(ctx, before.Place)
	if gone, ok := errors.AsType[*logd.GoneError](err); ok {
		offset, err = gone.Offset, nil // trimmed before, or damaged: no obstacle
	}
	if err != nil {
		return f.Explain(ctx, err, "")
	}
	gone, err := endingBefore(ctx, f, offset)
	if err != nil {
		return f.Explain(ctx, err, "")
	}
	gone.DryRun = r.DryRun
	hooks := ""
	if len(gone.Hooks) > 0 {
		hooks = fmt.Sprintf("; the delete hook would run for %s", bases(gone.Hooks))
	}
	switch {
	case r.DryRun && gone.Partitions == 0:
		return printRemoved(a, gone, "would remove nothing from topic %q: no partition ends at or before offset %d", name, offset)
	case r.DryRun:
		return printRemoved(a, gone, "would remove from topic %q: %v, all before offset %d%s", name, gone, *gone.Oldest, hooks)
	}
	if gone.Partitions > 0 {
		if err := r.Ask(a, fmt.Sprintf("remove from topic %q: %v, all before offset %d?", name, gone, *gone.Oldest), nothingRemoved); err != nil {
			return err
		}
	}
	oldest, err := admin.New(client).Trim(ctx, name, offset)
	if err != nil {
		return f.Explain(ctx, err, "")
	}
	wanted := *gone.Oldest
	gone.Oldest = &oldest
	switch {
	case gone.Partitions == 0 && oldest <= wanted:
		return printRemoved(a, gone, "nothing to remove from topic %q: no partition ends at or before offset %d; the oldest is %d", name, offset, oldest)
	case oldest < wanted:
		return printRemoved(a, gone, "topic %q: the oldest offset is %d; %d when the delete hooks have run", name, oldest, wanted)
	}
	return printRemoved(a, gone, "removed from topic %q: %v; the oldest offset is %d", name, gone, oldest)
}

// endingBefore adds up the partitions that end at or before the offset: what
// Trim would remove.
func endingBefore(ctx context.Context, f *places.Finder, offset int64) (*jsonRemoved, error) {
	plan, err := admin.New(f.Client).Retention(ctx, f.Topic, admin.RetentionOptions{})
	if err != nil {
		return nil, err
	}
	conf, err := admin.New(f.Client).Config(ctx)
	if err != nil {
		return nil, err
	}
	gone := &jsonRemoved{Topic: f.Topic}
	var oldest int64
	for i, p := range plan {
		if i == 0 {
			oldest = p.Base
		}
		if p.End > offset || p.End == p.Base {
			continue
		}
		oldest = p.End
		gone.Partitions++
		gone.Messages += max(p.Messages, 0)
		gone.Bytes += p.End - p.Base
		if conf.DeleteHook {
			gone.Hooks = append(gone.Hooks, p.Base)
		}
	}
	gone.Oldest = &oldest
	return gone, nil
}
