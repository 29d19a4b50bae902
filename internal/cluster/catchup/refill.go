package catchup

import (
	"context"
	"errors"
	"time"

	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/storage"
)

// tick refills some of what is set aside, and goes on with what found nobody.
func (f *Fetcher) tick(troubled []copies.Copy) {
	each := f.o.Rate * int64(f.o.Tick) / int64(time.Second)
	f.room = min(f.room+each, max(each, copies.FetchBytes))
	for _, job := range f.jobs {
		if job != nil {
			job.waits = false
		}
	}
	f.job = nil
	f.again()
	for _, t := range troubled {
		if err := t.Log.Failed(); err != nil {
			f.o.Member.Failed(t.Group, err)
			continue
		}
		if f.jobs[t.Group] != nil || len(f.o.Copies.Damage(t.Log)) == 0 {
			continue
		}
		f.o.Member.Log(t.Group, t.Number, func(conf *entry.Conf, runs []entry.Run) { f.refill(t.Group, t.Log, conf, runs) })
	}
}

// refill gets back a piece of what is set aside of a topic.
func (f *Fetcher) refill(group int, l *storage.Log, conf *entry.Conf, runs []entry.Run) {
	ctx := context.Background()
	oldest, readable := f.o.Copies.Oldest(l.ID()), l.Readable()
	var r storage.Range
	for _, d := range f.o.Copies.Damage(l) {
		// What is not committed nobody gives, and what begins before the oldest offset
		// nobody has.
		if d.From >= oldest && d.From < readable {
			r = storage.Range{From: d.From, To: min(d.To, readable)}
			break
		}
	}
	if r.To == 0 || f.jobs[group] != nil {
		return
	}
	got, err := f.ask(conf, entry.ID(l.ID()), r.From, r.To)
	var gone *peer.GoneError
	if errors.As(err, &gone) {
		f.o.Logger.Debug("what is damaged was trimmed elsewhere", "topic", l.Name(), "offset", r.From, "to", r.To, "gone", gone.Oldest, "oldest", f.o.Copies.Oldest(l.ID()), "begin", l.Begin())
		if gone.Oldest > r.From {
			if err := l.AdvanceOldest(min(gone.Oldest, l.Next())); err != nil {
				f.o.Logger.Warn("removing what was trimmed failed", "topic", l.Name(), "err", err)
			}
		}
		return
	}
	if err != nil {
		f.o.Logger.Debug("nobody has what is damaged", "topic", l.Name(), "offset", r.From, "to", r.To, "err", err)
		return // another time
	}
	if !confirmed(runs, r.From, got.Data) {
		f.o.Logger.Warn("bytes for damage are not what the log says: not taken", "topic", l.Name(), "offset", r.From)
		return
	}
	times := make([]storage.TimeMark, len(got.Parts))
	for i, p := range got.Parts {
		times[i] = storage.TimeMark{Offset: p.Offset, Millis: p.Time}
	}
	if err := l.Refill(ctx, r.From, r.From+int64(len(got.Data)), got.Data, times); err != nil {
		f.o.Logger.Warn("damage is not refilled", "topic", l.Name(), "offset", r.From, "err", err)
		return
	}
	f.refilled.Add(int64(len(got.Data)))
}

// confirmed reports whether no run of the own log that lies within the bytes says that
// they are others.
func confirmed(runs []entry.Run, from int64, data []byte) bool {
	for i := range runs {
		r := &runs[i]
		if r.Offset < from || r.End() > from+int64(len(data)) {
			continue
		}
		if copies.Checksum(data[r.Offset-from:r.End()-from]) != r.CRC {
			return false
		}
	}
	return true
}
