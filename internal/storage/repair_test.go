package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/clock"
	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// tree returns the content of every file.
func tree(t testing.TB, disk *vfstest.FS) map[string]string {
	t.Helper()
	m := make(map[string]string)
	for _, name := range disk.Names() {
		if strings.HasSuffix(name, "/") {
			m[name] = ""
			continue
		}
		b, err := disk.ReadFile(name)
		must(t, err)
		m[name] = string(b)
	}
	return m
}

// sameTree reports what differs between two trees.
func sameTree(a, b map[string]string) error {
	for name, content := range a {
		if other, ok := b[name]; !ok || other != content {
			return fmt.Errorf("%s is %q, and then %q (there: %v)", name, content, other, ok)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			return fmt.Errorf("%s is new", name)
		}
	}
	return nil
}

// clone returns a disk with the same files, all of them synced.
func clone(t testing.TB, disk *vfstest.FS) *vfstest.FS {
	t.Helper()
	to, err := copyDisk(disk)
	must(t, err)
	return to
}

// copyDisk is clone for those who have no test.
func copyDisk(disk *vfstest.FS) (*vfstest.FS, error) {
	to := vfstest.New()
	for _, name := range disk.Names() { // folders before what is in them
		if folder, ok := strings.CutSuffix(name, "/"); ok {
			if err := errors.Join(to.Mkdir(folder, 0o700), to.SyncDir(path.Dir(folder))); err != nil {
				return nil, err
			}
			continue
		}
		b, err := disk.ReadFile(name)
		if err == nil {
			err = to.WriteFile(name, b)
		}
		if err != nil {
			return nil, err
		}
	}
	return to, nil
}

// aTime is when repairs are done.
var aTime = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func repairOptions(disk *vfstest.FS, dry bool) fsck.RepairOptions {
	return fsck.RepairOptions{FS: disk, DryRun: dry, Now: func() time.Time { return aTime }}
}

// repair repairs a disk and returns what was done.
func repair(t testing.TB, disk *vfstest.FS, dry bool) ([]fsck.Action, fsck.RepairReport) {
	t.Helper()
	var done []fsck.Action
	r, err := fsck.Repair(t.Context(), repairOptions(disk, dry), func(a fsck.Action) { done = append(done, a) })
	must(t, err)
	return done, r
}

// written is a batch that was appended, and its bytes.
type written struct {
	offset int64
	data   string
}

// intact returns the batches that are where they were, for their files are.
func intact(t testing.TB, disk *vfstest.FS, topic string, all []written) map[int64]string {
	t.Helper()
	type file struct {
		base int64
		data string
	}
	var files []file
	for name, content := range tree(t, disk) {
		if base, ok := layout.Base(path.Base(name)); ok && path.Dir(name) == topic {
			files = append(files, file{base, content})
		}
	}
	m := make(map[int64]string)
	for _, w := range all {
		for _, f := range files {
			at := w.offset - f.base
			if at >= 0 && at+int64(len(w.data)) <= int64(len(f.data)) && f.data[at:at+int64(len(w.data))] == w.data {
				m[w.offset] = w.data
			}
		}
	}
	return m
}

// kept returns, of the batches that are where they were, those that a server goes on
// serving when it has met all the damage: a repair has to keep them. A few it sets
// aside with the damage around them: where two envelopes are destroyed there is no
// telling whether what is between is a message that looks like a batch, unless the
// index or the journal says where a batch begins. A server that starts writes both
// anew, so that a repair may know more: all is without those, which it may keep or
// not. After one harm alone there is no such place.
func kept(t testing.TB, disk *vfstest.FS, all []written, intact map[int64]string) ([]written, map[int64]string) {
	t.Helper()
	s := openMem(t, clone(t, disk), Options{FlushInterval: -1, Partitions: -1, Logger: slog.New(slog.DiscardHandler)})
	defer s.Close()
	l, err := s.Log([]byte("t"))
	if errors.Is(err, ErrNotFound) {
		return all, intact
	}
	must(t, err)
	for _, p := range l.Partitions() {
		must(t, rescan(p))
	}
	want := maps.Clone(intact)
	for offset := range intact {
		v, err := l.Read(offset, 1, 0)
		if err != nil {
			delete(want, offset)
			continue
		}
		v.Close()
	}
	return slices.DeleteFunc(slices.Clone(all), func(w written) bool {
		return intact[w.offset] != "" && want[w.offset] == ""
	}), want
}

