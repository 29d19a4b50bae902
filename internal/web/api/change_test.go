package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

// sendJSON makes a request whose body is JSON.
func (s *site) sendJSON(method, path, body string, headers ...string) answer {
	s.t.Helper()
	return s.do(method, path, body, append([]string{"Content-Type", "application/json"}, headers...)...)
}

// TestCreateAndDelete: a topic is made once, and only the very one that is meant goes.
func TestCreateAndDelete(t *testing.T) {
	s := start(t, func(c *config.Config) { c.Topics = 2 })
	a := s.do("PUT", "/topics/orders", "")
	if tag := a.Header.Get("ETag"); a.StatusCode != 201 || tag != `"`+s.info("orders").ID+`"` {
		t.Errorf("%d %s, %s", a.StatusCode, a.body, tag)
	}
	if a := s.do("PUT", "/topics/orders", ""); a.StatusCode != 200 || a.object(t)["topic"] != "orders" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	s.do("PUT", "/topics/b", "")
	s.do("PUT", "/topics/c", "").wantProblem(t, 429, "maximum-topics-allowed")
	s.do("PUT", "/topics/__own", "").wantProblem(t, 400, "invalid-request")

	id := s.info("orders").ID
	s.do("DELETE", "/topics/orders", "").wantProblem(t, 428, "precondition", "If-Match")
	for _, tag := range []string{`"00"`, `"x"`} {
		s.do("DELETE", "/topics/orders", "", "If-Match", tag).wantProblem(t, 412, "version-conflict")
	}
	for _, tag := range []string{"*", id, `W/"` + id + `"`, `""`} {
		s.do("DELETE", "/topics/orders", "", "If-Match", tag).wantProblem(t, 400, "invalid-request")
	}
	own := "http://" + s.node.HTTPAddr().String()
	s.do("DELETE", "/topics/orders", "", "If-Match", `"`+id+`"`, "Origin", own).wantProblem(t, 415, "content-type")
	s.do("PUT", "/topics/orders", "", "Origin", own).wantProblem(t, 415, "content-type")
	if a := s.do("DELETE", "/topics/orders", "", "If-Match", `"`+id+`"`); a.StatusCode != http.StatusNoContent || a.body != "" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	s.do("DELETE", "/topics/none", "", "If-Match", `"`+id+`"`).wantProblem(t, 404, "not-found", `"none"`)
	s.get("/topics/orders").wantProblem(t, 404, "not-found")
}

// TestTrim: what is before a place goes, or would.
func TestTrim(t *testing.T) {
	s := start(t, func(c *config.Config) { c.PartitionSize, c.BatchSize = 100, 100 })
	for i := range 4 {
		s.protocol(testkit.Batch("orders", strings.Repeat("x", 50)+fmt.Sprint(i)))
	}
	in := s.info("orders")
	each := in.Next / 4
	if in.Partitions != 4 {
		t.Fatalf("%+v", in)
	}
	want := fmt.Sprintf(`{"oldest":%d,"partitions":2,"bytes":%d,"messages":2,"hooks":[]}`+"\n", 2*each, 2*each)
	s.sendJSON("POST", "/topics/orders/trim", fmt.Sprintf(`{"before":"%d","dry_run":true}`, 2*each)).want(t, 200, want)
	if s.info("orders").Oldest != 0 {
		t.Error("a dry run has removed something")
	}
	plan := s.get("/topics/orders/retention?partitions=1")
	if !strings.Contains(plan.body, `"verdict":"remove","why":"partitions"`) || !strings.Contains(plan.body, `"words":"goes now, as there are more partitions than are kept"`) || !strings.Contains(plan.body, `"words":"is written now; goes when`) {
		t.Errorf("%s", plan.body)
	}
	if plan := s.get("/topics/orders/retention?age=720h"); !strings.Contains(plan.body, "goes when ") || !strings.Contains(plan.body, `, or at 20`) {
		t.Errorf("%s", plan.body)
	}
	s.sendJSON("POST", "/topics/orders/trim", fmt.Sprintf(`{"before":"%d"}`, 2*each)).want(t, 200, want)
	if s.info("orders").Oldest != 2*each {
		t.Error("nothing was removed")
	}
	s.sendJSON("POST", "/topics/orders/trim", `{"before":"0","dry_run":true}`).want(t, 200, fmt.Sprintf(`{"oldest":%d,"partitions":0,"bytes":0,"messages":0,"hooks":[]}`+"\n", 2*each))
	s.sendJSON("POST", "/topics/orders/trim", `{"before":"end"}`).want(t, 200, fmt.Sprintf(`{"oldest":%d,"partitions":2,"bytes":%d,"messages":2,"hooks":[]}`+"\n", 4*each, 2*each))
	for body, words := range map[string]string{
		`{}`: "before", `{"before":1}`: "as text", `{"before":"x"}`: `"x"`, `{"befor":"end"}`: `"befor"`, `{"before":"end","before":"end"}`: "twice", `[]`: "no JSON object", ``: "no JSON object",
		`{"before":"end","dry_run":"yes"}`: "true or false", `{"before":"end"} x`: "follows",
	} {
		s.sendJSON("POST", "/topics/orders/trim", body).wantProblem(t, 400, "invalid-request", words)
	}
	s.do("POST", "/topics/orders/trim", `{"before":"end"}`).wantProblem(t, 415, "content-type")
	s.sendJSON("POST", "/topics/orders/trim", `{"before":"`+strings.Repeat(" ", 64<<10)+`"}`).wantProblem(t, 413, "too-large")
	s.sendJSON("POST", "/topics/none/trim", `{"before":"end"}`).wantProblem(t, 404, "not-found")
	s.sendJSON("POST", "/topics/orders/trim", `{"before":"`+fmt.Sprint(4*each+1)+`"}`).wantProblem(t, 404, "beyond-end")
}

