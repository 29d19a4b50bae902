package console_test

import (
	"bytes"
	"fmt"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/logd-dev/logd/internal/testkit"
)

// manyTabs is more than browsers have connections to one server.
const manyTabs = 8

// streams returns how many requests the servers of this process send events to.
func streams(t *testing.T) (n int) {
	t.Helper()
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		t.Fatal(err)
	}
	for group := range strings.SplitSeq(all.String(), "\n\n") { // "3 @ 0x…", and their stack
		if strings.Contains(group, "api.(*following).run") {
			var of int
			fmt.Sscan(group, &of)
			n += of
		}
	}
	return n
}

// follows opens a page that follows a topic.
func (b *browser) follows(topic string) {
	b.t.Helper()
	b.open("/topics/" + topic + "/messages?refresh=5")
	b.until(`document.querySelector("#following").textContent.startsWith("following")`)
}

// last waits for a message to be the last that is shown, and checks that none is missing or
// comes twice.
func (b *browser) last(n int) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.querySelector("#messages tr:last-child pre")?.textContent === "m %d"`, n))
	if last, skips, _ := b.numbers(); last != n || skips != 0 {
		b.t.Errorf("up to %d of %d, %d rows left out", last, n, skips)
	}
}

// TestTabs: of many tabs that follow only the one that is seen has a stream. Another one goes
// on where it was when it is seen again.
func TestTabs(t *testing.T) {
	browses(t)
	s := start(t, nil)
	s.numbered("t", 0, 10)
	tabs := []*browser{openBrowser(t, s.base)}
	for len(tabs) < manyTabs {
		tabs = append(tabs, tabs[0].another(chromedp.WithNewWindow(false)))
	}
	one := func() {
		t.Helper()
		testkit.Eventually(t, func() string {
			n := streams(t)
			return testkit.Unless(n == 1, fmt.Sprintf("%d streams", n))
		})
	}
	n := 10
	for step, i := range []int{0, 1, 2, 3, 4, 5, 6, 7, 0, 5, 1} { // each is opened, and some are seen again
		b := tabs[i]
		call(b, page.BringToFront, cdp.Empty{})
		if b.until(`!document.hidden`); step < manyTabs {
			b.follows("t")
		}
		one()
		s.numbered("t", n, n+10)
		n += 10
		b.last(n - 1)
		for j, other := range tabs {
			if got := other.eval("document.hidden"); got != fmt.Sprint(i != j) {
				t.Errorf("tab %d is seen, and tab %d is hidden: %v", i, j, got)
			}
		}
	}
	for _, b := range tabs {
		b.quiet("tabs")
	}
}

// TestWindows: more windows than a browser has connections follow side by side. All of them go
// on, those that were opened last by turns, and other pages can be opened meanwhile.
func TestWindows(t *testing.T) {
	browses(t)
	s := start(t, nil)
	s.numbered("t", 0, 10)
	windows := []*browser{openBrowser(t, s.base)}
	for len(windows) < manyTabs {
		windows = append(windows, windows[0].another())
	}
	for _, b := range windows {
		b.follows("t")
	}
	const words = `document.querySelector("#following").textContent === `
	n := 10
	for range 3 {
		s.numbered("t", n, n+10)
		n += 10
		begun := time.Now()
		for i, b := range windows {
			if b.last(n - 1); b.eval("document.hidden") != "false" {
				t.Errorf("window %d is hidden", i)
			}
		}
		t.Logf("%d windows show a message after %v", len(windows), time.Since(begun).Round(time.Millisecond))
	}
	for i, b := range windows {
		if i < 4 {
			b.until(words + `"following"`)
		} else {
			b.until(words + `"following, by turns with other tabs"`)
		}
	}
	begun := time.Now()
	other := windows[0].another()
	other.open("/topics/t")
	t.Logf("another page comes after %v", time.Since(begun).Round(time.Millisecond))

	// Who is left has a stream again.
	for _, b := range windows[1:5] {
		call(b, page.Close, cdp.Empty{})
	}
	left := append(windows[5:], windows[0])
	for _, b := range left {
		b.until(words + `"following"`)
	}
	testkit.Eventually(t, func() string {
		n := streams(t)
		return testkit.Unless(n == len(left), fmt.Sprintf("%d streams", n))
	})
	s.numbered("t", n, n+10)
	for _, b := range left {
		b.last(n + 9)
	}
	for _, b := range append(windows, other) {
		b.quiet("windows")
	}
}
