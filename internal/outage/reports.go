package outage

import (
	"slices"
	"time"
)

// ReportPause is how long the handler is left alone with one failure.
const ReportPause = time.Second

// maxReported bounds how many different failures are remembered.
const maxReported = 64

// Reports tells a handler of failures: of the first at once, and of others of the
// same kind added up, at most once in a second. It is for one goroutine.
type Reports struct {
	// Handler is told; nil for nobody.
	Handler func(error)
	// Kind returns what errors of the same failure have in common, and Sum one error
	// for two of them, of which the first may be nil.
	Kind func(error) string
	Sum  func(held, err error) error
	// Due ends when something that was held back is due: then Tell is to be called.
	Due *time.Timer

	kinds []*reported
}

// reported is a kind of failure that the handler was told of.
type reported struct {
	kind string
	last time.Time // when it was told
	held error     // what came since, nil if nothing did
}

// Add tells the handler of the error, or holds it back.
func (r *Reports) Add(err error) {
	if r.Handler == nil {
		return
	}
	now := time.Now()
	r.Tell(now)
	kind := r.Kind(err)
	for _, k := range r.kinds {
		if k.kind == kind {
			k.held = r.Sum(k.held, err)
			r.arm(now)
			return
		}
	}
	if len(r.kinds) == maxReported {
		oldest := r.kinds[0]
		r.kinds = r.kinds[1:]
		if oldest.held != nil {
			r.Handler(oldest.held)
		}
	}
	r.kinds = append(r.kinds, &reported{kind: kind, last: now})
	r.Handler(err)
}

// Tell tells of what is due, and forgets kinds that have not come again.
func (r *Reports) Tell(now time.Time) {
	r.kinds = slices.DeleteFunc(r.kinds, func(k *reported) bool {
		if now.Sub(k.last) < ReportPause {
			return false
		}
		err := k.held
		k.held, k.last = nil, now
		if err != nil {
			r.Handler(err)
		}
		return err == nil
	})
	r.arm(now)
}

// Flush tells of all that was held back.
func (r *Reports) Flush() {
	for _, k := range r.kinds {
		if k.held != nil {
			r.Handler(k.held)
		}
	}
	r.kinds = nil
	r.Due.Stop()
}

// arm sets the timer for what is due first.
func (r *Reports) arm(now time.Time) {
	wait := time.Duration(-1)
	for _, k := range r.kinds {
		if left := ReportPause - now.Sub(k.last); k.held != nil && (wait < 0 || left < wait) {
			wait = left
		}
	}
	if wait >= 0 {
		r.Due.Reset(wait)
	}
}
