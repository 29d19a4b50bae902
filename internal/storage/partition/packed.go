package partition

import (
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
)

// Pack has the journal know, durably, that a partition may have batches that are
// compressed with these codecs: before the first of them is written.
func (l *List) Pack(p *Partition, c batch.Codecs) error {
	if err := l.Journal.Pack(p.Base, c, func() bool { return l.Gone(p) }, l.RenewJournal); err != nil {
		return &layout.Error{Op: "write journal of", Topic: l.Topic, File: l.Journal.File.Name(), Offset: p.Base, Err: err}
	}
	return nil
}

// packed notes that a scan has found batches that are compressed with these codecs.
func (l *List) packed(p *Partition, c batch.Codecs) {
	if c&^l.Journal.Packed(p.Base) == 0 {
		return
	}
	if err := l.Pack(p, c); err != nil {
		l.Logger.Warn("journal record not written", "topic", l.Topic, "err", err)
		l.Journal.Remember(journal.Packed, p.Base, int64(c))
	}
}
