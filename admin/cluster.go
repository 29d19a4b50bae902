package admin

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/protocol"
)

// Cluster is a cluster as the member sees it that was asked.
type Cluster struct {
	// ID is the cluster's, in hexadecimal.
	ID string
	// Groups is in how many groups the topics are: those of a group have one leader.
	Groups int64
	// Members are by ID.
	Members []Member
}

// Member is a server of a cluster.
type Member struct {
	// ID is the member's, and never that of another one. Name is what it is called:
	// commands take either.
	ID   int64
	Name string
	// Addr is where clients find it, Peer where the other members do.
	Addr, Peer string
	// Role is "voter", "learner", "joining" or "leaving": a learner has all that is
	// stored, and no vote. There may be more.
	Role string
	// State is "up", "down", "failed" or "full". There may be more.
	State string
	// Leads is of how many groups it is the leader.
	Leads int64
	// LagBytes is how many bytes it has not yet that the member which was asked has
	// stored, and Lag for how long it has been behind.
	LagBytes int64
	Lag      time.Duration
	// Free is how many bytes of room its disk has.
	Free int64
	// Version is that of its server.
	Version string
	// Auth is a digest of the auth file that is in force there: that of another one is
	// another. It is empty if there is none, or none is known.
	Auth string
	// HTTP is where clients of HTTP find it, as http(s)://HOST:PORT. It is empty if it says
	// none, or is older than that.
	HTTP string
}

// Group is the topics that have one leader, as the member sees it that was asked.
type Group struct {
	Group int64
	// Leader is the name of the member that leads, empty if none is known to; Prefers
	// that of the one which is to lead, empty if that is nobody.
	Leader, Prefers string
	// Term is how often a leader was to be elected. Index is the newest entry of the
	// group's log, Commit the newest that is sure to stay, and Applied the newest that
	// has had its effect here.
	Term, Index, Commit, Applied int64
	// Topics is how many there are.
	Topics int64
	// Voters and Learners are names of members.
	Voters, Learners []string
	// DamagedBytes is how many bytes that member has set aside because they are damaged.
	DamagedBytes int64
}

// Cluster returns the members of the cluster. The error is logd.ErrInvalidRequest if
// the server is in none.
func (c *Client) Cluster(ctx context.Context) (Cluster, error) {
	info, err := body(ctx, c, "cluster", &protocol.Request{Command: protocol.Cluster}, protocol.ParseCluster)
	cluster := Cluster{ID: info.Cluster, Groups: info.Groups}
	for _, m := range info.Members {
		cluster.Members = append(cluster.Members, Member{
			ID: m.ID, Name: m.Name, Addr: m.Addr, Peer: m.Peer, Role: m.Role, State: m.State, Leads: m.Leads,
			LagBytes: m.LagBytes, Lag: time.Duration(m.LagMS) * time.Millisecond, Free: m.Free, Version: m.Version, Auth: m.Auth, HTTP: m.HTTP,
		})
	}
	return cluster, err
}

// Groups returns the groups of the cluster, as the member sees them that was asked.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	parsed, err := body(ctx, c, "groups", &protocol.Request{Command: protocol.Groups}, protocol.ParseGroups)
	var groups []Group
	for _, g := range parsed {
		groups = append(groups, Group(g))
	}
	return groups, err
}

// TransferTopic has the member, by name, lead the topic's group, and with it all other
// topics of that group, now and from now on. The error is logd.ErrInvalidRequest if the
// member is not up or not caught up.
func (c *Client) TransferTopic(ctx context.Context, member, topic string) error {
	if err := checkMember("transfer", member); err != nil {
		return err
	}
	return c.ok(ctx, "transfer", &protocol.Request{Command: protocol.Transfer, Member: []byte(member), Topic: []byte(topic), Group: -1})
}

// TransferGroup is TransferTopic of a group.
func (c *Client) TransferGroup(ctx context.Context, member string, group int64) error {
	if err := checkMember("transfer", member); err != nil {
		return err
	}
	if group < 0 {
		return &logd.OpError{Op: "transfer", Err: fmt.Errorf("%w: group %d is negative", logd.ErrInvalidRequest, group)}
	}
	return c.ok(ctx, "transfer", &protocol.Request{Command: protocol.Transfer, Member: []byte(member), Group: group})
}

// Drain has the member, by name, lead nothing until its next start, or until Undrain.
func (c *Client) Drain(ctx context.Context, member string) error {
	return c.drain(ctx, member, false)
}

// Undrain lets the member, by name, lead again.
func (c *Client) Undrain(ctx context.Context, member string) error {
	return c.drain(ctx, member, true)
}

func (c *Client) drain(ctx context.Context, member string, off bool) error {
	if err := checkMember("drain", member); err != nil {
		return err
	}
	return c.ok(ctx, "drain", &protocol.Request{Command: protocol.Drain, Member: []byte(member), Off: off})
}

// LeaveOptions say how [Client.Leave] removes a member. The zero value of every field is
// its documented default.
type LeaveOptions struct {
	// Force removes the member also if less than three voters would be left, or an even
	// number of them. Default: that is refused with logd.ErrInvalidRequest.
	Force bool
}

// Leave removes a member, by name or id, from the cluster.
func (c *Client) Leave(ctx context.Context, member string, o LeaveOptions) error {
	if err := checkMember("leave", member); err != nil {
		return err
	}
	return c.ok(ctx, "leave", &protocol.Request{Command: protocol.Leave, Member: []byte(member), Force: o.Force})
}

// Replace has a caught-up learner vote in the place of a voter, which is removed, dead or
// alive. Both are names or ids.
func (c *Client) Replace(ctx context.Context, old, with string) error {
	for _, member := range []string{old, with} {
		if err := checkMember("replace", member); err != nil {
			return err
		}
	}
	return c.ok(ctx, "replace", &protocol.Request{Command: protocol.Replace, Member: []byte(old), With: []byte(with)})
}

// Set changes a setting of the cluster, such as retention-age, on all members.
func (c *Client) Set(ctx context.Context, key, value string) error {
	for _, word := range []string{key, value} {
		if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return &logd.OpError{Op: "set", Err: fmt.Errorf("%w: %s: want one word", logd.ErrInvalidRequest, strconv.Quote(word))}
		}
	}
	return c.ok(ctx, "set", &protocol.Request{Command: protocol.Set, Key: []byte(key), Value: []byte(value)})
}

// checkMember refuses a name that is none: it could be the rest of another request.
func checkMember(op, member string) error {
	if protocol.ValidMember(member) {
		return nil
	}
	return &logd.OpError{Op: op, Err: fmt.Errorf("%w: member %s: want 1 to 32 of A-Z a-z 0-9 . _ -", logd.ErrInvalidRequest, strconv.Quote(member))}
}