// served checks that a topic gives out exactly the batches of want, among those
// that were written.
func served(l *Log, all []written, want map[int64]string) error {
	for _, w := range all {
		v, err := l.Read(w.offset, 1, 0)
		data, ok := want[w.offset]
		switch {
		case !ok && err == nil:
			v.Close()
			return fmt.Errorf("offset %d, which was destroyed, is served", w.offset)
		case !ok && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrEnd):
			return fmt.Errorf("offset %d, which was destroyed: %w", w.offset, err)
		case !ok:
			continue
		case err != nil:
			return fmt.Errorf("offset %d: %w", w.offset, err)
		}
		b, err := readView(v)
		if err != nil || string(b) != data {
			return fmt.Errorf("offset %d: got %q (%v), want %q", w.offset, b, err, data)
		}
	}
	return nil
}

// Every harm is mended, once and for all, as the dry run has said.
func TestRepairHarms(t *testing.T) {
	for _, test := range harms(t) {
		t.Run(test.name, func(t *testing.T) {
			disk, laid := lay(t)
			var all []written
			r := batchOf("t", "body", "more of it")
			for _, a := range laid {
				all = append(all, written{a.Offset, string(r.data)})
			}
			test.do(disk)
			before, found := tree(t, disk), test.want
			want := intact(t, disk, "t", all)
			found0, _ := check(t, disk)
			switch test.name {
			case "bytes set aside and still there", "bytes set aside and moved out":
			case "an interrupted removal":
				for _, w := range all[:3] {
					delete(want, w.offset)
				}
			case "an interrupted truncation":
				for _, w := range all[7:] {
					delete(want, w.offset)
				}
			}

			planned, _ := repair(t, disk, true)
			if err := sameTree(before, tree(t, disk)); err != nil {
				t.Fatalf("the dry run changed something: %v", err)
			}
			done, report := repair(t, disk, false)
			if fmt.Sprint(planned) != fmt.Sprint(done) {
				t.Fatalf("planned %+v\ndone %+v", planned, done)
			}
			if test.level == fsck.Unchecked || found == "file" {
				if len(report.Failed) != 1 {
					t.Errorf("report %+v", report)
				}
				return
			}
			if report.Failed != nil {
				t.Fatal(report.Failed)
			}
			left, _ := check(t, disk)
			for _, f := range left {
				if f.Kind != fsck.FoundHole && f.Kind != fsck.FoundStray {
					t.Errorf("after the repair: %+v\nbefore: %+v", f, found0)
				}
			}
			checkCopies(t, before, tree(t, disk), done)

			after := tree(t, disk)
			if again, r := repair(t, disk, false); again != nil || r.Topics != 0 {
				t.Errorf("a second repair did %+v", again)
			}
			if err := sameTree(after, tree(t, disk)); err != nil {
				t.Errorf("a second repair changed something: %v", err)
			}

			s := openMem(t, disk, Options{FlushInterval: -1, Partitions: -1})
			defer s.Close()
			l := mustLog(t, s, "t")
			if err := served(l, all, want); err != nil {
				t.Error(err)
			}
			a := mustAppend(t, l, batchOf("t", "new"))
			if got, err := bodiesFrom(l, a.Offset); err != nil || fmt.Sprint(got) != "[new]" {
				t.Errorf("append after the repair: %q (%v)", got, err)
			}
		})
	}
}

