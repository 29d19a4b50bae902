// Package auth says who is who and who may do what: identities with their tokens,
// certificates and users, and the rules of each, as a file lists them.
//
// A [Policy] is such a file, read once. It never changes; a newer file makes
// another Policy, which takes its place. An [Identity] is one of its names:
//
//	p, err := auth.Load("/etc/logd/auth.toml")
//	id := p.ByToken(auth.Sum(token)) // nil: nobody has it
//	ok := id.May("read", topic)
//
// What no rule allows is not allowed: there is no order of rules, and none that
// denies. [Failures] is how long who has tried wrong tokens has to wait.
//
// The package decides and nothing else. It has no connections, asks nobody and
// writes no log; who shows what is for its callers to find out. It never has a
// token but in [Sum] and [NewToken], and no error or other text of it shows one. All
// methods are safe for concurrent use.
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// Digest is what is kept of a token: its SHA-256. That is enough, as there is no
// dictionary of tokens of 256 random bits; a slower hash would let strangers have
// the server work.
type Digest [sha256.Size]byte

// Sum returns the digest of a token.
func Sum(token []byte) Digest { return sha256.Sum256(token) }

// digestPrefix begins a digest as text, and tokenPrefix a token.
const (
	digestPrefix = "sha256:"
	tokenPrefix  = "logd_"
)

// String returns the digest as the file has it.
func (d Digest) String() string { return digestPrefix + hex.EncodeToString(d[:]) }

// parseDigest is the inverse of Digest.String.
func parseDigest(text string) (d Digest, ok bool) {
	digits, ok := strings.CutPrefix(text, digestPrefix)
	if !ok || len(digits) != hex.EncodedLen(len(d)) {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(digits))
	return d, err == nil
}

// NewToken returns a token that nobody has, of 256 random bits.
func NewToken() string {
	var b [32]byte
	rand.Read(b[:])
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// Anonymous is the name of the identity that connections have which show nothing.
const Anonymous = "anonymous"

// Identity is who makes requests, and what its rules allow it. It never changes.
type Identity struct {
	name  string
	rules []rule

	writeRate, readRate int64
	connections         int
}

// Name returns the identity's name.
func (id *Identity) Name() string { return id.name }

// May reports whether a rule allows the verb for a topic, which is one of the words
// that rules begin with: read, write, create, admin or position. Of position it is one for
// some consumer: see MayPosition.
func (id *Identity) May(verb string, topic []byte) bool {
	v := verbs[verb]
	for i := range id.rules {
		if r := &id.rules[i]; r.verbs&v != 0 && r.pattern.Match(topic) {
			return true
		}
	}
	return false
}

// MayPosition reports whether a rule allows the position of a consumer of a topic to be
// asked for, set, held and forgotten.
func (id *Identity) MayPosition(topic, consumer []byte) bool {
	for i := range id.rules {
		r := &id.rules[i]
		if r.verbs&verbs[position] != 0 && r.pattern.Match(topic) && (r.consumers == nil || r.consumers.Match(consumer)) {
			return true
		}
	}
	return false
}

// MayAny reports whether a rule allows the verb for some topic, whatever its name.
// An identity without rules may nothing.
func (id *Identity) MayAny(verb string) bool {
	v := verbs[verb]
	for i := range id.rules {
		if id.rules[i].verbs&v != 0 {
			return true
		}
	}
	return false
}

// MayAll reports whether a rule allows the verb for the pattern *, which is how a
// rule says that it is about the server as a whole.
func (id *Identity) MayAll(verb string) bool {
	v := verbs[verb]
	for i := range id.rules {
		if r := &id.rules[i]; r.verbs&v != 0 && r.pattern.All() {
			return true
		}
	}
	return false
}

// Sees reports whether a rule, of whatever verb, is about a topic of the name.
func (id *Identity) Sees(topic []byte) bool {
	for i := range id.rules {
		if id.rules[i].pattern.Match(topic) {
			return true
		}
	}
	return false
}

// Rules returns the identity's rules as the file has them.
func (id *Identity) Rules() []string {
	texts := make([]string, len(id.rules))
	for i := range id.rules {
		texts[i] = id.rules[i].text
	}
	return texts
}

// Quotas returns how many bytes a second all connections of the identity together
// may write and read, and how many there may be of them. 0 is no limit.
func (id *Identity) Quotas() (writeRate, readRate int64, connections int) {
	return id.writeRate, id.readRate, id.connections
}

// Policy is a file of identities.
type Policy struct {
	digest     string
	identities []*Identity
	anonymous  *Identity

	names  map[string]*Identity
	tokens map[Digest]holder
	certs  map[string]*Identity
	uids   map[uint32]*Identity
	gids   map[uint32]*Identity
	counts map[*Identity]int // of tokens
}

// holder is who has a token.
type holder struct {
	digest Digest
	id     *Identity
}

// Digest returns 12 hexadecimal digits that files of the same bytes have alike, and
// others do not.
func (p *Policy) Digest() string { return p.digest }

// Identities returns the identities in the order of the file. They are not to be
// changed.
func (p *Policy) Identities() []*Identity { return p.identities }

// Tokens returns how many tokens an identity has.
func (p *Policy) Tokens(id *Identity) int { return p.counts[id] }

// Anonymous returns who they are that show nothing, or nil if they may nothing.
func (p *Policy) Anonymous() *Identity { return p.anonymous }

// ByName returns the identity of a name, or nil.
func (p *Policy) ByName(name string) *Identity { return p.names[name] }

// ByToken returns who has the token of a digest, or nil. How long it takes says
// nothing of digests that are nearly right: which token would have such a one,
// nobody can tell.
func (p *Policy) ByToken(d Digest) *Identity {
	h, ok := p.tokens[d]
	if !ok || subtle.ConstantTimeCompare(h.digest[:], d[:]) != 1 {
		return nil
	}
	return h.id
}

// ByCertificate returns whose certificate it is, by its names: dns: and uri: of the
// subject's alternative names, and cn: of the subject. If it is several identities',
// it is nobody's: then several is true. Whether the certificate is to be believed is
// for the caller to know.
func (p *Policy) ByCertificate(cert *x509.Certificate) (id *Identity, several bool) {
	take := func(name string) {
		if other := p.certs[name]; other != nil && id != other {
			several = several || id != nil
			id = other
		}
	}
	for _, name := range cert.DNSNames {
		take("dns:" + name)
	}
	for _, uri := range cert.URIs {
		take("uri:" + uri.String())
	}
	if cert.Subject.CommonName != "" {
		take("cn:" + cert.Subject.CommonName)
	}
	if several {
		return nil, true
	}
	return id, false
}

// ByPeer returns who a process of this machine is, by its user, or else by its
// primary group, or nil.
func (p *Policy) ByPeer(uid, gid uint32) *Identity {
	if id := p.uids[uid]; id != nil {
		return id
	}
	return p.gids[gid]
}
