package console_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/internal/auth"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a real logd, looked at as a browser does.
type site struct {
	t      testing.TB
	node   *node.Node
	config config.Config
	base   string
	client *http.Client
}

func start(t testing.TB, change func(*config.Config)) *site {
	t.Helper()
	c := config.Default()
	c.Host, c.HTTPHost, c.WorkDir = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	if change != nil {
		change(&c)
	}
	n, err := node.Start(context.Background(), node.Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, node: n, config: c, base: "http://" + n.HTTPAddr().String(), client: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
	t.Cleanup(s.stop)
	return s
}

// stop stops the server, if it runs.
func (s *site) stop() {
	if s.node == nil {
		return
	}
	s.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.node.Shutdown(ctx); err != nil {
		s.t.Errorf("shutdown: %v", err)
	}
	s.node = nil
}

// do makes a request. Headers are pairs of name and value.
func (s *site) do(method, path, body string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.base+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		} else {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(text)
}

// page asks for a page that is to be there, and checks what is true of all.
func (s *site) page(path string, headers ...string) string {
	s.t.Helper()
	resp, text := s.do("GET", path, "", headers...)
	if resp.StatusCode != 200 {
		s.t.Errorf("%s: status %d\n%s", path, resp.StatusCode, text)
	}
	s.check(path, resp, text)
	return text
}

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types logd"

func (s *site) check(path string, resp *http.Response, text string) {
	s.t.Helper()
	for name, want := range map[string]string{
		"Content-Security-Policy": policy, "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Type": "text/html; charset=utf-8", "Referrer-Policy": "no-referrer",
	} {
		if got := resp.Header.Get(name); got != want {
			s.t.Errorf("%s of %s: %q, want %q", name, path, got, want)
		}
	}
	for name := range resp.Header {
		if strings.HasPrefix(name, "Access-Control") || name == "Set-Cookie" {
			s.t.Errorf("%s has %s", path, name)
		}
	}
	for _, no := range []string{"<style", " style=", "javascript:", "http://", "https://", " onclick", " onload", "ZgotmplZ", "<no value>", "%!"} {
		if strings.Contains(text, no) {
			s.t.Errorf("%s has %q", path, no)
		}
	}
	if n := strings.Count(text, "<script"); n != 1 {
		s.t.Errorf("%s has %d scripts", path, n)
	}
	for _, link := range regexp.MustCompile(`(?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(link[1], "/") || strings.Contains(link[1], "//") {
			s.t.Errorf("%s has a link %q that goes wrong behind a proxy's path", path, link[1])
		}
	}
}

// write stores one message.
func (s *site) write(topic, body string) {
	s.t.Helper()
	resp, text := s.do("POST", "/api/v1/topics/"+topic+"/messages", body, "Content-Type", "application/octet-stream")
	if resp.StatusCode != 200 {
		s.t.Fatalf("%d %s", resp.StatusCode, text)
	}
}

var allPages = []string{"/", "/topics", "/positions", "/cluster", "/writers", "/health"}

// TestPages asks for every page, of a server with nothing and with something, and for what
// pages need.
func TestPages(t *testing.T) {
	s := start(t, func(c *config.Config) { c.PartitionSize = 64 << 10 })
	for _, path := range allPages {
		s.page(path)
	}
	if text := s.page("/"); !strings.Contains(text, "log-cli write greetings") {
		t.Error("an empty server does not say what to do")
	}
	s.write("orders", `{"user":1,"id":9007199254740993}`)
	for range 3 { // a partition each
		s.write("parts", strings.Repeat("x", 40000))
	}
	for _, path := range append(allPages, "/topics/orders", "/topics/orders/messages") {
		text := s.page(path)
		for _, ref := range regexp.MustCompile(`(?:href|src)="([^"#]*)"`).FindAllStringSubmatch(text, -1) {
			at, err := url.Parse(s.base + path)
			if err != nil {
				t.Fatal(err)
			}
			to, err := at.Parse(strings.ReplaceAll(ref[1], "&amp;", "&"))
			if err != nil {
				t.Fatal(err)
			}
			if resp, _ := s.do("GET", to.RequestURI(), ""); resp.StatusCode != 200 {
				t.Errorf("%s has a link %q, which is %d", path, ref[1], resp.StatusCode)
			}
		}
	}
	for path, want := range map[string]string{
		"/": `<a href="./topics/orders">orders</a>`, "/topics/orders": "is written now", "/topics/parts": "goes when 7 more partitions are begun", "/topics/orders/messages": "9007199254740993",
		"/cluster": "no cluster", "/health": "is ready", "/writers": "BATCH", "/positions": "POSITION",
		"/?q=ord": "orders", "/?q=o*s&sort=size": "orders", "/topics/orders/messages?from=0.0&n=1": "9007199254740993",
	} {
		if text := s.page(path); !strings.Contains(text, want) {
			t.Errorf("%s lacks %q:\n%s", path, want, text)
		}
	}
	if text := s.page("/?q=none"); strings.Contains(text, "topics/orders") {
		t.Error("the filter shows all")
	}
	for path, status := range map[string]int{"/topics/none": 404, "/topics/none/messages": 404, "/topics/orders/": 404, "/topics/a/b/c": 404, "/topics/..%2f": 404, "/?q=[": 400} {
		resp, text := s.do("GET", path, "")
		s.check(path, resp, text)
		if resp.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, status)
		}
	}
	if resp, _ := s.do("POST", "/positions", ""); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %q", resp.StatusCode, resp.Header.Get("Allow"))
	}
	if _, text := s.do("GET", "/", "", "Accept", "*/*"); !strings.HasPrefix(text, "logd test\n") {
		t.Errorf("/ is %q to curl", text)
	}
}

