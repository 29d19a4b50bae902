package server

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// audit writes what an operator may want to know of who did what: message audit,
// with the keys event, identity, remote, command, topic and reason. Of each kind of
// event and each address there are so many lines a minute, and then one that says
// how many are missing, so that a stranger can't fill the log.
type audit struct {
	log *slog.Logger

	mu     sync.Mutex
	counts map[auditKey]*auditCount
	swept  time.Time // when those that are over were dropped last
	closed bool
}

const (
	auditLines  = 10
	auditWindow = time.Minute
	auditKeys   = 4096 // of addresses and events; what is beyond counts as one
)

// event is what is noted. What of it came from outside has passed its check: no other
// text is ever written.
type event struct {
	what    string // auth, auth_failed, denied, admin, reload, tls_failed, http_refused
	id      Identity
	remote  interface{ String() string }
	command string
	topic   []byte // a valid name, or nothing
	reason  string
}

type auditKey struct {
	what    string
	network netip.Addr
}

// auditCount is of a minute of one key.
type auditCount struct {
	until             time.Time
	lines, suppressed int
	timer             *time.Timer // tells of what is suppressed; nil if nothing is
}

// note writes an event, or counts it as suppressed.
func (a *Auth) note(e event) { a.audit.note(e) }

func (a *audit) note(e event) {
	now := time.Now()
	a.mu.Lock()
	key, c := a.count(auditKey{e.what, networkOf(e.remote)}, now)
	if c.lines >= auditLines || a.closed {
		if c.suppressed++; c.timer == nil && !a.closed {
			c.timer = time.AfterFunc(c.until.Sub(now), func() { a.tell(key, c) })
		}
		a.mu.Unlock()
		return
	}
	c.lines++
	a.mu.Unlock()

	level := slog.LevelInfo
	switch e.what {
	case "auth_failed", "denied", "tls_failed", "http_refused":
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("event", e.what)}
	for _, s := range [...]struct{ key, value string }{
		{"identity", nameOf(e.id)}, {"remote", text(e.remote)}, {"command", e.command}, {"topic", string(e.topic)}, {"reason", e.reason},
	} {
		if s.value != "" {
			attrs = append(attrs, slog.String(s.key, s.value))
		}
	}
	a.log.LogAttrs(context.Background(), level, "audit", attrs...)
}

// count returns the count of a key, or where there is no room for it that of all others,
// with its key. Caller holds mu.
func (a *audit) count(key auditKey, now time.Time) (auditKey, *auditCount) {
	if a.counts == nil {
		a.counts = make(map[auditKey]*auditCount)
	}
	c := a.counts[key]
	if c != nil && now.Before(c.until) {
		return key, c
	}
	if c == nil && len(a.counts) >= auditKeys && now.Sub(a.swept) >= time.Second {
		a.swept = now
		for k, c := range a.counts {
			if !now.Before(c.until) && c.timer == nil {
				delete(a.counts, k)
			}
		}
	}
	if c == nil && len(a.counts) >= auditKeys {
		key.network = netip.IPv6Unspecified() // all others
		if c = a.counts[key]; c != nil && now.Before(c.until) {
			return key, c
		}
	}
	c = &auditCount{until: now.Add(auditWindow)}
	a.counts[key] = c
	return key, c
}

// tell writes how many events of a key were suppressed.
func (a *audit) tell(key auditKey, c *auditCount) {
	a.mu.Lock()
	n := c.suppressed
	c.suppressed, c.timer = 0, nil
	if a.counts[key] == c {
		delete(a.counts, key)
	}
	a.mu.Unlock()
	if n > 0 {
		attrs := []slog.Attr{slog.String("event", key.what), slog.Int("suppressed", n)}
		if key.network.IsValid() && key.network != netip.IPv6Unspecified() {
			attrs = append(attrs, slog.String("remote", key.network.String()))
		}
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "audit", attrs...)
	}
}

// close tells of all that is suppressed. What comes after it is not written.
func (a *audit) close() {
	a.mu.Lock()
	a.closed = true
	type of struct {
		key auditKey
		c   *auditCount
	}
	var left []of
	for key, c := range a.counts {
		if c.timer != nil && c.timer.Stop() {
			left = append(left, of{key, c})
		}
	}
	a.mu.Unlock()
	for _, l := range left {
		a.tell(l.key, l.c)
	}
}

func nameOf(id Identity) string {
	if id == nil {
		return ""
	}
	return id.Name()
}

func text(s interface{ String() string }) string {
	if s == nil {
		return ""
	}
	return s.String()
}
