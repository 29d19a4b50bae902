package tests

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestStaleLeader asks a leader that was replaced while it was stopped, before it can
// know, for what the next one has: it may not say that this does not exist.
func TestStaleLeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t, newLoopback(), 3, 300*time.Millisecond)
	write := func(n int) (end int64) {
		c.eventually("a batch is stored", func() bool {
			for _, m := range c.live() {
				if m.stopped {
					continue
				}
				wire := encode("t", fmt.Sprint(n))
				nc, err := dialFor(c.net, m.addr(), time.Second)
				if err != nil {
					continue
				}
				nc.SetDeadline(time.Now().Add(time.Second))
				fmt.Fprint(nc, wire)
				offset, _, err := (&conn{in: bufio.NewReader(nc)}).offset()
				nc.Close()
				if err == nil {
					end = offset + int64(len(wire))
					return true
				}
			}
			return false
		})
		return end
	}
	write(0)
	leader := c.leader("t")
	nc, err := dialFor(c.net, leader.addr(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	q := &conn{in: bufio.NewReader(nc)}
	fmt.Fprint(nc, "PING\r\n")
	if line, err := q.answer(); err != nil {
		t.Fatalf("PING is answered with %q, %v", line, err)
	}
	leader.pause()
	write(1)
	end := write(2)
	fmt.Fprintf(nc, "READ t %d 1\r\n", end)
	leader.resume()
	line, err := q.answer()
	if err == refusal("not found") { // then that is the end here, too
		fmt.Fprint(nc, "INFO t\r\n")
		body, err := q.body()
		if got := fields(body)["Next"]; err != nil || got != fmt.Sprint(end) {
			t.Errorf("nothing is found at %d, says a member whose end is %s, %v", end, got, err)
		}
	} else if r, ok := err.(refusal); !ok || !strings.HasPrefix(string(r), "not leader") {
		t.Errorf("READ at the end of the new leader is answered by the old one with %q, %v", line, err)
	}
}
