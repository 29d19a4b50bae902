package clustertest

import (
	"errors"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
)

// TestCloseWhileWritten: who appends to a node that is closed gets an answer.
func TestCloseWhileWritten(t *testing.T) {
	for range 5 {
		c := Start(t, 1)
		c.Append("t", "first")
		m, l := c.lead("t")
		wire := []byte(testkit.Batch("t", "more"))
		extents := []batch.Extent{{Len: int64(len(wire)), Messages: 1}}
		ended := make(chan error)
		const writers = 8
		for range writers {
			go func() {
				for {
					a, err := l.Append(t.Context(), wire, extents)
					if err == nil {
						err = l.Commit(t.Context(), a)
					}
					if err != nil {
						ended <- err
						return
					}
				}
			}()
		}
		testkit.Eventually(t, func() string { return testkit.Unless(m.Log("t").Next() > 10*int64(len(wire)), "little is written") })
		m.Stop()
		for range writers {
			select {
			case err := <-ended:
				var moved *topic.NotLeaderError
				if !errors.Is(err, topic.ErrClosed) && !errors.Is(err, topic.ErrInDoubt) && !errors.Is(err, topic.ErrReadOnly) && !errors.As(err, &moved) {
					t.Errorf("a writer ends with %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("a writer waits for a node that is closed")
			}
		}
	}
}
