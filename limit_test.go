package logd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/logdtest/script"
)

// limitServer is a script of a server with this limit: it answers a batch that
// is longer as a real one, and closes. Requests gets what it was sent.
func limitServer(limit int64, requests *sync.Map) func(*script.Peer) {
	var next atomic.Int64
	return func(p *script.Peer) {
		for {
			r, ok := p.Request()
			line, data := r.Line, r.Data
			if !ok {
				return
			}
			word, _, _ := strings.Cut(line, " ")
			n, _ := requests.LoadOrStore(fmt.Sprint(p.Number(), word), new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			length := int64(len(line) + 2 + len(data))
			switch {
			case word == "CONFIG":
				ok = p.AnswerConfig(limit)
			case word == "BATCH" && length > limit:
				p.Answer("ERR too large\r\n")
				return
			case word == "BATCH":
				ok = p.Answer("OK %d 1\r\n", next.Add(length)-length)
			default:
				ok = p.Answer("OK\r\n")
			}
			if !ok {
				return
			}
		}
	}
}

// A batch that is too large is refused before it is sent, and the appends of all
// others on the Client succeed, whatever the server's limit is. The Client asks
// for it once.
func TestTooLargeHurtsNobodyElse(t *testing.T) {
	for _, limit := range []int64{128, 1000, DefaultMaxBatchSize, 1 << 20} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			var requests sync.Map
			_, cfg := fake(t, limitServer(limit, &requests))
			c := dialTest(t, cfg)
			fits := strings.Repeat("x", int(limit)-len("BATCH 1234567 t 1234567890 1\r\nMSG 1234567\r\n\r\n"))
			var wg sync.WaitGroup
			for g := range 10 {
				wg.Go(func() {
					for i := range 20 {
						body := fits
						if i%2 == 0 {
							body = "small"
						}
						if _, err := c.Append(t.Context(), "t", batchOf(body)); err != nil {
							t.Errorf("Append of %d bytes: %v", len(body), err)
						}
						if i != g {
							continue
						}
						large := batchOf(strings.Repeat("x", int(limit)))
						_, err := c.Append(t.Context(), "t", large)
						if !errors.Is(err, ErrTooLarge) || !IsNotStored(err) || IsRetryable(err) || !strings.Contains(err.Error(), fmt.Sprint(limit)) {
							t.Errorf("Append of a batch that is too large: %v", err)
						}
						var p Pending
						if err := c.StartAppend(t.Context(), "t", large, &p); !errors.Is(err, ErrTooLarge) || !IsNotStored(err) {
							t.Errorf("StartAppend of a batch that is too large: %v", err)
						}
					}
				})
			}
			wg.Wait()
			requests.Range(func(key, n any) bool {
				if key == "1CONFIG" && n.(*atomic.Int64).Load() != 1 || key == "2BATCH" {
					t.Errorf("%v: %d requests", key, n.(*atomic.Int64).Load())
				}
				return true
			})
		})
	}
}

// Whoever sends small batches only asks for no limit.
func TestSmallBatchesAskForNoLimit(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		for p.Exchange("BATCH", "OK 0 1\r\n") {
		}
	})
	c := dialTest(t, cfg)
	if _, err := c.Append(t.Context(), "t", batchOf(strings.Repeat("x", 70))); err != nil {
		t.Error(err)
	}
	c.Close()
}

// A server that gives no limit, or refuses to, is sent everything.
func TestNoLimit(t *testing.T) {
	for _, config := range []string{"MOK 6\r\nX: 12\n\r\n", "ERR internal error\r\n", "MOK 17\r\nMaxBatchSize: x\r\n\r\n"} {
		_, cfg := fake(t, func(p *script.Peer) {
			if p.Exchange("CONFIG", config) {
				for p.Exchange("BATCH", "OK 0 1\r\n") {
				}
			}
		})
		c := dialTest(t, cfg)
		for range 2 {
			if _, err := c.Append(t.Context(), "t", batchOf(strings.Repeat("x", 1<<20))); err != nil {
				t.Errorf("after %q: %v", config, err)
			}
		}
		c.Close()
	}
}

