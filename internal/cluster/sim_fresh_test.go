package cluster

import "github.com/logd-dev/logd/internal/entry"

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
			if l := o.node.topics.get(k.g, t.Number); l != nil {
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
	for _, t := range k.node.core.groups[k.g].g.Topics() {
		l := k.node.topics.get(k.g, t.Number)
		if l == nil || l.Failed() != nil {
			continue
		}
		if got := l.Readable(); got < k.want[t.ID] && len(k.node.damage(l)) == 0 {
			s.t.Fatalf("member %d: %s is seen up to %d, and fresh is what others had seen, up to %d: %v", k.m.id, t.Name, got, k.want[t.ID], k.node.core.groups[k.g].g)
		}
	}
}
