package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/internal/testkit"
)

// set saves where a consumer is.
func (s *site) set(topic, consumer, at string, headers ...string) {
	s.t.Helper()
	resp, text := s.do("PUT", "/api/v1/topics/"+topic+"/positions/"+consumer, `{"at":"`+at+`"}`, append(headers, "Content-Type", "application/json")...)
	if resp.StatusCode/100 != 2 {
		s.t.Fatalf("%d %s", resp.StatusCode, text)
	}
}

func acting(c *config.Config) { c.ConsoleActs, c.PartitionSize = true, 64<<10 }

// offered returns what a page offers to change, by the names of its buttons' acts.
func offered(text string) string {
	var all []string
	for _, act := range []string{"trim", "delete", "move", "forget", "retry", "skip", "lead", "group"} {
		if n := strings.Count(text, `data-act="`+act+`"`); n > 0 {
			all = append(all, fmt.Sprint(act, n))
		}
	}
	return strings.Join(all, " ")
}

// TestOffers: what pages offer to change is what their visitor may, if the setting says so,
// and no trace is left of what it may not.
func TestOffers(t *testing.T) {
	file := authFile(t, "boss", "admin *", "owner", "admin orders", "writer", "write,create *", "all", "read,write,create,admin,position *", "mover", "position orders/m*", "own", "admin __positions")
	s := start(t, func(c *config.Config) { acting(c); c.AuthFile = file })
	as := func(name string) []string { return []string{"Authorization", "Bearer " + name + "-token"} }
	for _, topic := range []string{"orders", "other"} {
		if resp, text := s.do("POST", "/api/v1/topics/"+topic+"/messages", "x", append(as("all"), "Content-Type", "text/plain")...); resp.StatusCode != 200 {
			t.Fatal(text)
		}
		for _, consumer := range []string{"mailer", "biller"} {
			s.set(topic, consumer, "start", as("all")...)
		}
	}
	for _, c := range []struct{ who, path, want string }{
		{"all", "/topics/orders", "trim1 delete1 move3 forget2"}, {"all", "/positions", "move4 forget4"}, {"all", "/topics/orders/messages", ""},
		{"own", "/topics/__positions", ""},
		{"boss", "/topics/orders", "trim1 delete1"}, {"boss", "/positions", ""}, {"owner", "/topics/orders", "trim1 delete1"},
		{"mover", "/positions", "move1 forget1"},
	} {
		resp, text := s.do("GET", c.path, "", as(c.who)...)
		if got := offered(text); got != c.want {
			t.Errorf("%s is offered %q at %s (%d), want %q", c.who, got, c.path, resp.StatusCode, c.want)
		}
		if acts := c.want != ""; acts != strings.Contains(text, "<noscript>") || acts != strings.Contains(text, "<dialog") {
			t.Errorf("%s at %s: a dialog, or a word on JavaScript, where there is nothing to do, or the other way round", c.who, c.path)
		}
		if strings.Contains(text, "data-act") && strings.Count(text, "hidden") < 2 {
			t.Errorf("%s at %s: a button that does nothing without JavaScript", c.who, c.path)
		}
	}
	if _, text := s.do("GET", "/api/v1/errors", "", as("boss")...); strings.Contains(text, "unauthorized") {
		t.Errorf("looking at pages counts as what was refused: %s", text)
	}
	for _, acts := range []bool{false, true} {
		if err := s.node.Reload(func() (config.Config, error) {
			c := s.config
			c.ConsoleActs = acts
			return c, nil
		}); err != nil {
			t.Fatal(err)
		}
		_, text := s.do("GET", "/topics/orders", "", as("all")...)
		if got := strings.Contains(text, "data-act") || strings.Contains(text, "<dialog"); got != acts {
			t.Errorf("the setting is %v, and offers are there: %v", acts, got)
		}
	}
	for _, parts := range [][]string{{"console"}, {"console", "api"}} {
		s := start(t, func(c *config.Config) { acting(c); c.HTTPServe = parts })
		s.node.Ready()
		if len(parts) == 2 {
			s.write("t", "x")
		}
		_, text := s.do("GET", "/cluster", "")
		if got := offered(text); got != "" {
			t.Errorf("without a cluster there is an offer of %s", got)
		}
	}
}

// confirm types a name into the dialog that is open, and presses what it is for.
func (b *browser) confirm(act, name string) {
	b.t.Helper()
	b.until(`!document.querySelector("#act-` + act + ` .sure").hidden && document.activeElement.name === "sure"`)
	b.key(name)
	b.until(`!document.querySelector("#act-` + act + ` .danger").disabled`)
	b.key("\r")
	b.until(`document.querySelector("#act-` + act + ` .sure").hidden && document.activeElement.textContent === "Close"`)
}

