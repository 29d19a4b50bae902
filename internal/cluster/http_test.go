package cluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/cluster/clustertest"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/testkit"
)

// TestHTTPIsSaid: where clients of HTTP find a member all know, as soon as it has started
// and also when it is down, and by the address that others find it at. Nobody says it for
// another member, or anything else that way.
func TestHTTPIsSaid(t *testing.T) {
	c := clustertest.Start(t, 3)
	saying := func(want string, at ...*clustertest.Member) {
		t.Helper()
		testkit.Eventually(t, func() string {
			for _, m := range at {
				for _, seen := range m.Node.Members().Members {
					if id := seen.ID; id == 2 && seen.HTTP != want || id != 2 && seen.HTTP != "" {
						return fmt.Sprintf("member %d sees %d at %q, want %q", m.ID, id, seen.HTTP, want)
					}
				}
				if got := m.Node.Said().HTTPAt("m2:1"); got != want {
					return fmt.Sprintf("by its address it is at %q, want %q", got, want)
				}
			}
			return ""
		})
	}
	saying("", c.Members...)
	second := c.Members[1]
	restart := func(url string) {
		second.Stop()
		second.HTTP = url
		second.Start()
	}
	restart("http://m2:1775")
	saying("http://m2:1775", c.Members...)
	second.Stop()
	saying("http://m2:1775", c.Members[0], c.Members[2])
	second.Start()

	testkit.Eventually(t, func() string { // whoever leads group 0
		for _, m := range c.Members {
			if _, ready := m.Node.Leader(0); !ready {
				continue
			}
			for _, d := range []entry.Setting{
				{Key: "~http/m2", Value: "http://evil:1"},
				{Key: "~http/m3", Value: "javascript:alert(1)"}, {Key: "~http/m3", Value: "http://a:1/x"}, {Key: "~http/m3", Value: "http://a:1\r\nX: y"},
				{Key: "~http/", Value: "http://m3:1"}, {Key: "~http/m4", Value: "http://m3:1"},
				{Key: "partitions", Value: "1"}, {Key: "~drain/1", Value: "1"},
			} {
				m.Node.Suggested(3, entry.Append(nil, d))
			}
			return ""
		}
		return "nobody leads"
	})
	time.Sleep(30 * clustertest.Tick) // in which all that was taken is in force
	saying("http://m2:1775", c.Members...)
	for _, s := range c.Members[0].Node.Said().Settings {
		if s.Key != "~http/m2" {
			t.Errorf("%s is %q", s.Key, s.Value)
		}
	}

	restart("")
	saying("", c.Members...)
}
