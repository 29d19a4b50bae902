package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

// line is a message as it is read.
type line struct {
	Topic, ID     string
	Offset, Delta int64
	Time          string
	Body          *string
	BodyBase64    []byte `json:"body_base64"`
	Gap           *struct{ From, To, Cause string }
	Problem       *problemJSON
}

func (a answer) lines(t testing.TB) (list []line) {
	t.Helper()
	for text := range strings.Lines(a.body) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil || !strings.HasSuffix(text, "\n") {
			t.Fatalf("%q: %v", text, err)
		}
		list = append(list, l)
	}
	return list
}

// ids returns what was read in short: ids and bodies.
func short(list []line) string {
	var words []string
	for _, l := range list {
		switch {
		case l.Gap != nil:
			words = append(words, fmt.Sprintf("gap %s-%s %s", l.Gap.From, l.Gap.To, l.Gap.Cause))
		case l.Problem != nil:
			words = append(words, l.Problem.Type)
		case l.Body == nil:
			words = append(words, l.ID+fmt.Sprintf(" %x", l.BodyBase64))
		default:
			words = append(words, l.ID+" "+*l.Body)
		}
	}
	return strings.Join(words, ", ")
}

// packedBatch returns a compressed batch.
func packedBatch(topic string, bodies ...string) string {
	var b batch.Builder
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	data := codec.NewS2().Encode(nil, b.Data())
	h := batch.Header{Size: int64(len(data)), Topic: []byte(topic), CRC: batch.Checksum(data), Messages: b.Messages(), Codec: codec.S2}
	return string(append(batch.AppendHeader(nil, &h), data...))
}

