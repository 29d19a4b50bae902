package logd

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/logdtest/script"
)

// hooks notes the comings and goings of a client's connections.
type hooks struct {
	mu     sync.Mutex
	events []string
	last   error
}

func (h *hooks) install(cfg *ClientConfig) {
	cfg.OnConnect = func(addr string) { h.note("+"+addr, nil) }
	cfg.OnDisconnect = func(addr string, reason error) { h.note("-"+addr, reason) }
}

func (h *hooks) note(event string, reason error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event)
	h.last = reason
}

func (h *hooks) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.events, " ")
}

func TestErrorAnswers(t *testing.T) {
	tests := []struct {
		answer string
		want   error
		retry  bool
		closes bool
	}{
		{"ERR not found", ErrNotFound, false, false},
		{"ERR invalid request", ErrInvalidRequest, false, false},
		{"ERR invalid protocol", ErrInvalidProtocol, false, true},
		{"ERR too large", ErrTooLarge, false, true},
		{"ERR tls required", ErrTLSRequired, false, true},
		{"ERR checksum mismatch", ErrChecksumMismatch, false, false},
		{"ERR maximum topics allowed", ErrMaxTopics, false, false},
		{"ERR topic not allowed", ErrTopicNotAllowed, false, false},
		{"ERR unauthorized", ErrUnauthorized, false, false},
		{"ERR unsupported codec", ErrUnsupportedCodec, false, false},
		{"ERR busy", ErrBusy, true, false},
		{"ERR shutting down", ErrShuttingDown, true, true},
		{"ERR read only", ErrReadOnly, true, false},
		{"ERR internal error", ErrInternal, true, false},
		{"ERR of another day", nil, false, false},
		{"ERR", nil, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.answer, func(t *testing.T) {
			_, cfg := fake(t, func(p *script.Peer) {
				if p.Number() > 1 && !tt.closes {
					t.Error("the client connected again")
				}
				if p.Number() == 1 {
					p.Exchange("BATCH", tt.answer+"\r\n")
				}
				p.Exchange("PING", "OK\r\n")
				p.AwaitClose()
			})
			c := dialTest(t, cfg)
			_, err := c.Append(t.Context(), "topic", batchOf("x"))
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v is not %v", err, tt.want)
			}
			if tt.want == nil {
				e, ok := errors.AsType[*ReplyError](err)
				if !ok || !strings.HasSuffix(tt.answer, e.Reason) {
					t.Errorf("error %v is no ReplyError of the reason", err)
				}
			}
			if !IsNotStored(err) || IsUnknown(err) {
				t.Errorf("IsNotStored, IsUnknown = %v, %v; a refused batch is not stored", IsNotStored(err), IsUnknown(err))
			}
			if got := IsRetryable(err); got != tt.retry {
				t.Errorf("IsRetryable = %v, want %v", got, tt.retry)
			}
			for _, part := range []string{"append", "topic", fakeAddr} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not name %q", err, part)
				}
			}
			if err := c.Ping(t.Context()); err != nil {
				t.Errorf("Ping after the answer = %v", err)
			}
		})
	}
}

// What was pipelined behind an answer after which the server closes was never
// looked at.
func TestClosingAnswerRefusesTheRest(t *testing.T) {
	begun := make(chan struct{})
	_, cfg := fake(t, func(p *script.Peer) {
		if p.Number() == 1 {
			<-begun
			p.Exchange("BATCH", "OK 0 1\r\n")
			p.Exchange("BATCH", "ERR too large\r\n")
			return
		}
		logServer()(p)
	})
	c := dialTest(t, cfg)
	var pending [4]Pending
	for i := range pending {
		if err := c.StartAppend(t.Context(), "t", batchOf("x"), &pending[i]); err != nil {
			t.Fatal(err)
		}
	}
	close(begun)
	if _, err := pending[0].Wait(t.Context()); err != nil {
		t.Errorf("append 0: %v", err)
	}
	if _, err := pending[1].Wait(t.Context()); !errors.Is(err, ErrTooLarge) || !IsNotStored(err) {
		t.Errorf("append 1: %v, want too large", err)
	}
	for i := 2; i < len(pending); i++ {
		_, err := pending[i].Wait(t.Context())
		if !errors.Is(err, ErrConnectionLost) || !IsNotStored(err) || !IsRetryable(err) {
			t.Errorf("append %d: %v, want connection lost, not stored", i, err)
		}
	}
	if _, err := c.Append(t.Context(), "t", batchOf("x")); err != nil {
		t.Errorf("Append on the next connection: %v", err)
	}
}

