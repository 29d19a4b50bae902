package server_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

func TestMaxConnections(t *testing.T) {
	inBubble(t, server.Options{MaxConnections: 2}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		a, b := connect(t, s), connect(t, s)
		a.ask("PING\r\n", "OK")
		b.ask("PING\r\n", "OK")
		c := connect(t, s)
		c.want("ERR busy\r\n")
		c.wantClosed()
		if st := s.Stats(); st.Connections != 2 || st.ConnectionsTotal != 2 || st.ConnectionsRefused != 1 {
			t.Errorf("Stats: %+v", st)
		}
		a.ask("PING\r\n", "OK")
		a.nc.Close()
		synctest.Wait()
		connect(t, s).ask("PING\r\n", "OK")
	})
}

// TestRefusedClientsThatDoNotRead cost little: a few goroutines, for a second.
func TestRefusedClientsThatDoNotRead(t *testing.T) {
	inBubble(t, server.Options{MaxConnections: 1}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		connect(t, s).ask("PING\r\n", "OK")
		start := time.Now()
		var refused []*client
		for range 100 {
			refused = append(refused, connect(t, s))
		}
		refused[99].wantClosed() // at once
		if time.Since(start) != 0 {
			t.Errorf("the last one was closed after %v", time.Since(start))
		}
		time.Sleep(2 * time.Second)
		c := connect(t, s)
		c.want("ERR busy\r\n")
		c.wantClosed()
	})
}

// fakeListener accepts what it is told to.
type fakeListener struct {
	accept func() (net.Conn, error)
	closed chan struct{}
	once   sync.Once
}

func (l *fakeListener) Accept() (net.Conn, error) { return l.accept() }
func (l *fakeListener) Addr() net.Addr            { return &net.TCPAddr{} }
func (l *fakeListener) Close() error              { l.once.Do(func() { close(l.closed) }); return nil }

func TestAcceptBacksOff(t *testing.T) {
	log, logger := logBuffer()
	inBubble(t, server.Options{Logger: logger}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		l := &fakeListener{closed: make(chan struct{})}
		var pauses []time.Duration
		last := time.Now()
		l.accept = func() (net.Conn, error) {
			pauses = append(pauses, time.Since(last))
			last = time.Now()
			switch n := len(pauses); {
			case n == 11:
				client, srv := net.Pipe()
				client.Close()
				return srv, nil
			case n < 14:
				return nil, errors.New("too many open files")
			}
			<-l.closed
			return nil, net.ErrClosed
		}
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		time.Sleep(time.Minute)
		s.Close()
		if err := <-done; !errors.Is(err, server.ErrServerClosed) {
			t.Errorf("Serve = %v", err)
		}
		ms := time.Millisecond
		want := []time.Duration{
			0, 5 * ms, 10 * ms, 20 * ms, 40 * ms, 80 * ms, 160 * ms, 320 * ms, 640 * ms, time.Second, time.Second,
			0, 5 * ms, 10 * ms, // a connection starts it anew
		}
		if len(pauses) != len(want) {
			t.Fatalf("pauses %v, want %v", pauses, want)
		}
		for i := range want {
			if pauses[i] != want[i] {
				t.Fatalf("pauses %v, want %v", pauses, want)
			}
		}
	})
	if !strings.Contains(log.String(), "too many open files") {
		t.Errorf("logged: %s", log.String())
	}
}

func TestShutdownAnswersWhatArrived(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		b := testkit.Batch("t", "one")
		idle, half, busy := connect(t, s), connect(t, s), connect(t, s)
		half.send(b[:20])
		synctest.Wait()
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		synctest.Wait()
		if !s.Draining() {
			t.Error("Draining = false")
		}
		// What was sent before the client could know is answered.
		time.Sleep(50 * time.Millisecond)
		busy.ask(b, "OK 0 1")
		half.send(b[20:30])
		idle.wantClosed()
		elapsed(t, start, 100*time.Millisecond)
		half.want("ERR shutting down\r\n")
		half.wantClosed()
		busy.wantClosed()
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if got := length(store, "t"); got != len(b) {
			t.Errorf("%d bytes stored, want %d", got, len(b))
		}
	})
}

