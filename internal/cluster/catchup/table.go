package catchup

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/topic"
)

// syncBytes is how much is fetched from one sync to the next: who else syncs on the disk
// waits for what it has of that.
const syncBytes = 16 << 20

// takeover is a table that is being taken over: see Fetcher.TakeOver.
type takeover struct {
	group    int
	table    *entry.Table
	old      []entry.Topic
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

// set puts a job in the place of that of a group; nil for none.
func (f *Fetcher) set(group int, job *takeover) {
	f.jobs[group], f.job = job, nil
	f.busy.Store(slices.ContainsFunc(f.jobs, func(job *takeover) bool { return job != nil }))
}

// again has goOn called, once.
func (f *Fetcher) again() {
	if !f.goes {
		f.goes = true
		f.o.Member.Post(f.goOn)
	}
}

// goOn does a piece of a job, and has the next one done. It stays with a job, and so with
// a topic: what follows in that is on its way already.
func (f *Fetcher) goOn() {
	f.goes = false
	if f.o.Member.Err() != nil || f.o.Rate > 0 && f.room <= 0 {
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
func (f *Fetcher) choose() {
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
func (job *takeover) lacks() (bytes int64) {
	topics := job.table.Topics
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
func (f *Fetcher) do(job *takeover) {
	done, err := f.piece(job)
	if err == nil && !done {
		return
	}
	f.job = nil
	switch {
	case err == nil:
		f.set(job.group, nil)
		f.o.Member.There(job.group, job.table, job.oldest)
	case copies.NoRoom(err), errors.Is(err, errNobody):
		job.waits = true
		if job.tries++; job.tries == stallTries {
			f.stall(job, true)
		}
	default:
		job.waits = true
		f.o.Member.Failed(job.group, err)
	}
}

func (f *Fetcher) stall(job *takeover, stalled bool) {
	job.stalled = stalled
	f.o.Member.Stalled(job.group, stalled)
}

// piece does the next piece of a job.
func (f *Fetcher) piece(job *takeover) (done bool, err error) {
	if err := f.o.Member.MayWrite(); err != nil {
		return false, err
	}
	t := job.table
	if job.cut < len(t.Topics) {
		l, err := f.makeFit(job, &t.Topics[job.cut])
		if err != nil {
			return false, err
		}
		f.o.Copies.Put(job.group, t.Topics[job.cut].Number, l)
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
	for _, err := range f.o.Copies.Sync(job.logs, nil) {
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// makeFit makes a topic have what it may keep: what is below its own readable end, and
// not before the oldest offset of the table.
func (f *Fetcher) makeFit(job *takeover, p *entry.Topic) (*storage.Log, error) {
	ctx := context.Background()
	l := f.o.Store.ByID(p.ID)
	if l == nil {
		return f.o.Store.CreateAs(p.Name, p.ID, p.Oldest, p.Time)
	}
	if job.old == nil {
		return l, f.confirm(job, p, l)
	}
	i := slices.IndexFunc(job.old, func(o entry.Topic) bool { return o.ID == p.ID })
	if i < 0 || l.Begin() > p.Oldest || l.Next() < p.Oldest {
		// Nothing of it is known to be what the others have.
		return l, l.Reset(ctx, p.Oldest)
	}
	if own := job.old[i].End; l.Next() > own {
		if err := copies.CutOff(ctx, l, own); err != nil {
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
func (f *Fetcher) confirm(job *takeover, p *entry.Topic, l *storage.Log) error {
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
func (f *Fetcher) same(job *takeover, id entry.ID, l *storage.Log, from, to int64) bool {
	own := func(from, to int64) (uint32, bool) {
		v, err := l.Stored(from, to)
		if err != nil {
			return 0, false
		}
		b, err := copies.ReadViews(nil, []topic.View{v})
		return copies.Checksum(b), err == nil
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
func (f *Fetcher) sums(job *takeover, id entry.ID, from, to int64) []uint32 {
	for _, m := range job.table.Conf.Voters {
		if m == f.o.ID {
			continue
		}
		if sums, err := f.o.Source.Sums(m, id, from, to); err == nil {
			return sums
		}
	}
	return nil
}

// fetchNext gets the next bytes of a topic from whoever has them.
func (f *Fetcher) fetchNext(job *takeover, p *entry.Topic, l *storage.Log) error {
	ctx := context.Background()
	from := l.Next()
	got, err := f.ask(&job.table.Conf, p.ID, from, p.End)
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
	f.fetched.Add(int64(len(got.Data)))
	f.room -= int64(len(got.Data))
	for i, part := range got.Parts {
		end := from + int64(len(got.Data))
		if i+1 < len(got.Parts) {
			end = got.Parts[i+1].Offset
		}
		body, err := copies.Parse(got.Data[part.Offset-from : end-from])
		if err == nil {
			err = body.Check(p.Name)
		}
		if err != nil {
			f.from++
			return errNobody // it is damaged there, and not known to be
		}
		_, err = l.AppendRun(ctx, &storage.Run{Offset: part.Offset, Millis: part.Time, Roll: part.Roll, Data: body.Data, Extents: body.Extents})
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
	return f.o.Copies.Sync([]*storage.Log{l}, nil)[0]
}
