package commitlog

import (
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/topic"
)

// Kept says by what a log is kept.
type Kept struct {
	Retention     topic.Limits
	PartitionSize int64 // a partition is closed before it would pass this
	// SyncsFirst has each batch be on stable storage before it is acknowledged, whatever
	// the store's Policy says. The log goes by it from its next append on.
	SyncsFirst bool
}

// Rules say by what the logs of a store are kept. They are not changed: others take their
// place.
type Rules struct {
	All Kept
	// Of returns what counts for one topic, and that alone; nil: All counts for each.
	Of func(topic string) Kept
	// LeastAge is the least age by which any topic goes; 0 if none goes by age.
	LeastAge time.Duration
}

// keptBy is what rules say of a log.
type keptBy struct {
	rules *Rules
	Kept
}

// kept returns by what the log is kept now.
func (l *Log) kept() *Kept {
	r := l.store.Rules.Load()
	if r.Of == nil || batch.Own(l.name) {
		return &r.All
	}
	k := l.keptBy.Load()
	if k == nil || k.rules != r {
		k = &keptBy{r, r.Of(l.name)}
		l.keptBy.Store(k)
	}
	return &k.Kept
}

// limits are what the log is kept by.
func (l *Log) limits() topic.Limits {
	if batch.Own(l.name) {
		return topic.Limits{} // who keeps it decides what goes
	}
	return l.kept().Retention
}

// followDurability has what is appended from here on be as durable as the rules say. What
// was readable stays so. Caller holds writer.
func (l *Log) followDurability() {
	wanted := l.kept().SyncsFirst && !l.store.Managed
	if wanted == l.syncsEach.Load() {
		return
	}
	if wanted {
		l.shown.Store(l.next.Load())
	}
	l.syncsEach.Store(wanted)
}

// SyncsFirst reports whether a batch is acknowledged only when it is on stable storage.
func (l *Log) SyncsFirst() bool { return l.policy().SyncsFirst() }

// policy is the store's, as the rules have it for this log.
func (l *Log) policy() Policy {
	p := l.store.Policy
	if l.syncsEach.Load() {
		p.Flush = 1
	}
	return p
}
