package deliver

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/ledger"
	"github.com/logd-dev/logd/internal/forward/render"
	"github.com/logd-dev/logd/internal/forward/segment"
	"github.com/logd-dev/logd/internal/forward/spool"
)

// DeadDir is the folder of what the server does not take, in the state folder.
const DeadDir = "dead"

// open opens what is in the state folder, and puts in line what was on its way.
func (d *Delivery) open() (err error) {
	var damage, found []segment.Damage
	if d.ledger, damage, err = ledger.Open(d.cfg.FS, d.cfg.LedgerBytes); err != nil {
		return err
	}
	if d.spool, found, err = spool.Open(d.cfg.FS, d.cfg.SpoolBytes, func(n uint64) error { return d.ledger.SpoolGone(n) }); err != nil {
		return errors.Join(err, d.ledger.Close())
	}
	lost := found
	damage = append(damage, found...)
	if d.dead, found, err = segment.Open(d.cfg.FS, DeadDir, segment.Options{Form: "logd-forwarder-dead", Version: 1, Size: 8 << 20}); err != nil {
		return errors.Join(err, d.spool.Close(), d.ledger.Close())
	}
	for _, x := range append(damage, found...) {
		d.log.Warn("damage in the state folder", "found", x.String())
	}
	for _, x := range lost {
		if !x.Torn {
			h := feed.Hole{Kind: feed.Damaged, From: x.At, To: x.At + x.Bytes, Messages: -1, Bytes: x.Bytes, Cause: x.String()}
			d.Counters("spool").hole(&h)
			d.later("spool", h)
		}
	}
	d.dead.Each(segment.Ref{}, func(segment.Ref, uint32, []byte) error {
		d.deadN++
		return nil
	})
	return d.resume()
}