// TestAssets: their names change with what is in them, so they are kept for good.
func TestAssets(t *testing.T) {
	s := start(t, func(c *config.Config) { c.AuthFile = authFile(t, "a", "admin *") })
	_, text := s.do("GET", "/", "")
	found := regexp.MustCompile(`(?:href|src)="\./(assets/[a-z]+\.[0-9a-f]{16}\.[a-z]+)"`).FindAllStringSubmatch(text, -1)
	if len(found) != 4 { // the picture twice
		t.Fatalf("assets: %v", found)
	}
	for _, one := range found {
		resp, _ := s.do("GET", "/"+one[1], "")
		if resp.StatusCode != 200 || resp.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d %q", one[1], resp.StatusCode, resp.Header.Get("Cache-Control"))
		}
	}
	if resp, _ := s.do("GET", "/assets/console.css", ""); resp.StatusCode != 404 {
		t.Errorf("an asset by no hash: %d", resp.StatusCode)
	}
}

// TestNothing: what is not served is not there.
func TestNothing(t *testing.T) {
	s := start(t, func(c *config.Config) { c.HTTPServe = []string{"api"} })
	for _, path := range allPages {
		resp, text := s.do("GET", path, "")
		if path == "/" && (resp.StatusCode != 200 || strings.Contains(text, "<")) || path != "/" && resp.StatusCode != 404 {
			t.Errorf("%s: %d %s", path, resp.StatusCode, text)
		}
	}
}

