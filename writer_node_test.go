package logd_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/logdtest"
)

// readTopic returns all messages of the topic.
func readTopic(t *testing.T, c *logd.Client, topic string) (all []string) {
	t.Helper()
	for offset := int64(0); ; {
		info, err := c.Info(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		if offset == info.Next {
			return all
		}
		r, err := c.Read(t.Context(), topic, offset, logd.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range r.Batches {
			for m := range b.All() {
				all = append(all, fmt.Sprintf("%d.%d %s", m.Offset, m.Delta, m.Body))
			}
			offset = b.Next()
		}
		r.Release()
	}
}

// What a Writer says of its messages is what a reader finds.
func TestWriterOnServer(t *testing.T) {
	c := logdtest.Start(t).Client(t)
	w, err := logd.NewWriter(t.Context(), c, "t", logd.WriterConfig{BatchBytes: 2 * logd.DefaultMaxBatchSize}) // which the server does not take
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 5000 {
		m := fmt.Sprintf("message %d %s", i, strings.Repeat("x", i%300))
		err := w.WriteFunc(t.Context(), []byte(m), func(r logd.WriteResult) {
			if r.Err != nil {
				t.Errorf("message %d: %v", i, r.Err)
			}
			want = append(want, fmt.Sprintf("%d.%d %s", r.Offset, r.Delta, m))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := readTopic(t, c, "t")
	if len(got) != 5000 || len(want) != 5000 {
		t.Fatalf("%d messages are stored, %d were called back", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("message %d is %.50q, the Writer said %.50q", i, got[i], want[i])
		}
	}
}

// The server is away while messages are written; the program ends, too. The
// next one delivers what is on disk, before its own.
func TestWriterOverServerRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backlog")
	server := logdtest.Start(t)
	addr := server.Addr()

	program := func(first, last int) error {
		t.Helper()
		c, err := logd.NewClient(logd.ClientConfig{Addrs: []string{addr}, ReconnectMax: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		backlog, err := backlog.OpenDisk(backlog.DiskConfig{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		defer backlog.Close()
		w, err := logd.NewWriter(t.Context(), c, "t", logd.WriterConfig{Backlog: backlog, WriteWhileFailing: true, BatchMessages: 3})
		if err != nil {
			t.Fatal(err)
		}
		for i := first; i < last; i++ {
			if _, err := fmt.Fprintf(w, "%d", i); err != nil {
				t.Fatal(err)
			}
		}
		return w.Close()
	}
	if err := program(0, 10); err != nil {
		t.Errorf("Close: %v", err)
	}
	server.Stop()
	for i := 10; i < 30; i += 10 {
		if err := program(i, i+10); !errors.Is(err, logd.ErrBacklogged) || !errors.Is(err, logd.ErrConnect) {
			t.Errorf("Close without a server: %v", err)
		}
	}
	server.Restart()
	if err := program(30, 40); err != nil {
		t.Errorf("Close: %v", err)
	}
	c, err := logd.Dial(t.Context(), logd.ClientConfig{Addrs: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := readTopic(t, c, "t")
	if len(got) != 40 {
		t.Fatalf("%d messages are stored, want 40", len(got))
	}
	for i, m := range got {
		if !strings.HasSuffix(m, " "+fmt.Sprint(i)) {
			t.Errorf("message %d is %q", i, m)
		}
	}
}
