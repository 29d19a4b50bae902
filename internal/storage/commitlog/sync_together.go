package commitlog

import (
	"sync"

	"github.com/logd-dev/logd/internal/storage/syncs"
)

// SyncTogether syncs logs in one go, and tells done how that has ended for each. done
// is called concurrently.
func SyncTogether(q *syncs.Queue, logs []*Log, done func(*Log, error)) {
	var g sync.WaitGroup
	var queued []*syncs.Waiting
	for _, l := range logs {
		if l.member.OtherDevice.Load() || !l.syncing.Lead() {
			g.Go(func() { done(l, l.syncWhole()) }) // or somebody syncs it, but perhaps not all of it
			continue
		}
		if err := l.Unsyncable(); err != nil || l.isSynced() {
			l.syncing.Done(err)
			done(l, err)
			continue
		}
		u := l.unsynced()
		w := syncs.NewWaiting(&l.member, u.target)
		queued = append(queued, w)
		g.Go(func() {
			err := l.durable(u, q.Await(w))
			done(l, err)
			l.syncing.Done(err)
		})
	}
	q.Enqueue(queued...)
	g.Wait()
}