// TestEscapes writes what is to do harm in a page.
func TestEscapes(t *testing.T) {
	s := start(t, nil)
	const markup = `<script>alert(1)</script><img src=x onerror=alert(1)>"'&`
	s.write("bad", markup)
	s.write("bad", "right\u202eleft\u2066\u200f\x1b[31mred\x00\r\u2028")
	s.write("bad", "\xff\xfe<script>")
	s.write("bad", strings.Repeat("é", 5000))
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	s.write("bad", string(every))
	text := s.page("/topics/bad/messages?contains=" + url.QueryEscape("<script>"))
	text += s.page("/topics/bad/messages?from=" + url.QueryEscape(markup))
	text += s.page("/topics/bad/messages")
	for _, q := range []string{"q", "sort", "page", "desc"} {
		text += s.page("/?" + q + "=" + url.QueryEscape(markup+"\u202e"))
	}
	text += s.page("/positions?after=" + url.QueryEscape(markup))
	// What was asked for stands in the fields again, as it was typed.
	text = regexp.MustCompile(` value="[^"]*"`).ReplaceAllString(text, "")
	for _, no := range []string{"<script>", "<img src=x", "\u202e", "\u2066", "\u200f", "\x1b", "\x00", "\u2028", "\r"} {
		if strings.Contains(text, no) {
			t.Errorf("a page has %q as it came", no)
		}
	}
	for _, want := range []string{"&lt;script&gt;alert(1)", `\u{202e}`, `\x1b`, `\x00`, `\r`, "ff fe 3c 73", "no UTF-8", "4.1 kB of 10 kB", "whole message"} {
		if !strings.Contains(text, want) {
			t.Errorf("no page has %q", want)
		}
	}
}

// TestOlder goes from the newest page to the oldest, and meets each message once.
func TestOlder(t *testing.T) {
	s := start(t, nil)
	n := 0
	for batch := range 30 {
		var lines strings.Builder
		for range 1 + batch*7%11 {
			fmt.Fprintf(&lines, "message %d %s\n", n, strings.Repeat("x", n%50))
			n++
		}
		resp, text := s.do("POST", "/api/v1/topics/t/messages", lines.String(), "Content-Type", "text/plain")
		if resp.StatusCode != 200 {
			t.Fatal(text)
		}
	}
	numbers := regexp.MustCompile(`<pre>message (\d+) `)
	for _, size := range []int{1, 7, 50, 500} {
		for _, way := range []string{"older", "newer"} {
			path := fmt.Sprintf("/topics/t/messages?n=%d", size)
			if way == "newer" {
				path += "&from=start"
			}
			link := regexp.MustCompile(`href="(\?[^"]*)"[^>]*>(?:‹ )?` + way)
			var pages [][]string
			for range n + 1 {
				text := s.page(path)
				var page []string
				for _, m := range numbers.FindAllStringSubmatch(text, -1) {
					page = append(page, m[1])
				}
				if way == "older" {
					pages = append([][]string{page}, pages...)
				} else {
					pages = append(pages, page)
				}
				m := link.FindStringSubmatch(text)
				if m == nil {
					break
				}
				path = "/topics/t/messages" + strings.ReplaceAll(m[1], "&amp;", "&")
			}
			seen := -1
			for _, page := range pages {
				for _, number := range page {
					// The oldest page is whole: it may show what the next one has, too.
					var got int
					fmt.Sscan(number, &got)
					if got > seen+1 {
						t.Fatalf("%s by %d: %d comes behind %d", way, size, got, seen)
					}
					if got <= seen && way == "newer" {
						t.Fatalf("%s by %d: %d twice", way, size, got)
					}
					seen = max(seen, got)
				}
			}
			if seen != n-1 {
				t.Errorf("%s by %d: up to %d of %d", way, size, seen, n)
			}
		}
	}
}

// TestRefresh: where there is no API to follow by, a page that follows is had anew.
func TestRefresh(t *testing.T) {
	for _, parts := range [][]string{{"api", "console"}, {"log", "console"}} {
		api := parts[0] == "api"
		s := start(t, func(c *config.Config) { c.HTTPServe = parts })
		if !api {
			if resp, text := s.do("POST", "/log", testkit.Batch("t", "first"), "Content-Type", "application/logd"); resp.StatusCode != 200 {
				t.Fatal(text)
			}
		} else {
			s.write("t", "first")
		}
		text := s.page("/topics/t/messages?refresh=5")
		if !strings.Contains(text, `http-equiv="refresh" content="5"`) || strings.Contains(text, "data-live") == api || strings.Contains(text, "data-stream") != api || !strings.Contains(text, "<pre>first</pre>") {
			t.Errorf("%v: %s", parts, text)
		}
		if text = s.page("/topics/t/messages"); strings.Contains(text, "data-live") || strings.Contains(text, "data-on") {
			t.Errorf("%v: it follows without being asked to", parts)
		}
	}
}

