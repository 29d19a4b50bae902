package protocol

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
)

// maxMemberName is the length of the longest name of a member.
const maxMemberName = 32

// ValidMember reports whether name can be the name of a member, or an id.
func ValidMember[T string | []byte](name T) bool { return validWord(name, maxMemberName) }

// validWord reports whether a word is 1 to most bytes of A-Z a-z 0-9 . _ -.
func validWord[T string | []byte](name T, most int) bool {
	if len(name) == 0 || len(name) > most {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// member takes the name of a member.
func (w *words) member() ([]byte, bool) {
	word, ok := w.next()
	return word, ok && ValidMember(word)
}

// parseClusterCommand parses the arguments of TRANSFER, DRAIN, LEAVE, REPLACE and
// SETTING.
func parseClusterCommand(w words, req *Request) (ok bool) {
	if req.Command == Set {
		var okKey, okValue bool
		req.Key, okKey = w.next()
		req.Value, okValue = w.next()
		return okKey && okValue && len(req.Key) > 0 && parseSettingArgs(w, req)
	}
	if req.Member, ok = w.member(); !ok {
		return false
	}
	switch req.Command {
	case Replace:
		if req.With, ok = w.member(); !ok {
			return false
		}
	case Transfer:
		word, _ := w.next()
		key, value, _ := bytes.Cut(word, []byte("="))
		switch string(key) {
		case "topic":
			req.Topic, req.Group, ok = value, -1, batch.ValidTopic(value)
		case "group":
			req.Group, ok = batch.ParseInt(value)
		default:
			ok = false
		}
	default:
		if !w.more {
			return true
		}
		word, _ := w.next()
		switch {
		case req.Command == Drain && string(word) == "off=1":
			req.Off = true
		case req.Command == Leave && string(word) == "force=1":
			req.Force = true
		default:
			ok = false
		}
	}
	return ok && !w.more
}

func appendClusterCommand(dst []byte, req *Request) []byte {
	dst = append(dst, req.Command.String()...)
	word := func(key string, value []byte) { dst = append(append(append(dst, ' '), key...), value...) }
	switch req.Command {
	case Set:
		word("", req.Key)
		word("", req.Value)
		if len(req.Topic) > 0 {
			word("topic=", req.Topic)
		}
		if req.Try {
			word("dry-run=1", nil)
		}
		return dst
	case Transfer:
		word("", req.Member)
		if req.Group < 0 {
			word("topic=", req.Topic)
		} else {
			word("group=", strconv.AppendInt(nil, req.Group, 10))
		}
		return dst
	case Replace:
		word("", req.Member)
		word("", req.With)
		return dst
	}
	word("", req.Member)
	if req.Off {
		word("off=1", nil)
	}
	if req.Force {
		word("force=1", nil)
	}
	return dst
}

// ClusterInfo is the body of CLUSTER.
type ClusterInfo struct {
	Cluster string // hexadecimal id
	Groups  int64
	Members []MemberInfo // by id
}

// MemberInfo is a line of CLUSTER: a member as the one that was asked sees it.
type MemberInfo struct {
	ID       int64
	Name     string
	Addr     string // for clients
	Peer     string // for the other members
	Role     string // voter, learner, joining or leaving
	State    string // up, down, failed or full
	Leads    int64  // of how many groups it is the leader
	LagBytes int64  // bytes that the one that was asked has stored and this one not yet
	LagMS    int64  // for how long it has lagged behind, in milliseconds
	Free     int64  // bytes of room on its disk
	Version  string
	Auth     string // digest of its file of identities; empty if it says none
	HTTP     string // for clients of HTTP, http(s)://HOST:PORT; empty if it says none
}

// AppendCluster appends the body of CLUSTER.
func AppendCluster(dst []byte, c *ClusterInfo) []byte {
	p := pairs{dst}
	p.text("cluster", c.Cluster)
	p.number("members", int64(len(c.Members)))
	p.number("groups", c.Groups)
	p.dst = p.end()
	for i := range c.Members {
		m := &c.Members[i]
		p.number("member", m.ID)
		p.text("name", m.Name)
		p.text("addr", m.Addr)
		p.text("peer", m.Peer)
		p.text("role", m.Role)
		p.text("state", m.State)
		p.number("leads", m.Leads)
		p.number("lag-bytes", m.LagBytes)
		p.number("lag-ms", m.LagMS)
		p.number("free", m.Free)
		p.text("version", m.Version)
		p.word("http", m.HTTP)
		p.word("auth", m.Auth)
		p.dst = p.end()
	}
	return p.dst
}

// ParseCluster parses the body of CLUSTER.
func ParseCluster(body []byte) (ClusterInfo, error) {
	var c ClusterInfo
	var members int64
	first := true
	for line := range bodyLines(body) {
		if first {
			first = false
			if err := parsePairs(line, map[string]any{"cluster": &c.Cluster, "members": &members, "groups": &c.Groups}); err != nil {
				return c, err
			}
			if !ValidID(c.Cluster) {
				return c, errors.New(strconv.Quote(line) + " names no cluster")
			}
			continue
		}
		var m MemberInfo
		err := parsePairs(line, map[string]any{
			"member": &m.ID, "name": &m.Name, "addr": &m.Addr, "peer": &m.Peer, "role": &m.Role, "state": &m.State,
			"leads": &m.Leads, "lag-bytes": &m.LagBytes, "lag-ms": &m.LagMS, "free": &m.Free, "version": &m.Version, "auth": (*absent)(&m.Auth), "http": (*absent)(&m.HTTP),
		})
		if err != nil {
			return c, err
		}
		c.Members = append(c.Members, m)
	}
	if first || members != int64(len(c.Members)) {
		return c, errors.New("there are not as many members as the first line says")
	}
	return c, nil
}

// GroupInfo is a line of GROUPS: a group as the member that was asked sees it.
type GroupInfo struct {
	Group        int64
	Leader       string // the name of who leads; empty if nobody is known to
	Prefers      string // who is to lead; empty if that is nobody
	Term         int64
	Index        int64 // of the newest entry
	Commit       int64
	Applied      int64
	Topics       int64
	Voters       []string // names
	Learners     []string
	DamagedBytes int64 // set aside here
}

// AppendGroup appends a line of GROUPS.
func AppendGroup(dst []byte, g *GroupInfo) []byte {
	p := pairs{dst}
	p.number("group", g.Group)
	p.word("leader", g.Leader)
	p.word("prefers", g.Prefers)
	p.number("term", g.Term)
	p.number("index", g.Index)
	p.number("commit", g.Commit)
	p.number("applied", g.Applied)
	p.number("topics", g.Topics)
	p.text("voters", strings.Join(g.Voters, ","))
	p.text("learners", strings.Join(g.Learners, ","))
	p.number("damaged-bytes", g.DamagedBytes)
	return p.end()
}

// ParseGroups parses the body of GROUPS.
func ParseGroups(body []byte) ([]GroupInfo, error) {
	var groups []GroupInfo
	for line := range bodyLines(body) {
		var g GroupInfo
		var voters, learners string
		err := parsePairs(line, map[string]any{
			"group": &g.Group, "leader": (*absent)(&g.Leader), "prefers": (*absent)(&g.Prefers), "term": &g.Term, "index": &g.Index,
			"commit": &g.Commit, "applied": &g.Applied, "topics": &g.Topics, "voters": &voters, "learners": &learners,
			"damaged-bytes": &g.DamagedBytes,
		})
		if err != nil {
			return nil, err
		}
		names := func(list string) []string {
			return strings.FieldsFunc(list, func(c rune) bool { return c == ',' })
		}
		g.Voters, g.Learners = names(voters), names(learners)
		groups = append(groups, g)
	}
	return groups, nil
}
