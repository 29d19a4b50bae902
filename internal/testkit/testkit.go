// Package testkit has what tests of several packages need. Only tests import it.
package testkit

import (
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// patience is how long Eventually waits.
const patience = 20 * time.Second

// Eventually waits until problem returns nothing. If that takes long, the test has
// failed, with what problem returned last, and ends.
func Eventually(t testing.TB, problem func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		p := problem()
		if p == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(p)
		}
		<-tick.C
	}
}

// Unless returns nothing if ok, and otherwise the problem: it is for Eventually.
func Unless(ok bool, problem string) string {
	if ok {
		return ""
	}
	return problem
}

// Batch returns a whole batch for the topic, with a message for each body: as it
// is sent and stored.
func Batch(topic string, bodies ...string) string {
	var b batch.Builder
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	return string(b.Finish(topic))
}