func TestLostConnectionFailsWhatIsUnderWay(t *testing.T) {
	var h hooks
	_, cfg := fake(t, func(p *script.Peer) {
		if p.Number() == 1 {
			p.Exchange("PING", "OK\r\n")
			p.Expect("BATCH")
			p.Expect("INFO")
			return
		}
		logServer()(p)
	})
	h.install(&cfg)
	c := dialTest(t, cfg)
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	var p Pending
	if err := c.StartAppend(t.Context(), "t", batchOf("x"), &p); err != nil {
		t.Fatal(err)
	}
	_, err := c.Info(t.Context(), "t")
	if !errors.Is(err, ErrConnectionLost) || !IsRetryable(err) || IsUnknown(err) || IsNotStored(err) {
		t.Errorf("Info = %v, want connection lost and no word of storing", err)
	}
	_, err = p.Wait(t.Context())
	if !errors.Is(err, ErrConnectionLost) || !IsRetryable(err) || !IsUnknown(err) || IsNotStored(err) {
		t.Errorf("append = %v, want connection lost, unknown", err)
	}
	if !strings.Contains(err.Error(), "may be stored or not") {
		t.Errorf("%q does not say what is unknown", err)
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("Ping after the loss = %v", err)
	}
	if got, want := h.String(), "+fake:1774 -fake:1774 +fake:1774"; got != want {
		t.Errorf("hooks saw %q, want %q", got, want)
	}
	c.Close()
	if !errors.Is(h.last, ErrClosed) {
		t.Errorf("last reason %v, want closed", h.last)
	}
}

func TestAddressesInTurn(t *testing.T) {
	f, cfg := fake(t, nil)
	cfg.Addrs = []string{"a:1", "b:1", "c:1"}
	drop := make(chan struct{})
	f.serve("b:1", func(p *script.Peer) {
		p.Exchange("PING", "OK\r\n")
		<-drop
	})
	f.serve("c:1", logServer())
	c := dialTest(t, cfg)
	if err := c.Ping(t.Context()); err != nil || c.Addr() != "b:1" {
		t.Fatalf("Ping at %q = %v, want b:1", c.Addr(), err)
	}
	f.serve("b:1", nil)
	close(drop)
	if err := c.Ping(t.Context()); err != nil || c.Addr() != "c:1" {
		t.Errorf("Ping at %q = %v, want c:1", c.Addr(), err)
	}
	if got, want := f.dialed(), "a:1 b:1 c:1"; got != want { // those that have failed are not next
		t.Errorf("dialed %q, want %q", got, want)
	}
}

// A server that shuts down is left for the next one.
func TestShuttingDownMovesOn(t *testing.T) {
	f, cfg := fake(t, nil)
	cfg.Addrs = []string{"a:1", "b:1"}
	f.serve("a:1", func(p *script.Peer) {
		if p.Expect("CONFIG") && p.AnswerConfig(DefaultMaxBatchSize) {
			p.Exchange("BATCH", "ERR shutting down\r\n")
		}
	})
	f.serve("b:1", logServer())
	c := dialTest(t, cfg)
	if _, err := c.Append(t.Context(), "t", batchOf("x")); err != nil || c.Addr() != "b:1" {
		t.Errorf("Append at %q = %v, want b:1", c.Addr(), err)
	}
}

func TestConnectGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, cfg := fake(t, nil)
		cfg.Addrs = []string{"a:1", "b:1"}
		f.serve(fakeAddr, nil)
		cfg.ReconnectMin, cfg.ReconnectMax, cfg.ReconnectAttempts = 100*time.Millisecond, time.Second, 6
		start := time.Now()
		_, err := Dial(t.Context(), cfg)
		if !errors.Is(err, ErrConnect) || !IsRetryable(err) {
			t.Errorf("Dial = %v, want cannot connect", err)
		}
		for _, addr := range cfg.Addrs {
			if !strings.Contains(err.Error(), addr) {
				t.Errorf("%q does not name %s", err, addr)
			}
		}
		if got := len(strings.Fields(f.dialed())); got != 12 {
			t.Errorf("%d dials, want 6 rounds of 2", got)
		}
		// Pauses of 100, 200, 400, 800, 1000 ms, each cut by up to a half.
		if took := time.Since(start); took < 1250*time.Millisecond || took > 2500*time.Millisecond {
			t.Errorf("gave up after %v, want 1.25s to 2.5s", took)
		}
	})
}

// A new call does not make the next round come any sooner.
func TestPauseOutlivesCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, cfg := fake(t, nil)
		f.serve(fakeAddr, nil)
		cfg.ReconnectMin, cfg.ReconnectAttempts = time.Second, 1
		c, err := NewClient(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		start := time.Now()
		for range 4 {
			if err := c.Ping(t.Context()); !errors.Is(err, ErrConnect) {
				t.Errorf("Ping = %v, want cannot connect", err)
			}
		}
		// Pauses of 1, 2, 4 s, each cut by up to a half.
		if took := time.Since(start); took < 3500*time.Millisecond || took > 7*time.Second {
			t.Errorf("4 rounds took %v, want 3.5s to 7s", took)
		}
	})
}

func TestConnectEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, cfg := fake(t, nil)
		f.serve(fakeAddr, nil)
		cfg.ReconnectAttempts = -1
		c, err := NewClient(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		_, err = c.Append(ctx, "t", batchOf("x"))
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrConnect) || !IsNotStored(err) || IsRetryable(err) {
			t.Errorf("Append = %v, want the context's end, and why there is no connection", err)
		}
		if took := time.Since(start); took != time.Hour {
			t.Errorf("Append took %v, want an hour", took)
		}
		synctest.Wait()
		before := f.dialed()
		time.Sleep(time.Hour)
		if f.dialed() != before {
			t.Error("the client goes on connecting for nobody")
		}
	})
}

func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := ClientConfig{
			ConnectTimeout: 3 * time.Second, ReconnectAttempts: 1,
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		}
		start := time.Now()
		_, err := Dial(t.Context(), cfg)
		if !errors.Is(err, ErrConnect) || !IsRetryable(err) || !strings.Contains(err.Error(), "within 3s") {
			t.Errorf("Dial = %v, want no connection within 3s, retryable", err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("Dial took %v", took)
		}
	})
}

// ErrConnect has the causes with it, but for those that would pass for the
// caller's context.
func TestConnectCauses(t *testing.T) {
	causes := map[string]error{"a:1": syscall.ECONNREFUSED, "b:1": &net.DNSError{Name: "b"}, "c:1": os.ErrDeadlineExceeded, "d:1": context.DeadlineExceeded}
	cfg := ClientConfig{
		Addrs: []string{"a:1", "b:1", "c:1", "d:1"}, ReconnectAttempts: 1,
		Dial: func(_ context.Context, _, addr string) (net.Conn, error) { return nil, causes[addr] },
	}
	_, err := Dial(t.Context(), cfg)
	_, isDNS := errors.AsType[*net.DNSError](err)
	if !errors.Is(err, ErrConnect) || !errors.Is(err, syscall.ECONNREFUSED) || !isDNS || !IsRetryable(err) {
		t.Errorf("Dial = %v, want a retryable error that wraps its causes", err)
	}
}

