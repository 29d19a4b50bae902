package cluster

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/storage"
)

// disk does the tasks of all groups, one after another.
//
// A task for which there is no room is tried again, and what comes after it in its group
// waits: nothing of that is acknowledged meanwhile. What needs no room for bytes of topics
// gets some of the reserve. After any other error the group has failed; after one of the
// member log all have.
type disk struct {
	actor
	n   *Node
	log *grouplog.Log

	tasks   []diskTask // to be done, in the order of each group
	full    []bool     // by group: its first task found no room
	doubted []bool     // by group: it has failed
	reserve *reserve

	dirty   []*storage.Log // written since the last round began
	dirtyIn []int          // their groups
	waiting []written      // stores that are to be made durable, in order
	asked   bool           // somebody waits for a round

	peers    string        // what notePeers has noted
	position atomic.Uint64 // as others are told
	free     atomic.Int64
	noRoom   atomic.Bool  // the disk is full, for others than the disk
	since    atomic.Int64 // tick at which the task under way has begun; 0: none
}

type diskTask struct {
	group int
	task  group.Task
	// How far it was done before there was no room: what was written is not written again,
	// which would cut it off first.
	step, entries, runs int
}

// written is a store that is in the member log up to a position.
type written struct {
	group int
	seq   uint64
	pos   grouplog.Pos
}

// do has a task done.
func (d *disk) do(number int, t group.Task) {
	d.post(func() {
		d.tasks = append(d.tasks, diskTask{group: number, task: t})
		d.work()
	})
}

// tick tries again what found no room, and looks how much there is.
func (d *disk) tick() {
	if free, err := d.n.o.FS.Free(); err == nil {
		d.free.Store(free)
		d.reserve.fill(free)
	}
	clear(d.full)
	d.work()
	if d.noRoom.Load() && !d.reserve.short.Load() && !slices.Contains(d.full, true) {
		d.noRoom.Store(false)
		d.n.log.Info("there is room again")
	}
}

// work does tasks as long as there is room.
func (d *disk) work() {
	for i := 0; i < len(d.tasks) && d.n.Err() == nil; {
		if d.log.Full() && d.roll() {
			return
		}
		t := &d.tasks[i]
		if d.full[t.group] {
			i++
			continue
		}
		d.since.Store(max(d.n.ticks.Load(), 1))
		err := d.try(t)
		d.since.Store(0)
		if copies.NoRoom(err) {
			d.lacksRoom(t.group, err)
			if d.bytes(t) || !d.reserve.give() {
				d.full[t.group] = true
			}
			continue
		}
		number := t.group
		if i == 0 {
			d.tasks[0] = diskTask{}
			d.tasks = d.tasks[1:]
		} else {
			d.tasks = slices.Delete(d.tasks, i, i+1)
		}
		if err != nil {
			d.failed(number, err)
		}
	}
	if len(d.tasks) == 0 {
		d.tasks = nil
	}
	if d.asked {
		d.n.round.begin()
	}
}

// lacksRoom tells that the disk is full, also where the reserve helps: a leader hands its
// lead over to who has room.
func (d *disk) lacksRoom(number int, err error) {
	if !d.noRoom.Swap(true) {
		d.n.log.Warn("no room: what is written is not acknowledged until there is", "group", number, "err", err)
	}
}

// bytes reports whether bytes of topics are still to be written by a task, or a topic is
// to be made.
func (d *disk) bytes(t *diskTask) bool {
	switch task := t.task.(type) {
	case *group.Write:
		return true
	case *group.Store:
		for i := t.entries; i < len(task.Entries); i++ {
			switch task.Entries[i].Decoded.(type) {
			case entry.Create:
				return true
			case *entry.Round:
				if task.Bodies[i] != nil {
					return true
				}
			}
		}
	}
	return false
}

// roll begins a new file of the member log, if all of the old one is durable. It
// reports whether tasks are to wait for that.
func (d *disk) roll() (wait bool) {
	if d.n.round.under || d.log.Synced() != d.log.End() {
		d.asked = true
		d.n.round.begin()
		return true
	}
	if err := d.log.Roll(); err != nil && !copies.NoRoom(err) {
		d.failed(-1, err)
	}
	return false
}

