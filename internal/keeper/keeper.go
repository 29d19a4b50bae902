// Package keeper keeps the positions of consumers in a topic of the server's own,
// topic.Positions, by the rules of package positions.
//
// A [Keeper] has a table of what that topic says. To change it, it takes all that waits,
// judges it on the table, appends one batch of records at the offset up to which it has
// read, and reads them back when they are committed. If something else was appended
// meanwhile, by who led the topic before, nothing of the batch is stored: the keeper reads
// on and judges again. So the table is always what the topic says up to some offset, and
// nobody is answered before his record is as durable as an acknowledged batch.
//
// Where another server leads the topic, the table follows it, whenever it is asked for
// something. All methods of a Keeper are safe for concurrent use.
package keeper

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/positions"
	"github.com/logd-dev/logd/internal/topic"
)

// Options are what a Keeper is made of. Store is required.
type Options struct {
	Store topic.Store
	// Fresh returns when Store has all of a topic that any server had acknowledged before
	// the call. Default: Store always has.
	Fresh  func(ctx context.Context, name []byte) error
	Rules  positions.Rules
	Logger *slog.Logger // default: discard

	// For tests. SnapshotAfter is after how many bytes of records a snapshot is written, at
	// least; default 4 MiB. Now is the time; default: the system's.
	SnapshotAfter int64
	Now           func() time.Time
}

// Keeper keeps positions. Create it with New.
type Keeper struct {
	o     Options
	log   *slog.Logger
	rules atomic.Pointer[positions.Rules]
	begun time.Time // of the clock that holds go by

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	queue  *queue
	ended  chan struct{}
	begin  sync.Once

	// Of run, and of Open, which comes before it.
	crowd   crowding
	raised  bool  // versions go on behind those that were given out and are lost
	synced  bool  // a record of this process is on stable storage
	retry   int64 // a snapshot that has failed is tried again behind this offset
	trimmed int64 // up to where it was asked that old records go

	mu    sync.Mutex
	table *positions.Table
	of    topic.Log // that the table was read from; nil: none
	read  int64     // up to where
	snaps snapshots
	owed  map[positions.Key]batch.Place // positions that are to be set back to there

	surveying sync.Mutex
	surveyed  map[positions.Key]positions.Status // the last time
}

// snapshots are where in the topic snapshots are.
type snapshots struct {
	under      int64 // the one that is being read begins there
	begin, end int64 // of the last whole one; both 0 if there is none
}

// request is a change on its way.
type request struct {
	change  positions.Change
	version int64
	err     error
	done    chan struct{}
}

