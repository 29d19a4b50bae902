package console_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/node"
)

// browses skips a test that takes a browser, where the tests are to be short.
func browses(t *testing.T) {
	t.Helper()
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("it takes some seconds")
	}
}

// lines stores messages, which have no line ends in them.
func (s *site) lines(topic string, bodies ...string) {
	s.t.Helper()
	if resp, text := s.do("POST", "/api/v1/topics/"+topic+"/messages", strings.Join(bodies, "\n")+"\n", "Content-Type", "text/plain"); resp.StatusCode != 200 {
		s.t.Fatal(text)
	}
}

// numbered stores messages "m N", from a number up to another.
func (s *site) numbered(topic string, from, to int) {
	s.t.Helper()
	for from < to {
		var bodies []string
		for ; from < to && len(bodies) < 1000; from++ {
			bodies = append(bodies, fmt.Sprintf("m %d", from))
		}
		s.lines(topic, bodies...)
	}
}

// oddBodies are bodies that are not shown as they are.
func oddBodies(random *rand.Rand) (all [][]byte) {
	add := func(bodies ...string) {
		for _, b := range bodies {
			all = append(all, []byte(b))
		}
	}
	add("", "plain", "\nbegins with a line", "\r\n", " {\"a\": 1} ", "\u00a0{\"a\":[]}", "\ufeff{}", "\u0085[1]\u3000", "{}", "[]", "[[],{}]", `{"a":{}}`, "{", "[1,]", "{\"a\":1}x", "12", "\"text\"", "null",
		`{"n":9007199254740993,"f":1.50e+10,"s":"a\"b\\","u":"\u202e\ud800","k y":[true,false,null,-0]}`, "{\"raw\u2028\":\"\u2029\"}", "{\"tab\":\"\t\"}",
		"\u200c\u200d joiners \u00ad\u200b\u2066\U000e0041", "<script>alert(1)</script>&amp;\"'", "é\u0301\U0001f600", "\x00\x7f\u009f",
		"\xff", "\xc3", "a\x80b", strings.Repeat("\xff\x00", 200), strings.Repeat("0123456789abcdef", 3)+"\xfe", "\xed\xa0\x80", "\xf4\x90\x80\x80")
	for c := range 256 {
		all = append(all, []byte{byte(c)})
	}
	for _, n := range []int{4093, 4094, 4095, 4096, 4097, 5000} {
		for _, tail := range []string{"", "é", "€", "\U0001f600", "\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\x80\x80\x80\x80", "\xff\xff\xff\xffa"} {
			add(strings.Repeat("x", n)+tail+"y", strings.Repeat("x", n)+tail)
		}
	}
	add(strings.Repeat("[", 32)+strings.Repeat("]", 32), strings.Repeat("[", 33)+strings.Repeat("]", 33), strings.Repeat("[", 31)+strings.Repeat("1,", 500)+"1"+strings.Repeat("]", 31),
		`["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["]`, "["+strings.Repeat("{},", 1300)+"0]", "{\"a\":\""+strings.Repeat("€", 2000)+"\"}")
	var value func(depth int) string
	value = func(depth int) string {
		space := func() string {
			return strings.Repeat([]string{" ", "\n", "\t", "\r", ""}[random.IntN(5)], random.IntN(3))
		}
		switch n := random.IntN(8); {
		case n < 2 && depth < 6:
			var parts []string
			for range random.IntN(4) {
				parts = append(parts, space()+value(depth+1)+space())
			}
			return "[" + strings.Join(parts, ",") + space() + "]"
		case n < 5 && depth < 6:
			var parts []string
			for i := range random.IntN(4) {
				parts = append(parts, fmt.Sprintf(`%s"k%d"%s:%s%s`, space(), i, space(), space(), value(depth+1)))
			}
			return "{" + strings.Join(parts, ",") + "}"
		case n == 5:
			return strconv.Quote("v,:{}[]é" + string(rune('a'+random.IntN(26))))
		}
		return fmt.Sprint(random.IntN(1000)-500) + []string{"", ".5", "e3"}[random.IntN(3)]
	}
	for range 200 {
		text := []byte(value(0))
		if random.IntN(6) == 0 && len(text) > 1 {
			text[random.IntN(len(text))] = ",:]}\"0"[random.IntN(6)]
		}
		all = append(all, text)
	}
	runes := []rune("aé€\U0001f600\u200b\u202e\u00ad\u2028\ufeff\r\n\t <&\x00")
	for range 100 {
		var b strings.Builder
		for range random.IntN(40) {
			b.WriteRune(runes[random.IntN(len(runes))])
		}
		if random.IntN(4) == 0 {
			b.WriteByte(byte(0x80 + random.IntN(128)))
		}
		add(b.String())
	}
	return all
}

