package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// steppedClocks is set where the servers have clocks that the file says which SEEDED_CLOCK
// names: TestSeededProcesses builds such servers. Nothing sets the clock of one process of
// those that are shipped.
const steppedClocks = "LOGD_STEPPED_CLOCKS"

// TestClusterClocks sets the clocks of leaders years and hours ahead, and back, under
// traffic, where what is older than half an hour is removed. Nothing is, and batches get
// times that are ahead by no more than is believed, in order.
func TestClusterClocks(t *testing.T) {
	t.Parallel()
	if os.Getenv(steppedClocks) == "" {
		t.Skip("needs servers with clocks that can be set: TestSeededProcesses builds them")
	}
	r := random(t)
	c := makeCluster(t, newLoopback(), shortTimeout)
	clocks := t.TempDir()
	set := func(m *member, ahead time.Duration) {
		if err := os.WriteFile(filepath.Join(clocks, m.name), []byte(ahead.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		c.note(m, "has its clock set by "+ahead.String())
	}
	c.equip = func(m *member) { m.command = append(m.command, "env", "SEEDED_CLOCK="+filepath.Join(clocks, m.name)) }
	c.run(3)
	c.command("SETTING retention-age 30m")
	l := startTraffic(c, r, usualWriting)
	for _, ahead := range []time.Duration{time.Hour, -time.Hour, 200 * 365 * 24 * time.Hour} {
		topic := l.topics[r.IntN(len(l.topics))]
		l.goesOn(10)
		m := c.leader(topic)
		set(m, ahead)
		l.goesOn(30)
		set(m, 0)
	}
	h := c.finishWith(l, false, func() {
		for _, topic := range l.topics {
			c.checkTimes(topic)
		}
	})
	t.Logf("%d batches", len(h.writes))
}

// checkTimes asks all members when batches of a topic were stored.
func (c *cluster) checkTimes(topic string) {
	c.t.Helper()
	for _, m := range c.live() {
		info, err := m.ask("INFO %s", topic)
		if err != nil {
			c.t.Fatal(err)
		}
		if oldest := fields(info)["Oldest"]; oldest != "0" {
			c.t.Errorf("%s on %s begins at %s: something was removed by age", topic, m, oldest)
		}
		body, err := m.ask("TIMES %s 0 %s", topic, fields(info)["Next"])
		if err != nil {
			c.t.Fatal(err)
		}
		last, most := int64(0), time.Now().Add(11*time.Second).UnixMilli()
		for line := range strings.Lines(body) {
			words := strings.Fields(line)
			if len(words) != 2 {
				c.t.Fatalf("TIMES %s of %s: %q", topic, m, line)
			}
			at, err := decimal(words[1])
			if err != nil || at < last || at > most || at < time.Now().Add(-time.Hour/2).UnixMilli() {
				c.t.Errorf("%s on %s: the batch at %s was stored at %s, it is said, and it is %d", topic, m, words[0], words[1], time.Now().UnixMilli())
				return
			}
			last = at
		}
		if last == 0 {
			c.t.Errorf("%s on %s has no times", topic, m)
		}
	}
}