// checkCopies checks that what a repair took out is in .repaired, and that the
// report says so.
func checkCopies(t *testing.T, before, after map[string]string, done []fsck.Action) {
	t.Helper()
	lines := make(map[string]fsck.ReportLine)
	for line := range strings.Lines(after[fsck.ReportName]) {
		var l fsck.ReportLine
		must(t, json.Unmarshal([]byte(line), &l))
		lines[l.Saved] = l
	}
	for _, a := range done {
		if a.Kind != fsck.ActSave {
			continue
		}
		want := before[a.File][max(a.Position, 0):][:a.Length]
		if got := after[a.SavedAs]; got != want {
			t.Errorf("%s is %q, want %q", a.SavedAs, got, want)
		}
		l := lines[a.SavedAs]
		if l.File != a.File || l.Position != max(a.Position, 0) || l.Offset != a.Offset || l.Length != a.Length ||
			l.CRC != batch.Checksum([]byte(want)) || l.CRC != a.CRC || l.Why != a.Why || l.Topic != a.Topic || l.Time != "2026-11-22T10:00:00Z" {
			t.Errorf("the report's line is %+v, for %+v", l, a)
		}
	}
}

// tickingClock says another millisecond each time.
type tickingClock struct {
	clock.System
	n atomic.Int64
}

func (c *tickingClock) Now() time.Time {
	return time.Now().Add(time.Duration(c.n.Add(1)) * time.Millisecond)
}

// ruin makes a random work directory of one topic and damages it at random. It
// returns the disk, what was written, and what of it was not damaged.
func ruin(t testing.TB, rng *rand.Rand) (*vfstest.FS, []written, map[int64]string) {
	t.Helper()
	disk := vfstest.New()
	o := Options{PartitionSize: []int64{1, 200, 600, 5000}[rng.IntN(4)], Partitions: -1, FlushInterval: -1}
	if rng.IntN(2) == 0 {
		o.Clock = new(tickingClock) // each batch has an entry in the index
	}
	var all []written
	for range 1 + rng.IntN(3) {
		s := openMem(t, disk, o)
		l := mustCreate(t, s, "t")
		for range 1 + rng.IntN(8) {
			r := batchOf("t", fmt.Sprint("body ", rng.Uint64()), strings.Repeat("x", rng.IntN(100)))
			a := mustAppend(t, l, r)
			all = append(all, written{a.Offset, string(r.data)})
			if rng.IntN(4) == 0 {
				must(t, l.SyncTo(t.Context(), a.End))
			}
		}
		if rng.IntN(2) == 0 {
			kill(s)
		} else {
			must(t, s.Close())
		}
	}
	disk = clone(t, disk)
	harms := rng.IntN(5)
	for range harms {
		names := slices.DeleteFunc(disk.Names(), func(n string) bool { return strings.HasSuffix(n, "/") || n == layout.LockName })
		if len(names) == 0 {
			break
		}
		name := names[rng.IntN(len(names))]
		if rng.IntN(12) == 0 {
			must(t, disk.Remove(name))
			continue
		}
		put(t, disk, name, func(b []byte) []byte {
			if len(b) == 0 {
				return b
			}
			at := rng.IntN(len(b))
			end := min(len(b), at+1+rng.IntN(100))
			// Junk: parts of the file itself could make an envelope, which would be
			// followed, and what a wrong one promises is not looked into.
			part := make([]byte, rng.IntN(40))
			for i := range part {
				part[i] = byte(rng.Uint32())
			}
			switch rng.IntN(6) {
			case 0:
				clear(b[at:end])
			case 1:
				return b[:at]
			case 2:
				return append(b, part...)
			case 3:
				copy(b[at:end], part)
			default:
				b[at] ^= 1 << rng.IntN(8)
			}
			return b
		})
	}
	disk = clone(t, disk) // the harm is not undone by a power cut
	want := intact(t, disk, "t", all)
	if harms > 1 {
		all, want = kept(t, disk, all, want)
	}
	return disk, all, want
}

// Whatever is damaged: a repair leaves no damage, keeps all that was valid at
// its offset, does what its dry run says, and has nothing to do a second time.
func TestRepairKeepsWhatIsValid(t *testing.T) {
	first := firstSeed(t)
	for i := range uint64(crashRuns(t, 400)) {
		seed := first + i
		rng := rand.New(rand.NewPCG(seed, 7))
		disk, all, want := ruin(t, rng)
		if err := repairAndCheck(t, disk, all, want); err != nil {
			t.Fatalf("LOGD_CRASH_SEED=%d: %v", seed, err)
		}
	}
}

