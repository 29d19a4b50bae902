package ledger

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/segment"
)

// TotalKey is what is counted apart. A Source of 0 is all sources of an input that have
// no number, or no longer.
type TotalKey struct {
	Input  string `json:"input"`
	Source int64  `json:"source"`
	Topic  string `json:"topic"`
}

// Total is what became of what was taken, since the ledger was begun.
type Total struct {
	Path            string             `json:"path,omitempty"` // of a file
	Batches         int64              `json:"batches"`
	Messages, Bytes int64              // that are stored
	Holes           map[feed.Kind]Lost `json:"holes,omitempty"`
}

// Lost is the sum of holes. Messages are those that are known.
type Lost struct {
	Holes, Messages, Bytes int64
}

// Source is a file, or the journal, whose position is kept.
type Source struct {
	feed.File
	Journal bool   `json:",omitempty"`
	Cursor  string `json:",omitempty"`
	// Fresh has a record forget what was done before.
	Fresh bool `json:",omitempty"`
	// Done are runs behind the position that are stored, since a batch before them is
	// not.
	Done []TopicRun `json:",omitempty"`
}

// TopicRun is a Run of a batch to a topic.
type TopicRun struct {
	Topic string
	Run
}

// State is what the records of a ledger come to.
type State struct {
	NextID    int64
	Sources   map[int64]*Source
	Sent      map[Key]*Sent // that have no answer, or none that was written down
	Order     []Key         // those of Sent and of Places as they were sent, and others
	Places    map[Key]int   // of batches that were replaced, of which so many parts were not sent yet
	Totals    map[TotalKey]*Total
	Topics    map[string]bool // that templates have made
	Inputs    map[string]bool // that have ever begun
	SpoolDone map[segment.Ref]bool
	Start     Start
}

func newState() *State {
	return &State{
		NextID: 1, Sources: map[int64]*Source{}, Sent: map[Key]*Sent{}, Places: map[Key]int{}, Totals: map[TotalKey]*Total{},
		Topics: map[string]bool{}, Inputs: map[string]bool{}, SpoolDone: map[segment.Ref]bool{},
	}
}

// apply brings a record in. One that can't be read, or of a kind that is not known,
// changes nothing.
func (s *State) apply(kind uint32, content []byte) {
	switch kind {
	case kindStart:
		if r, ok := parse[Start](content); ok {
			s.Start = r
		}
	case kindFound:
		if r, ok := parse[Source](content); ok && r.ID > 0 {
			if known := s.Sources[r.ID]; known != nil && !r.Fresh && r.Done == nil {
				r.Done = known.Done
			}
			r.Fresh = false
			s.NextID = max(s.NextID, r.ID+1)
			s.Sources[r.ID] = &r
		}
	case kindSent:
		if r, ok := parse[Sent](content); ok {
			s.sentAnew(&r)
		}
	case kindSplit:
		if r, ok := parse[split](content); ok {
			s.instead(r.Was, r.Sent...)
		}
	case kindReplaced:
		if r, ok := parse[replaced](content); ok {
			if s.Sent[r.Key] != nil && r.Parts > 0 {
				s.Places[r.Key] = r.Parts
			}
			delete(s.Sent, r.Key)
			s.SpoolDone[r.Spool] = true
		}
	case kindPlace:
		if r, ok := parse[place](content); ok && r.Parts > 0 {
			s.Order = append(s.Order, r.Key)
			s.Places[r.Key] = r.Parts
		}
	case kindStored:
		if r, ok := parse[Stored](content); ok {
			s.stored(&r)
		}
	case kindHole:
		if r, ok := parse[Hole](content); ok {
			s.hole(&r)
		}
	case kindMoved:
		if r, ok := parse[Moved](content); ok {
			s.moved(r.Pos)
		}
	case kindGone:
		if r, ok := parse[gone](content); ok {
			s.forget(r.Source)
		}
	case kindTopic:
		if r, ok := parse[topicMade](content); ok {
			s.Topics[r.Topic] = true
		}
	case kindInput:
		if r, ok := parse[inputBegun](content); ok {
			s.Inputs[r.Input] = true
		}
	case kindTotal:
		if r, ok := parse[totalRecord](content); ok {
			s.Totals[r.TotalKey] = &r.Total
		}
	case kindSpoolDone:
		if r, ok := parse[refs](content); ok {
			for _, ref := range r.Refs {
				s.SpoolDone[ref] = true
			}
		}
	case kindSpoolGone:
		if r, ok := parse[spoolGone](content); ok {
			maps.DeleteFunc(s.SpoolDone, func(ref segment.Ref, _ bool) bool { return ref.Segment == r.Segment })
		}
	case kindEnd:
		if r, ok := parse[end](content); ok {
			s.NextID = max(s.NextID, r.NextID)
		}
	}
}

