// Package read has the command of log-cli that prints messages: from where to
// where, which of them, and how.
package read

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/cmd/log-cli/internal/places"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/place"
	"github.com/logd-dev/logd/progress"
)

// readFlags are the flags of read.
type readFlags struct {
	topic               cli.Topic
	topics              []string // if they are several, or a pattern
	from, offset, since places.Flag
	to                  places.Flag
	last                int64
	limit               int64
	numbers             bool
	follow              bool
	orOldest            bool
	consumer            string
	times, utc          bool
	grep                string
	invert              bool
	pattern             pattern // nil if --format is none

	begin place.Place    // what one of from, offset, since and last says
	match *regexp.Regexp // what grep says
}

// Command returns the command, which talks to a server.
func Command(a *cli.App) *cobra.Command {
	var f readFlags
	cmd := &cobra.Command{
		Use:        "read TOPIC... [flags]",
		SuggestFor: []string{"tail", "cat", "get", "consume", "subscribe", "follow"},
		Short:      "Print the messages of a topic, or of several, each on a line.",
		Long: `Prints all messages from the oldest to the end of the topic. --from and --to say
where to begin and end; with --read-forever it waits at the end for more.

Several topics, or a pattern such as 'app.*', are read side by side: what is
there in the order of the times at which it was appended, and what comes later
as it comes, also from topics that are made meanwhile. --from, --to and --last
are for each of the topics; --numbers, JSON and %t tell whose a message is.

A PLACE is one of
  start, end            the oldest message; behind the newest one
  1234                  the batch at this offset
  1234.56               a message, as --numbers prints it
  -10                   the tenth message before the end
  10m, -90s, -2d, -1w   so long ago (ms, s, m, h, d, w)
  2026-11-28            a day, or a time: "2026-11-28 19:00", with seconds
  2026-11-28T19:00:05Z  a time in another zone
  today, yesterday      when the day began
A time stands for the first batch that was appended at that time or later.

A pattern for --format has %t topic, %o offset, %d delta, %T time, %s body, %%,
and the escapes \n \t \r \0 \\ \xHH. The end of the line is part of the pattern.`,
		Example: `  log-cli read greetings
  log-cli read greetings --last 5 --read-forever
  log-cli read greetings --since 10m --grep 'err|warn' --time
  log-cli read greetings --from yesterday --to today -o json
  log-cli read 'app.*' audit --last 10 -F -n
  log-cli read greetings --consumer mailer -F
  log-cli read greetings --format '%T %o.%d %s\n'`,
		Args: func(_ *cobra.Command, args []string) error { return f.words(args) },
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			return f.settle(cmd)
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			return read(ctx, a, client, &f)
		}),
	}
	flags := cmd.Flags()
	a.TopicFlag(cmd, &f.topic)
	a.CompleteTopics(cmd, math.MaxInt)
	flags.Var(&f.from, "from", "begin at this `PLACE` (default start)")
	flags.Var(&f.to, "to", "end before this `PLACE` (default: read to the end)")
	flags.Var(&f.offset, "offset", "the same as --from `PLACE`")
	flags.Var(&f.since, "since", "the same as --from `PLACE`")
	flags.Var((*cli.Number)(&f.last), "last", "print the last `N` messages")
	flags.Var((*cli.Number)(&f.limit), "limit", "end after `N` messages; 0 for no limit")
	flags.BoolVarP(&f.follow, "read-forever", "F", false, "wait at the end for more, and for the topic if there is none yet")
	flags.BoolVar(&f.orOldest, "or-oldest", false, "go on with the next message if the wanted one is gone or damaged")
	flags.StringVar(&f.consumer, "consumer", "", "go on where this `CONSUMER` is, as the server keeps it, and save how far it got")
	flags.StringVar(&f.grep, "grep", "", "print only messages that match this `REGEXP`")
	flags.BoolVar(&f.invert, "invert", false, "print only messages that do not match --grep")
	flags.BoolVarP(&f.numbers, "numbers", "n", false, "print OFFSET.DELTA before each message")
	flags.BoolVar(&f.times, "time", false, "print before each message when it was appended, in local time")
	flags.BoolVar(&f.utc, "utc", false, "print times in UTC")
	patternFlag(a, cmd, &f.pattern)
	for _, name := range []string{"from", "to", "offset", "since"} {
		cmd.RegisterFlagCompletionFunc(name, places.Complete)
	}
	return cmd
}

