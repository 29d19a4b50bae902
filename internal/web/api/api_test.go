package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/web/api"
)

// everyRoute are the methods and paths of all routes, with values for what is named in
// braces.
func everyRoute() (list [][2]string) {
	fill := strings.NewReplacer("{t}", "orders", "{id}", "0.0", "{base}", "0", "{consumer}", "c")
	for path, methods := range api.Routes() {
		for _, method := range methods {
			list = append(list, [2]string{method, fill.Replace(path)})
		}
	}
	slices.SortFunc(list, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	return list
}

// TestMethods: a path has the methods that Allow names and no other.
func TestMethods(t *testing.T) {
	s := start(t, nil)
	fill := strings.NewReplacer("{t}", "orders", "{id}", "0.0", "{base}", "0", "{consumer}", "c")
	for path, methods := range api.Routes() {
		allow := slices.Clone(methods)
		if slices.Contains(allow, "GET") {
			allow = append(allow, "HEAD")
		}
		slices.Sort(allow)
		want := strings.Join(allow, ", ")
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"} {
			if slices.Contains(allow, method) {
				continue
			}
			a := s.do(method, fill.Replace(path), "")
			if got := a.Header.Get("Allow"); a.StatusCode != 405 || got != want {
				t.Errorf("%s %s: %d, Allow %q, want 405 and %q", method, path, a.StatusCode, got, want)
			}
			if method != "HEAD" {
				a.wantProblem(t, 405, "invalid-request")
			}
		}
	}
}

// TestPaths: a path is what it is, and nothing else is meant by it.
func TestPaths(t *testing.T) {
	s := start(t, nil)
	s.protocol(testkit.Batch("orders", "a"))
	for _, path := range []string{"", "/", "/topics/", "/topics/orders/", "//api/v1//topics", "//api/v1/./topics", "/topics/orders/../orders", "/nothing", "//api/v2/topics", "//api"} {
		a := s.get(path)
		if a.StatusCode != 404 {
			t.Errorf("%q: %d %s", path, a.StatusCode, a.body)
		}
	}
	// A name is percent-decoded once.
	for path, status := range map[string]int{
		"/topics/orders": 200, "/topics/%6frders": 200, "/topics/%256frders": 400, "/topics/%2e%2e": 400, "/topics/a%2fb": 400,
		"/topics/a%00b": 400, "/topics/.a": 400, "/topics/" + strings.Repeat("a", 256): 400, "/topics/" + strings.Repeat("a", 255): 404,
	} {
		if a := s.get(path); a.StatusCode != status {
			t.Errorf("%q: %d %s, want %d", path, a.StatusCode, a.body, status)
		}
	}
}

// TestQuery: what is not known, there twice or wrong is named.
func TestQuery(t *testing.T) {
	s := start(t, nil)
	for query, words := range map[string][]string{
		"limt=1":           {`"limt"`, "after, limit, match"},
		"limit=1&limit=2":  {`"limit"`, "more than once"},
		"limit=0":          {"limit=", "1 to 10000"},
		"limit=10001":      {"1 to 10000"},
		"limit=-1":         {`"-1"`},
		"limit=":           {`limit=""`},
		"limit=1;after=b":  {"taken apart"},
		"match=%zz":        {"taken apart"},
		"match=[":          {"pattern"},
		"Limit=1":          {`"Limit"`},
		"limit=1&%6cimit=": {"more than once"},
	} {
		s.get("/topics?"+query).wantProblem(t, 400, "invalid-request", words...)
	}
	s.get("/stats?a=b").wantProblem(t, 400, "invalid-request", `"a"`, "none")
}

// TestWrittenMessages: how many messages were ever written is told as long as all of them
// are there, and is null from then on.
func TestWrittenMessages(t *testing.T) {
	s := start(t, func(c *config.Config) { c.BatchSize, c.PartitionSize = 128, 128 })
	written := func() any {
		t.Helper()
		return s.get("/topics").object(t)["topics"].([]any)[0].(map[string]any)["written_messages"]
	}
	for n := range 5 {
		s.protocol(testkit.Batch("t", "one", "two"))
		if got := written(); fmt.Sprint(got) != fmt.Sprint(2*n+2) {
			t.Errorf("after %d batches: %v", n+1, got)
		}
	}
	if a := s.do("POST", "/topics/t/trim", `{"before":"end"}`, "Content-Type", "application/json"); a.StatusCode != 200 {
		t.Fatalf("trim: %d %s", a.StatusCode, a.body)
	}
	if got, in := written(), s.info("t"); in.Oldest == 0 || got != nil {
		t.Errorf("after a trim: %v of %+v", got, in)
	}
}

