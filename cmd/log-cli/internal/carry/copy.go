package carry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/cmd/log-cli/internal/places"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/place"
)

// copyFlags are the flags of copy.
type copyFlags struct {
	source, target string
	from, to       places.Flag
	follow         bool
	prefix         string
	state          string
	orOldest       bool
	again          bool
	retry          cli.Retry
	search         cli.Size
}

func copyCommand(a *cli.App) *cobra.Command {
	f := copyFlags{search: defaultSearch}
	var other *cli.Other
	cmd := &cobra.Command{
		Use:        "copy FROM [TO] [flags]",
		SuggestFor: []string{"cp", "mirror", "replicate", "migrate"},
		Short:      "Copy a topic to another topic or server, each message once.",
		Long: `Stores the batches of the topic FROM in the topic TO, by default one of the same
name at the server of --to-host. FROM may be a pattern such as 'app.*': all
topics that match are copied to topics of their names. Without --read-forever
the end is what it is at the start of the command.

How far a copy is, is kept as a position of the source topic, named copy.<hash>,
or in the file --state. A run that was interrupted, or lost a server for longer
than --retry, is run again: it goes on where it was. Batches are numbered, so
nothing is stored twice or left out, whatever was killed meanwhile: copy, or a
server.

If the target has forgotten the numbers, its newest batches are looked through,
as much as --search allows, for the last one of the copy. If it is not found,
the exit code is 1 and nothing is sent.`,
		Example: `  log-cli copy orders --to-host eu-1:1774
  log-cli copy 'app.*' --to-host eu-1:1774 --read-forever
  log-cli copy orders may --from 2026-05-01 --to 2026-06-01 --state may.copy`,
		Args: func(_ *cobra.Command, args []string) error {
			if err := f.words(args); err != nil {
				return err
			}
			return other.Check()
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			var keep keeper = newPositionKeeper(client)
			if f.state != "" {
				file, err := openState(f.state)
				if err != nil {
					return err
				}
				keep = file
			}
			defer keep.close()
			return other.With(ctx, client, func(to *logd.Client) error {
				c := &copies{app: a, flags: &f, source: client, target: to, keep: keep}
				if f.follow {
					return c.follow(ctx)
				}
				return c.all(ctx)
			})
		}),
	}
	flags := cmd.Flags()
	flags.Var(&f.from, "from", "begin at this `PLACE`, if the copy is a new one: see \"log-cli read --help\" (default start)")
	flags.Var(&f.to, "to", "end before this `PLACE` (default end)")
	flags.BoolVarP(&f.follow, "read-forever", "F", false, "wait at the end for more, and for topics that are yet to come")
	flags.StringVar(&f.prefix, "prefix", "", "put `TEXT` before the names of the topics that are copied to")
	flags.StringVar(&f.state, "state", "", "keep in `FILE` how far the copy is (default: as a position of FROM)")
	flags.BoolVar(&f.orOldest, "or-oldest", false, "go on with the next message if the wanted one is gone or damaged")
	flags.BoolVar(&f.again, "again", false, "begin a new copy, whatever an earlier one has stored")
	flags.Var(&f.retry, "retry", "wait so long, as 30s, or forever, for a server that goes away\n(default 1m, and forever with --read-forever)")
	flags.Var(&f.search, "search", "look through so much of the target for a copy that it does not know any more")
	other = a.OtherFlags(cmd)
	a.FormatFlag(cmd)
	a.CompleteTopics(cmd, 2)
	for _, name := range []string{"from", "to"} {
		cmd.RegisterFlagCompletionFunc(name, places.Complete)
	}
	return cmd
}

// words takes the topics, and looks whether the flags go together.
func (f *copyFlags) words(args []string) error {
	if len(args) > 0 {
		f.source = args[0]
	}
	if len(args) > 1 {
		f.target = args[1]
	}
	switch {
	case f.source == "":
		return errors.New("want the topic FROM, or a pattern such as 'app.*'")
	case len(args) > 2:
		return fmt.Errorf("%q is one word too many: copy has FROM and TO", args[2])
	case f.target != "" && cli.IsGlob(f.source):
		return errors.New("FROM is a pattern: its topics keep their names, with --prefix before")
	case f.target != "" && f.prefix != "":
		return errors.New("TO says it all: leave --prefix out")
	case f.follow && f.to.IsSet():
		return errors.New("--read-forever has no end: leave it or --to out")
	case f.to.IsSet() && f.from.After(f.to.Place):
		return errors.New("--from is behind --to")
	}
	return nil
}

// name returns the name of the topic that one is copied to.
func (f *copyFlags) name(topic string) string {
	if f.target != "" {
		return f.target
	}
	return f.prefix + topic
}

