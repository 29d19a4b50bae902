package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

// browser is a tab of a real browser. What it complains of, and what it asks elsewhere,
// fails the test.
type browser struct {
	t    *testing.T
	ctx  context.Context
	home string

	mu       sync.Mutex
	requests []string
	trouble  []string
	expected []string // parts of complaints that are to come
}

// openBrowser starts a browser, or skips the test where there is none.
func openBrowser(t *testing.T, home string, flags ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	var found string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			found = path
			break
		}
	}
	if found == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no chromium: install it")
		}
		t.Skip("there is no chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(found), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("headless", "new"), chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(options, flags...)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, home: home}
	b.begin()
	return b
}

// another opens another tab of the same browser, in a window of its own if the options do not
// say otherwise.
func (b *browser) another(options ...chromedp.ContextOption) *browser {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, options...)
	b.t.Cleanup(cancel)
	other := &browser{t: b.t, ctx: ctx, home: b.home}
	other.begin()
	return other
}

// begin listens to what a tab does.
func (b *browser) begin() {
	b.t.Helper()
	if err := chromedp.Listen(b.ctx, b.hear); err != nil {
		b.t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, runtime.Enable, cdp.Empty{})
}

// hear notes what the browser does.
func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
		if !strings.HasPrefix(e.Request.URL, b.home) && !strings.HasPrefix(e.Request.URL, "blob:"+b.home) {
			b.trouble = append(b.trouble, "a request to "+e.Request.URL)
		}
	case *log.EventEntryAdded:
		b.complain(e.Entry.Text + " " + e.Entry.URL)
	case *runtime.EventConsoleAPICalled:
		text, _ := json.Marshal(e.Args)
		b.complain("console: " + string(text))
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		b.complain(text)
	}
}

func (b *browser) complain(text string) {
	for _, part := range b.expected {
		if strings.Contains(text, part) {
			return
		}
	}
	b.trouble = append(b.trouble, text)
}

// run does what it is given, and fails the test if that can't be done.
func (b *browser) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// call sends the browser a command.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

// open goes to a page.
func (b *browser) open(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.home+path), chromedp.WaitReady(chromedp.CSS("#main")))
	b.quiet(path)
}

// quiet fails the test if there was anything to complain of.
func (b *browser) quiet(what string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, text := range b.trouble {
		b.t.Errorf("%s: %s", what, text)
	}
	b.trouble = nil
}

// eval returns what an expression of JavaScript is, as text.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to be true.
func (b *browser) until(expression string) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		// While a page is left for another there is nothing to ask.
		if v, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")")); err == nil && v {
			return
		}
	}
	b.t.Fatalf("it does not become true: %s, at %s, with %s active\n%s\n%s", expression, b.eval("location.href"), b.eval("document.activeElement.outerHTML.slice(0, 200)"),
		b.eval("[...document.querySelectorAll('dialog[open]')].map((d) => d.textContent).join()"), b.eval("document.querySelector('main').textContent.slice(0, 500)"))
}

// key presses a key.
func (b *browser) key(keys string) { b.t.Helper(); b.run(chromedp.KeyEvent(keys)) }

// look sets what the browser is like: a theme, how wide it is, and whether it has scripts.
func (b *browser) look(theme string, width int64, scripts bool) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripts})
	b.run(chromedp.EmulateViewport(width, 800))
}

// fill has a server with all that pages have to show.
func (s *site) fill() {
	for i := range 30 {
		s.write(fmt.Sprintf("app.service-%d.events", i), fmt.Sprintf("message %d", i))
	}
	for i := range 60 {
		s.write("orders", fmt.Sprintf(`{"user":%d,"id":%d,"items":["a","b"]}`, i, 9007199254740993+i))
	}
	s.write("strange", "<script>alert(1)</script>\u202e\x1b[31m")
	s.write("strange", "\xff\xfe\x00")
	s.write("strange", strings.Repeat("long ", 3000))
}

