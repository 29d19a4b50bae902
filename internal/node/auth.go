package node

import (
	"crypto/x509"
	"fmt"
	"log/slog"

	"github.com/logd-dev/logd/internal/auth"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/server"
)

// policy is a file of identities as package server asks it.
type policy struct{ *auth.Policy }

func (p policy) ByToken(sum [32]byte) server.Identity { return identity(p.Policy.ByToken(sum)) }

func (p policy) ByCertificate(cert *x509.Certificate) (server.Identity, bool) {
	id, several := p.Policy.ByCertificate(cert)
	return identity(id), several
}

func (p policy) ByName(name string) server.Identity { return identity(p.Policy.ByName(name)) }

func (p policy) ByPeer(uid, gid uint32) server.Identity { return identity(p.Policy.ByPeer(uid, gid)) }

func (p policy) Anonymous() server.Identity { return identity(p.Policy.Anonymous()) }

// identity returns who it is, and a nil interface for nobody.
func identity(id *auth.Identity) server.Identity {
	if id == nil {
		return nil
	}
	return id
}

// loadPolicy reads the file of identities.
func loadPolicy(path string, log *slog.Logger) (policy, error) {
	p, err := auth.Load(path)
	if err != nil {
		return policy{}, fmt.Errorf("identities (auth-file): %w", err)
	}
	if id := p.Anonymous(); id != nil {
		log.Warn("connections that do not show who they are may do what the rules of anonymous allow", "file", path, "allow", id.Rules())
	}
	return policy{p}, nil
}

// addAuth has the node go by the file of identities, if there is one, and by what is in
// it whenever that changes.
func (n *Node) addAuth(c *config.Config) error {
	if c.AuthFile == "" {
		return nil
	}
	return n.reload.add(&part{
		name: "auth",
		prepare: func(c *config.Config) (commit func(), err error) {
			p, err := loadPolicy(c.AuthFile, n.log)
			if err != nil {
				return nil, err
			}
			return func() { n.setPolicy(p) }, nil
		},
		files: func(c *config.Config) []string { return []string{c.AuthFile} },
	})
}

// setPolicy puts identities in force, for who is connected, too.
func (n *Node) setPolicy(p policy) {
	n.authSum.Store(p.Digest())
	if n.auth == nil {
		n.auth = server.NewAuth(p, new(auth.Failures), n.log)
		return
	}
	n.auth.SetPolicy(p)
	if s := n.server.Load(); s != nil {
		s.Recall()
	}
	n.auth.Reloaded(p.Digest())
}

// authDigest returns the digest of the file of identities that is in force, or nothing.
func (n *Node) authDigest() string {
	sum, _ := n.authSum.Load().(string)
	return sum
}

// maxUnauthenticated returns how many connections there may be that have not shown who
// they are.
func maxUnauthenticated(c *config.Config, share descriptors) int {
	if c.MaxUnauthenticated > 0 {
		return c.MaxUnauthenticated
	}
	return max(share.connections/4, 1)
}
