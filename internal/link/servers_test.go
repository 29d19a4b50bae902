package link

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
)

// What has failed is tried last, for a while; what is known of members comes and goes
// with the cluster.
func TestServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers([]string{"a:1", "b:1"})
		check := func(what string, first int, after string, order ...string) {
			t.Helper()
			if got := s.order(s.all(), first); !slices.Equal(got, order) || s.after(order[0]) != after {
				t.Errorf("%s: %v, and %q after the first; want %v, %q", what, got, s.after(order[0]), order, after)
			}
		}
		check("at first", 0, "b:1", "a:1", "b:1")
		check("from the second", 1, "a:1", "b:1", "a:1")
		if s.Known() || s.Cluster() || s.Patience() != 0 {
			t.Error("it knows more than it can")
		}
		s.learn(&protocol.Settings{Cluster: "0af", ElectionTimeout: time.Second})
		s.setMembers([]string{"b:1", "c:1", "d:1"})
		check("members", 0, "b:1", "a:1", "b:1", "c:1", "d:1")
		if !s.Known() || !s.Cluster() || s.Patience() != 1500*time.Millisecond || !s.stale.Load() {
			t.Error("it has not learned of the cluster")
		}
		s.lost("b:1")
		check("one has failed", 0, "c:1", "a:1", "c:1", "d:1", "b:1")
		for _, addr := range []string{"a:1", "c:1", "d:1"} {
			s.lost(addr)
		}
		check("all have", 0, "b:1", "a:1", "b:1", "c:1", "d:1")
		s.answered("d:1")
		check("one answers", 0, "d:1", "d:1", "a:1", "b:1", "c:1")
		time.Sleep(failedRest)
		check("a while ago", 0, "b:1", "a:1", "b:1", "c:1", "d:1")
		if s.after("gone:1") != "a:1" {
			t.Errorf("after one that is no member: %q", s.after("gone:1"))
		}
		s.learn(&protocol.Settings{})
		check("no cluster any more", 0, "b:1", "a:1", "b:1")
		if s.Cluster() || s.Patience() != 0 {
			t.Error("it is still a cluster")
		}
	})
}

// A single server is not kept account of.
func TestServersSingle(t *testing.T) {
	s := newServers([]string{"a:1"})
	s.learn(&protocol.Settings{})
	s.lost("a:1")
	if len(s.failed) > 0 || s.stale.Load() || s.several() || s.after("a:1") != "a:1" {
		t.Errorf("%+v", s)
	}
}
