package cluster

import "sync"

// actor does what is posted to it, one thing after another, in order. In a running
// node each has a goroutine; a simulation steps them as it likes.
type actor struct {
	mu    sync.Mutex
	queue []func()
	wake  chan struct{} // has room for one
}

func newActor() actor { return actor{wake: make(chan struct{}, 1)} }

// post has f done after all that was posted before. It does not block.
func (a *actor) post(f func()) {
	a.mu.Lock()
	a.queue = append(a.queue, f)
	a.mu.Unlock()
	a.signal()
}

func (a *actor) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// step does the next thing, and reports whether there was one.
func (a *actor) step() bool {
	a.mu.Lock()
	if len(a.queue) == 0 {
		a.mu.Unlock()
		return false
	}
	f := a.queue[0]
	a.queue[0] = nil
	if a.queue = a.queue[1:]; len(a.queue) == 0 {
		a.queue = nil
	}
	a.mu.Unlock()
	f()
	return true
}

// run does what is posted until stop is closed.
func (a *actor) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-a.wake:
		}
		for a.step() {
			select {
			case <-stop:
				return
			default:
			}
		}
	}
}
