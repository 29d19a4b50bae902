package operate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/overrides"
)

// change is a setting that is to have another value for some topics.
type change struct {
	pattern, key, value string
	rule                overrides.Rule
}

// parseChange checks what was written as the server does, to say more of what is wrong.
func parseChange(pattern, key, value string) (c change, err error) {
	c = change{pattern: pattern, key: key, value: value}
	if c.rule, err = overrides.Change(key, value, pattern); err != nil {
		return c, err
	}
	if value != overrides.Unset {
		c.value = c.rule.Value
	}
	return c, nil
}

// jsonSetting is a setting that was changed, or would be, as one line of JSON.
type jsonSetting struct {
	Topic   string        `json:"topic"` // a name or a pattern
	Setting string        `json:"setting"`
	Value   *string       `json:"value"` // null: taken away
	DryRun  bool          `json:"dry_run"`
	Changes []jsonChange  `json:"changes"`
	Removes []jsonRemoved `json:"removes"`
}

// jsonChange is a topic that goes by another value.
type jsonChange struct {
	Topic string `json:"topic"`
	Value string `json:"value"`
	Was   string `json:"was"`
}

func setCommand(a *cli.App) *cobra.Command {
	var t cli.Topic
	var consent cli.Consent
	var c change
	cmd := &cobra.Command{
		Use:   "set TOPIC KEY VALUE [flags]",
		Short: "Give a topic, or those of a pattern, a setting of their own.",
		Long: `KEY is one of partitions, partition-size, retention-age, retention-bytes,
batch-size, topic-write-rate and durability (flushed or synced).
VALUE is written as in the configuration file of logd; - takes away what was
set. In TOPIC a * stands for any characters: quote it.

The exact name is stronger than a pattern, and a pattern with more characters
stronger than one with fewer. log-cli info shows what counts, and where it is
from.

What would remove messages is shown first. On a terminal it asks then. Elsewhere
it wants --yes.`,
		Example: `  log-cli set orders retention-age 720h --dry-run
  log-cli set 'debug.*' partitions 2 --yes
  log-cli set orders durability synced
  log-cli set orders durability -`,
		Args: func(_ *cobra.Command, args []string) error {
			rest, err := t.Words(args)
			if err != nil {
				return err
			}
			if len(rest) != 2 {
				return fmt.Errorf("want TOPIC KEY VALUE; KEY is one of %s", strings.Join(overrides.Names(), ", "))
			}
			c, err = parseChange(t.Name, rest[0], rest[1])
			return err
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			return setTopics(ctx, a, client, &c, &consent)
		}),
	}
	a.TopicFlag(cmd, &t)
	complete := cmd.ValidArgsFunction
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return complete(cmd, args, begun)
		case 1:
			return overrides.Names(), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cli.ConsentFlags(cmd, &consent, "show what would change, and what would go, and do nothing")
	a.FormatFlag(cmd)
	return cmd
}

func setTopics(ctx context.Context, a *cli.App, client *logd.Client, c *change, consent *cli.Consent) error {
	done := &jsonSetting{Topic: c.pattern, Setting: c.key, DryRun: consent.DryRun, Changes: []jsonChange{}, Removes: []jsonRemoved{}}
	if c.value != overrides.Unset {
		done.Value = &c.value
	}
	if consent.DryRun || c.rule.Key.Removes() {
		if err := done.foresee(ctx, client, c); err != nil {
			return c.explain(err)
		}
	}
	if consent.DryRun {
		return done.print(a, c)
	}
	if len(done.Removes) > 0 {
		if err := consent.Possible(a, "go"); err != nil {
			return exit.With(exit.Usage, fmt.Errorf("%w: %s", err, done.wouldRemove()))
		}
		if !consent.Yes {
			for i := range done.Removes {
				g := &done.Removes[i]
				fmt.Fprintf(a.Stderr, "this removes from topic %q: %v, all before offset %d\n", g.Topic, g, *g.Oldest)
			}
			if err := consent.Ask(a, c.question(), "nothing is changed"); err != nil {
				return err
			}
		}
	}
	if err := admin.New(client).SetTopics(ctx, c.pattern, c.key, c.value); err != nil {
		return c.explain(err)
	}
	return done.print(a, c)
}

// explain says what a server that refuses may mean.
func (c *change) explain(err error) error {
	if errors.Is(err, logd.ErrInvalidRequest) {
		return fmt.Errorf("%w: the server can't have %s = %s for %q; batch-size is at most the server's, and an older server has no settings of topics", err, c.key, c.value, c.pattern)
	}
	return err
}

func (c *change) question() string {
	if c.value == overrides.Unset {
		return fmt.Sprintf("take away %s of %q?", c.key, c.pattern)
	}
	return fmt.Sprintf("set %s of %q to %s?", c.key, c.pattern, c.value)
}

// foresee finds out which topics go by another value, and what that removes of them.
func (j *jsonSetting) foresee(ctx context.Context, client *logd.Client, c *change) error {
	server := admin.New(client)
	changes, err := server.TrySetTopics(ctx, c.pattern, c.key, c.value)
	if err != nil {
		return err
	}
	hooks := false
	if c.rule.Key.Removes() && len(changes) > 0 {
		conf, err := server.Config(ctx)
		if err != nil {
			return err
		}
		hooks = conf.DeleteHook
	}
	for _, t := range changes {
		j.Changes = append(j.Changes, jsonChange(t))
		if !c.rule.Key.Removes() {
			continue
		}
		gone, err := removedBy(ctx, server, t, c.rule.Key, hooks)
		if errors.Is(err, logd.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return err
		}
		if gone.DryRun = j.DryRun; gone.Partitions > 0 {
			j.Removes = append(j.Removes, *gone)
		}
	}
	return nil
}

