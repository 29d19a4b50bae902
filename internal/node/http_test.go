package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/web"
)

// do sends a request over HTTP and returns the answer.
func do(t testing.TB, method, url, contentType, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Close = true
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func get(t testing.TB, addr net.Addr, path string) (int, string) {
	t.Helper()
	return do(t, http.MethodGet, "http://"+addr.String()+path, "", "")
}

func post(t testing.TB, addr net.Addr, body string) (int, string) {
	t.Helper()
	return do(t, http.MethodPost, "http://"+addr.String()+"/log", "application/logd", body)
}

func TestHTTPPages(t *testing.T) {
	n := startNode(t, nil)
	for _, test := range []struct {
		method, path string
		status       int
		body         string // part of it
	}{
		{"GET", "/healthz", 200, "ok\n"},
		{"GET", "/readyz", 200, "ok\n"},
		{"HEAD", "/healthz", 200, ""},
		{"GET", "/", 200, "logd test"},
		{"GET", "/metrics", 200, `logd_build_info{version="test"} 1`},
		{"GET", "/debug/vars", 200, `"memstats"`},
		{"GET", "/debug/pprof/", 200, "goroutine"},
		{"GET", "/debug/pprof/goroutine?debug=1", 200, "goroutine profile"},
		{"GET", "/debug/pprof/cmdline", 200, "node.test"},
		{"GET", "/debug/pprof/symbol", 200, "num_symbols"},
		{"GET", "/nothing", 404, ""},
		{"GET", "/log", 405, ""},
		{"POST", "/healthz", 405, ""},
		{"POST", "/metrics", 405, ""},
		{"DELETE", "/readyz", 405, ""},
	} {
		status, body := do(t, test.method, "http://"+n.HTTPAddr().String()+test.path, "", "")
		if status != test.status || !strings.Contains(body, test.body) {
			t.Errorf("%s %s: %d %.200q, want %d and %q", test.method, test.path, status, body, test.status, test.body)
		}
	}
	if _, vars := get(t, n.HTTPAddr(), "/debug/vars"); !json.Valid([]byte(vars)) {
		t.Error("/debug/vars is not JSON")
	}
	if status, body := do(t, "POST", "http://"+n.HTTPAddr().String()+"/log", "text/plain", "PING\r\n"); status != 415 {
		t.Errorf("text/plain: %d %q, want 415", status, body)
	}
}

func TestNoHTTP(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.HTTPHost = "" })
	if a := n.HTTPAddr(); a != nil {
		t.Errorf("HTTP on %v", a)
	}
	c, r := dial(t, n)
	fmt.Fprint(c, "PING\r\n")
	if line, _ := r.ReadString('\n'); line != "OK\r\n" {
		t.Error(line)
	}
}

// heldLogger is told of a message and then waits, so that a start stands still
// where that is logged.
type heldLogger struct {
	slog.Handler
	message string
	once    sync.Once
	reached chan struct{}
	resume  chan struct{}
}

func (h *heldLogger) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, h.message) {
		h.once.Do(func() {
			close(h.reached)
			<-h.resume
		})
	}
	return nil
}

func (h *heldLogger) Enabled(context.Context, slog.Level) bool { return true }