// failed notes that a group has failed, or all for a number of -1.
func (d *disk) failed(number int, err error) {
	if number < 0 || errors.Is(err, grouplog.ErrFailed) {
		d.n.log.Error("the member log can't be written: this member takes no part any more until it is restarted", "err", err)
		for i := range d.doubted {
			d.doubted[i] = true
			d.n.core.post(func() { d.n.core.groups[i].g.Fail(); d.n.core.take(i) })
		}
		return
	}
	if d.doubted[number] {
		return
	}
	d.doubted[number] = true
	d.n.log.Error("group has failed: this member takes no part in it any more until it is restarted", "group", number, "err", err)
	d.n.core.post(func() { d.n.core.groups[number].g.Fail(); d.n.core.take(number) })
	// What the log names, and may not be there, is void: else nothing could be told to be
	// synced any more, of no group.
	if index := d.log.Unsynced(number); index > 0 {
		if err := d.log.Append(grouplog.Record{Kind: grouplog.Void, Group: number, Index: index}); err != nil {
			d.failed(-1, err)
			return
		}
	}
	d.asked = true
}

func (d *disk) try(t *diskTask) error {
	if d.doubted[t.group] {
		if w, ok := t.task.(*group.Write); ok {
			d.refuse(t.group, w, storage.ErrReadOnly)
		}
		return nil
	}
	if d.reserve.short.Load() && d.bytes(t) {
		if w, ok := t.task.(*group.Write); ok {
			d.refuse(t.group, w, storage.ErrReadOnly)
			return nil
		}
		return errReserve
	}
	switch task := t.task.(type) {
	case *group.Store:
		return d.store(t, task)
	case *group.Write:
		d.write(t.group, task)
		return nil
	case group.Lead:
		return d.lead(t.group, task)
	case group.Carry:
		return d.carry(t.group, task)
	case group.TakeOver:
		d.n.fetcher.TakeOver(t.group, task.Table, task.Old)
	case group.GiveUp:
		return d.giveUp(t.group, task)
	case group.Taken:
		return d.taken(t.group, task)
	}
	return nil
}

// wrote notes that a topic has something to sync.
func (d *disk) wrote(number int, l *storage.Log) {
	if !slices.Contains(d.dirty, l) {
		d.dirty = append(d.dirty, l)
		d.dirtyIn = append(d.dirtyIn, number)
	}
}

