package logdtest_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
	"github.com/logd-dev/logd/logdtest/memnet"
)

// Servers run in one bubble after another, and outside of any: nothing of one
// gets into another, whatever many clients do at once.
func TestServersInBubbles(t *testing.T) {
	many := func(t *testing.T, options ...logdtest.Option) {
		server := logdtest.Start(t, options...)
		client := server.Client(t)
		var wg sync.WaitGroup
		for range 8 {
			other := server.Client(t)
			wg.Go(func() {
				for range 20 {
					appendOne(t, other, "t", "x")
				}
			})
		}
		wg.Wait()
		info, err := client.Info(t.Context(), "t")
		if err != nil || info.Messages != 160 {
			t.Errorf("%+v, %v", info, err)
		}
	}
	for range 3 {
		many(t, logdtest.SyncEveryBatch())
		many(t)
		synctest.Test(t, func(t *testing.T) { many(t, logdtest.On(memnet.New(t)), logdtest.SyncEveryBatch()) })
		synctest.Test(t, func(t *testing.T) { many(t, logdtest.On(memnet.New(t))) })
	}
}

// In a bubble, what the server does by the clock happens when the clock says so:
// it closes an idle connection, and a Client that waits outlives that.
func TestServerInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		server := logdtest.Start(t, logdtest.On(network))
		client := server.Client(t)
		appendOne(t, client, "t", "one")
		start := time.Now()
		time.Sleep(24 * time.Hour)
		appendOne(t, client, "t", "two")
		info, err := client.Info(t.Context(), "t")
		if err != nil || !info.OldestTime.Equal(start) || !info.NewestTime.Equal(start.Add(24*time.Hour)) {
			t.Errorf("%+v, %v", info, err)
		}
		// A follower waits for what comes a day later, over a server that restarts.
		s, err := logd.NewScanner(t.Context(), server.Client(t), "t", logd.ScannerConfig{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		got := make(chan string, 3)
		go func() {
			for range 3 {
				if !s.Scan() {
					t.Error(s.Err())
				}
				got <- string(s.Message().Body)
			}
		}()
		time.Sleep(time.Hour)
		server.Restart()
		network.Cut(server.Addr())
		time.Sleep(24 * time.Hour)
		reach(t, client)
		appendOne(t, client, "t", "three")
		synctest.Wait()
		for _, want := range []string{"one", "two", "three"} {
			select {
			case m := <-got:
				if m != want {
					t.Errorf("%q, want %q", m, want)
				}
			default:
				t.Errorf("%q has not come", want)
			}
		}
	})
}
