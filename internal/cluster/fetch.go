package cluster

import (
	"context"
	"errors"
	"hash/crc32"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/storage"
)

// FetchBytes is how much is fetched at once, but for a larger batch.
const FetchBytes = 4 << 20

// syncBytes is how much is fetched from one sync to the next: who else syncs on the disk
// waits for what it has of that.
const syncBytes = 16 << 20

// fetcher gets the bytes that this member lacks, a piece at a time.
type fetcher struct {
	actor
	n    *Node
	jobs []*takeJob  // by group; nil where no table is taken over
	job  *takeJob    // the one that goes on; nil: another is to be chosen
	room int64       // how many bytes may be fetched until the next tick
	goes bool        // goOn is posted
	from int         // which of the others is asked first
	busy atomic.Bool // there are jobs: for others than the fetcher
}

// takeJob is a table that is being taken over: see group.TakeOver.
type takeJob struct {
	group    int
	task     group.TakeOver
	cut      int              // topics that were made to fit
	next     int              // the one that is fetched
	oldest   map[uint32]int64 // where topics begin that were trimmed since
	logs     []*storage.Log
	unsynced int64 // bytes that were fetched since the last sync
	waits    bool  // for the next tick, after a try that got nothing
	tries    int   // in a row that got nothing
	stalled  bool
}

// stallTries is how many tries in a row get nothing until the others are told that
// the table is of no use: bytes of it may be gone from everywhere.
const stallTries = 50

// takeOver begins to take over a table, in place of the one under way.
func (f *fetcher) takeOver(number int, t group.TakeOver) {
	f.post(func() {
		f.set(number, &takeJob{group: number, task: t, oldest: make(map[uint32]int64)})
		f.again()
	})
}

// set puts a job in the place of that of a group; nil for none.
func (f *fetcher) set(number int, job *takeJob) {
	f.jobs[number], f.job = job, nil
	f.busy.Store(slices.ContainsFunc(f.jobs, func(job *takeJob) bool { return job != nil }))
}

// drop ends a takeover.
func (f *fetcher) drop(number int) {
	f.post(func() { f.set(number, nil) })
}

// again has goOn called, once.
func (f *fetcher) again() {
	if !f.goes {
		f.goes = true
		f.post(f.goOn)
	}
}

// goOn does a piece of a job, and has the next one done. It stays with a job, and so with
// a topic: what follows in that is on its way already.
func (f *fetcher) goOn() {
	f.goes = false
	if f.n.Err() != nil || f.n.o.CatchUpRate > 0 && f.room <= 0 {
		return // until the next tick
	}
	if f.job == nil {
		f.choose()
	}
	if f.job != nil {
		f.do(f.job)
		f.again()
	}
}

// choose has the job go on that lacks least: one group with much of it does not hold up
// the others.
func (f *fetcher) choose() {
	least := int64(math.MaxInt64)
	for _, job := range f.jobs {
		if job == nil || job.waits {
			continue
		}
		if lacks := job.lacks(); lacks < least {
			f.job, least = job, lacks
		}
	}
}

// lacks returns how many bytes are to be fetched, or more where it is not known yet what
// may be kept.
func (job *takeJob) lacks() (bytes int64) {
	topics := job.task.Table.Topics
	for i := job.next; i < len(topics); i++ {
		has := topics[i].Oldest
		if i < len(job.logs) {
			has = max(has, job.logs[i].Next())
		}
		bytes += max(topics[i].End-has, 0)
	}
	return bytes
}

// do does a piece of a job.
func (f *fetcher) do(job *takeJob) {
	done, err := f.piece(job)
	if err == nil && !done {
		return
	}
	f.job = nil
	switch {
	case err == nil:
		f.set(job.group, nil)
		f.n.core.post(func() {
			f.n.core.groups[job.group].g.TableThere(job.task.Table, job.oldest)
			f.n.core.take(job.group)
		})
	case noRoom(err), errors.Is(err, errNobody):
		job.waits = true
		if job.tries++; job.tries == stallTries {
			f.stall(job, true)
		}
	default:
		job.waits = true
		f.n.disk.post(func() { f.n.disk.failed(job.group, err) })
	}
}

func (f *fetcher) stall(job *takeJob, stalled bool) {
	job.stalled = stalled
	f.n.core.post(func() { f.n.core.groups[job.group].stalled = stalled })
}

// errNobody is that nobody gives what is needed now.
var errNobody = errors.New("cluster: no member has the bytes now")

