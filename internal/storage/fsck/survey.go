package fsck

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/storage/diagnose"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/vfs"
)

// surveyor reads topics without changing anything and finds out what recovery
// would make of them, and what it would never look at.
type surveyor struct {
	ctx      context.Context
	fs       vfs.FS
	online   bool
	progress func(done, total int64)

	done, total int64
	unpacker    codec.Unpacker
	unpacked    []byte // memory for what is unpacked
}

func newSurveyor(ctx context.Context, fsys vfs.FS) *surveyor {
	return &surveyor{ctx: ctx, fs: fsys}
}

// survey is what was found of one topic.
type survey struct {
	topic    string // its folder in the work directory
	findings []Finding

	state   journal.State
	adopted bool // there is no journal that says who the topic is
	newer   bool // nothing but the journal's version is known
	partial bool // something could not be read
	deleted bool // there is a topic no longer

	parts []*partitionFinding // as recovery would serve them; the last is the head
	disk  *diagnose.Log       // of parts, before their bytes are looked at
	next  int64               // where the log would go on, without what is cut off
}

// partitionFinding is a partition file, read from end to end.
type partitionFinding struct {
	name       string
	base, size int64 // of the file
	end        int64 // offset: what follows in the file does not count
	millis     int64 // when the file was changed last
	mode       fs.FileMode
	read       int64
	unmarked   int64 // bytes behind the last synced mark that were left out

	sum     journal.Totals // of its valid batches, without times
	fresh   []layout.Range // offsets that are no batches, new to the journal
	badIdx  bool           // the index is there and does not fit
	recount bool           // what the journal counts is not so
}

func newPartition(name string, base int64, st fs.FileInfo) *partitionFinding {
	return &partitionFinding{
		name: name, base: base, size: st.Size(), end: base + st.Size(), millis: st.ModTime().UnixMilli(), mode: st.Mode().Perm(),
	}
}

func (s *survey) add(f Finding) {
	f.Topic = s.topic
	for i := range f.remedies {
		a := &f.remedies[i]
		a.Topic, a.Why = s.topic, f.Why
		if a.File == "" {
			a.File, a.Position, a.Offset, a.Length = f.File, f.Position, f.Offset, f.Length
		}
	}
	s.findings = append(s.findings, f)
}

// note adds a note about a file as a whole.
func (s *survey) note(kind FindingKind, file, why string, remedies ...Action) {
	s.add(Finding{Level: Note, Kind: kind, File: file, Position: -1, Offset: -1, Why: why, remedies: remedies})
}

// unreadable notes that a file could not be read from pos on.
func (s *survey) unreadable(file string, pos, offset, length int64, err error) {
	s.partial = true
	s.add(Finding{
		Level: Unchecked, Kind: FoundUnreadable, File: file, Position: pos, Offset: offset, Length: length, Why: err.Error(),
	})
}

// topic surveys one topic. The error is the context's.
func (v *surveyor) topic(name string) (*survey, error) {
	s := &survey{topic: name}
	err := v.look(s)
	if v.online && s.findings != nil && !s.deleted && v.vanished(s) {
		return &survey{topic: name, deleted: true}, err
	}
	return s, err
}

// look is topic, for a topic that stays.
func (v *surveyor) look(s *survey) error {
	name := s.topic
	if st, err := v.fs.Stat(name); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		s.unreadable(name, -1, -1, 0, layout.ErrLinked)
		return v.ctx.Err()
	}
	v.checkMode(s, name)
	v.readJournal(s)
	if s.deleted || s.newer || !v.listFiles(s) {
		return v.ctx.Err()
	}
	if !v.online {
		v.findUnfinished(s)
		v.findDeadHeads(s)
	}
	v.findGaps(s)
	s.disk = s.onDisk()
	for i, p := range s.parts {
		if err := v.scanPartition(s, p, i == len(s.parts)-1); err != nil {
			return err
		}
	}
	if !v.online {
		v.findEnd(s)
	}
	return v.ctx.Err()
}

