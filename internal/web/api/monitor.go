package api

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/problem"
)

// object is a JSON object whose keys keep their order.
type object []protocol.Field

// MarshalJSON implements json.Marshaler. Values that are numbers, true or false are that
// in JSON, too, but for those of keys that are words whatever they look like.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key := snake(f.Name)
		b.WriteString(strconv.Quote(key) + ":")
		switch n, err := strconv.ParseInt(f.Value, 10, 64); {
		case err == nil && key != "version" && key != "node":
			b.WriteString(strconv.FormatInt(n, 10))
		case f.Value == "true", f.Value == "false":
			b.WriteString(f.Value)
		default:
			text, err := problem.Marshal(f.Value)
			if err != nil {
				return nil, err
			}
			b.Write(text)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// snake turns the name of a value into the style of JSON keys: MaxBatchSize into
// max_batch_size, and conns.total into conns_total.
func snake(name string) string {
	var b strings.Builder
	lower := false
	for _, c := range name {
		if unicode.IsUpper(c) && lower {
			b.WriteByte('_')
		}
		lower = unicode.IsLower(c) || unicode.IsDigit(c)
		if c == '.' || c == '-' {
			c = '_'
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

func showStats(r *request) error {
	fields, err := r.caller.Fields(r.Context(), protocol.Stats)
	if err != nil {
		return err
	}
	return r.json(200, object(fields))
}

func showConfig(r *request) error {
	fields, err := r.caller.Fields(r.Context(), protocol.Config)
	if err != nil {
		return err
	}
	return r.json(200, object(fields))
}

// Cluster is the cluster as a member sees it.
type Cluster struct {
	Cluster string   `json:"cluster"`
	Groups  int64    `json:"groups"`
	Members []Member `json:"members"`
}

// Member is a member of a cluster.
type Member struct {
	Member   int64   `json:"member"`
	Name     string  `json:"name"`
	Addr     string  `json:"addr"`
	Peer     string  `json:"peer"`
	Role     string  `json:"role"`
	State    string  `json:"state"`
	Leads    int64   `json:"leads"`
	LagBytes int64   `json:"lag_bytes"`
	LagMS    int64   `json:"lag_ms"`
	Free     int64   `json:"free"`
	Version  string  `json:"version"`
	Auth     *string `json:"auth"`
	HTTP     *string `json:"http"`
}

func showCluster(r *request) error {
	in, err := r.caller.Cluster(r.Context())
	if err != nil {
		return noCluster(err)
	}
	c := Cluster{Cluster: in.Cluster, Groups: in.Groups, Members: []Member{}}
	for _, m := range in.Members {
		c.Members = append(c.Members, Member{
			m.ID, m.Name, m.Addr, m.Peer, m.Role, m.State, m.Leads, m.LagBytes, m.LagMS, m.Free, m.Version, null(m.Auth), null(m.HTTP),
		})
	}
	return r.json(200, c)
}

// noCluster makes of the answer that there is no cluster one that says so.
func noCluster(err error) error {
	if err == protocol.ErrInvalidRequest {
		return problem.New(problem.InvalidRequest, "The server is in no cluster.")
	}
	return err
}

// Group is a group of topics of a cluster as a member sees it.
type Group struct {
	Group        int64    `json:"group"`
	Leader       *string  `json:"leader"`
	Prefers      *string  `json:"prefers"`
	Term         int64    `json:"term"`
	Index        int64    `json:"index"`
	Commit       int64    `json:"commit"`
	Applied      int64    `json:"applied"`
	Topics       int64    `json:"topics"`
	Voters       []string `json:"voters"`
	Learners     []string `json:"learners"`
	DamagedBytes int64    `json:"damaged_bytes"`
}

func showGroups(r *request) error {
	in, err := r.caller.Groups(r.Context())
	if err != nil {
		return noCluster(err)
	}
	groups := []Group{}
	for _, g := range in {
		groups = append(groups, Group{
			g.Group, null(g.Leader), null(g.Prefers), g.Term, g.Index, g.Commit, g.Applied, g.Topics,
			append([]string{}, g.Voters...), append([]string{}, g.Learners...), g.DamagedBytes,
		})
	}
	return r.json(200, groups)
}

// HealthCheck is what is told of one thing that was looked at.
type HealthCheck struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Since stamp  `json:"since"` // when it was first seen to be so
	Words string `json:"words"`
}

// health remembers since when checks are as they are.
type health struct {
	mu    sync.Mutex
	since map[string]HealthCheck // by name
}

// Health returns what there is to say of the server's health, which is for who may
// monitor it.
func (a *API) Health() []HealthCheck {
	list := []HealthCheck{}
	if a.o.Checks == nil {
		return list
	}
	a.health.mu.Lock()
	defer a.health.mu.Unlock()
	if a.health.since == nil {
		a.health.since = make(map[string]HealthCheck)
	}
	now := time.Now()
	for _, c := range a.o.Checks() {
		h := HealthCheck{Check: c.Name, OK: c.Err == nil, Since: stamp(now), Words: "ok"}
		if c.Err != nil {
			h.Words = c.Err.Error()
		}
		if before, ok := a.health.since[c.Name]; ok && before.OK == h.OK {
			h.Since = before.Since
		}
		a.health.since[c.Name] = h
		list = append(list, h)
	}
	return list
}

func showHealth(r *request) error {
	// While there is nobody to judge it, who may ask is not known.
	if err := r.caller.Refusal(&protocol.Request{Command: protocol.Stats}); err != nil {
		return err
	}
	return r.json(200, r.api.Health())
}