// TestBrowser looks at each page of three servers, in both themes, narrow and wide, with and
// without scripts. LOGD_SCREENSHOTS names a folder for pictures of them, which is made.
func TestBrowser(t *testing.T) {
	if testing.Short() && os.Getenv("CI") != "true" && os.Getenv("LOGD_SCREENSHOTS") == "" {
		t.Skip("it takes some seconds")
	}
	about := []string{"/topics/orders", "/topics/orders/messages"}
	for name, set := range map[string]struct {
		start func(*testing.T) *site
		pages []string // besides those that each server has
	}{
		"empty":   {func(t *testing.T) *site { return start(t, nil) }, nil},
		"many":    {startMany, append(about, "/topics/strange/messages", "/?after=app.service-300.events")},
		"cluster": {startDamaged, about},
	} {
		t.Run(name, func(t *testing.T) {
			s := set.start(t)
			b := openBrowser(t, s.base)
			b.expected = []string{"404", "421"}   // which a page that is not there is, or not here
			for _, i := range []int{0, 3, 5, 6} { // each with each of the others, if not all three
				theme, width, scripts := []string{"light", "dark"}[i&1], []int64{1280, 320}[i>>1&1], i>>2 == 0
				b.look(theme, width, scripts)
				for _, path := range slices.Concat([]string{"/", "/positions", "/cluster", "/writers", "/health", "/topics/none"}, set.pages) {
					b.open(path)
					picture := fmt.Sprintf("%s%s-%s-%d", name, strings.NewReplacer("/", "_", "?", "_").Replace(strings.TrimSuffix(path, "/")), theme, width)
					if !scripts {
						b.picture(picture + "-plain")
						continue
					}
					b.picture(picture)
					if over := b.eval("document.documentElement.scrollWidth - innerWidth"); over != "0" {
						t.Errorf("%s at %d: %s too wide", path, width, over)
					}
					if unnamed := b.eval(`[...document.querySelectorAll("button, input, select, a, [role=region]")].filter((e) => !e.closest("[hidden]") && e.type !== "hidden" &&
						!(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML).join()`); unnamed != "" {
						t.Errorf("%s: without a name: %v", path, unnamed)
					}
				}
			}
			seen := make(map[string]int)
			for _, at := range b.requests {
				if u, err := url.Parse(at); err == nil && strings.HasPrefix(u.Path, "/assets/") {
					seen[u.Path]++
				}
			}
			if len(seen) != 3 {
				t.Errorf("assets: %v", seen)
			}
		})
	}
}

// startMany starts a server with 1,000 topics, and with messages that no page may show as
// they are.
func startMany(t *testing.T) *site {
	s := start(t, nil)
	s.fill()
	for i := range 968 { // with those of fill, as many as there may be
		s.write(fmt.Sprintf("app.service-%d.events", 30+i), fmt.Sprintf("message %d", i))
	}
	s.set("orders", "mailer", "-10")
	s.set("orders", "biller", "start")
	return s
}

// startDamaged starts a cluster of which a member has died and a topic is damaged, and
// returns one of its members.
func startDamaged(t *testing.T) *site {
	members := startMembers(t)
	s := members[0]
	var offsets []int64
	for i := range 5 {
		_, text := s.do("POST", "/api/v1/topics/orders/messages", fmt.Sprintf("message %d", i), "Content-Type", "application/octet-stream")
		var written struct{ Next string }
		if err := json.Unmarshal([]byte(text), &written); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		next, err := strconv.ParseInt(written.Next, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		offsets = append(offsets, next)
	}
	s.write("audit", "in order")
	s.set("orders", "mailer", "start")
	members[2].stop()
	for _, m := range members[:2] { // else one would get what it lacks from the other
		m.damage("orders", offsets[1], "message 2")
	}
	testkit.Eventually(t, func() string {
		s.do("GET", "/api/v1/topics/orders/messages?gaps=skip", "")
		_, cluster := s.do("GET", "/cluster", "")
		_, topic := s.do("GET", "/topics/orders", "")
		_, messages := s.do("GET", "/topics/orders/messages", "")
		return testkit.Unless(strings.Contains(cluster, "c is down") && strings.Contains(topic, fmt.Sprint(offsets[2])) &&
			strings.Contains(messages, "message 1") && strings.Contains(messages, "47 bytes damaged here; other members may have them") && strings.Contains(messages, "message 3"),
			cluster+topic+messages)
	})
	return s
}

// damage changes a message in the file of a topic, in the batch at an offset, where the
// server does not see that.
func (s *site) damage(topic string, offset int64, message string) {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.config.WorkDir, topic, "*.log"))
	if err != nil || len(files) != 1 {
		s.t.Fatalf("%v, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		s.t.Fatal(err)
	}
	at := bytes.Index(data[offset:], []byte(message))
	if at < 0 {
		s.t.Fatalf("there is no %q behind %d", message, offset)
	}
	f, err := os.OpenFile(files[0], os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("M"), offset+int64(at)); err != nil {
		s.t.Fatal(err)
	}
}

func click(selector chromedp.CSS) chromedp.Action[chromedp.Void] { return chromedp.Click(selector) }

