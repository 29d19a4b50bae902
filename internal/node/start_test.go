package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/vfs"
)

// answers sends text, which ends in CLOSE, on a connection of its own, and
// returns all that comes back.
func answers(t testing.TB, n *Node, text string) string {
	t.Helper()
	c, r := dial(t, n)
	io.WriteString(c, text)
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("after %q: %v", got, err)
	}
	c.Close()
	return string(got)
}

// TestSettings: each setting that the protocol shows does what it says.
func TestSettings(t *testing.T) {
	b := testkit.Batch("t", "one")
	for _, test := range []struct {
		name    string
		change  func(*config.Config)
		request string
		want    string // the beginning
	}{
		{"batch-size", func(c *config.Config) { c.BatchSize = 128 }, testkit.Batch("t", strings.Repeat("x", 128)), "ERR too large\r\n"},
		{"max-messages", func(c *config.Config) { c.MaxMessages = 3 }, b + "READ t 0 3\r\nREAD t 0 4\r\nCLOSE\r\n", "OK 0 1\r\nOK 0 1\r\n" + b + "ERR invalid request\r\nOK\r\n"},
		{"topics", func(c *config.Config) { c.Topics = 1 }, b + testkit.Batch("u", "x") + "CLOSE\r\n", "OK 0 1\r\nERR maximum topics allowed\r\nOK\r\n"},
		{"topics-whitelist", func(c *config.Config) { c.TopicsWhitelist = []string{"t"} }, b + testkit.Batch("u", "x") + "CLOSE\r\n", "OK 0 1\r\nERR topic not allowed\r\nOK\r\n"},
		{"timeout", func(c *config.Config) { c.Timeout = 50 * time.Millisecond }, "PIN", ""},
		{"idle-timeout", func(c *config.Config) { c.IdleTimeout = 50 * time.Millisecond }, "", ""},
		{"partition-size", func(c *config.Config) { c.PartitionSize, c.BatchSize = 128, 128 }, strings.Repeat(b, 4) + "INFO t\r\nCLOSE\r\n",
			"OK 0 1\r\nOK 37 1\r\nOK 74 1\r\nOK 111 1\r\nMOK "},
		{"CONFIG", func(c *config.Config) {
			c.Timeout, c.IdleTimeout, c.BatchSize, c.MaxMessages = time.Minute, time.Hour, 1000, 7
			c.PartitionSize, c.Partitions, c.FlushBatches, c.FlushInterval = 5000, 3, 9, -1
		}, "CONFIG\r\nCLOSE\r\n", "MOK "},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := startNode(t, test.change)
			got := answers(t, n, test.request)
			if !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
				t.Errorf("received %q, want %q", got, test.want)
			}
			var more []string
			switch test.name {
			case "partition-size":
				more = []string{"\r\nPartitions: 2\r\n", "\r\nBytes: 148\r\n"}
			case "CONFIG":
				more = []string{"\r\nHost: " + n.Addr().String() + "\r\nTimeout: 1m0s\r\nIdleTimeout: 1h0m0s\r\nMaxBatchSize: 1000\r\n",
					"\r\nMaxMessages: 7\r\n", "\r\nPartitionSize: 5000\r\n", "\r\nPartitions: 3\r\n", "\r\nFlushBatches: 9\r\n", "\r\nFlushInterval: -1ns\r\n", "\r\nDeleteHook: false\r\n", "\r\nVersion: test\r\n"}
			}
			for _, text := range more {
				if !strings.Contains(got, text) {
					t.Errorf("received %q, without %q", got, text)
				}
			}
		})
	}
}

func TestMaxConnections(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.MaxConnections = 1 })
	c, r := dial(t, n)
	io.WriteString(c, "PING\r\n")
	if line, _ := r.ReadString('\n'); line != "OK\r\n" {
		t.Fatal(line)
	}
	if got := answers(t, n, ""); got != "ERR busy\r\n" {
		t.Errorf("one too many received %q", got)
	}
	c.Close()
	testkit.Eventually(t, func() string {
		return testkit.Unless(n.server.Load().Stats().Connections == 0, "there are connections")
	})
	if got := answers(t, n, "PING\r\nCLOSE\r\n"); got != "OK\r\nOK\r\n" {
		t.Errorf("received %q", got)
	}
}

