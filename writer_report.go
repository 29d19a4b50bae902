package logd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// reportPause is how long OnError is left alone with one failure.
const reportPause = time.Second

// maxReported bounds how many different failures are remembered.
const maxReported = 64

// reports tells OnError of failures: of the first at once, and of others
// of the same kind added up, at most once in a reportPause. It is for the
// Writer's goroutine.
type reports struct {
	handler func(error)
	kinds   []*reported
	due     *time.Timer // ends when something held back is due
}

// reported is a kind of failure that the handler was told of.
type reported struct {
	kind string
	last time.Time // when it was told
	held error     // what came since, nil if nothing did
}

// add tells the handler of the error, or holds it back.
func (r *reports) add(err error) {
	if r.handler == nil {
		return
	}
	now := time.Now()
	r.tell(now)
	kind := kindOf(err)
	for _, k := range r.kinds {
		if k.kind == kind {
			k.held = addUp(k.held, err)
			r.arm(now)
			return
		}
	}
	if len(r.kinds) == maxReported {
		oldest := r.kinds[0]
		r.kinds = r.kinds[1:]
		if oldest.held != nil {
			r.handler(oldest.held)
		}
	}
	r.kinds = append(r.kinds, &reported{kind: kind, last: now})
	r.handler(err)
}

// tell tells of what is due, and forgets kinds that have not come again.
func (r *reports) tell(now time.Time) {
	r.kinds = slices.DeleteFunc(r.kinds, func(k *reported) bool {
		if now.Sub(k.last) < reportPause {
			return false
		}
		err := k.held
		k.held, k.last = nil, now
		if err != nil {
			r.handler(err)
		}
		return err == nil
	})
	r.arm(now)
}

// flush tells of all that was held back.
func (r *reports) flush() {
	for _, k := range r.kinds {
		if k.held != nil {
			r.handler(k.held)
		}
	}
	r.kinds = nil
	r.due.Stop()
}

// arm sets the timer for what is due first.
func (r *reports) arm(now time.Time) {
	wait := time.Duration(-1)
	for _, k := range r.kinds {
		if left := reportPause - now.Sub(k.last); k.held != nil && (wait < 0 || left < wait) {
			wait = left
		}
	}
	if wait >= 0 {
		r.due.Reset(wait)
	}
}

// kindOf returns what errors of the same failure have in common: their type and
// text, apart from numbers, which may be those of a port.
func kindOf(err error) string {
	var kind string
	switch e := err.(type) {
	case *BatchError:
		kind = fmt.Sprint("batch ", e.Kept, outcomeOf(e.Err), e.Err, e.Backlog)
	case *DropError:
		return "drop"
	default:
		kind = err.Error()
	}
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, kind)
}

// addUp returns one error for two of the same kind, of which the first may be
// nil.
func addUp(held, err error) error {
	switch e := err.(type) {
	case *BatchError:
		if was, ok := errors.AsType[*BatchError](held); ok {
			sum := *e // the callbacks have e
			sum.Messages += was.Messages
			sum.Batches += was.Batches
			return &sum
		}
	case *DropError:
		if was, ok := errors.AsType[*DropError](held); ok {
			return &DropError{Topic: e.Topic, Messages: e.Messages + was.Messages}
		}
	}
	return err
}