// TestTopics: pages of topics, as INFO knows them.
func TestTopics(t *testing.T) {
	s := start(t, func(c *config.Config) { c.FlushInterval = -1 })
	s.get("/topics").object(t)
	for _, name := range []string{"orders", "orders.eu", "users", "zebra"} {
		s.protocol(testkit.Batch(name, "one", "two"))
	}
	names := func(path string) (names []string, next any) {
		t.Helper()
		page := s.get(path).object(t)
		for _, topic := range page["topics"].([]any) {
			names = append(names, topic.(map[string]any)["topic"].(string))
		}
		return names, page["next"]
	}
	for path, want := range map[string]string{
		"/topics": "orders orders.eu users zebra", "/topics?limit=2": "orders orders.eu, orders.eu", "/topics?after=orders.eu&limit=2": "users zebra",
		"/topics?after=p": "users zebra", "/topics?after=zebra": "", "/topics?match=orders*": "orders orders.eu", "/topics?match=*s&limit=1": "orders, orders",
		"/topics?match=?sers": "users",
	} {
		got, next := names(path)
		text := strings.Join(got, " ")
		if next != nil {
			text += ", " + next.(string)
		}
		if text != want {
			t.Errorf("%s: %s, want %s", path, text, want)
		}
	}
	in := s.info("orders")
	a := s.get("/topics/orders")
	if got := a.Header.Get("ETag"); got != `"`+in.ID+`"` {
		t.Errorf("ETag: %s", got)
	}
	stamp := in.OldestTime.UTC().Format("2006-01-02T15:04:05.000Z")
	a.want(t, 200, `{"topic":"orders","oldest":0,"next":54,"partitions":1,"bytes":54,"messages":2,"batches":1,"oldest_time":"`+stamp+`","newest_time":"`+stamp+`","id":"`+in.ID+
		`","state":"writable","synced":0,"damaged":0,"damaged_at":[],"codecs":[],"role":"single","group":null,"leader":null,"term":null,"written_messages":2,"written_bytes":54,"positions":[],"settings":`+strings.TrimPrefix(s.get("/topics/orders/settings").body, `{"topic":"orders","settings":`))
	s.get("/topics/nothing").wantProblem(t, 404, "not-found", `"nothing"`)
	if a := s.do("HEAD", "/topics/orders", ""); a.StatusCode != 200 || a.body != "" || a.ContentLength <= 0 {
		t.Errorf("HEAD: %d %q", a.StatusCode, a.body)
	}
}

// TestMonitor: what commands say of the server, as JSON.
func TestMonitor(t *testing.T) {
	s := start(t, nil)
	s.protocol(testkit.Batch("orders", "one", "two"))
	stats := s.get("/stats").object(t)
	if got := stats["messages_total"]; got == nil || got.(interface{ String() string }).String() != "2" {
		t.Errorf("messages_total: %v", got)
	}
	conf := s.get("/config").object(t)
	if conf["max_batch_size"].(interface{ String() string }).String() != "65536" || conf["version"] != "test" || conf["delete_hook"] != false {
		t.Errorf("config: %v", conf)
	}
	if a := s.get("/config"); !strings.HasPrefix(a.body, `{"host":"127.0.0.1:`) {
		t.Errorf("the keys are in another order: %s", a.body)
	}
	if a := s.get("/health"); !strings.HasPrefix(a.body, `[{"check":"recovery","ok":true,"since":"20`) {
		t.Errorf("health: %s", a.body)
	}
	s.get("/cluster").wantProblem(t, 400, "invalid-request", "no cluster")
	s.get("/groups").wantProblem(t, 400, "invalid-request", "no cluster")
}

// TestServes: what is not to be served is not there.
func TestServes(t *testing.T) {
	paths := map[string]string{"api": "/topics", "metrics": "//metrics", "debug": "//debug/vars", "log": "//log"}
	for _, list := range [][]string{{"metrics"}, {"api", "log"}, {}} {
		s := start(t, func(c *config.Config) { c.HTTPServe = list })
		for part, path := range paths {
			status := 404
			if slices.Contains(list, part) {
				status = 200
				if part == "log" {
					status = 405
				}
			}
			if a := s.get(path); a.StatusCode != status {
				t.Errorf("of %v, %s: %d, want %d", list, path, a.StatusCode, status)
			}
		}
		if a := s.get("//healthz"); a.StatusCode != 200 {
			t.Errorf("of %v, health: %d", list, a.StatusCode)
		}
	}
}

// TestFromBrowser: what a page of another site could have a browser send is refused on
// every route, whatever it is.
func TestFromBrowser(t *testing.T) {
	s := start(t, nil)
	s.protocol(testkit.Batch("orders", "a"))
	own := "http://" + s.node.HTTPAddr().String()
	for _, route := range everyRoute() {
		method, path := route[0], route[1]
		for _, headers := range [][]string{
			{"Origin", "http://attacker.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
			{"Host", "attacker.example"}, {"Origin", own + "0"}, {"Origin", own, "Origin", own},
		} {
			a := s.do(method, path, "", headers...)
			if a.StatusCode != 403 {
				t.Errorf("%s %s with %v: %d", method, path, headers, a.StatusCode)
			}
			a.wantProblem(t, 403, "refused")
		}
	}
	if a := s.get("/topics", "Origin", own, "Sec-Fetch-Site", "same-origin"); a.StatusCode != 200 {
		t.Errorf("of its own page: %d", a.StatusCode)
	}
}

// TestNobody: whoever shows nothing, or what is nobody's, gets nothing but what all may.
func TestNobody(t *testing.T) {
	s := start(t, func(c *config.Config) { c.AuthFile = authFile(t, "a: admin *") })
	for _, route := range everyRoute() {
		for _, headers := range [][]string{nil, {"Authorization", "Bearer nobodys"}, {"Authorization", "Basic YTpi"}} {
			a := s.do(route[0], route[1], "", headers...)
			if route[1] == "/openapi.json" { // whatever is shown
				if a.StatusCode != 200 {
					t.Errorf("%v with %q: %d", route, headers, a.StatusCode)
				}
				continue
			}
			a.wantProblem(t, 401, "unauthorized")
			if a.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%v: %v", route, a.Header)
			}
			if headers != nil && headers[1] == "Bearer nobodys" {
				break // the next would wait for longer
			}
		}
		if testing.Short() && route[1] > "/e" {
			break
		}
	}
}
