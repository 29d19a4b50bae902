package group

import (
	"cmp"
	"maps"
	"slices"

	"github.com/logd-dev/logd/internal/entry"
)

// state is what the entries up to an index add up to. It is a function of them
// alone, so that it is the same on every member.
type state struct {
	topics     map[uint32]*entry.Topic // by number
	stored     int64                   // the sum of their ends
	version    uint64                  // another one when what is said of members, settings and leaders has changed
	names      map[string]uint32
	nextTopic  uint32
	membersAt  uint64 // index of the newest Members entry
	nextMember uint64
	members    []entry.Member
	settings   []entry.Setting
	leaders    []entry.Leader
}

func newState(t *entry.Table) *state {
	s := &state{topics: make(map[uint32]*entry.Topic), names: make(map[string]uint32)}
	if t == nil {
		return s
	}
	for _, p := range t.Topics {
		s.topics[p.Number], s.names[p.Name] = &p, p.Number
		s.stored += p.End
	}
	s.nextTopic, s.membersAt, s.nextMember, s.version = t.NextTopic, t.MembersAt, t.NextMember, t.Index
	s.members, s.settings, s.leaders = slices.Clone(t.Members), slices.Clone(t.Settings), slices.Clone(t.Leaders)
	return s
}

// table returns the state as a table, without what is not the state's: group, index,
// term and configuration.
func (s *state) table() *entry.Table {
	t := &entry.Table{
		NextTopic: s.nextTopic, MembersAt: s.membersAt, NextMember: s.nextMember,
		Members: slices.Clone(s.members), Settings: slices.Clone(s.settings), Leaders: slices.Clone(s.leaders),
	}
	for _, n := range s.numbers() {
		t.Topics = append(t.Topics, *s.topics[n])
	}
	return t
}

func (s *state) numbers() []uint32 { return slices.Sorted(maps.Keys(s.topics)) }

// apply does what an entry says. What names a topic that is not there any more
// does nothing, and so does what was applied before.
func (s *state) apply(e *Entry) {
	switch d := e.Decoded.(type) {
	case *entry.Round:
		for i := range d.Runs {
			if t := s.topics[d.Runs[i].Topic]; t != nil {
				end := max(t.End, d.Runs[i].End())
				s.stored += end - t.End
				t.End = end
			}
		}
	case entry.Create:
		if s.topics[d.Topic] == nil && d.Topic >= s.nextTopic {
			s.topics[d.Topic] = &entry.Topic{Number: d.Topic, ID: d.ID, Name: d.Name, Time: d.Time}
			s.names[d.Name] = d.Topic
			s.nextTopic = d.Topic + 1
		}
	case entry.Delete:
		if t := s.topics[d.Topic]; t != nil {
			if s.names[t.Name] == d.Topic {
				delete(s.names, t.Name)
			}
			delete(s.topics, d.Topic)
			s.stored -= t.End
		}
	case entry.Trim:
		if t := s.topics[d.Topic]; t != nil {
			t.Oldest = max(t.Oldest, min(d.Offset, t.End))
		}
	case entry.Members:
		s.version = e.Index
		s.membersAt, s.members = e.Index, d.Members
		for i := range d.Members {
			s.nextMember = max(s.nextMember, d.Members[i].ID+1)
		}
	case entry.Setting:
		s.version = e.Index
		s.settings = put(s.settings, d, func(a, b entry.Setting) int { return cmp.Compare(a.Key, b.Key) })
	case entry.Leader:
		s.version = e.Index
		s.leaders = put(s.leaders, d, func(a, b entry.Leader) int { return cmp.Compare(a.Group, b.Group) })
	}
}

// put puts an element in its place in a list, in the place of one that is equal.
// The list that there was is not changed.
func put[E any](list []E, e E, compare func(a, b E) int) []E {
	i, found := slices.BinarySearchFunc(list, e, compare)
	if found {
		list = slices.Clone(list)
		list[i] = e
		return list
	}
	return slices.Insert(slices.Clone(list), i, e)
}

// topic returns a copy of a topic.
func (s *state) topic(number uint32) (entry.Topic, bool) {
	if t := s.topics[number]; t != nil {
		return *t, true
	}
	return entry.Topic{}, false
}
