package node

import (
	"context"
	"encoding/hex"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/vfs"
)

// topicInfos are counts and times of topics, and the room on the disk, for
// metrics. To find them out may
// take reading from the disk, for which no metric waits long: one goroutine
// does it, for topics that have changed, and not all the time.
type topicInfos struct {
	mu    sync.Mutex
	known known
	done  chan struct{} // closed when the last look was over; nil before the first
	begun time.Time     // of the last look
	ended bool
	group sync.WaitGroup

	ctx    context.Context
	cancel context.CancelFunc
}

// end looks at nothing any more.
func (t *topicInfos) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.cancel()
	t.group.Wait()
}

const (
	infoEvery = 10 * time.Second       // how often topics are looked at
	infoWait  = 250 * time.Millisecond // how long a metric waits for that
)

// known is what was found out.
type known struct {
	topics map[string]storage.Info // by name; not to be changed
	free   int64                   // bytes of room on the disk, -1 if that is not known
	size   int64                   // bytes of the disk, -1 if that is not known
}

// look returns what is known, and has what has changed since found out.
func (t *topicInfos) look(store *storage.Store, fs *vfs.OS, topics []storage.TopicStats) known {
	t.mu.Lock()
	if t.due() {
		t.done, t.begun = make(chan struct{}), time.Now()
		done := t.done
		t.group.Go(func() { t.find(store, fs, topics, done) })
	}
	done := t.done
	t.mu.Unlock()
	if done != nil {
		select {
		case <-done:
		case <-time.After(infoWait):
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known
}

// due reports whether to look again. Caller holds mu.
func (t *topicInfos) due() bool {
	if t.ended || t.done == nil {
		return !t.ended
	}
	select {
	case <-t.done:
		return time.Since(t.begun) >= infoEvery
	default:
		return false
	}
}

func (t *topicInfos) find(store *storage.Store, fs *vfs.OS, topics []storage.TopicStats, done chan struct{}) {
	defer close(done)
	t.mu.Lock()
	old := t.known.topics
	t.mu.Unlock()
	infos := make(map[string]storage.Info, len(topics))
	for _, s := range topics {
		log, err := store.Log([]byte(s.Topic))
		if err != nil {
			continue // deleted meanwhile
		}
		in, ok := old[s.Topic]
		if id := log.ID(); !ok || in.ID != hex.EncodeToString(id[:]) || in.Next != s.Next || in.Oldest != s.Oldest || in.Damaged != s.Damaged {
			if in, err = log.Info(t.ctx); err != nil {
				continue
			}
		}
		infos[s.Topic] = in
	}
	free, err := fs.Free()
	if err != nil {
		free = -1
	}
	size, err := fs.Size()
	if err != nil {
		size = -1
	}
	t.mu.Lock()
	t.known = known{infos, free, size}
	t.mu.Unlock()
}