// copies is one run of the command.
type copies struct {
	app            *cli.App
	flags          *copyFlags
	source, target *logd.Client
	keep           keeper
}

// all copies the topics, one after another.
func (c *copies) all(ctx context.Context) error {
	names, err := cli.Matching(ctx, c.source, []string{c.flags.source})
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return cli.NoMatch(c.flags.source)
	}
	for _, name := range names {
		if err := c.one(ctx, name); err != nil {
			if len(names) > 1 {
				err = fmt.Errorf("topic %q: %w", name, err)
			}
			return err
		}
	}
	return nil
}

// lookForTopics is how often topics that are new are looked for.
const lookForTopics = 2 * time.Second

// follow copies the topics side by side, and those that come.
func (c *copies) follow(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	running := map[string]chan struct{}{}
	away := outage{app: c.app, retry: c.flags.retry.Or(true)}
	told := false
	for {
		var names []string
		err := away.do(ctx, func() (err error) {
			names, err = c.source.Topics(ctx)
			return err
		})
		if err != nil {
			group.Go(func() error { return err }) // the others end, too
			break
		}
		for _, name := range names {
			if !cli.Glob(c.flags.source, name) {
				continue
			}
			select {
			case <-running[name]: // of none, for ever
				delete(running, name)
			default:
			}
			if running[name] == nil {
				done := make(chan struct{})
				running[name] = done
				group.Go(func() error {
					defer close(done)
					err := c.one(ctx, name)
					if errors.Is(err, errRemoved) {
						c.app.Note("%s", err)
						return nil
					}
					return err
				})
			}
		}
		if len(running) == 0 && !told {
			told = true
			c.app.Note("there is no topic %q yet; waiting for it", c.flags.source)
		}
		select {
		case <-time.After(lookForTopics):
			continue
		case <-ctx.Done():
		}
		break
	}
	err := group.Wait()
	if err == nil || errors.Is(err, errInterrupted) {
		return nil // it has no other end
	}
	return err
}

// one copies a topic.
func (c *copies) one(ctx context.Context, name string) error {
	o := &oneCopy{
		copies: c, again: c.flags.again,
		read:  outage{app: c.app, retry: c.retry()},
		write: outage{app: c.app, retry: c.retry()},
	}
	if err := o.open(ctx, name); err != nil {
		return err
	}
	defer func() { o.bar.Finish() }()
	// A topic that forgets, or gets another limit, while it is copied to is rare. One
	// that does so again and again is not to be copied to.
	err := o.run(ctx)
	for again := 0; again < 3 && (errors.Is(err, errForgotten) || errors.Is(err, errConflict)); again++ {
		o.conflict = errors.Is(err, errConflict)
		err = o.run(ctx)
	}
	if err != nil {
		return err
	}
	o.bar.Finish()
	return o.print()
}

func (c *copies) retry() time.Duration {
	if c.flags.follow {
		return c.flags.retry.Or(true)
	}
	return c.flags.retry.OrTime(defaultRetry)
}

// oneCopy copies a topic.
type oneCopy struct {
	*copies
	src         *source
	dst         *target
	key         pair
	read, write outage
	begin, end  mark // of what is copied, if it is a new copy; without an end in following
	again       bool // it is to be a new copy
	conflict    bool // the target has other batches of the numbers that are next
	bar         *cli.Bar

	fresh             int64 // from this number on batches are new to the target
	batches, messages int64 // that were new
	at                mark
}

// open finds the topics, and where to begin and to end.
func (o *oneCopy) open(ctx context.Context, name string) error {
	var info logd.TopicInfo
	err := o.read.do(ctx, func() (err error) {
		o.src, info, err = newSource(ctx, o.app, o.source, name, o.flags.orOldest)
		return err
	})
	if err != nil {
		return err
	}
	err = o.write.do(ctx, func() (err error) {
		o.dst, err = newTarget(ctx, o.target, o.flags.name(name))
		return err
	})
	if err != nil {
		return err
	}
	if o.src.id == o.dst.id {
		return exit.With(exit.Usage, fmt.Errorf("topic %q would be copied to itself: give TO, --to-host or --prefix", name))
	}
	o.key = pair{name, o.src.id, o.dst.topic, o.dst.id}
	o.begin, o.end = mark{info.Oldest, 0}, mark{info.Next, 0}
	find := func(m *mark, p place.Place) error {
		var err error
		m.offset, m.delta, err = o.src.Find(ctx, p)
		if gone, ok := errors.AsType[*logd.GoneError](err); ok && o.flags.orOldest {
			*m, err = mark{gone.Oldest, 0}, nil
		}
		return o.src.Explain(ctx, err, hint)
	}
	if o.flags.from.IsSet() {
		if err := find(&o.begin, o.flags.from.Place); err != nil {
			return err
		}
	}
	if o.flags.to.IsSet() && o.flags.to.Kind != place.AtEnd {
		return find(&o.end, o.flags.to.Place)
	}
	return nil
}