// TestReadyWhileRecovering: HTTP is there before the data, alive and not
// ready; a write over HTTP is told to come again.
func TestReadyWhileRecovering(t *testing.T) {
	c := testConfig(t)
	if err := os.Mkdir(filepath.Join(c.WorkDir, ".stray"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(c.WorkDir, "no topic"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x", "y"} { // behind it in order
		if err := os.Mkdir(filepath.Join(c.WorkDir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.WorkDir, name, "0.log"), []byte(testkit.Batch(name, "one")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := &heldLogger{Handler: slog.DiscardHandler, message: "is no topic", reached: make(chan struct{}), resume: make(chan struct{})}
	n := newNode(Options{Config: c, Version: "test", Logger: slog.New(h)})
	done := make(chan error, 1)
	go func() { done <- n.start(t.Context()) }()
	select {
	case <-h.reached:
	case err := <-done:
		t.Fatalf("started without a word about the folder that is no topic: %v", err)
	}
	if status, body := get(t, n.HTTPAddr(), "/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", status, body)
	}
	if status, body := get(t, n.HTTPAddr(), "/readyz"); status != 503 || body != "not ready: recovering the work directory: 0 of 2 topics, 0 %\n" {
		t.Errorf("/readyz: %d %q", status, body)
	}
	if status, body := get(t, n.HTTPAddr(), "/readyz?verbose"); status != 503 ||
		body != "fail recovery: 0 of 2 topics, 0 %\nnot ready: recovering the work directory: 0 of 2 topics, 0 %\n" {
		t.Errorf("/readyz?verbose: %d %q", status, body)
	}
	if status, body := post(t, n.HTTPAddr(), "PING\r\n"); status != 503 || body != "ERR busy\r\n" {
		t.Errorf("POST /log: %d %q", status, body)
	}
	if status, body := get(t, n.HTTPAddr(), "/metrics"); status != 200 || !strings.Contains(body, "logd_build_info") {
		t.Errorf("/metrics: %d %.200q", status, body)
	}
	close(h.resume)
	if err := <-done; err != nil {
		t.Errorf("start: %v", err)
	}
	if status, body := get(t, n.HTTPAddr(), "/readyz"); status != 200 || body != "ok\n" {
		t.Errorf("/readyz: %d %q", status, body)
	}
	if status, body := get(t, n.HTTPAddr(), "/readyz?verbose"); status != 200 || body != "ok recovery\nok drain\nok storage\nok disk\nready\n" {
		t.Errorf("/readyz?verbose: %d %q", status, body)
	}
	if got := n.progress.String(); got != "2 of 2 topics, 100 %" {
		t.Errorf("progress %q", got)
	}
	if err := n.Shutdown(t.Context()); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// TestReadyWhenReadOnly: a topic that takes no appends is a reason not to be
// ready, which is over when it takes them again.
func TestReadyWhenReadOnly(t *testing.T) {
	b := testkit.Batch("t", "a message of some length")
	n := startNode(t, func(c *config.Config) { c.PartitionSize, c.BatchSize = 2*int64(len(b)), int64(len(b)) })
	c, r := dial(t, n)
	ask := func(request, want string) {
		t.Helper()
		fmt.Fprint(c, request)
		if line, err := r.ReadString('\n'); line != want+"\r\n" {
			t.Fatalf("%.20q: received %q, %v; want %q", request, line, err, want)
		}
	}
	ask(b, "OK 0 1")
	ask(b, fmt.Sprintf("OK %d 1", len(b)))
	// The next partition would have this name.
	obstacle := filepath.Join(n.o.Config.WorkDir, "t", fmt.Sprintf("%d.log", 2*len(b)))
	if err := os.Mkdir(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	ask(b, "ERR read only")
	status, body := get(t, n.HTTPAddr(), "/readyz")
	if status != 503 || !strings.HasPrefix(body, "not ready: topic t is read only: ") {
		t.Errorf("/readyz: %d %q", status, body)
	}
	if status, _ := get(t, n.HTTPAddr(), "/healthz"); status != 200 {
		t.Errorf("/healthz: %d", status)
	}
	if status, body := post(t, n.HTTPAddr(), b); status != 503 || body != "ERR read only\r\n" {
		t.Errorf("POST /log: %d %q", status, body)
	}
	if status, body := post(t, n.HTTPAddr(), "READ t 0 1\r\n"); status != 200 || body != "OK 0 1\r\n"+b {
		t.Errorf("POST /log: %d %q", status, body)
	}
	if _, body := get(t, n.HTTPAddr(), "/metrics"); !strings.Contains(body, `logd_topic_read_only{topic="t"} 1`) {
		t.Error("no logd_topic_read_only 1 in /metrics")
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	ask(b, fmt.Sprintf("OK %d 1", 2*len(b)))
	if status, body := get(t, n.HTTPAddr(), "/readyz"); status != 200 {
		t.Errorf("/readyz: %d %q", status, body)
	}
}

// TestReadyWithABrokenTopic: one that can't be opened is named.
func TestReadyWithABrokenTopic(t *testing.T) {
	n := startNode(t, func(c *config.Config) {
		if err := os.MkdirAll(filepath.Join(c.WorkDir, "bad", "journal"), 0o700); err != nil {
			t.Fatal(err)
		}
	})
	status, body := get(t, n.HTTPAddr(), "/readyz")
	if status != 503 || !strings.HasPrefix(body, "not ready: topic bad can't be opened: ") {
		t.Errorf("/readyz: %d %q", status, body)
	}
	if status, body := post(t, n.HTTPAddr(), testkit.Batch("good", "x")); status != 200 {
		t.Errorf("another topic: %d %q", status, body)
	}
}

// TestReadyWhileDraining: health is answered until all requests are.
func TestReadyWhileDraining(t *testing.T) {
	n := startNode(t, nil)
	n.server.Load().Close()
	if status, body := get(t, n.HTTPAddr(), "/readyz"); status != 503 || body != "not ready: shutting down\n" {
		t.Errorf("/readyz: %d %q", status, body)
	}
	if status, _ := get(t, n.HTTPAddr(), "/healthz"); status != 200 {
		t.Errorf("/healthz: %d", status)
	}
}

// pipeListener hands out what it is given.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }

// closedConn tells when it is closed.
type closedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// inHTTPBubble runs f in a bubble of synctest, with connections to the HTTP
// server of a node that has no data.
func inHTTPBubble(t *testing.T, f func(t *testing.T, dial func() (net.Conn, *closedConn))) {
	synctest.Test(t, func(t *testing.T) {
		c := config.Default()
		c.Timeout, c.IdleTimeout = 15*time.Second, time.Minute
		n := newNode(Options{Config: c, Version: "test"})
		n.server.Store(server.New(server.Options{Store: new(storage.Store).Contract(), Timeout: c.Timeout}))
		l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		h := n.newWeb()
		done := make(chan error, 1)
		go func() { done <- h.Serve(l) }()
		t.Cleanup(func() {
			h.Close()
			if err := <-done; !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("Serve = %v", err)
			}
			n.server.Load().Close()
		})
		f(t, func() (net.Conn, *closedConn) {
			nc, pipe := net.Pipe()
			srv := &closedConn{Conn: pipe, closed: make(chan struct{})}
			l.conns <- srv
			return nc, srv
		})
	})
}

// TestHTTPConnectionIsUsedAgain: deadlines of one request are none for a later
// one on the same connection.
func TestHTTPConnectionIsUsedAgain(t *testing.T) {
	inHTTPBubble(t, func(t *testing.T, dial func() (net.Conn, *closedConn)) {
		c, _ := dial()
		r := bufio.NewReader(c)
		for i, request := range []string{
			"POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/logd\r\nContent-Length: 6\r\n\r\nPING\r\n",
			"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/logd\r\nContent-Length: 6\r\n\r\nPING\r\n",
			"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"GET /debug/pprof/goroutine?seconds=20 HTTP/1.1\r\nHost: localhost\r\n\r\n", // longer than Timeout
		} {
			io.WriteString(c, request)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
			time.Sleep(40 * time.Second) // of IdleTimeout's 60
		}
		c.Close()
	})
}

// TestHTTPDeadlines: an idle connection, a header and a body that dribble, and
// a client that does not read are cut.
func TestHTTPDeadlines(t *testing.T) {
	for _, test := range []struct {
		name, request string
		dribble       bool
		after         time.Duration
	}{
		{"idle from the start", "", false, 10 * time.Second},
		{"half a header", "GET /healthz HTTP/1.1\r\n", false, 10 * time.Second},
		{"header that dribbles", "GET /healthz HTTP/1.1\r\nX: " + strings.Repeat("x", 1000), true, 10 * time.Second},
		{"does not read", "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", false, 15 * time.Second},
		{"does not read a short answer", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", false, 15 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			inHTTPBubble(t, func(t *testing.T, dial func() (net.Conn, *closedConn)) {
				c, srv := dial()
				start := time.Now()
				done := make(chan struct{})
				go func() {
					defer close(done)
					rest := test.request
					for n := len(rest); rest != ""; rest = rest[n:] {
						if test.dribble {
							n = 1
							time.Sleep(50 * time.Millisecond)
						}
						if _, err := io.WriteString(c, rest[:n]); err != nil {
							return
						}
					}
				}()
				select {
				case <-srv.closed:
					if took := time.Since(start); took < test.after || took > test.after+test.after/10 {
						t.Errorf("cut after %v, want %v", took, test.after)
					}
				case <-time.After(time.Hour):
					t.Error("not cut in an hour")
				}
				<-done
				c.Close()
			})
		})
	}
}

// TestMetrics: names and units are as Prometheus wants them, and begin with
// logd_; values are those of what was done.
func TestMetrics(t *testing.T) {
	n := startNode(t, nil)
	c, r := dial(t, n)
	b := testkit.Batch("t", "one", "two")
	fmt.Fprintf(c, "%s%sREAD t 0 1\r\nREAD t 1 1\r\nwhat\r\n", b, b)
	if _, err := io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	families, err := n.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range families {
		name := f.GetName()
		if strings.HasPrefix(name, "process_network_") {
			t.Errorf("%s is of the machine", name)
		}
		if !strings.HasPrefix(name, "logd_") && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("a metric is called %s", name)
		}
	}
	_, text := get(t, n.HTTPAddr(), "/metrics")
	in := len(b)*2 + len("READ t 0 1\r\nREAD t 1 1\r\nwhat\r\n")
	for _, line := range []string{
		`logd_requests_total{command="BATCH"} 2`, `logd_requests_total{command="READ"} 2`, `logd_requests_total{command="unknown"} 1`,
		`logd_errors_total{command="BATCH"} 0`, `logd_errors_total{command="READ"} 1`, `logd_errors_total{command="unknown"} 1`,
		`logd_batches_total 2`, `logd_messages_total 4`, `logd_read_misses_total 1`, `logd_topics 1`,
		`logd_error_answers_total{command="READ",reason="not found"} 1`, `logd_error_answers_total{command="unknown",reason="invalid protocol"} 1`,
		fmt.Sprintf(`logd_topic_bytes{topic="t"} %d`, 2*len(b)), `logd_topic_messages{topic="t"} 4`,
		`logd_connections_total 1`, `logd_connections_refused_total 0`, `logd_panics_total 0`, `logd_waiting_reads 0`,
		`logd_sendfile_calls_total 1`, `logd_topic_partitions{topic="t"} 1`, `logd_topic_oldest_offset{topic="t"} 0`,
		fmt.Sprintf(`logd_topic_next_offset{topic="t"} %d`, 2*len(b)), `logd_topic_damaged_bytes{topic="t"} 0`,
		`logd_topic_read_only{topic="t"} 0`, fmt.Sprintf(`logd_received_bytes_total %d`, in), `logd_append_duration_seconds_count 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("/metrics does not have %s", line)
		}
	}
	for _, name := range []string{"logd_sync_duration_seconds_bucket", "logd_topic_unsynced_bytes", "logd_open_files", "go_goroutines", "process_open_fds ", "logd_disk_free_bytes ", "logd_disk_size_bytes ", "logd_ready 1",
		`logd_topic_oldest_timestamp_seconds{topic="t"} `, `logd_topic_newest_timestamp_seconds{topic="t"} `} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("/metrics does not have %s", name)
		}
	}
}

// TestHTTPHalfClose: a client that has nothing more to send still gets the
// answer to what it has sent.
func TestHTTPHalfClose(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.FlushBatches = 1 })
	b := testkit.Batch("t", "one")
	for i := range 20 {
		nc, err := net.Dial("tcp", n.HTTPAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		fmt.Fprintf(nc, "POST /log HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/logd\r\nContent-Length: %d\r\n\r\n%s", len(b), b)
		if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(nc)
		if want := fmt.Sprintf("OK %d 1\r\n", i*len(b)); err != nil || !strings.HasSuffix(string(answer), want) {
			t.Fatalf("%q (%v), want %q", answer, err, want)
		}
	}
}

// TestMetricsAreDocumented compares the table of docs/operations.md with what
// there is.
func TestMetricsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "| `logd_") {
			for _, name := range regexp.MustCompile("logd_[a-z_]+").FindAllString(strings.Split(line, "|")[1], -1) {
				documented[name] = true
			}
		}
	}
	m := newMetrics(&Node{})
	names := slices.Collect(maps.Keys(m.desc))
	for _, name := range append(names, "logd_append_duration_seconds", "logd_sync_duration_seconds",
		"logd_sync_round_seconds", "logd_sync_round_files", "logd_commit_seconds") {
		if !documented[name] {
			t.Errorf("docs/operations.md does not have %s", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("docs/operations.md has %s, which there is not", name)
	}
}

// TestHTTPConnectionsAreLimited: beyond as many as there may be, health and
// metrics are answered, and nothing else. What is silent there is closed soon.
func TestHTTPConnectionsAreLimited(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.MaxConnections = 2 })
	connect := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", n.HTTPAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(20 * time.Second))
		return c
	}
	ask := func(c net.Conn, request string) (int, string) {
		t.Helper()
		io.WriteString(c, request)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	const health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
	ping := "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/logd\r\nContent-Length: 6\r\n\r\nPING\r\n"
	idle := []net.Conn{connect(), connect()}
	for _, c := range idle {
		if status, _ := ask(c, health); status != 200 {
			t.Errorf("%d", status)
		}
	}
	for range 2 * web.SpareConnections {
		for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/": 503, "/debug/vars": 503} {
			c := connect()
			if status, _ := ask(c, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); status != want {
				t.Errorf("GET %s without room: %d, want %d", path, status, want)
			}
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("after the answer: %v, want the end of the connection", err)
			}
		}
	}
	if status, body := ask(connect(), ping); status != 503 || body != "ERR busy\r\n" {
		t.Errorf("POST /log without room: %d %q", status, body)
	}
	silent := make([]net.Conn, web.SpareConnections)
	for i := range silent {
		silent[i] = connect()
	}
	if status, _ := ask(connect(), health); status != 200 {
		t.Errorf("behind silent connections: %d", status)
	}
	idle[0].Close()
	for status := 0; status != 200; {
		status, _ = ask(connect(), ping) // once the server has seen that it is closed
	}
}

// TestWaitingReadsLeaveHealth: as many waiting reads over HTTP as there is room
// for, and more, starve nothing else.
func TestWaitingReadsLeaveHealth(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.MaxConnections = 8 })
	b := testkit.Batch("t", "one")
	if status, answer := post(t, n.HTTPAddr(), b); status != 200 {
		t.Fatalf("%d %q", status, answer)
	}
	wait := fmt.Sprintf("READ t %d 1 wait=3600000\r\n", len(b))
	request := fmt.Sprintf("POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/logd\r\nContent-Length: %d\r\n\r\n%s", len(wait), wait)
	for i := range 12 {
		c, err := net.Dial("tcp", n.HTTPAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(c, request)
		if i < 4 {
			for n.server.Load().Stats().WaitingReads != int64(i+1) {
				runtime.Gosched()
			}
			continue
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 503 {
			t.Fatalf("waiting read %d: %v, %v", i, resp, err)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if status, _ := get(t, n.HTTPAddr(), path); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
	}
}
