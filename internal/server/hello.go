package server

import (
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// Unpacker looks into compressed batches.
type Unpacker interface {
	// Check reports whether data, of a batch that h is the envelope of, is in its codec
	// what the envelope says, in at most limit bytes unpacked. It returns how many there
	// are of these, and nil or an error answer. It may wait for memory.
	Check(h *batch.Header, data []byte, limit int64) (size int64, err *protocol.Error)
}

// hello answers HELLO, and keeps what the client knows.
func (c *caller) hello(req *protocol.Request, cluster topic.Cluster, to Responder) {
	c.codecs = req.Codecs
	settings := c.srv.settings.Load()
	g := protocol.Greeting{
		Version: min(req.Speaks, protocol.Version), Server: "logd", Node: settings.Node,
		Codecs: batch.KnownCodecs, Role: protocol.Leads, Auth: protocol.AuthOff,
	}
	switch {
	case c.auth != nil && c.id == nil: // which tells a stranger nothing
		g.Node, g.Auth = "", protocol.AuthRequired
	case settings.Version != "":
		g.Server += " " + settings.Version
	}
	if c.auth != nil && c.id != nil {
		g.Auth = c.id.Name()
	}
	if g.Node != "" {
		g.Role = roleOf(g.Node, cluster)
	}
	to.Body(protocol.AppendGreeting(nil, &g))
}

// roleOf returns what a member is to the groups: their leader, if it is that of any.
func roleOf(node string, cluster topic.Cluster) protocol.Role {
	for _, m := range cluster.Members().Members {
		switch {
		case m.Name != node:
		case m.Leads > 0:
			return protocol.Leads
		case m.Role == "voter":
			return protocol.Follower
		}
	}
	return protocol.Learner
}

// unpack looks into a compressed batch, and returns why it is refused, or nil.
func (c *caller) unpack(h *batch.Header, data []byte) *protocol.Error {
	size, err := c.srv.o.Unpacker.Check(h, data, c.srv.settings.Load().MaxUncompressedSize)
	if c.claim.made && err == nil {
		c.claim.owe(size - h.Size)
	}
	return err
}
