package progress_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
	"github.com/logd-dev/logd/logdtest/memnet"
	"github.com/logd-dev/logd/progress"
)

// inBubble runs a test with a server and a client of it, for which time passes at once.
func inBubble(t *testing.T, test func(t *testing.T, srv *logdtest.Server, client *logd.Client)) {
	synctest.Test(t, func(t *testing.T) {
		srv := logdtest.Start(t, logdtest.On(memnet.New(t)))
		test(t, srv, srv.Client(t))
	})
}

// fill stores batches of two messages each: "0", "1", …
func fill(t *testing.T, client *logd.Client, topic string, batches int) {
	t.Helper()
	for i := range batches {
		var b logd.Batch
		b.Add(fmt.Appendf(nil, "%d", 2*i))
		b.Add(fmt.Appendf(nil, "%d", 2*i+1))
		if _, err := client.Append(t.Context(), topic, &b); err != nil {
			t.Fatal(err)
		}
	}
}

func newServer(t *testing.T, client *logd.Client, cfg progress.ServerConfig) *progress.Server {
	t.Helper()
	p, err := progress.NewServer(client, "t", "c", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// work does up to n messages and returns them.
func work(t *testing.T, client *logd.Client, p logd.Progress, n int64) (done []string, err error) {
	t.Helper()
	s, err := logd.NewScanner(t.Context(), client, "t", logd.ScannerConfig{Progress: p, Limit: n})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for s.Scan() {
		if err := s.Done(s.Message(), nil); err != nil {
			return done, err
		}
		done = append(done, string(s.Message().Body))
	}
	return done, s.Err()
}

// TestServer: where one run has stopped, inside a batch or behind one, the next goes on,
// and each message is done once.
func TestServer(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *logdtest.Server, client *logd.Client) {
		fill(t, client, "t", 4)
		var all []string
		for _, n := range []int64{1, 2, 1, 3} {
			p := newServer(t, client, progress.ServerConfig{})
			done, err := work(t, client, p, n)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, done...)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if err := p.Done(logd.ID{}, nil); !errors.Is(err, logd.ErrClosed) {
				t.Errorf("Done after Close: %v", err)
			}
		}
		if want := []string{"0", "1", "2", "3", "4", "5", "6"}; !slices.Equal(all, want) {
			t.Errorf("done %q, want %q", all, want)
		}
		at, err := client.Position(t.Context(), "t", "c")
		if err != nil || at.LagMessages != 1 || at.State != "ok" || at.Version != 5 {
			t.Errorf("%+v, %v", at, err)
		}
		// What another one says while a server is away is not lost.
		p := newServer(t, client, progress.ServerConfig{Every: time.Millisecond})
		srv.Stop()
		go func() { time.Sleep(50 * time.Millisecond); srv.Restart() }()
		if done, err := work(t, client, p, 0); err != nil || !slices.Equal(done, []string{"7"}) {
			t.Errorf("after a restart: %q, %v", done, err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		all2, err := client.Positions(t.Context(), "")
		if err != nil || len(all2) != 1 || all2[0].LagBytes != 0 {
			t.Errorf("%+v, %v", all2, err)
		}
	})
}

// TestServerSaves: it saves by itself, though nothing more is done.
func TestServerSaves(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *logdtest.Server, client *logd.Client) {
		fill(t, client, "t", 1)
		p := newServer(t, client, progress.ServerConfig{Every: 5 * time.Millisecond})
		if _, err := work(t, client, p, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if at, err := client.Position(t.Context(), "t", "c"); err != nil || at.LagBytes != 0 {
			t.Errorf("%+v, %v", at, err)
		}
	})
}

// TestServerMoved: an operator's move counts, and the one that runs saves nothing any
// more.
func TestServerMoved(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *logdtest.Server, client *logd.Client) {
		fill(t, client, "t", 3)
		moved := make(chan logd.ConsumerPosition, 1)
		p := newServer(t, client, progress.ServerConfig{Every: time.Hour, OnMoved: func(to logd.ConsumerPosition) { moved <- to }})
		if _, err := work(t, client, p, 2); err != nil {
			t.Fatal(err)
		}
		if _, err := client.SetPosition(t.Context(), "t", "c", logd.PositionChange{Version: logd.AnyVersion, Note: "ops"}); err != nil {
			t.Fatal(err)
		}
		if err := p.Save(t.Context()); !errors.Is(err, progress.ErrMoved) {
			t.Fatalf("Save: %v", err)
		}
		if to := <-moved; to.Note != "ops" || to.At != (logd.ID{}) {
			t.Errorf("moved to %+v", to)
		}
		if _, err := work(t, client, p, 2); !errors.Is(err, progress.ErrMoved) {
			t.Errorf("it goes on: %v", err)
		}
		p.Close()
		if at, err := client.Position(t.Context(), "t", "c"); err != nil || at.At != (logd.ID{}) {
			t.Errorf("%+v, %v", at, err)
		}
		again := newServer(t, client, progress.ServerConfig{})
		if done, err := work(t, client, again, 1); err != nil || !slices.Equal(done, []string{"0"}) {
			t.Errorf("the next begins with %q, %v", done, err)
		}
	})
}

