package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/logd-dev/logd/internal/storage/diagnose"
	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// agree compares, on copies of a disk, what a check and a repair make of the end
// of topic "t" with what recovery does: what a check expects is where a server
// goes on, and after a repair a server goes on there, too.
func agree(t testing.TB, disk *vfstest.FS) error {
	t.Helper()
	recovered, err := endOf(t, clone(t, disk))
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	found, checked := check(t, clone(t, disk))
	if checked.Unchecked > 0 {
		return fmt.Errorf("not checked: %+v", found)
	}
	expected := checked.Next["t"]
	if expected != recovered {
		return fmt.Errorf("a check expects that the log goes on at %d, recovery at %d; findings %+v", expected, recovered, found)
	}
	mended := clone(t, disk)
	if _, report := repair(t, mended, false); report.Failed != nil {
		return errors.Join(report.Failed...)
	}
	repaired, err := endOf(t, mended)
	if err != nil {
		return fmt.Errorf("after the repair: %w", err)
	}
	if repaired != recovered {
		return fmt.Errorf("after a repair the log goes on at %d, without it at %d", repaired, recovered)
	}
	return nil
}

// endOf opens a store on the disk and returns where topic "t" goes on.
func endOf(t testing.TB, disk *vfstest.FS) (int64, error) {
	s := openMem(t, disk, Options{FlushInterval: -1, Partitions: -1, Logger: slog.New(slog.DiscardHandler)})
	defer kill(s)
	l, err := s.Log([]byte("t"))
	if err != nil {
		return 0, err
	}
	return l.Next(), nil
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
			if err := agree(t, disk); err != nil {
				t.Error(err)
			}
			repair(t, disk, false)
			if next, err := endOf(t, disk); err != nil || next != end+int64(len(foreign)) {
				t.Errorf("after the repair the log goes on at %d (%v), want %d", next, err, end+int64(len(foreign)))
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
	if err := agree(t, disk); err != nil {
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
			if err := agree(t, disk); err != nil {
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
		if found, err := diagnose.ContentsOf(disk, "t"); err != nil || found != diagnose.Topic {
			continue // nothing is left that knows of a topic
		}
		if err := agree(t, disk); err != nil {
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
