package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

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
	n.disk = disk{actor: newActor(), n: n, full: make([]bool, rec.Member.Groups), doubted: make([]bool, rec.Member.Groups)}
	n.round = round{actor: newActor(), n: n}
	n.keeper = keeper{actor: newActor(), n: n}
	n.fetcher = fetcher{actor: newActor(), n: n, jobs: make([]*takeJob, rec.Member.Groups)}

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
	if err := errors.Join(n.syncTogether(touched, nil)...); err != nil {
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
		l, err := n.fit(&t, oldest[t.Number], readable[t.Number])
		if err != nil {
			return nil, err
		}
		for _, r := range n.lost[t.ID] {
			if err := l.Lost(context.Background(), r.From, min(r.To, t.End)); err != nil {
				return nil, err
			}
		}
		known[t.ID] = true
		n.topics.set(number, t.Number, l)
		logs = append(logs, l)
	}
	for _, t := range g.Topics() {
		l := n.topics.get(number, t.Number)
		l.SetReadable(t.End)
		n.topics.trimmed(t.ID, t.Oldest)
		if err := l.AdvanceOldest(t.Oldest); err != nil {
			return nil, err
		}
	}
	return logs, nil
}

// fit makes a topic have what its log says, from oldest up to t.End, of which it is
// known up to readable that it is committed: what is missing is set aside, to be
// fetched from others.
func (n *Node) fit(t *entry.Topic, oldest, readable int64) (*storage.Log, error) {
	ctx := context.Background()
	l := n.o.Store.ByID(t.ID)
	if l != nil {
		l.SetReadable(readable)
	}
	if l == nil {
		var err error
		if l, err = n.o.Store.CreateAs(t.Name, t.ID, oldest, t.Time); err != nil {
			return nil, err
		}
		if t.End > oldest {
			n.log.Error("the files of a topic are missing: they are fetched from other members", "topic", t.Name)
		}
	}
	// A table that was not taken over had begun it beyond, or all that there is was
	// trimmed.
	if l.Begin() > t.End || l.Begin() < oldest && l.Next() <= oldest {
		if err := l.Reset(ctx, oldest); err != nil {
			return nil, err
		}
	}
	if b := l.Begin(); b > oldest {
		if err := l.Lost(ctx, oldest, b); err != nil {
			return nil, err
		}
	}
	if l.Next() > t.End {
		if err := cutOff(ctx, l, t.End); err != nil {
			return nil, err
		}
	}
	if next := l.Next(); next < t.End {
		if err := l.Lost(ctx, next, t.End); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// cutOff cuts a topic off at an offset where a batch ends by the group's log. Where that
// is inside of what is set aside, or where a takeover has left other bytes, no batch
// ends there: what can't be read then goes as well, and what is before the offset is
// noted as missing.
func cutOff(ctx context.Context, l *storage.Log, offset int64) error {
	at := offset
	for _, r := range *l.Damaged() {
		if r.From < offset && offset < r.To {
			at = r.From
		}
	}
	readable := l.Readable()
	err := l.TruncateTo(ctx, at)
	if errors.Is(err, storage.ErrNotFound) && at == offset && readable < offset {
		at = max(readable, l.Begin())
		err = l.TruncateTo(ctx, at)
	}
	if err != nil || at == offset {
		return err
	}
	defer l.SetReadable(min(readable, offset)) // which is not taken back
	return l.Lost(ctx, at, offset)
}

// removeUnknown removes the topics that no log names: those that were deleted, and
// those that a table would have brought which was not taken over.
func (n *Node) removeUnknown(known map[entry.ID]bool) error {
	for _, l := range n.stored() {
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
			if l := n.topics.get(i, t.Number); !l.Named() {
				if err := n.o.Store.TakeName(l); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
