package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/testkit"
)

// TestEventsPage: the page of examples/js shows each message once, in order, also when logd
// or the program that passes its events on is killed and comes back.
func TestEventsPage(t *testing.T) {
	node, err := exec.LookPath("node")
	chromium := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if err != nil || chromium == "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("there is no node, or no chromium: %v", err)
		}
		t.Skip("there is no node, or no chromium")
	}
	s := serve(t)
	client, err := logd.NewClient(logd.ClientConfig{Addrs: []string{s.addr}, ReconnectAttempts: logd.Unlimited})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var want []string
	write := func(body string) {
		t.Helper()
		id, err := client.AppendMessage(t.Context(), "orders", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("%s %s", id, body))
	}
	write("<b>tea</b> ☕")

	at := port(t)
	var program *exec.Cmd
	start := func() {
		t.Helper()
		program = exec.Command(node, "examples/js/events.js", "orders", at[strings.LastIndex(at, ":")+1:])
		program.Dir, program.Env = "../..", append(os.Environ(), "LOGD_HTTP=http://"+s.http)
		program.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out := new(testkit.Buffer)
		program.Stdout, program.Stderr = out, out
		if err := program.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, "the program says where the page is", func() bool { return out.String() == "http://"+at+"/\n" })
	}
	stop := func() {
		program.Process.Kill()
		program.Wait()
	}
	start()
	defer func() { stop() }()

	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Navigate("http://"+at+"/")); err != nil {
		t.Fatal(err)
	}
	shows := func(when string) {
		t.Helper()
		var got []string
		await(t, "the page shows all, "+when, func() bool {
			var err error
			if got, err = chromedp.Run(ctx, chromedp.Evaluate[[]string](`[...document.querySelectorAll("li")].map(e => e.textContent)`)); err != nil {
				t.Fatal(err)
			}
			return len(got) >= len(want)
		})
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%s: the page shows\n%q, want\n%q", when, got, want)
		}
	}
	shows("at first")
	write("milk")
	shows("as it comes")
	s.kill()
	s.start()
	write("bread")
	shows("after logd was killed")
	stop()
	start()
	write("salt")
	shows("after the program was killed")
}
