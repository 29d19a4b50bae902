package logd

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/outage"
)

// OnError is called at once for what is new, and once a second for what
// is not. What it is told adds up, and nothing is left out.
func TestReportsOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		var at []time.Duration
		start := time.Now()
		r := outage.Reports{Due: time.NewTimer(time.Hour), Kind: kindOf, Sum: addUp, Handler: func(err error) {
			told = append(told, err)
			at = append(at, time.Since(start))
		}}
		batchError := func(port int, kept bool) error {
			cause := &OpError{Op: "append", Topic: "t", Addr: fmt.Sprintf("a:%d", port), Err: ErrBusy, Outcome: OutcomeNotStored}
			return &BatchError{Topic: "t", Messages: 3, Batches: 1, Err: cause, Kept: kept}
		}
		for i := range 250 { // 2.5 seconds
			r.Add(batchError(i, true))
			r.Add(&DropError{Topic: "t", Messages: 2})
			if i == 100 {
				r.Add(batchError(i, false))
			}
			select {
			case now := <-r.Due.C:
				r.Tell(now)
			default:
			}
			time.Sleep(10 * time.Millisecond)
		}
		r.Flush()
		var batches, messages, lost, dropped int64
		for _, err := range told {
			if e, ok := errors.AsType[*BatchError](err); ok && e.Kept {
				batches += e.Batches
				messages += e.Messages
			} else if ok {
				lost += e.Messages
			} else if e, ok := errors.AsType[*DropError](err); ok {
				dropped += e.Messages
			}
		}
		if batches != 250 || messages != 750 || lost != 3 || dropped != 500 {
			t.Errorf("told of %d batches, %d messages, %d lost, %d dropped", batches, messages, lost, dropped)
		}
		if len(told) != 4+4+1 {
			t.Errorf("%d calls in 2.5 s: at %v", len(told), at)
		}
	})
}
