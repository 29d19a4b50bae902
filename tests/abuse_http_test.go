package tests

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// httpMemory is what http-memory is if nobody says otherwise, in bytes.
const httpMemory = 64 << 20

// sockets returns how many the server has open (Linux, proc_pid_fd(5)). A connection that
// waits to be accepted is none of them.
func (a *abused) sockets() (n int) {
	a.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", a.cmd.Process.Pid)
	files, err := os.ReadDir(dir)
	if err != nil {
		a.t.Skipf("this machine does not tell what a process has open: %v", err)
	}
	for _, f := range files {
		if to, _ := os.Readlink(filepath.Join(dir, f.Name())); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// crowd is many connections of HTTP.
type crowd struct {
	a       *abused
	conns   []net.Conn
	sockets int   // that the server had before
	memory  int64 // that the server had before, in bytes
	begun   time.Time
}

// gather has n connections send the beginnings of requests that head returns. It returns
// when the server has all of them.
func (a *abused) gather(t *testing.T, n int, head func(i int) string) *crowd {
	t.Helper()
	c := &crowd{a: a, sockets: a.sockets()}
	c.memory, _ = a.resident()
	t.Cleanup(c.close)
	for i := range n {
		nc, err := dialFrom(a.http, 5, byte(i%200))
		if err != nil {
			t.Fatal(err)
		}
		c.conns = append(c.conns, nc)
		nc.SetDeadline(time.Now().Add(patience))
		nc.(*net.TCPConn).SetReadBuffer(4 << 10)
		if _, err := io.WriteString(nc, head(i)); err != nil {
			t.Fatal(err)
		}
	}
	c.begun = time.Now()
	return c
}

func (c *crowd) close() {
	for _, nc := range c.conns {
		nc.Close()
	}
}

// gone waits until the server has closed all of them. It returns how long that takes from
// when the last one has come, and how much memory the server takes for them at most.
func (c *crowd) gone(t *testing.T) (took time.Duration, memory int64) {
	t.Helper()
	eventually(t, "all are gone", func() bool {
		now, _ := c.a.resident()
		memory = max(memory, now-c.memory)
		took = time.Since(c.begun)
		return c.a.sockets() <= c.sockets
	})
	return took, memory
}

// head returns the beginning of a request.
func head(method, path string, fields ...string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
}

// slowBodies has n requests whose bodies come two bytes at a time. Each is ended in time,
// and nothing of it is stored.
func slowBodies(t *testing.T, a *abused, n int) error {
	const messages = "/api/v1/topics/slow/messages"
	token := "Authorization: Bearer " + a.slow
	kinds := []struct {
		head, drip string
		answers    []int
	}{
		{head("POST", messages, token, "Content-Type: text/plain", "Content-Length: 1048576"), "x\n", []int{408, 503}},
		{head("POST", messages, token, "Content-Type: application/octet-stream", "Content-Length: 100000"), "xx", []int{408, 503}},
		{head("POST", messages, token, "Content-Type: text/plain", "Transfer-Encoding: chunked"), "2\r\nx\n\r\n", []int{408, 503}},
		{head("PUT", "/api/v1/topics/slow/positions/slow", token, "Content-Type: application/json", "Content-Length: 60000"), "  ", []int{408, 503}},
		{head("POST", messages, "Content-Type: text/plain", "Content-Length: 1048576"), "x\n", []int{401}},
	}
	c := a.gather(t, n, func(i int) string { return kinds[i%len(kinds)].head })
	var group sync.WaitGroup
	var mu sync.Mutex
	answers := make(map[int]int)
	for i, nc := range c.conns {
		kind := &kinds[i%len(kinds)]
		over := make(chan struct{})
		group.Go(func() {
			tick := time.NewTicker(500 * time.Millisecond)
			defer tick.Stop()
			for {
				if _, err := io.WriteString(nc, kind.drip); err != nil {
					return
				}
				select {
				case <-tick.C:
				case <-over:
					return
				}
			}
		})
		group.Go(func() {
			defer close(over)
			status := 0
			if resp, err := http.ReadResponse(bufio.NewReader(nc), nil); err == nil {
				status = resp.StatusCode
				io.Copy(io.Discard, resp.Body)
			}
			io.Copy(io.Discard, nc) // to its end
			mu.Lock()
			defer mu.Unlock()
			answers[status]++
			if !slices.Contains(kind.answers, status) {
				t.Errorf("a slow body is answered %d, want %v: %q", status, kind.answers, kind.head)
			}
		})
	}
	took, memory := c.gone(t)
	group.Wait()
	t.Logf("%d slow bodies took %d KiB; the last was gone after %v; answers: %v", n, memory>>10, took, answers)
	if most := int64(n) * 64 << 10; memory > most {
		t.Errorf("%d slow bodies take %d bytes, want %d at most", n, memory, most)
	}
	if _, err := a.enter(t, a.token).ask("INFO slow\r\n"); !errors.Is(err, refusal("not found")) {
		t.Errorf("of slow bodies something is stored: %v", err)
	}
	// Who waits for memory has as long for that as for its body, and half a second is what
	// package http gives a client to see its answer.
	if most := 2*abusedTimeout + 1500*time.Millisecond; took > most {
		return fmt.Errorf("the last was there for %v, want %v", took, most)
	}
	return nil
}

// slowReaders has n requests for more than the buffers of a connection hold, whose answers
// nobody takes. Each is cut in time.
func slowReaders(t *testing.T, a *abused, n int) error {
	const messages = "/api/v1/topics/slow-read/messages"
	g := a.enter(t, a.slow)
	for range 1000 {
		if _, err := g.ask(encode("slow-read", slices.Repeat([]string{strings.Repeat("x", 1000)}, 8)...)); err != nil {
			t.Fatal(err)
		}
	}
	token := "Authorization: Bearer " + a.slow + "\r\nConnection: close" // also of who is refused
	kinds := []string{
		head("GET", messages, token),
		head("GET", messages+"?format=text", token),
		head("GET", messages+"?format=raw", token),
		head("GET", messages+"?format=sse&from=start", token),
	}
	c := a.gather(t, n, func(i int) string { return kinds[i%len(kinds)] })
	took, memory := c.gone(t)
	answers := make(map[int]int)
	for _, nc := range c.conns {
		in := bufio.NewReader(nc)
		if _, err := in.Peek(1); err != nil {
			answers[0]++ // it was cut before that
			continue
		}
		resp, err := http.ReadResponse(in, nil) // its beginning, which is there
		if err != nil || resp.StatusCode != 200 && resp.StatusCode != 503 {
			t.Fatalf("a reader is answered %v: %v", resp, err)
		}
		answers[resp.StatusCode]++
	}
	t.Logf("%d slow readers took %d KiB; the last was gone after %v; answers: %v", n, memory>>10, took, answers)
	// What is not used any more takes as much as what is used.
	if most := 2 * (httpMemory + int64(n)*64<<10); memory > most {
		t.Errorf("%d slow readers take %d bytes, want %d at most", n, memory, most)
	}
	// There is memory for a third of 2,000 at a time. Who follows waits for it, the others
	// are refused.
	if most := 5*abusedTimeout + time.Second; took > most {
		return fmt.Errorf("the last was there for %v, want %v", took, most)
	}
	return nil
}

// consumerNames has one who may save positions save n, each under a name of its own, by
// both ways. Up to a bound they are kept; the others are refused, and nobody else is.
func consumerNames(t *testing.T, a *abused, n int) error {
	const most, topic = 10_000, "slow-names" // most is what positions is if nobody says otherwise
	if _, err := a.enter(t, a.slow).ask(encode(topic, "message")); err != nil {
		t.Fatal(err)
	}
	save := func(token, what string) string {
		t.Helper()
		line, err := a.enter(t, token).ask("POSITION " + what + "\r\n")
		if err != nil && !errors.As(err, new(refusal)) {
			t.Fatal(err)
		}
		return cmp.Or(line, fmt.Sprint(err))
	}
	if got := save(a.token, "bystander its-own at=0.0"); !strings.HasPrefix(got, "OK ") {
		t.Fatalf("a position is answered %q", got)
	}
	before, _ := a.resident()
	begun := time.Now()
	var group sync.WaitGroup
	var saved, refused atomic.Int64
	const workers = 200
	for w := range workers {
		group.Go(func() {
			var err error
			if w%2 == 0 {
				err = a.saveLines(topic, w, n/workers, &saved, &refused)
			} else {
				err = a.savePuts(topic, w, n/workers, &saved, &refused)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	after, _ := a.resident()
	t.Logf("%d positions are saved and %d refused in %v; they took %d KiB", saved.Load(), refused.Load(), time.Since(begun), (after-before)>>10)
	if got := saved.Load(); got != most-1 || refused.Load() != int64(n)-got {
		t.Errorf("%d positions are saved and %d refused, want %d besides one that was there", got, refused.Load(), most-1)
	}
	if more := after - before; more > 64<<20 {
		t.Errorf("%d positions take %d bytes, want 64 MiB at most", most, more)
	}
	if got := save(a.token, "bystander its-own at=0.0"); !strings.HasPrefix(got, "OK ") {
		t.Errorf("another's position, which was there before, is answered %q", got)
	}

	// What is not looked at in time has the values of the last time.
	scrape := time.Hour
	eventually(t, "metrics tell of 1,000 positions, and how many more there are", func() bool {
		begun := time.Now()
		page := a.page(t, "/metrics")
		scrape = min(scrape, time.Since(begun))
		series := strings.Count(page, "\nlogd_position_lag_bytes{")
		if series > 1000 {
			t.Fatalf("%d positions have metrics, want 1000", series)
		}
		return series == 1000 && strings.Contains(page, fmt.Sprintf("\nlogd_positions_not_exported %d\n", most-1000))
	})
	begun = time.Now()
	page := a.page(t, "/positions")
	t.Logf("metrics take %v, the page of positions %v and %d bytes", scrape, time.Since(begun), len(page))
	if rows := strings.Count(page, "<tr"); rows > 1001 {
		t.Errorf("the page of positions has %d rows, want 1,001 with the head at most", rows)
	}

	// Who forgets one has room for one.
	refuse := fmt.Sprint(refusal("maximum positions allowed"))
	for i, test := range [][2]string{{"one-more at=0.0", refuse}, {"c-0-0 forget=1", "OK"}, {"one-more at=0.0", "OK "}, {"c-0-0 at=0.0", refuse}, {"one-more forget=1", "OK"}, {"c-0-0 at=0.0", "OK "}} {
		if got := save(a.slow, topic+" "+test[0]); !strings.HasPrefix(got, test[1]) {
			t.Errorf("%d: %s is answered %q, want %q", i, test[0], got, test[1])
		}
	}
	if scrape > 200*time.Millisecond {
		return fmt.Errorf("metrics take %v, want 200 ms", scrape)
	}
	return nil
}

// enter connects by the protocol and shows a token.
func (a *abused) enter(t *testing.T, token string) *guest {
	t.Helper()
	g, err := a.visit(0, 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	if _, err := g.ask("AUTH " + token + "\r\n"); err != nil {
		t.Fatal(err)
	}
	return g
}

// page returns a page that the bystander may see.
func (a *abused) page(t *testing.T, path string) string {
	t.Helper()
	req, err := http.NewRequest("GET", "http://"+a.http+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s: %d %v %s", path, resp.StatusCode, err, text)
	}
	return string(text)
}

// saveLines saves n positions by the protocol, and counts what they are answered.
func (a *abused) saveLines(topic string, worker, n int, saved, refused *atomic.Int64) error {
	g, err := a.visit(6, byte(worker))
	if err != nil {
		return err
	}
	defer g.close()
	if _, err := g.ask("AUTH " + a.slow + "\r\n"); err != nil {
		return err
	}
	for i := range n {
		_, err := g.ask(fmt.Sprintf("POSITION %s c-%d-%d at=0.0\r\n", topic, worker, i))
		switch {
		case err == nil:
			saved.Add(1)
		case err == refusal("maximum positions allowed"):
			refused.Add(1)
		default:
			return err
		}
	}
	return nil
}

// savePuts is saveLines by HTTP.
func (a *abused) savePuts(topic string, worker, n int, saved, refused *atomic.Int64) error {
	nc, err := dialFrom(a.http, 6, byte(worker))
	if err != nil {
		return err
	}
	defer nc.Close()
	in := bufio.NewReader(nc)
	for i := range n {
		nc.SetDeadline(time.Now().Add(patience))
		io.WriteString(nc, head("PUT", fmt.Sprintf("/api/v1/topics/%s/positions/c-%d-%d", topic, worker, i),
			"Authorization: Bearer "+a.slow, "Content-Type: application/json", "Content-Length: 12")+`{"at":"0.0"}`)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		switch {
		case err != nil:
			return err
		case resp.StatusCode == 200 || resp.StatusCode == 201:
			saved.Add(1)
		case resp.StatusCode == 429 && resp.Header.Get("Retry-After") != "":
			refused.Add(1)
		default:
			return fmt.Errorf("%d %s", resp.StatusCode, text)
		}
	}
	return nil
}

// TestPositionsAtTheirLimit: as many positions as there may be are there after a restart,
// and the limit is.
func TestPositionsAtTheirLimit(t *testing.T) {
	const most, workers = 2000, 100
	dir := t.TempDir()
	s := start(t, dir, "--positions", fmt.Sprint(most))
	dial(t, s.addr).append("t", "message")
	save := func(c *conn, consumer, what string) (string, error) {
		if err := c.send(fmt.Sprintf("POSITION t %s %s\r\n", consumer, what)); err != nil {
			return "", err
		}
		return c.answer()
	}
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			c, err := connect(s.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.close()
			for i := range most / workers {
				if _, err := save(c, fmt.Sprintf("c-%d-%d", w, i), "at=0.0"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	const full = refusal("maximum positions allowed")
	for range 2 {
		c := dial(t, s.addr)
		resp, err := http.Get("http://" + s.http + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprintf("\nlogd_positions{state=\"ok\"} %d\n", most); err != nil || !strings.Contains(string(page), want) {
			t.Errorf("%v: metrics do not say %q", err, want)
		}
		for _, step := range []struct {
			consumer, what string
			err            error
		}{{"c-9-9", "at=0.0", nil}, {"new", "at=0.0", full}, {"c-9-9", "forget=1", nil}, {"new", "at=0.0", nil}, {"c-9-9", "at=0.0", full}, {"new", "forget=1", nil}, {"c-9-9", "at=0.0", nil}} {
			if _, err := save(c.conn, step.consumer, step.what); !errors.Is(err, step.err) {
				t.Errorf("%s of %s is answered %v, want %v", step.what, step.consumer, err, step.err)
			}
		}
		s.stop()
		s = start(t, dir, "--positions", fmt.Sprint(most))
	}
}
