package forward

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/forward/settings"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/logdtest"
)

// post sends a line to an input, and returns the status, 0 if nobody is there.
func post(t *testing.T, addr, line string) int {
	t.Helper()
	r, err := http.Post("http://"+addr+"/lines", "text/plain", strings.NewReader(line+"\n"))
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	return r.StatusCode
}

// TestReload says that a reload that fails leaves all as it was, also what was changed
// before it failed, and that an input that becomes one of files listens no more.
func TestReload(t *testing.T) {
	s := logdtest.Start(t)
	dir := t.TempDir()
	first, second, other := testkit.FreeAddr(t), testkit.FreeAddr(t), testkit.FreeAddr(t)
	load := func(text string) *settings.Config {
		t.Helper()
		file := filepath.Join(dir, "forwarder.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := settings.Load(settings.Sources{File: file, Env: []string{"HOME=" + dir}, Hostname: "here", Flags: map[string][]string{
			"host": {s.Addr()}, "state-dir": {filepath.Join(dir, "state")}, "http-host": {""},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	input := func(name, from, topic string) string {
		return fmt.Sprintf("[[input]]\nname = %q\nfrom = %q\ntopic = %q\n", name, from, topic)
	}
	a, err := New(Options{Settings: load(input("a", "http://"+first, "before") + input("b", "http://"+second, "before")), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	<-a.Ready()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	// a moves to another address, and b to one that somebody has.
	if err := a.Reload(load(input("a", "http://"+other, "after") + input("b", "http://"+taken.Addr().String(), "after"))); err == nil {
		t.Fatal("an address that is in use was taken")
	}
	for _, addr := range []string{first, second} {
		if got := post(t, addr, "one"); got != http.StatusOK {
			t.Errorf("after a reload that failed an input answers %d", got)
		}
	}
	if got := post(t, other, "one"); got != 0 {
		t.Errorf("what was begun answers %d", got)
	}
	client := s.Client(t)
	if info, err := client.Info(t.Context(), "before"); err != nil || info.Messages != 2 {
		t.Errorf("%+v, %v", info, err)
	}
	// b is one of files now.
	if err := a.Reload(load(input("a", "http://"+first, "end") + input("b", "file:"+dir+"/*.log", "after"))); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() string { return testkit.Unless(post(t, second, "two") == 0, "what was an input still listens") })
	if got := post(t, first, "two"); got != http.StatusOK {
		t.Errorf("an input that goes on answers %d", got)
	}
	if info, err := client.Info(t.Context(), "end"); err != nil || info.Messages != 1 {
		t.Errorf("%+v, %v", info, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
