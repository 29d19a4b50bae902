// Package write has the command of log-cli that appends messages: arguments, or
// lines of its input. It delivers them whatever becomes of the server meanwhile, and
// says of each what became of it.
package write

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/exit"
)

// writeFlags are the flags of write.
type writeFlags struct {
	topic         cli.Topic
	input, output string
	backlog       string
	batchSize     cli.Size
	count         int64
	interval      time.Duration
	retry         cli.Retry
	codec         string
}

// Command returns the command, which talks to a server.
func Command(a *cli.App) *cobra.Command {
	var f writeFlags
	cmd := &cobra.Command{
		Use:   "write TOPIC [MESSAGE…] [flags]",
		Short: "Append messages to a topic: arguments or lines of standard input.",
		Long: `The offset of each batch of messages is printed when the server has it.

A line ends with a line feed, which is not part of the message. Everything else
is part of it, also a carriage return before the line feed and bytes that are no
text. So "log-cli read" gives back what was written byte for byte; it only adds
a line feed that was missing at the very end. An empty line is an empty message.

Several batches are on their way to the server at once. If the server refuses
one, nothing more is sent. A message then says which lines are stored, which are
not, and which may or may not be.

If the server cannot be reached at the start, the command ends at once. If the
server goes away later, the command waits for it as long as --retry says. What
was read meanwhile waits in memory, up to 8 MiB, or in the file that --backlog
names. By their numbers the server knows batches that are sent again: a restart
loses nothing and stores nothing twice. If the server knows no numbers, the
command looks in the topic for batches whose answer was lost.

If the command ends before everything is stored, the rest stays in the backlog,
and the next run with the same --backlog delivers it first.`,
		Example: `  log-cli write greetings hello "good day"
  log-cli write syslog --input /var/log/syslog
  tail -f app.log | log-cli write app`,
		Args: func(_ *cobra.Command, args []string) error {
			args, err := f.topic.Words(args)
			if err != nil {
				return err
			}
			if len(args) > 0 && f.input != "" {
				return errors.New("give messages or --input, not both")
			}
			if f.codec != "" && !slices.Contains(codec.Names(), f.codec) {
				return errors.New("--codec: want " + strings.Join(codec.Names(), " or "))
			}
			if f.count < 0 || f.interval < 0 {
				return errors.New("--count and --wait-interval must not be negative")
			}
			return nil
		},
		RunE: a.Do(func(ctx context.Context, args []string) error {
			args, err := f.topic.Words(args)
			if err != nil {
				return err
			}
			return a.WithClient(ctx, func(client *logd.Client) error {
				return write(ctx, a, client, &f, args)
			})
		}),
	}
	flags := cmd.Flags()
	a.TopicFlag(cmd, &f.topic)
	flags.StringVar(&f.input, "input", "", "read lines from `FILE` (default -, standard input)")
	flags.StringVar(&f.output, "output", "", "print the batches' offsets to `FILE` (default -, standard output)")
	flags.Var(&f.batchSize, "batch-size", "make batches of at most this `SIZE`; a longer message goes alone (default the server's largest)")
	flags.VarP((*cli.Number)(&f.count), "count", "c", "make batches of at most `N` messages (default any number)")
	flags.StringVar(&f.backlog, "backlog", "", "keep what is not stored in `FILE`, which the next run delivers first")
	flags.Var(&f.retry, "retry", "wait so long, as 30s, or forever, for a server that goes away\n(default forever, and 0s if the messages are arguments)")
	flags.StringVar(&f.codec, "codec", "", "compress batches with `CODEC`, zstd or s2, if the server takes that")
	flags.DurationVar(&f.interval, "wait-interval", 100*time.Millisecond, "send a batch that is not full after this `TIME`")
	a.FormatFlag(cmd)
	return cmd
}

func write(ctx context.Context, a *cli.App, client *logd.Client, f *writeFlags, args []string) (err error) {
	d, l, err := newSender(ctx, a, client, f, len(args) == 0)
	if err != nil {
		return err
	}
	defer d.end()
	out := a.Stdout
	if f.output != "" && f.output != "-" {
		file, err := os.Create(f.output)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out = file
	}
	l.out = bufio.NewWriter(out)
	if err := d.open(f.backlog); err != nil {
		return err
	}
	if len(args) > 0 {
		return sendArgs(ctx, a, d, l, args)
	}
	in, total := a.Stdin, int64(-1)
	if f.input != "" && f.input != "-" {
		file, err := os.Open(f.input)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			total = info.Size()
		}
	} else if cli.IsTerminal(a.Stdin) && cli.IsTerminal(a.Stderr) {
		a.Note("writing the lines that you type; end with Ctrl-D")
	}
	bar := a.Progress(total, "writing", out)
	defer bar.Finish()
	return sendLines(ctx, a, d, l, in, bar, f.interval)
}