// A server that takes no more connections says so before it is asked.
func TestBusyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, cfg := fake(t, func(p *script.Peer) {
			p.Answer("ERR busy\r\n")
		})
		cfg.ReconnectAttempts = 2
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		synctest.Wait()
		_, err = c.Append(t.Context(), "t", batchOf("x"))
		if !errors.Is(err, ErrBusy) && !errors.Is(err, ErrConnectionLost) || !IsRetryable(err) {
			t.Errorf("Append = %v, want busy or lost", err)
		}
		if n := len(strings.Fields(f.dialed())); n > 5 {
			t.Errorf("%d connections for one call", n)
		}
	})
}

func TestReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := fake(t, func(p *script.Peer) {
			if p.Number() == 1 {
				p.Exchange("PING", "OK\r\n")
				p.Expect("PING")
				time.Sleep(4 * time.Second)
				p.Answer("O") // this much is progress
			}
			p.AwaitClose()
		})
		cfg.ReadTimeout = 5 * time.Second
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second) // silence is not held against it while nothing is asked
		start := time.Now()
		err = c.Ping(t.Context())
		if !errors.Is(err, ErrConnectionLost) || !IsRetryable(err) || !strings.Contains(err.Error(), "silent for 5s") {
			t.Errorf("Ping = %v, want lost by silence", err)
		}
		if took := time.Since(start); took != 9*time.Second {
			t.Errorf("Ping took %v, want 9s", took)
		}
		start = time.Now()
		_, err = c.Read(t.Context(), "t", 0, ReadOptions{Wait: time.Minute})
		if !errors.Is(err, ErrConnectionLost) {
			t.Errorf("Read = %v, want connection lost", err)
		}
		if took := time.Since(start); took != time.Minute+5*time.Second {
			t.Errorf("Read with a minute's wait took %v, want 1m5s", took)
		}
	})
}

func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := fake(t, func(p *script.Peer) {
			p.Expect("CONFIG")
			p.AnswerConfig(1 << 30)
			p.Input.ReadByte()
			time.Sleep(time.Minute)
		})
		cfg.WriteTimeout = 2 * time.Second
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		start := time.Now()
		_, err = c.Append(t.Context(), "t", batchOf(strings.Repeat("x", 2<<20)))
		if !errors.Is(err, ErrConnectionLost) || !IsNotStored(err) || !IsRetryable(err) {
			t.Errorf("Append = %v, want lost, not stored", err)
		}
		if took := time.Since(start); took != 2*time.Second+time.Second {
			t.Errorf("Append took %v, want 2s and the last words", took)
		}
	})
}

// A server that refuses, closes and so fails the write is still heard.
func TestAnswerBeforeWriteError(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		p.Expect("CONFIG")
		p.AnswerConfig(1 << 30)
		line, err := p.Input.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "BATCH ") {
			t.Errorf("the client sent %q, %v", line, err)
		}
		p.Answer("ERR too large\r\n")
	})
	c := dialTest(t, cfg)
	_, err := c.Append(t.Context(), "t", batchOf(strings.Repeat("x", 2<<20)))
	if !errors.Is(err, ErrTooLarge) || !IsNotStored(err) {
		t.Errorf("Append = %v, want too large", err)
	}
}

func TestIdleConnectionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, cfg := fake(t, logServer())
		cfg.IdleTimeout = 10 * time.Second
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, rest := range []time.Duration{9 * time.Second, 9 * time.Second, 11 * time.Second} {
			time.Sleep(rest)
			start := time.Now()
			if err := c.Ping(t.Context()); err != nil {
				t.Errorf("Ping after %v = %v", rest, err)
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("Ping after %v took %v", rest, took)
			}
		}
		if n := len(strings.Fields(f.dialed())); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}