// words takes the topics. Who writes -n 3 means --limit 3.
func (f *readFlags) words(args []string) error {
	rest, err := f.topic.Words(args)
	if err != nil {
		return err
	}
	if len(rest) > 0 && f.numbers {
		if last := rest[len(rest)-1]; strings.Trim(last, "0123456789") == "" {
			return fmt.Errorf("%q: -n takes no number: --limit does, and --last", last)
		}
	}
	if len(rest) > 0 || cli.IsGlob(f.topic.Name) {
		f.topics = append([]string{f.topic.Name}, rest...)
	}
	return nil
}

// settle looks whether the flags go together.
func (f *readFlags) settle(cmd *cobra.Command) error {
	begins := ""
	for name, p := range map[string]place.Place{"from": f.from.Place, "offset": f.offset.Place, "since": f.since.Place, "last": {Kind: place.FromEnd, N: f.last}} {
		if !cmd.Flags().Changed(name) {
			continue
		}
		if begins != "" {
			first, second := min(begins, name), max(begins, name)
			return fmt.Errorf("--%s and --%s both say where to begin: give one of them", first, second)
		}
		begins, f.begin = name, p
	}
	if begins == "last" && f.limit == 0 && !f.follow && f.topics == nil {
		f.limit = f.last // what comes meanwhile is not of the last ones
	}
	if f.grep != "" {
		var err error
		if f.match, err = regexp.Compile(f.grep); err != nil {
			return fmt.Errorf("--grep: %w", err)
		}
	}
	if f.consumer != "" {
		if err := cli.ValidConsumer(f.consumer); err != nil {
			return fmt.Errorf("--consumer: %w", err)
		}
	}
	switch {
	case f.limit < 0 || f.last < 0:
		return errors.New("--limit and --last must not be negative")
	case f.follow && f.to.IsSet():
		return errors.New("--read-forever has no end: leave it or --to out")
	case f.to.IsSet() && f.begin.After(f.to.Place):
		return fmt.Errorf("--%s is behind --to", begins)
	case f.topics != nil && (f.begin.Kind == place.AtOffset || f.to.Kind == place.AtOffset):
		return errors.New("an OFFSET is one of one topic: with several, begin and end at a time, at start or end, or with --last")
	case f.consumer != "" && f.topics != nil:
		return errors.New("--consumer is of one topic")
	case f.invert && f.match == nil:
		return errors.New("--invert: want --grep with it")
	case f.pattern != nil && (f.numbers || f.times):
		return errors.New("a pattern says it all: leave --numbers and --time out, and put %o.%d and %T into it")
	}
	return nil
}

func read(ctx context.Context, a *cli.App, client *logd.Client, f *readFlags) error {
	out := &messageWriter{
		out: bufio.NewWriterSize(a.Stdout, 128<<10), topic: f.topic.Name, json: a.JSON(),
		numbers: f.numbers, times: f.times, zone: time.Local, pattern: f.pattern, several: f.topics != nil,
	}
	if f.utc {
		out.zone = time.UTC
	}
	if f.follow {
		var stop context.CancelFunc
		ctx, stop = exit.UntilClosed(ctx, a.Stdout)
		defer stop()
	}
	var err error
	if f.topics != nil {
		m := &merge{app: a, client: client, flags: f, out: out, limit: f.limit, readers: map[string]*reader{}}
		err = m.run(ctx)
	} else {
		r := newReader(a, client, f, f.topic.Name, out)
		var start logd.Position
		if start, err = r.start(ctx); err == nil {
			err = r.run(ctx, start)
		}
		if r.progress != nil {
			if saved := r.save(); err == nil {
				err = saved
			}
		}
	}
	if flushed := out.flush(); err == nil {
		err = flushed
	}
	if ctx.Err() != nil && !errors.Is(err, exit.ErrQuiet) {
		if f.follow {
			return nil // it has no other end
		}
		return exit.With(exit.Failed, errors.New("interrupted"))
	}
	return err
}

// reader reads a topic and prints it.
type reader struct {
	places.Finder
	app   *cli.App
	flags *readFlags
	out   *messageWriter

	offset  int64 // where reading begins, unless it is the oldest
	to      int64 // where it ends, if bounded
	toDelta int64
	bounded bool
	limit   int64 // how many messages are still to be printed; 0 for all
	begun   bool  // there was a message

	lost atomic.Bool // the user was told that the server does not answer

	progress *progress.Server // nil without --consumer
	printed  []logd.ID        // and not flushed
}

func newReader(a *cli.App, client *logd.Client, f *readFlags, topic string, out *messageWriter) *reader {
	return &reader{app: a, Finder: places.Finder{Client: client, Topic: topic}, flags: f, limit: f.limit, out: out}
}

