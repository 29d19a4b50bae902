package server

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/socket"
)

// Identity is who makes requests, and what rules allow it. It never changes. Verbs
// are read, write, create, admin, monitor and position.
type Identity interface {
	Name() string
	// May reports whether the verb is allowed for a topic.
	May(verb string, topic []byte) bool
	// MayPosition reports whether the position of a consumer of a topic is its to ask
	// for, set, hold and forget.
	MayPosition(topic, consumer []byte) bool
	// MayAny reports whether the verb is allowed for some topic.
	MayAny(verb string) bool
	// MayAll reports whether the verb is allowed for the server as a whole.
	MayAll(verb string) bool
	// Sees reports whether some rule is about a topic.
	Sees(topic []byte) bool
	// Quotas returns how many bytes a second all who are it may write and read together,
	// and how many connections they may have. 0 is no limit.
	Quotas() (writeRate, readRate int64, connections int)
}

// Policy is who is who. It never changes. A nil Identity is nobody.
type Policy interface {
	ByToken(sum [sha256.Size]byte) Identity
	// ByCertificate returns whose certificate it is. If it is several identities', it
	// is nobody's.
	ByCertificate(cert *x509.Certificate) (id Identity, several bool)
	ByPeer(uid, gid uint32) Identity
	ByName(name string) Identity
	// Anonymous is who shows nothing, or nil if that may nothing.
	Anonymous() Identity
}

// Failures tells how long a wrong token is to wait for its answer, and whether that
// is to be the last one of the connection. Safe for concurrent use.
type Failures interface {
	Failed(network netip.Addr, now time.Time) (delay time.Duration, last bool)
}

// Auth says who may do what: over the protocol, and over HTTP. Create it with
// NewAuth. All methods are safe for concurrent use.
type Auth struct {
	policy   atomic.Pointer[Policy]
	shares   shares
	failures Failures
	audit    audit

	shown  [numMethods][2]atomic.Int64 // failed and ok
	denied [numVerbs]atomic.Int64
}

// NewAuth returns an Auth of a policy. What happens is told to the logger.
func NewAuth(p Policy, f Failures, log *slog.Logger) *Auth {
	a := &Auth{failures: f, audit: audit{log: log}}
	a.SetPolicy(p)
	return a
}

// SetPolicy puts another policy in place. A [Server.Recall] has all who are connected
// judged by it. Quotas are in force at once; what is owed by then stays owed.
func (a *Auth) SetPolicy(p Policy) { a.shares.follow(p, func() { a.policy.Store(&p) }) }

// Reloaded notes that other identities are in force; a digest tells which.
func (a *Auth) Reloaded(digest string) {
	a.note(event{what: "reload", reason: "other identities are in force: " + digest})
}

// Close writes what the log has still to be told.
func (a *Auth) Close() { a.audit.close() }

// method is a way to show who one is.
type method uint8

const (
	nothing method = iota
	byToken
	byCertificate
	byPeer
	numMethods
)

// String returns the method as a metric's label has it.
func (m method) String() string { return [...]string{"", "token", "certificate", "peer"}[m] }

// verb is what a rule allows.
type verb uint8

const (
	anything verb = iota // any of the others will do
	read
	write
	create
	admin
	monitor
	position
	numVerbs
)

// String returns the verb as rules have it.
func (v verb) String() string {
	return [...]string{"any", "read", "write", "create", "admin", "monitor", "position"}[v]
}

// Shown is what a caller has shown of who it is. The zero value is nothing.
type Shown struct {
	method   method
	sum      [sha256.Size]byte // of the token
	cert     *x509.Certificate
	uid, gid uint32
}

// Token returns what a token shows, and whether the token is anybody's.
func (a *Auth) Token(token []byte) (Shown, bool) {
	s := Shown{method: byToken, sum: sha256.Sum256(token)}
	ok := (*a.policy.Load()).ByToken(s.sum) != nil
	a.count(byToken, ok)
	if !ok {
		s = Shown{}
	}
	return s, ok
}

// Certificate returns what a connection's certificate shows, which has been verified.
func (a *Auth) Certificate(state *tls.ConnectionState, remote interface{ String() string }) Shown {
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return Shown{}
	}
	s := Shown{method: byCertificate, cert: state.VerifiedChains[0][0]}
	id, several := (*a.policy.Load()).ByCertificate(s.cert)
	if several {
		a.note(event{what: "auth_failed", remote: remote, reason: "the certificate is several identities'"})
	}
	a.count(byCertificate, id != nil)
	return s
}

// peer returns what a connection shows by itself: the user of a process at a unix
// socket.
func (a *Auth) peer(nc net.Conn) Shown {
	uid, gid, ok := socket.Peer(nc)
	if !ok {
		return Shown{}
	}
	s := Shown{method: byPeer, uid: uid, gid: gid}
	a.count(byPeer, (*a.policy.Load()).ByPeer(uid, gid) != nil)
	return s
}

