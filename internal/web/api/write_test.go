package api_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/config"
)

// written is what is answered to messages that are stored.
type written struct {
	Topic, Durability, First, Last, Next string
	Messages, Batches, Bytes             int64
	Duplicate                            bool
	NextSeq                              int64 `json:"next_seq"`
	IDs                                  []string
	Stored                               *written // in a problem
}

func (a answer) written(t testing.TB) (w written) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &w); err != nil {
		t.Fatalf("%d %q: %v", a.StatusCode, a.body, err)
	}
	return w
}

// stored returns the messages of a topic, over the protocol.
func (s *site) stored(topic string) (messages []string) {
	s.t.Helper()
	in := s.info(topic)
	for offset := in.Oldest; offset < in.Next; {
		_, rest, _ := strings.Cut(s.protocol(fmt.Sprintf("READ %s %d 50000\r\n", topic, offset)), "\r\n")
		for data := []byte(rest); len(data) > 0; {
			h, n, err := batch.Parse(data)
			if err != nil || n > int64(len(data)) {
				s.t.Fatalf("%q: %v", data, err)
			}
			m := batch.Messages{Data: data[h.Len():n]}
			for m.Next() {
				messages = append(messages, string(m.Body()))
			}
			data, offset = data[n:], offset+n
		}
	}
	return messages
}

// TestWrite: what is a message, and what is answered.
func TestWrite(t *testing.T) {
	s := start(t, nil)
	a := s.do("POST", "/topics/orders/messages", "one\ntwo\nthree")
	a.want(t, 200, `{"topic":"orders","messages":3,"batches":1,"bytes":13,"first":"0.0","last":"0.24","next":"66","durability":"flushed","duplicate":false}`+"\n")
	if a := s.do("POST", "/topics/orders/messages?ids=1", "a\n\nb\n"); strings.Join(a.written(t).IDs, " ") != "66.0 66.10 66.19" {
		t.Errorf("ids: %s", a.body)
	}
	if got := s.stored("orders"); fmt.Sprint(got) != "[one two three a  b]" {
		t.Errorf("stored: %q", got)
	}
	own := "http://" + s.node.HTTPAddr().String()
	for i, test := range []struct {
		body    string
		headers []string
		status  int
		want    string // messages with commas, or the problem
	}{
		{"a\r\nb\r\n", []string{"Content-Type", "text/plain; charset=utf-8"}, 200, "a\r,b\r"},
		{"a\nb", []string{"Content-Type", "application/x-www-form-urlencoded"}, 200, "a,b"},
		{"a", []string{"Content-Type", "application/x-www-form-urlencoded", "Referer", own + "/x"}, 415, "content-type"},
		{"a", []string{"Content-Type", "application/x-www-form-urlencoded", "Cookie", "a=b"}, 415, "content-type"},
		{"a", []string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "none"}, 415, "content-type"},
		{"a", []string{"Content-Type", "text/plain", "Origin", own}, 415, "content-type"},
		{"a", []string{"Origin", own}, 415, "content-type"},
		{`{"a":1}`, []string{"Content-Type", "application/json", "Origin", own}, 200, `{"a":1}`},
		{"a\nb\n", []string{"Content-Type", "application/octet-stream"}, 200, "a\nb\n"},
		{"a\nb\n", []string{"Content-Type", "application/json"}, 200, "a\nb\n"},
		{`{"body":"a"}` + "\n" + `{"body_base64":"/w=="}` + "\n", []string{"Content-Type", "application/x-ndjson"}, 200, "a,\xff"},
		{`{"body":"a"}` + "\n{}\n", []string{"Content-Type", "application/x-ndjson"}, 400, "invalid-request"},
		{"a", []string{"Content-Type", "multipart/form-data; boundary=x"}, 415, "content-type"},
		{"a", []string{"Content-Type", "text/html"}, 415, "content-type"},
		{"a", []string{"Content-Type", "text/plain", "Content-Type", "text/plain"}, 415, "content-type"},
		{"a", []string{"Content-Type", "/"}, 415, "content-type"},
		{"a", []string{"Content-Encoding", "br"}, 415, "content-type"},
		{"a", []string{"Content-Encoding", "gzip"}, 400, "invalid-request"},
		{"a", []string{"Content-Encoding", "zstd"}, 400, "invalid-request"},
		{"", nil, 400, "invalid-request"},
		{"\n", nil, 200, ""},
		{strings.Repeat("x", 65536), nil, 413, "too-large"},
	} {
		topic := "t" + strconv.Itoa(i)
		a := s.do("POST", "/topics/"+topic+"/messages", test.body, test.headers...)
		if a.StatusCode != 200 {
			a.wantProblem(t, test.status, test.want)
			if strings.Contains(s.protocol("TOPICS\r\n"), topic+"\r\n") {
				t.Errorf("%q %v: the topic was made", test.body, test.headers)
			}
			continue
		}
		if got := strings.Join(s.stored(topic), ","); test.status != 200 || got != test.want {
			t.Errorf("%q %v: %q, want %d %q", test.body, test.headers, got, test.status, test.want)
		}
	}
	for path, words := range map[string]string{
		"/topics/__own/messages": "", "/topics/.x/messages": `".x"`, "/topics/a/messages?ids=2": "ids=", "/topics/a/messages?require=flushed": "synced or replicated", "/topics/a/messages?x=1": `"x"`,
	} {
		s.do("POST", path, "a").wantProblem(t, 400, "invalid-request", words)
	}
	s.do("POST", "/topics/a/messages?require=synced", "a").wantProblem(t, 412, "durability", "flushed")
}

