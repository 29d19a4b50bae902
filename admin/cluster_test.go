package admin_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/logdtest/script"
)

func TestCluster(t *testing.T) {
	c, requests := answering(t,
		body("cluster=0af members=2 groups=8\r\n"+
			"member=1 name=a addr=a:1774 peer=a:1776 role=voter state=up leads=8 lag-bytes=0 lag-ms=0 free=1000 version=1.2 auth=0123456789ab\r\n"+
			"member=3 name=b addr=b:1774 peer=b:1776 role=learner state=down leads=0 lag-bytes=70 lag-ms=1500 free=900 version=1.1\r\n"),
		body("group=0 leader=a prefers=- term=3 index=9 commit=8 applied=7 topics=2 voters=a,c learners=b damaged-bytes=5\r\n"+
			"group=1 leader=- prefers=a term=0 index=0 commit=0 applied=0 topics=0 voters=a learners= damaged-bytes=0\r\n"),
		"OK\r\n", body("cluster=0af members=2 groups=8\r\n"),
	)
	ctx := t.Context()
	cluster, err := c.Cluster(ctx)
	if diff := cmp.Diff(admin.Cluster{ID: "0af", Groups: 8, Members: []admin.Member{
		{ID: 1, Name: "a", Addr: "a:1774", Peer: "a:1776", Role: "voter", State: "up", Leads: 8, Free: 1000, Version: "1.2", Auth: "0123456789ab"},
		{ID: 3, Name: "b", Addr: "b:1774", Peer: "b:1776", Role: "learner", State: "down", LagBytes: 70, Lag: 1500 * time.Millisecond, Free: 900, Version: "1.1"},
	}}, cluster); err != nil || diff != "" {
		t.Errorf("Cluster, %v (-want +got):\n%s", err, diff)
	}
	groups, err := c.Groups(ctx)
	if diff := cmp.Diff([]admin.Group{
		{Leader: "a", Term: 3, Index: 9, Commit: 8, Applied: 7, Topics: 2, Voters: []string{"a", "c"}, Learners: []string{"b"}, DamagedBytes: 5},
		{Group: 1, Prefers: "a", Voters: []string{"a"}, Learners: []string{}},
	}, groups); err != nil || diff != "" {
		t.Errorf("Groups, %v (-want +got):\n%s", err, diff)
	}
	for range 2 {
		if cluster, err := c.Cluster(ctx); !errors.Is(err, logd.ErrBadAnswer) || cluster.ID != "" {
			t.Errorf("Cluster = %v, %v", cluster, err)
		}
	}
	if diff := cmp.Diff([]string{"CLUSTER", "GROUPS", "CLUSTER", "CLUSTER"}, *requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestClusterCommands: each command is one request, which goes to the member that can do
// it, and what can't be sent is refused.
func TestClusterCommands(t *testing.T) {
	type call = func(ctx context.Context, c *admin.Client) error
	for line, f := range map[string]call{
		"TRANSFER b topic=t": func(ctx context.Context, c *admin.Client) error { return c.TransferTopic(ctx, "b", "t") },
		"TRANSFER b group=3": func(ctx context.Context, c *admin.Client) error { return c.TransferGroup(ctx, "b", 3) },
		"DRAIN b":            func(ctx context.Context, c *admin.Client) error { return c.Drain(ctx, "b") },
		"DRAIN b off=1":      func(ctx context.Context, c *admin.Client) error { return c.Undrain(ctx, "b") },
		"LEAVE 3":            func(ctx context.Context, c *admin.Client) error { return c.Leave(ctx, "3", admin.LeaveOptions{}) },
		"LEAVE b force=1": func(ctx context.Context, c *admin.Client) error {
			return c.Leave(ctx, "b", admin.LeaveOptions{Force: true})
		},
		"REPLACE b d":          func(ctx context.Context, c *admin.Client) error { return c.Replace(ctx, "b", "d") },
		"SETTING partitions 9": func(ctx context.Context, c *admin.Client) error { return c.Set(ctx, "partitions", "9") },
	} {
		for answer, want := range map[string]error{
			"OK\r\n": nil, "ERR busy\r\n": logd.ErrBusy, "ERR invalid request\r\n": logd.ErrInvalidRequest, "OK 0 0\r\n": logd.ErrBadAnswer,
		} {
			network, cfg := fake(t, func(p *script.Peer) {
				p.Exchange(line, "ERR not leader leader:1774\r\n")
				p.Exchange("CLUSTER", "ERR invalid request\r\n")
				p.AwaitClose()
			})
			script.Serve(t, network, "leader:1774", func(p *script.Peer) {
				p.Exchange(line, answer)
				p.AwaitClose()
			})
			if err := f(t.Context(), dial(t, cfg)); !errors.Is(err, want) {
				t.Errorf("%s, %q: %v", line, answer, err)
			}
		}
	}
	c, requests := answering(t)
	for name, f := range map[string]call{
		"TransferTopic": func(ctx context.Context, c *admin.Client) error { return c.TransferTopic(ctx, "b group=1", "t") },
		"no topic":      func(ctx context.Context, c *admin.Client) error { return c.TransferTopic(ctx, "b", "") },
		"TransferGroup": func(ctx context.Context, c *admin.Client) error { return c.TransferGroup(ctx, "b", -1) },
		"Drain":         func(ctx context.Context, c *admin.Client) error { return c.Drain(ctx, "") },
		"Leave": func(ctx context.Context, c *admin.Client) error {
			return c.Leave(ctx, "b force=1", admin.LeaveOptions{})
		},
		"Replace": func(ctx context.Context, c *admin.Client) error { return c.Replace(ctx, "b", "d e") },
		"Set":     func(ctx context.Context, c *admin.Client) error { return c.Set(ctx, "partitions", "9 8") },
	} {
		if err := f(t.Context(), c); !errors.Is(err, logd.ErrInvalidRequest) || len(*requests) > 0 {
			t.Errorf("%s: %v, %q", name, err, *requests)
		}
	}
}
