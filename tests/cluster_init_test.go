package tests

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestClusterInitKilled kills logd cluster init again and again while it makes a member of
// a directory that has topics. After each time the directory is one of a single node with
// all that it had, or a member with all that it had.
func TestClusterInitKilled(t *testing.T) {
	t.Parallel()
	r := random(t)
	c := makeCluster(t, newLoopback(), shortTimeout)
	t.Cleanup(c.end)
	m := c.place("a")
	topics := []string{"t0", "t1", "t2"}
	s := start(t, m.dir, clusterFlags...)
	want := make(map[string][]batch)
	for _, topic := range topics {
		k := dial(t, s.addr)
		for range 1 + r.IntN(100) {
			k.append(topic, "x")
		}
		k.close()
		want[topic] = stored(t, s.addr, topic)
	}
	s.stop()

	isMember := func() bool {
		_, err := os.Stat(filepath.Join(m.dir, ".cluster", "member"))
		return err == nil
	}
	kills := 0
	for pause := time.Duration(0); !isMember(); {
		init := c.initCommand(m)
		if err := init.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- init.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("logd cluster init, after %d kills: %v", kills, err)
			}
			continue
		case <-time.After(pause):
		}
		init.Process.Kill()
		<-ended
		kills++
		pause += time.Duration(r.IntN(4000)) * time.Microsecond
		if isMember() || r.IntN(4) > 0 {
			continue
		}
		s := start(t, m.dir, clusterFlags...)
		for _, topic := range topics {
			if got := stored(t, s.addr, topic); !sameBatches(got, want[topic]) {
				t.Fatalf("after %d kills %s has %d batches, and had %d", kills, topic, len(got), len(want[topic]))
			}
		}
		s.stop()
	}
	t.Logf("%d kills", kills)
	m.start()
	for _, topic := range topics {
		all := want[topic]
		got, err := m.readAll(topic, all[len(all)-1].end())
		if err != nil || !sameBatches(got, all) {
			t.Errorf("%s has %d batches, and had %d: %v", topic, len(got), len(all), err)
		}
	}
	m.stop()
}

func sameBatches(a, b []batch) bool {
	return slices.EqualFunc(a, b, func(a, b batch) bool { return a.offset == b.offset && a.wire == b.wire })
}
