package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
)

const defaultLimit = 15

// readFlags are the flags of read.
type readFlags struct {
	topic    string
	offset   int64
	since    string
	last     int64
	limit    int64
	numbers  bool
	follow   bool
	orOldest bool

	hasOffset, hasSince, hasLast bool
}

func (a *app) readCommand() *cobra.Command {
	var f readFlags
	cmd := &cobra.Command{
		Use:   "read [flags]",
		Short: "Print messages of a topic, each on a line.",
		Long: `Reading begins at the oldest message, or where --offset, --since or --last say.
It ends after 15 messages, unless --limit says otherwise, and with --last after
as many as that. With --read-forever it waits at the end of the topic for what
is written there, without a limit unless there is --limit.

With --numbers each message has its name before it, OFFSET.DELTA and a space.
OFFSET is that of the message's batch, where --offset can begin.`,
		Example: `  log-cli read --topic greetings
  log-cli read --topic greetings --limit 0 > all
  log-cli read --topic greetings --last 5 --read-forever
  log-cli read --topic greetings --since 10m --limit 0 -o json`,
		Args: cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			f.hasOffset, f.hasSince, f.hasLast = cmd.Flags().Changed("offset"), cmd.Flags().Changed("since"), cmd.Flags().Changed("last")
			if !cmd.Flags().Changed("limit") && (f.hasLast || f.follow) {
				f.limit = 0
			}
			if f.limit < 0 || f.offset < 0 || f.last < 0 {
				return errors.New("--limit, --offset and --last must not be negative")
			}
			_, err := f.sinceTime(time.Now())
			return err
		},
		RunE: a.do(func(ctx context.Context, _ []string) error {
			return a.withClient(ctx, func(client *logd.Client) error {
				return a.read(ctx, client, &f)
			})
		}),
	}
	flags := cmd.Flags()
	a.topicFlag(cmd, &f.topic)
	flags.Var((*number)(&f.offset), "offset", "begin with the batch at this `OFFSET` (default the oldest)")
	flags.StringVar(&f.since, "since", "", "begin with what was written in this `TIME`, as 10m, or since then, as 2026-01-02T15:04:05Z")
	flags.Var((*number)(&f.last), "last", "begin with the `N`th message from the end")
	f.limit = defaultLimit
	flags.Var((*number)(&f.limit), "limit", "end after `N` messages; 0 to read to the end")
	flags.BoolVarP(&f.follow, "read-forever", "F", false, "wait at the end for more")
	flags.BoolVarP(&f.numbers, "numbers", "n", false, "print OFFSET.DELTA before each message")
	flags.BoolVar(&f.orOldest, "or-oldest", false, "go on with the next message where the wanted one is gone or damaged")
	a.formatFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("offset", "since", "last")
	return cmd
}

// sinceTime returns the time that --since names, and the zero time if there is
// none.
func (f *readFlags) sinceTime(now time.Time) (time.Time, error) {
	if !f.hasSince {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(f.since); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, f.since); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("--since is %q: want a time such as 10m or 2026-01-02T15:04:05Z", f.since)
}

func (a *app) read(ctx context.Context, client *logd.Client, f *readFlags) error {
	r := &reader{
		app: a, client: client, topic: f.topic, follow: f.follow, orOldest: f.orOldest,
		out: &messageWriter{out: bufio.NewWriterSize(a.stdout, 128<<10), topic: f.topic, json: a.json(), numbers: f.numbers},
	}
	r.limit = f.limit
	if f.follow {
		var stop context.CancelFunc
		ctx, stop = exit.UntilClosed(ctx, a.stdout)
		defer stop()
	}
	start, err := r.start(ctx, f)
	if err != nil {
		return err
	}
	err = r.run(ctx, start)
	if flushed := r.out.flush(); err == nil {
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
	app      *app
	client   *logd.Client
	topic    string
	follow   bool
	orOldest bool
	out      *messageWriter

	offset int64 // where reading begins, unless it is the oldest
	skip   int64 // how many messages there are not wanted
	limit  int64 // how many messages are still wanted; 0 for all
	begun  bool  // there was a message
	page   int64 // how many messages to ask for at once, when counting

	lost atomic.Bool // the user was told that the server does not answer
}

// start finds out where to begin.
func (r *reader) start(ctx context.Context, f *readFlags) (logd.Position, error) {
	since, err := f.sinceTime(time.Now())
	if err != nil {
		return logd.Position{}, err
	}
	switch {
	case f.hasOffset:
		r.offset = f.offset
	case f.hasSince:
		r.offset, err = r.client.Seek(ctx, r.topic, since)
	case f.hasLast:
		r.offset, r.skip, err = r.last(ctx, f.last)
		if r.limit == 0 && !f.follow {
			r.limit = f.last
		}
	default:
		return logd.AtOldest(), nil
	}
	if errors.Is(err, logd.ErrNotFound) {
		err = noTopic(r.topic)
	}
	return logd.AtOffset(r.offset), err
}

// run prints messages until there are enough.
func (r *reader) run(ctx context.Context, start logd.Position) error {
	client, cfg := r.client, logd.ScannerConfig{Start: start, Follow: r.follow}
	if r.follow {
		// The server was there when the command was started; from now on there
		// is no hurry.
		endless := r.app.clientConfig()
		endless.ReconnectAttempts = -1
		var err error
		if client, err = logd.NewClient(endless); err != nil {
			return err
		}
		defer client.Close()
		cfg.OnRetry = r.retrying
	}
	if r.limit > 0 && r.limit+r.skip > 0 {
		cfg.Limit = r.limit + r.skip
	}
	if r.orOldest {
		cfg.OnGone = r.passGap
	}
	s, err := logd.NewScanner(ctx, client, r.topic, cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	for s.Scan() {
		r.begun = true
		if r.skip > 0 {
			r.skip--
			continue
		}
		m := s.Message()
		if err := r.out.print(&m); err != nil {
			return err
		}
		if r.limit == 1 {
			return nil
		}
		r.limit = max(r.limit-1, 0)
		if r.follow && !s.Ready() {
			if err := r.out.flush(); err != nil {
				return err
			}
		}
	}
	return r.ended(s)
}

// messageWriter prints messages.
type messageWriter struct {
	out     *bufio.Writer
	topic   string
	json    bool
	numbers bool
	number  []byte
}

func (w *messageWriter) print(m *logd.Message) error {
	if w.json {
		return printJSON(w.out, newJSONMessage(w.topic, m))
	}
	if w.numbers {
		w.number = fmt.Appendf(w.number[:0], "%d.%d ", m.Offset, m.Delta)
		w.out.Write(w.number)
	}
	w.out.Write(m.Body)
	return exit.OutputError(w.out.WriteByte('\n')) // an error of before comes again
}

func (w *messageWriter) flush() error { return exit.OutputError(w.out.Flush()) }