// store does a Store. What is void is durably so before anything is cut off, and the
// bytes of entries are there before the entries are in the log.
func (d *disk) store(t *diskTask, s *group.Store) error {
	ctx := context.Background()
	if t.step == 0 {
		var records []grouplog.Record
		if s.Hard {
			records = append(records, grouplog.Record{Kind: grouplog.Hard, Group: t.group, Term: s.Term, Vote: s.Vote})
		}
		if s.Void != 0 {
			records = append(records, grouplog.Record{Kind: grouplog.Void, Group: t.group, Index: s.Void})
		}
		if err := d.log.Append(records...); err != nil {
			return err
		}
		t.step = 1
	}
	if s.Void != 0 && t.step == 1 {
		if err := d.log.File().Sync(); err != nil {
			d.log.Fail(err)
			return fmt.Errorf("%w: %w", grouplog.ErrFailed, err)
		}
		for _, c := range s.Cuts {
			l := d.n.topics.Get(t.group, c.Topic)
			if l == nil || c.Offset >= l.Next() || c.Offset < l.Oldest() {
				continue
			}
			if err := copies.CutOff(ctx, l, c.Offset); err != nil {
				return final(l, err)
			}
			d.wrote(t.group, l)
		}
		for _, c := range s.Gone {
			if err := d.drop(t.group, c.Topic, c.ID); err != nil {
				return err
			}
		}
		t.step = 2
	}
	for ; t.entries < len(s.Entries); t.entries++ {
		if err := d.entry(t, &s.Entries[t.entries], s.Bodies[t.entries]); err != nil {
			return err
		}
		t.runs = 0
	}
	records := make([]grouplog.Record, 0, len(s.Entries)+2)
	for i := range s.Entries {
		e := &s.Entries[i]
		records = append(records, grouplog.Record{Kind: grouplog.Entry, Group: t.group, Index: e.Index, Term: e.Term, Type: e.Type, Data: e.Data})
	}
	if s.Commit != 0 {
		records = append(records, grouplog.Record{Kind: grouplog.Commit, Group: t.group, Index: s.Commit})
	}
	if s.Synced {
		records = append(records, grouplog.Record{Kind: grouplog.Synced})
	}
	if s.Table != nil {
		r, err := d.log.WriteTable(s.Table)
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	if err := d.log.Append(records...); err != nil {
		return err
	}
	d.waiting = append(d.waiting, written{t.group, s.Seq, d.log.End()})
	d.asked = d.asked || s.Sync
	return nil
}

// entry writes what an entry names.
func (d *disk) entry(t *diskTask, e *group.Entry, body group.Body) error {
	ctx, number := context.Background(), t.group
	switch data := e.Decoded.(type) {
	case entry.Create:
		l, err := d.n.o.Store.CreateAs(data.Name, data.ID, 0, data.Time)
		if err != nil {
			return err
		}
		d.n.topics.Put(number, data.Topic, l)
		d.wrote(number, l)
	case entry.Roll:
		l := d.n.topics.Get(number, data.Topic)
		if l == nil || l.Next() != data.Offset {
			return nil
		}
		if err := l.Roll(ctx, data.Offset); err != nil {
			return final(l, err)
		}
		d.wrote(number, l)
	case *entry.Round:
		runs, came := body.([]copies.Body)
		if !came {
			return nil // the leader has written them
		}
		for ; t.runs < len(data.Runs); t.runs++ {
			run, body := &data.Runs[t.runs], &runs[t.runs]
			l := d.n.topics.Get(number, run.Topic)
			if l == nil || run.End() <= l.Begin() {
				continue // others have said that it is gone
			}
			_, err := l.AppendRun(ctx, &storage.Run{
				Offset: run.Offset, Millis: run.Time, Roll: run.Roll, Data: body.Data, Extents: body.Extents,
			})
			if err != nil {
				return final(l, err)
			}
			d.wrote(number, l)
		}
	}
	return nil
}

// lead cuts off what topics have behind the ends that a new leader begins with.
func (d *disk) lead(number int, t group.Lead) error {
	for _, p := range t.Topics {
		l := d.n.topics.Get(number, p.Number)
		if l == nil || l.Next() <= p.End {
			continue
		}
		if err := copies.CutOff(context.Background(), l, p.End); err != nil {
			return final(l, err)
		}
		d.wrote(number, l)
	}
	return nil
}

// write appends what clients have sent.
func (d *disk) write(number int, w *group.Write) {
	ctx := context.Background()
	runs := make([]group.WrittenRun, len(w.Runs))
	for i := range w.Runs {
		run := &w.Runs[i]
		l := d.n.topics.Get(number, run.Topic.Number)
		if l == nil {
			runs[i].Err = group.ErrUnknown
			continue
		}
		if len(d.n.topics.Damage(l)) > 0 && numbered(run.Requests) {
			// What is damaged may be the batch that one of these was before.
			runs[i].Err = group.ErrBusy
			continue
		}
		led := &storage.LedRun{Offset: run.Offset, Millis: d.n.now()}
		if size := d.n.o.PartitionSize; size != nil {
			led.PartitionSize = size()
		}
		if d.n.o.Own != nil {
			if k, ok := d.n.o.Own(l.Name()); ok {
				led.PartitionSize = k.PartitionSize
			}
		}
		for _, q := range run.Requests {
			led.Parts = append(led.Parts, q.Data.(*request).part)
		}
		result, err := l.AppendLed(ctx, led)
		if err != nil {
			runs[i].Err = err
			if errors.Is(err, storage.ErrInDoubt) || l.Failed() != nil {
				d.failed(number, err)
			}
			continue
		}
		d.wrote(number, l)
		if result.Roll {
			d.n.keeper.soon()
		}
		for k, q := range run.Requests {
			q.Data.(*request).result = result.Parts[k]
		}
		runs[i] = group.WrittenRun{
			Bytes: result.Bytes, Batches: result.Batches, Messages: result.Messages, CRC: result.CRC, Time: result.Millis, Roll: result.Roll,
		}
	}
	d.n.core.post(func() { d.n.core.groups[number].g.Written(w, runs); d.n.core.take(number) })
}

// numbered reports whether there are numbered batches in the requests.
func numbered(requests []*group.Request) bool {
	for _, q := range requests {
		if slices.ContainsFunc(q.Data.(*request).part.Extents, func(x batch.Extent) bool { return x.Numbered }) {
			return true
		}
	}
	return false
}

func (d *disk) refuse(number int, w *group.Write, err error) {
	runs := make([]group.WrittenRun, len(w.Runs))
	for i := range runs {
		runs[i].Err = err
	}
	d.n.core.post(func() { d.n.core.groups[number].g.Written(w, runs); d.n.core.take(number) })
}

// carry does what is certain.
func (d *disk) carry(number int, c group.Carry) error {
	defer d.n.core.post(d.n.core.lookAtWaiters)
	l := d.n.topics.Get(number, c.Topic.Number)
	if l == nil {
		return nil
	}
	switch what := c.What.(type) {
	case entry.Create:
		return d.n.o.Store.TakeName(l)
	case entry.Trim:
		if err := l.AdvanceOldest(what.Offset); err != nil {
			return final(l, err)
		}
		d.wrote(number, l)
	case entry.Delete:
		return d.remove(number, c.Topic.Number, l, what.Now)
	}
	return nil
}

// remove deletes a topic's files.
func (d *disk) remove(number int, topic uint32, l *storage.Log, now bool) error {
	d.n.topics.Put(number, topic, nil)
	d.clean(l)
	if !l.Named() {
		return d.n.o.Store.DropNew(l)
	}
	id := l.ID()
	err := d.n.o.Store.Delete(context.Background(), l.Name(), hex.EncodeToString(id[:]), now)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // it is gone
	}
	return err
}

