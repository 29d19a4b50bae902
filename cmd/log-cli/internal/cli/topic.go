package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/protocol"
)

// Topic is the topic that a command is about: the value of --topic, else the
// first word.
type Topic struct {
	flag bool // --topic was given
	Name string
}

// TopicFlag gives a command the flag --topic, and its topics to the shell's
// completion. The command calls Words, or takes OnlyTopic, for the rest.
func (a *App) TopicFlag(cmd *cobra.Command, t *Topic) {
	cmd.Flags().VarP(t, "topic", "t", "the `TOPIC`, if it is not the first word")
	cmd.RegisterFlagCompletionFunc("topic", a.completeTopic)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || t.flag {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completeTopic(cmd, args, begun)
	}
}

// CompleteTopics offers the shell topics for the first so many words of a command.
func (a *App) CompleteTopics(cmd *cobra.Command, words int) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= words {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completeTopic(cmd, args, begun)
	}
}

// Words takes the topic from the words of the command line, if --topic does not
// name it, and returns the rest. It may be called again.
func (t *Topic) Words(args []string) ([]string, error) {
	switch {
	case t.flag:
		return args, nil
	case len(args) == 0:
		return nil, errors.New("want a TOPIC, as the first word or with --topic")
	}
	t.Name = args[0]
	return args[1:], nil
}

// Only is Words for a command that takes no other word.
func (t *Topic) Only(args []string) error {
	rest, err := t.Words(args)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%q is one word too many: the topic is %q", rest[0], t.Name)
	}
	return err
}

// OnlyTopic makes a command take its topic and no other word.
func OnlyTopic(t *Topic) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error { return t.Only(args) }
}

// OneWord makes a command take one word, which is a name of what it says.
func OneWord(word *string, name, ofWhat string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0 || args[0] == "":
			return fmt.Errorf("want the %s %s", name, ofWhat)
		case len(args) > 1:
			return fmt.Errorf("%q is one word too many: the %s is %q", args[1], name, args[0])
		}
		*word = args[0]
		return nil
	}
}

// Set takes the value of --topic.
func (t *Topic) Set(name string) error {
	if t.flag && name != t.Name {
		return fmt.Errorf("a second topic; the first is %q", t.Name)
	}
	t.flag, t.Name = true, name
	return nil
}

func (t *Topic) String() string { return t.Name }

// Type is asked for by pflag.
func (t *Topic) Type() string { return "TOPIC" }

// completeTimeout is how long a shell that completes a word waits for the
// server, if the line does not say.
const completeTimeout = 500 * time.Millisecond

// completeTopic asks the server for the topics that begin as a word does. A
// server that does not answer has none.
func (a *App) completeTopic(cmd *cobra.Command, _ []string, begun string) (names []string, _ cobra.ShellCompDirective) {
	a.resolveHost(cmd)
	if !cmd.Flags().Changed("timeout") {
		a.timeout = completeTimeout
	}
	a.WithClient(cmd.Context(), func(client *logd.Client) error {
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

// NoTopic returns the error for a topic that there is not.
func NoTopic(ctx context.Context, client *logd.Client, topic string) error {
	return exit.With(exit.NotFound, fmt.Errorf("there is no topic %q%s", topic, MeantTopic(ctx, client, topic)))
}

// MeantTopic asks the server for the topic that may be meant by a name that is
// none.
func MeantTopic(ctx context.Context, client *logd.Client, topic string) string {
	names, err := client.Topics(ctx)
	if err != nil {
		return ""
	}
	return didYouMean(topic, names)
}

// ValidConsumer returns what is wrong with the name of a consumer, or nil.
func ValidConsumer(name string) error {
	if !protocol.ValidConsumer(name) {
		return fmt.Errorf("%q is no name of a consumer: want 1 to %d of A-Z a-z 0-9 . _ -", name, protocol.MaxConsumer)
	}
	return nil
}
