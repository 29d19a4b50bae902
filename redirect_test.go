package logd

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/logdtest/script"
)

const leaderAddr = "leader:1774"

// follows is a script of a node that answers every request with the text.
func follows(answer string) func(*script.Peer) {
	return func(p *script.Peer) {
		for {
			r, ok := p.Request()
			line := r.Line
			switch {
			case !ok:
				return
			case line == "CONFIG":
				p.AnswerConfig(DefaultMaxBatchSize)
			case line == "CLUSTER":
				p.Answer("ERR invalid request\r\n")
			default:
				p.Answer("%s\r\n", answer)
			}
		}
	}
}

// An append goes where the server says that the leader is, also if that is none of
// ClientConfig.Addrs, and at once; without an address it goes to the next server after
// a pause. The next one goes there, too.
func TestNotLeaderGoesThere(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		addrs  []string
		dials  string
		most   time.Duration
	}{
		"named":           {"ERR not leader " + leaderAddr, []string{fakeAddr}, fakeAddr + " " + leaderAddr, 0},
		"named and known": {"ERR not leader " + leaderAddr, []string{fakeAddr, "none:1", leaderAddr}, fakeAddr + " " + leaderAddr, 0},
		"not named":       {"ERR not leader", []string{fakeAddr, leaderAddr}, fakeAddr + " " + leaderAddr, time.Second},
		"itself":          {"ERR not leader " + fakeAddr, []string{fakeAddr, leaderAddr}, fakeAddr + " " + leaderAddr, time.Second},
		"no address":      {"ERR not leader somewhere", []string{fakeAddr, leaderAddr}, fakeAddr + " " + leaderAddr, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, cfg := fake(t, follows(tt.answer))
				net.serve(leaderAddr, logServer())
				cfg.Addrs = tt.addrs
				c := dialTest(t, cfg)
				start := time.Now()
				for range 2 {
					if _, err := c.AppendMessage(t.Context(), "t", []byte("a")); err != nil {
						t.Error(err)
					}
				}
				if took := time.Since(start); net.dialed() != tt.dials || took > tt.most {
					t.Errorf("dialed %s after %v, want %s", net.dialed(), took, tt.dials)
				}
			})
		})
	}
}

// If nobody leads, an append is tried until its attempts are over, and is not stored.
func TestNotLeaderAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, cfg := fake(t, follows("ERR not leader away:1"))
		net.serve(leaderAddr, follows("ERR not leader"))
		cfg.Addrs = []string{fakeAddr, leaderAddr}
		c := dialTest(t, cfg)
		start := time.Now()
		_, err := c.AppendMessage(t.Context(), "t", []byte("a"))
		if took := time.Since(start); !IsRetryable(err) || !IsNotStored(err) || took < time.Second/2 || took > 10*time.Second {
			t.Errorf("%v after %v; dialed %s", err, took, net.dialed())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = c.AppendMessage(ctx, "t", []byte("a"))
		if !errors.Is(err, context.DeadlineExceeded) || !IsNotStored(err) || IsRetryable(err) {
			t.Errorf("until the context ends: %v", err)
		}
	})
}

// A Pending says that its batch is not stored, and the next one goes to the leader.
func TestPendingLearnsTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, cfg := fake(t, follows("ERR not leader "+leaderAddr))
		net.serve(leaderAddr, logServer())
		c := dialTest(t, cfg)
		var p Pending
		if err := c.StartAppend(t.Context(), "t", batchOf("a"), &p); err != nil {
			t.Fatal(err)
		}
		_, err := p.Wait(t.Context())
		if leads, ok := errors.AsType[*NotLeaderError](err); !ok || leads.Addr != leaderAddr || !IsNotStored(err) || !IsRetryable(err) {
			t.Errorf("the first: %v", err)
		}
		if _, err := c.AppendAsync(t.Context(), "t", batchOf("a")).Wait(t.Context()); err != nil {
			t.Errorf("the second: %v", err)
		}
	})
}

// A Scanner reads on at the leader, without a pause.
func TestScannerNotLeader(t *testing.T) {
	for _, follow := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			net, cfg := fake(t, follows("ERR not leader "+leaderAddr))
			net.serve(leaderAddr, func(p *script.Peer) {
				p.Exchange("READ t 0 ", "OK 0 1\r\n"+stored("t", "a"))
				p.AwaitClose()
			})
			c, err := NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			start := time.Now()
			s, err := NewScanner(t.Context(), c, "t", ScannerConfig{Start: AtOffset(0), Follow: follow, Limit: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if m, err := s.Next(t.Context()); err != nil || string(m.Body) != "a" || time.Since(start) > 0 {
				t.Errorf("%q, %v after %v", m.Body, err, time.Since(start))
			}
			if got, want := net.dialed(), fakeAddr+" "+leaderAddr; got != want {
				t.Errorf("dialed %s, want %s", got, want)
			}
		})
	}
}

// Two nodes that name each other are not asked in a tight loop.
func TestNotLeaderLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, cfg := fake(t, follows("ERR not leader "+leaderAddr))
		net.serve(leaderAddr, follows("ERR not leader "+fakeAddr))
		cfg.ReconnectAttempts = 4
		c := dialTest(t, cfg)
		start := time.Now()
		if _, err := c.AppendMessage(t.Context(), "t", []byte("a")); !errors.Is(err, ErrNotLeader) {
			t.Error(err)
		}
		if took := time.Since(start); took < 100*time.Millisecond || net.count() != 2 {
			t.Errorf("it took %v: %s", took, net.dialed())
		}
	})
}

// What else is under way on the connection gets its answers there.
func TestNotLeaderLeavesOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, cfg := fake(t, func(p *script.Peer) {
			p.Expect("TRIM led")
			p.Expect("BATCH ")
			p.Answer("ERR not leader %s\r\n", leaderAddr)
			time.Sleep(time.Second)
			p.Answer("OK 0 1\r\n")
			p.Exchange("CLUSTER", "ERR invalid request\r\n")
			p.AwaitClose()
		})
		net.serve(leaderAddr, func(p *script.Peer) {
			p.Exchange("TRIM led", "OK 7 0\r\n")
			p.AwaitClose()
		})
		c := dialTest(t, cfg)
		var appended Pending
		trimmed := make(chan error)
		go func() {
			_, err := c.Command(t.Context(), "TRIM led 7")
			trimmed <- err
		}()
		synctest.Wait()
		if err := c.StartAppend(t.Context(), "other", batchOf("x"), &appended); err != nil {
			t.Fatal(err)
		}
		if err := <-trimmed; err != nil {
			t.Error(err)
		}
		if _, err := appended.Wait(t.Context()); err != nil {
			t.Errorf("the append beside it: %v", err)
		}
		if c.Addr() != fakeAddr {
			t.Errorf("the Client is at %q", c.Addr())
		}
	})
}