// producer returns the id of the copy's producer.
func (p pair) producer(generation int64) string {
	return producer(p.fromID, p.toID, strconv.FormatInt(generation, 10))
}

// run copies from where the copy is to the end.
func (o *oneCopy) run(ctx context.Context) error {
	var at state
	err := o.write.do(ctx, func() (err error) {
		at, err = o.align(ctx)
		return err
	})
	if err != nil {
		return err
	}
	o.at = at.next
	if o.bar == nil && !o.flags.follow {
		o.bar = o.app.Progress(o.end.offset-at.next.offset, "copying", nil)
	}
	s := &sender{
		target: o.dst, outage: o.write, pid: o.key.producer(at.generation), seq: at.seq,
		keep: func(ctx context.Context, after mark, seq int64) error {
			return o.read.do(ctx, func() error { return o.keep.save(ctx, o.key, state{at.generation, after, seq}) })
		},
		onStored: o.stored,
	}
	return o.feed(ctx, s, at.next)
}

// feed sends what the source has from a place on.
func (o *oneCopy) feed(ctx context.Context, s *sender, at mark) error {
	wait := time.Duration(0)
	for o.flags.follow || at.offset < o.end.offset || at.offset == o.end.offset && at.delta < o.end.delta {
		r, err := o.src.read(ctx, at.offset, logd.ReadOptions{Wait: wait})
		if err != nil {
			if err := o.read.wait(ctx, err); err != nil {
				return err
			}
			if err := o.src.same(ctx); err != nil && !logd.IsRetryable(err) {
				return err
			}
			wait = 0
			continue
		}
		o.read.over()
		if r.Offset != at.offset {
			at = mark{r.Offset, 0} // behind a gap
		}
		if wait = 0; len(r.Batches) == 0 {
			if err := s.flush(ctx); err != nil || !o.flags.follow {
				return err
			}
			if err := o.src.same(ctx); err != nil && !logd.IsRetryable(err) {
				return err
			}
			wait = followWait
		}
		for i := range r.Batches {
			at, err = o.batch(ctx, s, &r.Batches[i], at)
			if err != nil {
				return err
			}
		}
		r.Release()
	}
	return s.flush(ctx)
}

// followWait is how long one read waits at the end.
const followWait = 10 * time.Second

// batch sends a batch from a place in it on, and returns the place behind it.
func (o *oneCopy) batch(ctx context.Context, s *sender, b *logd.StoredBatch, at mark) (mark, error) {
	from, to := int64(0), int64(wholly)
	if b.Offset == at.offset {
		from = at.delta
	}
	if !o.flags.follow && b.Offset >= o.end.offset {
		if to = o.end.delta; b.Offset > o.end.offset || to <= from {
			return mark{b.Next(), 0}, nil
		}
	}
	h, _, _ := batch.Parse(b.Raw()) // as the client has done
	return mark{b.Next(), 0}, s.sendStored(ctx, &stored{b.Offset, b.Raw(), b.Data(), h.Codec}, from, to, nil)
}

// stored counts.
func (o *oneCopy) stored(p *piece) error {
	if p.seq >= o.fresh {
		o.batches++
		o.messages += p.batch.Messages()
	}
	o.bar.Add(int(p.after.offset - p.from.offset))
	o.at = p.after
	return nil
}

