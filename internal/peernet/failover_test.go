package peernet_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/cluster/clustertest"
	"github.com/logd-dev/logd/internal/peer"
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
	const topics = 12
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

// More is stored than a member holds that it is not done with.
func TestManyBytes(t *testing.T) {
	c := clustertest.Start(t, 3)
	var want []byte
	for i := range 20 {
		body := strings.Repeat(fmt.Sprint(i%10, " "), 450_000)
		c.Append("topic", body)
		want = append(want, testkit.Batch("topic", body)...)
	}
	if len(want) < 17<<20 {
		t.Fatal("too few bytes")
	}
	for _, m := range c.Members {
		if got := m.Stored("topic", int64(len(want))); !bytes.Equal(got, want) {
			t.Errorf("member %d has %d bytes, or others", m.ID, len(got))
		}
	}
}

// A member is given the bytes that another has, and their sums, as far as they may be
// read.
func TestFetchFromNode(t *testing.T) {
	c := clustertest.Start(t, 3)
	var want []byte
	for i := range 8 {
		body := strings.Repeat(fmt.Sprint(i, " "), 200_000)
		c.Append("topic", body)
		want = append(want, testkit.Batch("topic", body)...)
	}
	end := int64(len(want))
	from, to := c.Leader("topic"), c.Members[0]
	if from == to {
		to = c.Members[1]
	}
	id := peer.ID(to.Log("topic").ID())
	var got []byte
	testkit.Eventually(t, func() string {
		at := int64(len(got))
		f, err := to.Transport.Fetch(from.ID, id, at, end+1000)
		if err != nil {
			return err.Error()
		}
		got = append(got, f.Data...)
		return testkit.Unless(int64(len(got)) >= end, "more is to come")
	})
	if !bytes.Equal(got, want) {
		t.Errorf("fetched %d bytes, not the %d that were written", len(got), len(want))
	}
	if _, err := to.Transport.Fetch(from.ID, id, end, end+1); err == nil {
		t.Error("bytes behind the readable end")
	}
	if _, err := to.Transport.Fetch(from.ID, peer.ID{1}, 0, 1); err == nil {
		t.Error("bytes of no topic")
	}
	for _, r := range [][2]int64{{0, end}, {100, end - 1}, {5, 1 << 20}, {end - 1, end}} {
		sums, err := to.Transport.Sums(from.ID, id, r[0], r[1])
		if err != nil || len(sums) != int((r[1]-r[0]-1)/peer.SumBytes+1) {
			t.Fatalf("%v: %d sums, %v", r, len(sums), err)
		}
		for i, sum := range sums {
			at := r[0] + int64(i)*peer.SumBytes
			if sum != crc32.Checksum(want[at:min(at+peer.SumBytes, r[1])], crc32.MakeTable(crc32.Castagnoli)) {
				t.Errorf("%v: sum %d is wrong", r, i)
			}
		}
	}
	// What is not there to its end is not summed.
	sums, err := to.Transport.Sums(from.ID, id, 0, end+1)
	if err != nil || len(sums) != int(end/peer.SumBytes) {
		t.Errorf("%d sums, %v", len(sums), err)
	}
	if _, err := to.Transport.Sums(from.ID, id, end-1, end+1); err == nil {
		t.Error("a sum of what is not there to its end")
	}
}