// TestRead: where a read begins and ends, in each shape.
func TestRead(t *testing.T) {
	s := start(t, nil)
	first := testkit.Batch("orders", "one", "two")
	second := testkit.Batch("orders", "three", "\xff", `"<&>\`+"\u2028\x01\t")
	third := packedBatch("orders", "packed", "also")
	s.protocol(first + second + third)
	b, c, end := int64(len(first)), int64(len(first)+len(second)), int64(len(first)+len(second)+len(third))
	id := func(offset, delta int64) string { return fmt.Sprintf("%d.%d", offset, delta) }
	all := []string{id(0, 0) + " one", id(0, 12) + " two", id(b, 0) + " three", id(b, 14) + " ff", id(b, 24) + ` "<&>\` + "\u2028\x01\t", id(c, 0) + " packed", id(c, 15) + " also"}
	if got := short(s.get("/topics/orders/messages").lines(t)); got != strings.Join(all, ", ") {
		t.Fatalf("%s", got)
	}
	past := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	for query, want := range map[string]struct {
		from, to int // of all
		start    string
		next     string
		why      string
	}{
		"":                            {0, 7, "0", id(end, 0), "end"},
		"from=start":                  {0, 7, "0", id(end, 0), "end"},
		"from=end":                    {7, 7, id(end, 0), id(end, 0), "end"},
		"from=" + id(b, 0):            {2, 7, id(b, 0), id(end, 0), "end"},
		"from=" + id(b, 14):           {3, 7, id(b, 14), id(end, 0), "end"},
		"from=" + fmt.Sprint(c):       {5, 7, id(c, 0), id(end, 0), "end"},
		"from=" + fmt.Sprint(end):     {7, 7, id(end, 0), id(end, 0), "end"},
		"after=" + id(0, 0):           {1, 7, id(0, 12), id(end, 0), "end"},
		"after=" + id(0, 12):          {2, 7, id(b, 0), id(end, 0), "end"},
		"after=" + fmt.Sprint(b):      {2, 7, id(b, 0), id(end, 0), "end"},
		"after=" + id(c, 15):          {7, 7, id(end, 0), id(end, 0), "end"},
		"from=-1":                     {6, 7, id(c, 15), id(end, 0), "end"},
		"from=-3":                     {4, 7, id(b, 24), id(end, 0), "end"},
		"from=-100":                   {0, 7, "0", id(end, 0), "end"},
		"from=-0":                     {7, 7, id(end, 0), id(end, 0), "end"},
		"from=1h":                     {0, 7, "0", id(end, 0), "end"},
		"from=" + past:                {0, 7, "0", id(end, 0), "end"},
		"to=" + id(b, 14):             {0, 3, "0", id(b, 14), "to"},
		"to=" + fmt.Sprint(b):         {0, 2, "0", id(b, 0), "to"},
		"to=start":                    {0, 0, "0", "0", "to"},
		"to=end":                      {0, 7, "0", id(end, 0), "to"},
		"from=" + id(c, 0) + "&to=0":  {7, 7, id(c, 0), id(c, 0), "to"},
		"limit=1":                     {0, 1, "0", id(0, 12), "limit"},
		"limit=2":                     {0, 2, "0", id(b, 0), "limit"},
		"limit=7":                     {0, 7, "0", id(end, 0), "limit"},
		"limit=8":                     {0, 7, "0", id(end, 0), "end"},
		"from=-2&limit=1":             {5, 6, id(c, 0), id(c, 15), "limit"},
		"max_bytes=1":                 {0, 1, "0", id(0, 12), "limit"},
		"max_bytes=6":                 {0, 2, "0", id(b, 0), "limit"},
		"max_bytes=6&limit=1":         {0, 1, "0", id(0, 12), "limit"},
		"wait=1000":                   {0, 7, "0", id(end, 0), "end"},
		"from=end&wait=1":             {7, 7, id(end, 0), id(end, 0), "end"},
		"fresh=1":                     {0, 7, "0", id(end, 0), "end"},
		"id=" + s.info("orders").ID:   {0, 7, "0", id(end, 0), "end"},
		"gaps=skip&format=ndjson":     {0, 7, "0", id(end, 0), "end"},
		"from=today":                  {0, 7, "0", id(end, 0), "end"},
		"from=2199-01-01":             {7, 7, id(end, 0), id(end, 0), "end"},
		"from=2026-11-28%2019:00&x=x": {-1, 0, "", "", ""},
	} {
		path := "/topics/orders/messages?" + query
		if want.from < 0 {
			s.get(path).wantProblem(t, 400, "invalid-request")
			continue
		}
		bare := func(place string) string { return strings.TrimSuffix(place, ".0") }
		a := s.get(path)
		if got := short(a.lines(t)); a.StatusCode != 200 || got != strings.Join(all[want.from:want.to], ", ") {
			t.Errorf("%s: %d %s", query, a.StatusCode, got)
		}
		if a.Header.Get("Logd-From") != bare(want.start) || a.Trailer.Get("Logd-Next") != bare(want.next) || a.Trailer.Get("Logd-End") != want.why {
			t.Errorf("%s: from %s, next %s, %s", query, a.Header.Get("Logd-From"), a.Trailer.Get("Logd-Next"), a.Trailer.Get("Logd-End"))
		}
		// Reading on from there gives the rest.
		if strings.Contains(query, "to=") || strings.Contains(query, "wait") || strings.Contains(query, "from=2199") {
			continue
		}
		rest := s.get("/topics/orders/messages?from=" + a.Trailer.Get("Logd-Next"))
		if got := short(rest.lines(t)); got != strings.Join(all[want.to:], ", ") {
			t.Errorf("%s, and on from %s: %s", query, a.Trailer.Get("Logd-Next"), got)
		}
	}
	// The keys, and what is escaped.
	stamp := s.info("orders").OldestTime.UTC().Format("2006-01-02T15:04:05.000Z")
	a := s.get("/topics/orders/messages?limit=1")
	a.want(t, 200, `{"topic":"orders","id":"0.0","offset":0,"delta":0,"time":"`+stamp+`","body":"one"}`+"\n")
	if got := a.Header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("%s", got)
	}
	if a := s.get("/topics/orders/messages?from=" + id(b, 24) + "&limit=1"); !strings.HasSuffix(a.body, `"body":"\"<&>\\`+"\u2028"+`\u0001\t"}`+"\n") {
		t.Errorf("%s", a.body)
	}
	// A page.
	a = s.get("/topics/orders/messages?limit=1&from=-2", "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	a.want(t, 200, fmt.Sprintf(`{"topic":"orders","topic_id":%q,"oldest":0,"end":%d,"from":"%d","next":"%d.15","at_end":false,"messages":[{"topic":"orders","id":"%d.0","offset":%d,"delta":0,"time":%q,"body":"packed"}]}`+"\n",
		s.info("orders").ID, end, c, c, c, c, stamp))
	if m := s.get("/topics/orders/messages?format=json&from=end").object(t); m["at_end"] != true || m["next"] != fmt.Sprint(end) || fmt.Sprint(m["messages"]) != "[]" {
		t.Errorf("%v", m)
	}
	s.get("/topics/orders/messages?format=json&limit=1001").wantProblem(t, 400, "invalid-request", "1000")
	// Lines.
	a = s.get("/topics/orders/messages?limit=3", "Accept", "text/plain")
	a.want(t, 200, "one\ntwo\nthree\n")
	if got := a.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" || a.Trailer.Get("Logd-Next") != id(b, 14) {
		t.Errorf("%s, %v", got, a.Trailer)
	}
	// Stored batches.
	for query, want := range map[string]string{
		"": first + second, "limit=1": first, "max_bytes=1": first, "to=" + fmt.Sprint(b): first, "from=" + fmt.Sprint(b): second, "from=end": "", "to=0": "", "limit=3": first + second,
	} {
		a := s.get("/topics/orders/messages?format=raw&" + query)
		a.want(t, 200, want)
		if a.ContentLength != int64(len(want)) || a.Header.Get("Content-Type") != "application/logd" {
			t.Errorf("%q: %v", query, a.Header)
		}
	}
	s.get("/topics/orders/messages?format=raw&from="+fmt.Sprint(c)).wantProblem(t, 400, "unsupported-codec", "Logd-Codecs")
	s.get("/topics/orders/messages", "Accept", "application/logd", "Logd-Codecs", "s2").want(t, 200, first+second+third)
	s.get("/topics/orders/messages?format=raw", "Logd-Codecs", "s2,").wantProblem(t, 400, "invalid-request")
	s.get("/topics/orders/messages?format=raw&from="+id(b, 14)).wantProblem(t, 400, "not-a-place")
	// One message.
	a = s.get("/topics/orders/messages/" + id(b, 14))
	a.want(t, 200, "\xff")
	if a.Header.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(a.Header.Get("Content-Disposition"), "attachment") || a.Header.Get("Logd-Time") == "" {
		t.Errorf("%v", a.Header)
	}
	s.get("/topics/orders/messages/"+id(c, 15)).want(t, 200, "also")
	for _, at := range []string{id(b, 13), id(b, 99), id(end, 0), id(7, 0), id(end+99, 0)} {
		s.get("/topics/orders/messages/"+at).wantProblem(t, 404, "not-found", at)
	}
	for _, at := range []string{"0", "x", "1.", ".1", "-1.0", "01.0", "0.0.0"} {
		s.get("/topics/orders/messages/"+at).wantProblem(t, 400, "invalid-request")
	}
	// What is no place.
	for query, want := range map[string][]string{
		"from=1":                    {"400", "not-a-place", "next one does at " + fmt.Sprint(b)},
		"from=" + id(b, 1):          {"400", "not-a-place", id(b, 14)},
		"from=" + id(b, 99):         {"400", "not-a-place", fmt.Sprint(c)},
		"after=" + id(b, 1):         {"400", "not-a-place", id(b, 14)},
		"to=1":                      {"400", "not-a-place", fmt.Sprint(b)},
		"from=" + fmt.Sprint(end+1): {"404", "beyond-end", fmt.Sprint(end)},
		"from=x":                    {"400", "invalid-request", `"x"`},
		"from=":                     {"400", "invalid-request", "from="},
		"after=start":               {"400", "invalid-request", "OFFSET.DELTA"},
		"from=0&after=0":            {"400", "invalid-request", "one of them"},
		"format=xml":                {"400", "invalid-request", "ndjson, json, text, raw or sse"},
		"wait=60001":                {"400", "invalid-request", "60000"},
		"gaps=x":                    {"400", "invalid-request", "stop or skip"},
		"id=zz":                     {"400", "invalid-request", "hexadecimal"},
		"id=00":                     {"404", "not-found", "another one"},
		"await=1":                   {"400", "invalid-request", "sse"},
		"limit=0":                   {"400", "invalid-request", "limit"},
	} {
		status, _ := strconv.Atoi(want[0])
		s.get("/topics/orders/messages?"+query).wantProblem(t, status, want[1], want[2])
	}
	if m := s.get("/topics/orders/messages?from=1").object(t); m["next_id"] != fmt.Sprint(b) {
		t.Errorf("%v", m)
	}
	s.get("/topics/nothing/messages").wantProblem(t, 404, "not-found", `"nothing"`)
	if a := s.do("HEAD", "/topics/orders/messages?from=-1", ""); a.StatusCode != 200 || a.body != "" || a.Header.Get("Logd-From") != id(c, 15) {
		t.Errorf("%d %q %v", a.StatusCode, a.body, a.Header)
	}
}