// vanished reports whether the topic was deleted while it was looked at.
func (v *surveyor) vanished(s *survey) bool {
	if st, err := v.fs.Stat(s.topic); err != nil || !st.IsDir() {
		return errors.Is(err, fs.ErrNotExist)
	}
	b, err := journal.Read(v.fs, s.topic)
	if err != nil {
		return false
	}
	now, _, _ := journal.Decode(b)
	return journal.IsDeleted(b) || now.ID != s.state.ID // that of another, or of none yet
}

// onDisk returns what is known of the log before its bytes are looked at. What is
// made of it is what package diagnose makes of that, here as in recovery.
func (s *survey) onDisk() *diagnose.Log {
	d := &diagnose.Log{Journal: &s.state, Adopted: s.adopted, Parts: make([]layout.Range, len(s.parts))}
	for i, p := range s.parts {
		d.Parts[i] = layout.Range{From: p.base, To: p.end}
	}
	return d
}

// findUnfinished takes the partitions away that a TRIM or CUT record condemns.
func (v *surveyor) findUnfinished(s *survey) {
	n := s.onDisk().Trimmed()
	for _, p := range s.parts[:n] {
		s.note(FoundUnfinished, p.name, "a partition that was being removed", Action{Kind: ActRemove})
	}
	s.parts = s.parts[n:]
	keep, shorten, announced := s.onDisk().Cut()
	if !announced {
		return
	}
	for _, p := range slices.Backward(s.parts[keep:]) {
		s.note(FoundUnfinished, p.name, "a partition after the place where the log was being cut off", Action{Kind: ActRemove})
	}
	s.parts = s.parts[:keep]
	if shorten {
		p, cut := s.parts[keep-1], s.state.Cut
		s.add(Finding{Level: Note, Kind: FoundUnfinished, File: p.name, Position: cut - p.base, Offset: cut, Length: p.end - cut,
			Why: "the log was being cut off here", remedies: []Action{{Kind: ActCut}}})
		p.end = cut
	} else {
		s.note(FoundUnfinished, layout.JournalFile(s.topic), "the log was being cut off, and is", Action{Kind: ActJournal})
	}
	s.state.FinishCut()
}

// findDeadHeads takes away the heads after the synced mark that have no batch:
// the torn tail begins in the partition before.
func (v *surveyor) findDeadHeads(s *survey) {
	for s.onDisk().InDoubt() {
		n := len(s.parts) - 1
		p := s.parts[n]
		if alive, err := v.isAlive(s, p); err != nil || alive {
			return // an error is met again
		}
		save := []Action{{Kind: ActSave}, {Kind: ActRemove}}
		if p.size > 0 {
			s.add(Finding{Level: Note, Kind: FoundTornTail, File: p.name, Position: 0, Offset: p.base, Length: p.size,
				Why: "of the appends to this partition, never known as durable, none reached the disk whole", remedies: save})
		} else if s.parts[n-1].end == p.base && v.endsValid(s, s.parts[n-1]) {
			return // begun, and nothing was written: it can stay
		} else {
			s.note(FoundTornTail, p.name, "begun after an append that did not reach the disk", Action{Kind: ActRemove})
		}
		s.parts = s.parts[:n]
	}
}

// isAlive reports whether anything in the partition is a reason to keep it.
func (v *surveyor) isAlive(s *survey, p *partitionFinding) (bool, error) {
	if p.size == 0 {
		return false, nil
	}
	r, err := v.open(p.name)
	if err != nil {
		return false, err
	}
	defer r.Close()
	return diagnose.Alive(&scan.Scanner{File: r, Size: p.size, Topic: layout.TopicOf(s.topic)})
}

