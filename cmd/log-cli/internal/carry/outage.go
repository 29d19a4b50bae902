package carry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
)

// errInterrupted ends a command that the user has interrupted.
var errInterrupted = exit.With(exit.Failed, errors.New("interrupted"))

// The pauses between attempts to reach a server.
const (
	minPause = 20 * time.Millisecond
	maxPause = 2 * time.Second
)

// outage is the time for which a server does not do what it is asked.
type outage struct {
	app   *cli.App
	retry time.Duration // how long to wait for it; less than 0 is for ever

	since time.Time // zero if there is none
	pause time.Duration
}

// wait waits before the next attempt, since the last one has failed with err. It returns
// an error if there is to be none.
func (o *outage) wait(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case !logd.IsRetryable(err) || o.retry == 0:
		return err
	case o.since.IsZero():
		o.since, o.pause = time.Now(), minPause
		why := cli.Plain(err)
		if op, ok := errors.AsType[*logd.OpError](err); ok && op.Addr != "" {
			why = fmt.Sprintf("%s: %v", op.Addr, op.Err) // what was on its way is sent again
		}
		o.app.Note("%s; trying on", why)
	case o.retry > 0 && time.Since(o.since) >= o.retry:
		return fmt.Errorf("the server was away for %v: %w", o.retry, err)
	}
	timer := time.NewTimer(o.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return errInterrupted
	}
	o.pause = min(2*o.pause, maxPause)
	return nil
}

// over notes that the server does what it is asked.
func (o *outage) over() {
	if !o.since.IsZero() {
		o.since = time.Time{}
		o.app.Note("the server answers again")
	}
}

// do calls f until it does not fail, or there is no use.
func (o *outage) do(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			o.over()
			return nil
		}
		if err := o.wait(ctx, err); err != nil {
			return err
		}
	}
}

// defaultRetry is how long to wait for a server if nothing is said.
const defaultRetry = time.Minute