// TestPlace: what a place is.
func TestPlace(t *testing.T) {
	s := start(t, nil)
	b := testkit.Batch("orders", "one", "two")
	s.protocol(b)
	for at, want := range map[string]string{
		"start": `{"id":"0.0","offset":0,"delta":0,"time":"`, "-1": `{"id":"0.12","offset":0,"delta":12,"time":"`, "0.12": `{"id":"0.12","offset":0,"delta":12,"time":"`,
		"end": fmt.Sprintf(`{"id":"%d","offset":%d,"delta":0,"time":null}`, len(b), len(b)), "-1h": `{"id":"0.0",`, "2199-01-01": fmt.Sprintf(`{"id":"%d",`, len(b)),
	} {
		if a := s.get("/topics/orders/place?at=" + at); a.StatusCode != 200 || !strings.HasPrefix(a.body, want) {
			t.Errorf("%s: %d %s, want %s", at, a.StatusCode, a.body, want)
		}
	}
	a := s.get("/topics/orders/place?at=0.5")
	a.wantProblem(t, 400, "not-a-place", "0.12")
	if a.object(t)["next_id"] != "0.12" {
		t.Errorf("%s", a.body)
	}
	s.get("/topics/orders/place?at=3").wantProblem(t, 400, "not-a-place", fmt.Sprint(len(b)))
	s.get("/topics/orders/place").wantProblem(t, 400, "invalid-request", "at")
	s.get("/topics/orders/place?at=x").wantProblem(t, 400, "invalid-request", `"x"`)
}

