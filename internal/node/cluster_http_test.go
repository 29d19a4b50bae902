package node

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

// TestClusterHTTP: any member answers reads over HTTP, also what is followed; what only the
// leader can do is refused elsewhere, from the headers alone, and says who leads.
func TestClusterHTTP(t *testing.T) {
	c := beginCluster(t, t.TempDir(), func(g *config.Config) { g.HTTPHost = "127.0.0.1:0" })
	first := c.configs["a"]
	g := c.config("b", t.TempDir())
	g.Join, g.Cluster, g.CatchUpRate, g.HTTPHost = []string{first.PeerHost}, c.id, first.CatchUpRate, "127.0.0.1:0"
	c.configs["b"] = g
	c.start("b")
	c.wait("a", "CLUSTER", func(body string) bool { return strings.Count(body, "state=up") == 2 })

	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	url := func(name, path string) string { return "http://" + c.nodes[name].HTTPAddr().String() + path }
	do := func(name, method, path, body string) (int, map[string]any) {
		t.Helper()
		req, err := http.NewRequest(method, url(name, "/api/v1"+path), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var m map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
			t.Fatalf("%s %s at %s: %d, %v", method, path, name, resp.StatusCode, err)
		}
		return resp.StatusCode, m
	}
	if status, m := do("a", "POST", "/topics/orders/messages", "one"); status != 200 || m["durability"] != "replicated" {
		t.Errorf("%d %v", status, m)
	}
	if status, m := do("a", "POST", "/topics/orders/messages?require=replicated", "two"); status != 200 {
		t.Errorf("%d %v", status, m)
	}
	c.same("orders")
	for _, change := range [][3]string{
		{"POST", "/topics/orders/messages", "three"}, {"PUT", "/topics/new", ""}, {"POST", "/topics/orders/trim", `{"before":"end"}`}, {"PUT", "/topics/orders/positions/c", `{"at":"start"}`},
	} {
		if status, m := do("b", change[0], change[1], change[2]); status != 421 || m["leader"] != first.Host || m["type"] != "urn:logd:not-leader" {
			t.Errorf("%v: %d %v, want the leader %s", change, status, m, first.Host)
		}
	}
	nc, err := net.Dial("tcp", c.nodes["b"].HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(nc, "POST /api/v1/topics/orders/messages HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || resp.StatusCode != 421 {
		t.Errorf("from the headers alone: %v, %v", resp, err)
	}

	if status, m := do("b", "GET", "/topics/orders/messages?format=json&fresh=1", ""); status != 200 || len(m["messages"].([]any)) != 2 {
		t.Errorf("%d %v", status, m)
	}
	if status, m := do("b", "GET", "/cluster", ""); status != 200 || len(m["members"].([]any)) != 2 {
		t.Errorf("%d %v", status, m)
	}
	events, err := client.Get(url("b", "/api/v1/topics/orders/messages?format=sse"))
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	in := bufio.NewReader(events.Body)
	for line := ""; !strings.HasPrefix(line, "event: topic"); {
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	do("a", "POST", "/topics/orders/messages", "for all")
	for line := ""; !strings.Contains(line, `"body":"for all"`); {
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]int{"a": 200, "b": 503} {
		for _, what := range []string{"all", "orders"} {
			testkit.Eventually(t, func() string {
				resp, err := client.Get(url(name, "/readyz?leads="+what))
				if err != nil {
					return err.Error()
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				return testkit.Unless(resp.StatusCode == want, fmt.Sprintf("%s, %s: %d %s", name, what, resp.StatusCode, body))
			})
		}
	}
}

// TestClusterHTTPRedirect: what only the leader can do is redirected to where its HTTP is,
// from the headers alone, with the same path and query; a page is told where that is. All
// that a client has to show is its own.
func TestClusterHTTPRedirect(t *testing.T) {
	auth := authFile(t, "writer: write *", "operator: read,write,create,position,admin,monitor *", "seer: monitor *", "anonymous: monitor *")
	equip := func(g *config.Config) {
		g.HTTPHost, g.AuthFile = testkit.FreeAddr(t), auth
		g.HTTPAdvertise = "http://" + g.HTTPHost
	}
	c := beginCluster(t, t.TempDir(), equip)
	first := c.configs["a"]
	g := c.config("b", t.TempDir())
	g.Join, g.Cluster, g.CatchUpRate = []string{first.PeerHost}, c.id, first.CatchUpRate
	equip(&g)
	c.configs["b"] = g
	c.start("b")
	c.wait("b", "CLUSTER", func(body string) bool {
		return strings.Contains(body, " http="+first.HTTPAdvertise+" ") && strings.Contains(body, " http="+g.HTTPAdvertise+" ")
	})

	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	do := func(method, path, token, body string, headers ...string) (*http.Response, map[string]any) {
		t.Helper()
		req, err := http.NewRequest(method, g.HTTPAdvertise+"/api/v1"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if len(text) > 0 {
			if err := json.Unmarshal(text, &m); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
		}
		return resp, m
	}
	large := strings.Repeat("x", 5<<20)
	for _, change := range [][4]string{
		{"POST", "/topics/orders/messages", "writer-token", "one"}, // a topic that is nowhere yet, of one who may not read
		{"POST", "/topics/orders/messages?ids=1&require=replicated", "writer-token", "one"},
		{"POST", "/topics/orders/messages", "writer-token", large},
		{"PUT", "/topics/new", "operator-token", ""},
		{"DELETE", "/topics/new", "operator-token", ""},
		{"POST", "/topics/orders/trim", "operator-token", `{"before":"end"}`},
		{"PUT", "/topics/orders/positions/c", "operator-token", `{"at":"start"}`},
		{"DELETE", "/topics/orders/positions/c", "operator-token", ""},
		{"POST", "/cluster/drain", "operator-token", `{"member":"b"}`},
		{"POST", "/cluster/transfer", "operator-token", `{"to":"a","all":true}`},
	} {
		headers := []string{"If-Match", `"0123456789abcdef0123456789abcdef"`}
		if strings.Contains(change[1], "positions") {
			headers = nil
		}
		what := change[0] + " " + change[1]
		resp, m := do(change[0], change[1], change[2], change[3], headers...)
		if resp.StatusCode != 307 || resp.Header.Get("Location") != first.HTTPAdvertise+"/api/v1"+change[1] {
			t.Errorf("%s: %d to %q: %v", what, resp.StatusCode, resp.Header.Get("Location"), m)
		}
		if m["type"] != "urn:logd:not-leader" || m["status"] != 307.0 || m["leader"] != first.Host || m["leader_http"] != first.HTTPAdvertise {
			t.Errorf("%s: %v", what, m)
		}
		resp, m = do(change[0], change[1], change[2], change[3], append(headers, "Sec-Fetch-Site", "same-origin")...)
		if resp.StatusCode != 421 || resp.Header.Get("Location") != "" || m["leader_http"] != first.HTTPAdvertise {
			t.Errorf("%s of a page: %d to %q: %v", what, resp.StatusCode, resp.Header.Get("Location"), m)
		}
		if resp, m := do(change[0], change[1], "seer-token", change[3], headers...); resp.StatusCode != 401 || m["leader"] != nil {
			t.Errorf("%s without the right: %d %v", what, resp.StatusCode, m)
		}
	}
	for path, head := range map[string]string{
		"/topics/orders/messages": "POST", "/topics/orders/trim": "POST", "/topics/orders/positions/c": "PUT", "/cluster/drain": "POST", "/cluster/transfer": "POST",
	} {
		nc, err := net.Dial("tcp", g.HTTPHost)
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(nc, "%s /api/v1%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer operator-token\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", head, path)
		if resp, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || resp.StatusCode != 307 {
			t.Errorf("%s %s, from the headers alone: %v, %v", head, path, resp, err)
		}
		nc.Close()
	}
	if resp, m := do("GET", "/cluster", "operator-token", ""); resp.StatusCode != 200 || m["members"].([]any)[0].(map[string]any)["http"] != first.HTTPAdvertise {
		t.Errorf("%d %v", resp.StatusCode, m)
	}
	page, err := http.NewRequest("GET", g.HTTPAdvertise+"/cluster", nil)
	if err != nil {
		t.Fatal(err)
	}
	page.Header.Set("Authorization", "Bearer operator-token")
	page.Header.Set("Accept", "text/html")
	resp, err := client.Do(page)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if link := `<a href="` + first.HTTPAdvertise + `/cluster">a</a>`; !strings.Contains(string(text), link) || strings.Contains(string(text), g.HTTPAdvertise) {
		t.Errorf("want %s and no link to itself in\n%s", link, text)
	}

	// Nobody leads.
	c.stop("a")
	testkit.Eventually(t, func() string {
		resp, m := do("POST", "/topics/orders/messages", "writer-token", "one")
		ok := resp.StatusCode == 503 && resp.Header.Get("Retry-After") != "" && m["type"] == "urn:logd:not-leader" && m["leader"] == nil
		return testkit.Unless(ok, fmt.Sprintf("%d %v", resp.StatusCode, m))
	})
}
