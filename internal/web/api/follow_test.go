package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

// event is one event of a stream.
type event struct{ name, id, data string }

// stream is a stream of events that is read as an EventSource reads it: an event counts
// when its empty line has come.
type stream struct {
	t      testing.TB
	resp   *http.Response
	cancel context.CancelFunc
	in     *bufio.Reader
	last   string // Last-Event-ID
}

// follow opens a stream, which is to be one.
func (s *site) follow(path string, headers ...string) *stream {
	s.t.Helper()
	resp, cancel := s.open(path, headers...)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("%s: %d %s", path, resp.StatusCode, body)
	}
	st := &stream{s.t, resp, cancel, bufio.NewReader(resp.Body), ""}
	s.t.Cleanup(st.close)
	return st
}

func (s *site) open(path string, headers ...string) (*http.Response, context.CancelFunc) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, "GET", s.url(path), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, cancel
}

func (st *stream) close() {
	st.cancel()
	st.resp.Body.Close()
}

// next returns the next event, or false at the end of the stream.
func (st *stream) next() (e event, ok bool) {
	for {
		text, err := st.in.ReadString('\n')
		if err != nil {
			return event{}, false
		}
		switch name, value, _ := strings.Cut(strings.TrimSuffix(text, "\n"), ":"); {
		case text == "\n":
			if e.id != "" {
				st.last = e.id
			}
			if e.data != "" {
				return e, true
			}
			e = event{}
		case name == "event":
			e.name = value[1:]
		case name == "id":
			e.id = value[1:]
		case name == "data":
			e.data += value[1:]
		}
	}
}

// want reads an event and checks its name, its id and that its data has some words.
func (st *stream) want(name, id string, words ...string) event {
	st.t.Helper()
	e, ok := st.next()
	if !ok || e.name != name || id != "*" && e.id != id {
		st.t.Fatalf("%+v (%v), want %q with id %q", e, ok, name, id)
	}
	for _, word := range words {
		if !strings.Contains(e.data, word) {
			st.t.Errorf("%+v does not say %s", e, word)
		}
	}
	return e
}

func (st *stream) wantEnd() {
	st.t.Helper()
	if e, ok := st.next(); ok {
		st.t.Errorf("%+v after the end", e)
	}
}

