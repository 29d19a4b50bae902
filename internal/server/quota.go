package server

import (
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/quota"
	"github.com/logd-dev/logd/internal/topic"
)

// longestWait is how long a request waits for a quota at most: no longer than half of
// the time that it has, either. One that would have to wait for longer is refused.
const longestWait = 5 * time.Second

// leastCounted is what a request counts as at least, in bytes, so that quotas bound
// small ones, too.
const leastCounted = 256

// quotaKind is what there are quotas of.
type quotaKind uint8

const (
	topicWrites quotaKind = iota
	writes
	reads
	connections
	numQuotas
)

// String returns the kind as a metric's label has it.
func (k quotaKind) String() string { return [...]string{"topic", "write", "read", "connections"}[k] }

// share is what all who are an identity have in common, if it has quotas.
type share struct {
	write, read quota.Bucket

	mu          sync.Mutex
	most, taken int // connections; no limit if most is 0
}

func (s *share) set(writeRate, readRate int64, connections int) {
	s.write.SetRate(writeRate)
	s.read.SetRate(readRate)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = connections
}

// enter counts another connection, if there may be another or it is here already.
func (s *share) enter(already bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !already && s.most > 0 && s.taken >= s.most {
		return false
	}
	s.taken++
	return true
}

func (s *share) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
}

// shares are those of all identities that have quotas, and have been here.
type shares struct {
	mu     sync.Mutex
	byName map[string]*share
}

func hasQuotas(id Identity) bool {
	if id == nil {
		return false
	}
	writeRate, readRate, connections := id.Quotas()
	return writeRate > 0 || readRate > 0 || connections > 0
}

// identify returns who has shown that, and the share of its quotas if it has any.
func (a *Auth) identify(s Shown) (Identity, *share) {
	id := a.Identify(s)
	if !hasQuotas(id) {
		return id, nil
	}
	a.shares.mu.Lock()
	defer a.shares.mu.Unlock()
	if id = a.Identify(s); !hasQuotas(id) { // by now there may be another policy
		return id, nil
	}
	sh := a.shares.byName[id.Name()]
	if sh == nil {
		sh = new(share)
		sh.set(id.Quotas())
		if a.shares.byName == nil {
			a.shares.byName = make(map[string]*share)
		}
		a.shares.byName[id.Name()] = sh
	}
	return id, sh
}

// follow has all shares keep to a policy that take puts in force.
func (s *shares) follow(p Policy, take func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	take()
	for name, sh := range s.byName {
		if id := p.ByName(name); hasQuotas(id) {
			sh.set(id.Quotas())
		} else {
			sh.set(0, 0, 0) // who waits need not any more
			delete(s.byName, name)
		}
	}
}

// topicShares are what was written into topics lately.
type topicShares struct {
	mu      sync.Mutex
	rateOf  func(topic []byte) int64 // 0: no limit
	byTopic map[string]*quota.Bucket
	sweepAt int // so many of them are looked through for those that are full
}

// setRate sets the rate of each topic, and reports whether it may be another for one that was
// written to lately.
func (s *topicShares) setRate(of func(topic []byte) int64) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rateOf = of
	for name, b := range s.byTopic {
		rate := of([]byte(name))
		changed = b.SetRate(rate) || changed
		if rate == 0 {
			delete(s.byTopic, name)
		}
	}
	return changed
}

// take is Take of the topic's bucket, which is nil if there is no limit.
func (s *topicShares) take(topic []byte, n int64, most time.Duration) (b *quota.Bucket, c quota.Claim, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b = s.byTopic[string(topic)]; b == nil {
		rate := s.rateOf(topic)
		if rate == 0 {
			return nil, c, 0
		}
		s.sweep()
		b = new(quota.Bucket)
		b.SetRate(rate)
		s.byTopic[string(topic)] = b
	}
	c, wait = b.Take(n, most) // under the lock, lest it is swept before
	return b, c, wait
}

// sweep forgets the buckets that are full, once there are twice as many as were left by
// the last time. Caller holds mu.
func (s *topicShares) sweep() {
	const few = 64
	if s.byTopic == nil {
		s.byTopic, s.sweepAt = make(map[string]*quota.Bucket), few
	}
	if len(s.byTopic) < s.sweepAt {
		return
	}
	for name, b := range s.byTopic {
		if b.Full() {
			delete(s.byTopic, name)
		}
	}
	s.sweepAt = max(2*len(s.byTopic), few)
}

// claim is what a request has taken of quotas, and waits for.
type claim struct {
	made  bool
	waits bool      // until left returns 0
	until time.Time // and no longer

	size         int64         // that was taken
	owner, topic *quota.Bucket // nil if there is no such quota
	ofOwner      quota.Claim
	ofTopic      quota.Claim
}

// left returns how long there is still to wait, as things are.
func (q *claim) left() (d time.Duration) {
	if q.owner != nil {
		d = q.owner.Wait(q.ofOwner)
	}
	if q.topic != nil {
		d = max(d, q.topic.Wait(q.ofTopic))
	}
	return min(d, time.Until(q.until))
}

// owe takes more, which the request turned out to be.
func (q *claim) owe(more int64) {
	more = max(more, 0)
	if q.owner != nil {
		q.owner.Owe(more)
	}
	if q.topic != nil {
		q.topic.Owe(more)
	}
}

// isMetered reports whether quotas are about a command: those that anybody may give
// are not.
func isMetered(cmd protocol.Command) bool {
	switch cmd {
	case protocol.Ping, protocol.Help, protocol.Hello, protocol.Close, protocol.Auth:
		return false
	}
	return true
}