// TestWriteBatches: of a body that takes several batches whole ones are stored, up to
// where something is wrong, and the answer says what.
func TestWriteBatches(t *testing.T) {
	s := start(t, func(c *config.Config) { c.BatchSize = 512; c.FlushBatches = 1 })
	line := strings.Repeat("x", 99) + "\n"
	a := s.do("POST", "/topics/orders/messages?require=synced", strings.Repeat(line, 10))
	if w := a.written(t); a.StatusCode != 200 || w.Messages != 10 || w.Batches != 3 || w.Bytes != 1000 || w.Durability != "synced" || w.Next != strconv.FormatInt(s.info("orders").Next, 10) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	// What is too long is named, and what is stored of the others, so that the rest can be
	// sent.
	body := strings.Repeat(line, 6) + strings.Repeat("y", 600) + "\n" + line
	a = s.do("POST", "/topics/long/messages", body)
	a.wantProblem(t, 413, "too-large", "Line 7")
	if w := a.written(t); w.Stored == nil || w.Stored.Messages != 6 || w.Stored.Bytes != 600 || w.Stored.First != "0.0" {
		t.Errorf("%s", a.body)
	}
	if got := s.stored("long"); len(got) != 6 {
		t.Errorf("stored: %d", len(got))
	}
	// One that fits a batch is stored whole or not at all.
	a = s.do("POST", "/topics/none/messages", `{"body":"a"}`+"\n"+`{"body":1}`, "Content-Type", "application/x-ndjson")
	a.wantProblem(t, 400, "invalid-request", "Line 2")
	if strings.Contains(a.body, "stored") || strings.Contains(s.protocol("TOPICS\r\n"), "none") {
		t.Errorf("%s", a.body)
	}
	a = s.do("POST", "/topics/some/messages", strings.Repeat(`{"body":"`+strings.Repeat("z", 90)+`"}`+"\n", 9)+"{", "Content-Type", "application/x-ndjson")
	a.wantProblem(t, 400, "invalid-request", "Line 10")
	if w := a.written(t); w.Stored == nil || w.Stored.Messages != int64(len(s.stored("some"))) || w.Stored.Messages == 0 || w.Stored.Messages == 9 {
		t.Errorf("%s", a.body)
	}
}

