package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/logd-dev/logd/internal/cluster/catchup"
	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/storage"
)

// Open makes a member of what is in the work directory. It does nothing by itself until
// Run, or Step. What it relies on is on stable storage when it returns:
//
//  1. The store has opened the topics: torn ends are cut off, damage is set aside, and
//     what it did not know to be synced is written again and synced, since a page whose
//     sync failed can be read and will be gone.
//  2. The member log is read. S is up to where it, and all bytes that it names, were on
//     stable storage.
//  3. Runs that are named at or after S are checked. The first that fails ends the log
//     of its group there: nothing from there on was answered. After a mere kill, when
//     what was written is there, it is damage, as before S.
//  4. The member log is written again, with what its groups say then.
//  5. The topics are made to fit the log: what no record names is cut off, what is
//     missing is damage.
//
// The error is ErrLostLog if the member log is damaged, or missing: the member must
// not go on under its id.
func Open(o Options) (*Node, error) {
	for name, err := range o.Store.Broken() {
		// It may have what was acknowledged, and must not be taken for missing.
		return nil, fmt.Errorf("topic %s can't be opened: %w", name, err)
	}
	rec, err := grouplog.Open(o.FS)
	if errors.Is(err, grouplog.ErrDamaged) {
		return nil, fmt.Errorf("%w: %w", ErrLostLog, err)
	}
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Tick <= 0 {
		o.Tick = 100 * time.Millisecond
	}
	if o.Timeout <= 0 {
		o.Timeout = 15 * time.Second
	}
	if o.DeleteAfter <= 0 {
		o.DeleteAfter = 24 * time.Hour
	}
	if o.Observer == nil {
		o.Observer = noObserver{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Node{o: o, member: rec.Member, log: o.Logger, stop: make(chan struct{}), closed: make(chan struct{}), lost: make(map[entry.ID][]storage.Range)}
	n.core = core{actor: newActor(), n: n, peers: make(map[uint64]*peerState)}
	n.free.Store(-1)
	n.latest.Store(math.MaxInt64)
	n.disk = disk{actor: newActor(), n: n, full: make([]bool, rec.Member.Groups), doubted: make([]bool, rec.Member.Groups)}
	n.round = round{actor: newActor(), n: n}
	n.keeper = keeper{actor: newActor(), n: n}
	n.topics = copies.New(o.Store, n.log)
	n.fetcher = fetcher{newActor(), catchup.New(catchup.Options{
		ID: rec.Member.ID, Groups: rec.Member.Groups, Member: fetching{n}, Source: o.Transport, Store: o.Store, Copies: n.topics,
		Logger: n.log, Rate: o.CatchUpRate, Tick: o.Tick,
	})}

	for i := range rec.Groups {
		if err := n.checkYoung(rec, i); err != nil {
			return nil, err
		}
	}
	states := make([]group.State, len(rec.Groups))
	for i := range rec.Groups {
		if states[i], err = stateOf(rec, i); err != nil {
			return nil, err
		}
	}
	if n.disk.log, err = rec.Start(o.Boot); err != nil {
		return nil, err
	}
	n.disk.position.Store(n.disk.log.Position())
	known := make(map[entry.ID]bool)
	var touched []*storage.Log
	for i, state := range states {
		cg := &coreGroup{
			number:   i,
			g:        group.New(group.Config{Number: uint16(i), ID: n.member.ID, Start: o.Start}, state),
			verdicts: make(map[verdictKey]*verdict), fresh: make(map[uint64]func(error)), seen: make(map[uint32][]storage.Range),
		}
		n.core.groups = append(n.core.groups, cg)
		logs, err := n.fitAll(i, cg.g, known)
		if err != nil {
			return nil, err
		}
		touched = append(touched, logs...)
	}
	if err := n.removeUnknown(known); err != nil {
		return nil, err
	}
	if err := n.nameTopics(); err != nil {
		return nil, err
	}
	if err := errors.Join(n.topics.Sync(touched, nil)...); err != nil {
		return nil, err
	}
	n.lost = nil
	if n.disk.reserve, err = openReserve(o.FS, o.Reserve); err != nil {
		n.log.Warn("no room, or less, is held in reserve for when the disk is full", "want", o.Reserve, "held", n.disk.reserve.held, "err", err)
	}
	n.disk.free.Store(-1)
	if free, err := o.FS.Free(); err == nil {
		n.disk.free.Store(free)
	}
	n.admitted = admittedBy(o.FS)
	n.core.publish(true)
	n.core.lookForTrouble()
	for i := range n.core.groups {
		n.nameAll(i)
		n.core.take(i)
	}
	return n, nil
}

// stateOf returns what the member log says of a group.
func stateOf(rec *grouplog.Recovery, number int) (group.State, error) {
	g := &rec.Groups[number]
	s := group.State{Term: g.Term, Vote: g.Vote, Commit: max(g.Commit, g.Table.Index), Table: rec.Tables[number]}
	for i := range g.Entries {
		e, err := group.Decode(g.Entries[i].Index, g.Entries[i].Term, g.Entries[i].Type, g.Entries[i].Data)
		if err != nil {
			return s, fmt.Errorf("group %d, entry %d: %w", number, g.Entries[i].Index, err)
		}
		s.Entries = append(s.Entries, e)
	}
	return s, nil
}

// checkYoung checks the runs that a group's log names at or after S, and ends the log at
// the first that is not there. What is not there of others is damage. Bytes that are there are on stable storage: the store
// has written again what it did not know to be synced.
func (n *Node) checkYoung(rec *grouplog.Recovery, number int) error {
	g := &rec.Groups[number]
	killed := rec.Boot == n.o.Boot
	ids := make(map[uint32]entry.ID)
	if t := rec.Tables[number]; t != nil {
		for _, p := range t.Topics {
			ids[p.Number] = p.ID
		}
	}
	for i := range g.Entries {
		e := &g.Entries[i]
		d, err := group.Decode(e.Index, e.Term, e.Type, e.Data)
		if err != nil {
			return fmt.Errorf("group %d, entry %d: %w", number, e.Index, err)
		}
		if c, ok := d.Decoded.(entry.Create); ok {
			ids[c.Topic] = c.ID
		}
		r, ok := d.Decoded.(*entry.Round)
		if !ok || e.At < rec.Synced && e.Index <= g.Commit {
			continue // a takeover may have put other bytes in the place of those that are not committed
		}
		for k := range r.Runs {
			run := &r.Runs[k]
			id := ids[run.Topic]
			l := n.o.Store.ByID(id)
			if l != nil && run.End() <= l.Begin() {
				continue // it was trimmed
			}
			there := false
			if l != nil {
				if there, err = l.CheckRun(run.Offset, run.End(), run.CRC); err != nil {
					return err
				}
			}
			switch {
			case there:
			case !killed && e.Index > g.Commit && e.At >= rec.Synced:
				rec.End(number, e.Index)
				n.log.Info("the log of a group ends before a round that did not reach the disk whole", "group", number, "index", e.Index)
				return nil
			default:
				n.lost[id] = append(n.lost[id], storage.Range{From: run.Offset, To: run.End()})
			}
		}
	}
	return nil
}

// fitAll makes the topics of a group fit what its log says.
func (n *Node) fitAll(number int, g *group.Group, known map[entry.ID]bool) (logs []*storage.Log, err error) {
	oldest, readable := make(map[uint32]int64), make(map[uint32]int64)
	for _, t := range g.Topics() {
		oldest[t.Number], readable[t.Number] = t.Oldest, t.End
	}
	for _, t := range g.Logged() {
		l, err := n.topics.Fit(&t, oldest[t.Number], readable[t.Number])
		if err != nil {
			return nil, err
		}
		for _, r := range n.lost[t.ID] {
			if err := l.Lost(context.Background(), r.From, min(r.To, t.End)); err != nil {
				return nil, err
			}
		}
		known[t.ID] = true
		n.topics.Put(number, t.Number, l)
		logs = append(logs, l)
	}
	for _, t := range g.Topics() {
		l := n.topics.Get(number, t.Number)
		l.SetReadable(t.End)
		n.topics.Trimmed(t.ID, t.Oldest)
		if err := l.AdvanceOldest(t.Oldest); err != nil {
			return nil, err
		}
	}
	return logs, nil
}

// removeUnknown removes the topics that no log names: those that were deleted, and
// those that a table would have brought which was not taken over.
func (n *Node) removeUnknown(known map[entry.ID]bool) error {
	for _, l := range n.topics.Stored() {
		if known[l.ID()] {
			continue
		}
		number := GroupOf(l.Name(), n.member.Groups)
		if n.core.groups[number].g.Blank() {
			continue // nothing is known of its topics yet
		}
		if err := n.disk.remove(number, ^uint32(0), l, false); err != nil {
			return err
		}
	}
	return nil
}

// nameTopics has the topics that are certain take their names.
func (n *Node) nameTopics() error {
	for i, cg := range n.core.groups {
		for _, t := range cg.g.Topics() {
			if l := n.topics.Get(i, t.Number); !l.Named() {
				if err := n.o.Store.TakeName(l); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
