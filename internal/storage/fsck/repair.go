package fsck

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// ActionKind says what a repair does. Its text is stable.
type ActionKind string

// The kinds of actions, in the order in which they are done for a topic.
const (
	// ActSave copies bytes to the folder .repaired. All copies are on stable storage
	// before anything else is done to the topic.
	ActSave ActionKind = "save"
	// ActRemove removes a file.
	ActRemove ActionKind = "remove"
	// ActCut cuts a file off.
	ActCut ActionKind = "cut"
	// ActMark notes in the journal that a range is damaged: it answers not
	// found, and offsets after it stay what they are.
	ActMark ActionKind = "mark"
	// ActUnmark takes such a note back.
	ActUnmark ActionKind = "unmark"
	// ActErase overwrites a marked and saved range with zeros.
	ActErase ActionKind = "erase"
	// ActBegin begins an empty partition.
	ActBegin ActionKind = "begin"
	// ActIndex makes an index anew.
	ActIndex ActionKind = "index"
	// ActJournal writes the journal anew. It is the last of every topic.
	ActJournal ActionKind = "journal"
)

var actionOrder = []ActionKind{ActSave, ActRemove, ActCut, ActMark, ActUnmark, ActErase, ActBegin, ActIndex, ActJournal}

// Action is one step of a repair.
type Action struct {
	Kind  ActionKind
	Topic string
	File  string // name within the work directory

	Position int64 // in the file; -1 for the file as a whole
	Offset   int64 // in the topic's log; -1 where there is none
	Length   int64
	Why      string

	// Of ActSave: the name of the copy, and the CRC-32 (IEEE) of its bytes.
	SavedAs string
	CRC     uint32
}

// RepairOptions are the settings of a repair. FS is required.
type RepairOptions struct {
	FS       vfs.FS
	DryRun   bool             // change nothing
	FileMode fs.FileMode      // of files that are made; default that of the topic's newest partition
	Now      func() time.Time // for the report; default time.Now
	Progress func(done, total int64)
}

// RepairReport sums up a repair.
type RepairReport struct {
	Topics     int64 // that were mended
	Actions    int64 // that were done
	SavedBytes int64
	// Failed are the topics that were not mended, or not to the end. Running the
	// repair again goes on where it failed.
	Failed []error
}

// Repair mends the work directory o.FS, or with DryRun finds out how: what it
// then passes to did is exactly what it would do. did is called after each
// action.
//
// Everything that checks stays as it is and where it is. Bytes that don't are
// copied to .repaired, with a line in its report, and only when the copies
// are on stable storage are they overwritten or cut off; their offsets answer
// not found from then on. Indexes that don't fit are made anew. A repair that
// was interrupted, at whatever point, is finished by the next.
//
// The work directory is locked meanwhile; the error wraps vfs.ErrLocked if a
// server has it. Topics that can't be mended are in the report, and are no
// error.
func Repair(ctx context.Context, o RepairOptions, did func(Action)) (RepairReport, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	var unlock func() error
	if o.DryRun {
		var err error
		if unlock, err = layout.LockToRead(o.FS); err != nil {
			return RepairReport{}, err
		}
	} else {
		lock, err := layout.LockDir(o.FS)
		if err != nil {
			return RepairReport{}, err
		}
		unlock = lock.Close
	}
	m := &mender{ctx: ctx, o: o, did: did, saved: make(map[string]bool)}
	v := newSurveyor(ctx, o.FS)
	v.progress = o.Progress
	err := v.all(func(s *survey) error {
		if err := m.topic(s); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			m.report.Failed = append(m.report.Failed, err)
		}
		return nil
	})
	return m.report, errors.Join(err, unlock())
}