// TestFollow: events begin with where they do, and each message has its id.
func TestFollow(t *testing.T) {
	s := start(t, nil)
	first := testkit.Batch("orders", "one", "two", "three\n")
	s.protocol(first)
	n := len(first)
	for _, test := range []struct {
		query, last  string
		from, resume string
		ids          []string
	}{
		{"", "", fmt.Sprint(n), fmt.Sprint(n), nil},
		{"from=start", "", "0", "0", []string{"0.0", "0.12", "0.24"}},
		{"from=0.24", "", "0.24", "0.12", []string{"0.24"}},
		{"from=-2", "", "0.12", "0.0", []string{"0.12", "0.24"}},
		{"from=end", "", fmt.Sprint(n), fmt.Sprint(n), nil},
		{"after=0.0", "", "0.12", "0.0", []string{"0.12", "0.24"}},
		{"after=0.24", "", fmt.Sprint(n), "0.24", nil},
		{"from=end", "0.12", "0.24", "0.12", []string{"0.24"}},
		{"from=end", "0", "0", "0", []string{"0.0", "0.12", "0.24"}},
		{"after=0.12", "0.0", "0.12", "0.0", []string{"0.12", "0.24"}},
		{"from=start", "", "0", "0", []string{"0.0", "0.12", "0.24"}},
		{"", fmt.Sprint(n), fmt.Sprint(n), fmt.Sprint(n), nil},
	} {
		st := s.follow("/topics/orders/messages?"+test.query, "Last-Event-ID", test.last)
		st.want("topic", test.resume, `"topic":"orders","topic_id":"`, fmt.Sprintf(`"oldest":0,"end":%d,"from":"%s"`, n, test.from))
		for _, id := range test.ids {
			st.want("", id, `"id":"`+id+`"`)
		}
		st.close()
	}
	st := s.follow("/topics/orders/messages?from=end")
	st.want("topic", fmt.Sprint(n))
	next := s.info("orders").Next
	s.protocol(testkit.Batch("orders", "four\r\nfive\x00"))
	e := st.want("", fmt.Sprintf("%d.0", next))
	line := strings.TrimSuffix(s.get("/topics/orders/messages?from=-1").body, "\n")
	if e.data != line {
		t.Errorf("%s, want %s", e.data, line)
	}
	st.close()
	for _, test := range []struct {
		path, last   string
		status       int
		name, detail string
	}{
		{"/topics/none/messages", "", 404, "not-found", "none"}, {"/topics/orders/messages", "x", 400, "invalid-request", "Last-Event-ID"}, {"/topics/orders/messages", "1.2.3", 400, "invalid-request", ""},
		{"/topics/orders/messages", "-1", 400, "invalid-request", ""}, {"/topics/orders/messages", strings.Repeat("9", 30), 400, "invalid-request", ""}, {"/topics/orders/messages", "0.1", 400, "not-a-place", "0.12"},
		{"/topics/orders/messages?from=1", "", 400, "not-a-place", ""}, {"/topics/orders/messages?from=99999", "", 404, "beyond-end", ""}, {"/topics/orders/messages?after=99999.0", "", 404, "beyond-end", ""},
		{"/topics/orders/messages?limit=1", "", 400, "invalid-request", "limit"}, {"/topics/orders/messages?id=00", "", 404, "not-found", "another"}, {"/topics/orders/messages?after=x", "", 400, "invalid-request", "after"},
	} {
		s.get(test.path, "Accept", "text/event-stream", "Last-Event-ID", test.last).wantProblem(t, test.status, test.name, test.detail)
	}
	if a := s.do("HEAD", "/topics/orders/messages?format=sse", ""); a.StatusCode != 200 || a.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
}

// TestFollowCut: over any number of cuts, at any byte, each message comes once.
func TestFollowCut(t *testing.T) {
	s := start(t, nil)
	r := rand.New(rand.NewPCG(1, 2))
	var want []string
	for len(want) < 40 {
		var bodies []string
		for range 1 + r.IntN(4) {
			bodies = append(bodies, fmt.Sprintf("message %d", len(want)))
			want = append(want, bodies[len(bodies)-1])
		}
		s.protocol(testkit.Batch("orders", bodies...))
	}
	step := 1
	if testing.Short() {
		step = 97
	}
	most := 400
	for cut := 1; cut < most; cut += step {
		last, query := "", "?from=start"
		var got []string
		for rounds := 0; len(got) < len(want); rounds++ {
			resp, cancel := s.open("/topics/orders/messages"+query, "Last-Event-ID", last)
			if resp.StatusCode != 200 {
				t.Fatalf("resumed at %q: %d", last, resp.StatusCode)
			}
			// A cut that has nothing whole would go on for ever.
			st := &stream{t, resp, cancel, bufio.NewReader(io.LimitReader(resp.Body, int64(cut+rounds*7))), last}
			for {
				e, ok := st.next()
				if !ok {
					break
				}
				if e.name == "" {
					var l line
					if err := json.Unmarshal([]byte(e.data), &l); err != nil {
						t.Fatal(err)
					}
					if got = append(got, *l.Body); len(got) == len(want) {
						break
					}
				}
			}
			last = st.last
			st.close()
		}
		if !slices.Equal(got, want) {
			t.Fatalf("cut after %d bytes: %q", cut, got)
		}
	}
}