// align finds out where the copy is: what is saved, and what the target has.
func (o *oneCopy) align(ctx context.Context) (state, error) {
	saved, ok, err := o.keep.load(ctx, o.key)
	if err != nil {
		return saved, err
	}
	if o.again {
		// A number that no earlier copy has had, also if nothing of it is saved.
		saved, ok = state{generation: max(time.Now().UnixMilli(), saved.generation+1)}, false
	}
	next, err := o.dst.expects(ctx, o.key.producer(saved.generation))
	o.fresh = next
	switch {
	case err != nil:
		return saved, err
	case !ok && next > 1:
		return saved, fmt.Errorf("topic %q has %s of an earlier copy, and how far that was is not in %v: give the right --state; or begin --from a PLACE with --again, and what is there of it is there twice",
			o.dst.topic, cli.Plural(next-1, "batch", "batches"), o.keep)
	case !ok:
		saved.next, saved.seq, o.again = o.begin, 1, false
		return saved, o.keep.save(ctx, o.key, saved)
	case saved.seq == 0:
		saved.seq = 1
		o.app.Note("%s was set by hand: the copy goes on at %v", o.key.place(), saved.next)
		return saved, o.keep.save(ctx, o.key, saved)
	case next == saved.seq && next > 1:
		return saved, nil
	case next > saved.seq && !o.conflict:
		// They are sent once more: the same batches, with the same numbers.
		if gone, ok := errors.AsType[*logd.GoneError](o.src.Check(ctx, saved.next.offset, 0)); ok {
			return saved, exit.With(exit.NotFound, fmt.Errorf("offset %d of topic %q is gone or damaged, and topic %q has %s from there on, up to a place that is not known: begin --from a PLACE with --again, from %d at the earliest",
				gone.Offset, o.src.Topic, o.dst.topic, cli.Plural(next-saved.seq, "batch", "batches"), gone.Oldest))
		}
		return saved, nil
	case next > 1 && next < saved.seq:
		return saved, lostBatches(o.dst.topic, next-1, saved.seq-1)
	}
	return o.search(ctx, saved, next == 1)
}

// search finds out by what the target has where the copy is. forgotten is whether the target
// does not know its producer any more: a new one goes on then.
func (o *oneCopy) search(ctx context.Context, saved state, forgotten bool) (state, error) {
	found, err := o.dst.lookBack(ctx, o.key.producer(saved.generation), saved.seq, int64(o.flags.search))
	switch {
	case err != nil:
		return saved, err
	case found.last == 0 && saved.seq == 1:
		return saved, nil // nothing was ever stored
	case found.last > 0 && found.last < saved.seq-1:
		return saved, lostBatches(o.dst.topic, found.last, saved.seq-1)
	case !found.full:
		return saved, fmt.Errorf("topic %q does not know any more which batches it has of this copy, and batch %d is not among its newest %s bytes: look through more with --search. Nothing was sent",
			o.dst.topic, max(saved.seq-1, 1), &o.flags.search)
	}
	if saved.next, err = o.match(ctx, saved.next, found.data); err != nil {
		return saved, err
	}
	saved.seq = found.last + 1
	if forgotten {
		saved.generation, saved.seq = saved.generation+1, 1
		o.app.Note("topic %q does not know this copy any more; its last batch is found, and the copy goes on at %v", o.dst.topic, saved.next)
	}
	o.fresh, o.conflict = saved.seq, false
	return saved, o.keep.save(ctx, o.key, saved)
}

// match returns the place in the source behind the messages that the target has from a place on.
func (o *oneCopy) match(ctx context.Context, at mark, data [][]byte) (mark, error) {
	var bodies [][]byte
	for _, d := range data {
		for m := (batch.Messages{Data: d}); m.Next(); {
			bodies = append(bodies, m.Body())
		}
	}
	for len(bodies) > 0 {
		r, err := o.src.Client.Read(ctx, o.src.Topic, at.offset, logd.ReadOptions{})
		if errors.Is(err, logd.ErrNotFound) {
			err = o.src.Explain(ctx, o.src.Check(ctx, at.offset, 0), "")
		}
		if err == nil && len(r.Batches) == 0 {
			err = o.mismatch(at)
		}
		if err != nil {
			return at, err
		}
		for i := range r.Batches {
			b := &r.Batches[i]
			for m := range b.All() {
				if b.Offset == at.offset && m.Delta < at.delta {
					continue
				}
				if len(bodies) == 0 {
					return mark{b.Offset, m.Delta}, nil
				}
				if !bytes.Equal(bodies[0], m.Body) {
					return at, o.mismatch(mark{b.Offset, m.Delta})
				}
				bodies = bodies[1:]
			}
			at = mark{b.Next(), 0}
			if len(bodies) == 0 {
				return at, nil
			}
		}
		r.Release()
	}
	return at, nil
}

func (o *oneCopy) mismatch(at mark) error {
	return fmt.Errorf("topic %q has another message of this copy than %v of topic %q: nothing was sent", o.dst.topic, at, o.src.Topic)
}

// jsonCopied is a copy, as a line of JSON.
type jsonCopied struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Batches  int64  `json:"batches"`
	Messages int64  `json:"messages"`
	Next     string `json:"next"`
}

func (o *oneCopy) print() error {
	if o.app.JSON() {
		return cli.PrintJSON(o.app.Stdout, jsonCopied{o.key.from, o.key.to, o.batches, o.messages, o.at.String()})
	}
	return cli.Printf(o.app.Stdout, "%s to %s: %s, %s, up to %v\n", o.key.from, o.key.to,
		cli.Plural(o.batches, "batch", "batches"), cli.Count(o.messages, "message"), o.at)
}