func TestClose(t *testing.T) {
	got := make(chan struct{})
	_, cfg := fake(t, func(p *script.Peer) {
		p.Expect("BATCH")
		close(got)
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	var p Pending
	if err := c.StartAppend(t.Context(), "t", batchOf("x"), &p); err != nil {
		t.Fatal(err)
	}
	<-got
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { c.Close() })
	}
	wg.Wait()
	if _, err := p.Wait(t.Context()); !errors.Is(err, ErrClosed) || !IsUnknown(err) || IsRetryable(err) {
		t.Errorf("append under way = %v, want closed, unknown", err)
	}
	if _, err := c.Append(t.Context(), "t", batchOf("x")); !errors.Is(err, ErrClosed) || !IsNotStored(err) {
		t.Errorf("Append after Close = %v, want closed, not stored", err)
	}
	if err := c.Ping(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Ping after Close = %v, want closed", err)
	}
	if c.Addr() != "" {
		t.Errorf("Addr after Close = %q", c.Addr())
	}
}

func TestCloseWhileConnecting(t *testing.T) {
	dialing := make(chan struct{})
	c, err := NewClient(ClientConfig{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		close(dialing)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	go func() { errs <- c.Ping(t.Context()) }()
	<-dialing
	c.Close()
	if err := <-errs; !errors.Is(err, ErrClosed) {
		t.Errorf("Ping = %v, want closed", err)
	}
}

// Lines that are no answers end the connection with an error that shows them.
func TestNonsense(t *testing.T) {
	append := func(c *Client) error {
		_, err := c.Append(t.Context(), "t", batchOf("x"))
		return err
	}
	ping := func(c *Client) error { return c.Ping(t.Context()) }
	topics := func(c *Client) error { _, err := c.Topics(t.Context()); return err }
	read := func(c *Client) error { _, err := c.Read(t.Context(), "t", 5, ReadOptions{Messages: 2}); return err }
	seek := func(c *Client) error { _, err := c.Seek(t.Context(), "t", time.Unix(0, 0)); return err }
	one := stored("t", "x")
	tests := []struct {
		name   string
		call   func(*Client) error
		answer string
	}{
		{"word", append, "WHAT 1 2\r\n"},
		{"empty", append, "\r\n"},
		{"no CR", append, "OK 1 1\n"},
		{"two batches", append, "OK 1 2\r\n"},
		{"no offset", append, "OK\r\n"},
		{"negative", append, "OK -1 1\r\n"},
		{"huge", append, "OK 9223372036854775808 1\r\n"},
		{"body", append, "MOK 2\r\nab\r\n"},
		{"long line", append, strings.Repeat("x", 100<<10)},
		{"long error", append, "ERR " + strings.Repeat("x", 2000) + "\r\n"},
		{"offset", ping, "OK 1 1\r\n"},
		{"no body", topics, "OK\r\n"},
		{"huge body", topics, "MOK 9223372036854775807\r\n"},
		{"body without end", topics, "MOK 2\r\nabcd"},
		{"seek with batch", seek, "OK 1 1\r\n"},
		{"other offset", read, "OK 6 1\r\n" + one},
		{"too many batches", read, "OK 5 3\r\n" + one + one + one},
		{"no envelope", read, "OK 5 1\r\nHELLO\r\n"},
		{"other topic", read, "OK 5 1\r\n" + stored("u", "x")},
		{"huge batch", read, "OK 5 1\r\nBATCH 9223372036854775807 t 1 1\r\n"},
		{"large batch", read, "OK 5 1\r\nBATCH 268435456 t 1 1\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, cfg := fake(t, func(p *script.Peer) {
				if p.Number() == 1 {
					p.Exchange("", tt.answer)
					p.AwaitClose() // the client closes the connection
				}
				logServer()(p)
			})
			c := dialTest(t, cfg)
			err := tt.call(c)
			if !errors.Is(err, ErrBadAnswer) || IsRetryable(err) || IsNotStored(err) {
				t.Errorf("error %v, want bad answer", err)
			}
			if len(err.Error()) > 3000 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
			if err := c.Ping(t.Context()); err != nil {
				t.Errorf("Ping on the next connection = %v", err)
			}
		})
	}
}

func TestUnaskedAnswer(t *testing.T) {
	ended := make(chan error, 1)
	_, cfg := fake(t, func(p *script.Peer) {
		p.Answer("OK\r\n")
		p.AwaitClose()
	})
	cfg.OnDisconnect = func(_ string, reason error) { ended <- reason }
	dialTest(t, cfg)
	if err := <-ended; !errors.Is(err, ErrBadAnswer) {
		t.Errorf("the connection ended with %v, want a bad answer", err)
	}
}