// plan returns what is to be done for a topic, in order; nil for nothing.
func (s *survey) plan() []Action {
	var plan []Action
	for _, f := range s.findings {
		plan = append(plan, f.remedies...)
	}
	if plan == nil {
		return nil
	}
	plan = slices.DeleteFunc(plan, func(a Action) bool { return a.Kind == ActIndex || a.Kind == ActJournal })
	if base, begins := s.goesOn(); begins {
		plan = append(plan, Action{Kind: ActBegin, Topic: s.topic, File: layout.Partition(s.topic, base), Position: -1, Offset: base,
			Why: "the log goes on here: offsets that were given out are not given out again"})
	}
	for i, p := range s.parts {
		// The head's totals are wanted for the journal in any case.
		if i == len(s.parts)-1 || p.changed() {
			plan = append(plan, Action{Kind: ActIndex, Topic: s.topic, File: layout.Index(s.topic, p.base), Position: -1, Offset: p.base,
				Why: "made anew from its partition"})
		}
	}
	plan = append(plan, Action{Kind: ActJournal, Topic: s.topic, File: layout.JournalFile(s.topic), Position: -1, Offset: -1,
		Why: "written anew"})
	slices.SortStableFunc(plan, func(a, b Action) int {
		return slices.Index(actionOrder, a.Kind) - slices.Index(actionOrder, b.Kind)
	})
	return plan
}

// changed reports whether the partition's index has to be made anew.
func (p *partitionFinding) changed() bool {
	return p.fresh != nil || p.badIdx || p.recount || p.end < p.base+p.size
}

// goesOn returns the offset at which a server would go on with the log, and whether
// that is the base of a partition that has to be begun.
func (s *survey) goesOn() (next int64, begins bool) { return s.onDisk().GoesOn(s.damaged()) }

// damaged returns the ranges that are damaged, as far as the journal is to know
// them.
func (s *survey) damaged() []layout.Range {
	ranges := slices.Clone(s.state.Damaged)
	for _, f := range s.findings {
		if f.Kind == FoundMended {
			ranges = layout.Without(ranges, layout.Range{From: f.Offset, To: f.Offset + f.Length})
		}
	}
	for _, p := range s.parts {
		for _, r := range p.fresh {
			ranges = layout.Join(ranges, r)
		}
	}
	return ranges
}

// mender carries out plans.
type mender struct {
	ctx    context.Context
	o      RepairOptions
	did    func(Action)
	report RepairReport
	perm   fs.FileMode     // of the files of the topic that is being mended
	saved  map[string]bool // names of copies that this repair has planned or made
}

// topic mends one topic.
func (m *mender) topic(s *survey) error {
	if err := s.obstacle(Unchecked); err != nil {
		return err
	}
	plan := s.plan()
	if m.perm = m.o.FileMode; m.perm == 0 {
		m.perm = s.fileMode()
	}
	t := &topicRepair{mender: m, s: s, files: &files.Cache{FS: m.o.FS, Perm: m.perm, Limit: 16}}
	for i := range plan {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		a := &plan[i]
		if err := t.do(a); err != nil {
			return &layout.Error{Op: "repair (" + string(a.Kind) + ")", Topic: s.topic, File: a.File, Offset: a.Offset, Err: err}
		}
		m.report.Actions++
		if a.Kind == ActSave {
			m.report.SavedBytes += a.Length
		}
		m.did(*a)
	}
	if err := s.obstacle(Damage); err != nil || plan == nil {
		return err
	}
	m.report.Topics++
	return nil
}

// fileMode returns the mode that the topic's files have.
func (s *survey) fileMode() fs.FileMode {
	if n := len(s.parts); n > 0 {
		return s.parts[n-1].mode | 0o600
	}
	return 0o600
}

// obstacle returns an error if there is a finding of the level against which
// there is no remedy.
func (s *survey) obstacle(level Level) error {
	for _, f := range s.findings {
		if f.Level == level && f.remedies == nil {
			return &layout.Error{Op: "repair", Topic: s.topic, File: f.File, Offset: f.Offset, Err: errors.New(f.Why)}
		}
	}
	return nil
}
