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
