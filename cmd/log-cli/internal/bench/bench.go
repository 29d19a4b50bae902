// Package bench has the command of log-cli that measures how fast a server is.
package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/exit"
)

// benchFlags are the flags of bench.
type benchFlags struct {
	writers, readers, topics int
	prefix                   string
	messageSize, batchSize   cli.Size
	count                    int64
	single, keep             bool
	inFlight                 int
	duration                 time.Duration
	codec                    string
}

// maxLatency is the longest time that a histogram tells from longer ones.
const maxLatency = time.Minute

// Command returns the command, which talks to a server.
func Command(a *cli.App) *cobra.Command {
	f := benchFlags{messageSize: 100, batchSize: logd.DefaultMaxBatchSize}
	cmd := &cobra.Command{
		Use:   "bench [flags]",
		Short: "Measure how fast a server takes and gives messages.",
		Long: `Writers append batches that were made before, each writer on a connection of its
own with several batches on their way; the latency is that of one batch, from
when it is handed to the connection until its answer is there. Readers read from
the oldest message to the end, and where there are writers too, on behind them;
the latency is that of one read of up to a mebibyte. Checksums are computed for
every batch by writers and readers.

With --codec the writers are those of the Go client: they make and compress each
batch anew, which is part of its latency, and the speed is told twice, of the
batches before that and as they are stored. The messages are lines of made-up
words and numbers; yours may get shorter than they, or not as much.

The topics that it makes are deleted when the measurement is over, unless --keep
is given. A topic that was there before stays, with what was written to it.`,
		Example: `  log-cli bench
  log-cli bench --writers 1 --single --duration 2s
  log-cli bench --writers 0 --readers 1
  log-cli bench --codec zstd
  log-cli bench --size 1KiB --topics 4 --duration 10s -o json`,
		Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			switch {
			case f.writers < 0 || f.readers < 0 || f.writers+f.readers == 0 || f.writers+f.readers > 10000:
				return errors.New("--writers and --readers: want 1 to 10000 together")
			case f.topics < 1 || f.inFlight < 1 || f.inFlight > 1<<16:
				return errors.New("--topics and --in-flight: want at least 1, and at most 65536 in flight")
			case f.duration <= 0 || f.count < 0:
				return errors.New("--duration and --count must be positive")
			case f.codec != "" && !slices.Contains(codec.Names(), f.codec):
				return errors.New("--codec: want " + strings.Join(codec.Names(), " or "))
			case f.codec != "" && f.inFlight > maxPackedInFlight:
				return fmt.Errorf("--in-flight: want at most %d with --codec", maxPackedInFlight)
			}
			if f.single {
				f.count = 1
			}
			return nil
		},
		RunE: a.Do(func(ctx context.Context, _ []string) error { return bench(ctx, a, &f) }),
	}
	flags := cmd.Flags()
	flags.IntVar(&f.writers, "writers", 8, "write on `N` connections")
	flags.IntVar(&f.readers, "readers", 0, "read on `N` connections")
	flags.Var(&f.messageSize, "size", "make messages of this `SIZE`")
	flags.Var(&f.batchSize, "batch-size", "make batches of at most this `SIZE`")
	flags.VarP((*cli.Number)(&f.count), "count", "c", "make batches of at most `N` messages (default any number)")
	flags.BoolVar(&f.single, "single", false, "one message in a batch; the same as --count 1")
	flags.IntVar(&f.inFlight, "in-flight", 8, "have up to `N` batches on their way on each connection")
	flags.IntVar(&f.topics, "topics", 1, "write to `N` topics")
	flags.StringVar(&f.codec, "codec", "", "compress batches with `CODEC`, zstd or s2")
	flags.StringVarP(&f.prefix, "topic", "t", "bench", "`PREFIX` of the topics' names, to which -0, -1, … is added")
	flags.DurationVar(&f.duration, "duration", 5*time.Second, "measure for this `TIME`")
	flags.BoolVar(&f.keep, "keep", false, "keep the topics")
	a.FormatFlag(cmd)
	return cmd
}

// topic returns the name of the ith topic, counting round.
func (f *benchFlags) topic(i int) string { return fmt.Sprintf("%s-%d", f.prefix, i%f.topics) }

// tally is what one connection did, or several.
type tally struct {
	bytes, messages, batches int64                   // bytes are of the batches before they are compressed
	stored                   int64                   // their bytes as they are stored
	latency                  *hdrhistogram.Histogram // in nanoseconds
	elapsed                  time.Duration
}

func newTally() *tally {
	return &tally{latency: hdrhistogram.New(1, int64(maxLatency), 3)}
}

func (t *tally) record(d time.Duration) {
	t.latency.RecordValue(int64(max(min(d, maxLatency), 1)))
}

