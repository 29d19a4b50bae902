package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"math"
	"net/http/httptest"
	"path"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
)

func TestBody(t *testing.T) {
	for _, c := range []struct {
		name, body, want string
		shown            int
	}{
		{"empty", "", "", 0},
		{"text", "a <b> & \"c\"\t\n", "a &lt;b&gt; &amp; &#34;c&#34;\t\n", 13},
		{"JSON keeps its numbers", `{"id":9007199254740993.10e+400}`, "{\n  &#34;id&#34;: 9007199254740993.10e+400\n}", 31},
		{"the same key twice", `{"a":1,"a":2}`, "{\n  &#34;a&#34;: 1,\n  &#34;a&#34;: 2\n}", 13},
		{"no JSON", `{"a":1`, `{&#34;a&#34;:1`, 6},
		{"an empty line first, of which a browser would take away the first", "\n\na", "\n\n\na", 3},
		{"a number alone", "12", "12", 2},
		{"escape", "\x1b[2J\x7f\u009b", `<b class="esc">\x1b</b>[2J<b class="esc">\x7f</b><b class="esc">\x9b</b>`, 7},
		{"bidi", "a\u202eb\u2069\u061c", `a<b class="esc">\u{202e}</b>b<b class="esc">\u{2069}</b><b class="esc">\u{61c}</b>`, 10},
		{"a family", "👩\u200d👩", "👩\u200d👩", 11},
	} {
		v := viewBody([]byte(c.body), true)
		if string(v.Text) != c.want || v.Shown != c.shown || v.Hex || v.Cut() {
			t.Errorf("%s: %q, %d shown, hex %v, cut %v; want %q, %d", c.name, v.Text, v.Shown, v.Hex, v.Cut(), c.want, c.shown)
		}
	}
	if v := viewBody([]byte(strings.Repeat("x", shownBody-1)+"€uro"), true); v.Hex || v.Shown != shownBody-1 || !v.Cut() {
		t.Errorf("a character at the cut: %d shown, hex %v", v.Shown, v.Hex)
	}
	if v := viewBody(make([]byte, 1000), true); v.Hex {
		t.Error("zeros are UTF-8")
	}
	if v := viewBody([]byte(strings.Repeat("\xff", 1000)), true); !v.Hex || v.Shown != shownHex || !v.Cut() {
		t.Errorf("no UTF-8: %+v", v)
	}
	if v := viewBody([]byte(strings.Repeat("[", 2000)+strings.Repeat("]", 2000)), true); len(v.Text) > 4000 {
		t.Errorf("deep JSON is %d bytes on the page", len(v.Text))
	}
	if v := viewBody([]byte(`{"a":1}`), false); string(v.Text) != `{&#34;a&#34;:1}` {
		t.Errorf("not to be pretty: %q", v.Text)
	}
}

// FuzzBody: whatever a body is, it brings no markup into the page, hides nothing, and as
// JSON stays the same.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{"", "<script>", `{"a":[1,2e5,"\u2028"]}`, "\xff\xfe", "a\u202eb", "\x1b[31m", strings.Repeat("[", 50)} {
		f.Add([]byte(seed))
	}
	tags := regexp.MustCompile(`<b class="esc">(\\x[0-9a-f]{2}|\\u\{[0-9a-f]+\}|\\r)</b>`)
	f.Fuzz(func(t *testing.T, body []byte) {
		v := viewBody(body, true)
		left := tags.ReplaceAllString(string(v.Text), "")
		if strings.ContainsAny(left, "<>\"'") {
			t.Fatalf("%q: markup in %q", body, v.Text)
		}
		for _, r := range left {
			if hidden(r) {
				t.Fatalf("%q: %q is hidden in %q", body, r, v.Text)
			}
		}
		if len(v.Text) > 32*prettyJSON {
			t.Fatalf("%d bytes of a body of %d", len(v.Text), len(body))
		}
		if !v.Hex && !v.Cut() && json.Valid(body) && left == string(v.Text) && !json.Valid([]byte(html.UnescapeString(left))) {
			t.Fatalf("%q is JSON, and %q is none", body, left)
		}
	})
}

// TestBudgets: what a browser loads is small, and from here.
func TestBudgets(t *testing.T) {
	most := map[string]int{".css": 16 << 10, ".js": 32 << 10, ".svg": 2 << 10}
	if len(assets) != 3 {
		t.Errorf("%d assets, want one style sheet, one script and one picture", len(assets))
	}
	for name, a := range assets {
		if n := len(a.bytes); n > most[path.Ext(name)] || n < 100 {
			t.Errorf("%s has %d bytes, at most %d", name, n, most[path.Ext(name)])
		}
		text := strings.ReplaceAll(string(a.bytes), `xmlns="http://www.w3.org/2000/svg"`, "")
		for _, no := range []string{"http:", "https:", "//cdn", "ws:", "wss:", "url(", "@import", "import(", "import ", "eval(", "innerHTML", "document.cookie", "document.write", "setInterval(renew"} {
			if strings.Contains(text, no) {
				t.Errorf("%s has %q", name, no)
			}
		}
	}
	for _, file := range list("templates") {
		text := string(read("templates/" + file))
		for _, no := range []string{"http:", "https:", "<style", "style=", "onclick", `="//`, `="/`} {
			if strings.Contains(text, no) {
				t.Errorf("%s has %q", file, no)
			}
		}
	}
	script := string(read("assets/console.js"))
	if strings.Contains(script, "look, \"logd-token") || strings.Count(script, "tab, \"logd-token") != 3 {
		t.Error("the token is kept elsewhere than in sessionStorage")
	}
}

