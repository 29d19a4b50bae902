package write

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/logdtest"
)

// told collects what the user is told.
type told struct {
	mu    sync.Mutex
	notes []string
}

func (n *told) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notes = append(n.notes, fmt.Sprintf(format, args...))
}

func (n *told) has(part string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Contains(strings.Join(n.notes, "\n"), part)
}

// numberedTo returns an open sender to the server.
func numberedTo(t *testing.T, s *logdtest.Server, retry time.Duration, path string) (*numbered, *told) {
	t.Helper()
	return numberedOver(t, s.ClientConfig(), retry, path)
}

func numberedOver(t *testing.T, cfg logd.ClientConfig, retry time.Duration, path string) (*numbered, *told) {
	t.Helper()
	client, err := logd.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	n := new(told)
	life, end := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(end)
	d := &numbered{changed: make(chan struct{}, 1), ledger: ledger{
		client: client, topic: "t", life: life, retry: retry, note: n.note, limit: 1 << 16, target: 1 << 16, out: bufio.NewWriter(new(strings.Builder)),
	}}
	t.Cleanup(d.end)
	if err := d.open(path); err != nil {
		t.Fatal(err)
	}
	return d, n
}

// until waits until the condition is true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	testkit.Eventually(t, func() string {
		if is() {
			return ""
		}
		return "it is not true that " + what
	})
}

func addLines(t *testing.T, d *numbered, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := d.add(t.Context(), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			if err := d.push(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func wantLines(t *testing.T, s *logdtest.Server, n int) {
	t.Helper()
	scanner, err := logd.NewScanner(t.Context(), s.Client(t), "t", logd.ScannerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer scanner.Close()
	i := 0
	for ; scanner.Scan(); i++ {
		if got := string(scanner.Message().Body); got != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, got)
		}
	}
	if i != n || scanner.Err() != nil {
		t.Errorf("%d messages, want %d: %v", i, n, scanner.Err())
	}
}

// What comes while the server is away is stored when it is back, in order, and the user
// is told.
func TestNumberedOutlivesTheServer(t *testing.T) {
	for _, file := range []bool{false, true} {
		s := logdtest.Start(t)
		path := ""
		if file {
			path = filepath.Join(t.TempDir(), "backlog")
		}
		d, told := numberedTo(t, s, -1, path)
		addLines(t, d, 0, 10)
		s.Stop()
		addLines(t, d, 10, 50)
		until(t, "the user is told that the server is away", func() bool { return told.has("; trying on") })
		if idle, _ := d.rest(time.Millisecond); idle {
			t.Error("it is idle while something waits")
		}
		s.Restart()
		addLines(t, d, 50, 60)
		if err := d.finish(t.Context()); err != nil {
			t.Error(err)
		}
		until(t, "the user is told that the server is back", func() bool { return told.has("the server answers again") })
		if got := d.account.report("line"); got != "lines 1 to 60 are stored; no other line is stored" {
			t.Error(got)
		}
		d.end()
		wantLines(t, s, 60)
	}
}

// If the command ends while the server is away, it says what is in the backlog, and the
// next run stores that first. Without a backlog nothing is said to be stored.
func TestNumberedLeavesABacklog(t *testing.T) {
	for _, file := range []bool{false, true} {
		s := logdtest.Start(t)
		path := ""
		if file {
			path = filepath.Join(t.TempDir(), "backlog")
		}
		d, _ := numberedTo(t, s, 10*time.Millisecond, path)
		addLines(t, d, 0, 10)
		if err := d.push(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Stop()
		if err := d.add(t.Context(), []byte("10")); err != nil {
			t.Fatal(err)
		}
		err := d.finish(t.Context())
		if err == nil || !strings.Contains(err.Error(), "the server was away for 10ms: ") || !errors.Is(err, logd.ErrConnect) {
			t.Errorf("finish: %v", err)
		}
		d.end()
		want := "lines 1 to 10 are stored; no other line is stored"
		if file {
			want = "lines 1 to 10 are stored; line 11 is in the backlog; no other line is stored"
		}
		if got := d.account.report("line"); got != want {
			t.Error(got)
		}
		s.Restart()
		if !file {
			wantLines(t, s, 10)
			continue
		}
		d, told := numberedTo(t, s, -1, path)
		if !told.has("1 messages that an earlier run has left in " + path + " are stored") {
			t.Errorf("told %q", told.notes)
		}
		addLines(t, d, 11, 20)
		if err := d.finish(t.Context()); err != nil {
			t.Error(err)
		}
		wantLines(t, s, 20)
	}
}

// A server that comes back with a smaller limit gets smaller batches.
func TestNumberedSmallerLimit(t *testing.T) {
	dir := t.TempDir()
	s := logdtest.Start(t, logdtest.WorkDir(dir))
	cfg := s.ClientConfig()
	var addr atomic.Value
	addr.Store(s.Addr())
	cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr.Load().(string))
	}
	d, _ := numberedOver(t, cfg, -1, "")
	addLines(t, d, 0, 10)
	if err := d.push(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	smaller := logdtest.Start(t, logdtest.WorkDir(dir), logdtest.BatchSize(1000))
	addr.Store(smaller.Addr())
	addLines(t, d, 10, 400)
	if err := d.finish(t.Context()); err != nil {
		t.Error(err)
	}
	if err := d.add(t.Context(), make([]byte, 1000)); err != errTooLong || d.limit != 1000 {
		t.Errorf("a message that is too long now: %v, limit %d", err, d.limit)
	}
	wantLines(t, smaller, 400)
}

// What waits is split if the topic takes less than the batches have, and is accounted for
// piece by piece.
func TestNumberedSplitsWhatWaits(t *testing.T) {
	s := logdtest.Start(t)
	d, _ := numberedTo(t, s, -1, "")
	addLines(t, d, 0, 10)
	if err := d.push(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client(t).Command(t.Context(), "SETTING batch-size 200 topic=t"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	addLines(t, d, 10, 11)
	until(t, "it is failing", func() bool {
		d.push(t.Context())
		return d.writer.State() == logd.StateFailing
	})
	for from := 11; from < 400; from += 100 { // in a batch each
		for i := from; i < min(from+100, 400); i++ {
			if err := d.add(t.Context(), fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.push(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.Restart()
	if err := d.finish(t.Context()); err != nil {
		t.Error(err)
	}
	wantLines(t, s, 400)
	if got := d.account.report("line"); len(d.waits) > 0 || d.settled != 400 {
		t.Errorf("%d batches wait, %d are settled: %s", len(d.waits), d.settled, got)
	}
}

// What the server refuses ends the sending, and nothing behind it is stored.
func TestNumberedRefused(t *testing.T) {
	for _, retry := range []time.Duration{0, -1} {
		s := logdtest.Start(t, logdtest.Topics("other"))
		d, _ := numberedTo(t, s, retry, "")
		for i := range 100 {
			if err := d.add(t.Context(), fmt.Append(nil, i)); err != nil {
				break
			}
		}
		if err := d.finish(t.Context()); !errors.Is(err, logd.ErrTopicNotAllowed) {
			t.Errorf("finish: %v", err)
		}
		d.end()
		if got := d.account.report("line"); got != "no line is stored" {
			t.Error(got)
		}
	}
}