// TestFollowMany: all who follow see the same, while it is written, and over a restart.
func TestFollowMany(t *testing.T) {
	s := start(t, func(c *config.Config) {
		c.HTTPMemory = 2 << 20
		c.Host, c.HTTPHost = testkit.FreeAddr(t), testkit.FreeAddr(t)
	})
	s.protocol(testkit.Batch("orders", "first"))
	const followers, messages = 20, 300
	var group sync.WaitGroup
	results := make([][]string, followers)
	for i := range followers {
		group.Go(func() {
			last := ""
			for len(results[i]) < messages {
				req, _ := http.NewRequest("GET", "http://"+s.config.HTTPHost+"/api/v1/topics/orders/messages?from=start&format=sse", nil)
				req.Header.Set("Last-Event-ID", last)
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				if resp.StatusCode != 200 {
					resp.Body.Close()
					time.Sleep(10 * time.Millisecond)
					continue
				}
				st := &stream{t, resp, func() {}, bufio.NewReader(resp.Body), last}
				for len(results[i]) < messages {
					e, ok := st.next()
					if !ok {
						break
					}
					if e.name == "" {
						var l line
						json.Unmarshal([]byte(e.data), &l)
						results[i] = append(results[i], *l.Body)
					}
				}
				last = st.last
				resp.Body.Close()
			}
		})
	}
	want := []string{"first"}
	for i := 1; i < messages; i++ {
		body := fmt.Sprintf("message %d %s", i, strings.Repeat("x", i*37%2000))
		want = append(want, body)
		s.protocol(testkit.Batch("orders", body))
		if i == messages/2 {
			s.stop()
			s.run()
		}
	}
	group.Wait()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for i, got := range results {
		if !slices.Equal(got, want) {
			t.Errorf("follower %d: %d messages, %.200q", i, len(got), got)
		}
	}
}

// TestFollowGaps: what can't be had any more is told, and passed over.
func TestFollowGaps(t *testing.T) {
	s := start(t, nil)
	s.protocol(testkit.Batch("orders", "one", "two") + testkit.Batch("orders", "three"))
	end := s.info("orders").Next
	s.protocol(fmt.Sprintf("TRIM orders %d\r\n", end))
	s.protocol(testkit.Batch("orders", "four"))
	for query, from := range map[string]string{"?from=0": "0", "?after=0.0": "0", "?from=0.12": "0"} {
		st := s.follow("/topics/orders/messages" + query)
		st.want("topic", "*", `"from":"`+from+`"`)
		st.want("gap", fmt.Sprint(end), fmt.Sprintf(`{"from":"0","to":"%d","cause":"retention"}`, end))
		st.want("", fmt.Sprintf("%d.0", end), "four")
		st.close()
	}
	st := s.follow("/topics/orders/messages", "Last-Event-ID", "0.0")
	st.want("topic", "0.0")
	st.want("gap", fmt.Sprint(end))
	st.want("", fmt.Sprintf("%d.0", end), "four")
	st.close()

	// The log has lost its tail.
	next := s.info("orders").Next
	for _, last := range []string{fmt.Sprint(next + 1), fmt.Sprintf("%d.0", next), fmt.Sprintf("%d.17", next+100)} {
		st := s.follow("/topics/orders/messages", "Last-Event-ID", last)
		st.want("topic", last)
		st.want("gap", fmt.Sprint(next), fmt.Sprintf(`{"from":"%s","to":"%d","cause":"lost"}`, last, next))
		st.close()
	}
}

// TestFollowEnds: why a stream ends is told.
func TestFollowEnds(t *testing.T) {
	s := start(t, nil)
	s.protocol(testkit.Batch("orders", "one") + testkit.Batch("users", "one"))
	deleted, closing := s.follow("/topics/orders/messages"), s.follow("/topics/users/messages?from=start")
	deleted.want("topic", "*")
	closing.want("topic", "0")
	closing.want("", "0.0")
	// Another topic of that name, which has a batch at the same place, is another topic.
	s.protocol("DELETE orders id=" + s.info("orders").ID + "\r\n" + testkit.Batch("orders", "xxx") + testkit.Batch("orders", "another"))
	deleted.want("deleted", "", "orders")
	deleted.wantEnd()
	done := make(chan struct{})
	go func() {
		defer close(done)
		closing.want("closing", "")
		closing.wantEnd()
		closing.close()
	}()
	begun := time.Now()
	s.stop()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
	<-done
}

