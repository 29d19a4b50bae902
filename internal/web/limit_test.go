package web_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
	"github.com/logd-dev/logd/internal/web"
)

// TestSetLimits: what a server is told while it runs counts for connections that are
// open, too.
func TestSetLimits(t *testing.T) {
	const health = "GET /healthz HTTP/1.1\r\nHost: logd\r\n\r\n"
	inWebBubble(t, server.Options{}, func(t *testing.T, _ *server.Server, _ *topictest.Memory, w *web.Server, dial func() *client) {
		limits := func(most int, timeout, idle time.Duration, hosts ...string) {
			w.SetLimits(web.Limits{Timeout: timeout, IdleTimeout: idle, AllowedHosts: hosts, MaxConnections: most})
		}
		status := func(c *client, request string) int {
			t.Helper()
			c.send(request)
			r, err := http.ReadResponse(c.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, r.Body)
			return r.StatusCode
		}
		cutAfter := func(c *client, least, most time.Duration) {
			t.Helper()
			start := time.Now()
			io.Copy(io.Discard, c.in)
			if took := time.Since(start); took < least || took > most {
				t.Errorf("cut after %v, want %v", took, least)
			}
		}
		a := dial()
		status(a, health)
		limits(1, 20*time.Second, time.Minute)
		status(a, health)
		a2 := dial() // for which there was a place already
		status(a2, health)

		// One more than there may be is answered, and closed.
		b := dial()
		if got := status(b, "GET / HTTP/1.1\r\nHost: logd\r\n\r\n"); got != http.StatusServiceUnavailable {
			t.Errorf("one too many: %d", got)
		}
		cutAfter(a, time.Minute, time.Minute+time.Second)
		synctest.Wait()
		c := dial() // in a's place
		if got := status(c, "GET / HTTP/1.1\r\nHost: logd\r\n\r\n"); got != http.StatusOK {
			t.Errorf("in a place that is free: %d", got)
		}
		limits(3, 20*time.Second, time.Minute)
		d := dial()
		if got := status(d, "GET / HTTP/1.1\r\nHost: logd\r\n\r\n"); got != http.StatusOK {
			t.Errorf("in a place that there is now: %d", got)
		}

		// A body that stops.
		d.send("POST /log HTTP/1.1\r\nHost: logd\r\nContent-Type: application/logd\r\nContent-Length: 6\r\n\r\nPIN")
		cutAfter(d, 20*time.Second, 21*time.Second)
	})
}

// TestSetAllowedHosts: names come and go.
func TestSetAllowedHosts(t *testing.T) {
	w := web.New(web.Options{Limits: web.Limits{AllowedHosts: []string{"a"}}})
	ask := func(host string) int {
		r := httptest.NewRequest(http.MethodGet, "http://"+host+"/debug/vars", nil)
		r.RemoteAddr = "127.0.0.1:9"
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})))
		answer := httptest.NewRecorder()
		w.ServeHTTP(answer, r)
		return answer.Code
	}
	if a, b := ask("a"), ask("b"); a != 200 || b != 403 {
		t.Errorf("%d and %d, want 200 and 403", a, b)
	}
	w.SetLimits(web.Limits{AllowedHosts: []string{"B."}})
	if a, b := ask("a"), ask("b"); a != 403 || b != 200 {
		t.Errorf("%d and %d, want 403 and 200", a, b)
	}
}

// pipes is a listener whose connections have no buffer.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// TestNoBodyWithoutHead: if the head of an answer could not be sent in time, stored bytes
// that a client would take for one are not sent either.
func TestNoBodyWithoutHead(t *testing.T) {
	inWebBubble(t, server.Options{}, func(t *testing.T, s *server.Server, _ *topictest.Memory, w *web.Server, _ func() *client) {
		p := connect(t, s)
		p.send(testkit.Batch("t", strings.Repeat("HTTP/1.1 200 OK\r\n\r\n", 1000)))
		p.want("OK 0 1\r\n")
		l := make(pipes)
		defer close(l)
		go w.Serve(l)
		nc, other := net.Pipe()
		l <- other
		io.WriteString(nc, "GET /api/v1/topics/t/messages?format=raw HTTP/1.1\r\nHost: logd\r\n\r\n")
		time.Sleep(timeout + time.Second) // too late for the head, in time for what is sent next
		got, _ := io.ReadAll(nc)
		if len(got) > 0 {
			t.Errorf("%d bytes came, the first are %q", len(got), got[:min(len(got), 40)])
		}
	})
}