func parse[T any](content []byte) (r T, ok bool) {
	return r, json.Unmarshal(content, &r) == nil
}

// sentAnew brings a batch in that may have had another number.
func (s *State) sentAnew(r *Sent) {
	if r.Was != nil {
		s.instead(*r.Was, r)
		return
	}
	s.sent(r)
}

func (s *State) sent(r *Sent) {
	if s.Sent[r.Key] == nil {
		s.order(r.Key)
	}
	s.Sent[r.Key] = r
}

// instead has batches take the place of another one.
func (s *State) instead(was Key, all ...*Sent) {
	i := slices.Index(s.Order, was)
	if s.Sent[was] == nil && s.Places[was] == 0 || i < 0 {
		i = len(s.Order)
	}
	delete(s.Sent, was)
	s.partOf(was)
	for _, r := range all {
		if s.Sent[r.Key] == nil {
			s.Order = slices.Insert(s.Order, i, r.Key)
			i++
		}
		s.Sent[r.Key] = r
	}
}

// partOf notes that a part of a batch that was replaced was sent, or never will be.
func (s *State) partOf(k Key) {
	if s.Places[k]--; s.Places[k] <= 0 {
		delete(s.Places, k)
	}
}

// order notes that a batch was sent after those before.
func (s *State) order(k Key) {
	if len(s.Order) > 2*len(s.Sent)+100 {
		s.Order = slices.DeleteFunc(s.Order, func(k Key) bool { return s.Sent[k] == nil && s.Places[k] == 0 })
	}
	s.Order = append(s.Order, k)
}

// Unanswered returns the batches that have no answer, in the order in which they were
// sent.
func (s *State) Unanswered() (all []*Sent) {
	seen := map[Key]bool{}
	for _, k := range s.Order {
		if r := s.Sent[k]; r != nil && !seen[k] {
			seen[k] = true
			all = append(all, r)
		}
	}
	return all
}

// total returns what is counted of a source's messages to a topic. What is told of a source
// that was forgotten counts with its input.
func (s *State) total(k TotalKey) *Total {
	src := s.Sources[k.Source]
	if src == nil {
		k.Source = 0
	}
	t := s.Totals[k]
	if t == nil {
		t = new(Total)
		if src != nil {
			t.Path = src.Path
		}
		s.Totals[k] = t
	}
	return t
}

func (s *State) stored(r *Stored) {
	sent := s.Sent[r.Key]
	if sent == nil { // its record is damaged: what is known is where to go on
		s.moved(r.Pos)
		return
	}
	delete(s.Sent, r.Key)
	if sent.Spool != nil {
		s.SpoolDone[*sent.Spool] = true
	}
	for _, run := range sent.Runs {
		t := s.total(TotalKey{run.Input, run.Source, r.Topic})
		t.Batches++
		t.Messages += run.Lines
		t.Bytes += run.Bytes
		if src := s.Sources[run.Source]; src != nil && run.To.At > src.place().At {
			src.Done = append(src.Done, TopicRun{r.Topic, run})
		}
	}
	s.moved(r.Pos)
}