// TestPositions: a position is set by its version, held, and forgotten.
func TestPositions(t *testing.T) {
	s := start(t, nil)
	b := testkit.Batch("orders", "one", "two")
	s.protocol(b)
	path := "/topics/orders/positions/mailer"
	s.get(path).wantProblem(t, 404, "not-found", `"mailer"`)
	a := s.sendJSON("PUT", path, `{"at":"-1","note":"begun"}`, "If-None-Match", "*")
	version := a.Header.Get("ETag")
	if a.StatusCode != 201 || version == "" || a.object(t)["at"] != "0.12" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	a = s.sendJSON("PUT", path, `{"at":"start"}`, "If-None-Match", "*")
	a.wantProblem(t, 412, "version-conflict")
	if got := fmt.Sprintf("%q", a.object(t)["version"]); got != version {
		t.Errorf("version %s, want %s", got, version)
	}
	if a := s.sendJSON("PUT", path, `{"at":"start","dry_run":true}`); a.StatusCode != 200 || a.object(t)["from"] != "0.12" || fmt.Sprint(a.object(t)["bytes"]) != "0" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	a = s.get(path)
	if a.Header.Get("ETag") != version || !strings.HasPrefix(a.body, `{"topic":"orders","consumer":"mailer","at":"0.12","version":`) || !strings.Contains(a.body, `"note":"begun"`) || !strings.Contains(a.body, `"lag_messages":1,`) {
		t.Errorf("%s", a.body)
	}
	a = s.sendJSON("PUT", path, `{"at":"end","hold_ms":60000,"as":"w-1"}`, "If-Match", version)
	if a.StatusCode != 200 || a.Header.Get("ETag") == version {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	a = s.sendJSON("PUT", path, `{"at":"end"}`)
	a.wantProblem(t, 423, "held")
	if a.Header.Get("Retry-After") == "" || a.object(t)["left_ms"] == nil {
		t.Errorf("%s", a.body)
	}
	if a := s.sendJSON("PUT", path, `{"hold_ms":0,"as":"w-1"}`); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	s.sendJSON("PUT", "/topics/orders/positions/other", `{"at":"0.0"}`)
	for path, want := range map[string]string{
		"/positions": "mailer other", "/positions?limit=1": "mailer, orders/mailer", "/positions?after=orders/mailer": "other", "/topics/orders/positions": "mailer other", "/topics/users/positions": "",
	} {
		m := s.get(path).object(t)
		var names []string
		for _, p := range m["positions"].([]any) {
			names = append(names, p.(map[string]any)["consumer"].(string))
		}
		got := strings.Join(names, " ")
		if m["next"] != nil {
			got += ", " + m["next"].(string)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if list := s.get("/topics/orders").object(t)["positions"].([]any); len(list) != 2 {
		t.Errorf("%v", list)
	}
	if a := s.get("/topics/orders/retention"); !strings.Contains(a.body, `"positions":["other"]`) {
		t.Errorf("%s", a.body)
	}
	s.do("DELETE", path, "", "If-Match", `"1"`).wantProblem(t, 412, "version-conflict")
	if a := s.do("DELETE", path, ""); a.StatusCode != 204 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	s.get(path).wantProblem(t, 404, "not-found")
	for body, words := range map[string]string{
		`{}`: "neither", `{"at":"x"}`: `"x"`, `{"at":"0.1"}`: "0.12", `{"at":1}`: "place", `{"hold_ms":1,"as":"a"}`: "1000", `{"hold_ms":1000}`: `"as"`, `{"at":"0.0","ttl_ms":0}`: "ttl_ms",
		`{"at":"0.0","note":"a b"}`: "note", `{"hold_ms":1000,"as":"a","note":"b"}`: "mean nothing", `{"at":"0.0","version":1}`: `"version"`,
	} {
		a := s.sendJSON("PUT", path, body)
		if a.StatusCode != 400 || !strings.Contains(a.body, strings.ReplaceAll(words, `"`, `\"`)) {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
	for _, headers := range [][]string{{"If-Match", "1"}, {"If-Match", `"x"`}, {"If-None-Match", `"1"`}, {"If-Match", `"1"`, "If-None-Match", "*"}} {
		s.sendJSON("PUT", path, `{"at":"0.0"}`, headers...).wantProblem(t, 400, "invalid-request")
	}
	s.get("/topics/orders/positions/a%20b").wantProblem(t, 400, "invalid-request")
	s.get("/positions?after=x").wantProblem(t, 400, "invalid-request", "TOPIC/CONSUMER")
	off := start(t, func(c *config.Config) { c.Positions = 0 })
	off.protocol(b)
	if got := off.get("/topics/orders").object(t); got["positions"] != nil || got["topic"] != "orders" {
		t.Errorf("%v", got)
	}
	off.get("/positions").wantProblem(t, 400, "invalid-request", "positions = 0")
}

// TestErrors: error answers are counted, and the newest of them told, of topics that exist.
func TestErrors(t *testing.T) {
	s := start(t, func(c *config.Config) {
		c.AuthFile = authFile(t, "operator: monitor *; write,create,read *", "nobody: read x")
	})
	who := func(name string) []string { return []string{"Authorization", "Bearer " + name + "-token"} }
	s.do("POST", "/topics/orders/messages", "a", who("operator")...)
	s.get("/topics/orders/messages", who("nobody")...)
	s.get("/topics/none/messages", who("nobody")...)
	s.get("/topics/none", who("operator")...)
	a := s.get("/errors", who("operator")...)
	for _, want := range []string{
		`{"command":"INFO","reason":"not found","count":1}`, `{"command":"INFO","reason":"unauthorized","count":2}`,
		`"identity":"nobody","command":"INFO","topic":"orders","reason":"unauthorized"}`, `"identity":"operator","command":"INFO","topic":null,"reason":"not found"}`,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("%s is not in %s", want, a.body)
		}
	}
	if strings.Contains(a.body, "none") {
		t.Errorf("a topic that does not exist is named: %s", a.body)
	}
	s.get("/errors", who("nobody")...).wantProblem(t, 401, "unauthorized")
}

// TestHooksAndCluster: commands of operators, where there is nothing to do for them.
func TestHooksAndCluster(t *testing.T) {
	s := start(t, nil)
	s.get("/hooks").want(t, 200, "[]\n")
	s.sendJSON("POST", "/hooks/orders/0", `{"do":"retry"}`).wantProblem(t, 404, "not-found", "no delete hook")
	s.sendJSON("POST", "/hooks/orders/0", `{"do":"run"}`).wantProblem(t, 400, "invalid-request", `"retry" or "skip"`)
	s.sendJSON("POST", "/hooks/orders/x", `{"do":"retry"}`).wantProblem(t, 400, "invalid-request", `"x"`)
	for path, bodies := range map[string][]string{
		"/cluster/transfer": {`{"to":"a","topic":"orders"}`, `{"to":"a","group":1}`, `{"to":"a","all":true}`, `{"to":"a"}`, `{"to":"a","group":1,"all":true}`, `{"topic":"orders"}`, `{"to":"a b","group":1}`, `{"to":"a","group":-1}`, `{"to":"a","topic":".x"}`},
		"/cluster/drain":    {`{"member":"a"}`, `{}`, `{"member":"a","off":1}`},
	} {
		for _, body := range bodies {
			s.sendJSON("POST", path, body).wantProblem(t, 400, "invalid-request")
		}
	}
}

// TestChangeRights: who may not change something is told that before a byte of the body,
// whether it is there or not.
func TestChangeRights(t *testing.T) {
	s := start(t, func(c *config.Config) {
		c.AuthFile = authFile(t, "reader: read *; monitor *", "writer: write,create *", "part: admin orders", "all: admin *")
	})
	who := func(name string) []string { return []string{"Authorization", "Bearer " + name + "-token"} }
	s.do("POST", "/topics/orders/messages", "a", who("writer")...)
	s.do("POST", "/topics/users/messages", "a", who("writer")...)
	for _, test := range []struct {
		method, path string
		may          string
	}{
		{"PUT", "/topics/users", "writer"}, {"PUT", "/topics/none", "writer"}, {"POST", "/topics/users/trim", "all"}, {"POST", "/topics/none/trim", "all"}, {"POST", "/topics/orders/trim", "part all"},
		{"DELETE", "/topics/users", "all"}, {"DELETE", "/topics/none", "all"}, {"DELETE", "/topics/orders", "part all"}, {"GET", "/topics/orders/retention", "reader part all"}, {"GET", "/topics/orders/place?at=end", "reader"},
		{"GET", "/hooks", "part all"}, {"POST", "/hooks/users/0", "all"}, {"POST", "/hooks/orders/0", "part all"}, {"POST", "/cluster/transfer", "all"}, {"POST", "/cluster/drain", "all"}, {"GET", "/errors", "reader all"},
		{"PUT", "/topics/orders/positions/c", ""}, {"DELETE", "/topics/orders/positions/c", ""}, {"GET", "/topics/orders/positions/c", "reader all"}, {"GET", "/positions", "reader writer part all"},
	} {
		for _, name := range []string{"reader", "writer", "part", "all"} {
			body := `{"at":"0.0"}`
			if !strings.Contains(test.path, "positions") {
				body = "{}"
			}
			if test.method == "GET" || test.method == "DELETE" {
				body = ""
			}
			a := s.do(test.method, test.path, body, append(who(name), "Content-Type", "application/json")...)
			may := strings.Contains(" "+test.may+" ", " "+name+" ")
			if (a.StatusCode == 401) == may {
				t.Errorf("%s: %s %s: %d %s", name, test.method, test.path, a.StatusCode, a.body)
			}
		}
	}
}