// TestContrast reckons by WCAG 2 how well each colour of text is read on each ground.
func TestContrast(t *testing.T) {
	found := regexp.MustCompile(`--([a-z]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\)`).FindAllStringSubmatch(string(read("assets/console.css")), -1)
	colours := make(map[string][]string)
	for _, f := range found {
		colours[f[1]] = f[2:]
	}
	for _, name := range []string{"text", "quiet", "link", "good", "warn", "bad"} {
		for _, ground := range []string{"ground", "raised"} {
			for i, theme := range []string{"light", "dark"} {
				if colours[name] == nil || colours[ground] == nil {
					t.Fatalf("no colours %s and %s in %v", name, ground, colours)
				}
				if c := contrast(colours[name][i], colours[ground][i]); c < 4.5 {
					t.Errorf("%s on %s, %s: %.2f", name, ground, theme, c)
				}
			}
		}
	}
	if c := contrast("000000", "ffffff"); math.Abs(c-21) > 0.01 {
		t.Errorf("black on white: %.2f", c)
	}
	if c := contrast("999999", "ffffff"); c > 3 {
		t.Errorf("grey on white: %.2f", c)
	}
}

func contrast(a, b string) float64 {
	la, lb := luminance(a), luminance(b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

func luminance(colour string) float64 {
	var rgb [3]int
	fmt.Sscanf(colour, "%02x%02x%02x", &rgb[0], &rgb[1], &rgb[2])
	sum := 0.0
	for i, share := range []float64{0.2126, 0.7152, 0.0722} {
		c := float64(rgb[i]) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += share * c
	}
	return sum
}

// TestIdle: a console at which nobody looks takes next to no memory, and has no goroutine
// that does something.
func TestIdle(t *testing.T) {
	var before, after runtime.MemStats
	goroutines := runtime.NumGoroutine()
	runtime.GC()
	runtime.ReadMemStats(&before)
	consoles := make([]*Console, 100)
	for i := range consoles {
		consoles[i] = New(Options{})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := int64(after.HeapAlloc-before.HeapAlloc) / 100; each > 8<<10 {
		t.Errorf("%d bytes each", each)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines more", n-goroutines)
	}
	runtime.KeepAlive(consoles)
	var held int
	for _, a := range assets {
		held += len(a.bytes)
	}
	if held > 64<<10 {
		t.Errorf("%d bytes of assets", held)
	}
}

// TestStarting: while there is nobody to ask, pages say so, and come by themselves later.
func TestStarting(t *testing.T) {
	c := New(Options{
		Protocol: func() *server.Server { return nil }, Timeout: func() time.Duration { return time.Second },
		Ready: func() error { return errors.New("recovery") }, Health: func() []Check { return []Check{{"recovery", false, time.Now(), "3 of 9 <topics>"}} },
	})
	for path, want := range map[string]string{"/": "The server starts", "/topics/t": "The server starts", "/topics/t/messages": "data-live", "/health": "3 of 9 &lt;topics&gt;"} {
		w := httptest.NewRecorder()
		c.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		status := 503
		if path == "/health" {
			status = 200
		}
		if w.Code != status || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d\n%s", path, w.Code, w.Body)
		}
	}
}

func TestRates(t *testing.T) {
	var r rates
	at := time.Unix(1000, 0)
	in := protocol.TopicInfo{ID: "a", Next: 100, Messages: 10}
	look := func(after time.Duration, want float64, known bool) {
		t.Helper()
		at = at.Add(after)
		if got, ok := r.look("t", &in, at); got != want || ok != known {
			t.Errorf("%v %v, want %v %v", got, ok, want, known)
		}
	}
	look(0, 0, false)
	in.Next, in.Messages = 200, 20
	look(time.Second, 0, false) // too soon
	look(4*time.Second, 2, true)
	in.Next = 200
	look(5*time.Second, 0, true)
	in.Oldest, in.Next, in.Messages = 100, 300, 20 // as many went as came
	look(5*time.Second, 2, true)
	in.ID = "b" // another topic of that name
	look(5*time.Second, 0, false)
	look(2*time.Minute, 0, false)
	r.forget(at.Add(2 * time.Minute))
	if len(r.of) != 0 {
		t.Errorf("%d topics are remembered", len(r.of))
	}
}
