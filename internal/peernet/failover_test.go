package peernet_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/cluster/clustertest"
	"github.com/logd-dev/logd/internal/testkit"
)

// Three nodes elect a leader, which stores on all of them; when it is gone another one
// takes over, and what comes back catches up.
func TestFailover(t *testing.T) {
	c := clustertest.Start(t, 3)
	var want []byte
	n := 0
	write := func(times int) {
		t.Helper()
		for range times {
			bodies := []string{fmt.Sprint("message ", n), strings.Repeat("x", n*1000)}
			n++
			c.Append("topic", bodies...)
			want = append(want, testkit.Batch("topic", bodies...)...)
		}
	}
	check := func() {
		t.Helper()
		for _, m := range c.Members {
			if m.Up() {
				if got := m.Stored("topic", int64(len(want))); !bytes.Equal(got, want) {
					t.Fatalf("member %d has %d bytes, not the %d that were written", m.ID, len(got), len(want))
				}
			}
		}
	}
	write(20)
	check()
	for range 3 {
		old := c.Leader("topic")
		old.Stop()
		began := time.Now()
		write(1)
		t.Logf("stored again after %v", time.Since(began))
		if c.Leader("topic") == old {
			t.Fatal("who is stopped leads")
		}
		write(20)
		check()
		old.Start()
		write(5)
		check()
	}
}

// Many topics, in all groups, and batches that are larger than a round.
func TestManyTopics(t *testing.T) {
	c := clustertest.Start(t, 3)
	const topics = 30
	want := make(map[string][]byte)
	for i := range topics {
		name := fmt.Sprint("topic-", i)
		for k := range 3 {
			body := strings.Repeat(fmt.Sprint(i, " ", k, " "), 1+i*10_000)
			c.Append(name, body)
			want[name] = append(want[name], testkit.Batch(name, body)...)
		}
	}
	for name, b := range want {
		for _, m := range c.Members {
			if got := m.Stored(name, int64(len(b))); !bytes.Equal(got, b) {
				t.Fatalf("member %d has others bytes of %s", m.ID, name)
			}
		}
	}
	c.Members[0].Stop()
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range want {
			if !yield(name) {
				return
			}
		}
	})
	for _, name := range names {
		c.Append(name, "after")
	}
}