// TestReadWaits: at the end a read waits, and has what comes.
func TestReadWaits(t *testing.T) {
	s := start(t, nil)
	s.protocol(testkit.Batch("orders", "one"))
	for _, format := range []string{"ndjson", "json", "text", "raw"} {
		done := make(chan answer)
		go func() { done <- s.get("/topics/orders/messages?from=end&wait=20000&format=" + format) }()
		testkit.Eventually(t, func() string {
			return testkit.Unless(s.get("/stats").object(t)["reads_waiting"].(json.Number) == "1", "the read does not wait")
		})
		s.protocol(testkit.Batch("orders", "for "+format))
		if a := <-done; a.StatusCode != 200 || !strings.Contains(a.body, "for "+format) {
			t.Errorf("%s: %d %q", format, a.StatusCode, a.body)
		}
	}
}

// TestReadAll: a topic of many batches is read whole in every shape, as it was written.
func TestReadAll(t *testing.T) {
	s := start(t, func(c *config.Config) { c.PartitionSize = 1 << 20; c.Partitions = 100 })
	var want strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&want, "%d %s\n", i, strings.Repeat("x", i%300))
	}
	for range 2 {
		if a := s.do("POST", "/topics/orders/messages", want.String()); a.StatusCode != 200 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	all := want.String() + want.String()
	if a := s.get("/topics/orders/messages?format=text"); a.body != all || a.Trailer.Get("Logd-End") != "end" {
		t.Errorf("as text: %d bytes of %d", len(a.body), len(all))
	}
	var got strings.Builder
	for _, l := range s.get("/topics/orders/messages").lines(t) {
		got.WriteString(*l.Body + "\n")
	}
	if got.String() != all {
		t.Error("as ndjson")
	}
	got.Reset()
	next, end := "0", false
	for !end {
		m := s.get("/topics/orders/messages?format=json&limit=1000&from=" + next).object(t)
		for _, message := range m["messages"].([]any) {
			got.WriteString(message.(map[string]any)["body"].(string) + "\n")
		}
		next, end = m["next"].(string), m["at_end"].(bool)
	}
	if got.String() != all {
		t.Error("as pages")
	}
	raw := ""
	for next = "0"; ; {
		a := s.get("/topics/orders/messages?format=raw&from=" + next)
		if a.body == "" {
			break
		}
		raw += a.body
		next = a.Header.Get("Logd-Next")
	}
	if a := s.get("//metrics"); !regexp.MustCompile(`\nlogd_sendfile_calls_total [1-9]`).MatchString(a.body) {
		t.Error("stored batches are not sent by sendfile")
	}
	if int64(len(raw)) != s.info("orders").Bytes {
		t.Errorf("raw: %d bytes of %d", len(raw), s.info("orders").Bytes)
	}
	// So many before the end, however far.
	lines := strings.SplitAfter(all, "\n")
	for _, n := range []int{1, 10, 1000, 29_999, 30_001, 59_999} {
		if a := s.get(fmt.Sprintf("/topics/orders/messages?format=text&limit=1&from=-%d", n)); a.body != lines[len(lines)-1-n] {
			t.Errorf("-%d: %q", n, a.body)
		}
	}
}

