package consumers

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/cmd/log-cli/internal/places"
	"github.com/logd-dev/logd/internal/exit"
)

func positionCommand(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "position COMMAND",
		Short:   "Move or forget the position of a consumer.",
		Example: `  log-cli position forget orders mailer`,
	}
	cmd.AddCommand(setCommand(a), forgetCommand(a))
	return cmd
}

// move is what the flags of position set and position forget say.
type move struct {
	topic, consumer string
	to              places.Flag
	cli.Consent
	force   bool
	version int64
}

// names takes the topic and the consumer.
func (m *move) names(_ *cobra.Command, args []string) error {
	switch {
	case len(args) < 2:
		return errors.New("want a TOPIC and a CONSUMER")
	case len(args) > 2:
		return fmt.Errorf("%q is one word too many", args[2])
	}
	m.topic, m.consumer = args[0], args[1]
	return cli.ValidConsumer(m.consumer)
}

func (m *move) flags(a *cli.App, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&m.force, "force", false, "also if another one holds the position")
	flags.Int64Var(&m.version, "version", -1, "only if the position has the version `N`; 0 for none yet (default: the one that is shown)")
	a.CompleteTopics(cmd, 1)
}

func setCommand(a *cli.App) *cobra.Command {
	var m move
	cmd := &cobra.Command{
		Use:   "set TOPIC CONSUMER --to PLACE [flags]",
		Short: "Have a consumer go on at another place.",
		Long: `Shows what comes again, or is skipped, and moves the position. A consumer that
runs meets the move at its next save, and has to begin anew there: the clients
of logd say that somebody has moved it. "log-cli read --help" says what a PLACE
may be. On a terminal it asks. Elsewhere it wants --yes.`,
		Example: `  log-cli position set orders mailer --to -1h --dry-run
  log-cli position set orders mailer --to end --yes
  log-cli position set orders mailer --to 70.11 --force`,
		Args: m.names,
		PreRunE: func(*cobra.Command, []string) error {
			if !m.to.IsSet() {
				return errors.New("want --to PLACE")
			}
			return m.Possible(a, "be")
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error { return set(ctx, a, client, &m) }),
	}
	cmd.Flags().Var(&m.to, "to", "the `PLACE` of the first message that is not done")
	cmd.RegisterFlagCompletionFunc("to", places.Complete)
	cli.ConsentFlags(cmd, &m.Consent, "show what would come again or be skipped, and do nothing")
	m.flags(a, cmd)
	a.FormatFlag(cmd)
	return cmd
}

// jsonMove is what a move has done, or would do, as one line of JSON.
type jsonMove struct {
	Topic    string  `json:"topic"`
	Consumer string  `json:"consumer"`
	DryRun   bool    `json:"dry_run"`
	From     *string `json:"from"` // null: there was no position
	To       string  `json:"to"`
	Again    bool    `json:"again"` // they come again, else they are skipped
	Messages *int64  `json:"messages"`
	Bytes    int64   `json:"bytes"`
	Version  int64   `json:"version"`
}

func set(ctx context.Context, a *cli.App, client *logd.Client, m *move) error {
	f := &places.Finder{Client: client, Topic: m.topic}
	offset, delta, err := f.Find(ctx, m.to.Place)
	if err != nil {
		return f.Explain(ctx, err, "")
	}
	in, err := client.Info(ctx, m.topic)
	if err != nil {
		return f.Explain(ctx, err, "")
	}
	to := logd.ID{Offset: offset, Delta: delta}
	was, err := client.Position(ctx, m.topic, m.consumer)
	there := err == nil
	if err != nil && !errors.Is(err, logd.ErrNotFound) {
		return err
	}
	done := &jsonMove{Topic: m.topic, Consumer: m.consumer, DryRun: m.DryRun, To: to.String(), Version: was.Version}
	what := fmt.Sprintf("the position of %s in topic %q to %s", m.consumer, m.topic, to)
	if there {
		from := was.At.String()
		done.From = &from
		low, high := was.At, to
		if done.Again = to.Compare(was.At) < 0; done.Again {
			low, high = to, was.At
		}
		if low.Offset < in.Oldest {
			low = logd.ID{Offset: in.Oldest}
		}
		done.Bytes = max(high.Offset-low.Offset, 0)
		if n, ok := between(ctx, client, m.topic, low, high); ok {
			done.Messages = &n
		}
		what += fmt.Sprintf(" from %s: %s", from, done)
	} else {
		what += ", where it has none"
	}
	if m.DryRun {
		return report(a, done, "would set %s", what)
	}
	if err := m.Ask(a, "set "+what+"?", nothingChanged); err != nil {
		return err
	}
	version := was.Version
	if m.version >= 0 {
		version = m.version
	}
	done.Version, err = client.SetPosition(ctx, m.topic, m.consumer, logd.PositionChange{
		At: to, Version: version, TopicID: in.ID, TTL: was.TTL, Note: was.Note, Force: m.force,
	})
	if err != nil {
		return m.explained(err)
	}
	return report(a, done, "set %s; version %d", what, done.Version)
}