// rows returns what is shown of each message, as markup.
func (b *browser) rows() (rows [][][]string) {
	b.t.Helper()
	text := b.eval(`JSON.stringify([...document.querySelectorAll("#messages tr")].map((tr) => [...tr.cells].map((td) => [...td.childNodes].filter((n) => n.outerHTML || n.data.trim()).map((n) => n.outerHTML ?? n.data))))`)
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		b.t.Fatal(err)
	}
	return rows
}

// TestFollowShows: what comes while a topic is followed is shown as a page shows it, byte by
// byte.
func TestFollowShows(t *testing.T) {
	browses(t)
	s := start(t, func(c *config.Config) { c.BatchSize = 1 << 20 })
	bodies := oddBodies(rand.New(rand.NewPCG(1, 2)))
	b := openBrowser(t, s.base)
	for name, query := range map[string]string{"pretty": "", "plain": "&pretty=0", "some": "&contains=%C3%A9"} {
		if resp, text := s.do("PUT", "/api/v1/topics/"+name, ""); resp.StatusCode/100 != 2 {
			t.Fatal(text)
		}
		var followed [][][]string
		for first := 0; first < len(bodies); first += 250 { // a page has up to 500
			part := bodies[first:min(first+250, len(bodies))]
			b.open("/topics/" + name + "/messages?from=end" + query)
			b.until(`!document.querySelector(".tools").hidden`)
			b.run(click("#follow"))
			b.until(`document.querySelector("#following").textContent === "following"`)
			var lines strings.Builder
			for _, body := range part {
				fmt.Fprintf(&lines, "{\"body_base64\":%q}\n", base64.StdEncoding.EncodeToString(body))
			}
			resp, text := s.do("POST", "/api/v1/topics/"+name+"/messages", lines.String(), "Content-Type", "application/x-ndjson")
			if resp.StatusCode != 200 {
				t.Fatal(text)
			}
			var said struct{ First, Last string }
			if err := json.Unmarshal([]byte(text), &said); err != nil {
				t.Fatal(err)
			}
			s.write(name, "é the last")
			b.until(`document.querySelector("#messages tr:last-child pre")?.textContent === "é the last"`)
			followed = b.rows()
			b.open("/topics/" + name + "/messages?from=" + said.First + "&n=500" + query)
			paged := b.rows()
			if len(paged) != len(followed) || len(paged) < 2 {
				t.Errorf("%s: %d rows on the page, %d by following", name, len(paged), len(followed))
			}
			for i := range min(len(paged), len(followed)) {
				if got, want := fmt.Sprintf("%q", followed[i]), fmt.Sprintf("%q", paged[i]); got != want {
					t.Errorf("%s, row %d:\nfollowed %s\non a page %s", name, i, got, want)
				}
			}
		}
	}
	b.quiet("follow")
}

// numbers checks what is shown of messages "m N": each is the next one, but behind a row that
// says how many are not shown. It returns the last, and how many such rows there were.
func (b *browser) numbers() (last, skips, rows int) {
	b.t.Helper()
	var list []string
	text := b.eval(`JSON.stringify([...document.querySelectorAll("#messages tr")].map((tr) => tr.matches(".gap") ? "gap " + tr.textContent : tr.querySelector("pre").textContent))`)
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		b.t.Fatal(err)
	}
	last = -1
	left := int64(-1) // said not to be shown; -2: about
	for _, row := range list {
		if words, gap := strings.CutPrefix(row, "gap "); gap {
			skips++
			words, about := strings.CutPrefix(words, "about ")
			number, _, ok := strings.Cut(words, " messages not shown")
			n, err := strconv.ParseInt(strings.ReplaceAll(number, ",", ""), 10, 64)
			if !ok || err != nil {
				b.t.Errorf("row %q", row)
			}
			if left = n; about {
				left = -2
			}
			continue
		}
		n, err := strconv.Atoi(strings.TrimPrefix(row, "m "))
		if err != nil {
			b.t.Errorf("row %q", row)
		}
		if passed := int64(n - last - 1); last >= 0 && passed != max(left, 0) && left != -2 || n <= last {
			b.t.Errorf("%d comes behind %d, and %d are said to be left out", n, last, left)
		}
		last, left = n, -1
	}
	return last, skips, len(list)
}