// resume puts in line what earlier runs have not delivered: first what they have sent, as
// they sent it, then what else is in the spool.
func (d *Delivery) resume() error {
	var unanswered []*ledger.Sent
	var done []segment.Ref
	made := map[string]bool{}
	positions := map[int64]int64{}
	d.ledger.Look(func(s *ledger.State) {
		unanswered = s.Unanswered()
		for ref := range s.SpoolDone {
			done = append(done, ref)
		}
		for topic := range s.Topics {
			made[topic] = true
		}
		for id, src := range s.Sources {
			positions[id] = src.Position
		}
	})
	d.made = len(made)
	if err := d.ledger.Started(ledger.Start{PID: d.pid, Time: time.Now().UnixNano()}); err != nil {
		return err
	}
	for _, ref := range done {
		if err := d.spool.Done(ref); err != nil {
			return err
		}
	}
	records, err := d.withoutParts()
	if err != nil {
		return err
	}
	live := map[segment.Ref]spool.Record{}
	for _, r := range records {
		live[r.Ref] = r
	}
	for i, s := range unanswered {
		// It came to the spool, and a kill came before the ledger was told.
		k := slices.IndexFunc(records, func(r spool.Record) bool { return s.Spool == nil && r.Sent != nil && *r.Sent == s.Key })
		if k < 0 {
			continue
		}
		known := *s
		known.Spool = &records[k].Ref
		unanswered[i] = &known
		if err := d.ledger.Sent(&known); err != nil {
			return err
		}
	}
	for _, r := range inOrder(records) {
		// What is in the spool need not be read again. The source of what was put there
		// out of turn is lost, and what is missing before it will show.
		for _, run := range r.Runs {
			if at, ok := positions[run.Source]; ok && run.From.At <= at && run.To.At > at {
				positions[run.Source] = run.To.At
				if err := d.ledger.Moved(ledger.Pos{Source: run.Source, Position: run.To, Anchor: run.Anchor}); err != nil {
					return err
				}
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	lane := func(topic string) *lane {
		l := d.lanes[topic]
		if l == nil {
			l = d.begin(topic)
			l.made = made[topic]
		}
		return l
	}
	queue := func(b *batch) {
		for _, r := range b.runs {
			d.countersOf(r.Input).took(r.Lines, r.Bytes)
		}
		b.lane.mu.Lock()
		i := len(b.lane.queue)
		if b.place != nil { // a part of a batch that others were sent behind
			behind := func(o *batch) bool { return slices.CompareFunc(o.order(), b.order(), segment.Ref.Compare) > 0 }
			if k := slices.IndexFunc(b.lane.queue, behind); k >= 0 {
				i = k
			}
		}
		b.lane.queue = slices.Insert(b.lane.queue, i, b)
		b.lane.mu.Unlock()
		poke(b.lane.wake)
	}
	for _, s := range unanswered {
		b := &batch{
			lane: lane(s.Topic), runs: s.Runs, marks: make([]*mark, len(s.Runs)), skip: s.Skip, messages: s.Messages, taken: time.Unix(0, s.Time),
			key: s.Key, sent: true, numbered: s.Numbered, doubt: true, early: true, crc: s.CRC,
		}
		for _, r := range s.Runs {
			b.bytes += r.Bytes
		}
		if s.Spool != nil {
			b.rec, b.spooling, b.safe = *s.Spool, true, true
			b.place = live[b.rec].Place
			delete(live, *s.Spool)
			queue(b)
			continue
		}
		b.making = true
		for i, r := range s.Runs {
			m := &mark{from: r.From, to: r.To, anchor: r.Anchor, batches: 1}
			b.marks[i] = m
			d.olds[r.Source] = append(d.olds[r.Source], &old{b, m})
		}
		d.toMake = append(d.toMake, b)
		queue(b)
	}
	for _, r := range inOrder(records) {
		if _, ok := live[r.Ref]; !ok {
			continue
		}
		b := &batch{
			lane: lane(r.Topic), runs: r.Runs, marks: make([]*mark, len(r.Runs)), messages: r.Messages, taken: time.Unix(0, r.Time),
			rec: r.Ref, spooling: true, safe: true,
		}
		b.place = r.Place
		for _, run := range r.Runs {
			b.bytes += run.Bytes
		}
		queue(b)
	}
	return nil
}

// withoutParts returns what is in the spool without what has not come to take the place of
// another record there, which was never sent: see replaced.
func (d *Delivery) withoutParts() ([]spool.Record, error) {
	records := d.spool.Live()
	live := map[segment.Ref]bool{}
	for _, r := range records {
		live[r.Ref] = true
	}
	for _, r := range records {
		if n := len(r.Place); n == 0 || !live[r.Place[n-1]] {
			continue
		}
		if err := errors.Join(d.ledger.Replaced(r.Ref, ledger.Key{}, 0), d.spool.Done(r.Ref)); err != nil {
			return nil, err
		}
	}
	return d.spool.Live(), nil
}

// inOrder returns records so that those of one file stand in its order, in the places that
// they have: what was offered of it first may have come to the spool last. See spill.
func inOrder(records []spool.Record) []spool.Record {
	places := map[int64][]int{}
	first := func(r *spool.Record) (source, from int64) {
		for _, run := range r.Runs {
			if run.Source != 0 {
				return run.Source, run.From.At
			}
		}
		return 0, 0
	}
	for i := range records {
		if source, _ := first(&records[i]); source != 0 {
			places[source] = append(places[source], i)
		}
	}
	sorted := slices.Clone(records)
	for _, all := range places {
		some := make([]spool.Record, len(all))
		for k, i := range all {
			some[k] = records[i]
		}
		slices.SortStableFunc(some, func(a, b spool.Record) int {
			_, x := first(&a)
			_, y := first(&b)
			return cmp.Compare(x, y)
		})
		for k, i := range all {
			sorted[i] = some[k]
		}
	}
	return sorted
}

// Recover makes the batches again that earlier runs have sent from what can be read again,
// and that have no answer. It is called once the inputs have found what there is to read:
// of a source that is not there by then the batch is a hole.
func (d *Delivery) Recover() {
	d.mu.Lock()
	all := d.toMake
	d.toMake = nil
	d.mu.Unlock()
	d.helpers.Go(func() {
		for _, b := range all {
			err := d.remake(b)
			if d.life.Err() != nil {
				return
			}
			if err != nil {
				b.lane.giveUp(b, feed.Unknown, err.Error())
				poke(b.lane.wake)
				continue
			}
			b.lane.mu.Lock()
			b.making = false
			b.lane.mu.Unlock()
			poke(b.lane.wake)
		}
	})
}

// remake reads the lines of a batch again.
func (d *Delivery) remake(b *batch) error {
	topic := b.key.Topic
	skip, left := b.skip, b.messages
	var out logd.Batch
	var scratch, name []byte
	for _, r := range b.runs {
		d.mu.Lock()
		src := d.sources[r.Source]
		in := d.inputs[r.Input]
		d.mu.Unlock()
		if src == nil || src.replay == nil {
			return errors.New("what the batch was made of is not there")
		}
		src.mu.Lock()
		fixed, wild := src.topic != "", src.file.Wild
		src.mu.Unlock()
		format := render.Raw
		if r.Format == render.JSON.String() {
			format = render.JSON
		}
		err := src.replay.Replay(d.life, r.How, r.From, r.To, func(line *feed.Line) error {
			wanted := ""
			if in.Topic != nil {
				name = src.topicOf(name[:0], &in, &line.Message, r.Path, wild)
				wanted = string(name)
			}
			switch {
			case wanted == topic:
				wanted = ""
			case fixed && topic != d.cfg.Fallback:
				wanted = "" // the input's topic is another one today
			case !fixed && topic != d.cfg.Fallback:
				return nil
			}
			if skip > 0 {
				skip--
				return nil
			}
			if left == 0 {
				return nil
			}
			left--
			if format == render.Raw {
				out.Add(line.Body)
				return nil
			}
			facts := render.Facts{Time: b.taken, Host: d.cfg.Host, Input: r.Input, File: r.Path, Offset: line.From.At, Topic: wanted}
			scratch = render.AppendBody(scratch[:0], format, &facts, &line.Message)
			out.Add(scratch)
			return nil
		})
		if err != nil {
			return fmt.Errorf("what the batch was made of can't be read again: %w", err)
		}
	}
	if left > 0 {
		return fmt.Errorf("of the batch's %d messages %d are not there any more", b.messages, left)
	}
	stored, err := logd.ParseBatch(out.Raw(topic))
	if err != nil || stored.Checksum() != b.crc {
		return errors.New("what the batch was made of has changed")
	}
	b.lane.mu.Lock()
	defer b.lane.mu.Unlock()
	b.b = out
	b.cost = costs(int(b.messages), b.bytes)
	b.lane.mem += b.cost
	d.mem.Add(b.cost)
	return nil
}