// TestFollowAwait: a topic that is not there yet is waited for, and followed from its
// first message on.
func TestFollowAwait(t *testing.T) {
	s := start(t, nil)
	for _, query := range []string{"", "&from=end", "&from=start", "&from=-1"} {
		topic := "t" + strings.Trim(query, "&=")
		topic = strings.ReplaceAll(topic, "=", ".")
		st := s.follow("/topics/" + topic + "/messages?await=1" + query)
		s.protocol(testkit.Batch(topic, "one"))
		st.want("topic", "0")
		st.want("", "0.0", "one")
		st.close()
	}
}

// TestFollowRights: who may not read any more is not sent anything more.
func TestFollowRights(t *testing.T) {
	file := authFile(t, "reader: read orders", "writer: write,create *")
	s := start(t, func(c *config.Config) { c.AuthFile = file })
	who := func(name string) []string { return []string{"Authorization", "Bearer " + name + "-token"} }
	s.do("POST", "/topics/orders/messages", "one", who("writer")...)
	for _, path := range []string{"/topics/users/messages?format=sse", "/topics/none/messages?format=sse", "/topics/none/messages?format=sse&await=1", "/topics/users/messages?format=sse&await=1"} {
		s.get(path, who("reader")...).wantProblem(t, 401, "unauthorized")
	}
	st := s.follow("/topics/orders/messages", who("reader")...)
	st.want("topic", "*")
	text, err := os.ReadFile(authFile(t, "reader: read users", "writer: write,create *"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.node.Reload(func() (config.Config, error) { return s.config, nil }); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	st.wantEnd()
	if took := time.Since(begun); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestFollowLimit: at most half of the connections follow.
func TestFollowLimit(t *testing.T) {
	s := start(t, func(c *config.Config) { c.HTTPMaxConnections = 8 })
	s.protocol(testkit.Batch("orders", "one"))
	var streams []*stream
	for range 4 {
		streams = append(streams, s.follow("/topics/orders/messages"))
	}
	a := s.get("/topics/orders/messages", "Accept", "text/event-stream")
	a.wantProblem(t, 503, "busy")
	for _, st := range streams {
		st.close()
	}
	testkit.Eventually(t, func() string {
		resp, cancel := s.open("/topics/orders/messages")
		cancel()
		resp.Body.Close()
		return testkit.Unless(resp.StatusCode == 200, "it is busy")
	})
}

// TestFollowMemory: who follows takes the memory of a batch, however many it is sent.
func TestFollowMemory(t *testing.T) {
	s := start(t, func(c *config.Config) { c.HTTPMemory, c.Timeout = 1<<20, time.Minute })
	const n = 1000
	for range n {
		s.protocol(testkit.Batch("t", strings.Repeat("x", 1000)))
	}
	st := s.follow("/topics/t/messages?from=start")
	st.want("topic", "0")
	for range n {
		st.want("", "*")
	}
}

// TestFollowShort: who has to wait for memory, which others have that take nothing, misses
// no event.
func TestFollowShort(t *testing.T) {
	s := start(t, func(c *config.Config) { c.HTTPMemory, c.BatchSize, c.Timeout = 1<<20, 1<<20, 500*time.Millisecond })
	const n, size = 100, 100 << 10
	for range n {
		s.protocol(testkit.Batch("t", strings.Repeat("x", size)))
	}
	const path = "/topics/t/messages?from=start"
	for range 8 {
		s.follow(path) // and takes nothing
	}
	st := s.follow(path)
	st.want("topic", "0")
	each := len(testkit.Batch("t", strings.Repeat("x", size)))
	for i := range n {
		st.want("", fmt.Sprintf("%d.0", i*each))
	}
}