// TestFollowFar: who is far behind goes on at the end, and is told how much is left out, also
// if that is since the tab was hidden. Nothing comes twice, or is left out silently.
func TestFollowFar(t *testing.T) {
	browses(t)
	s := start(t, nil)
	s.numbered("t", 0, 20_000)
	b := openBrowser(t, s.base)
	b.open("/topics/t/messages?from=start")
	b.until(`!document.querySelector(".tools").hidden`)
	b.key("f")
	b.until(`document.querySelector("#messages tr:last-child pre").textContent === "m 19999"`)
	var left int
	words := strings.ReplaceAll(b.eval(`document.querySelector("#messages .gap").textContent`), ",", "")
	if n, err := fmt.Sscanf(words, "about %d messages not shown", &left); n != 1 || err != nil || left < 18_000 || left > 21_000 {
		t.Errorf("19,900 messages are passed over: %q", words)
	}
	s.numbered("t", 20_000, 20_100)
	b.until(`document.querySelector("#messages tr:last-child pre").textContent === "m 20099"`)
	if last, skips, rows := b.numbers(); last != 20_099 || skips != 1 || rows != 50+1+50+100 {
		t.Errorf("up to %d, %d rows left out, %d rows", last, skips, rows)
	}

	hide := func(hidden bool) {
		b.eval(fmt.Sprintf(`(Object.defineProperty(document, "hidden", { value: %v, configurable: true }), document.dispatchEvent(new Event("visibilitychange")))`, hidden))
	}
	hide(true)
	b.until(`!document.querySelector("#messages tr:last-child pre").textContent.includes("none")`)
	s.numbered("t", 20_100, 20_200)
	time.Sleep(300 * time.Millisecond)
	if last, _, _ := b.numbers(); last != 20_099 {
		t.Errorf("a tab that is not seen goes on up to %d", last)
	}
	hide(false)
	b.until(`document.querySelector("#messages tr:last-child pre").textContent === "m 20199"`)
	hide(true)
	s.numbered("t", 20_200, 40_000)
	hide(false)
	b.until(`document.querySelector("#messages tr:last-child pre").textContent === "m 39999"`)
	if last, skips, rows := b.numbers(); last != 39_999 || skips < 1 || rows > 1000 {
		t.Errorf("up to %d, %d rows left out, %d rows", last, skips, rows)
	}

	// A burst, of which what is left out is counted exactly, or reckoned if the page gets
	// behind.
	s.numbered("t", 40_000, 80_000)
	b.until(`document.querySelector("#messages tr:last-child pre").textContent === "m 79999"`)
	if last, _, rows := b.numbers(); last != 79_999 || rows > 1000 {
		t.Errorf("up to %d, %d rows", last, rows)
	}

	b.run(click("#follow"))
	s.numbered("t", 80_000, 80_001)
	time.Sleep(300 * time.Millisecond)
	if last, _, _ := b.numbers(); last != 79_999 {
		t.Error("it goes on when it is to stop")
	}
	b.run(click("#follow"))
	b.until(`document.querySelector("#messages tr:last-child pre").textContent === "m 80000"`)
	if resp, text := s.do("GET", "/api/v1/topics/t", ""); resp.StatusCode != 200 {
		t.Fatal(text)
	} else if resp, text = s.do("DELETE", "/api/v1/topics/t", "", "If-Match", resp.Header.Get("ETag")); resp.StatusCode != 204 {
		t.Fatal(text)
	}
	b.until(`document.querySelector("#following").textContent === "The topic was deleted." && document.querySelector("#follow").dataset.on === ""`)
	b.numbers()
	b.quiet("far")
}