func (b *browser) planned(act, want string) {
	b.t.Helper()
	at := `document.querySelector("#act-` + act + ` .plan").textContent`
	b.until(at + ` !== "" || document.querySelector("#act-` + act + ` .wrong").textContent !== ""`)
	if got := b.eval(at); !strings.Contains(got, want) {
		b.t.Errorf("%s: the plan is %q, want %q; %s", act, got, want, b.eval(`document.querySelector("#act-`+act+` .wrong").textContent`))
	}
}

// TestActs trims and deletes a topic, and moves and forgets positions, by the pages: with a
// token, as who has it.
func TestActs(t *testing.T) {
	if testing.Short() && os.Getenv("CI") != "true" && os.Getenv("LOGD_SCREENSHOTS") == "" {
		t.Skip("it takes some seconds")
	}
	s := start(t, func(c *config.Config) {
		acting(c)
		c.AuthFile = authFile(t, "boss", "read,write,create,admin,position,monitor *")
	})
	boss := []string{"Authorization", "Bearer boss-token"}
	for i := range 4 { // a partition each
		if resp, text := s.do("POST", "/api/v1/topics/orders/messages", strings.Repeat("x", 40000)+fmt.Sprint(i), append(boss, "Content-Type", "text/plain")...); resp.StatusCode != 200 {
			t.Fatal(text)
		}
	}
	s.set("orders", "mailer", "start", boss...)
	b := openBrowser(t, s.base)
	b.expected = []string{"400", "401", "404", "423"}
	b.look("light", 1280, true)
	b.open("/topics/orders")
	b.until(`document.activeElement.type === "password"`)
	b.key("boss-token\r")
	b.until(`document.querySelector("button[data-act=trim]")`)
	id := func(name string) string { return `document.getElementById("` + name + `")` }

	// The focus goes into the dialog, and back, also by the key Escape.
	b.eval(id("act:trim") + `.focus()`)
	b.key("\r")
	b.until(`document.querySelector("#act-trim[open]") && document.activeElement.name === "before"`)
	b.key("\x1b")
	b.until(`!document.querySelector("dialog[open]") && document.activeElement.id === "act:trim"`)

	b.key("\r")
	b.until(`document.activeElement.name === "before"`)
	b.key("nonsense\r")
	b.until(`document.querySelector("#act-trim .wrong").textContent.includes("is no place")`)
	b.eval(`document.querySelector("#act-trim [name=before]").value = ""`)
	b.key("start\r")
	b.planned("trim", "Nothing would go")
	if b.eval(`document.querySelector("#act-trim .sure").hidden`) != "true" {
		t.Error("nothing would go, and it asks")
	}
	b.eval(`document.querySelector("#act-trim [name=before]").value = ""`)
	b.key("-1\r")
	b.planned("trim", "3 messages (120 kB) in 3 partitions would go: all before offset")
	b.planned("trim", "Not done with all of it: mailer.")
	b.shots("act-trim")
	b.until(`document.activeElement.name === "sure"`)
	b.key("order\r") // which is not its name
	time.Sleep(100 * time.Millisecond)
	if _, text := s.do("GET", "/api/v1/topics/orders", "", boss...); !strings.Contains(text, `"messages":4`) {
		t.Errorf("trimmed by half a name: %s", text)
	}
	b.eval(`document.querySelector("#act-trim [name=sure]").value = ""`)
	b.confirm("trim", "orders")
	b.planned("trim", "Removed 3 messages (120 kB) in 3 partitions.")
	if _, text := s.do("GET", "/api/v1/topics/orders", "", boss...); !strings.Contains(text, `"messages":1`) {
		t.Errorf("not trimmed: %s", text)
	}
	b.key("\r")
	b.until(`!document.querySelector("dialog[open]") && document.querySelector("main").textContent.includes("Partitions 1") && document.activeElement.id === "act:trim"`)

	// A new position, and one that is moved; another one holds it.
	b.run(click(`button[data-act=move]`))
	b.until(`document.activeElement.name === "consumer"`)
	b.key("biller\tend\r")
	b.planned("move", "biller has no position here yet. It would go on at ")
	b.confirm("move", "orders")
	b.key("\r")
	b.until(id("move:orders/biller"))
	if resp, text := s.do("PUT", "/api/v1/topics/orders/positions/biller", `{"hold_ms":300000,"as":"w-7"}`, append(boss, "Content-Type", "application/json")...); resp.StatusCode != 200 {
		t.Fatal(text)
	}
	b.eval(id("move:orders/biller") + `.click()`)
	b.until(`document.activeElement.name === "at"`)
	b.key("start\r")
	b.planned("move", "kB come again. w-7 holds it.")
	b.shots("act-move")
	b.until(`document.activeElement.name === "sure"`)
	b.key("orders\r")
	b.until(`document.querySelector("#act-move .wrong").textContent.includes("Another one holds it for another")`)
	b.eval(`document.querySelector("#act-move [name=forced]").click()`)
	b.run(click(`#act-move .ask button`))
	b.planned("move", "kB come again")
	b.confirm("move", "orders")
	if _, text := s.do("GET", "/api/v1/topics/orders/positions/biller", "", boss...); !strings.Contains(text, `"lag_messages":1,`) {
		t.Errorf("not moved: %s", text)
	}
	b.key("\r")
	b.until(`!document.querySelector("dialog[open]")`)

	// What was shown is what is changed, and nothing newer.
	b.open("/positions")
	b.until(id("forget:orders/mailer"))
	b.eval(id("forget:orders/mailer") + `.click()`)
	b.planned("forget", "mailer is at 0.0, which would be forgotten.")
	b.shots("act-forget")
	s.set("orders", "mailer", "end", boss...)
	b.expected = append(b.expected, "412")
	b.key("orders\r")
	b.until(`document.querySelector("#act-forget .wrong").textContent.includes("Its version is")`)
	b.key("\x1b")
	b.until(`!document.querySelector("dialog[open]")`)
	b.eval(id("forget:orders/mailer") + `.click()`)
	b.planned("forget", "which would be forgotten.")
	b.confirm("forget", "orders")
	b.key("\r")
	b.until(`!` + id("forget:orders/mailer") + ` && document.activeElement.id === "main"`)

	b.open("/topics/orders")
	b.until(id("act:delete"))
	b.eval(id("act:delete") + `.click()`)
	b.planned("delete", "1 message (40 kB) in 1 partition would go, and the position of 1 consumer.")
	b.shots("act-delete")
	b.confirm("delete", "orders")
	b.key("\r")
	b.until(`location.pathname === "/" && document.querySelector("main").textContent.includes("There are no topics")`)
	if resp, _ := s.do("GET", "/api/v1/topics/orders", "", boss...); resp.StatusCode != 404 {
		t.Errorf("deleted, and it is %d", resp.StatusCode)
	}
	b.quiet("acts")
}

