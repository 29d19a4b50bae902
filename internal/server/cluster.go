package server

import (
	"context"
	"errors"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// freshFor waits until this server knows all that was acknowledged anywhere before the
// request.
func (c *caller) freshFor(req *protocol.Request) error {
	name := req.Topic
	if req.Command == protocol.Topics {
		name = nil
	}
	return c.fresh(c.ctx, name)
}

// fresh waits until this server knows all that was acknowledged anywhere of a topic, or
// of which topics there are.
func (d *doors) fresh(ctx context.Context, name []byte) error {
	if d.cluster == topic.Cluster(noCluster{}) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.limits.Load().Timeout)
	defer cancel()
	return d.cluster.Fresh(ctx, name)
}

// members answers CLUSTER.
func members(of topic.Cluster, to Responder) error {
	m := of.Members()
	if m.Cluster == "" {
		return errNoCluster
	}
	c := protocol.ClusterInfo{Cluster: m.Cluster, Groups: m.Groups}
	for _, member := range m.Members {
		c.Members = append(c.Members, protocol.MemberInfo(member))
	}
	to.Body(protocol.AppendCluster(nil, &c))
	return nil
}

// groups answers GROUPS.
func groups(of topic.Cluster, to Responder) error {
	all := of.Groups()
	if len(all) == 0 {
		return errNoCluster
	}
	var b []byte
	for _, g := range all {
		b = protocol.AppendGroup(b, (*protocol.GroupInfo)(&g))
	}
	to.Body(b)
	return nil
}

// changeCluster answers what changes the cluster, when it is done.
func (c *caller) changeCluster(of topic.Cluster, req *protocol.Request, to Responder) (err error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.limits.Load().Timeout)
	defer cancel()
	member := string(req.Member)
	switch req.Command {
	case protocol.Transfer:
		err = of.Transfer(ctx, member, req.Group, req.Topic)
	case protocol.Drain:
		err = of.Drain(ctx, member, req.Off)
	case protocol.Leave:
		err = of.Leave(ctx, member, req.Force)
	case protocol.Replace:
		err = of.Replace(ctx, member, string(req.With))
	case protocol.Set:
		err = of.Set(ctx, string(req.Key), string(req.Value))
	}
	if err == nil {
		to.OK()
	}
	return err
}

// errNoCluster is what only a member of a cluster can do.
var errNoCluster = invalidError("this server is in no cluster")

type invalidError string

func (e invalidError) Error() string   { return string(e) }
func (e invalidError) Is(t error) bool { return errors.Is(t, topic.ErrInvalid) }

// noCluster is that of a server which is in none: it knows all that is stored.
type noCluster struct{}

func (noCluster) Fresh(context.Context, []byte) error                   { return nil }
func (noCluster) Elsewhere([]byte) error                                { return nil }
func (noCluster) Members() topic.Members                                { return topic.Members{} }
func (noCluster) Groups() []topic.Group                                 { return nil }
func (noCluster) Transfer(context.Context, string, int64, []byte) error { return errNoCluster }
func (noCluster) Drain(context.Context, string, bool) error             { return errNoCluster }
func (noCluster) Leave(context.Context, string, bool) error             { return errNoCluster }
func (noCluster) Replace(context.Context, string, string) error         { return errNoCluster }
func (noCluster) Set(context.Context, string, string) error             { return errNoCluster }