// Whoever waits for the limit waits no longer than his context, and the batch is
// certainly not stored.
func TestLimitCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := fake(t, func(p *script.Peer) { p.Expect("CONFIG"); p.AwaitClose() })
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err = c.Append(ctx, "t", batchOf(strings.Repeat("x", 1000)))
		if !errors.Is(err, context.DeadlineExceeded) || !IsNotStored(err) || time.Since(start) != time.Second {
			t.Errorf("Append after %v: %v", time.Since(start), err)
		}
		// Nobody answers: the others wait as long as for any answer.
		_, err = c.Append(t.Context(), "t", batchOf(strings.Repeat("x", 1000)))
		if !errors.Is(err, ErrConnectionLost) || !IsNotStored(err) || !strings.Contains(err.Error(), "silent") {
			t.Errorf("Append: %v", err)
		}
	})
}

// A host that takes connections and closes them before it answers is left for the
// next one, where nothing is in doubt: a request that does no harm is sent again,
// a batch is not sent to a host that has never answered.
func TestNextHostWhereTheFirstHangsUp(t *testing.T) {
	calls := map[string]func(context.Context, *Client) error{
		"ping":   func(ctx context.Context, c *Client) error { return c.Ping(ctx) },
		"config": func(ctx context.Context, c *Client) error { _, err := c.settings(ctx); return err },
		"append": func(ctx context.Context, c *Client) error {
			_, err := c.Append(ctx, "t", batchOf("x"))
			return err
		},
		"start append": func(ctx context.Context, c *Client) error {
			var p Pending
			if err := c.StartAppend(ctx, "t", batchOf("x"), &p); err != nil {
				return err
			}
			_, err := p.Wait(ctx)
			return err
		},
		"writer": func(ctx context.Context, c *Client) error {
			w, err := NewWriter(ctx, c, "t", WriterConfig{})
			if err != nil {
				return err
			}
			w.Write([]byte("x"))
			return w.Close()
		},
	}
	first := map[string]func(*script.Peer){
		"at once":         func(p *script.Peer) {},
		"after a request": func(p *script.Peer) { p.Request() },
		"busy":            func(p *script.Peer) { p.Answer("ERR busy\r\n") },
		"in its answer":   func(p *script.Peer) { p.Request(); p.Answer("O") },
	}
	for name, call := range calls {
		for how, script := range first {
			t.Run(name+", "+how, func(t *testing.T) {
				f, cfg := fake(t, nil)
				cfg.Addrs = []string{"a:1", "b:1", "c:1"}
				f.serve("a:1", script)
				f.serve("b:1", script)
				f.serve("c:1", logServer())
				cfg.ReconnectMin, cfg.ReconnectMax = time.Millisecond, time.Millisecond
				c := dialTest(t, cfg)
				if err := call(t.Context(), c); err != nil || c.Addr() != "c:1" {
					t.Errorf("at %q: %v", c.Addr(), err)
				}
			})
		}
	}
	t.Run("all hang up", func(t *testing.T) {
		f, cfg := fake(t, nil)
		cfg.Addrs = []string{"a:1", "b:1"}
		hangUp := func(p *script.Peer) { p.Request() }
		f.serve("a:1", hangUp)
		f.serve("b:1", hangUp)
		c := dialTest(t, cfg)
		if err := c.Ping(t.Context()); !errors.Is(err, ErrConnectionLost) {
			t.Errorf("Ping: %v", err)
		}
		if _, err := c.Append(t.Context(), "t", batchOf("x")); !errors.Is(err, ErrConnectionLost) || !IsNotStored(err) {
			t.Errorf("Append: %v", err)
		}
		if n := f.count(); n > 6 {
			t.Errorf("%d connections", n)
		}
	})
	// What was answered by a host once is in doubt when it hangs up.
	t.Run("a host that has answered", func(t *testing.T) {
		f, cfg := fake(t, nil)
		cfg.Addrs = []string{"a:1", "b:1"}
		f.serve("a:1", func(p *script.Peer) {
			p.Exchange("CONFIG", "MOK 0\r\n\r\n")
			p.Expect("BATCH")
		})
		f.serve("b:1", logServer())
		c := dialTest(t, cfg)
		if _, err := c.Append(t.Context(), "t", batchOf("x")); !IsUnknown(err) {
			t.Errorf("Append: %v", err)
		}
	})
}
