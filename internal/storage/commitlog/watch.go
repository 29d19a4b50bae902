package commitlog

import (
	"sync"
	"sync/atomic"

	"github.com/logd-dev/logd/internal/topic"
)

// watchers are the readers that wait at the end of a log.
type watchers struct {
	waiting atomic.Int64
	mu      sync.Mutex
	list    []topic.Waker
}

// Watch asks for one call of w.Wake as soon as the readable end is past
// offset, or the topic is deleted. It reports false, and asks for nothing, if
// that is so already.
func (l *Log) Watch(offset int64, w topic.Waker) bool {
	ws := &l.watchers
	ws.mu.Lock()
	ws.list = append(ws.list, w)
	ws.waiting.Store(int64(len(ws.list)))
	ws.mu.Unlock()
	if l.Readable() > offset || l.Deleted() {
		l.Unwatch(w)
		return false
	}
	return true
}

// Unwatch takes the wish of Watch back: no Wake comes after it.
func (l *Log) Unwatch(w topic.Waker) {
	ws := &l.watchers
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for i, o := range ws.list {
		if o == w {
			last := len(ws.list) - 1
			ws.list[i], ws.list[last] = ws.list[last], nil
			ws.list = ws.list[:last]
			break
		}
	}
	ws.waiting.Store(int64(len(ws.list)))
}

// Wake wakes all who wait, as the deletion of the topic does: it is for who knows that
// it will be deleted.
func (l *Log) Wake() { l.watchers.wake() }

// wake wakes everybody. It takes no lock while nobody waits.
func (ws *watchers) wake() {
	if ws.waiting.Load() == 0 {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for i, w := range ws.list {
		w.Wake()
		ws.list[i] = nil
	}
	ws.list = ws.list[:0]
	ws.waiting.Store(0)
}
