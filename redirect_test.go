package logd

import (
	"errors"
	"strings"
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
			default:
				p.Answer("%s\r\n", answer)
			}
		}
	}
}

// A Scanner and an append that is tried again go where the server says the leader
// is, also if that is none of ClientConfig.Addrs, and at once; without an address
// they go to the next node after a pause.
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
		"away":            {"ERR not leader away:1", []string{fakeAddr, leaderAddr}, fakeAddr + " away:1 " + leaderAddr, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, cfg := fake(t, follows(tt.answer))
				net.serve(leaderAddr, logServer())
				cfg.Addrs = tt.addrs
				c := dialTest(t, cfg)
				start := time.Now()
				if _, err := c.AppendMessage(t.Context(), "t", []byte("a")); !errors.Is(err, ErrNotLeader) || !IsNotStored(err) {
					t.Errorf("the first append: %v", err)
				}
				_, err := c.AppendMessage(t.Context(), "t", []byte("a"))
				took := time.Since(start)
				if name == "away" { // the list is tried from where the Client was
					if net.dialed() != fakeAddr+" away:1 "+fakeAddr || !errors.Is(err, ErrNotLeader) {
						t.Errorf("dialed %s, %v", net.dialed(), err)
					}
					return
				}
				if err != nil || net.dialed() != tt.dials || took > tt.most || tt.most > 0 && took == 0 {
					t.Errorf("%v; dialed %s after %v, want %s", err, net.dialed(), took, tt.dials)
				}
			})
		})
	}
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
		for range 6 {
			if err := c.Ping(t.Context()); !errors.Is(err, ErrNotLeader) {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < 4*c.cfg.ReconnectMin/2 {
			t.Errorf("6 requests took %v: %s", took, net.dialed())
		}
	})
}

// What else is under way on the connection gets its answers before the Client
// leaves.
func TestNotLeaderWaitsForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, cfg := fake(t, func(p *script.Peer) {
			p.Expect("PING")
			p.Expect("BATCH ")
			p.Answer("ERR not leader %s\r\n", leaderAddr)
			time.Sleep(time.Second)
			p.Answer("OK 0 1\r\n")
			p.AwaitClose()
		})
		c := dialTest(t, cfg)
		var appended Pending
		pinged := make(chan error)
		go func() { pinged <- c.Ping(t.Context()) }()
		synctest.Wait()
		if err := c.StartAppend(t.Context(), "other", batchOf("x"), &appended); err != nil {
			t.Fatal(err)
		}
		if err := <-pinged; !errors.Is(err, ErrNotLeader) {
			t.Error(err)
		}
		if _, err := appended.Wait(t.Context()); err != nil {
			t.Errorf("the append beside it: %v", err)
		}
		if strings.Contains(net.dialed(), leaderAddr) {
			t.Errorf("dialed %s", net.dialed())
		}
	})
}
