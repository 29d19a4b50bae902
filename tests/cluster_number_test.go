package tests

import (
	"bufio"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"time"
)

// TestClusterNumbers leaves numbers out: what stands behind a gap is refused by whoever
// leads, with the number that comes next, also by one that leads since a moment.
func TestClusterNumbers(t *testing.T) {
	t.Parallel()
	const topic = "t"
	c := newCluster(t, newLoopback(), 3, shortTimeout)
	c.eventually("a topic", func() bool {
		for _, m := range c.members {
			if got := m.number(topic, "first", []int{1}); got[0] == "OK" {
				return true
			}
		}
		return false
	})
	for _, step := range []struct {
		pid     string
		numbers []int // sent at once
		want    []string
	}{
		{"a", []int{2, 1, 3, 2}, []string{"ERR out of order 1", "OK", "ERR out of order 2", "OK"}},
		{"b", []int{7}, []string{"ERR out of order 1"}},
		{"a", []int{5, 6, 3}, []string{"ERR out of order 3", "ERR out of order 3", "OK"}},
		{"", nil, nil}, // the leader is killed
		{"a", []int{5, 3, 4, 6}, []string{"ERR out of order 4", "OK", "OK", "ERR out of order 5"}},
		{"b", []int{2, 1}, []string{"ERR out of order 1", "OK"}},
	} {
		leader := c.leader(topic)
		if step.pid == "" {
			leader.kill()
			c.leader(topic) // another one
			continue
		}
		if got := leader.number(topic, step.pid, step.numbers); fmt.Sprint(got) != fmt.Sprint(step.want) {
			t.Errorf("numbers %v of %s are answered %q, want %q", step.numbers, step.pid, got, step.want)
		}
	}
}

// number sends batches with such numbers at once, and returns the answers without offsets.
func (m *member) number(topic, pid string, numbers []int) (answers []string) {
	m.c.t.Helper()
	nc, err := dialFor(m.c.net, m.addr(), patience)
	if err != nil {
		m.c.t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	var out strings.Builder
	for _, n := range numbers {
		body := fmt.Sprintf("%s %d", pid, n)
		data := fmt.Sprintf("MSG %d\r\n%s\r\n", len(body), body)
		fmt.Fprintf(&out, "BATCH %d %s %d 1 pid=%s seq=%d\r\n%s", len(data), topic, crc32.ChecksumIEEE([]byte(data)), pid, n, data)
	}
	if _, err := io.WriteString(nc, out.String()); err != nil {
		m.c.t.Fatal(err)
	}
	in := bufio.NewReader(nc)
	for range numbers {
		line, err := in.ReadString('\n')
		if err != nil {
			m.c.t.Fatal(err)
		}
		if strings.HasPrefix(line, "OK ") {
			line = "OK"
		}
		answers = append(answers, strings.TrimSpace(line))
	}
	return answers
}

// TestClusterRefusals has batches without numbers be under way while leads change: what is
// answered with an error is stored nowhere, and where that can't be known there is no
// answer.
func TestClusterRefusals(t *testing.T) {
	t.Parallel()
	r := random(t)
	c := newCluster(t, newLoopback(), 3, shortTimeout)
	l := startTraffic(c, r, writing{topics: trafficTopics, plain: 8, deep: true})
	for range 3 {
		for _, m := range c.live() {
			l.goesOn(20)
			c.command("DRAIN %s", m.name)
			c.command("DRAIN %s off=1", m.name)
		}
	}
	h := c.finish(l, false)
	count := make(map[outcome]int)
	for i := range h.writes {
		count[h.writes[i].fate]++
	}
	t.Logf("%d batches stored, %d refused, %d without an answer", count[acked], count[refusedIt], count[unanswered])
}
