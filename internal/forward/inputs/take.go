package inputs

import (
	"sync"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// Bounds of what is collected before it is put.
const (
	maxCollect      = 64 << 10
	maxCollectCount = 1024
)

// collected is what taker keeps between adding and putting.
type collected struct {
	messages []feed.Message
	data     []byte // the bodies
}

var collectPool = sync.Pool{New: func() any {
	return &collected{make([]feed.Message, 0, 256), make([]byte, 0, 16<<10)}
}}

// taker collects messages of a source, so that they are put together. It keeps no memory
// while it has none. It is for one goroutine.
type taker struct {
	in   *Input
	live feed.Live
	c    *collected
}

// add adds a message, whose body is copied, and reports whether it is time to put.
func (t *taker) add(m feed.Message) (full bool) {
	if t.c == nil {
		t.c = collectPool.Get().(*collected)
	}
	at := len(t.c.data)
	t.c.data = append(t.c.data, m.Body...)
	m.Body = t.c.data[at:len(t.c.data):len(t.c.data)]
	t.c.messages = append(t.c.messages, m)
	return len(t.c.data) >= maxCollect || len(t.c.messages) >= maxCollectCount
}

// len returns how many were added and not put.
func (t *taker) len() int {
	if t.c == nil {
		return 0
	}
	return len(t.c.messages)
}

// put puts what was added. If there is an error, none of it is taken, and it is gone.
func (t *taker) put(safe func()) error {
	if t.len() == 0 {
		return nil
	}
	err := t.in.put(t.in.life, t.live, t.c.messages, t.in.config.Load().Full, safe)
	clear(t.c.messages)
	t.c.messages, t.c.data = t.c.messages[:0], t.c.data[:0]
	if cap(t.c.data) <= 2*maxCollect {
		collectPool.Put(t.c)
	}
	t.c = nil
	return err
}
