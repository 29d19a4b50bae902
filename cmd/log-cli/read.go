package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
)

const (
	defaultLimit = 15
	// followWait is how long a read waits at the end of the log before it is
	// sent again.
	followWait = 10 * time.Second
	// retryPause is between two attempts to read on after the server said
	// that it can't just now. Connecting has pauses of its own.
	retryPause = 200 * time.Millisecond
)

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

	hasOffset, hasLast bool
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
			f.hasOffset, f.hasLast = cmd.Flags().Changed("offset"), cmd.Flags().Changed("last")
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
	flags.Int64Var(&f.offset, "offset", 0, "begin with the batch at this `OFFSET` (default the oldest)")
	flags.StringVar(&f.since, "since", "", "begin with what was written in this `TIME`, as 10m, or since then, as 2026-01-02T15:04:05Z")
	flags.Int64Var(&f.last, "last", 0, "begin with the `N`th message from the end")
	flags.Int64Var(&f.limit, "limit", defaultLimit, "end after `N` messages; 0 to read to the end")
	flags.BoolVarP(&f.follow, "read-forever", "F", false, "wait at the end for more")
	flags.BoolVarP(&f.numbers, "numbers", "n", false, "print OFFSET.DELTA before each message")
	flags.BoolVar(&f.orOldest, "or-oldest", false, "go on with the oldest message where the wanted one is gone")
	a.formatFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("offset", "since", "last")
	return cmd
}

// sinceTime returns the time that --since names, and the zero time if there is
// none.
func (f *readFlags) sinceTime(now time.Time) (time.Time, error) {
	if f.since == "" {
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
	if err := r.start(ctx, f); err != nil {
		return err
	}
	err := r.run(ctx)
	if flushed := r.out.flush(); err == nil {
		err = flushed
	}
	if ctx.Err() != nil && !errors.Is(err, errQuiet) {
		if f.follow {
			return nil // it has no other end
		}
		return &exitError{exitFailed, errors.New("interrupted")}
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

	offset int64 // where to read on
	skip   int64 // how many messages there are not wanted
	limit  int64 // how many messages are still wanted; 0 for all
	begun  bool  // the server has answered a read
	lost   bool  // the user was told that the server does not answer
	page   int64 // how many messages to ask for at once

	fromOldest bool // reading begins at the oldest message, whichever that is
}

// start finds out where to begin.
func (r *reader) start(ctx context.Context, f *readFlags) error {
	since, err := f.sinceTime(time.Now())
	if err != nil {
		return err
	}
	conf, err := r.client.Config(ctx)
	if err != nil {
		return err
	}
	r.page = logd.DefaultReadMessages
	if conf.MaxMessages > 0 {
		r.page = min(r.page, conf.MaxMessages)
	}
	switch {
	case f.hasOffset:
		r.offset = f.offset
	case f.since != "":
		r.offset, err = r.client.Seek(ctx, r.topic, since)
	case f.hasLast:
		r.offset, r.skip, err = r.last(ctx, f.last)
		if r.limit == 0 && !f.follow {
			r.limit = f.last
		}
	default:
		var info logd.TopicInfo
		info, err = r.client.Info(ctx, r.topic)
		r.offset, r.fromOldest = info.Oldest, true
	}
	if errors.Is(err, logd.ErrNotFound) {
		return noTopic(r.topic)
	}
	return err
}

// fetched is the outcome of a read.
type fetched struct {
	result *logd.Result
	err    error
}

// run prints messages until there are enough. The next read is under way while
// the messages of the last one are printed.
func (r *reader) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	next := r.fetch(ctx)
	defer func() {
		cancel()
		if next != nil {
			f := <-next
			f.result.Release()
		}
	}()
	for {
		f := <-next
		next = nil
		if f.err != nil {
			if err := r.recover(ctx, f.err); err != nil {
				return err
			}
			next = r.fetch(ctx)
			continue
		}
		if len(f.result.Batches) == 0 && !r.follow {
			return r.nothing(ctx)
		}
		r.arrived(f.result)
		more := r.wantsMore(f.result)
		if more {
			next = r.fetch(ctx)
		}
		err := r.print(f.result)
		f.result.Release()
		if err != nil || !more {
			return err
		}
	}
}

// fetch begins to read at the reader's offset.
func (r *reader) fetch(ctx context.Context) chan fetched {
	opts := logd.ReadOptions{Messages: r.page}
	if r.limit > 0 {
		opts.Messages = min(r.page, r.limit+r.skip)
	}
	if r.follow {
		opts.Wait = followWait
	}
	offset := r.offset
	c := make(chan fetched, 1)
	go func() {
		result, err := r.client.Read(ctx, r.topic, offset, opts)
		c <- fetched{result, err}
	}()
	return c
}

// arrived notes that the server answers.
func (r *reader) arrived(result *logd.Result) {
	r.begun = true
	r.offset = result.Next
	if r.lost {
		r.lost = false
		r.app.note("the server answers again")
	}
}

// wantsMore reports whether something is wanted beyond the result.
func (r *reader) wantsMore(result *logd.Result) bool {
	if r.limit == 0 {
		return true
	}
	n := -r.skip
	for i := range result.Batches {
		n += result.Batches[i].Messages
	}
	return n < r.limit
}

// print prints the messages of the result that are wanted.
func (r *reader) print(result *logd.Result) error {
	for i := range result.Batches {
		for m := range result.Batches[i].All() {
			if r.skip > 0 {
				r.skip--
				continue
			}
			if err := r.out.print(&m); err != nil {
				return err
			}
			if r.limit == 1 {
				return nil
			}
			r.limit = max(r.limit-1, 0)
		}
	}
	if r.follow {
		return r.out.flush()
	}
	return nil
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
	return outputError(w.out.WriteByte('\n')) // an error of before comes again
}

func (w *messageWriter) flush() error { return outputError(w.out.Flush()) }
