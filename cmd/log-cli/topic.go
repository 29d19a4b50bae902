package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
)

// topic is the topic that a command is about: the value of --topic, else the
// first word.
type topic struct {
	flag bool // --topic was given
	name string
}

// topicFlag gives a command the flag --topic, and its topics to the shell's
// completion. The command calls words for the rest.
func (a *app) topicFlag(cmd *cobra.Command, t *topic) {
	cmd.Flags().VarP(t, "topic", "t", "the `TOPIC`, if it is not the first word")
	cmd.RegisterFlagCompletionFunc("topic", a.completeTopic)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || t.flag {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completeTopic(cmd, args, begun)
	}
}

// words takes the topic from the words of the command line, if --topic does not
// name it, and returns the rest. It may be called again.
func (t *topic) words(args []string) ([]string, error) {
	switch {
	case t.flag:
		return args, nil
	case len(args) == 0:
		return nil, errors.New("want a TOPIC, as the first word or with --topic")
	}
	t.name = args[0]
	return args[1:], nil
}

// only is words for a command that takes no other word.
func (t *topic) only(args []string) error {
	rest, err := t.words(args)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%q is one word too many: the topic is %q", rest[0], t.name)
	}
	return err
}

// onlyTopic makes a command take its topic and no other word.
func onlyTopic(t *topic) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error { return t.only(args) }
}

// Set takes the value of --topic.
func (t *topic) Set(name string) error {
	if t.flag && name != t.name {
		return fmt.Errorf("a second topic; the first is %q", t.name)
	}
	t.flag, t.name = true, name
	return nil
}

func (t *topic) String() string { return t.name }

// Type is asked for by pflag.
func (t *topic) Type() string { return "TOPIC" }

// completeTimeout is how long a shell that completes a word waits for the
// server, if the line does not say.
const completeTimeout = 500 * time.Millisecond

// completeTopic asks the server for the topics that begin as a word does. A
// server that does not answer has none.
func (a *app) completeTopic(cmd *cobra.Command, _ []string, begun string) (names []string, _ cobra.ShellCompDirective) {
	a.resolveHost(cmd)
	if !cmd.Flags().Changed("timeout") {
		a.timeout = completeTimeout
	}
	a.withClient(cmd.Context(), func(client *logd.Client) error {
		all, err := client.Topics(cmd.Context())
		for _, name := range all {
			if strings.HasPrefix(name, begun) {
				names = append(names, name)
			}
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// noTopic returns the error for a topic that there is not.
func noTopic(ctx context.Context, client *logd.Client, topic string) error {
	return exit.With(exit.NotFound, fmt.Errorf("there is no topic %q%s", topic, meantTopic(ctx, client, topic)))
}

// meantTopic asks the server for the topic that may be meant by a name that is
// none.
func meantTopic(ctx context.Context, client *logd.Client, topic string) string {
	names, err := client.Topics(ctx)
	if err != nil {
		return ""
	}
	return didYouMean(topic, names)
}
