package node

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/testkit"
)

// TestQuotas: what an identity does over the protocol and over HTTP counts together, and a
// changed file is in force at once.
func TestQuotas(t *testing.T) {
	file := authFile(t, "a: read,write,create,monitor *")
	rules, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	quota := func(keys string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(string(rules)+keys), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	quota("write-rate = 1000\nconnections = 2\n")
	n, c, _ := startReloadable(t, func(c *config.Config) { c.AuthFile = file })
	post := func(path, body string) (*http.Response, string) {
		t.Helper()
		method := http.MethodPost
		if body == "" {
			method = http.MethodGet
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.HTTPAddr().String()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", protocol.ContentType)
		r.Header.Set("Authorization", "Bearer a-token")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(b)
	}
	const login = "AUTH a-token\r\n"
	large, small := testkit.Batch("t", strings.Repeat("x", 60_000)), testkit.Batch("t", "x")
	if got := answers(t, n, login+large+small+"CLOSE\r\n"); got != "OK\r\nOK 0 1\r\nERR busy\r\nOK\r\n" {
		t.Errorf("received %q", got)
	}
	resp, body := post("/log", small)
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); resp.StatusCode != 503 || body != "ERR busy\r\n" || err != nil || seconds < 30 || seconds > 60 {
		t.Errorf("received %d %q, Retry-After %d (%v)", resp.StatusCode, body, seconds, err)
	}

	testkit.Eventually(t, func() string { // a connection counts until its end is seen
		return testkit.Unless(n.server.Load().Stats().Connections == 0, "the connection before is still there")
	})
	one, r := dial(t, n)
	fmt.Fprint(one, login)
	r.ReadString('\n')
	two, r := dial(t, n)
	fmt.Fprint(two, login)
	r.ReadString('\n')
	if got := answers(t, n, login); got != "ERR busy\r\n" {
		t.Errorf("a third connection received %q", got)
	}
	if resp, body := post("/log", "SEEK t 0"); resp.StatusCode != 503 || body != "ERR busy\r\n" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a request as the third connection: %d %q, Retry-After %q", resp.StatusCode, body, resp.Header.Get("Retry-After"))
	}
	_, page := post("/metrics", "")
	for _, line := range []string{`logd_throttled_total{kind="write"} 2`, `logd_throttled_total{kind="connections"} 2`, `logd_throttled_total{kind="topic"} 0`, `logd_throttled_total{kind="read"} 0`} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("/metrics does not have %s", line)
		}
	}

	quota("")
	if err := n.reloadTo(c); err != nil {
		t.Fatal(err)
	}
	if got := answers(t, n, login+large+small+"CLOSE\r\n"); strings.Count(got, "OK") != 4 {
		t.Errorf("without quotas received %q", got)
	}
	if resp, body := post("/log", small); resp.StatusCode != 200 {
		t.Errorf("without quotas received %d %q", resp.StatusCode, body)
	}
}
