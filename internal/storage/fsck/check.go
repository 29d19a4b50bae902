// Package fsck looks at work directories that no server has open, and mends them.
//
// [Check] reads every byte and names what is not as a server would have left it.
// [Repair] carries out what a server would do at its next start, keeps a copy of
// what it takes out, and mends what a server would only set aside. [Dump] shows
// what is in one partition. What becomes of damage is not decided here: package
// diagnose does that for recovery, too, so a check foretells what a server does.
//
// A surveyor reads a topic and makes a survey of it: findings, each with the
// actions against it. A check prints the findings; a repair sorts the actions into
// a plan and carries it out, stage by stage, so that it can be interrupted at any
// point.
package fsck

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/diagnose"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// CheckOptions are the settings of a check. FS is required.
type CheckOptions struct {
	FS vfs.FS
	// Online checks a work directory that a server may have open: only what no
	// longer changes is read, which is everything before the last synced mark
	// and all partitions but the newest. Indexes are left out.
	Online bool
	// Progress, if not nil, is told how many of the bytes have been read.
	Progress func(done, total int64)
}

// CheckReport sums up a check.
type CheckReport struct {
	Topics, Partitions int64
	Batches, Messages  int64 // that are valid
	Bytes              int64 // of partitions, that were read
	DamagedBytes       int64
	Damages, Notes     int64 // findings
	Unchecked          int64
	// Unmarked is how many bytes an online check has left out because they were
	// written since the last synced mark.
	Unmarked int64
	// Next is, by topic, or the folder of one that does not have its name yet, the offset at which a server would go on with its log. An
	// online check, and one that could not read a topic, does not know it.
	Next map[string]int64
}

// Errors of checking and repairing, beside those of the file system.
var (
	// ErrNoWorkDir is a folder that is not a work directory but a topic's.
	ErrNoWorkDir = errors.New("storage: a topic's folder, not a work directory")
)

// Check reads every byte of the work directory o.FS and calls found for
// whatever is not as a server would have left it, topic by topic. It changes
// nothing, and makes no file.
//
// The work directory is locked meanwhile if it has a lock file; the error
// wraps vfs.ErrLocked if a server has it. What is wrong with the data is no
// error.
func Check(ctx context.Context, o CheckOptions, found func(Finding)) (CheckReport, error) {
	unlock := func() error { return nil }
	if !o.Online {
		var err error
		if unlock, err = layout.LockToRead(o.FS); err != nil {
			return CheckReport{}, err
		}
	}
	v := newSurveyor(ctx, o.FS)
	v.online = o.Online
	v.progress = o.Progress
	r := CheckReport{Next: make(map[string]int64)}
	err := v.all(func(s *survey) error {
		r.add(s, o.Online)
		for _, f := range s.findings {
			found(f)
		}
		return nil
	})
	return r, errors.Join(err, unlock())
}

func (r *CheckReport) add(s *survey, online bool) {
	if s.topic != "" && !s.deleted {
		r.Topics++
		if !online && !s.partial {
			r.Next[s.topic], _ = s.goesOn()
		}
	}
	for _, p := range s.parts {
		r.Partitions++
		r.Batches += p.sum.Batches
		r.Messages += p.sum.Messages
		r.Bytes += p.read
		r.Unmarked += p.unmarked
	}
	for _, f := range s.findings {
		switch f.Level {
		case Damage:
			r.Damages++
			r.DamagedBytes += f.Length
		case Unchecked:
			r.Unchecked++
		default:
			r.Notes++
		}
	}
}

// all surveys the work directory itself, under the topic "", and then every
// topic.
func (v *surveyor) all(each func(*survey) error) error {
	dir, err := v.fs.ReadDir(".")
	if err != nil {
		return fmt.Errorf("list work directory: %w", err)
	}
	root := &survey{}
	v.checkMode(root, ".")
	var topics []string
	folder := func(name string) {
		switch found, err := diagnose.ContentsOf(v.fs, name); {
		case err != nil || found == diagnose.Topic:
			topics = append(topics, name)
		case found == diagnose.Foreign:
			root.note(FoundStray, name, "folder without partitions or a journal; logd leaves it alone")
		case !v.online: // else it may be a topic that is being made
			root.note(FoundLeftOver, name, "a topic whose creation or deletion was interrupted; the next start removes the folder")
		}
	}
	partitions := 0
	for _, d := range dir {
		name := d.Name()
		switch {
		case layout.IsFolder(d) && batch.ValidTopic(name):
			folder(name)
		case name == layout.New && d.IsDir():
			if err := v.newTopics(root, folder); err != nil {
				return err
			}
		case name == layout.OldLockName && d.Type().IsRegular():
		case layout.Reserved(name):
		case d.IsDir():
			root.note(FoundStray, name, "folder whose name no topic can have; logd leaves it alone")
		default:
			if _, ok := layout.Base(name); ok {
				partitions++
			}
			root.note(FoundStray, name, "file that is not logd's; logd leaves it alone")
		}
	}
	if len(topics) == 0 && partitions > 0 {
		return ErrNoWorkDir
	}
	if err := v.measure(topics); err != nil {
		return err
	}
	if err := each(root); err != nil {
		return err
	}
	for _, name := range topics {
		s, err := v.topic(name)
		if err == nil {
			err = each(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// newTopics calls folder with the folders of topics that do not have their names yet.
func (v *surveyor) newTopics(root *survey, folder func(name string)) error {
	return v.newTopicsIn(root, layout.New, folder)
}

func (v *surveyor) newTopicsIn(root *survey, in string, folder func(name string)) error {
	v.checkMode(root, in)
	dir, err := v.fs.ReadDir(in)
	if err != nil {
		return fmt.Errorf("list %s: %w", in, err)
	}
	for _, d := range dir {
		name := path.Join(in, d.Name())
		switch _, ok := layout.NewID(name); {
		case ok && layout.IsFolder(d):
			folder(name)
		case in == layout.New && layout.IsNewID(d.Name()) && layout.IsFolder(d):
			if err := v.newTopicsIn(root, name, folder); err != nil {
				return err
			}
		default:
			root.note(FoundStray, name, "not a new topic; logd leaves it alone")
		}
	}
	return nil
}

// measure adds up how much there is to read.
func (v *surveyor) measure(topics []string) error {
	if v.progress == nil {
		return nil
	}
	for _, name := range topics {
		if b, err := journal.Read(v.fs, name); err == nil && journal.IsDeleted(b) {
			continue // not read
		}
		dir, err := v.fs.ReadDir(name)
		if err != nil {
			continue // the survey of the topic will say so
		}
		for _, d := range dir {
			if _, ok := layout.Base(d.Name()); !ok || !d.Type().IsRegular() {
				continue
			}
			if st, err := d.Info(); err == nil {
				v.total += st.Size()
			}
		}
	}
	return v.ctx.Err()
}