// TestServerHold: a second one waits until the first lets go, and goes on where it was.
func TestServerHold(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *logdtest.Server, client *logd.Client) {
		fill(t, client, "t", 3)
		first := newServer(t, client, progress.ServerConfig{Hold: time.Minute, As: "first"})
		if _, err := work(t, client, first, 3); err != nil {
			t.Fatal(err)
		}
		var held *logd.HeldError
		if _, err := client.SetPosition(t.Context(), "t", "c", logd.PositionChange{Version: logd.AnyVersion}); !errors.As(err, &held) || held.Left > time.Minute {
			t.Errorf("set by another: %v", err)
		}
		second := newServer(t, client, progress.ServerConfig{Hold: time.Minute, As: "second"})
		type result struct {
			done []string
			err  error
		}
		got := make(chan result)
		go func() {
			done, err := work(t, client, second, 1)
			got <- result{done, err}
		}()
		time.Sleep(10 * time.Minute) // the first goes on holding it
		select {
		case r := <-got:
			t.Fatalf("the second does not wait: %q, %v", r.done, r.err)
		default:
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		if r := <-got; r.err != nil || !slices.Equal(r.done, []string{"3"}) {
			t.Errorf("the second does %q, %v", r.done, r.err)
		}
		at, err := client.Position(t.Context(), "t", "c")
		if err != nil || at.Holder != "second" {
			t.Errorf("%+v, %v", at, err)
		}
	})
}

// TestServerCrashes: who comes in place of one that has crashed waits for the hold to end,
// and does again what was not saved.
func TestServerCrashes(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *logdtest.Server, client *logd.Client) {
		fill(t, client, "t", 3)
		mine := srv.Client(t)
		first := newServer(t, mine, progress.ServerConfig{Hold: time.Minute, Every: time.Hour, As: "first"})
		if done, err := work(t, mine, first, 3); err != nil || len(done) != 3 {
			t.Fatalf("%q, %v", done, err)
		}
		mine.Close() // as if its process was gone: nothing more is saved, or held
		began := time.Now()
		second := newServer(t, client, progress.ServerConfig{Hold: time.Minute, As: "second"})
		done, err := work(t, client, second, 1)
		if took := time.Since(began); err != nil || !slices.Equal(done, []string{"0"}) || took < 30*time.Second || took > 2*time.Minute {
			t.Errorf("after %v the second does %q, %v", took, done, err)
		}
	})
}

// TestServerTopicReplaced: positions of a topic that was deleted mean nothing in the next.
func TestServerTopicReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *logdtest.Server, client *logd.Client) {
		fill(t, client, "t", 2)
		p := newServer(t, client, progress.ServerConfig{})
		if _, err := work(t, client, p, 3); err != nil {
			t.Fatal(err)
		}
		p.Close()
		in, err := client.Info(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Command(t.Context(), "DELETE t id="+in.ID); err != nil {
			t.Fatal(err)
		}
		fill(t, client, "t", 2)
		if _, err := client.Position(t.Context(), "t", "c"); !errors.Is(err, logd.ErrNotFound) {
			t.Errorf("the new topic has a position: %v", err)
		}
		p = newServer(t, client, progress.ServerConfig{})
		if done, err := work(t, client, p, 0); err != nil || len(done) != 4 {
			t.Errorf("%q, %v", done, err)
		}
	})
}

// TestShare: two workers share a topic: each message is done once, and who comes in place
// of one that has ended goes on where it was.
func TestShare(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *logdtest.Server, client *logd.Client) {
		fill(t, client, "t", 10)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		share := func() *progress.Shared {
			s, err := progress.Share(ctx, client, "t", "w", 2, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		}
		var done []string
		do := func(s *progress.Shared, n int64) {
			sc, err := logd.NewScanner(ctx, client, "t", logd.ScannerConfig{Progress: s, Limit: n})
			if err != nil {
				t.Fatal(err)
			}
			defer sc.Close()
			for sc.Scan() {
				if s.Mine(sc.Message()) {
					done = append(done, string(sc.Message().Body))
				}
				if err := sc.Done(sc.Message(), nil); err != nil {
					t.Fatal(err)
				}
			}
			if sc.Err() != nil {
				t.Fatal(sc.Err())
			}
		}
		a, b := share(), share()
		if a.Number != 0 || b.Number != 1 {
			t.Fatalf("shares %d and %d", a.Number, b.Number)
		}
		do(a, 7)
		do(b, 0)
		short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
		defer stop()
		if _, err := progress.Share(short, client, "t", "w", 2, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a third share: %v", err)
		}
		a.Close()
		if c := share(); c.Number == 0 {
			do(c, 0)
		} else {
			t.Errorf("share %d is free", c.Number)
		}
		slices.Sort(done)
		if len(slices.Compact(slices.Clone(done))) != 20 || len(done) != 20 {
			t.Errorf("%d done: %q", len(done), done)
		}
	})
}

// TestServerConfig: what is wrong is named.
func TestServerConfig(t *testing.T) {
	for _, cfg := range []progress.ServerConfig{{Every: -1}, {Hold: time.Millisecond}, {Hold: time.Hour}, {MaxStarted: -2}} {
		if _, err := progress.NewServer(nil, "t", "c", cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}