// merge adds what another connection did at the same time.
func (t *tally) merge(o *tally) {
	t.bytes += o.bytes
	t.stored += o.stored
	t.messages += o.messages
	t.batches += o.batches
	t.latency.Merge(o.latency)
	t.elapsed = max(t.elapsed, o.elapsed)
}

// bencher is one measurement.
type bencher struct {
	flags   *benchFlags
	start   time.Time
	writing atomic.Int64 // how many writers are not done
}

func bench(ctx context.Context, a *cli.App, f *benchFlags) error {
	clients := make([]*logd.Client, f.writers+f.readers)
	for i := range clients {
		client, err := a.Dial(ctx)
		if err != nil {
			return err
		}
		defer client.Close()
		clients[i] = client
	}
	b := &bencher{flags: f}
	b.writing.Store(int64(f.writers))
	if f.writers > 0 {
		if err := b.check(ctx, clients[0]); err != nil {
			return err
		}
	}
	made, err := b.absent(ctx, clients[0])
	if err != nil {
		return err
	}
	wrote, read, err := b.run(ctx, clients, a.ProgressTime(f.duration))
	// An interrupt ends the measurement, and leaves no topics either.
	removed := b.remove(context.WithoutCancel(ctx), clients[0], made)
	if err != nil {
		return err
	}
	for _, part := range []struct {
		kind string
		n    int
		t    *tally
	}{{"write", f.writers, wrote}, {"read", f.readers, read}} {
		if part.n == 0 {
			continue
		}
		if err := printTally(a, part.kind, part.n, f, part.t); err != nil {
			return err
		}
	}
	if f.codec != "" && f.writers > 0 && wrote.stored >= wrote.bytes {
		a.Note("nothing was compressed: the server does not take %s, or the batches are too short", f.codec)
	}
	if removed != nil {
		a.Note("%s", cli.Plain(removed)) // what was measured is good
	}
	return nil
}

// check sees that the batches can be made and are taken.
func (b *bencher) check(ctx context.Context, client *logd.Client) error {
	conf, err := admin.New(client).Config(ctx)
	if err != nil {
		return err
	}
	if limit := conf.MaxBatchSize; limit > 0 && int64(b.flags.batchSize) > limit {
		return exit.With(exit.Refused, fmt.Errorf("--batch-size is %d: the server takes batches of at most %d bytes", b.flags.batchSize, limit))
	}
	if !new(logd.Batch).Fits(b.flags.topic(0), int(b.flags.messageSize), int64(b.flags.batchSize)) {
		return exit.With(exit.Usage, fmt.Errorf("--size is %d: no such message fits into a batch of %d bytes", b.flags.messageSize, b.flags.batchSize))
	}
	return nil
}

// absent returns the topics that the measurement is going to make.
func (b *bencher) absent(ctx context.Context, client *logd.Client) (absent []string, err error) {
	if b.flags.keep || b.flags.writers == 0 {
		return nil, nil
	}
	there, err := client.Topics(ctx)
	if err != nil {
		return nil, err
	}
	for i := range b.flags.topics {
		if topic := b.flags.topic(i); !slices.Contains(there, topic) {
			absent = append(absent, topic)
		}
	}
	return absent, nil
}

// remove deletes the topics that were made.
func (b *bencher) remove(ctx context.Context, client *logd.Client, made []string) error {
	for _, topic := range made {
		info, err := client.Info(ctx, topic)
		if err == nil && info.ID == "" {
			return errors.New("the server is too old to delete topics: those of the measurement stay")
		}
		if err == nil {
			err = admin.New(client).Delete(ctx, topic, admin.DeleteOptions{ID: info.ID, Now: true})
		}
		if err != nil && !errors.Is(err, logd.ErrNotFound) {
			return fmt.Errorf("the topics of the measurement stay: %w", err)
		}
	}
	return nil
}

// run measures. One failure ends it for all.
func (b *bencher) run(ctx context.Context, clients []*logd.Client, bar *cli.TimeBar) (wrote, read *tally, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	tallies := make([]*tally, len(clients))
	sources := make([]*benchSource, b.flags.writers)
	for i := range clients {
		tallies[i] = newTally()
		if i < len(sources) {
			sources[i] = b.flags.source(i)
		}
	}
	write := b.write
	if b.flags.codec != "" {
		write = b.writePacked
	}
	var group sync.WaitGroup
	b.start = time.Now()
	for i, client := range clients {
		group.Go(func() {
			var err error
			if i < len(sources) {
				err = write(ctx, client, sources[i], tallies[i])
				b.writing.Add(-1)
			} else {
				err = b.read(ctx, client, i-len(sources), tallies[i])
			}
			tallies[i].elapsed = time.Since(b.start)
			if err != nil {
				fail(err)
			}
		})
	}
	stop := bar.Run()
	group.Wait()
	stop()
	// An interrupt ends the measurement early. What it measured is good.
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return nil, nil, cause
	}
	wrote, read = newTally(), newTally()
	for i, t := range tallies {
		if i < b.flags.writers {
			wrote.merge(t)
		} else {
			read.merge(t)
		}
	}
	return wrote, read, nil
}