// start finds out where to begin, and where to end.
func (r *reader) start(ctx context.Context) (logd.Position, error) {
	if r.flags.follow {
		if _, err := r.Client.Info(ctx, r.Topic); errors.Is(err, logd.ErrNotFound) {
			r.app.Note("there is no topic %q yet; waiting for it%s", r.Topic, cli.MeantTopic(ctx, r.Client, r.Topic))
		}
	}
	if p := &r.flags.to; p.IsSet() {
		var err error
		if r.to, r.toDelta, err = r.Find(ctx, p.Place); err != nil {
			return logd.Position{}, r.explained(ctx, err)
		}
		r.bounded = true
	}
	switch p := &r.flags.begin; p.Kind {
	case place.None, place.AtStart:
		return logd.AtOldest(), nil
	case place.AtOffset:
		r.offset = p.Offset
		return logd.At(logd.ID{Offset: p.Offset, Delta: p.Delta}), nil
	default:
		offset, delta, err := r.Find(ctx, *p)
		if r.flags.follow && errors.Is(err, logd.ErrNotFound) {
			return logd.AtOldest(), nil // of a topic that is yet to come
		}
		r.offset = offset
		return logd.At(logd.ID{Offset: offset, Delta: delta}), r.explained(ctx, err)
	}
}

// run prints messages until there are enough.
func (r *reader) run(ctx context.Context, start logd.Position) error {
	client, cfg := r.Client, r.config(start)
	if r.flags.follow {
		endless, err := endless(r.app)
		if err != nil {
			return err
		}
		defer endless.Close()
		client, cfg.Follow, cfg.AwaitTopic, cfg.OnRetry = endless, true, true, r.retrying
	}
	if r.limit > 0 && r.flags.match == nil {
		cfg.Limit = r.limit
	}
	if r.flags.consumer != "" {
		var err error
		if r.progress, err = progress.NewServer(client, r.Topic, r.flags.consumer, progress.ServerConfig{Start: start}); err != nil {
			return err
		}
		cfg.Progress = r.progress
	}
	s, err := logd.NewScanner(ctx, client, r.Topic, cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	p := newReadingBar(ctx, r)
	defer p.finish()
	for m, err := range s.All(ctx) {
		if err != nil {
			break
		}
		if r.beyond(&m) {
			break
		}
		r.begun = true
		p.reach(r.Topic, m.Offset)
		if r.progress != nil {
			if r.printed = append(r.printed, m.ID()); len(r.printed) > maxPrinted {
				if err := r.flushed(); err != nil {
					return err
				}
			}
		}
		if r.wanted(&m) {
			if err := r.out.print(&m); err != nil {
				return err
			}
			if r.limit == 1 {
				return nil
			}
			r.limit = max(r.limit-1, 0)
		}
		if r.flags.follow && !s.Ready() {
			if err := r.flushed(); err != nil {
				return err
			}
		}
	}
	p.finish()
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.ended(ctx, s)
}

// maxPrinted bounds the messages of a consumer that are printed and not flushed.
const maxPrinted = 1000

// flushed flushes what is printed: only then has a consumer done it.
func (r *reader) flushed() error {
	err := r.out.flush()
	if r.progress == nil {
		return err
	}
	for _, id := range r.printed {
		if err != nil {
			return err
		}
		err = r.progress.Done(id, nil)
	}
	r.printed = r.printed[:0]
	return err
}

// save has the server know how far a consumer got.
func (r *reader) save() error {
	err := r.flushed()
	if closed := r.progress.Close(); err == nil {
		err = closed
	}
	if errors.Is(err, progress.ErrMoved) {
		return exit.With(exit.Failed, fmt.Errorf("somebody else has moved the position of %s in topic %q: it goes on there the next time", r.flags.consumer, r.Topic))
	}
	return err
}

// config returns how the topic is scanned up to its end.
func (r *reader) config(start logd.Position) logd.ScannerConfig {
	cfg := logd.ScannerConfig{Start: start, Times: r.out.json || r.out.times || r.out.pattern.wants('T')}
	if r.flags.orOldest {
		cfg.OnGone = r.passGap
	} else if start == logd.AtOldest() {
		cfg.OnGone = r.passDamagedStart
	}
	return cfg
}

// endless returns a client that waits for its server as long as it takes: it was there
// when the command was started, and from now on there is no hurry.
func endless(a *cli.App) (*logd.Client, error) {
	cfg := a.ClientConfig()
	cfg.ReconnectAttempts = logd.Unlimited
	return logd.NewClient(cfg)
}

// beyond reports whether a message is behind what was asked for.
func (r *reader) beyond(m *logd.Message) bool {
	return r.bounded && (m.Offset > r.to || m.Offset == r.to && m.Delta >= r.toDelta)
}

// wanted reports whether a message is to be printed.
func (r *reader) wanted(m *logd.Message) bool {
	return r.flags.match == nil || r.flags.match.Match(m.Body) != r.flags.invert
}