// TestLong: a page of long messages, and of such as are long when they are shown, is cut, and
// goes on where it was.
func TestLong(t *testing.T) {
	s := start(t, func(c *config.Config) { c.BatchSize = 4 << 20 })
	for range 4 {
		s.write("long", strings.Repeat("x", 3<<20))
	}
	for range 60 {
		s.write("control", strings.Repeat("\x01", 4000))
	}
	for topic, want := range map[string]int{"long": 4, "control": 60} {
		path, n, pages := "/topics/"+topic+"/messages?n=500&from=start", 0, 0
		for path != "" {
			text := s.page(path)
			if len(text) > 6<<20 {
				t.Errorf("%s: %d bytes", path, len(text))
			}
			n += strings.Count(text, "<pre")
			path, pages = "", pages+1
			if m := regexp.MustCompile(`href="(\?[^"]*)"[^>]*>newer`).FindStringSubmatch(text); m != nil {
				path = "/topics/" + topic + "/messages" + strings.ReplaceAll(m[1], "&amp;", "&")
				if !strings.Contains(text, "too long for one page") {
					t.Error("a page is shorter than was asked for, and does not say why")
				}
			}
		}
		if n != want || pages < 2 {
			t.Errorf("%s: %d messages on %d pages", topic, n, pages)
		}
	}
}

// TestRights: each visitor sees what it may.
func TestRights(t *testing.T) {
	s := start(t, func(c *config.Config) {
		c.AuthFile = authFile(t, "writer", "write,create *", "reader", "read orders", "boss", "admin *", "eye", "monitor *")
	})
	as := func(name string) []string { return []string{"Authorization", "Bearer " + name + "-token"} }
	for _, topic := range []string{"orders", "secret"} {
		if resp, text := s.do("POST", "/api/v1/topics/"+topic+"/messages", "sealed words", append(as("writer"), "Content-Type", "text/plain")...); resp.StatusCode != 200 {
			t.Fatal(text)
		}
	}
	for _, c := range []struct {
		who, path string
		status    int
		has, no   string
	}{
		{"", "/", 200, `id="token"`, "orders"},
		{"", "/health", 401, `id="token"`, "ready"},
		{"", "/topics/orders", 401, `id="token"`, "orders<"},
		{"nobody", "/", 401, `data-unknown="1"`, "orders"},
		{"reader", "/", 200, "orders", "secret"},
		{"reader", "/topics/orders/messages", 200, "sealed words", "secret"},
		{"reader", "/topics/secret", 401, "may not see", "sealed"},
		{"reader", "/topics/none", 401, "may not see", "no topic"},
		{"reader", "/topics/secret/messages", 401, "may not see", "sealed"},
		{"reader", "/health", 401, "may not see", "storage"},
		{"reader", "/writers", 401, "may not see", "BATCH"},
		{"writer", "/topics/orders/messages", 401, "may not see", "sealed"},
		{"eye", "/health", 200, "storage", ""},
		{"eye", "/writers", 200, "unauthorized", "sealed"},
		{"boss", "/", 200, "secret", ""},
	} {
		var headers []string
		if c.who != "" {
			headers = as(c.who)
		}
		resp, text := s.do("GET", c.path, "", headers...)
		s.check(c.path, resp, text)
		if resp.StatusCode != c.status || !strings.Contains(text, c.has) || c.no != "" && strings.Contains(text, c.no) {
			t.Errorf("%q at %s: %d, want %d with %q without %q\n%s", c.who, c.path, resp.StatusCode, c.status, c.has, c.no, text)
		}
		if (resp.StatusCode == 401) != (resp.Header.Get("WWW-Authenticate") == "Bearer") {
			t.Errorf("%q at %s: WWW-Authenticate %q", c.who, c.path, resp.Header.Get("WWW-Authenticate"))
		}
	}
}