// endsValid reports whether a partition ends with a valid batch, or in what is
// known as damaged. An empty one does not.
func (v *surveyor) endsValid(s *survey, p *partitionFinding) bool {
	if p.size == 0 {
		return false
	}
	for _, k := range s.state.Damaged {
		if k.From < p.end && k.To >= p.end {
			return true
		}
	}
	r, err := v.open(p.name)
	if err != nil {
		return true
	}
	defer r.Close()
	sc := &scan.Scanner{File: r, Size: p.size, Topic: layout.TopicOf(s.topic)}
	found, err := sc.Scan(0, func(int64, *batch.Header, int64, bool) error { return nil })
	return err != nil || found.Valid == p.size
}

// findGaps looks whether the partitions follow one another.
func (v *surveyor) findGaps(s *survey) {
	for i := 0; i+1 < len(s.parts); i++ {
		p := s.parts[i]
		switch joint, r := diagnose.Between(p.end, s.parts[i+1].base); {
		case joint == diagnose.Overlap:
			s.add(Finding{Level: Damage, Kind: FoundOverlap, File: p.name,
				Position: r.From - p.base, Offset: r.From, Length: r.To - r.From,
				Why: "reaches into the next partition", remedies: []Action{{Kind: ActSave}, {Kind: ActCut}}})
			p.end = r.From
		case joint == diagnose.Gap && v.online && v.overlooked(s, i):
		case joint == diagnose.Gap:
			s.missing(p, r)
		}
	}
}

// overlooked reports whether the gap after partition i is only one in the
// listing, which may have been made while files came and went. A partition that
// is there all the same becomes one of the survey's.
func (v *surveyor) overlooked(s *survey, i int) bool {
	p := s.parts[i]
	name := layout.Partition(s.topic, p.end)
	if st, err := v.fs.Stat(name); err == nil && p.size > 0 {
		s.parts = slices.Insert(s.parts, i+1, newPartition(name, p.end, st))
		return true
	}
	// The oldest go first: if that one was removed, so was this one before.
	return isGone(v, p.name)
}

// missing adds what is known of offsets that are in no file and would follow
// p.
func (s *survey) missing(p *partitionFinding, r layout.Range) {
	f := Finding{Level: Damage, Kind: FoundMissing, File: p.name, Position: r.From - p.base, Offset: r.From, Length: r.To - r.From,
		Why: "the file ends before its last batches", remedies: []Action{{Kind: ActMark}}}
	if layout.Contains(s.state.Damaged, r) {
		f.Level, f.Kind, f.Why, f.remedies = Note, FoundHole, "known to the journal: nothing is here", nil
	} else {
		p.fresh = layout.Join(p.fresh, r)
	}
	s.add(f)
}

// findEnd looks at what the journal knows of the log's ends.
func (v *surveyor) findEnd(s *survey) {
	if len(s.parts) == 0 {
		v.findNothing(s)
		return
	}
	for _, r := range s.onDisk().Gone() {
		s.gone(layout.Partition(s.topic, r.From), r, "the file is gone, and was not removed by logd")
	}
	head := s.parts[len(s.parts)-1]
	s.next = head.end
	if r := s.onDisk().Missing(); r.From < r.To {
		s.missing(head, r)
	}
}

// gone adds that files are gone that the journal knows. What was never synced
// has been lost with an interrupted write.
func (s *survey) gone(name string, r layout.Range, why string) {
	f := Finding{Level: Damage, Kind: FoundMissing, File: name, Position: -1, Offset: r.From, Length: r.To - r.From, Why: why,
		remedies: []Action{{Kind: ActJournal}}}
	if r.From >= s.state.Synced {
		f.Level, f.Kind, f.Why = Note, FoundTornTail, "begun and never known as durable; it did not reach the disk"
	}
	s.add(f)
}

// findNothing says what a topic without partitions has lost.
func (v *surveyor) findNothing(s *survey) {
	s.next, _ = s.onDisk().GoesOn(nil)
	if oldest := s.state.Trimmed.Oldest; s.next > oldest {
		s.gone(s.topic, layout.Range{From: oldest, To: s.next}, "all partition files are gone")
	}
}
