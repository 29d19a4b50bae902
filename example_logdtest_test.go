package logd_test

import (
	"context"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
)

// countMessages is a program's function that is to be tested.
func countMessages(ctx context.Context, client *logd.Client, topic string) (n int, err error) {
	s, err := logd.NewScanner(ctx, client, topic, logd.ScannerConfig{})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	for s.Scan() {
		n++
	}
	return n, s.Err()
}

// This test is shown in docs/client.md.
func TestCountMessages(t *testing.T) {
	server := logdtest.Start(t, logdtest.PartitionSize(1<<10))
	client := server.Client(t)
	var batch logd.Batch
	batch.Add([]byte("one"))
	batch.Add([]byte("two"))
	if _, err := client.Append(t.Context(), "t", &batch); err != nil {
		t.Fatal(err)
	}
	server.Restart() // the client connects again by itself
	if n, err := countMessages(t.Context(), client, "t"); n != 2 || err != nil {
		t.Errorf("countMessages = %d, %v, want 2", n, err)
	}
}