// admit takes of quotas what a request needs, unless that is done: of a BATCH the size
// of line and data, with the rate that its topic may have; all else reads. It returns why
// the request is refused, and whether the connection stays then. If claim.waits after it,
// the request is not to be done yet.
func (c *caller) admit(req *protocol.Request, size, topicRate int64) (err *protocol.Error, stays bool) {
	if c.auth != nil && !c.seated && isMetered(req.Command) && !c.sit() {
		c.refusedConnection()
		return protocol.Busy(time.Second), false
	}
	if c.claim.made || c.share == nil && topicRate == 0 || !isMetered(req.Command) {
		return nil, true
	}
	return c.take(req, max(size, leastCounted), topicRate > 0), true
}

// take takes of quotas what a request needs.
func (c *caller) take(req *protocol.Request, size int64, ofTopic bool) *protocol.Error {
	most := min(longestWait, c.srv.limits.Load().Timeout/2)
	q := claim{made: true, size: size, until: time.Now().Add(most)}
	var wait time.Duration
	kind := reads
	if c.share != nil {
		q.owner = &c.share.read
		if req.Command == protocol.Batch {
			q.owner, kind = &c.share.write, writes
		}
		q.ofOwner, wait = q.owner.Take(size, most)
	}
	if ofTopic && wait <= most {
		b, of, w := c.srv.topics.take(req.Batch.Topic, size, most)
		q.topic, q.ofTopic = b, of
		if w > most && q.owner != nil {
			q.owner.GiveBack(size)
		}
		if w > wait {
			wait, kind = w, topicWrites
		}
	}
	if wait > 0 {
		c.throttled(kind, req, wait)
	}
	if wait > most {
		return protocol.Busy(wait)
	}
	q.waits = wait > 0
	c.claim = q
	return nil
}

// throttled notes that a request has to wait, or is refused since it would have to wait
// for too long.
func (c *caller) throttled(kind quotaKind, req *protocol.Request, wait time.Duration) {
	c.srv.counters.throttled[kind].Add(1)
	c.srv.log.Debug("over a quota", "quota", kind.String(), "identity", nameOf(c.id), "remote", c.from(), "command", req.Command.String(), "wait", wait)
}

// meter has what is answered be owed.
type meter struct {
	Responder
	of *quota.Bucket
}

// metered returns a Responder that has what is answered be owed, but for the
// leastCounted that are taken already. The caller has quotas.
func (c *caller) metered(to Responder) Responder {
	c.meter = meter{to, &c.share.read}
	return &c.meter
}

func (m *meter) owe(n int64) {
	if n > leastCounted {
		m.of.Owe(n - leastCounted)
	}
}

// Body implements Responder.
func (m *meter) Body(body []byte) {
	m.owe(int64(len(body)))
	m.Responder.Body(body)
}

// Batches implements Responder.
func (m *meter) Batches(v topic.View) {
	m.owe(v.Len())
	m.Responder.Batches(v)
}

// sit counts the caller as a connection of who it is, and reports whether there may be
// another. If it counts already, it goes on doing so.
func (a *access) sit() bool {
	if a.seated {
		return true
	}
	if a.share != nil && !a.share.enter(false) {
		return false
	}
	a.seat, a.seated = a.share, true
	return true
}

// move counts the caller, which is somebody else than it was or has other quotas, where
// it belongs now. As those that are connected stay, it is not asked whether there may be
// another.
func (a *access) move() {
	if a.seat == a.share {
		return
	}
	a.stand()
	if a.share != nil {
		a.share.enter(true)
	}
	a.seat, a.seated = a.share, true
}

// stand has the caller count no more.
func (a *access) stand() {
	if a.seat != nil {
		a.seat.leave()
	}
	a.seat, a.seated = nil, false
}

// sitEarly is sit for a connection that has shown who it is by itself. One that has
// not may be about to: it counts with its first request that anybody may not make.
// Otherwise the connections of strangers would keep out those of others.
func (c *conn) sitEarly() bool {
	return c.id == nil || c.shown.method == nothing || c.id.Name() == anonymous || c.sit()
}

// anonymous is the name of who shows nothing.
const anonymous = "anonymous"

// refusedConnection notes that there is one connection too many of an identity.
func (c *caller) refusedConnection() {
	c.srv.counters.throttled[connections].Add(1)
	c.srv.log.Debug("over a quota", "quota", connections.String(), "identity", nameOf(c.id), "remote", c.from())
}

// refuseConnection is the answer to a request with which there is one connection too
// many.
func (c *caller) refuseConnection(cmd protocol.Command, to Responder) outcome {
	c.refusedConnection()
	c.refuse(to, cmd, nil, protocol.ErrBusy)
	return closes
}

// pause waits for as long as the claim has to wait. Nothing is read meanwhile: the
// client's bytes stay where they are. A server that drains waits for nothing.
func (c *conn) pause() error {
	if err := c.flush(false); err != nil {
		return err
	}
	begun := time.Now()
	for !c.draining.Load() {
		d := c.claim.left()
		if d <= 0 {
			break
		}
		if err := awaitWake(c.ctx, nil, c.woken, time.Now().Add(d)); err != nil {
			return err
		}
	}
	c.claim.waits = false
	if !c.started.IsZero() {
		c.started = c.started.Add(time.Since(begun)) // it is not the client that was slow
	}
	c.read.Forget() // who has woken it has set the deadline
	return nil
}
