package logd

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd/logdtest/script"
)

// Each form of answer is told from the others, and the body is the caller's.
func TestCommand(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		p.Exchange("PING", "OK\r\n")
		p.Exchange("TRIM t 5", "OK 0 0\r\n")
		p.Exchange("STATS", mok("a: 1\r\n"))
		p.Exchange("STATS", mok(""))
		p.Exchange("HOOK t 5 skip", "ERR not found\r\n")
		p.Exchange("CONFIG", mok("MaxBatchSize: 1000\r\n"))
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	var replies []Reply
	for _, line := range []string{"PING", "TRIM t 5", "STATS", "STATS"} {
		reply, err := c.Command(t.Context(), line)
		if err != nil {
			t.Fatal(err)
		}
		replies = append(replies, reply)
	}
	want := []Reply{{-1, nil, fakeAddr}, {0, nil, fakeAddr}, {-1, []byte("a: 1\r\n"), fakeAddr}, {-1, []byte{}, fakeAddr}}
	if diff := cmp.Diff(want, replies); diff != "" {
		t.Errorf("replies (-want +got):\n%s", diff)
	}
	_, err := c.Command(t.Context(), "HOOK t 5 skip")
	if op, ok := errors.AsType[*OpError](err); !ok || op.Op != "hook" || op.Addr != fakeAddr || op.Err != ErrNotFound {
		t.Errorf("refused: %v", err)
	}
	// What the answer to CONFIG tells of batches, the Client knows from then on.
	if _, err := c.Command(t.Context(), "CONFIG"); err != nil {
		t.Error(err)
	}
	if _, err := c.Append(t.Context(), "t", batchOf(strings.Repeat("x", 1000))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a batch that is too large: %v", err)
	}
}

// What is no request line with a line for an answer is not sent: the connection
// serves others.
func TestCommandIsNotSent(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		p.Exchange("PING", "OK\r\n")
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	for line, says := range map[string]string{
		"":                                     "does not begin with a command",
		" PING":                                "does not begin with a command",
		"ping":                                 "does not begin with a command",
		"PING1":                                "does not begin with a command",
		"{}":                                   "does not begin with a command",
		"PING\r\nPING":                         "control character",
		"PING\n":                               "control character",
		"PING\r":                               "control character",
		"PING\x00":                             "control character",
		"INFO " + strings.Repeat("x", 1020):    "of at most 1024",
		"BATCH 5 t 0 1":                        "Client.Append",
		"BATCH":                                "Client.Append",
		"MSG 5":                                "Client.Append",
		"READ t 0 1":                           "Client.Read",
		"TAIL t 1":                             "Client.Read",
		"CLOSE":                                "others share",
		"HELLO 1":                              "others share",
		"AUTH secret":                          "others share",
		"READ t 0 1" + strings.Repeat(" ", 10): "Client.Read",
	} {
		_, err := c.Command(t.Context(), line)
		if !errors.Is(err, ErrInvalidRequest) || IsRetryable(err) || !strings.Contains(err.Error(), says) || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%q: %v, want an error that says %q", line, err, says)
		}
		if op, ok := errors.AsType[*OpError](err); !ok || op.Addr != "" {
			t.Errorf("%q: %v is not the Client's own", line, err)
		}
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("the call after them: %v", err)
	}
}

// An answer of batches, to a command that this version does not know, ends the
// connection: the call behind it never gets a part of it for its answer.
func TestCommandWithBatchesForAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := fake(t, func(p *script.Peer) {
			if p.Number() == 1 {
				p.Input.ReadString('\n') // script knows requests of this version alone
				p.Expect("PING")
				p.Answer("%s", "OK 0 1\r\n"+stored("t", "OK")+"OK\r\n")
				p.AwaitClose()
				return
			}
			p.Exchange("PING", "OK\r\n")
			p.AwaitClose()
		})
		c := dialTest(t, cfg)
		sent, pinged := make(chan error), make(chan error)
		go func() {
			_, err := c.Command(t.Context(), "NEWREAD t 0")
			sent <- err
		}()
		synctest.Wait()
		go func() { pinged <- c.Ping(t.Context()) }()
		if err := <-sent; !errors.Is(err, ErrBadAnswer) {
			t.Errorf("NEWREAD: %v", err)
		}
		if err := <-pinged; !errors.Is(err, ErrConnectionLost) {
			t.Errorf("PING behind it: %v", err)
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Errorf("PING after it: %v", err)
		}
	})
}

// A command goes where the server says that the leader is.
func TestCommandNotLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, cfg := fake(t, follows("ERR not leader "+leaderAddr))
		net.serve(leaderAddr, func(p *script.Peer) {
			p.Exchange("TRIM t 5", "OK 0 0\r\n")
			p.AwaitClose()
		})
		c := dialTest(t, cfg)
		if reply, err := c.Command(t.Context(), "TRIM t 5"); err != nil || reply.Addr != leaderAddr {
			t.Errorf("%+v, %v", reply, err)
		}
	})
}

// A request that changes nothing is sent to the next host if the first one hangs
// up; any other one is not: it may have been done.
func TestCommandIsRepeated(t *testing.T) {
	for line, want := range map[string]error{
		"HOOKS": nil, "RETENTION t": nil, "HELP": nil, "PING": nil,
		"TRIM t 5": ErrConnectionLost, "DELETE t id=12": ErrConnectionLost, "HOOK t 5 retry": ErrConnectionLost,
	} {
		synctest.Test(t, func(t *testing.T) {
			net, cfg := fake(t, func(p *script.Peer) { p.Request() })
			net.serve("b:1", func(p *script.Peer) {
				p.Exchange(line, "OK\r\n")
				p.AwaitClose()
			})
			cfg.Addrs = []string{fakeAddr, "b:1"}
			c := dialTest(t, cfg)
			if _, err := c.Command(t.Context(), line); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", line, err, want)
			}
		})
	}
}

// A server that is silent costs a command ReadTimeout, and one that announces too
// long a body costs no memory.
func TestCommandLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := fake(t, func(p *script.Peer) {
			p.Expect("STATS")
			if p.Number() == 1 {
				p.Answer("MOK 2000\r\n")
			}
			p.AwaitClose()
		})
		cfg.MaxReplySize, cfg.ReadTimeout = 1999, time.Second
		c := dialTest(t, cfg)
		if _, err := c.Command(t.Context(), "STATS"); !errors.Is(err, ErrBadAnswer) {
			t.Errorf("a body that is too long: %v", err)
		}
		start := time.Now()
		if _, err := c.Command(t.Context(), "STATS"); !errors.Is(err, ErrConnectionLost) || time.Since(start) < time.Second || time.Since(start) > 2*time.Second {
			t.Errorf("silence: %v after %v", err, time.Since(start))
		}
	})
}