// shots makes pictures of what is shown, in both themes, narrow and wide, if they are
// wanted, and checks that a dialog fits.
func (b *browser) shots(name string) {
	b.t.Helper()
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int64{320, 1280} {
			b.look(theme, width, true)
			b.picture(fmt.Sprintf("%s-%s-%d", name, theme, width))
			if over := b.eval(`Math.max(document.documentElement.scrollWidth - innerWidth, ...[...document.querySelectorAll("dialog[open]")].map((d) => d.scrollWidth - d.clientWidth))`); over != "0" {
				b.t.Errorf("%s at %d: %s too wide", name, width, over)
			}
			if unnamed := b.eval(`[...document.querySelectorAll("dialog[open], dialog[open] button, dialog[open] input, dialog[open] select")].filter((e) =>
				!(e.getAttribute("aria-labelledby") || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML).join()`); unnamed != "" {
				b.t.Errorf("%s: without a name: %v", name, unnamed)
			}
		}
	}
}

// TestHookActs runs a delete hook that has failed again, and passes over it.
func TestHookActs(t *testing.T) {
	ok := filepath.Join(t.TempDir(), "ok")
	s := start(t, func(c *config.Config) { acting(c); c.DeleteHook = "test -e " + ok })
	for range 4 {
		s.write("orders", strings.Repeat("x", 40000))
	}
	if resp, text := s.do("POST", "/api/v1/topics/orders/trim", `{"before":"-1"}`, "Content-Type", "application/json"); resp.StatusCode != 200 || !strings.Contains(text, `"hooks":[0,`) {
		t.Fatal(text)
	}
	var text string
	for end := time.Now().Add(10 * time.Second); !strings.Contains(text, "exit status 1") && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text = s.page("/topics/orders")
	}
	if got := offered(text); got != "trim1 delete1 move1 retry3 skip3" || strings.Count(text, "<td>waits for its delete hook\n") != 3 {
		t.Errorf("offered are %s\n%s", got, text)
	}
	if testing.Short() && os.Getenv("CI") != "true" && os.Getenv("LOGD_SCREENSHOTS") == "" {
		t.Skip("it takes some seconds")
	}
	b := openBrowser(t, s.base)
	b.look("light", 1280, true)
	b.open("/topics/orders")
	b.until(`document.querySelector("button[data-act=skip]").checkVisibility()`)
	b.shots("hooks")
	b.eval(`document.getElementById("skip:0").click()`)
	b.planned("skip", "The partition has 40 kB, and the hook was run ")
	b.shots("act-skip")
	b.confirm("skip", "orders")

	// The page comes anew when a dialog is closed. If that takes long, another one may be open
	// by then, and stays.
	b.eval(`(globalThis.fetched = fetch, globalThis.fetch = (url, options) => options.method ? fetched(url, options) : new Promise((go) => (globalThis.go = go)).then(() => fetched(url, options)).then((answer) => {
		const text = answer.text.bind(answer);
		answer.text = () => text().finally(() => setTimeout(() => (globalThis.came = true)));
		return answer;
	}))`)
	b.key("\r")
	b.until(`globalThis.go && !document.querySelector("dialog[open]")`)
	base := strings.TrimPrefix(b.eval(`document.querySelector("button[data-act=retry]:not([id='retry:0'])").id`), "retry:")
	b.eval(`document.getElementById("retry:` + base + `").click()`)
	b.planned("retry", "exit status 1")
	b.eval(`(globalThis.fetch = fetched, globalThis.go())`)
	b.until(`globalThis.came`)
	b.confirm("retry", "orders")
	b.planned("retry", "The hook is run.")
	b.key("\r")
	b.until(`!document.querySelector("dialog[open]") && !document.getElementById("skip:0") && document.querySelector("button[data-act=retry]")`)

	// The hook is run again by itself, too, and by others. The partition may be gone before the
	// name is typed.
	b.expected = append(b.expected, "404")
	b.eval(`document.getElementById("retry:` + base + `").click()`)
	b.planned("retry", "exit status 1")
	if err := os.WriteFile(ok, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() string {
		_, text := s.do("GET", "/api/v1/hooks", "")
		var hooks []struct{ Base int64 }
		if err := json.Unmarshal([]byte(text), &hooks); err != nil {
			return text
		}
		for _, h := range hooks {
			s.do("POST", fmt.Sprintf("/api/v1/hooks/orders/%d", h.Base), `{"do":"retry"}`, "Content-Type", "application/json")
		}
		return testkit.Unless(len(hooks) == 0, "they wait for their hook: "+text)
	})
	b.confirm("retry", "orders")
	b.planned("retry", "The partition waits for no hook any more.")
	b.key("\r")
	b.until(`!document.querySelector("dialog[open]") && !document.querySelector("button[data-act=retry]")`)
	b.quiet("hooks")
}

func freeAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startMembers starts a cluster of three that acts.
func startMembers(t *testing.T) []*site {
	var id string
	member := func(name string, join string) *site {
		return start(t, func(c *config.Config) {
			acting(c)
			c.Host, c.PeerHost, c.Node, c.ElectionTimeout = freeAddr(t), freeAddr(t), name, 200*time.Millisecond
			c.HTTPHost = freeAddr(t)
			c.HTTPAdvertise = "http://" + c.HTTPHost
			if join != "" {
				c.Join, c.Cluster = []string{join}, id
				return
			}
			var err error
			if id, err = node.InitCluster(context.Background(), c, 4); err != nil {
				t.Fatal(err)
			}
		})
	}
	a := member("a", "")
	members := []*site{a, member("b", a.config.PeerHost), member("c", a.config.PeerHost)}
	a.offers("lead2 group4", "lead3 group4") // the first leads all or some
	return members
}

// offers waits until the page of the cluster offers one of these.
func (s *site) offers(want ...string) {
	s.t.Helper()
	testkit.Eventually(s.t, func() string {
		_, text := s.do("GET", "/cluster", "")
		return testkit.Unless(slices.Contains(want, offered(text)), fmt.Sprintf("want one of %q: %s\n%s", want, offered(text), text))
	})
}

