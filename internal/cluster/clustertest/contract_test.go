package clustertest

import (
	"testing"

	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// TestContract: the topics of a cluster keep what topic promises, on the member that
// leads.
func TestContract(t *testing.T) {
	for _, members := range []int{1, 3} {
		topictest.Test(t, func(t *testing.T) topic.Store {
			c := Start(t, members)
			lead := c.Leader("leads")
			for g := range Groups {
				testkit.Eventually(t, func() string {
					if _, ready := lead.Node.Leader(g); ready {
						return ""
					}
					for _, m := range c.Members { // who leads the group, or group 0, does it
						m.Node.Transfer(t.Context(), lead.name(), int64(g), nil)
					}
					return "another one leads"
				})
			}
			l, err := lead.Node.Topics().Log([]byte("leads"))
			if err != nil {
				t.Fatal(err)
			}
			in, err := l.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := lead.Node.Topics().Delete(t.Context(), "leads", in.ID, true); err != nil {
				t.Fatal(err)
			}
			return lead.Node.Topics()
		})
	}
}