// newSender returns the sender for the server, and its ledger.
func newSender(ctx context.Context, a *cli.App, client *logd.Client, f *writeFlags, endless bool) (sender, *ledger, error) {
	asked := ledger{client: client}
	limit, numbers, err := asked.ask(ctx)
	if err != nil {
		return nil, nil, err
	}
	var d sender
	var l *ledger
	if numbers {
		n := &numbered{changed: make(chan struct{}, 1)}
		d, l = n, &n.ledger
	} else {
		p := &delivery{last: -1}
		d, l = p, &p.ledger
	}
	l.client, l.note, l.life, l.retry, l.election = client, a.Note, ctx, f.retry.Or(endless), asked.election
	l.codec = f.codec
	l.topic, l.count, l.json, l.limit, l.target = f.topic.Name, f.count, a.JSON(), limit, int64(f.batchSize)
	switch {
	case l.target > limit:
		return nil, nil, exit.With(exit.Refused, fmt.Errorf("--batch-size is %d: the server takes batches of at most %d bytes", l.target, limit))
	case l.target == 0:
		l.target = limit
	}
	return d, l, nil
}

// setNext asks where the topic ends: what this command writes stands behind it.
func (d *delivery) setNext(ctx context.Context) error {
	info, err := d.client.Info(ctx, d.topic)
	switch {
	case err == nil:
		d.next = info.Next
	case errors.Is(err, logd.ErrNotFound), errors.Is(err, logd.ErrInvalidProtocol):
		// There is no topic yet, or the server is too old to say: its topics are
		// then read from the start.
	default:
		return err
	}
	return nil
}

// sendArgs writes the arguments.
func sendArgs(ctx context.Context, a *cli.App, d sender, l *ledger, args []string) error {
	ctx = context.WithoutCancel(ctx) // few bytes: an interrupt need not call them off
	for _, arg := range args {
		if err := d.add(ctx, []byte(arg)); err != nil {
			return failed(ctx, a, d, l, "message", err)
		}
	}
	if err := d.finish(ctx); err != nil {
		return failed(ctx, a, d, l, "message", err)
	}
	return nil
}

// sendLines writes the lines of in. The end of ctx ends the input: what was
// read before is written.
func sendLines(ctx context.Context, a *cli.App, d sender, l *ledger, in io.Reader, bar *cli.Bar, interval time.Duration) error {
	send := context.WithoutCancel(ctx)
	add := func(line []byte) error { return d.add(send, line) }
	input := newPump(ctx, in)
	split := &lines{max: l.limit}

	timer := time.NewTimer(interval)
	defer timer.Stop()
	ticking := true // the timer runs, or has fired and was not looked at
	for {
		var err error
		select {
		case c := <-input.full:
			bar.Add(c.n)
			err = split.each(c.buf[:c.n], add)
			if err == nil && c.err == io.EOF {
				if err = split.last(add); err == nil {
					err = d.finish(send)
				}
				if err == nil {
					return nil
				}
			} else if err == nil && c.err != nil {
				err = fmt.Errorf("read the input: %w", c.err)
			}
			input.free <- c.buf // has room for all chunks
		case <-timer.C:
			// The input has not kept us busy, so there is time to wait for
			// the answers and to show them.
			ticking = false
			err = d.tend(send)
		case <-ctx.Done():
			err = errInterrupted
		}
		if err != nil {
			bar.Finish()
			return failed(send, a, d, l, "line", err)
		}
		if idle, pause := d.rest(interval); !ticking && !idle {
			timer.Reset(pause)
			ticking = true
		}
	}
}

// failed settles what is on its way, says what became of all messages,
// and returns why not all are stored.
func failed(ctx context.Context, a *cli.App, d sender, l *ledger, what string, err error) error {
	number := l.messages + 1
	if also := d.push(ctx); also != nil && also != err {
		a.Note("%s", cli.Plain(also))
	}
	d.end()
	a.Note("%s", l.account.report(what))
	if errors.Is(err, errTooLong) {
		return fmt.Errorf("%s %d is too long: %w, which the server limits to %d bytes", what, number, errTooLong, l.limit)
	}
	return err
}