// TestReadGaps: what was removed or is damaged is told, and passed over where that is
// wanted.
func TestReadGaps(t *testing.T) {
	s := start(t, func(c *config.Config) { c.ScrubRate = 0 })
	var batches []string
	var offsets []int64
	for i := range 5 {
		b := testkit.Batch("orders", fmt.Sprintf("message %d", i), "more")
		offsets = append(offsets, s.info0("orders"))
		batches = append(batches, b)
		s.protocol(b)
	}
	// The third batch is damaged on the disk, and nobody knows.
	file := filepath.Join(s.config.WorkDir, "orders", "0.log")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := offsets[2] + int64(strings.Index(batches[2], "message"))
	if data[at] != 'm' {
		t.Fatalf("%q", data[at:at+8])
	}
	f.WriteAt([]byte("M"), at)
	f.Close()

	a := s.get("/topics/orders/messages")
	list := a.lines(t)
	if n := len(list); n != 5 || list[4].Problem == nil || list[4].Problem.Type != "urn:logd:damaged" {
		t.Errorf("%s", a.body)
	}
	if a.err != io.ErrUnexpectedEOF {
		t.Errorf("the answer ends well: %v", a.err)
	}
	if a := s.get("/topics/orders/messages?format=text"); a.err != io.ErrUnexpectedEOF || a.body != "message 0\nmore\nmessage 1\nmore\n" {
		t.Errorf("%q, %v", a.body, a.err)
	}
	a = s.get("/topics/orders/messages?from=" + fmt.Sprint(offsets[2]))
	a.wantProblem(t, 410, "damaged", fmt.Sprint(offsets[3]))
	if m := a.object(t); m["next_id"] != fmt.Sprint(offsets[3]) {
		t.Errorf("%v", m)
	}
	s.get("/topics/orders/messages/"+fmt.Sprint(offsets[2])+".0").wantProblem(t, 410, "damaged")
	want := fmt.Sprintf("%d.0 message 1, %d.18 more, gap %d-%d damage, %d.0 message 3, %d.18 more, %d.0 message 4, %d.18 more", offsets[1], offsets[1], offsets[2], offsets[3], offsets[3], offsets[3], offsets[4], offsets[4])
	if got := short(s.get("/topics/orders/messages?gaps=skip&from=" + fmt.Sprint(offsets[1])).lines(t)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if m := s.get("/topics/orders/messages?gaps=skip&format=json").object(t); len(m["messages"].([]any)) != 8 || len(m["gaps"].([]any)) != 1 {
		t.Errorf("%v", m)
	}
	if got := s.get("/topics/orders").object(t)["damaged_at"]; fmt.Sprint(got) != fmt.Sprintf("[map[from:%d to:%d]]", offsets[2], offsets[3]) {
		t.Errorf("%v", got)
	}
	if got := short(s.get("/topics/orders/messages?from=-5").lines(t)); !strings.HasPrefix(got, fmt.Sprintf("%d.18 more, urn:logd:damaged", offsets[1])) {
		t.Errorf("%s", got)
	}

	// All before the fifth batch is removed.
	s.protocol(fmt.Sprintf("TRIM orders %d\r\n", s.info0("orders")))
	s.protocol(testkit.Batch("orders", "after"))
	oldest := s.info("orders").Oldest
	a = s.get("/topics/orders/messages?from=0")
	a.wantProblem(t, 410, "gone", fmt.Sprint(oldest))
	if m := a.object(t); m["next_id"] != fmt.Sprint(oldest) {
		t.Errorf("%v", m)
	}
	s.get("/topics/orders/messages/0.0").wantProblem(t, 410, "gone")
	s.get("/topics/orders/messages?after=0.0").wantProblem(t, 410, "gone")
	s.get("/topics/orders/messages?format=raw&from=0").wantProblem(t, 410, "gone")
	for _, query := range []string{"from=0", "after=0.0", "from=0.18"} {
		if got := short(s.get("/topics/orders/messages?gaps=skip&" + query).lines(t)); got != fmt.Sprintf("gap 0-%d retention, %d.0 after", oldest, oldest) {
			t.Errorf("%s: %s", query, got)
		}
	}
}

// info0 returns where the next batch of a topic goes, which may not be there yet.
func (s *site) info0(topic string) int64 {
	if strings.HasPrefix(s.protocol("INFO "+topic+"\r\n"), "ERR") {
		return 0
	}
	return s.info(topic).Next
}

// TestReadRights: who may not read is told the same whether the topic is there or not.
func TestReadRights(t *testing.T) {
	s := start(t, func(c *config.Config) {
		c.AuthFile = authFile(t, "writer: write,create *", "reader: read orders", "operator: admin *", "monitor: monitor *")
	})
	who := func(name string) []string { return []string{"Authorization", "Bearer " + name + "-token"} }
	s.do("POST", "/topics/orders/messages", "a", who("writer")...)
	s.do("POST", "/topics/users/messages", "a", who("writer")...)
	for _, test := range []struct {
		who, path string
		status    int
	}{
		{"reader", "/topics/orders/messages", 200}, {"reader", "/topics/orders/messages?format=json", 200}, {"reader", "/topics/orders/messages/0.0", 200}, {"reader", "/topics/orders", 200},
		{"reader", "/topics/users/messages", 401}, {"reader", "/topics/none/messages", 401}, {"reader", "/topics/users", 401}, {"reader", "/topics/none", 401},
		{"writer", "/topics/orders/messages", 401}, {"writer", "/topics/orders", 401}, {"operator", "/topics/orders/messages", 401}, {"operator", "/topics/orders/messages?format=raw", 401},
		{"operator", "/topics/orders", 200}, {"operator", "/topics/none", 404}, {"monitor", "/topics/orders", 401},
		{"monitor", "/stats", 200}, {"operator", "/stats", 200}, {"reader", "/stats", 401}, {"reader", "/config", 200}, {"reader", "/health", 401}, {"monitor", "/health", 200},
		{"reader", "/cluster", 401}, {"reader", "/groups", 401}, {"monitor", "/cluster", 400},
	} {
		if a := s.get(test.path, who(test.who)...); a.StatusCode != test.status {
			t.Errorf("%s, %s: %d %s, want %d", test.who, test.path, a.StatusCode, a.body, test.status)
		}
	}
	// The list has what one of the rules is about, and of what may not be read the name
	// alone.
	for name, want := range map[string]string{"reader": "orders", "writer": "orders users", "operator": "orders users", "monitor": "orders users"} {
		var got []string
		for _, topic := range s.get("/topics", who(name)...).object(t)["topics"].([]any) {
			m := topic.(map[string]any)
			got = append(got, m["topic"].(string))
			if (m["messages"] == nil) != (name == "writer" || name == "monitor") {
				t.Errorf("%s: %v", name, m)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
}

// TestReadSlow: a reader that takes nothing is cut, whatever there is for it; one that
// takes something now and then is not.
func TestReadSlow(t *testing.T) {
	s := start(t, func(c *config.Config) { c.Timeout = 500 * time.Millisecond })
	body := strings.Repeat(strings.Repeat("x", 999)+"\n", 20_000)
	if a := s.do("POST", "/topics/orders/messages", body); a.StatusCode != 200 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	for _, format := range []string{"text", "raw", "sse&from=start"} {
		resp, cancel := s.open("/topics/orders/messages?format="+format, "Accept", "*/*")
		time.Sleep(1500 * time.Millisecond)
		n, err := io.Copy(io.Discard, resp.Body)
		if err == nil || n >= int64(len(body)) {
			t.Errorf("%s: %d bytes, %v", format, n, err)
		}
		resp.Body.Close()
		cancel()
	}
	resp, cancel := s.open("/topics/orders/messages?format=text", "Accept", "*/*")
	defer cancel()
	var n int64
	for {
		k, err := io.CopyN(io.Discard, resp.Body, 2<<20)
		if n += k; err != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	resp.Body.Close()
	if n != int64(len(body)) {
		t.Errorf("one that takes its time got %d bytes of %d", n, len(body))
	}
}

// TestReadMemory: an answer takes about as much of the memory as is in it, however many
// messages that are.
func TestReadMemory(t *testing.T) {
	s := start(t, func(c *config.Config) { c.HTTPMemory, c.Timeout = 6<<20, time.Minute })
	for range 1000 {
		s.protocol(testkit.Batch("t", strings.Repeat("x", 1000)))
	}
	for _, query := range []string{"format=json&limit=1000", "format=ndjson", "format=text", "format=raw"} {
		if a := s.get("/topics/t/messages?" + query); a.StatusCode != 200 || len(a.body) < 1000*1000 {
			t.Errorf("%s: %d, %d bytes", query, a.StatusCode, len(a.body))
		}
	}
}