// TestOtherSites: a page may be gone to from another site, and nothing else.
func TestOtherSites(t *testing.T) {
	s := start(t, nil)
	s.write("orders", "x")
	cross := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode"}
	for _, c := range []struct {
		path    string
		status  int
		headers []string
	}{
		{"/", 200, append(cross, "navigate", "Sec-Fetch-Dest", "document")},
		{"/topics/orders", 200, append(cross, "navigate", "Sec-Fetch-Dest", "document")},
		{"/topics/orders", 403, append(cross, "navigate", "Sec-Fetch-Dest", "iframe")},
		{"/topics/orders", 403, append(cross, "no-cors", "Sec-Fetch-Dest", "image")},
		{"/topics/orders", 403, append(cross, "cors", "Sec-Fetch-Dest", "empty")},
		{"/", 403, append(cross, "cors", "Sec-Fetch-Dest", "empty")},
		{"/topics/orders", 403, append(cross, "navigate", "Sec-Fetch-Dest", "document", "Origin", "http://evil.example")},
		{"/topics/orders", 403, append(cross, "navigate", "Sec-Fetch-Dest", "document", "Host", "evil.example")},
		{"/", 403, []string{"Host", "evil.example"}},
		{"/api/v1/topics", 403, append(cross, "navigate", "Sec-Fetch-Dest", "document")},
		{"/debug/vars", 403, append(cross, "navigate", "Sec-Fetch-Dest", "document")},
		{"/api/v1/topics", 200, nil}, // which shows that the others are refused for what they are
	} {
		if resp, text := s.do("GET", c.path, "", c.headers...); resp.StatusCode != c.status || c.status == 403 && strings.Contains(text, "orders") {
			t.Errorf("%s %v: %d, want %d", c.path, c.headers, resp.StatusCode, c.status)
		}
	}
	if resp, _ := s.do("POST", "/topics/orders", "", append(cross, "navigate", "Sec-Fetch-Dest", "document")...); resp.StatusCode != 403 {
		t.Errorf("a form of another site: %d", resp.StatusCode)
	}
}

// authFile makes a file of identities and their rules. The token of each is its name and
// "-token".
func authFile(t testing.TB, pairs ...string) string {
	t.Helper()
	text := "version = 1\n"
	for i := 0; i < len(pairs); i += 2 {
		text += fmt.Sprintf("[[identity]]\nname = %q\ntokens = [%q]\nallow = [%q]\n", pairs[i], auth.Sum([]byte(pairs[i]+"-token")), pairs[i+1])
	}
	path := filepath.Join(t.TempDir(), "auth.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSettings: a topic's page tells which settings count for it, and where they are from.
func TestSettings(t *testing.T) {
	s := start(t, func(c *config.Config) { c.RetentionAge = 720 * time.Hour })
	s.write("orders", "x")
	if text := s.page("/topics/orders"); !strings.Contains(text, `<a href="#settings">Settings</a>`) || !strings.Contains(text, "720h") || !strings.Contains(text, "flushed: survives") || !strings.Contains(text, "0: no limit") {
		t.Error(text)
	}
	if resp, text := s.do("POST", "/log", "SETTING partitions 3 topic=orders\r\n", "Content-Type", "application/logd"); resp.StatusCode != 200 {
		t.Fatal(text)
	}
	if text := s.page("/topics/orders"); !strings.Contains(text, `<a href="#settings">Settings 1 own</a>`) || !strings.Contains(text, `<b>set by anybody `) {
		t.Error(text)
	}
}
