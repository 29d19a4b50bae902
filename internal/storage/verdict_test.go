package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/logd-dev/logd/internal/storage/diagnose"
	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// agree compares, on copies of a disk, what a check and a repair make of a topic's
// log with what recovery does: where a check expects the log to go on, and where it
// goes on after a repair, a server goes on; and all that recovery sets aside, the
// check has found. What is no topic has nothing that could be compared.
func agree(disk *vfstest.FS, topic string) error {
	if found, err := diagnose.ContentsOf(disk, topic); err != nil || found != diagnose.Topic {
		return nil
	}
	b, err := journal.Read(disk, topic)
	if err != nil || journal.IsDeleted(b) {
		return err
	}
	state, _, _ := journal.Decode(b)

	recovered, err := recoveredEnd(disk, topic)
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	var found []fsck.Finding
	checked, err := fsck.Check(context.Background(), fsck.CheckOptions{FS: disk}, func(f fsck.Finding) { found = append(found, f) })
	if err != nil || checked.Unchecked > 0 {
		return fmt.Errorf("check: %v; found %+v", err, found)
	}
	if expected := checked.Next[topic]; expected != recovered.next {
		return fmt.Errorf("a check expects that the log goes on at %d, recovery at %d; found %+v", expected, recovered.next, found)
	}
	accounted := state.Damaged
	for _, f := range found {
		if f.Topic == topic && f.Level == fsck.Damage && f.Offset >= 0 {
			accounted = layout.Join(accounted, layout.Range{From: f.Offset, To: f.Offset + f.Length})
		}
	}
	for _, r := range recovered.damaged {
		if !layout.Contains(accounted, r) {
			return fmt.Errorf("recovery sets %v aside; a check found %+v", r, found)
		}
	}

	mended, err := copyDisk(disk)
	if err != nil {
		return err
	}
	report, err := fsck.Repair(context.Background(), repairOptions(mended, false), func(fsck.Action) {})
	if err = errors.Join(append(report.Failed, err)...); err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	repaired, err := recoveredEnd(mended, topic)
	if err != nil {
		return fmt.Errorf("after the repair: %w", err)
	}
	if repaired.next != recovered.next {
		return fmt.Errorf("after a repair the log goes on at %d, without it at %d; found %+v", repaired.next, recovered.next, found)
	}
	return nil
}

// logEnd is what recovery makes of a log.
type logEnd struct {
	next    int64
	damaged []layout.Range
}

// recoveredEnd opens a store on a copy of the disk and returns what becomes of a
// topic's log.
func recoveredEnd(disk *vfstest.FS, topic string) (logEnd, error) {
	disk, err := copyDisk(disk)
	if err != nil {
		return logEnd{}, err
	}
	id, isNew := layout.NewID(topic)
	s, err := Open(context.Background(), Options{FS: disk, FlushInterval: -1, Partitions: -1, Managed: isNew})
	if err != nil {
		return logEnd{}, err
	}
	defer kill(s)
	l := s.ByID(id)
	if !isNew {
		l, err = s.Log([]byte(topic))
	} else if l == nil {
		err = ErrNotFound
	}
	if err != nil {
		return logEnd{}, err
	}
	return logEnd{l.Next(), *l.Damaged()}, nil
}

// Batches of another topic that stand where a torn tail would are damage for
// check and repair as they are for a server: no byte goes and no offset is given
// out again.
func TestBatchesOfAnotherTopicAreDamage(t *testing.T) {
	_, laid := lay(t)
	end := laid[len(laid)-1].End
	foreign := string(batchOf("u", "of another topic").data)
	head := layout.Partition("t", laid[6].Offset)
	for name, file := range map[string]string{
		"behind the end of the head":    head,
		"in a partition after the head": layout.Partition("t", end),
	} {
		t.Run(name, func(t *testing.T) {
			disk, _ := lay(t)
			if file == head {
				put(t, disk, file, extend(foreign))
			} else {
				must(t, disk.WriteFile(file, []byte(foreign)))
			}
			found, report := check(t, disk)
			i := slices.IndexFunc(found, func(f fsck.Finding) bool { return f.Kind == fsck.FoundBatch })
			if report.Damages != 1 || i < 0 || found[i].Offset != end || found[i].Length != int64(len(foreign)) || found[i].Why != `a batch of topic "u"` {
				t.Errorf("found %+v", found)
			}
			if err := agree(disk, "t"); err != nil {
				t.Error(err)
			}
			repair(t, disk, false)
			if after, err := recoveredEnd(disk, "t"); err != nil || after.next != end+int64(len(foreign)) {
				t.Errorf("after the repair the log goes on at %d (%v), want %d", after.next, err, end+int64(len(foreign)))
			}
		})
	}
}

// Offsets of damage that the journal knows are not given out again, if something
// else has cut the file off before them and nothing was written since the mark.
func TestDamageBehindTheEnd(t *testing.T) {
	disk, laid := lay(t)
	end := laid[len(laid)-1].End
	put(t, disk, layout.JournalFile("t"), extend(string(journal.Append(nil, journal.Damaged, end+10, end+20))))
	if err := agree(disk, "t"); err != nil {
		t.Error(err)
	}
	s := openMem(t, disk, Options{FlushInterval: -1})
	defer s.Close()
	l := mustLog(t, s, "t")
	a := mustAppend(t, l, batchOf("t", "new"))
	if got, err := bodiesFrom(l, a.Offset); a.Offset != end+20 || err != nil || fmt.Sprint(got) != "[new]" {
		t.Errorf("appended at %d, want %d; there is %q (%v)", a.Offset, end+20, got, err)
	}
}

// What a check says is what recovery then does, whatever has happened to the
// disk: see agree.
func TestCheckExpectsWhatRecoveryDoes(t *testing.T) {
	for _, test := range harms(t) {
		if test.level == fsck.Unchecked || test.want == "file" {
			continue // there is nothing that could be compared
		}
		t.Run(test.name, func(t *testing.T) {
			disk, _ := lay(t)
			test.do(disk)
			if err := agree(disk, "t"); err != nil {
				t.Error(err)
			}
		})
	}
	first := firstSeed(t)
	for i := range uint64(crashRuns(t, 400)) {
		seed := first + i
		rng := rand.New(rand.NewPCG(seed, 11))
		disk, _, _ := ruin(t, rng)
		if rng.IntN(3) == 0 {
			addForeign(t, disk, rng)
		}
		if err := agree(disk, "t"); err != nil {
			t.Fatalf("LOGD_CRASH_SEED=%d: %v", seed, err)
		}
	}
}

// addForeign puts a batch of another topic behind one of the partitions.
func addForeign(t testing.TB, disk *vfstest.FS, rng *rand.Rand) {
	t.Helper()
	logs := slices.DeleteFunc(disk.Names(), func(n string) bool { return len(n) < 4 || n[len(n)-4:] != ".log" })
	if len(logs) > 0 {
		put(t, disk, logs[rng.IntN(len(logs))], extend(string(batchOf("u", "foreign").data)))
	}
}