// drop removes a topic that is not to be.
func (d *disk) drop(number int, topic uint32, id entry.ID) error {
	l := d.n.o.Store.ByID(id)
	if l == nil {
		return nil
	}
	return d.remove(number, topic, l, false)
}

// clean forgets that a topic has something to sync.
func (d *disk) clean(l *storage.Log) {
	if i := slices.Index(d.dirty, l); i >= 0 {
		d.dirty = slices.Delete(d.dirty, i, i+1)
		d.dirtyIn = slices.Delete(d.dirtyIn, i, i+1)
	}
}

// giveUp notes what a takeover has cut off as lost, and tells the group.
func (d *disk) giveUp(number int, g group.GiveUp) error {
	d.n.fetcher.Drop(number)
	logs := make([]*storage.Log, 0, len(g.Topics))
	for i := range g.Topics {
		l, err := d.n.topics.Fit(&g.Topics[i], g.Topics[i].Oldest, 0)
		if err != nil {
			return err
		}
		d.n.topics.Put(number, g.Topics[i].Number, l)
		logs = append(logs, l)
	}
	for _, err := range d.n.topics.Sync(logs, nil) {
		if err != nil {
			return err
		}
	}
	d.n.core.post(func() {
		d.n.nameAll(number)
		d.n.core.lookForTrouble()
		d.n.core.groups[number].g.GaveUp()
		d.n.core.take(number)
	})
	return nil
}

// taken has the topics of a table that is in force take their names.
func (d *disk) taken(number int, t group.Taken) error {
	has := func(id entry.ID) bool {
		return slices.ContainsFunc(t.Logged, func(p entry.Topic) bool { return p.ID == id })
	}
	for _, t := range d.n.topics.All() {
		if t.Group == number && !has(t.Log.ID()) {
			if err := d.remove(number, t.Number, t.Log, false); err != nil {
				return err
			}
		}
	}
	for _, l := range d.n.topics.Stored() { // and those that the log does not know at all
		if GroupOf(l.Name(), d.n.member.Groups) == number && !has(l.ID()) {
			if err := d.remove(number, ^uint32(0), l, false); err != nil {
				return err
			}
		}
	}
	for _, p := range t.Table.Topics {
		l := d.n.o.Store.ByID(p.ID)
		if l == nil {
			return fmt.Errorf("cluster: topic %s of a table is not there", p.Name)
		}
		if err := d.n.o.Store.TakeName(l); err != nil {
			return err
		}
		d.n.topics.Put(number, p.Number, l)
		l.SetReadable(p.End)
	}
	d.n.core.post(func() { d.n.nameAll(number) })
	return nil
}

// close closes the member log, when nothing is to be done any more.
func (d *disk) close() error { return d.log.Close() }

// final makes the error of a topic that has failed one that is not tried again,
// whatever its cause was.
func final(l *storage.Log, err error) error {
	if failed := l.Failed(); failed != nil {
		return errors.New(failed.Error())
	}
	return err
}

// errReserve is room that is held for what makes room.
var errReserve = fmt.Errorf("cluster: what is left is held in reserve: %w", syscall.ENOSPC)