// removedBy adds up what a topic loses at once by another value of a setting.
func removedBy(ctx context.Context, server *admin.Client, t admin.TopicChange, key overrides.Key, hooks bool) (*jsonRemoved, error) {
	v, err := overrides.Read(key, t.Value)
	if err != nil {
		return nil, err
	}
	var o admin.RetentionOptions
	switch key {
	case overrides.Partitions:
		o.Partitions = int64(v.Partitions)
	case overrides.RetentionBytes:
		if o.Bytes = v.RetentionBytes; o.Bytes == 0 {
			o.Bytes = logd.Unlimited
		}
	case overrides.RetentionAge:
		if o.Age = v.RetentionAge; o.Age == 0 {
			o.Age = logd.Unlimited
		}
	}
	plan, err := server.Retention(ctx, t.Topic, o)
	if err != nil {
		return nil, err
	}
	gone := &jsonRemoved{Topic: t.Topic}
	var oldest int64
	for _, p := range plan {
		if p.Verdict != "remove" {
			continue
		}
		oldest = p.End
		gone.Partitions++
		gone.Messages += max(p.Messages, 0)
		gone.Bytes += p.End - p.Base
		if hooks {
			gone.Hooks = append(gone.Hooks, p.Base)
		}
	}
	gone.Oldest = &oldest
	return gone, nil
}

// wouldRemove says what goes, in one line.
func (j *jsonSetting) wouldRemove() string {
	var parts []string
	for i := range j.Removes {
		parts = append(parts, fmt.Sprintf("topic %q would lose %v", j.Removes[i].Topic, &j.Removes[i]))
	}
	return strings.Join(parts, "; ")
}

func (j *jsonSetting) print(a *cli.App, c *change) error {
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, j)
	}
	if j.DryRun {
		for _, t := range j.Changes {
			if err := cli.Printf(a.Stdout, "topic %q: %s would be %s, and is %s\n", t.Topic, c.key, t.Value, t.Was); err != nil {
				return err
			}
		}
		for i := range j.Removes {
			g := &j.Removes[i]
			if err := cli.Printf(a.Stdout, "would remove from topic %q: %v, all before offset %d\n", g.Topic, g, *g.Oldest); err != nil {
				return err
			}
		}
		if len(j.Changes) == 0 {
			return cli.Printf(a.Stdout, "no topic would go by another value now\n")
		}
		return nil
	}
	if j.Value == nil {
		return cli.Printf(a.Stdout, "%s of %s is taken away\n", c.key, c.pattern)
	}
	return cli.Printf(a.Stdout, "%s of %s is %s\n", c.key, c.pattern, c.value)
}

func createCommand(a *cli.App) *cobra.Command {
	var t cli.Topic
	var changes []change
	cmd := &cobra.Command{
		Use:   "create TOPIC [KEY=VALUE...] [flags]",
		Short: "Make a topic, and give it settings of its own.",
		Long: `A topic is made by its first message, too. This makes one that has none yet,
with settings: see log-cli set. If the topic is there, it gets the settings,
unless they would remove messages of it.`,
		Example: `  log-cli create orders
  log-cli create orders retention-age=720h durability=synced`,
		Args: func(_ *cobra.Command, args []string) error {
			rest, err := t.Words(args)
			if err != nil {
				return err
			}
			if cli.IsGlob(t.Name) {
				return fmt.Errorf("%q is no name of a topic", t.Name)
			}
			changes = nil
			for _, word := range rest {
				key, value, ok := strings.Cut(word, "=")
				if !ok {
					return fmt.Errorf("%q is not KEY=VALUE; KEY is one of %s", word, strings.Join(overrides.Names(), ", "))
				}
				c, err := parseChange(t.Name, key, value)
				if err != nil {
					return err
				}
				changes = append(changes, c)
			}
			return nil
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			return createTopic(ctx, a, client, t.Name, changes)
		}),
	}
	a.TopicFlag(cmd, &t)
	a.FormatFlag(cmd)
	return cmd
}

// jsonCreated is a topic that was made, as one line of JSON.
type jsonCreated struct {
	Topic    string            `json:"topic"`
	Settings map[string]string `json:"settings"`
}

func createTopic(ctx context.Context, a *cli.App, client *logd.Client, name string, changes []change) error {
	server := admin.New(client)
	if err := server.CreateTopic(ctx, name); err != nil {
		return err
	}
	done := jsonCreated{Topic: name, Settings: map[string]string{}}
	words := ""
	for i := range changes {
		c := &changes[i]
		if c.rule.Key.Removes() {
			j := &jsonSetting{}
			if err := j.foresee(ctx, client, c); err != nil {
				return c.explain(err)
			}
			if len(j.Removes) > 0 {
				return exit.With(exit.Failed, fmt.Errorf("topic %q is there, and %s = %s would remove %v of it: see log-cli set", name, c.key, c.value, &j.Removes[0]))
			}
		}
		if err := server.SetTopics(ctx, name, c.key, c.value); err != nil {
			return fmt.Errorf("topic %q is there, without the setting %s: %w", name, c.key, c.explain(err))
		}
		done.Settings[c.key] = c.value
		words += fmt.Sprintf(", %s = %s", c.key, c.value)
	}
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, done)
	}
	return cli.Printf(a.Stdout, "topic %q is there%s\n", name, words)
}