// over reports whether the time is up.
func (b *bencher) over(ctx context.Context, now time.Time) bool {
	return now.Sub(b.start) >= b.flags.duration || ctx.Err() != nil
}

// benchSource is what a writer sends, and where.
type benchSource struct {
	topics []string
	bodies [][]byte // of the messages of a batch
	length int64    // of the batch
	slots  []benchSlot
}

// benchSlot is a batch that is sent again and again.
type benchSlot struct {
	batch   logd.Batch
	pending logd.Pending
	begun   time.Time // zero when not on its way
}

// source makes what a writer sends. It keeps to its share of the topics, or to the
// one that it shares with others.
func (f *benchFlags) source(number int) *benchSource {
	src := &benchSource{topics: []string{f.topic(number)}}
	for i := number + f.writers; i < f.topics; i += f.writers {
		src.topics = append(src.topics, f.topic(i))
	}
	// The name of another of its topics may be longer.
	topic := slices.MaxFunc(src.topics, func(a, b string) int { return len(a) - len(b) })
	var b logd.Batch
	text := newText()
	for b.Messages() == 0 || (f.count == 0 || b.Messages() < f.count) && b.Fits(topic, int(f.messageSize), int64(f.batchSize)) {
		body := text.line(int(f.messageSize))
		b.Add(body)
		src.bodies = append(src.bodies, body)
	}
	src.length = b.Len(src.topics[0])
	if f.codec != "" {
		return src // its batches are made as they are sent
	}
	src.slots = make([]benchSlot, f.inFlight)
	for i := range src.slots {
		for _, body := range src.bodies {
			src.slots[i].batch.Add(body)
		}
	}
	return src
}

// write is a writer. It sends at least one batch.
func (b *bencher) write(ctx context.Context, client *logd.Client, src *benchSource, t *tally) error {
	// The answers to what was sent are waited for also when time is up.
	answers := context.WithoutCancel(ctx)
	now := time.Now()
	for i := 0; i == 0 || !b.over(ctx, now); i++ {
		sl := &src.slots[i%len(src.slots)]
		if err := t.settle(answers, src, sl); err != nil {
			return err
		}
		now = time.Now()
		if err := client.StartAppend(ctx, src.topics[i%len(src.topics)], &sl.batch, &sl.pending); err != nil {
			if ctx.Err() != nil {
				break
			}
			return err
		}
		sl.begun = now
	}
	for i := range src.slots {
		if err := t.settle(answers, src, &src.slots[i]); err != nil {
			return err
		}
	}
	return nil
}

// settle waits for the answer to the slot's batch, if it is on its way, and
// counts it.
func (t *tally) settle(ctx context.Context, src *benchSource, sl *benchSlot) error {
	if sl.begun.IsZero() {
		return nil
	}
	if _, err := sl.pending.Wait(ctx); err != nil {
		return err
	}
	t.record(time.Since(sl.begun))
	sl.begun = time.Time{}
	t.bytes += src.length
	t.stored += src.length
	t.messages += sl.batch.Messages()
	t.batches++
	return nil
}

// read is a reader of one topic, from its oldest message to the end, and on
// behind it as long as there are writers.
func (b *bencher) read(ctx context.Context, client *logd.Client, number int, t *tally) error {
	topic := b.flags.topic(number)
	offset := int64(-1) // before the oldest is known
	for now := time.Now(); !b.over(ctx, now); {
		writing := b.writing.Load() > 0
		var opts logd.ReadOptions
		if writing {
			opts.Wait = 50 * time.Millisecond
		}
		var result *logd.Result
		var err error
		if offset < 0 {
			result, err = client.Tail(ctx, topic, opts)
		} else {
			result, err = client.Read(ctx, topic, offset, opts)
		}
		begun := now
		now = time.Now()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, logd.ErrNotFound) && writing:
			offset = -1 // not yet made, or already removed
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
			}
			continue
		case errors.Is(err, logd.ErrNotFound) && offset < 0:
			return exit.With(exit.NotFound, fmt.Errorf("there is no topic %q", topic))
		case err != nil:
			return err
		case len(result.Batches) == 0 && !writing:
			return nil
		}
		for i := range result.Batches {
			t.messages += result.Batches[i].Messages
		}
		if len(result.Batches) > 0 {
			t.record(now.Sub(begun))
		}
		t.batches += int64(len(result.Batches))
		t.bytes += result.Next - result.Offset
		t.stored = t.bytes
		offset = result.Next
		result.Release()
	}
	return nil
}