func repairAndCheck(t *testing.T, disk *vfstest.FS, all []written, want map[int64]string) error {
	before := tree(t, disk)
	planned, _ := repair(t, disk, true)
	if err := sameTree(before, tree(t, disk)); err != nil {
		return fmt.Errorf("the dry run changed something: %w", err)
	}
	done, report := repair(t, disk, false)
	if fmt.Sprint(planned) != fmt.Sprint(done) {
		return fmt.Errorf("planned %+v\ndone %+v", planned, done)
	}
	if report.Failed != nil {
		return errors.Join(report.Failed...)
	}
	checkCopies(t, before, tree(t, disk), done)
	if again, _ := repair(t, disk, false); again != nil {
		return fmt.Errorf("a second repair did %+v", again)
	}
	found, _ := check(t, disk)
	for _, f := range found {
		if f.Kind != fsck.FoundHole && !(f.File == "t" && len(want) == 0) {
			return fmt.Errorf("after the repair: %+v", f)
		}
	}
	return serves(t, disk, all, want)
}

// serves opens a store on the disk and checks what it serves.
func serves(t *testing.T, disk *vfstest.FS, all []written, want map[int64]string) error {
	s := openMem(t, disk, Options{FlushInterval: -1, Partitions: -1, Logger: slog.New(slog.DiscardHandler)})
	defer s.Close()
	l, err := s.Log([]byte("t"))
	if errors.Is(err, ErrNotFound) && len(want) == 0 {
		return nil // nothing is left that knows of a topic
	}
	if err != nil {
		return err
	}
	return served(l, all, want)
}

// onlyIntact returns the batches that are still there. A server that finds
// damage by and by may serve what is not until then: readers check it too.
func onlyIntact(all []written, want map[int64]string) []written {
	return slices.DeleteFunc(slices.Clone(all), func(w written) bool { return want[w.offset] == "" })
}

// A repair that the power cut ends at any point is finished by the next, and
// no byte that was there is lost. The controls are a disk that lies about
// syncs, of files and of folders.
func TestRepairCrashed(t *testing.T) {
	first := firstSeed(t)
	for i := range uint64(crashRuns(t, 25)) {
		if err := crashRepair(t, first+i, nil); err != nil {
			t.Fatalf("LOGD_CRASH_SEED=%d: %v", first+i, err)
		}
	}
}

func TestRepairCrashedControl(t *testing.T) {
	for name, lie := range map[string]func(*vfstest.FS){
		"files":   func(disk *vfstest.FS) { disk.IgnoreSync(true) },
		"folders": func(disk *vfstest.FS) { disk.IgnoreSyncDir(true) },
	} {
		caught := false
		for seed := uint64(1); seed <= 200 && !caught; seed++ {
			caught = crashRepair(t, seed, lie) != nil
		}
		if !caught {
			t.Errorf("a disk that does not sync %s goes unnoticed", name)
		}
	}
}

// crashRepair repairs a ruined disk and takes an image after every operation.
func crashRepair(t *testing.T, seed uint64, lie func(*vfstest.FS)) (failed error) {
	rng := rand.New(rand.NewPCG(seed, 7))
	disk, all, want := ruin(t, rng)
	before := tree(t, disk)
	planned, _ := repair(t, disk, true)
	if lie != nil {
		lie(disk)
	}
	disk.OnOp(func(op vfstest.Op) {
		if failed != nil {
			return
		}
		for _, image := range []*vfstest.FS{disk.CrashKeepNothing(), disk.Crash(rng)} {
			if err := checkImage(t, image, before, planned, all, want); err != nil {
				failed = fmt.Errorf("power cut after %v: %w\ntrace:\n%s", op, err, disk.Trace())
				return
			}
		}
	})
	repair(t, disk, false)
	disk.OnOp(nil)
	return failed
}