func (s *State) hole(r *Hole) {
	t := s.total(TotalKey{r.Input, r.Source, r.Topic})
	if t.Holes == nil {
		t.Holes = map[feed.Kind]Lost{}
	}
	l := t.Holes[r.Kind]
	l.Holes++
	l.Messages += max(r.Messages, 0)
	l.Bytes += r.Bytes
	t.Holes[r.Kind] = l
	if r.Key != nil {
		if sent := s.Sent[*r.Key]; sent != nil && sent.Spool != nil {
			s.SpoolDone[*sent.Spool] = true
		}
		delete(s.Sent, *r.Key)
		s.partOf(*r.Key)
	}
	if r.Spool != nil {
		s.SpoolDone[*r.Spool] = true
	}
	s.moved(r.Pos)
}

// place returns the position of the source.
func (src *Source) place() feed.Position { return feed.Position{At: src.Position, Cursor: src.Cursor} }

func (s *State) moved(all []Pos) {
	for _, p := range all {
		src := s.Sources[p.Source]
		if src == nil || p.Position.At <= src.Position {
			continue
		}
		if !src.Journal {
			last := src.Anchors[0]
			src.Anchors = [2]feed.Anchor{{At: p.Position.At, Hash: p.Anchor}, last}
		}
		src.Position, src.Cursor = p.Position.At, p.Position.Cursor
		src.Done = slices.DeleteFunc(src.Done, func(r TopicRun) bool { return r.To.At <= src.Position })
	}
}

// forget takes a source away. What was counted of it is counted with its input.
func (s *State) forget(id int64) {
	delete(s.Sources, id)
	for k, t := range s.Totals {
		if k.Source != id || id == 0 {
			continue
		}
		delete(s.Totals, k)
		k.Source = 0
		s.total(k).add(t)
	}
}

func (t *Total) add(o *Total) {
	t.Batches += o.Batches
	t.Messages += o.Messages
	t.Bytes += o.Bytes
	for kind, lost := range o.Holes {
		if t.Holes == nil {
			t.Holes = map[feed.Kind]Lost{}
		}
		l := t.Holes[kind]
		l.Holes += lost.Holes
		l.Messages += lost.Messages
		l.Bytes += lost.Bytes
		t.Holes[kind] = l
	}
}

// records calls f with records that make the State anew.
func (s *State) records(f func(kind uint32, r any) error) error {
	if err := f(kindStart, &s.Start); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(s.Sources)) {
		if err := f(kindFound, s.Sources[id]); err != nil {
			return err
		}
	}
	seen := map[Key]bool{}
	for _, k := range s.Order {
		var err error
		switch sent := s.Sent[k]; {
		case seen[k]:
		case sent != nil:
			err = f(kindSent, sent)
		case s.Places[k] > 0:
			err = f(kindPlace, place{k, s.Places[k]})
		}
		if seen[k] = true; err != nil {
			return err
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(s.Topics)) {
		if err := f(kindTopic, topicMade{topic}); err != nil {
			return err
		}
	}
	for _, input := range slices.Sorted(maps.Keys(s.Inputs)) {
		if err := f(kindInput, inputBegun{input}); err != nil {
			return err
		}
	}
	keys := slices.SortedFunc(maps.Keys(s.Totals), func(a, b TotalKey) int {
		return cmp.Or(cmp.Compare(a.Input, b.Input), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Topic, b.Topic))
	})
	for _, k := range keys {
		if err := f(kindTotal, totalRecord{k, *s.Totals[k]}); err != nil {
			return err
		}
	}
	done := slices.SortedFunc(maps.Keys(s.SpoolDone), segment.Ref.Compare)
	for part := range slices.Chunk(done, 1000) {
		if err := f(kindSpoolDone, refs{part}); err != nil {
			return err
		}
	}
	return f(kindEnd, end{s.NextID})
}
