package cluster

import (
	"errors"
	"slices"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/topic"
)

// look is a request with fresh=1 at a member: when it is answered the member sees all that
// any member had seen when it was asked.
type look struct {
	m    *simMember
	node *Node
	done chan error
	want map[entry.ID]int64 // how far anybody saw topics of the group
	g    int
}

// askFresh asks a member.
func (s *sim) askFresh(m *simMember) {
	k := &look{m: m, node: m.node, done: make(chan error, 1), want: make(map[entry.ID]int64), g: s.r.IntN(simGroups)}
	for _, o := range s.members {
		if !o.up() {
			continue
		}
		for _, t := range o.node.core.groups[k.g].g.Topics() {
			if l := o.node.topics.Get(k.g, t.Number); l != nil {
				k.want[t.ID] = max(k.want[t.ID], min(l.Readable(), t.End))
			}
		}
	}
	s.looks = append(s.looks, k)
	n := m.node
	n.core.post(func() {
		cg := n.core.groups[k.g]
		cg.nextFresh++
		cg.fresh[cg.nextFresh] = func(err error) { k.done <- err }
		cg.g.Fresh(cg.nextFresh)
		n.core.take(k.g)
	})
}

// lookAtFresh looks at the answers.
func (s *sim) lookAtFresh() {
	rest := s.looks[:0]
	for _, k := range s.looks {
		if k.m.node != k.node {
			continue
		}
		select {
		case err := <-k.done:
			if err == nil {
				s.stats.fresh++
				s.checkFresh(k)
			}
		default:
			rest = append(rest, k)
		}
	}
	s.looks = rest
}

func (s *sim) checkFresh(k *look) {
	topics := k.node.core.groups[k.g].g.Topics()
	for id, want := range k.want {
		i := slices.IndexFunc(topics, func(t entry.Topic) bool { return t.ID == id })
		if i < 0 && !s.deleted[id] {
			s.t.Fatalf("member %d: topic %v is not known, and fresh is what others had seen, up to %d", k.m.id, id, want)
		}
		if i < 0 {
			continue
		}
		name := topics[i].Name
		l := k.node.names.get(name)
		if l == nil || l.Log.ID() != id {
			s.t.Fatalf("member %d: topic %s is not found, and fresh is what others had seen, up to %d", k.m.id, name, want)
		}
		if l.Failed() != nil {
			continue
		}
		if got := l.Readable(); got < want && len(k.node.topics.Damage(l.Log)) == 0 {
			s.t.Fatalf("member %d: %s is seen up to %d, and fresh is what others had seen, up to %d: %v", k.m.id, name, got, want, k.node.core.groups[k.g].g)
		}
	}
}

// readBeyond asks a member for what another one has, and it has not: it may not say that
// this does not exist.
func (s *sim) readBeyond(m *simMember) {
	o := s.members[s.r.IntN(len(s.members))]
	if !o.up() {
		return
	}
	for _, l := range o.node.names.logs() {
		own := m.node.names.get(l.Name())
		if own == nil || own.Log.ID() != l.Log.ID() || l.Readable() <= own.Readable() {
			continue
		}
		s.stats.reads++
		at := l.Readable()
		v, err := own.Read(at, 1, 0)
		if err == nil {
			v.Close()
			s.t.Fatalf("member %d: %s is read at %d, and ends at %d", m.id, l.Name(), at, own.Readable())
		}
		if _, elsewhere := errors.AsType[*topic.NotLeaderError](err); !elsewhere && errors.Is(err, topic.ErrNotFound) {
			s.t.Fatalf("member %d, with %s up to %d, says of %d: %v", m.id, l.Name(), own.Readable(), at, err)
		}
	}
}
