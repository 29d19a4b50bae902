package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

var httpCases = []systemCase{
	{name: "HTTP", run: overHTTP},
}

// get asks for a page.
func get(t testing.TB, addr, path string) (status int, body string) {
	t.Helper()
	return mustDo(t, http.MethodGet, "http://"+addr+path, "", "")
}

// post hands one request of the protocol to POST /log.
func post(t testing.TB, addr, request string) (status int, answer string) {
	t.Helper()
	return mustDo(t, http.MethodPost, "http://"+addr+"/log", protocolType, request)
}

// protocolType is the content type of the protocol's requests and answers.
const protocolType = "application/logd"

func mustDo(t testing.TB, method, url, contentType, body string) (int, string) {
	t.Helper()
	status, answer, err := do(t.Context(), method, url, contentType, body)
	if err != nil {
		t.Fatal(err)
	}
	return status, answer
}

// do sends a request over a connection of its own.
func do(ctx context.Context, method, url, contentType, body string) (status int, answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	httpClient := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := httpClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if got := response.Header.Get("Content-Type"); contentType == protocolType && got != contentType {
		return response.StatusCode, string(b), fmt.Errorf("the answer to POST /log is of type %q", got)
	}
	return response.StatusCode, string(b), err
}

// overHTTP asks for every page, and gives the protocol's commands.
func overHTTP(s *scene) {
	s.append("over TCP")
	for path, want := range map[string]string{
		"/healthz":             "ok",
		"/readyz":              "ok",
		"/metrics":             "logd_batches_total",
		"/debug/vars":          `"memstats"`,
		"/debug/pprof/":        "goroutine",
		"/debug/pprof/cmdline": "--workdir",
	} {
		if status, body := get(s, s.server.http, path); status != 200 || !strings.Contains(body, want) {
			s.Errorf("GET %s: %d, %.100q, want 200 and %q", path, status, body, want)
		}
	}
	if _, body := get(s, s.server.http, "/debug/vars"); !json.Valid([]byte(body)) {
		s.Errorf("/debug/vars is no JSON: %.100q", body)
	}
	if _, body := get(s, s.server.http, "/metrics"); !strings.Contains(body, fmt.Sprintf("logd_batches_total %d\n", s.config.others+1)) {
		s.Errorf("/metrics counts other than %d batches", s.config.others+1)
	}

	second := s.batch(s.next(), "over HTTP", "\r\n\x00")
	broken := strings.Replace(second.wire, "over", "OVER", 1)
	s.stored = append(s.stored, second)
	steps := []struct {
		request string
		status  int
		answer  string
	}{
		{second.wire, 200, fmt.Sprintf("OK %d 1\r\n", second.offset)},
		{broken, 400, "ERR checksum mismatch\r\n"},
		{fmt.Sprintf("READ %s %d 2", s.topic, second.offset), 200, fmt.Sprintf("OK %d 1\r\n%s", second.offset, second.wire)},
		{fmt.Sprintf("TAIL %s 1\r\n", s.topic), 200, "OK 0 1\r\n" + s.stored[0].wire},
		{fmt.Sprintf("READ %s %d 2 wait=1\r\n", s.topic, second.end()), 200, fmt.Sprintf("OK %d 0\r\n", second.end())},
		{fmt.Sprintf("SEEK %s 0\n", s.topic), 200, "OK 0 0\r\n"},
		{"PING\r\n", 200, "OK\r\n"},
		{"CLOSE\r\n", 200, "OK\r\n"},
		{fmt.Sprintf("READ %s 1 1\r\n", s.topic), 404, "ERR not found\r\n"},
		{"INFO nothing\r\n", 404, "ERR not found\r\n"},
		{fmt.Sprintf("READ %s x 1\r\n", s.topic), 400, "ERR invalid request\r\n"},
		{"PONG\r\n", 400, "ERR invalid protocol\r\n"},
		{"", 400, "ERR invalid protocol\r\n"},
		{"PING\r\nPING\r\n", 400, "ERR invalid request\r\n"}, // one request
		{second.wire[:len(second.wire)-1], 400, "ERR invalid request\r\n"},
		{fmt.Sprintf("BATCH %d %s 0 1\r\n", s.config.maxBatchSize()+1, s.topic), 413, "ERR too large\r\n"},
	}
	for _, step := range steps {
		status, answer := post(s, s.server.http, step.request)
		if status != step.status || answer != step.answer {
			s.Errorf("POST %.60q: %d %q, want %d %q", step.request, status, answer, step.status, step.answer)
		}
	}
	if status, answer := post(s, s.server.http, "TOPICS\r\n"); status != 200 || !strings.Contains(answer, s.topic+"\r\n") {
		s.Errorf("POST TOPICS: %d %q", status, answer)
	}
	url := "http://" + s.server.http + "/log"
	if status, _ := mustDo(s, http.MethodPost, url, "text/plain", "PING\r\n"); status != 415 {
		s.Errorf("POST of text/plain: %d, want 415", status)
	}
	if status, _ := mustDo(s, http.MethodGet, url, "", ""); status != 405 {
		s.Errorf("GET /log: %d, want 405", status)
	}
	if status, _ := get(s, s.server.http, "/nothing"); status != 404 {
		s.Errorf("GET /nothing: %d, want 404", status)
	}
	s.verify(0)

	s.restart((*server).stop, "--topics", fmt.Sprint(s.config.others+1))
	if status, answer := post(s, s.server.http, encode("more", "x")); status != 429 || answer != "ERR maximum topics allowed\r\n" {
		s.Errorf("a topic too many: %d %q, want 429", status, answer)
	}
	s.restart((*server).stop, "--topics", "0", "--topics-whitelist", "good")
	if status, answer := post(s, s.server.http, encode("more", "x")); status != 403 || answer != "ERR topic not allowed\r\n" {
		s.Errorf("a topic not allowed: %d %q, want 403", status, answer)
	}
}