// piece does the next piece of a job.
func (f *fetcher) piece(job *takeJob) (done bool, err error) {
	if f.n.disk.reserve.short.Load() {
		return false, errReserve
	}
	t := job.task.Table
	if job.cut < len(t.Topics) {
		l, err := f.makeFit(job, &t.Topics[job.cut])
		if err != nil {
			return false, err
		}
		f.n.topics.set(job.group, t.Topics[job.cut].Number, l)
		job.logs = append(job.logs, l)
		job.cut++
		return false, nil
	}
	for ; job.next < len(t.Topics); job.next++ {
		p := &t.Topics[job.next]
		l := job.logs[job.next]
		if l.Next() >= p.End {
			continue
		}
		return false, f.fetchNext(job, p, l)
	}
	for _, err := range f.n.syncTogether(job.logs, nil) {
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// makeFit makes a topic have what it may keep: what is below its own readable end, and
// not before the oldest offset of the table.
func (f *fetcher) makeFit(job *takeJob, p *entry.Topic) (*storage.Log, error) {
	ctx := context.Background()
	l := f.n.o.Store.ByID(p.ID)
	if l == nil {
		return f.n.o.Store.CreateAs(p.Name, p.ID, p.Oldest, p.Time)
	}
	if job.task.Old == nil {
		return l, f.confirm(job, p, l)
	}
	i := slices.IndexFunc(job.task.Old, func(o entry.Topic) bool { return o.ID == p.ID })
	if i < 0 || l.Begin() > p.Oldest || l.Next() < p.Oldest {
		// Nothing of it is known to be what the others have.
		return l, l.Reset(ctx, p.Oldest)
	}
	if own := job.task.Old[i].End; l.Next() > own {
		if err := cutOff(ctx, l, own); err != nil {
			return nil, err
		}
	}
	if l.Next() <= p.Oldest && l.Begin() < p.Oldest {
		return l, l.Reset(ctx, p.Oldest)
	}
	return l, l.AdvanceOldest(p.Oldest)
}

// confirm keeps of a topic what another member says is the same there: nothing else tells
// whether what is here is what the cluster has.
func (f *fetcher) confirm(job *takeJob, p *entry.Topic, l *storage.Log) error {
	ctx := context.Background()
	from, to := max(l.Begin(), p.Oldest), min(l.Next(), p.End)
	if l.Begin() > p.Oldest || to <= from || !f.same(job, p.ID, l, from, to) {
		return l.Reset(ctx, p.Oldest)
	}
	if l.Next() > p.End {
		if err := l.TruncateTo(ctx, p.End); errors.Is(err, storage.ErrNotFound) {
			return l.Reset(ctx, p.Oldest) // no batch ends there: these are others
		} else if err != nil {
			return err
		}
	}
	return l.AdvanceOldest(p.Oldest)
}

// same reports whether a member has the same bytes of a topic.
func (f *fetcher) same(job *takeJob, id entry.ID, l *storage.Log, from, to int64) bool {
	own := func(from, to int64) (uint32, bool) {
		v, err := l.Stored(from, to)
		if err != nil {
			return 0, false
		}
		b, err := ReadViews(nil, []View{v})
		return crc32.Checksum(b, castagnoli), err == nil
	}
	for from < to {
		sums := f.sums(job, id, from, to)
		if len(sums) == 0 {
			return false
		}
		for _, sum := range sums {
			end := min(from+peer.SumBytes, to)
			if has, ok := own(from, end); !ok || has != sum {
				return false
			}
			from = end
		}
	}
	return true
}

// sums asks the other members for sums, one after another.
func (f *fetcher) sums(job *takeJob, id entry.ID, from, to int64) []uint32 {
	for _, m := range job.task.Table.Conf.Voters {
		if m == f.n.member.ID {
			continue
		}
		if sums, err := f.n.o.Transport.Sums(m, id, from, to); err == nil {
			return sums
		}
	}
	return nil
}

// fetchNext gets the next bytes of a topic from whoever has them.
func (f *fetcher) fetchNext(job *takeJob, p *entry.Topic, l *storage.Log) error {
	ctx := context.Background()
	from := l.Next()
	got, err := f.ask(job.group, &job.task.Table.Conf, p.ID, from, p.End)
	var gone *peer.GoneError
	if errors.As(err, &gone) {
		at := min(gone.Oldest, p.End)
		if at <= from {
			return errNobody
		}
		job.oldest[p.Number] = at
		return l.Reset(ctx, at)
	}
	if err != nil {
		return errNobody
	}
	f.n.counts.fetched.Add(int64(len(got.Data)))
	f.room -= int64(len(got.Data))
	for i, part := range got.Parts {
		end := from + int64(len(got.Data))
		if i+1 < len(got.Parts) {
			end = got.Parts[i+1].Offset
		}
		body, err := parseRun(got.Data[part.Offset-from : end-from])
		if err == nil {
			err = body.check(p.Name)
		}
		if err != nil {
			f.from++
			return errNobody // it is damaged there, and not known to be
		}
		_, err = l.AppendRun(ctx, &storage.Run{Offset: part.Offset, Millis: part.Time, Roll: part.Roll, Data: body.data, Extents: body.extents})
		if err != nil {
			return err
		}
	}
	if job.tries = 0; job.stalled {
		f.stall(job, false)
	}
	l.WriteOut(from) // or the disk does nothing until all is there, and is synced
	if job.unsynced += int64(len(got.Data)); job.unsynced < syncBytes {
		return nil
	}
	job.unsynced = 0
	return f.n.syncTogether([]*storage.Log{l}, nil)[0]
}

// ask asks the other members of a group for bytes of a topic, one after another, and
// whoever gave them at first the next time.
func (f *fetcher) ask(number int, conf *entry.Conf, id entry.ID, from, to int64) (Fetched, error) {
	var ids []uint64
	for _, list := range [][]uint64{conf.Voters, conf.Learners, conf.Outgoing} {
		for _, m := range list {
			if m != f.n.member.ID && !slices.Contains(ids, m) {
				ids = append(ids, m)
			}
		}
	}
	if len(ids) == 0 {
		return Fetched{}, errNobody
	}
	for range ids {
		got, err := f.n.o.Transport.Fetch(ids[f.from%len(ids)], id, from, to)
		var gone *peer.GoneError
		if err == nil && whole(&got, from, to) || errors.As(err, &gone) {
			return got, err
		}
		f.from++
	}
	return Fetched{}, errNobody
}

// whole reports whether what was fetched is of the range, with its parts in order.
func whole(got *Fetched, from, to int64) bool {
	n := int64(len(got.Data))
	if n == 0 || n > to-from || len(got.Parts) == 0 || got.Parts[0].Offset != from {
		return false
	}
	for i := 1; i < len(got.Parts); i++ {
		if got.Parts[i].Offset <= got.Parts[i-1].Offset || got.Parts[i].Offset >= from+n {
			return false
		}
	}
	return true
}

// lookForDamage refills some of what is set aside, and goes on with what found
// nobody.
func (f *fetcher) lookForDamage(troubled []topicFile) {
	each := f.n.o.CatchUpRate * int64(f.n.o.Tick) / int64(time.Second)
	f.room = min(f.room+each, max(each, FetchBytes))
	for _, job := range f.jobs {
		if job != nil {
			job.waits = false
		}
	}
	f.job = nil
	f.again()
	for _, t := range troubled {
		if err := t.log.Failed(); err != nil {
			f.n.disk.post(func() { f.n.disk.failed(t.group, err) })
			continue
		}
		if f.jobs[t.group] != nil || len(f.n.damage(t.log)) == 0 {
			continue
		}
		f.n.core.post(func() {
			cg := f.n.core.groups[t.group]
			if term, _ := cg.g.TakingOver(); term != 0 {
				return
			}
			conf, _ := cg.g.Conf()
			runs := cg.g.RunsAt(t.number)
			f.post(func() { f.refill(t.group, t.log, &conf, runs) })
		})
	}
}

// damage returns what is set aside of a topic and not trimmed. What is before the oldest
// offset may be in a partition that goes on behind it.
func (n *Node) damage(l *storage.Log) (ranges []storage.Range) {
	all := *l.Damaged()
	if len(all) == 0 {
		return nil
	}
	oldest := n.topics.oldest(l.ID())
	for _, r := range all {
		if r.To > oldest {
			r.From = max(r.From, l.Begin())
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// refill gets back a piece of what is set aside of a topic.
func (f *fetcher) refill(number int, l *storage.Log, conf *entry.Conf, runs []entry.Run) {
	ctx := context.Background()
	oldest, readable := f.n.topics.oldest(l.ID()), l.Readable()
	var r storage.Range
	for _, d := range f.n.damage(l) {
		// What is not committed nobody gives, and what begins before the oldest offset
		// nobody has.
		if d.From >= oldest && d.From < readable {
			r = storage.Range{From: d.From, To: min(d.To, readable)}
			break
		}
	}
	if r.To == 0 || f.jobs[number] != nil {
		return
	}
	got, err := f.ask(number, conf, entry.ID(l.ID()), r.From, r.To)
	var gone *peer.GoneError
	if errors.As(err, &gone) {
		f.n.log.Debug("what is damaged was trimmed elsewhere", "topic", l.Name(), "offset", r.From, "to", r.To, "gone", gone.Oldest, "oldest", f.n.topics.oldest(l.ID()), "begin", l.Begin())
		if gone.Oldest > r.From {
			if err := l.AdvanceOldest(min(gone.Oldest, l.Next())); err != nil {
				f.n.log.Warn("removing what was trimmed failed", "topic", l.Name(), "err", err)
			}
		}
		return
	}
	if err != nil {
		f.n.log.Debug("nobody has what is damaged", "topic", l.Name(), "offset", r.From, "to", r.To, "err", err)
		return // another time
	}
	if !confirmed(runs, r.From, got.Data) {
		f.n.log.Warn("bytes for damage are not what the log says: not taken", "topic", l.Name(), "offset", r.From)
		return
	}
	times := make([]storage.TimeMark, len(got.Parts))
	for i, p := range got.Parts {
		times[i] = storage.TimeMark{Offset: p.Offset, Millis: p.Time}
	}
	if err := l.Refill(ctx, r.From, r.From+int64(len(got.Data)), got.Data, times); err != nil {
		f.n.log.Warn("damage is not refilled", "topic", l.Name(), "offset", r.From, "err", err)
		return
	}
	f.n.counts.refilled.Add(int64(len(got.Data)))
}

// confirmed reports whether no run of the own log that lies within the bytes says that
// they are others.
func confirmed(runs []entry.Run, from int64, data []byte) bool {
	for i := range runs {
		r := &runs[i]
		if r.Offset < from || r.End() > from+int64(len(data)) {
			continue
		}
		if crc32.Checksum(data[r.Offset-from:r.End()-from], castagnoli) != r.CRC {
			return false
		}
	}
	return true
}

// ErrNotHere is bytes that a member does not give: they are not there, not readable
// yet, or damaged.
var ErrNotHere = errors.New("cluster: the bytes are not here")

// Serve returns bytes of a topic for another member, below the readable end, up to so
// many, checked; the caller closes the view. The error is a *peer.GoneError of what the
// log says was trimmed, never of where files begin, and else ErrNotHere.
func (n *Node) Serve(id entry.ID, from, to int64) (View, []peer.Part, error) {
	l := n.o.Store.ByID(id)
	if l == nil {
		return nil, nil, ErrNotHere
	}
	if oldest := n.topics.oldest(id); oldest > from {
		return nil, nil, &peer.GoneError{Oldest: oldest}
	}
	to = min(to, l.Readable())
	if from >= to {
		return nil, nil, ErrNotHere
	}
	v, err := l.Verify(from, math.MaxInt64, min(to-from, FetchBytes))
	if err != nil {
		return nil, nil, ErrNotHere
	}
	var rolls []int64 // where partitions begin
	at := from
	for i := range v.Sections() {
		_, pos, n := v.Section(i)
		if pos == 0 {
			rolls = append(rolls, at)
		}
		at += n
	}
	times, err := l.Times(from, at, math.MaxInt)
	if err != nil {
		v.Close()
		return nil, nil, ErrNotHere
	}
	return v, partsOf(from, rolls, times), nil
}

// partsOf returns the parts of bytes that begin at an offset: one for each time, and one
// where a partition begins.
func partsOf(from int64, rolls []int64, times []storage.TimeMark) (parts []peer.Part) {
	millis := int64(0)
	if len(times) == 0 || times[0].Offset > from {
		times = append([]storage.TimeMark{{Offset: from}}, times...)
	}
	for len(times) > 0 || len(rolls) > 0 {
		at := int64(math.MaxInt64)
		if len(times) > 0 {
			at = times[0].Offset
		}
		roll := len(rolls) > 0 && rolls[0] <= at
		if roll {
			at = rolls[0]
			rolls = rolls[1:]
		}
		if len(times) > 0 && times[0].Offset <= at {
			millis = times[0].Millis
			times = times[1:]
		}
		parts = append(parts, peer.Part{Offset: at, Time: millis, Roll: roll})
	}
	return parts
}
