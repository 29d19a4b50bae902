package tests

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd"
)

// TestScannerWithoutLeader has a Scanner read what the last member has while nobody leads,
// and wait there until it can be known that this is all: nothing is skipped, and nothing
// comes twice.
func TestScannerWithoutLeader(t *testing.T) {
	t.Parallel()
	const messages, topic = 300, "t"
	c := newCluster(t, newLoopback(), 3, shortTimeout)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	// A client without a bound on its attempts would not tell the Scanner of them.
	client, err := logd.NewClient(logd.ClientConfig{
		Addrs: c.addrs(), ReconnectMin: 5 * time.Millisecond, ReconnectMax: 40 * time.Millisecond, ReconnectAttempts: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	w, err := logd.NewWriter(ctx, client, topic, logd.WriterConfig{BatchMessages: 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range messages {
		if _, err := w.Write([]byte(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c.settle([]string{topic}) // the last one has everything
	last := c.follower(topic)
	for _, m := range c.live() {
		if m != last {
			m.kill()
		}
	}
	refused := make(chan struct{})
	var once sync.Once
	s, err := logd.NewScanner(ctx, client, topic, logd.ScannerConfig{OnRetry: func(err error) {
		if errors.Is(err, logd.ErrNotLeader) {
			once.Do(func() { close(refused) })
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range messages {
		m, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("message %d, which the last member has: %v", i, err)
		}
		if want := strconv.Itoa(i); string(m.Body) != want {
			t.Fatalf("message %q was read where %q comes next", m.Body, want)
		}
	}
	select {
	case <-refused:
	case <-time.After(patience):
		t.Fatalf("after %v the Scanner was not told that nobody leads", patience)
	}
	for _, m := range c.live() {
		if m != last {
			m.begin()
		}
	}
	if m, err := s.Next(ctx); err != io.EOF {
		t.Errorf("behind the last message the Scanner has read %q, %v, want the end", m.Body, err)
	}
	for _, m := range c.live() {
		m.s.await("logd takes requests") // or its end has no order
	}
	c.stopAll()
}
