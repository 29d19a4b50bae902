package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/group"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/vfs"
)

// Said is what group 0 says of the cluster: see [group.Said].
type Said struct{ group.Said }

// Said returns what is known here. It is not to be changed.
func (n *Node) Said() *Said {
	if s := n.said.Load(); s != nil {
		return s
	}
	return &Said{}
}

// Saved returns what group 0 says as far as the work directory knows it for certain:
// nothing if that is no member's, or can't be read. It is for what has to be known before
// Open.
func Saved(fsys vfs.FS) *Said {
	s, err := saved(fsys, false)
	if err != nil {
		return &Said{}
	}
	return s
}

// SavedAll returns what group 0 says if all counts that the work directory has, what is in
// doubt, too: the others may have agreed upon it, although that was not noted here. It is
// for a member that goes on alone, see [Single].
func SavedAll(fsys vfs.FS) (*Said, error) { return saved(fsys, true) }

func saved(fsys vfs.FS, all bool) (*Said, error) {
	rec, err := grouplog.Open(fsys)
	if err != nil {
		return nil, err
	}
	s, err := stateOf(rec, 0)
	if err != nil {
		return nil, err
	}
	if all {
		s.Commit = rec.Groups[0].Last()
	}
	return &Said{group.New(group.Config{ID: rec.Member.ID}, s).Said()}, nil
}

// setting returns the value of a setting, or nothing.
func (s *Said) setting(key string) string {
	v, _ := s.Setting(key)
	return v
}

// Setting returns the value of a setting, and whether it has one.
func (s *Said) Setting(key string) (value string, ok bool) {
	for _, p := range s.Settings {
		if p.Key == key {
			return p.Value, true
		}
	}
	return "", false
}

// member returns a member by its id.
func (s *Said) member(id uint64) (m entry.Member, ok bool) {
	i := slices.IndexFunc(s.Members, func(m entry.Member) bool { return m.ID == id })
	if i < 0 {
		return m, false
	}
	return s.Members[i], true
}

// Member returns a member by its id, and whether there is one.
func (s *Said) Member(id uint64) (entry.Member, bool) { return s.member(id) }

// addr returns where clients find a member, or nothing.
func (s *Said) addr(id uint64) string {
	m, _ := s.member(id)
	return m.Addr
}

// httpPrefix begins the key of a setting that says where clients of HTTP find the member of
// that name. It is no part of the Members entry: a member of a version that does not know
// it could not read that.
const httpPrefix = "~http/"

func httpKey(name string) string { return httpPrefix + name }

// topicPrefix begins the key of a setting that is about single topics. Members of a version
// that does not know such settings keep them, and go by none.
const topicPrefix = "~topic/"

// Topics returns what was set of single topics by SetTopics, in no order that matters.
func (s *Said) Topics() (values []string) {
	for _, p := range s.Settings {
		if strings.HasPrefix(p.Key, topicPrefix) && p.Value != "" {
			values = append(values, p.Value)
		}
	}
	return values
}

// TopicSetting returns the setting that SetTopics makes of an id and a value.
func TopicSetting(id, value string) entry.Setting {
	sum := sha256.Sum256([]byte(id))
	return entry.Setting{Key: topicPrefix + hex.EncodeToString(sum[:16]), Value: value}
}

// HTTP returns where clients of HTTP find a member, http(s)://HOST:PORT, or nothing.
func (s *Said) HTTP(name string) string { return s.setting(httpKey(name)) }

// HTTPAt is HTTP of the member that clients find at an address.
func (s *Said) HTTPAt(addr string) string {
	for i := range s.Members {
		if m := &s.Members[i]; m.Addr == addr && active(m) {
			return s.HTTP(m.Name)
		}
	}
	return ""
}

// active reports whether a member is one, or is to be.
func active(m *entry.Member) bool { return m.Role != entry.Gone && m.Role != entry.Leaving }

// publish shows what group 0 says, if that has changed.
func (c *core) publish(always bool) {
	g := c.groups[0].g
	if old := c.n.said.Load(); !always && old != nil && old.Version == g.SaidVersion() {
		return
	}
	s := &Said{g.Said()}
	if len(s.Members) == 0 {
		s.Members = c.n.admitted
	}
	c.n.said.Store(s)
	if c.n.o.Changed != nil {
		c.n.o.Changed(s)
	}
	if len(g.Said().Members) > 0 {
		c.n.disk.post(func() { c.n.disk.notePeers(s.Members) })
	}
	for _, cg := range c.groups {
		cg.g.SetMaxRound(c.n.maxRound())
	}
	c.n.keeper.soon() // it may be kept by other settings
}

// Removed reports whether a member was removed, for good, as far as is known here: who
// knows it is who led group 0 when that was done.
func (n *Node) Removed(id uint64) bool {
	out := n.out.Load()
	return out != nil && slices.Contains(*out, id)
}

// noteRemoved notes who was removed, once that is done.
func (c *core) noteRemoved() {
	s := c.n.Said()
	if _, ready := c.groups[0].g.Leads(); !ready || !c.idle() {
		return
	}
	var out []uint64
	for id := uint64(1); id < s.NextMember; id++ {
		if m, ok := s.member(id); !ok || !active(&m) {
			out = append(out, id)
		}
	}
	if old := c.n.out.Load(); old != nil && slices.Equal(*old, out) {
		return
	}
	c.n.out.Store(&out)
	if c.n.o.Changed != nil {
		c.n.o.Changed(s)
	}
}
