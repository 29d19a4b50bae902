package logd_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
)

// TestWriterOfLimitedTopic: a Writer goes by what its topic takes, also if that is set while
// it runs, and by how durable that is.
func TestWriterOfLimitedTopic(t *testing.T) {
	server := logdtest.Start(t)
	client := server.Client(t)
	for _, line := range []string{"CREATE t", "SETTING batch-size 512 topic=t", "SETTING durability synced topic=t", "SETTING batch-size 256 topic=not-there"} {
		if _, err := client.Command(t.Context(), line); err != nil {
			t.Fatal(err)
		}
	}
	w, err := logd.NewWriter(t.Context(), client, "t", logd.WriterConfig{RequireSync: true})
	if err != nil {
		t.Fatal(err)
	}
	const messages = 50
	for range messages {
		if err := w.WriteFunc(t.Context(), []byte(strings.Repeat("x", 100)), func(r logd.WriteResult) {
			if r.Err != nil {
				t.Error(r.Err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(make([]byte, 600)); !errors.Is(err, logd.ErrTooLarge) {
		t.Errorf("a message that is too large for the topic: %v", err)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Command(t.Context(), "SETTING batch-size 200 topic=t"); err != nil { // one message in a batch
		t.Fatal(err)
	}
	for range messages {
		if _, err := w.Write([]byte(strings.Repeat("x", 100))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := client.Info(t.Context(), "t")
	if err != nil || info.Messages != 2*messages || info.Batches < messages+messages/4 {
		t.Errorf("%+v, %v", info, err)
	}
	for _, topic := range []string{"other", "not-there"} {
		if w, err = logd.NewWriter(t.Context(), client, topic, logd.WriterConfig{}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, 100)); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := logd.NewWriter(t.Context(), client, "other", logd.WriterConfig{RequireSync: true}); !errors.Is(err, logd.ErrNotSynced) {
		t.Errorf("a topic that is not synced: %v", err)
	}
}
