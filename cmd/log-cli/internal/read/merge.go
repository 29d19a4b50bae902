package read

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

// lookForTopics is how often topics that are new are looked for.
const lookForTopics = time.Second

// merge reads several topics: what they have in the order of the times at which it was
// appended, and what comes later as it comes.
type merge struct {
	app     *cli.App
	client  *logd.Client
	flags   *readFlags
	out     *messageWriter
	limit   int64 // how many messages are still to be printed; 0 for all
	readers map[string]*reader
}

// errEnough ends reading: as many messages as were asked for are printed.
var errEnough = errors.New("enough")

func (m *merge) run(ctx context.Context) error {
	names, err := cli.Matching(ctx, m.client, m.flags.topics)
	if err != nil {
		return err
	}
	if len(names) == 0 && !m.flags.follow {
		return cli.NoMatch(m.flags.topics[0])
	}
	ends, err := m.stored(ctx, names)
	if err == nil && m.flags.follow {
		err = m.follow(ctx, ends)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// head is the next message of a topic.
type head struct {
	reader  *reader
	scan    *logd.Scanner
	message logd.Message
}

// heads is a heap: the message that was appended first comes first.
type heads []*head

func (h heads) Len() int { return len(h) }
func (h heads) Less(i, j int) bool {
	return cmp.Or(h[i].message.Time.Compare(h[j].message.Time), cmp.Compare(h[i].reader.Topic, h[j].reader.Topic)) < 0
}
func (h heads) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)   { *h = append(*h, x.(*head)) }
func (h *heads) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// stored prints what the topics have, each up to its end. It returns where they ended.
func (m *merge) stored(ctx context.Context, names []string) (ends map[string]logd.Position, err error) {
	ends = map[string]logd.Position{}
	var all heads
	defer func() {
		for _, h := range all {
			h.scan.Close()
		}
	}()
	for _, name := range names {
		r := newReader(m.app, m.client, m.flags, name, m.out)
		start, err := r.start(ctx)
		if err != nil {
			return nil, err
		}
		cfg := r.config(start)
		cfg.Times = true
		if n := m.flags.last; n > 0 && m.flags.match == nil && !m.flags.follow {
			cfg.Limit = n
		}
		if len(names) > 8 {
			cfg.ReadBytes, cfg.ReadAhead = 128<<10, 1 // each has its own
		}
		s, err := logd.NewScanner(ctx, m.client, name, cfg)
		if errors.Is(err, logd.ErrNotFound) && m.flags.follow {
			continue // it is yet to come
		}
		if err != nil {
			return nil, r.explained(ctx, err)
		}
		h := &head{reader: r, scan: s}
		all = append(all, h)
		ends[name] = start
	}
	live := slices.Clone(all)
	for i := 0; i < len(live); {
		more, err := m.advance(ctx, live[i], ends)
		if err != nil {
			return nil, err
		}
		if more {
			i++
		} else {
			live = slices.Delete(live, i, i+1)
		}
	}
	heap.Init(&live)
	var readers []*reader
	for _, h := range live {
		readers = append(readers, h.reader)
	}
	p := newReadingBar(ctx, readers...)
	defer p.finish()
	for len(live) > 0 {
		h := live[0]
		p.reach(h.reader.Topic, h.message.Offset)
		if err := m.print(h.reader, &h.message); err != nil {
			return nil, err
		}
		more, err := m.advance(ctx, h, ends)
		switch {
		case err != nil:
			return nil, err
		case more:
			heap.Fix(&live, 0)
		default:
			heap.Pop(&live)
		}
	}
	return ends, m.out.flush()
}

// advance goes on to the topic's next message, and reports whether there is one.
func (m *merge) advance(ctx context.Context, h *head, ends map[string]logd.Position) (more bool, err error) {
	h.message, err = h.scan.Next(ctx)
	switch {
	case err == nil && !h.reader.beyond(&h.message):
		h.reader.begun = true
		ends[h.reader.Topic] = logd.After(h.message.ID())
		return true, nil
	case err == nil || err == io.EOF:
		return false, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case m.flags.follow && errors.Is(err, logd.ErrNoTopic):
		delete(ends, h.reader.Topic)
		return false, nil
	}
	return false, h.reader.explained(ctx, h.scan.Err())
}

// print prints a message, if it is wanted.
func (m *merge) print(r *reader, message *logd.Message) error {
	if !r.wanted(message) {
		return nil
	}
	m.out.topic = r.Topic
	if err := m.out.print(message); err != nil {
		return err
	}
	if m.limit == 1 {
		return errEnough
	}
	m.limit = max(m.limit-1, 0)
	return nil
}

// arrival is a message that has come, or the end of its topic.
type arrival struct {
	reader  *reader
	message logd.Message
	err     error // of a topic that has ended
}

// follow prints what comes in the topics, each from where it ended on, and in those that
// are made meanwhile from their beginning.
func (m *merge) follow(ctx context.Context, ends map[string]logd.Position) error {
	client, err := endless(m.app)
	if err != nil {
		return err
	}
	defer client.Close()
	group, ctx := errgroup.WithContext(ctx)
	arrivals := make(chan arrival, 64)
	running := map[string]bool{}
	begin := func(name string, start logd.Position) {
		running[name] = true
		r := newReader(m.app, client, m.flags, name, m.out)
		r.begun = start != logd.AtOldest()
		group.Go(func() error { return r.send(ctx, start, arrivals) })
	}
	for name, start := range ends {
		begin(name, start)
	}
	found := make(chan []string)
	group.Go(func() error { return m.look(ctx, client, found) })
	err = func() error {
		for {
			if len(arrivals) == 0 {
				if err := m.out.flush(); err != nil {
					return err
				}
			}
			select {
			case a := <-arrivals:
				switch {
				case a.err == nil:
					if err := m.print(a.reader, &a.message); err != nil {
						return err
					}
				case errors.Is(a.err, logd.ErrNoTopic), errors.Is(a.err, logd.ErrTopicReplaced):
					m.app.Note("topic %q was removed", a.reader.Topic)
					delete(running, a.reader.Topic)
				default:
					return a.reader.explained(ctx, a.err)
				}
			case names := <-found:
				for _, name := range names {
					if !running[name] {
						begin(name, logd.AtOldest())
					}
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}()
	// Whoever sends or looks ends with the context.
	group.Go(func() error { return err })
	return group.Wait()
}

// look tells which topics there are, again and again.
func (m *merge) look(ctx context.Context, client *logd.Client, found chan<- []string) error {
	for {
		all, err := client.Topics(ctx)
		if err == nil {
			names := slices.DeleteFunc(all, func(name string) bool {
				return !slices.ContainsFunc(m.flags.topics, func(word string) bool { return cli.Glob(word, name) || word == name })
			})
			select {
			case found <- names:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-time.After(lookForTopics):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send sends what comes in the topic.
func (r *reader) send(ctx context.Context, start logd.Position, arrivals chan<- arrival) error {
	cfg := r.config(start)
	cfg.Follow, cfg.OnRetry = true, r.retrying
	cfg.ReadBytes, cfg.ReadAhead = 128<<10, 1
	s, err := logd.NewScanner(ctx, r.Client, r.Topic, cfg)
	var message logd.Message
	if err == nil {
		defer s.Close()
		for err == nil {
			if message, err = s.Next(ctx); err == nil {
				select {
				case arrivals <- arrival{reader: r, message: message.Copy()}:
				case <-ctx.Done():
				}
				r.begun = true
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case arrivals <- arrival{reader: r, err: err}:
	case <-ctx.Done():
	}
	return nil
}
