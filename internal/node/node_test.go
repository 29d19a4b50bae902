package node

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testConfig is for a node with free ports and data of its own.
func testConfig(t testing.TB) config.Config {
	c := config.Default()
	c.Host, c.HTTPHost, c.WorkDir = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	return c
}

func startNode(t testing.TB, change func(*config.Config)) *Node {
	t.Helper()
	c := testConfig(t)
	if change != nil {
		change(&c)
	}
	n, err := Start(context.Background(), Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return n
}

// dial opens a connection that fails the test rather than hang.
func dial(t testing.TB, n *Node) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c, bufio.NewReader(c)
}

// TestListen: an address of IPv4 is one of IPv4 alone, also the one that stands
// for all of them.
func TestListen(t *testing.T) {
	probe, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	probe.Close()
	for _, test := range []struct {
		addr      string
		four, six bool
	}{
		{"0.0.0.0:0", true, false},
		{"127.0.0.1:0", true, false},
		{"[::ffff:0.0.0.0]:0", true, false},
		{"[::]:0", true, true},
		{":0", true, true},
		{"[::1]:0", false, true},
	} {
		l, err := listen(test.addr)
		if err != nil {
			t.Errorf("%s: %v", test.addr, err)
			continue
		}
		port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
		for host, want := range map[string]bool{"127.0.0.1": test.four, "::1": test.six} {
			c, err := net.Dial("tcp", net.JoinHostPort(host, port))
			if err == nil {
				c.Close()
			}
			if (err == nil) != want {
				t.Errorf("%s from %s: %v", test.addr, host, err)
			}
		}
		l.Close()
	}
}

func TestWriteReadOverTCPAndHTTP(t *testing.T) {
	n := startNode(t, nil)
	c, r := dial(t, n)
	b := testkit.Batch("t", "hello", "world")
	fmt.Fprintf(c, "%s%sREAD t 0 10\r\nREAD t 0 3\r\nPING\r\n", b, b)
	want := fmt.Sprintf("OK 0 1\r\nOK %d 1\r\nOK 0 2\r\n%s%sOK 0 2\r\n%s%sOK\r\n", len(b), b, b, b, b)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("got %q (%v), want %q", got, err, want)
	}
	if n.server.Load().Stats().Sendfiles == 0 {
		t.Error("reads did not use sendfile")
	}
	resp, err := http.Post("http://"+n.HTTPAddr().String()+"/log", "application/logd", strings.NewReader("READ t 0 1\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if want := "OK 0 1\r\n" + b; string(body) != want || resp.StatusCode != 200 {
		t.Fatalf("http: %d %q, want %q", resp.StatusCode, body, want)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestWaitingRead(t *testing.T) {
	n := startNode(t, nil)
	c, r := dial(t, n)
	b := testkit.Batch("t", "one")
	fmt.Fprint(c, b)
	if line, _ := r.ReadString('\n'); line != "OK 0 1\r\n" {
		t.Fatal(line)
	}
	w, wr := dial(t, n)
	fmt.Fprintf(w, "READ t %d 1 wait=10000\r\nPING\r\n", len(b))
	testkit.Eventually(t, func() string {
		return testkit.Unless(n.server.Load().Stats().WaitingReads > 0, "the read does not wait")
	})
	fmt.Fprint(c, b)
	want := fmt.Sprintf("OK %d 1\r\n%sOK\r\n", len(b), b)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(wr, got); err != nil || string(got) != want {
		t.Fatalf("got %q (%v), want %q", got, err, want)
	}
}