// picture makes one of the page, if it is wanted.
func (b *browser) picture(name string) {
	dir := os.Getenv("LOGD_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)); err != nil {
		b.t.Fatal(err)
	}
}

// TestScript uses what the script is for.
func TestScript(t *testing.T) {
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("it takes some seconds")
	}
	s := start(t, nil)
	s.fill()
	b := openBrowser(t, s.base)
	b.look("light", 1280, true)

	b.open("/")
	b.until(`!document.querySelector(".tools").hidden`)
	b.key("j")
	b.key("j")
	b.key("k")
	if got := b.eval(`document.querySelector("tr.at a").textContent + document.activeElement.textContent`); got != "app.service-0.eventsapp.service-0.events" {
		t.Errorf("j, j, k: at %v", got)
	}
	// Not as a key: the character would be typed into the field, too.
	b.eval(`document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "/", bubbles: true }))`)
	b.key("orders\r")
	b.until(`location.search === "?q=orders" && document.querySelectorAll("tbody tr").length === 1`)
	b.until(`!document.querySelector(".tools").hidden`)
	b.key("j")
	b.key("\r")
	b.until(`location.pathname === "/topics/orders"`)

	b.until(`!document.querySelector(".tools").hidden`)
	b.run(click("#theme"))
	if got := b.eval(`document.documentElement.dataset.theme + getComputedStyle(document.body).colorScheme`); got != "darkdark" {
		t.Errorf("the button makes it %v", got)
	}
	b.open("/topics/orders/messages")
	b.until(`document.documentElement.dataset.theme === "dark"`)
	b.key("?")
	b.until(`document.querySelector("dialog[open]")`)
	b.run(click(`dialog input`), click(`dialog button`))
	b.key("f")
	if got := b.eval(`document.querySelector("#follow").textContent`); got != "● follow" {
		t.Errorf("keys are off, and f makes it %v", got)
	}
	b.key("\t") // whatever has the focus
	b.run(click("#keys"), click(`dialog input`), click(`dialog button`))

	b.key("f")
	b.until(`document.querySelector("#following").textContent === "following"`)
	for i := range 5 {
		s.write("orders", fmt.Sprintf("<i>live %d</i>", i))
	}
	b.until(`document.querySelector("#messages tr:last-child pre").textContent === "<i>live 4</i>"`)
	if got := b.eval(`[...document.querySelectorAll("#messages pre")].filter((p) => p.textContent.startsWith("<i>live")).length`); got != "5" {
		t.Errorf("%v messages came", got)
	}
	b.key("f")
	b.quiet("script")
}

// TestToken shows a token, by which pages are had until the tab is closed.
func TestToken(t *testing.T) {
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("it takes some seconds")
	}
	s := start(t, func(c *config.Config) { c.AuthFile = authFile(t, "boss", "read,monitor *", "writer", "write,create *") })
	if resp, text := s.do("POST", "/api/v1/topics/orders/messages", "sealed", "Authorization", "Bearer writer-token", "Content-Type", "text/plain"); resp.StatusCode != 200 {
		t.Fatal(text)
	}
	b := openBrowser(t, s.base)
	b.expected = []string{"401"}
	b.open("/")
	b.until(`document.activeElement.type === "password"`)
	b.key("wrong\r")
	b.until(`document.querySelector("main").textContent.includes("No identity has that token")`)
	b.key("boss-token\r")
	b.until(`document.querySelector("main a[href$='topics/orders']")`)
	b.run(click("main a[href$='topics/orders']"))
	b.until(`location.pathname === "/topics/orders" && document.querySelector("#open")`)
	b.run(click("#open"))
	b.until(`location.pathname === "/topics/orders/messages" && document.querySelector("pre").textContent === "sealed"`)
	b.key("f")
	b.until(`document.querySelector("#following").textContent === "following"`)
	if resp, text := s.do("POST", "/api/v1/topics/orders/messages", "followed", "Authorization", "Bearer writer-token", "Content-Type", "text/plain"); resp.StatusCode != 200 {
		t.Fatal(text)
	}
	b.until(`document.querySelector("#messages tr:last-child pre").textContent === "followed"`)
	b.run(chromedp.Navigate(s.base + "/health"))
	b.until(`document.querySelector(".checks")`)
	if got := b.eval(`document.cookie + JSON.stringify({...localStorage}) + location.href`); strings.Contains(got, "boss") {
		t.Errorf("the token stands in %v", got)
	}
	for _, at := range b.requests {
		if strings.Contains(at, "token") {
			t.Errorf("the token stands in %s", at)
		}
	}
	b.quiet("token")
}