// TestReadOfWhatIsGone: what retention has removed is not found, and TAIL says
// where the rest begins.
func TestReadOfWhatIsGone(t *testing.T) {
	b := testkit.Batch("t", strings.Repeat("x", 100))
	n := startNode(t, func(c *config.Config) { c.PartitionSize, c.BatchSize, c.Partitions = int64(len(b)), int64(len(b)), 2 })
	c, r := dial(t, n)
	for i := range 5 {
		io.WriteString(c, b)
		if line, _ := r.ReadString('\n'); line != fmt.Sprintf("OK %d 1\r\n", i*len(b)) {
			t.Fatal(line)
		}
	}
	oldest := 3 * len(b)
	testkit.Eventually(t, func() string {
		info := answers(t, n, "INFO t\r\nCLOSE\r\n")
		return testkit.Unless(strings.Contains(info, fmt.Sprintf("Oldest: %d\r\n", oldest)), info)
	})
	got := answers(t, n, "READ t 0 1\r\nREAD t 0 1 wait=60000\r\nTAIL t 1\r\nSEEK t 0\r\nCLOSE\r\n")
	if want := fmt.Sprintf("ERR not found\r\nERR not found\r\nOK %d 1\r\n%sOK %d 0\r\nOK\r\n", oldest, b, oldest); got != want {
		t.Errorf("received %q, want %q", got, want)
	}
}

func TestFileModes(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.FileMode, c.WorkDir = 0o640, filepath.Join(c.WorkDir, "new") })
	answers(t, n, testkit.Batch("t", "one")+"CLOSE\r\n")
	for name, want := range map[string]os.FileMode{"": 0o700 | os.ModeDir, "t": 0o700 | os.ModeDir, "t/0.log": 0o640} {
		info, err := os.Stat(filepath.Join(n.o.Config.WorkDir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%q: mode %v (%v), want %v", name, info.Mode(), err, want)
		}
	}
}