// TestShutdownRefusesLaterRequests: a client that goes on sending is told.
func TestShutdownRefusesLaterRequests(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		c := connect(t, s)
		c.ask("PING\r\n", "OK")
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		for range 9 {
			c.ask("PING\r\n", "OK")
			time.Sleep(10 * time.Millisecond)
		}
		c.send("PIN")
		time.Sleep(15 * time.Millisecond)
		c.want("ERR shutting down\r\n")
		c.wantClosed()
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if d := time.Since(start); d > 200*time.Millisecond {
			t.Errorf("it took %v", d)
		}
	})
}

func TestShutdownHonoursItsContext(t *testing.T) {
	inBubble(t, server.Options{Timeout: time.Hour}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		c := connect(t, s)
		c.send("PING\r\n") // the answer is not taken
		synctest.Wait()
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v, want the context's error", err)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("it took %v", d)
		}
		if n := s.Stats().Connections; n != 0 {
			t.Errorf("%d connections are left", n)
		}
		c.wantClosed()
	})
}

func TestCloseCuts(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		idle, waiting, stuck := connect(t, s), connect(t, s), connect(t, s)
		idle.ask(testkit.Batch("t", "one"), "OK 0 1")
		waiting.send("READ t 37 1 wait=3600000\r\n")
		stuck.send("PING\r\n")
		synctest.Wait()
		start := time.Now()
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if time.Since(start) != 0 {
			t.Errorf("it took %v", time.Since(start))
		}
		wantWatching(t, s, store, 0)
		for _, c := range []*client{idle, waiting, stuck} {
			c.wantClosed()
		}
		if err := s.Close(); err != nil {
			t.Errorf("the second Close: %v", err)
		}
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown after Close: %v", err)
		}
		connect(t, s).wantClosed()
		l := &fakeListener{closed: make(chan struct{})}
		if err := s.Serve(l); !errors.Is(err, server.ErrServerClosed) {
			t.Errorf("Serve after Close = %v", err)
		}
		<-l.closed
	})
}

// TestCloseDuringShutdown ends it.
func TestCloseDuringShutdown(t *testing.T) {
	inBubble(t, server.Options{Timeout: time.Hour}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		c := connect(t, s)
		c.send("PING\r\n")
		synctest.Wait()
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- s.Shutdown(context.Background()) }()
		}
		time.Sleep(time.Second)
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		}
	})
}

// TestSetLimits: open connections have the new deadlines from their next wait on, and a
// lower number of connections cuts none.
func TestSetLimits(t *testing.T) {
	inBubble(t, server.Options{MaxConnections: 1, Timeout: time.Hour, IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		a := connect(t, s)
		a.ask("PING\r\n", "OK")
		s.SetLimits(server.Limits{MaxConnections: 2, Timeout: time.Second, IdleTimeout: time.Minute})
		a.ask("PING\r\n", "OK")
		b := connect(t, s)
		b.ask("PING\r\n", "OK")
		s.SetLimits(server.Limits{MaxConnections: 1, Timeout: time.Second, IdleTimeout: time.Minute})
		for _, c := range []*client{a, b} {
			c.ask("PING\r\n", "OK")
		}
		c := connect(t, s)
		c.want("ERR busy\r\n")
		c.wantClosed()
		start := time.Now()
		b.send("PIN")
		b.wantClosed()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("a request that is begun is cut after %v, want a second", took)
		}
		a.wantClosed()
		if took := time.Since(start); took < 55*time.Second || took > 65*time.Second {
			t.Errorf("an idle connection is cut after %v, want a minute", took)
		}
		// What CONFIG tells follows, whichever of both is set last.
		s.SetSettings(protocol.Settings{MaxMessages: 3})
		d := connect(t, s)
		d.send("CONFIG\r\nCLOSE\r\n")
		got, _ := io.ReadAll(d.in)
		for _, line := range []string{"\r\nTimeout: 1s\r\n", "\r\nIdleTimeout: 1m0s\r\n", "\r\nMaxMessages: 3\r\n"} {
			if !strings.Contains(string(got), line) {
				t.Errorf("CONFIG is %q, without %q", got, line)
			}
		}
	})
}

// TestPing: who watches the server is answered, also if there are as many connections as
// there may be, and while it drains.
func TestPing(t *testing.T) {
	inBubble(t, server.Options{MaxConnections: 1}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		connect(t, s).ask("PING\r\n", "OK")
		if err := s.Ping(); err != nil {
			t.Error(err)
		}
		if st := s.Stats(); st.ConnectionsTotal != 1 || st.Requests[protocol.Ping] != 2 {
			t.Errorf("%d connections, %d PING", st.ConnectionsTotal, st.Requests[protocol.Ping])
		}
	})
}