// New returns a keeper. Nothing is read yet.
func New(o Options) *Keeper {
	if o.Fresh == nil {
		o.Fresh = func(context.Context, []byte) error { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SnapshotAfter == 0 {
		o.SnapshotAfter = 4 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	k := &Keeper{o: o, log: o.Logger, begun: time.Now(), queue: newQueue(), ended: make(chan struct{})}
	k.rules.Store(&o.Rules)
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.forget()
	return k
}

// SetRules puts other rules in force.
func (k *Keeper) SetRules(r positions.Rules) { k.rules.Store(&r) }

// Rules returns the rules that are in force.
func (k *Keeper) Rules() positions.Rules { return *k.rules.Load() }

// Close ends what waits, with topic.ErrClosed, or ErrInDoubt if it may be stored.
func (k *Keeper) Close() {
	k.cancel()
	k.begin.Do(func() { close(k.ended) })
	<-k.ended
}

// clock is what holds go by.
func (k *Keeper) clock() time.Duration { return k.o.Now().Sub(k.begun) }

// Change has something done to a position, and returns the version that it has then.
// When it returns nil that is as durable as an acknowledged batch. The topic may not be
// given: it is looked up. If the id is given, and the topic has another one, the error is
// topic.ErrNotFound. Other errors are those of positions.Draft and of a topic's Append. A done
// ctx ends the waiting, with topic.ErrInDoubt if the change is on its way.
func (k *Keeper) Change(ctx context.Context, c positions.Change) (version int64, err error) {
	id, err := k.idOf(ctx, c.Topic)
	if err != nil {
		return 0, err
	}
	if c.ID != "" && !sameID(c.ID, id) {
		return 0, topic.ErrNotFound
	}
	c.ID = id
	r := &request{change: c, done: make(chan struct{})}
	k.begin.Do(func() { go k.run() })
	k.queue.add(r)
	select {
	case <-r.done:
		return r.version, r.err
	case <-k.ctx.Done():
		if k.queue.remove(r) {
			return 0, topic.ErrClosed
		}
	case <-ctx.Done():
		if k.queue.remove(r) {
			return 0, topic.ErrBusy
		}
	}
	select { // it is on its way
	case <-r.done:
		return r.version, r.err
	case <-ctx.Done():
		return 0, errors.Join(topic.ErrInDoubt, ctx.Err())
	}
}

// maxRecords bounds the records of a batch, in bytes.
const maxRecords = 60 << 10

// maxWaiting bounds the changes that are judged together.
const maxWaiting = 1024

// run does all changes.
func (k *Keeper) run() {
	defer close(k.ended)
	for {
		select {
		case <-k.queue.ready:
		case <-k.ctx.Done():
			return
		}
		if k.crowd.wait(k.ctx); k.ctx.Err() != nil {
			return
		}
		all := k.queue.take(maxWaiting)
		k.crowd.took(all)
		for len(all) > 0 {
			all = k.serve(all)
		}
		k.compact()
	}
}

// serve does the first of the changes, as many as fit in a batch, and returns the others.
func (k *Keeper) serve(all []*request) (rest []*request) {
	for {
		n, err := k.try(all)
		if errors.Is(err, topic.ErrOffset) {
			if k.grown() {
				continue // what has come in between is read first
			}
			n, err = len(all), topic.ErrClosed
		}
		for _, r := range all[:n] {
			if err != nil {
				r.version, r.err = 0, err
			}
			close(r.done)
		}
		return all[n:]
	}
}

// grown returns when the topic has more than was read, or soon: what somebody has appended
// may yet become readable, or not. It reports false if the keeper is closed.
func (k *Keeper) grown() bool {
	k.mu.Lock()
	log, read := k.of, k.read
	k.mu.Unlock()
	w := make(waker, 1)
	if log == nil || !log.Watch(read, w) {
		return k.ctx.Err() == nil
	}
	defer log.Unwatch(w)
	soon := time.NewTimer(100 * time.Millisecond)
	defer soon.Stop()
	select {
	case <-w:
	case <-soon.C:
	case <-k.ctx.Done():
		return false
	}
	return true
}

// waker is woken once.
type waker chan struct{}

func (w waker) Wake() { w <- struct{}{} }

// try judges changes, and has stored what comes of the first n of them. With an error none
// of these is done; unless it is ErrInDoubt nothing is stored.
func (k *Keeper) try(all []*request) (n int, err error) {
	log, err := k.o.Store.Create(k.ctx, []byte(topic.Positions))
	if err == nil {
		err = k.settle(log)
	}
	if err != nil {
		return len(all), err
	}
	d, read, err := k.draft()
	if err != nil {
		return len(all), err
	}
	for n < len(all) && (n == 0 || d.Size() < maxRecords-512) {
		r := all[n]
		r.version, r.err = d.Do(&r.change)
		n++
	}
	if len(d.Lines()) == 0 {
		// What it was judged by must not be older than what another has answered.
		err = k.o.Fresh(k.ctx, []byte(topic.Positions))
	} else {
		err = k.store(log, read, !k.synced, d.Lines())
	}
	if err != nil {
		return n, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	d.Renew()
	return n, k.catchUp()
}

// draft begins changes of the table when it has all that is in the topic up to read.
func (k *Keeper) draft() (d *positions.Draft, read int64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.catchUp(); err != nil {
		return nil, 0, err
	}
	if v := k.table.Version(); !k.raised && v > 0 {
		k.table.Raise(v + positions.Jump)
	}
	k.raised = true
	return k.table.Draft(k.Rules(), k.o.Now(), k.clock()), k.read, nil
}

// store appends records at an offset, a batch for each group of lines, and returns when
// they are committed, and on stable storage if sync is set.
func (k *Keeper) store(log topic.Log, offset int64, sync bool, groups ...[][]byte) error {
	var data []byte
	var extents []batch.Extent
	var b batch.Builder
	for _, lines := range groups {
		b.Reset()
		for _, line := range lines {
			b.Add(line)
		}
		wire := b.Finish(topic.Positions)
		data = append(data, wire...)
		extents = append(extents, batch.Extent{Len: int64(len(wire)), Messages: int32(len(lines))})
	}
	a, err := log.AppendAt(k.ctx, offset, data, extents)
	switch {
	case err != nil && a.Batches > 0:
		return errors.Join(topic.ErrInDoubt, err) // a part of it is there
	case err != nil:
		return err
	}
	if err := log.Commit(k.ctx, a); err != nil {
		return err
	}
	if sync {
		if err := log.SyncTo(k.ctx, a.End); err != nil {
			return errors.Join(topic.ErrInDoubt, err)
		}
		k.synced = true
	}
	return nil
}

// compact writes a snapshot if there is much before it, and has that go. What fails is
// tried again later: nothing is lost by it but room.
func (k *Keeper) compact() {
	k.mu.Lock()
	log, s, read := k.of, k.snaps, k.read
	k.mu.Unlock()
	if log == nil || k.ctx.Err() != nil {
		return
	}
	if read-s.end > max(k.o.SnapshotAfter, 2*(s.end-s.begin)) && read > k.retry {
		if err := k.snapshot(log); err != nil {
			k.log.Warn("a snapshot of the positions of consumers is not written; it is tried again later", "topic", topic.Positions, "err", err)
			k.retry = read + k.o.SnapshotAfter/4
			return
		}
		k.mu.Lock()
		s = k.snaps
		k.mu.Unlock()
	}
	if s.end > s.begin && s.begin > log.Oldest() && k.trimmed != s.begin {
		k.trimmed = s.begin // once: what it can't remove the next one does
		if _, err := log.Trim(k.ctx, s.begin); err != nil {
			k.log.Warn("old records of the positions of consumers are not removed; it is tried again with the next snapshot", "topic", topic.Positions, "err", err)
		}
	}
}

// snapshot writes the whole table, without the positions of topics that there are no more,
// at the beginning of a partition.
func (k *Keeper) snapshot(log topic.Log) error {
	if err := k.sweep(log); err != nil {
		return err
	}
	_, read, err := k.draft()
	if err != nil {
		return err
	}
	if err := log.Roll(k.ctx, read); err != nil {
		return err
	}
	k.mu.Lock()
	groups := k.table.Snapshot(k.clock(), maxRecords)
	k.mu.Unlock()
	if err := k.store(log, read, true, groups...); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.catchUp()
}

// sweep removes the positions of topics that were deleted.
func (k *Keeper) sweep(log topic.Log) error {
	return k.amend(log, false, func(d *positions.Draft, p *positions.Position) {
		if k.gone(p) {
			d.Remove(p.Key)
		}
	})
}

// amend has all positions looked at, and stored what a draft has of it, durably if sync
// is set.
func (k *Keeper) amend(log topic.Log, sync bool, look func(*positions.Draft, *positions.Position)) error {
	for {
		d, read, err := k.draft()
		if err != nil {
			return err
		}
		k.mu.Lock()
		for _, p := range k.table.All() {
			if look(d, p); d.Size() > maxRecords {
				break // the others the next time
			}
		}
		k.mu.Unlock()
		if len(d.Lines()) == 0 {
			return nil
		}
		if err := k.store(log, read, sync, d.Lines()); err != nil {
			return err
		}
	}
}

// gone reports whether it is known for good that the topic of a position was deleted.
func (k *Keeper) gone(p *positions.Position) bool {
	l, err := k.o.Store.Log([]byte(p.Topic))
	if errors.Is(err, topic.ErrNotFound) {
		_, broken := k.o.Store.BrokenInfo(p.Topic)
		return !broken
	}
	return err == nil && !sameID(l.HexID(), p.ID)
}

// Open reads what there is, and sets back the positions that are beyond the end of their
// topic: a power cut may have taken what lies before them. It is for a server that is in
// no cluster, before anything is appended to a topic. What it has set back is on stable
// storage when it returns. If there is no room for that, the positions are told as set
// back all the same, and no other changes are taken before it.
func (k *Keeper) Open() error {
	log, err := k.o.Store.Log([]byte(topic.Positions))
	if errors.Is(err, topic.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = k.compare()
	}
	if err != nil || len(k.owed) == 0 {
		return err
	}
	if err = k.settle(log); errors.Is(err, topic.ErrReadOnly) {
		k.log.Error("positions are not set back on the disk yet; no others are saved before that", "err", err)
		return nil
	}
	return err
}

// compare finds the positions that are beyond the end of their topic.
func (k *Keeper) compare() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.catchUp(); err != nil {
		return err
	}
	for p := range k.table.Each() {
		l, err := k.o.Store.Log([]byte(p.Topic))
		if err != nil || !sameID(l.HexID(), p.ID) {
			continue
		}
		next := batch.Place{Offset: l.Readable()}
		if !next.Before(p.At) {
			continue
		}
		if k.owed == nil {
			k.owed = make(map[positions.Key]batch.Place)
		}
		k.owed[p.Key] = next
		k.log.Warn("a position was beyond the end of its topic, and is set back to it: what lay before it is lost",
			"topic", p.Topic, "consumer", p.Consumer, "at", string(batch.AppendPlace(nil, p.At)), "next", next.Offset)
	}
	return nil
}

// settle sets back the positions that are to be.
func (k *Keeper) settle(log topic.Log) error {
	if len(k.owed) == 0 { // only Open adds to them
		return nil
	}
	err := k.amend(log, true, func(d *positions.Draft, p *positions.Position) {
		if at, ok := k.owed[p.Key]; ok && at.Before(p.At) {
			d.StepBack(p, at)
		}
	})
	if err == nil {
		k.mu.Lock()
		k.owed = nil
		k.mu.Unlock()
	}
	return err
}
