package partition

import (
	"time"

	"github.com/logd-dev/logd/internal/storage/retain"
)

// firstPlausible is the year 2000, in ms: what files of a restored folder say
// that are older was not kept, or never known.
const firstPlausible = 946_684_800_000

// BeforeHead returns the newest partition before the head that has batches, or nil.
func BeforeHead(parts []*Partition) *Partition {
	for i := len(parts) - 2; i >= 0; i-- {
		if p := parts[i]; p.End.Load() > p.Base {
			return p
		}
	}
	return nil
}

// Adopted reports whether a partition may have been there before the journal,
// in a folder of the 0.3 layout.
func (l *List) Adopted(p *Partition) bool { return p.Base <= l.Unchecked }

// latestTime returns the time of batches of a partition that nothing tells the
// time of: as late as they can have been, given when the file was changed last.
func (l *List) latestTime(p *Partition, changed int64) int64 {
	switch {
	case changed >= l.Created, l.Adopted(p) && changed >= firstPlausible:
		return changed
	case l.Adopted(p):
		return l.Created
	}
	return max(l.Clock.Now().UnixMilli(), changed, 0) // the clock may be further behind than it was
}

// LastTime returns the recorded time of the partition's newest batch, and 0 where
// it is not known or there is none, as with the head.
func (p *Partition) LastTime() int64 {
	if sum := p.Sum.Load(); sum != nil {
		return sum.Last
	}
	return 0
}

// FirstTime returns the recorded time of the partition's first batch, and 0 where
// it is not known or there is none.
func (p *Partition) FirstTime() int64 {
	if sum := p.Sum.Load(); sum != nil {
		return sum.First
	}
	if p.Ready.Load() {
		if e, err := p.Index().First(); err == nil && e.Pos >= 0 {
			return e.Millis
		}
	}
	return 0
}

// doubt is when a partition that ended there was first found to have no time to
// go by.
type doubt struct {
	end int64
	at  time.Time // by a clock that is never set
}

// Ages returns partitions of the list as retention, and whoever asks for times, sees them,
// at a time of the clock. What is not the partitions' is the caller's to fill in.
func (l *List) Ages(parts []*Partition, now int64) *retain.View {
	v := &retain.View{Partitions: make([]retain.Partition, len(parts)), Now: now, Created: l.Created, Traces: traces{l, parts}}
	for i, p := range parts {
		v.Partitions[i] = retain.Partition{Base: p.Base, Last: p.LastTime(), Adopted: l.Adopted(p)}
	}
	return v
}

// traces are partitions as retain.Traces.
type traces struct {
	list  *List
	parts []*Partition
}

// First implements retain.Traces.
func (t traces) First(i int) int64 { return t.parts[i].FirstTime() }

// Changed implements retain.Traces.
func (t traces) Changed(i int) (millis int64, ok bool) {
	st, err := t.list.FS.Stat(t.parts[i].File.Name())
	if err != nil {
		return 0, false
	}
	return st.ModTime().UnixMilli(), true
}

// Doubted implements retain.Traces.
func (t traces) Doubted(i int) time.Duration {
	p := t.parts[i]
	d := p.doubted.Load()
	if end := p.End.Load(); d == nil || d.end != end {
		d = &doubt{end: end, at: time.Now()}
		p.doubted.Store(d)
	}
	return time.Since(d.at)
}