// String says what comes again, or is skipped.
func (j *jsonMove) String() string {
	what := cli.FormatBytes(float64(j.Bytes))
	if j.Messages != nil {
		what = humanize.Comma(*j.Messages) + map[bool]string{true: " message", false: " messages"}[*j.Messages == 1] + " (" + what + ")"
	}
	switch {
	case j.Messages != nil && *j.Messages == 0:
		return "nothing is skipped, and nothing comes again"
	case j.Again:
		return what + " come again"
	}
	return what + " are skipped"
}

func report(a *cli.App, done *jsonMove, format string, args ...any) error {
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, done)
	}
	return cli.Printf(a.Stdout, format+"\n", args...)
}

// nothingChanged is what is said if somebody does not want it.
const nothingChanged = "nothing is changed"

// explained says what is to be done about a refusal.
func (m *move) explained(err error) error {
	if held, ok := errors.AsType[*logd.HeldError](err); ok {
		return exit.With(exit.Refused, fmt.Errorf("another one holds the position of %s for %v yet; --force goes past that", m.consumer, held.Left))
	}
	if conflict, ok := errors.AsType[*logd.VersionConflictError](err); ok {
		return exit.With(exit.Failed, fmt.Errorf("the position of %s has version %d: it was saved meanwhile; nothing is changed", m.consumer, conflict.Version))
	}
	return err
}

// countedBytes bounds what is read to count messages.
const countedBytes = 64 << 20

// between counts the messages from one place up to another that can be read, if there are
// not too many: what was removed or is damaged neither comes again nor is skipped.
func between(ctx context.Context, client *logd.Client, topic string, low, high logd.ID) (n int64, ok bool) {
	if high.Offset-low.Offset > countedBytes {
		return 0, false
	}
	s, err := logd.NewScanner(ctx, client, topic, logd.ScannerConfig{
		Start: logd.AtOffset(low.Offset), OnGone: func(*logd.GoneError) error { return nil },
	})
	if err != nil {
		return 0, false
	}
	defer s.Close()
	for s.Scan() {
		id := s.Message().ID()
		if id.Compare(high) >= 0 {
			return n, true
		}
		if id.Compare(low) >= 0 {
			n++
		}
	}
	// A position that is ahead of the log has nothing behind it.
	if wrong, ok := errors.AsType[*logd.OffsetError](s.Err()); ok && low.Offset > wrong.Next {
		return 0, true
	}
	return n, s.Err() == nil
}

func forgetCommand(a *cli.App) *cobra.Command {
	var m move
	cmd := &cobra.Command{
		Use:     "forget TOPIC CONSUMER [flags]",
		Short:   "Remove the position of a consumer.",
		Long:    "If the consumer runs again, it begins as if it were new. On a terminal it asks.\nElsewhere it wants --yes.",
		Example: `  log-cli position forget orders mailer --yes`,
		Args:    m.names,
		PreRunE: func(*cobra.Command, []string) error { return m.Possible(a, "") },
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			was, err := client.Position(ctx, m.topic, m.consumer)
			if errors.Is(err, logd.ErrNotFound) {
				if _, err := client.Info(ctx, m.topic); errors.Is(err, logd.ErrNotFound) {
					return cli.NoTopic(ctx, client, m.topic)
				}
				return exit.With(exit.NotFound, fmt.Errorf("consumer %q has no position in topic %q", m.consumer, m.topic))
			}
			if err != nil {
				return err
			}
			if err := m.Ask(a, fmt.Sprintf("forget the position of %s in topic %q, at %s?", m.consumer, m.topic, was.At), nothingChanged); err != nil {
				return err
			}
			version := was.Version
			if m.version >= 0 {
				version = m.version
			}
			if err := client.ForgetPosition(ctx, m.topic, m.consumer, version, m.force); err != nil {
				return m.explained(err)
			}
			return cli.Printf(a.Stdout, "forgot the position of %s in topic %q, at %s\n", m.consumer, m.topic, was.At)
		}),
	}
	cli.YesFlag(cmd, &m.Consent)
	m.flags(a, cmd)
	return cmd
}
