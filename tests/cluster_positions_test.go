package tests

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd"
)

// TestClusterPositions: consumers save their positions while the member that keeps them is
// killed or stopped again and again. What was acknowledged is there, no version is given
// out twice, and of those who save for the same version one has it.
func TestClusterPositions(t *testing.T) {
	t.Parallel()
	c := newCluster(t, newLoopback(), 3, shortTimeout)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client := func() *logd.Client {
		cl, err := logd.NewClient(logd.ClientConfig{Addrs: c.addrs(), ReconnectAttempts: logd.Unlimited})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cl.Close() })
		return cl
	}
	if _, err := client().AppendMessage(ctx, "t", []byte("x")); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	given := make(map[int64]string) // versions, and to whom
	saves := 0
	give := func(version int64, to string) {
		mu.Lock()
		defer mu.Unlock()
		if before, twice := given[version]; twice {
			t.Errorf("version %d is given to %s, and was to %s", version, to, before)
		}
		given[version] = to
		saves++
	}
	done := make(chan struct{})
	var savers sync.WaitGroup
	// Each saves the next place for the version that it knows. One whose answer was lost
	// asks where the position is.
	save := func(name, consumer string, alone bool) {
		cl := client()
		var at, version int64
		for n := int64(1); ; n++ {
			select {
			case <-done:
				p, err := cl.Position(ctx, "t", consumer)
				if alone && (err != nil || p.At.Offset != at || p.Version != version) {
					t.Errorf("%s: %+v, %v, want it at %d, version %d", name, p, err, at, version)
				}
				return
			default:
			}
			got, err := cl.SetPosition(ctx, "t", consumer, logd.PositionChange{At: logd.ID{Offset: n}, Version: version})
			if err == nil {
				give(got, name)
				at, version = n, got
				continue
			}
			if ctx.Err() != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			p, asked := cl.Position(ctx, "t", consumer)
			switch {
			case errors.Is(asked, logd.ErrNotFound) && version == 0:
				continue
			case asked != nil:
				t.Errorf("%s: %v, after %v", name, asked, err)
				return
			case alone && p.Version == version && p.At.Offset == at: // it is not saved
				n--
			case alone && p.At.Offset != n:
				t.Errorf("%s: at %v, version %d, after %d was acknowledged with version %d and %d was not: %v", name, p.At, p.Version, at, version, n, err)
				return
			case alone && errors.Is(err, logd.ErrVersionConflict):
				t.Errorf("%s: %v, and nobody else saves it", name, err)
				return
			}
			at, version = p.At.Offset, p.Version
		}
	}
	for i := range 4 {
		savers.Go(func() { save(fmt.Sprint("saver ", i), fmt.Sprint("c", i), true) })
	}
	for i := range 2 {
		savers.Go(func() { save(fmt.Sprint("rival ", i), "both", false) })
	}
	for i := range 5 {
		time.Sleep(300 * time.Millisecond)
		leader := c.leader("__positions")
		if i == 2 {
			leader.pause()
			time.Sleep(4 * shortTimeout)
			leader.resume()
			continue
		}
		leader.kill()
		c.leader("__positions")
		leader.start()
		c.voters(3)
	}
	close(done)
	savers.Wait()
	if saves < 50 {
		t.Errorf("only %d saves", saves)
	}
	t.Logf("%d saves", saves)
}
