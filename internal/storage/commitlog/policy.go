package commitlog

import "time"

// Policy is what the store promises of batches: when they may be acknowledged,
// and when readers may see them. All that depends on it asks here.
type Policy struct {
	Flush int           // see Log.Commit
	Every time.Duration // an append is synced so long after it; 0 or less for never
	Told  bool          // nothing is readable beyond what SetReadable has told
}

// SyncsFirst reports whether a batch is acknowledged, and readable, only when it
// is on stable storage: no power cut takes back what anybody knows of.
func (p Policy) SyncsFirst() bool { return p.Flush == 1 }

// awaitsSync reports whether what was appended up to a batch may be acknowledged
// only after a sync; durable is the last batch that is on stable storage, both
// as Appended.Ordinal has them.
func (p Policy) awaitsSync(last, durable int64) bool {
	return p.Flush > 0 && (p.Flush == 1 || last-durable >= int64(p.Flush))
}

// Interval is how long after an append it is synced at the latest, although nobody
// waits for that; 0 for never.
func (p Policy) Interval() time.Duration {
	if p.SyncsFirst() {
		return 0 // somebody waits for each
	}
	return max(p.Every, 0)
}

// Readable returns the readable end: readers see what is before it. Where
// nothing is acknowledged before it is on stable storage, nothing is readable
// before either, so that no reader acts on what a power cut takes back. With
// Policy.Told, or Managed, nothing is readable beyond what SetReadable has
// told.
func (l *Log) Readable() int64 {
	end := l.next.Load()
	if l.policy().SyncsFirst() {
		end = max(l.synced.Load(), l.shown.Load())
	}
	if l.store.Policy.Told {
		end = min(end, max(l.told.Load(), l.parts.Begin()))
	}
	return end
}

// SetReadable tells how far readers may see, as an offset at which a batch ends.
// It is for stores with Policy.Told, or Managed, in which a log that was opened
// begins with none of its batches readable. The offset may be beyond what is
// stored: what comes there is readable at once. An offset before the one told
// last is passed over; TruncateTo alone takes back what was told.
func (l *Log) SetReadable(offset int64) {
	for {
		before := l.told.Load()
		if offset <= before {
			return
		}
		if l.told.CompareAndSwap(before, offset) {
			l.watchers.wake()
			return
		}
	}
}

// untell takes back what was told beyond offset, which the log now ends at.
func (l *Log) untell(offset int64) {
	for {
		before := l.told.Load()
		if before <= offset || l.told.CompareAndSwap(before, offset) {
			return
		}
	}
}

// grown wakes those who wait for the readable end to pass an offset, after what
// bounds it besides SetReadable has moved on from before.
func (l *Log) grown(before int64) {
	if l.store.Policy.Told && l.told.Load() <= before {
		return // still out of sight
	}
	l.watchers.wake()
}
