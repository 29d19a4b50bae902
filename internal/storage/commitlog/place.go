package commitlog

import (
	"fmt"
	"time"

	"github.com/logd-dev/logd/internal/storage/layout"
)

// LookInterval is how often a log is looked at that nobody syncs.
const LookInterval = 10 * time.Second

// inPlace looks whether the names of the log's files lead to what the log writes
// and reads, see partition.List.InPlace. If not, the log has failed. Only the leader of
// the sync group calls it.
func (l *Log) inPlace(all bool) error {
	if l.Deleted() {
		return nil
	}
	if file, why := l.parts.InPlace(l.synced.Load(), all); why != nil {
		return l.fail("look at", file, -1, fmt.Errorf("%w: %w", layout.ErrDisplaced, why))
	}
	return nil
}

// Look has a log that is not synced meanwhile looked at.
func (l *Log) Look() {
	if l.failed.Load() != nil || !l.syncing.Lead() {
		return
	}
	l.syncing.Done(l.inPlace(true))
}