// TestWriteCut: of a body that is cut no cut line is stored, and what is stored is told.
func TestWriteCut(t *testing.T) {
	s := start(t, func(c *config.Config) { c.BatchSize = 512; c.Topics = 0 })
	var text strings.Builder
	for i := range 30 {
		text.WriteString(strings.Repeat("x", i*7%60) + "\n")
	}
	body := text.String()
	step := 1
	if testing.Short() {
		step = 17
	}
	for cut := 0; cut < len(body); cut += step {
		topic := "t" + strconv.Itoa(cut)
		nc, err := net.Dial("tcp", s.node.HTTPAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(nc, "POST /api/v1/topics/%s/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", topic, len(body), body[:cut])
		nc.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		answer, _ := io.ReadAll(resp.Body)
		nc.Close()
		var w written
		if err := json.Unmarshal(answer, &w); err != nil || resp.StatusCode != 400 {
			t.Fatalf("cut at %d: %d %q", cut, resp.StatusCode, answer)
		}
		if w.Stored == nil {
			if strings.Contains(s.protocol("TOPICS\r\n"), topic+"\r\n") {
				t.Fatalf("cut at %d: stored, and not told", cut)
			}
			continue
		}
		got := strings.Join(s.stored(topic), "\n") + "\n"
		if got != body[:w.Stored.Bytes] || int(w.Stored.Bytes) > cut {
			t.Fatalf("cut at %d: %q is stored, and told %s", cut, got, answer)
		}
	}
}

// TestWriteOnce: a request that is sent again under its key is stored once.
func TestWriteOnce(t *testing.T) {
	s := start(t, func(c *config.Config) { c.BatchSize = 512 })
	body := strings.Repeat(strings.Repeat("x", 99)+"\n", 10)
	first := s.do("POST", "/topics/orders/messages?ids=1", body, "Idempotency-Key", "monday 1")
	if w := first.written(t); first.StatusCode != 200 || w.Duplicate || w.Batches < 3 {
		t.Fatalf("%d %s", first.StatusCode, first.body)
	}
	if got := s.protocol("READ orders 0 1\r\n"); !strings.Contains(got, " pid=h-0") && !strings.Contains(got, " pid=h-") || !strings.Contains(got, " seq=1\r\n") {
		t.Errorf("%q", got)
	}
	again := s.do("POST", "/topics/orders/messages?ids=1", body, "Idempotency-Key", "monday 1")
	if want := strings.Replace(first.body, `"duplicate":false`, `"duplicate":true`, 1); again.body != want || again.StatusCode != 200 {
		t.Errorf("again: %d %s, want %s", again.StatusCode, again.body, want)
	}
	s.do("POST", "/topics/orders/messages", "other", "Idempotency-Key", "monday 1").wantProblem(t, 409, "sequence-conflict")
	if got := s.stored("orders"); len(got) != 10 {
		t.Errorf("%d messages", len(got))
	}
	// A stream of one's own.
	own := func(seq string) answer {
		return s.do("POST", "/topics/own/messages", "a\nb", "Logd-Producer", "me", "Logd-Seq", seq)
	}
	if w := own("1").written(t); w.NextSeq != 2 || w.Duplicate {
		t.Errorf("%+v", w)
	}
	if w := own("1").written(t); w.NextSeq != 2 || !w.Duplicate {
		t.Errorf("%+v", w)
	}
	a := own("5")
	a.wantProblem(t, 409, "out-of-order", "2")
	if m := a.object(t); fmt.Sprint(m["expected"]) != "2" || m["reason"] != "out of order 2" {
		t.Errorf("%s", a.body)
	}
	for _, headers := range [][]string{
		{"Idempotency-Key", ""}, {"Idempotency-Key", strings.Repeat("k", 256)}, {"Idempotency-Key", "a\tb"}, {"Idempotency-Key", "ä"}, {"Idempotency-Key", "a", "Idempotency-Key", "b"},
		{"Idempotency-Key", "a", "Logd-Producer", "p", "Logd-Seq", "1"}, {"Logd-Producer", "p"}, {"Logd-Seq", "1"}, {"Logd-Producer", "p", "Logd-Seq", "0"},
		{"Logd-Producer", "p p", "Logd-Seq", "1"}, {"Logd-Producer", "p", "Logd-Seq", "x"}, {"Logd-Producer", "p", "Logd-Seq", "99999999999"},
	} {
		s.do("POST", "/topics/orders/messages", "a", headers...).wantProblem(t, 400, "invalid-request")
	}
	// More than is known again is refused before anything is stored.
	long := strings.Repeat(strings.Repeat("x", 400)+"\n", 33)
	s.do("POST", "/topics/many/messages", long, "Idempotency-Key", "k").wantProblem(t, 413, "too-large", "32 batches")
	if strings.Contains(s.protocol("TOPICS\r\n"), "many") {
		t.Error("some of it was stored")
	}
	if a := s.do("POST", "/topics/many/messages", long[:401*32], "Idempotency-Key", "k"); a.StatusCode != 200 || a.written(t).Batches != 32 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := s.do("POST", "/topics/many/messages", long[:401*32], "Idempotency-Key", "k"); a.StatusCode != 200 || !a.written(t).Duplicate {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	off := start(t, func(c *config.Config) { c.Producers = 0 })
	off.do("POST", "/topics/orders/messages", "a", "Idempotency-Key", "k").wantProblem(t, 400, "invalid-request", "producers = 0")
}

// TestWriteOverKill: the same request over restarts of the server is stored once.
func TestWriteOverKill(t *testing.T) {
	s := start(t, nil)
	for i := range 3 {
		a := s.do("POST", "/topics/orders/messages", "one\ntwo", "Idempotency-Key", "k")
		if w := a.written(t); a.StatusCode != 200 || w.Duplicate != (i > 0) || w.First != "0.0" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		s.stop()
		s.run()
	}
	if got := s.stored("orders"); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

// gzipped returns text compressed, and so does zstandard.
func gzipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.String()
}

func zstandard(text string, options ...zstd.EOption) string {
	var b bytes.Buffer
	z, _ := zstd.NewWriter(&b, options...)
	io.WriteString(z, text)
	z.Close()
	return b.String()
}

// TestWritePacked: a body may be compressed, and is bounded unpacked.
func TestWritePacked(t *testing.T) {
	s := start(t, func(c *config.Config) { c.HTTPMaxBody = 1 << 20 })
	body := strings.Repeat("a line\n", 1000)
	for name, packed := range map[string]string{"gzip": gzipped(body), "zstd": zstandard(body), "identity": body} {
		if a := s.do("POST", "/topics/"+name+"/messages", packed, "Content-Encoding", name); a.StatusCode != 200 || a.written(t).Bytes != int64(len(body)) || len(s.stored(name)) != 1000 {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	bomb := strings.Repeat("\x00", 64<<20)
	for name, packed := range map[string]string{"gzip": gzipped(bomb), "zstd": zstandard(bomb)} {
		s.do("POST", "/topics/bomb/messages", packed, "Content-Encoding", name, "Content-Type", "application/octet-stream").wantProblem(t, 413, "too-large")
	}
	lines := strings.Repeat(strings.Repeat("\x00", 1000)+"\n", 2000)
	for name, packed := range map[string]string{"gzip": gzipped(lines), "zstd": zstandard(lines)} {
		a := s.do("POST", "/topics/bomb/messages", packed, "Content-Encoding", name)
		a.wantProblem(t, 413, "too-large", "1048576")
		if w := a.written(t); w.Stored == nil || w.Stored.Bytes > 1<<20 {
			t.Errorf("%s", a.body)
		}
	}
	s.do("POST", "/topics/bomb/messages", zstandard(bomb[:1<<19], zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false)), "Content-Encoding", "zstd").wantProblem(t, 400, "invalid-request")
	for name, packed := range map[string]string{"gzip": gzipped(body), "zstd": zstandard(body)} {
		a := s.do("POST", "/topics/cut/messages", packed[:len(packed)-3], "Content-Encoding", name)
		a.wantProblem(t, 400, "invalid-request", "cut")
	}
	if a := s.do("POST", "/topics/large/messages", strings.Repeat("x\n", 1<<19+1)); a.StatusCode != 413 || strings.Contains(a.body, "stored") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// TestWriteMemory: who finds no memory is told, and it is given back.
func TestWriteMemory(t *testing.T) {
	s := start(t, func(c *config.Config) {
		c.HTTPMemory, c.BatchSize, c.Timeout = 1<<20, 4<<20, 300*time.Millisecond
	})
	for range 3 {
		a := s.do("POST", "/topics/orders/messages", strings.Repeat("x", 3<<20))
		a.wantProblem(t, 503, "busy", "http-memory")
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if a := s.do("POST", "/topics/orders/messages", strings.Repeat("x", 200<<10)); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// TestWriteSlow: a body comes at a pace, or the request is over.
func TestWriteSlow(t *testing.T) {
	s := start(t, func(c *config.Config) { c.Timeout = 500 * time.Millisecond })
	send := func(pieces int, piece string) (int, string) {
		nc, err := net.Dial("tcp", s.node.HTTPAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(nc, "POST /api/v1/topics/orders/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", pieces*len(piece))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range pieces {
				if _, err := io.WriteString(nc, piece); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		nc.Close()
		<-done
		return resp.StatusCode, string(body)
	}
	if status, body := send(20, "x\n"); status != 408 || !strings.Contains(body, "urn:logd:timeout") {
		t.Errorf("slow: %d %s", status, body)
	}
	if status, body := send(12, strings.Repeat("x", 1023)+"\n"); status != 200 {
		t.Errorf("at its pace: %d %s", status, body)
	}
}

// TestWriteRights: who may not write is told before a byte of the body, whether the topic
// is there or not.
func TestWriteRights(t *testing.T) {
	s := start(t, func(c *config.Config) {
		c.AuthFile = authFile(t, "writer: write *", "maker: write,create *", "reader: read *", "part: write,create orders.*")
	})
	path := "/topics/orders/messages"
	ask := func(who, path string) (status int, continued bool) {
		t.Helper()
		nc, err := net.Dial("tcp", s.node.HTTPAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(nc, "POST /api/v1%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s-token\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", path, who)
		r := bufio.NewReader(nc)
		resp, err := http.ReadResponse(r, nil)
		if err == nil && resp.StatusCode == 100 {
			continued = true
			io.WriteString(nc, "a")
			resp, err = http.ReadResponse(r, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode, continued
	}
	check := func(who, path string, want int) {
		t.Helper()
		status, continued := ask(who, path)
		if status != want || continued != (want == 200) {
			t.Errorf("%s %s: %d, continued %v, want %d", who, path, status, continued, want)
		}
	}
	check("writer", path, 401)
	check("reader", path, 401)
	check("part", path, 401)
	check("maker", path, 200)
	check("writer", path, 200)
	check("reader", path, 401)
	check("part", path, 401)
	check("part", "/topics/orders.eu/messages", 200)
}
