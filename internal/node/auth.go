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

// newAuth returns who may do what, or nil if there is no file that says so.
func newAuth(c *config.Config, log *slog.Logger) (*server.Auth, error) {
	if c.AuthFile == "" {
		return nil, nil
	}
	p, err := loadPolicy(c.AuthFile, log)
	if err != nil {
		return nil, err
	}
	return server.NewAuth(p, new(auth.Failures), log), nil
}

// maxUnauthenticated returns how many connections there may be that have not shown who
// they are.
func maxUnauthenticated(c *config.Config, connections int) int {
	if c.MaxUnauthenticated > 0 {
		return c.MaxUnauthenticated
	}
	return max(connections/4, 1)
}