func (a *Auth) count(m method, ok bool) {
	i := 0
	if ok {
		i = 1
	}
	a.shown[m][i].Add(1)
}

// Identify returns who has shown that, now, or nil if that is nobody who may do
// anything.
func (a *Auth) Identify(s Shown) Identity {
	p := *a.policy.Load()
	var id Identity
	switch s.method {
	case byToken:
		id = p.ByToken(s.sum)
	case byCertificate:
		id, _ = p.ByCertificate(s.cert)
	case byPeer:
		id = p.ByPeer(s.uid, s.gid)
	}
	if id == nil {
		id = p.Anonymous()
	}
	return id
}

// Failed notes a wrong token and returns how long its answer is to wait, and whether
// that is to be the last one of the connection.
func (a *Auth) Failed(remote interface{ String() string }) (delay time.Duration, last bool) {
	a.note(event{what: "auth_failed", remote: remote, reason: "no identity has the token"})
	return a.failures.Failed(networkOf(remote), time.Now())
}

// Administers reports whether somebody may do all that is about the server, and
// Monitors whether it may look at it.
func Administers(id Identity) bool { return id != nil && id.MayAll(admin.String()) }

// Monitors reports whether somebody may look at what is about the server.
func Monitors(id Identity) bool {
	return id != nil && (id.MayAll(monitor.String()) || id.MayAll(admin.String()))
}

// Denied notes that somebody has not been let do what takes a verb.
func (a *Auth) Denied(id Identity, v string, remote interface{ String() string }, what string) {
	for i := range numVerbs {
		if i.String() == v {
			a.denied[i].Add(1)
		}
	}
	a.note(event{what: "denied", id: id, remote: remote, command: what, reason: whyDenied(id)})
}

// NoTLS notes a handshake of TLS that came to nothing.
func (a *Auth) NoTLS(remote interface{ String() string }, err error) {
	a.note(event{what: "tls_failed", remote: remote, reason: whyNoTLS(err)})
}

// HTTPRefused notes a request over HTTP that a web page may have had a browser make. The
// reason is a word of the caller's own.
func (a *Auth) HTTPRefused(remote interface{ String() string }, reason string) {
	a.note(event{what: "http_refused", remote: remote, reason: reason})
}

// Administered notes that an administrator does what leaves no other trace.
func (a *Auth) Administered(id Identity, remote interface{ String() string }, what string) {
	a.note(event{what: "admin", id: id, remote: remote, command: what})
}

// AuthStats are the counters of an Auth.
type AuthStats struct {
	Shown  map[[2]string]int64 // by method and result: token, certificate or peer; ok or failed
	Denied map[string]int64    // by verb
}

// Stats returns the counters.
func (a *Auth) Stats() AuthStats {
	st := AuthStats{make(map[[2]string]int64), make(map[string]int64)}
	for m := byToken; m < numMethods; m++ {
		st.Shown[[2]string{m.String(), "failed"}] = a.shown[m][0].Load()
		st.Shown[[2]string{m.String(), "ok"}] = a.shown[m][1].Load()
	}
	for v := range numVerbs {
		st.Denied[v.String()] = a.denied[v].Load()
	}
	return st
}

// networkOf returns what counts as one address of a remote one, and the zero Addr of
// one that is of no network.
func networkOf(remote interface{ String() string }) netip.Addr {
	switch a := remote.(type) {
	case nil:
	case *net.TCPAddr:
		return socket.Network(a.AddrPort().Addr())
	default:
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			return socket.Network(ap.Addr())
		}
	}
	return netip.Addr{}
}

// authenticate deals with AUTH. The token's bytes are the driver's to forget.
func (c *caller) authenticate(req *protocol.Request, to Responder) outcome {
	a := c.auth
	if a == nil {
		return c.refuseRequest(req, protocol.ErrInvalidRequest, to)
	}
	if c.bare {
		c.refuse(to, protocol.Auth, nil, protocol.ErrTLSRequired)
		return answered
	}
	shown, ok := a.Token(req.Token)
	c.show(shown)
	if ok && !c.sit() {
		return c.refuseConnection(req.Command, to)
	}
	if !ok {
		c.tries++
		delay, last := a.Failed(c.remote)
		c.delay = reprieve{delay, last || c.tries >= maxTries}
		return late
	}
	a.note(event{what: "auth", id: c.id, remote: c.remote})
	to.OK()
	return answered
}

// maxTries is how many wrong tokens a connection has.
const maxTries = 3

// reprieve is how long the answer to a wrong token has to wait, and whether it is the
// last one.
type reprieve struct {
	delay time.Duration
	last  bool
}