// TestTransferActs moves leads in a cluster of three.
func TestTransferActs(t *testing.T) {
	if testing.Short() && os.Getenv("CI") != "true" && os.Getenv("LOGD_SCREENSHOTS") == "" {
		t.Skip("it takes some seconds")
	}
	members := startMembers(t)
	a, other := members[0], members[1]
	b := openBrowser(t, a.base)
	b.look("light", 1280, true)
	b.open("/cluster")
	b.until(`document.querySelector("button[data-act=lead]").checkVisibility()`)
	b.shots("cluster")
	b.eval(`document.getElementById("lead:b").click()`)
	b.planned("lead", "b leads ")
	b.shots("act-lead")
	b.confirm("lead", "b")
	b.key("\r")
	a.offers("lead2 group4")
	b.until(`!document.querySelector("dialog[open]") && !document.getElementById("lead:b")`)
	// Only who leads can do the next: others say who that is.
	b.expected = append(b.expected, "421")
	b.eval(`document.getElementById("group:2").click()`)
	b.until(`document.activeElement.name === "to"`)
	b.run(click(`#act-group .ask button`))
	b.planned("group", "is led by b. a would lead it.")
	b.key("a\r")
	b.until(`document.querySelector("#act-group .wrong").textContent.includes("The leader is at")`)
	b.quiet("transfer")

	if resp, text := a.do("GET", "/topics/none?from=1", ""); resp.StatusCode != 421 || !strings.Contains(text, `<a href="`+other.base+`/topics/none?from=1">`) {
		t.Errorf("%d: no way to the leader: %s", resp.StatusCode, text)
	}

	b.home = other.base
	b.run(click(`#act-group .wrong a`))
	b.until(`location.href === "` + other.base + `/cluster"`)
	b.until(`document.querySelector("button[data-act=group]").checkVisibility()`)
	b.eval(`document.getElementById("group:2").click()`)
	b.until(`document.activeElement.name === "to" && document.activeElement.value === "a"`)
	b.run(click(`#act-group .ask button`))
	b.planned("group", "is led by b. a would lead it.")
	b.shots("act-group")
	b.confirm("group", "a")
	b.key("\r")
	a.offers("lead3 group4")
	b.quiet("transfer")
}

// TestSettingActs changes a setting of a topic, and takes it away.
func TestSettingActs(t *testing.T) {
	s := start(t, func(c *config.Config) {
		acting(c)
		c.AuthFile = authFile(t, "boss", "read,write,create,admin *", "reader", "read *")
	})
	boss := []string{"Authorization", "Bearer boss-token"}
	for range 4 { // a partition each
		if resp, text := s.do("POST", "/api/v1/topics/orders/messages", strings.Repeat("x", 40000), append(boss, "Content-Type", "text/plain")...); resp.StatusCode != 200 {
			t.Fatal(text)
		}
	}
	_, text := s.do("GET", "/topics/orders", "", boss...)
	if n := strings.Count(text, `data-act="set"`); n != 7 || !strings.Contains(text, "default") {
		t.Errorf("%d settings can be changed:\n%s", n, text)
	}
	if _, text := s.do("GET", "/topics/orders", "", "Authorization", "Bearer reader-token"); strings.Contains(text, "data-act") || !strings.Contains(text, "retention-age") {
		t.Errorf("a reader is offered something, or sees no settings:\n%s", text)
	}
	browses(t)
	b := openBrowser(t, s.base)
	b.expected = []string{"400", "401"}
	b.look("light", 1280, true)
	b.open("/topics/orders")
	b.until(`document.activeElement.type === "password"`)
	b.key("boss-token\r")
	change := func(value string) {
		t.Helper()
		b.until(`document.getElementById("set:partitions")?.checkVisibility()`)
		b.eval(`document.getElementById("set:partitions").click()`)
		b.until(`document.activeElement.name === "value"`)
		b.eval(`document.activeElement.value = ""`)
		b.key(value + "\r")
	}
	change("none")
	b.until(`document.querySelector("#act-set .wrong").textContent !== ""`)
	b.key("\x1b")
	b.until(`!document.querySelector("dialog[open]")`)
	change("2")
	b.planned("set", "partitions would be 2: 2 messages (80.1 kB) in 2 partitions would go soon.")
	b.shots("act-set")
	b.confirm("set", "orders")
	b.planned("set", "partitions is 2: set by boss ")
	b.key("\r")
	b.until(`document.querySelector("nav.tabs").textContent.includes("Settings 1 own")`)
	b.shots("settings")
	change("")
	b.planned("set", "orders would have no partitions of its own: nothing would be removed by that now.")
	b.confirm("set", "orders")
	b.key("\r")
	b.until(`!document.querySelector("nav.tabs").textContent.includes("own")`)
	b.quiet("settings")
}