// TestFollowRestart: a server that is started again is followed on where it was.
func TestFollowRestart(t *testing.T) {
	browses(t)
	address := freeAddr(t)
	s := start(t, func(c *config.Config) { c.HTTPHost = address })
	s.numbered("t", 0, 100)
	b := openBrowser(t, s.base)
	b.expected = []string{"ERR_CONNECTION_REFUSED", "503", "ERR_INCOMPLETE_CHUNKED_ENCODING"}
	b.open("/topics/t/messages?refresh=5")
	b.until(`document.querySelector("#following").textContent === "following"`)
	for n := 100; n < 300; n += 100 {
		s.numbered("t", n, n+50)
		if err := s.node.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		b.until(`document.querySelector("#following").textContent.startsWith("waits: ")`)
		var err error
		if s.node, err = node.Start(context.Background(), node.Options{Config: s.config, Version: "test"}); err != nil {
			t.Fatal(err)
		}
		s.numbered("t", n+50, n+100)
		b.until(fmt.Sprintf(`document.querySelector("#messages tr:last-child pre").textContent === "m %d"`, n+99))
		if last, skips, rows := b.numbers(); last != n+99 || skips != 0 || rows != n+50 {
			t.Errorf("up to %d, %d rows left out, %d rows", last, skips, rows)
		}
	}
	b.quiet("restart")
}

// TestFollowFast follows a topic that gets 20,000 messages a second. LOGD_FOLLOW is for how
// long, instead of some seconds.
func TestFollowFast(t *testing.T) {
	browses(t)
	d, err := time.ParseDuration(os.Getenv("LOGD_FOLLOW"))
	if err != nil {
		d = 5 * time.Second
	}
	s := start(t, nil)
	s.numbered("t", 0, 10)
	b := openBrowser(t, s.base)
	b.open("/topics/t/messages?refresh=5")
	b.until(`document.querySelector("#following").textContent === "following"`)
	// How late a timer is, is how long a key would wait.
	b.eval(`(globalThis.late = [], globalThis.due = performance.now() + 10, globalThis.draws = 0,
		new MutationObserver(() => draws++).observe(document.querySelector("#messages"), { childList: true }),
		setInterval(() => { late.push(performance.now() - due); due = performance.now() + 10; }, 10))`)
	body := strings.Repeat("x", 190)
	n, begun := 10, time.Now()
	for time.Since(begun) < d {
		var lines []string
		for range 1000 {
			lines = append(lines, fmt.Sprintf("m %d", n))
			n++
		}
		s.lines("t", strings.Join(lines, body[:0]+"\n"))
		time.Sleep(time.Until(begun.Add(time.Duration(n) * 50 * time.Microsecond)))
	}
	rate := float64(n) / time.Since(begun).Seconds()
	b.until(fmt.Sprintf(`document.querySelector("#messages tr:last-child pre").textContent === "m %d"`, n-1))
	last, skips, rows := b.numbers()
	if last != n-1 || rows > 1000 {
		t.Errorf("up to %d of %d, %d rows", last, n, rows)
	}
	draws, _ := strconv.Atoi(b.eval("draws"))
	if most := int(time.Since(begun).Seconds()*10) + 2; draws > most {
		t.Errorf("%d updates in %v", draws, time.Since(begun))
	}
	call(b, heapprofiler.CollectGarbage, cdp.Empty{})
	heap, _ := strconv.ParseFloat(b.eval("performance.memory.usedJSHeapSize"), 64)
	if heap > 200<<20 {
		t.Errorf("the tab has %.0f MiB", heap/(1<<20))
	}
	late := b.eval(`((l) => [.5, .99, 1].map((p) => l[Math.ceil(l.length * p) - 1].toFixed(0)).join(", "))(late.slice().sort((a, b) => a - b))`)
	t.Logf("%.0f messages/s for %v: %d updates, %d rows that say what is left out, %.0f MiB of heap; a timer is late by p50, p99, at most ms: %s", rate, d, draws, skips, heap/(1<<20), late)
	b.quiet("fast")
}