// An answer that breaks off is a lost connection, after the batches that have
// come.
func TestTornAnswers(t *testing.T) {
	full := "OK 0 2\r\n" + stored("t", "x") + stored("t", "yz")
	for n := range len(full) {
		_, cfg := fake(t, func(p *script.Peer) { p.Exchange("READ", full[:n]) })
		c := dialTest(t, cfg)
		res, err := c.Read(t.Context(), "t", 0, ReadOptions{})
		if n >= len(full)-len(stored("t", "yz")) {
			if err != nil || len(res.Batches) != 1 || res.Next != int64(len(stored("t", "x"))) {
				t.Errorf("Read of %q = %+v, %v, want its first batch", full[:n], res, err)
			}
		} else if !errors.Is(err, ErrConnectionLost) || !IsRetryable(err) {
			t.Errorf("Read of %q = %v, want connection lost", full[:n], err)
		}
		c.Close()
	}
}

func TestManyConnectAtOnce(t *testing.T) {
	f, cfg := fake(t, logServer())
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := c.Ping(t.Context()); err != nil {
				t.Errorf("Ping = %v", err)
			}
		})
	}
	wg.Wait()
	if got := f.dialed(); got != fakeAddr {
		t.Errorf("dialed %q, want once", got)
	}
}

func TestClientConfigValidate(t *testing.T) {
	tests := []struct {
		cfg  ClientConfig
		want []string // parts of the error; none for no error
	}{
		{ClientConfig{}, nil},
		{ClientConfig{Addrs: []string{"a:1", "[::1]:1774", "b:http"}}, nil},
		{ClientConfig{Addrs: []string{"a:1", "b"}}, []string{"Addrs[1]", `"b"`, "HOST:PORT"}},
		{ClientConfig{Addrs: []string{"b:0"}}, []string{"Addrs[0]", `"b:0"`, "1 to 65535"}},
		{ClientConfig{ReconnectMin: -time.Second}, []string{"ReconnectMin", "-1s", "0"}},
		{ClientConfig{ReconnectMin: time.Minute}, []string{"ReconnectMin", "1m0s", "ReconnectMax", "5s"}},
		{ClientConfig{ReconnectMax: time.Millisecond}, []string{"ReconnectMin", "50ms", "ReconnectMax", "1ms"}},
		{ClientConfig{MaxReplySize: -2}, []string{"MaxReplySize", "-2", "Unlimited"}},
		{ClientConfig{ConnectTimeout: -2}, []string{"ConnectTimeout", "-2ns", "Unlimited"}},
		{ClientConfig{ReadTimeout: -time.Second}, []string{"ReadTimeout", "-1s", "Unlimited"}},
		{ClientConfig{WriteTimeout: -2}, []string{"WriteTimeout", "-2ns", "Unlimited"}},
		{ClientConfig{IdleTimeout: -2}, []string{"IdleTimeout", "-2ns", "Unlimited"}},
		{ClientConfig{ReconnectAttempts: -2}, []string{"ReconnectAttempts", "-2", "Unlimited"}},
		{ClientConfig{
			ConnectTimeout: Unlimited, ReadTimeout: Unlimited, WriteTimeout: Unlimited, IdleTimeout: Unlimited,
			ReconnectAttempts: Unlimited, MaxReplySize: Unlimited,
		}, nil},
	}
	for _, tt := range tests {
		err := tt.cfg.Validate()
		if (err != nil) != (tt.want != nil) {
			t.Errorf("Validate(%+v) = %v", tt.cfg, err)
			continue
		}
		for _, part := range tt.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not name %q", err, part)
			}
		}
		if _, err2 := NewClient(tt.cfg); (err2 != nil) != (err != nil) {
			t.Errorf("NewClient = %v, Validate = %v", err2, err)
		}
	}
}
