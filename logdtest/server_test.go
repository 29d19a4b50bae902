package logdtest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/logdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func appendOne(t *testing.T, client *logd.Client, topic, body string) int64 {
	t.Helper()
	var b logd.Batch
	b.Add([]byte(body))
	offset, err := client.Append(t.Context(), topic, &b)
	if err != nil {
		t.Fatal(err)
	}
	return offset
}

// reach has the client find out that the connection it had is gone.
func reach(t *testing.T, client *logd.Client) {
	t.Helper()
	for {
		err := client.Ping(t.Context())
		if err == nil {
			return
		}
		if !errors.Is(err, logd.ErrConnectionLost) {
			t.Fatal(err)
		}
	}
}

// A server keeps its address and its data when it is restarted, and a client
// of before goes on.
func TestServerRestarts(t *testing.T) {
	server := logdtest.Start(t)
	client := server.Client(t)
	addr := server.Addr()
	appendOne(t, client, "t", "one")
	server.Stop()
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	// The Client may not know yet that its connection is gone.
	if err := client.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, logd.ErrConnectionLost) {
		t.Errorf("Ping of a stopped server: %v", err)
	}
	server.Restart()
	if got := server.Addr(); got != addr {
		t.Errorf("address %s, was %s", got, addr)
	}
	reach(t, client)
	if offset := appendOne(t, client, "t", "two"); offset == 0 {
		t.Error("what was stored before is gone")
	}
	server.Restart()
	reach(t, client)
	info, err := client.Info(t.Context(), "t")
	if err != nil || info.Messages != 2 {
		t.Errorf("after two restarts: %+v, %v", info, err)
	}
}

// Clients that wait hold a stop up no longer than need be.
func TestServerStopsWhileReadsWait(t *testing.T) {
	server := logdtest.Start(t)
	client := server.Client(t)
	appendOne(t, client, "t", "one")
	s, err := logd.NewScanner(t.Context(), client, "t", logd.ScannerConfig{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Scan() {
		t.Fatal(s.Err())
	}
	start := time.Now()
	server.Stop()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Stop took %v", took)
	}
}

// Options make a difference.
func TestServerOptions(t *testing.T) {
	dir := t.TempDir()
	server := logdtest.Start(t,
		logdtest.WorkDir(dir), logdtest.PartitionSize(128), logdtest.Partitions(3), logdtest.Topics("t"),
		logdtest.MaxMessages(7), logdtest.SyncEveryBatch())
	client := server.Client(t)
	for range 20 {
		appendOne(t, client, "t", string(make([]byte, 60)))
	}
	// The oldest partitions go in the server's own time.
	for start := time.Now(); ; {
		info, err := client.Info(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "t", "*.log"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Partitions == 3 && info.Oldest > 0 && len(files) == 3 {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%d partitions are left", info.Partitions)
		}
	}
	var b logd.Batch
	b.Add([]byte("x"))
	if _, err := client.Append(t.Context(), "other", &b); !errors.Is(err, logd.ErrTopicNotAllowed) {
		t.Errorf("another topic: %v", err)
	}
	cfg, err := admin.New(client).Config(t.Context())
	if err != nil || cfg.MaxMessages != 7 || cfg.MaxBatchSize != 128 {
		t.Errorf("%+v, %v", cfg, err)
	}
	if server.WorkDir() != dir {
		t.Errorf("the folder is %s, want %s", server.WorkDir(), dir)
	}
	server.Stop()
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

// failure is the panic of a test that has failed and ends.
type failure struct{}

// fatal is a test whose end is noted.
type fatal struct{ testing.TB }

func (fatal) Fatalf(string, ...any) { panic(failure{}) }

// Settings that make no sense fail the test.
func TestServerRefuses(t *testing.T) {
	defer func() {
		if r := recover(); r != (failure{}) {
			t.Errorf("the test goes on, or ends with %v", r)
		}
	}()
	logdtest.Start(fatal{t}, logdtest.Partitions(-1))
}

// Several servers run at once.
func TestServers(t *testing.T) {
	a, b := logdtest.Start(t), logdtest.Start(t)
	if a.Addr() == b.Addr() {
		t.Errorf("both are at %s", a.Addr())
	}
	appendOne(t, a.Client(t), "t", "x")
	if _, err := b.Client(t).Info(t.Context(), "t"); !errors.Is(err, logd.ErrNotFound) {
		t.Errorf("the other server: %v", err)
	}
}