// checkImage checks that nothing is lost in the image of an interrupted
// repair, for a server that opens it and for the next repair.
func checkImage(t *testing.T, image *vfstest.FS, before map[string]string, planned []fsck.Action, all []written, want map[int64]string) error {
	if err := serves(t, clone(t, image), onlyIntact(all, want), want); err != nil {
		return fmt.Errorf("opened without another repair: %w", err)
	}
	now := tree(t, image)
	for _, a := range planned {
		if a.Kind != fsck.ActSave {
			continue
		}
		from := max(a.Position, 0)
		taken := before[a.File][from:][:a.Length]
		if f := now[a.File]; now[a.SavedAs] != taken && (int64(len(f)) < from+a.Length || f[from:from+a.Length] != taken) {
			return fmt.Errorf("the bytes of %+v are neither in their place nor in .repaired", a)
		}
	}
	if _, r := repair(t, image, false); r.Failed != nil {
		return errors.Join(r.Failed...)
	}
	found, _ := check(t, image)
	for _, f := range found {
		if f.Kind != fsck.FoundHole && !(f.File == "t" && len(want) == 0) {
			return fmt.Errorf("after the next repair: %+v", f)
		}
	}
	return serves(t, image, all, want)
}

// A repair that a failing disk ends leaves nothing worse than it was.
func TestRepairFaults(t *testing.T) {
	for seed := range uint64(6) {
		for n := 1; ; n++ {
			disk, all, want := ruin(t, rand.New(rand.NewPCG(seed, 7)))
			disk.FailAt(n, vfstest.Fault{})
			r, err := fsck.Repair(t.Context(), repairOptions(disk, false), func(fsck.Action) {})
			if disk.Faults() == 0 {
				break
			}
			if err == nil && r.Failed == nil {
				// What fails without being told: nothing may.
				t.Fatalf("seed %d: operation %d failed and nobody said so\n%s", seed, n, disk.Trace())
			}
			disk.ClearFaults()
			if open := disk.Open(); open != 0 {
				t.Fatalf("seed %d, operation %d: %d files are left open", seed, n, open)
			}
			if err := serves(t, clone(t, disk), onlyIntact(all, want), want); err != nil {
				t.Fatalf("seed %d, operation %d: %v", seed, n, err)
			}
			if _, r := repair(t, disk, false); r.Failed != nil {
				t.Fatalf("seed %d, operation %d: %v", seed, n, r.Failed)
			}
			if err := serves(t, disk, all, want); err != nil {
				t.Fatalf("seed %d, operation %d: %v", seed, n, err)
			}
		}
	}
}

// A copy is never overwritten: other bytes from the same place get another
// name.
func TestRepairKeepsCopies(t *testing.T) {
	disk, all := lay(t)
	var copies []string
	for range 3 {
		put(t, disk, "t/0.log", func(b []byte) []byte { b[5+len(copies)] ^= 1; b[0] = 'b'; return b })
		done, _ := repair(t, disk, false)
		copies = append(copies, done[0].SavedAs)
	}
	want := fmt.Sprintf(".repaired/t/0.log-0-%d", all[0].End)
	if !slices.Equal(copies, []string{want, want + ".2", want + ".3"}) {
		t.Errorf("copies are %q", copies)
	}
	report, err := disk.ReadFile(fsck.ReportName)
	must(t, err)
	if n := bytes.Count(report, []byte("\n")); n != 3 {
		t.Errorf("the report has %d lines:\n%s", n, report)
	}
}