// TestStartErrors: each names the setting that is wrong, and nothing is left
// behind: a start with other settings goes well.
func TestStartErrors(t *testing.T) {
	first := startNode(t, nil)
	taken := first.o.Config
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*config.Config)
		is     error // nil for any
		says   []string
	}{
		{"host", func(c *config.Config) { c.Host = first.Addr().String() }, syscall.EADDRINUSE, []string{"(host)", first.Addr().String()}},
		{"http-host", func(c *config.Config) { c.HTTPHost = first.HTTPAddr().String() }, syscall.EADDRINUSE, []string{"(http-host)", first.HTTPAddr().String()}},
		{"host as http-host", func(c *config.Config) { c.HTTPHost = first.Addr().String() }, syscall.EADDRINUSE, []string{"(http-host)", first.Addr().String()}},
		{"workdir locked", func(c *config.Config) { c.WorkDir = taken.WorkDir }, vfs.ErrLocked, []string{"work directory", taken.WorkDir, "locked"}},
		{"workdir a file", func(c *config.Config) { c.WorkDir = file }, nil, []string{"work directory", file, "not a directory"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := testConfig(t)
			good := c
			test.change(&c)
			n, err := Start(t.Context(), Options{Config: c, Version: "test"})
			if err == nil {
				n.Close()
				t.Fatal("started")
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error %v, want %v", err, test.is)
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
			n, err = Start(t.Context(), Options{Config: good, Version: "test"})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if got := answers(t, first, "PING\r\nCLOSE\r\n"); got != "OK\r\nOK\r\n" {
		t.Errorf("the first node: %q", got)
	}
}

// TestStartIsCancelled: a done context ends a start, which lets go of all it
// had; it does not end a node that has started.
func TestStartIsCancelled(t *testing.T) {
	c := testConfig(t)
	n, err := Start(t.Context(), Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	answers(t, n, testkit.Batch("t", "one")+"CLOSE\r\n")
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := Start(ctx, Options{Config: c, Version: "test"}); !errors.Is(err, context.Canceled) {
		if err == nil {
			n.Close()
		}
		t.Errorf("error %v, want that of the context", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	n, err = Start(ctx, Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if got := answers(t, n, "READ t 0 1\r\nCLOSE\r\n"); got != "OK 0 1\r\n"+testkit.Batch("t", "one")+"OK\r\n" {
		t.Errorf("received %q", got)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// TestTwoNodes in one process have nothing in common.
func TestTwoNodes(t *testing.T) {
	a, b := startNode(t, nil), startNode(t, nil)
	one, two := testkit.Batch("t", "one"), testkit.Batch("t", "number two")
	answers(t, a, one+"CLOSE\r\n")
	answers(t, b, two+"PING\r\nCLOSE\r\n")
	if got := answers(t, a, "READ t 0 9\r\nCLOSE\r\n"); got != "OK 0 1\r\n"+one+"OK\r\n" {
		t.Errorf("the first: %q", got)
	}
	_, metrics := get(t, a.HTTPAddr(), "/metrics")
	if !strings.Contains(metrics, `logd_requests_total{command="PING"} 0`) {
		t.Error("the first counts what the second is asked")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if got := answers(t, b, "READ t 0 9\r\nCLOSE\r\n"); got != "OK 0 1\r\n"+two+"OK\r\n" {
		t.Errorf("the second: %q", got)
	}
	if status, _ := get(t, b.HTTPAddr(), "/readyz"); status != 200 {
		t.Errorf("the second is not ready: %d", status)
	}
}

// TestShutdown: what has arrived is answered, readers that wait are woken, and
// another node finds what was stored.
func TestShutdown(t *testing.T) {
	c := testConfig(t)
	n, err := Start(t.Context(), Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	b := testkit.Batch("t", "one")
	writer, r := dial(t, n)
	io.WriteString(writer, b)
	if line, _ := r.ReadString('\n'); line != "OK 0 1\r\n" {
		t.Fatal(line)
	}
	waiting, wr := dial(t, n)
	fmt.Fprintf(waiting, "READ t %d 1 wait=3600000\r\n", len(b))
	overHTTP := make(chan string, 1)
	go func() {
		_, body := post(t, n.HTTPAddr(), fmt.Sprintf("READ t %d 1 wait=3600000\r\n", len(b)))
		overHTTP <- body
	}()
	testkit.Eventually(t, func() string {
		return testkit.Unless(n.server.Load().Stats().WaitingReads == 2, "there are not 2 reads that wait")
	})
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- n.Shutdown(t.Context()) }()
	want := fmt.Sprintf("OK %d 0\r\n", len(b))
	if got, err := io.ReadAll(wr); string(got) != want || err != nil {
		t.Errorf("the reader that waited received %q, %v", got, err)
	}
	waiting.Close() // else the server would linger for what it sends
	if got := <-overHTTP; got != want {
		t.Errorf("over HTTP it received %q", got)
	}
	if got, err := io.ReadAll(r); len(got) > 0 || err != nil {
		t.Errorf("an idle connection received %q, %v", got, err)
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := n.Wait(); err != nil {
		t.Errorf("Wait: %v", err)
	}
	if err := n.Shutdown(t.Context()); err != nil {
		t.Errorf("a second Shutdown: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("Close after it: %v", err)
	}
	for _, addr := range []net.Addr{n.Addr(), n.HTTPAddr()} {
		if nc, err := net.Dial("tcp", addr.String()); err == nil {
			nc.Close()
			t.Errorf("something listens on %v", addr)
		}
	}
	n, err = Start(t.Context(), Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if got := answers(t, n, "READ t 0 9\r\nCLOSE\r\n"); got != "OK 0 1\r\n"+b+"OK\r\n" {
		t.Errorf("afterwards there is %q", got)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// TestShutdownInTime: when its time is over what is left is cut, which is no
// error, and all is synced and closed all the same.
func TestShutdownInTime(t *testing.T) {
	c := testConfig(t)
	c.Timeout = time.Hour
	c.BatchSize = 1 << 20
	n, err := Start(t.Context(), Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	b := testkit.Batch("t", strings.Repeat("x", 1_000_000))
	stuck, r := dial(t, n)
	go io.WriteString(stuck, b+strings.Repeat("READ t 0 1\r\n", 100)) // and reads nothing of it
	testkit.Eventually(t, func() string {
		return testkit.Unless(n.server.Load().Stats().Sendfiles > 0, "nothing is being sent from files")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := n.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if took := time.Since(start); took < 300*time.Millisecond || took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := io.Copy(io.Discard, r); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is not cut")
	}
	n, err = Start(t.Context(), Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if got := answers(t, n, "READ t 0 1\r\nCLOSE\r\n"); got != "OK 0 1\r\n"+b+"OK\r\n" {
		t.Errorf("afterwards there are %d bytes", len(got))
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// TestCloseCuts: also what waits, over either protocol.
func TestCloseCuts(t *testing.T) {
	n := startNode(t, nil)
	b := testkit.Batch("t", "one")
	answers(t, n, b+"CLOSE\r\n")
	waiting, _ := dial(t, n)
	request := fmt.Sprintf("READ t %d 1 wait=3600000\r\n", len(b))
	io.WriteString(waiting, request)
	overHTTP, err := net.Dial("tcp", n.HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer overHTTP.Close()
	fmt.Fprintf(overHTTP, "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/logd\r\nContent-Length: %d\r\n\r\n%s", len(request), request)
	testkit.Eventually(t, func() string {
		return testkit.Unless(n.server.Load().Stats().WaitingReads == 2, "there are not 2 reads that wait")
	})
	start := time.Now()
	if err := n.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestCloseEndsShutdown: it kills the delete hooks that a Shutdown waits for.
func TestCloseEndsShutdown(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "begun")
	b := testkit.Batch("t", strings.Repeat("x", 60))
	n := startNode(t, func(c *config.Config) {
		c.BatchSize, c.PartitionSize, c.Partitions = 128, 128, 1
		c.DeleteHook, c.DeleteHookTimeout = "sh -c 'touch "+mark+"; sleep 600; touch "+mark+".ended'", 0
	})
	answers(t, n, b+b+"CLOSE\r\n")
	testkit.Eventually(t, func() string {
		_, err := os.Stat(mark)
		return testkit.Unless(err == nil, "the hook has not begun")
	})
	down := make(chan error)
	go func() { down <- n.Shutdown(context.Background()) }()
	testkit.Eventually(t, func() string { return testkit.Unless(n.server.Load().Draining(), "the server does not drain") })
	if err := n.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if _, err := os.Stat(mark + ".ended"); err == nil {
		t.Error("the hook ran to its end")
	}
}

// TestListenerFails: a node that can't accept any more stops by itself and
// says why.
func TestListenerFails(t *testing.T) {
	for name, listener := range map[string]func(*Node) net.Listener{
		"protocol": func(n *Node) net.Listener { return n.listeners[0] },
		"http":     func(n *Node) net.Listener { return n.httpListener },
	} {
		t.Run(name, func(t *testing.T) {
			n, err := Start(t.Context(), Options{Config: testConfig(t), Version: "test"})
			if err != nil {
				t.Fatal(err)
			}
			listener(n).Close()
			if err := n.Wait(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Wait = %v", err)
			}
			if _, err := os.Stat(n.o.Config.WorkDir); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWaitingReaderGoesAway over TCP, with and without a word: nothing of it
// is left. One that only ends what it sends is answered at once.
func TestWaitingReaderGoesAway(t *testing.T) {
	n := startNode(t, nil)
	b := testkit.Batch("t", "one")
	answers(t, n, b+"CLOSE\r\n")
	for name, leave := range map[string]func(*net.TCPConn, *bufio.Reader){
		"closes": func(c *net.TCPConn, _ *bufio.Reader) { c.Close() },
		"resets": func(c *net.TCPConn, _ *bufio.Reader) { c.SetLinger(0); c.Close() },
		"half-closes": func(c *net.TCPConn, r *bufio.Reader) {
			c.CloseWrite()
			if got, err := io.ReadAll(r); string(got) != fmt.Sprintf("OK %d 0\r\n", len(b)) || err != nil {
				t.Errorf("received %q, %v", got, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, r := dial(t, n)
			fmt.Fprintf(c, "READ t %d 1 wait=3600000\r\n", len(b))
			testkit.Eventually(t, func() string {
				return testkit.Unless(n.server.Load().Stats().WaitingReads == 1, "there is not one read that waits")
			})
			leave(c.(*net.TCPConn), r)
			testkit.Eventually(t, func() string {
				st := n.server.Load().Stats()
				return testkit.Unless(st.WaitingReads == 0 && st.Connections == 0, fmt.Sprintf("%d reads wait on %d connections", st.WaitingReads, st.Connections))
			})
		})
	}
}

// TestModeOfWorkDirectory: one that more users can enter than may read its files
// is worth a word.
func TestModeOfWorkDirectory(t *testing.T) {
	for _, test := range []struct {
		folder, files fs.FileMode
		warns         bool
	}{
		{0o700, 0o600, false}, {0o755, 0o600, true}, {0o750, 0o600, true}, {0o750, 0o640, false}, {0o755, 0o640, true}, {0o755, 0o644, false},
	} {
		var logged strings.Builder
		c := testConfig(t)
		c.WorkDir, c.FileMode = filepath.Join(t.TempDir(), "data"), test.files
		if err := errors.Join(os.Mkdir(c.WorkDir, 0o700), os.Chmod(c.WorkDir, test.folder)); err != nil {
			t.Fatal(err)
		}
		n := newNode(Options{Config: c, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		n.warnOfMode()
		if got := strings.Contains(logged.String(), "level=WARN"); got != test.warns {
			t.Errorf("folder %o, files %o: %q", test.folder, test.files, logged.String())
		}
	}
}
