package status

import (
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/forward/feed"
)

type fake struct {
	stuck   error
	why     []string
	sources []Source
	figures Figures
}

func (f *fake) Stuck() error              { return f.stuck }
func (f *fake) NotReady() []string        { return f.why }
func (f *fake) Sources() iter.Seq[Source] { return slices.Values(f.sources) }
func (f *fake) Figures() Figures          { return f.figures }

// get asks a server on loopback.
func get(t *testing.T, a Agent, method, path, host string) (int, string) {
	t.Helper()
	server := httptest.NewServer(NewHandler(a))
	defer server.Close()
	r, err := http.NewRequest(method, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestEndpoints(t *testing.T) {
	well := &fake{sources: []Source{
		{Input: "app", Source: "/var/log/<a>.log", Topic: "app", Position: 5, Size: 9, LagBytes: 4, LagSeconds: 1.5}, {Input: "in", Source: "10.0.0.1:5"},
	}}
	ill := &fake{stuck: errors.New("the scan of app stands for 31s"), why: []string{"no server answers", "topic a is refused"}}
	for _, tt := range []struct {
		agent              Agent
		method, path, host string
		code               int
		want               string
	}{
		{well, "GET", "/healthz", "", 200, "ok\n"},
		{well, "GET", "/readyz", "", 200, "ok\n"},
		{well, "HEAD", "/readyz", "", 200, ""},
		{ill, "GET", "/healthz", "", 503, "the scan of app stands for 31s\n"},
		{ill, "GET", "/readyz", "", 503, "no server answers\ntopic a is refused\n"},
		{well, "GET", "/sources", "", 200, `{"input":"app","source":"/var/log/<a>.log","topic":"app","position":5,"size":9,"lag_bytes":4,"lag_seconds":1.5}` + "\n" +
			`{"input":"in","source":"10.0.0.1:5","position":0,"size":0,"lag_bytes":0,"lag_seconds":0}` + "\n"},
		{ill, "GET", "/sources", "", 200, ""},
		{well, "POST", "/readyz", "", 405, "Method Not Allowed\n"},
		{well, "GET", "/", "", 404, "404 page not found\n"},
		{well, "GET", "/healthz", "localhost:1", 200, "ok\n"},
		{well, "GET", "/healthz", "[::1]:1", 200, "ok\n"},
		{well, "GET", "/sources", "evil.example:80", 403, "asked for by a name that is not this machine's\n"},
		{well, "GET", "/sources", "evil.example", 403, "asked for by a name that is not this machine's\n"},
	} {
		code, body := get(t, tt.agent, tt.method, tt.path, tt.host)
		if code != tt.code || body != tt.want {
			t.Errorf("%s %s of %q: %d %q, want %d %q", tt.method, tt.path, tt.host, code, body, tt.code, tt.want)
		}
	}
}

func figures() Figures {
	return Figures{
		Inputs: []InputFigures{{
			Input: "app", TakenMessages: 1, TakenBytes: 2, StoredMessages: 3, StoredBytes: 4,
			Holes:          map[feed.Kind]HoleFigures{feed.Gone: {5, 6, 7}},
			BlockedSeconds: 0.5, Connections: 8, Files: 9, FilesOpen: 10, LagBytes: 11, LagSeconds: 12.5,
			Rotations: 13, Truncations: 14, Copies: 15, NULBytesSkipped: 16, LinesSplit: 17, ParseFailures: 18,
		}},
		Topics:     []TopicFigures{{Topic: "t", State: "refused", Batches: 19, Resent: 20, PossibleDuplicates: 21}},
		SpoolBytes: 22, LedgerBytes: 23, DeadMessages: 24, UnlinkedOpenBytes: 25, ServerConnected: true, ReloadFailed: true, Version: "1.2",
	}
}

// TestMetrics: each figure is where its name says.
func TestMetrics(t *testing.T) {
	_, body := get(t, &fake{figures: figures()}, "GET", "/metrics", "")
	for _, line := range []string{
		`taken_messages_total{input="app"} 1`, `taken_bytes_total{input="app"} 2`, `stored_messages_total{input="app"} 3`, `stored_bytes_total{input="app"} 4`,
		`holes_total{input="app",kind="gone"} 5`, `hole_messages_total{input="app",kind="gone"} 6`, `hole_bytes_total{input="app",kind="gone"} 7`,
		`holes_total{input="app",kind="unknown"} 0`, `blocked_seconds_total{input="app"} 0.5`, `connections{input="app"} 8`, `files{input="app"} 9`,
		`files_open{input="app"} 10`, `lag_bytes{input="app"} 11`, `lag_seconds{input="app"} 12.5`, `rotations_total{input="app"} 13`,
		`truncations_total{input="app"} 14`, `copies_total{input="app"} 15`, `nul_bytes_skipped_total{input="app"} 16`, `lines_split_total{input="app"} 17`,
		`parse_failures_total{input="app"} 18`, `lane_state{state="refused",topic="t"} 1`, `lane_state{state="ok",topic="t"} 0`, `batches_total{topic="t"} 19`,
		`resent_batches_total{topic="t"} 20`, `possible_duplicates_total{topic="t"} 21`, `spool_bytes 22`, `ledger_bytes 23`, `dead_messages 24`,
		`unlinked_open_bytes 25`, `server_connected 1`, `reload_failed 1`, `build_info{version="1.2"} 1`,
	} {
		if !strings.Contains(body, "\nlogd_forwarder_"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	shown := regexp.MustCompile(`(?m)^# HELP (\S+) `).FindAllStringSubmatch(body, -1)
	if len(shown) != len(metrics) {
		t.Errorf("%d metrics are shown, of %d", len(shown), len(metrics))
	}
	if n := strings.Count(body, `holes_total{input="app"`); n != len(feed.Kinds) {
		t.Errorf("%d kinds of holes", n)
	}
}

// TestDocsMetrics: the documentation has a row for each metric, with its labels and what it
// says of itself.
func TestDocsMetrics(t *testing.T) {
	b, err := os.ReadFile("../../../docs/forwarder.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `logd_forwarder_[^|]*\\|.*\\|$").FindAllString(string(b), -1)
	for i, m := range metrics {
		labels := strings.Join(m.labels, ", ")
		want := "| `" + prefix + m.name + "` | " + labels + " | " + strings.TrimSuffix(m.help, ".") + " |"
		if labels == "" {
			want = "| `" + prefix + m.name + "` | | " + strings.TrimSuffix(m.help, ".") + " |"
		}
		if i >= len(rows) || rows[i] != want {
			t.Errorf("row %d should be\n%s", i+1, want)
		}
	}
	if len(rows) != len(metrics) {
		t.Errorf("%d rows for %d metrics", len(rows), len(metrics))
	}
}