// Times of batches survive a new index, as far as the old one had them.
func TestRepairKeepsTimes(t *testing.T) {
	disk, all := lay(t)
	s := openMem(t, clone(t, disk), small)
	before, err := mustLog(t, s, "t").Info(t.Context())
	must(t, err)
	must(t, s.Close())
	put(t, disk, "t/0.log", flip(all[1].Offset+40))
	repair(t, disk, false)
	s = openMem(t, disk, small)
	defer s.Close()
	after, err := mustLog(t, s, "t").Info(t.Context())
	must(t, err)
	if !after.OldestTime.Equal(before.OldestTime) || !after.NewestTime.Equal(before.NewestTime) || after.Batches != before.Batches-1 {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
}

// Whoever seeks a time from before damage, or from within it, is given a batch
// from there and skips none: when logd meets the damage, and after a repair.
func TestSeekBesideDamage(t *testing.T) {
	const batches = 30
	for _, repaired := range []bool{false, true} {
		for damaged := range 2 * batches {
			o := small
			if damaged >= batches {
				damaged, o = damaged-batches, Options{}
			}
			t.Run(fmt.Sprintf("repaired %v, partitions of %d, batch %d", repaired, o.PartitionSize, damaged), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					disk := vfstest.New()
					s := openMem(t, disk, o)
					l := mustCreate(t, s, "t")
					var all []Appended
					var times []time.Time
					for i := range batches {
						if i%5 == 0 { // some come in the same millisecond
							time.Sleep(time.Second)
						}
						all, times = append(all, mustAppend(t, l, batchOf("t", fmt.Sprint("message ", i)))), append(times, time.Now())
					}
					must(t, s.Close())
					file := partitionAt(l, all[damaged].Offset)
					must(t, disk.Corrupt(file.File().Name(), all[damaged].Offset-file.Base(), scribble))
					if repaired {
						repair(t, disk, false)
					}
					s = openMem(t, disk, o)
					defer s.Close()
					l = mustLog(t, s, "t")
					if _, err := l.Read(all[damaged].Offset, 1, 0); !errors.Is(err, ErrNotFound) {
						t.Fatalf("read of what is damaged: %v", err)
					}
					for i, at := range times {
						if got, err := l.Seek(at); i != damaged && (err != nil || got > all[i].Offset) {
							t.Errorf("seek gives %d (%v), skipping batch %d at %d", got, err, i, all[i].Offset)
						}
					}
					in, err := l.Info(t.Context())
					must(t, err)
					oldest := int64(0)
					if damaged == 0 {
						oldest = all[0].End
					}
					if in.Oldest != oldest || l.Oldest() != oldest {
						t.Errorf("the oldest offset is %d, INFO says %d, want %d", l.Oldest(), in.Oldest, oldest)
					}
					if v, err := l.Read(oldest, 1, 0); err != nil {
						t.Errorf("read from the oldest offset: %v", err)
					} else {
						v.Close()
					}
					if want := [][2]int64{{all[damaged].Offset, all[damaged].End}}; !slices.Equal(in.DamagedAt, want) {
						t.Errorf("damaged are %v, want %v", in.DamagedAt, want)
					}
					if in.OldestTime.Before(times[0].Truncate(time.Millisecond)) || in.NewestTime.Before(in.OldestTime) {
						t.Errorf("times from %v to %v, want from %v on", in.OldestTime, in.NewestTime, times[0])
					}
				})
			})
		}
	}
}

// Without the index the journal has the times of the first and the last batch.
func TestTimesWithoutIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{})
		l := mustCreate(t, s, "t")
		for range 10 {
			time.Sleep(time.Second)
			mustAppend(t, l, batchOf("t", "x"))
		}
		before, err := l.Info(t.Context())
		must(t, err)
		must(t, s.Close())
		must(t, disk.Remove("t/0.idx"))
		time.Sleep(time.Hour)
		s = openMem(t, disk, Options{})
		defer s.Close()
		l = mustLog(t, s, "t")
		if after, err := l.Info(t.Context()); err != nil || !after.OldestTime.Equal(before.OldestTime) || !after.NewestTime.Equal(before.NewestTime) {
			t.Errorf("before %+v\nafter %+v, %v", before, after, err)
		}
		second := l.Next() / 10
		for _, c := range []struct {
			at   time.Time
			most int64
			want int64
		}{
			{before.OldestTime, 0, 0},
			{before.OldestTime.Add(time.Millisecond), second, second}, // or earlier
			{before.NewestTime, l.Next() - second, second},
			{before.NewestTime.Add(time.Millisecond), l.Next(), l.Next()},
		} {
			if got, err := l.Seek(c.at); err != nil || got > c.most || got != c.want {
				t.Errorf("seek %v gives %d (%v), want %d", c.at, got, err, c.want)
			}
		}
	})
}
