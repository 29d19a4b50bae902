package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/clock"
	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// check returns what a check finds.
func check(t testing.TB, fsys vfs.FS) ([]fsck.Finding, fsck.CheckReport) {
	t.Helper()
	var found []fsck.Finding
	r, err := fsck.Check(context.Background(), fsck.CheckOptions{FS: fsys}, func(f fsck.Finding) { found = append(found, f) })
	if err != nil {
		t.Fatal(err)
	}
	return found, r
}

func kinds(found []fsck.Finding) string {
	var out []string
	for _, f := range found {
		out = append(out, string(f.Kind))
	}
	return strings.Join(out, " ")
}

// stillClock is the system's clock stopped: an index has an entry for the first
// batch of each millisecond, and nothing but the first here.
type stillClock struct{ clock.System }

func (stillClock) Now() time.Time { return time.UnixMilli(1_000_000_000_000) }

// lay makes a work directory of a topic "t" with three partitions of three
// batches each, closed cleanly, and returns it with the batches.
func lay(t testing.TB) (*vfstest.FS, []Appended) {
	t.Helper()
	disk := vfstest.New()
	s := openMem(t, disk, Options{PartitionSize: 200, Partitions: -1, FlushInterval: -1, Clock: stillClock{}})
	l := mustCreate(t, s, "t")
	var all []Appended
	for range 9 {
		all = append(all, mustAppend(t, l, batchOf("t", "body", "more of it")))
	}
	if n := len(l.Partitions()); n != 3 {
		t.Fatalf("%d partitions", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return disk, all
}

// put gives a file other bytes.
func put(t testing.TB, disk *vfstest.FS, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := disk.ReadFile(name)
	if err == nil {
		err = disk.WriteFile(name, change(b))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flip(at int64) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 0x55; return b }
}

func cutOff(n int64) func([]byte) []byte { return func(b []byte) []byte { return b[:int64(len(b))-n] } }

func extend(more string) func([]byte) []byte {
	return func(b []byte) []byte { return append(b, more...) }
}

// harm is something that happens to the work directory of lay, and what a check
// finds then: the kinds of findings, of which the last is the one that is
// looked at.
type harm struct {
	name   string
	do     func(disk *vfstest.FS)
	want   string
	level  fsck.Level
	file   string
	offset int64
	length int64 // -1: whatever it is
	why    string
}

// harms returns every kind of finding, once or more.
func harms(t *testing.T) []harm {
	batchLen := int64(len(batchOf("t", "body", "more of it").data))
	base1 := 3 * batchLen
	second, head := layout.Partition("t", base1), layout.Partition("t", 2*base1)
	rec := func(kind journal.Kind, ints ...int64) func([]byte) []byte {
		return extend(string(journal.Append(nil, kind, ints...)))
	}
	file := layout.JournalFile("t")
	return []harm{
		{"a flipped bit in a body", func(d *vfstest.FS) { put(t, d, second, flip(batchLen+40)) },
			"batch", fsck.Damage, second, base1 + batchLen, batchLen, "checksum is"},
		{"a flipped bit in an envelope", func(d *vfstest.FS) { put(t, d, second, flip(0)) },
			"batch", fsck.Damage, second, base1, batchLen, "no batch begins here"},
		{"a zeroed batch", func(d *vfstest.FS) {
			put(t, d, second, func(b []byte) []byte { clear(b[:batchLen]); return b })
		}, "batch", fsck.Damage, second, base1, batchLen, "zeros"},
		{"a batch of another topic", func(d *vfstest.FS) {
			put(t, d, second, func(b []byte) []byte { return append(batchOf("u", "body", "more of it").data, b[batchLen:]...) })
		}, "batch", fsck.Damage, second, base1, batchLen, `a batch of topic "u"`},
		{"messages that do not fit", func(d *vfstest.FS) {
			put(t, d, second, func(b []byte) []byte {
				h, n, _ := batch.Parse(b)
				h.Messages++
				return append(batch.AppendHeader(nil, &h), b[n-h.Size:]...)
			})
		}, "batch", fsck.Damage, second, base1, batchLen, "its messages are not what"},
		{"the clean end, damaged", func(d *vfstest.FS) { put(t, d, head, flip(3*batchLen-1)) },
			"batch", fsck.Damage, head, 2*base1 + 2*batchLen, batchLen, "checksum is"},
		{"a short partition", func(d *vfstest.FS) { put(t, d, second, cutOff(batchLen)) },
			"missing", fsck.Damage, second, base1 + 2*batchLen, batchLen, "the file ends before"},
		{"a short head", func(d *vfstest.FS) { put(t, d, head, cutOff(batchLen)) },
			"missing", fsck.Damage, head, 2*base1 + 2*batchLen, batchLen, "the file ends before"},
		{"the oldest partition gone", func(d *vfstest.FS) { must(t, d.Remove("t/0.log")); must(t, d.Remove("t/0.idx")) },
			"missing", fsck.Damage, "t/0.log", 0, base1, "was not removed by logd"},
		{"a partition in the middle gone", func(d *vfstest.FS) {
			must(t, d.Remove(second))
			must(t, d.Remove(layout.Index("t", base1)))
		}, "missing", fsck.Damage, "t/0.log", base1, base1, "the file ends before"},
		{"all partitions gone", func(d *vfstest.FS) {
			for _, base := range []int64{0, base1, 2 * base1} {
				must(t, d.Remove(layout.Partition("t", base)))
				must(t, d.Remove(layout.Index("t", base)))
			}
		}, "missing", fsck.Damage, "t", 0, 3 * base1, "all partition files are gone"},
		{"a partition that reaches into the next", func(d *vfstest.FS) { put(t, d, second, extend("12345")) },
			"overlap", fsck.Damage, second, 2 * base1, 5, "reaches into"},
		{"bytes set aside and still there", func(d *vfstest.FS) {
			put(t, d, second, flip(batchLen+40))
			put(t, d, file, rec(journal.Damaged, base1+batchLen, base1+2*batchLen))
		}, "totals set-aside", fsck.Damage, second, base1 + batchLen, batchLen, "still here"},
		{"bytes set aside and moved out", func(d *vfstest.FS) {
			put(t, d, second, func(b []byte) []byte { clear(b[:batchLen]); return b })
			put(t, d, file, rec(journal.Damaged, base1, base1+batchLen))
		}, "index totals hole", fsck.Note, second, base1, batchLen, "moved out"},
		{"bytes set aside that are valid", func(d *vfstest.FS) {
			put(t, d, file, rec(journal.Damaged, base1, base1+batchLen))
		}, "mended", fsck.Note, second, base1, batchLen, "valid again"},
		{"an irregular partition", func(d *vfstest.FS) { must(t, d.Mkdir("t/9999.log", 0o700)) },
			"file", fsck.Damage, "t/9999.log", 9999, 0, "not a regular file"},
		{"the journal's header", func(d *vfstest.FS) { put(t, d, file, flip(3)) },
			"index index index journal", fsck.Damage, file, -1, -1, "can't be used"},
		{"a journal of a newer version", func(d *vfstest.FS) {
			put(t, d, file, func(b []byte) []byte {
				h := append(append([]byte(nil), b[:8]...), 2, 0, 0, 0)
				return append(appendCRC(h), b[16:]...)
			})
		}, "newer", fsck.Unchecked, file, -1, 0, "newer version"},
		{"a torn journal", func(d *vfstest.FS) { put(t, d, file, extend("torn")) },
			"journal-tail", fsck.Note, file, -1, 4, "not whole"},
		{"a torn tail", func(d *vfstest.FS) { put(t, d, head, extend("BATCH 12 t")) },
			"torn-tail", fsck.Note, head, 3 * base1, 10, "cut short"},
		{"a torn partition", func(d *vfstest.FS) { must(t, d.WriteFile(layout.Partition("t", 3*base1), make([]byte, 7))) },
			"torn-tail", fsck.Note, layout.Partition("t", 3*base1), 3 * base1, 7, "known as durable: zeros"},
		{"a torn partition after the last mark", func(d *vfstest.FS) {
			put(t, d, file, rec(journal.Synced, base1))
			must(t, d.WriteFile(layout.Partition("t", 3*base1), make([]byte, 7)))
		}, "torn-tail", fsck.Note, layout.Partition("t", 3*base1), 3 * base1, 7, "none reached"},
		{"an index's header", func(d *vfstest.FS) { put(t, d, layout.Index("t", base1), flip(20)) },
			"index", fsck.Note, layout.Index("t", base1), -1, 0, "header"},
		{"an index's block", func(d *vfstest.FS) { put(t, d, layout.Index("t", base1), flip(100)) },
			"index", fsck.Note, layout.Index("t", base1), -1, 0, "block 0 does not check"},
		{"another partition's index", func(d *vfstest.FS) {
			b, err := d.ReadFile(layout.Index("t", 0))
			must(t, err)
			must(t, d.WriteFile(layout.Index("t", base1), b))
		}, "index", fsck.Note, layout.Index("t", base1), -1, 0, "header"},
		{"wrong totals", func(d *vfstest.FS) {
			put(t, d, file, rec(journal.End, base1, 2*base1, 7, 4, 0, 0))
		}, "totals", fsck.Note, second, -1, 0, "the journal counts 4 batches with 7 messages, there are 3 with 6"},
		{"an interrupted removal", func(d *vfstest.FS) { put(t, d, file, rec(journal.Trim, base1, 6, 3)) },
			"unfinished", fsck.Note, "t/0.log", -1, 0, "being removed"},
		{"an interrupted truncation", func(d *vfstest.FS) { put(t, d, file, rec(journal.Cut, 2*base1+batchLen)) },
			"unfinished", fsck.Note, head, 2*base1 + batchLen, 2 * batchLen, "cut off"},
		{"an index without a partition", func(d *vfstest.FS) { must(t, d.WriteFile("t/77.idx", nil)) },
			"left-over", fsck.Note, "t/77.idx", -1, 0, "without a partition"},
		{"a journal put aside", func(d *vfstest.FS) { must(t, d.WriteFile("t/journal.damaged", []byte("x"))) },
			"left-over", fsck.Note, "t/journal.damaged", -1, 0, "put aside"},
		{"a journal half written", func(d *vfstest.FS) { must(t, d.WriteFile("t/journal.new", []byte("x"))) },
			"left-over", fsck.Note, "t/journal.new", -1, 0, "being written"},
		{"a stray file in a topic", func(d *vfstest.FS) { must(t, d.WriteFile("t/007.log", nil)) },
			"stray", fsck.Note, "t/007.log", -1, 0, "leaves it alone"},
		{"a stray file", func(d *vfstest.FS) { must(t, d.WriteFile("notes", nil)) },
			"stray", fsck.Note, "notes", -1, 0, "leaves it alone"},
		{"a stray folder", func(d *vfstest.FS) { must(t, d.Mkdir("t,", 0o700)) },
			"stray", fsck.Note, "t,", -1, 0, "no topic can have"},
	}
}

// Each kind of finding is found, and nothing else.
func TestCheckFindings(t *testing.T) {
	for _, test := range harms(t) {
		t.Run(test.name, func(t *testing.T) {
			disk, _ := lay(t)
			test.do(disk)
			before := disk.Ops()
			found, r := check(t, disk)
			if n := disk.Ops() - before; n != 0 {
				t.Errorf("the check changed something: %d operations", n)
			}
			want := strings.Fields(test.want)
			subject := want[len(want)-1]
			got := strings.Fields(kinds(found))
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("found %+v, want %s", found, test.want)
			}
			f := found[slices.IndexFunc(found, func(f fsck.Finding) bool { return string(f.Kind) == subject })]
			if f.Level != test.level || f.File != test.file || f.Offset != test.offset ||
				(test.length >= 0 && f.Length != test.length) || !strings.Contains(f.Why, test.why) {
				t.Errorf("found %+v", f)
			}
			if (r.Damages > 0) != (test.level == fsck.Damage) || (r.Unchecked > 0) != (test.level == fsck.Unchecked) {
				t.Errorf("report %+v", r)
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// appendCRC appends the checksum that a header of twelve bytes ends with.
func appendCRC(h []byte) []byte {
	sum := batch.Checksum(h)
	return append(h, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
}

// A directory that the store has written has nothing to say of, closed, killed,
// or reopened.
func TestCheckHealthy(t *testing.T) {
	for _, o := range []Options{
		{FlushInterval: -1},
		{PartitionSize: 1, Partitions: -1, FlushInterval: -1},
		{PartitionSize: 300, Partitions: 3, FlushBatches: 1},
		{PartitionSize: 20000, FlushBatches: 3},
	} {
		disk := vfstest.New()
		var want int64
		for round := range 4 {
			s := openMem(t, disk, o)
			for _, topic := range []string{"t", "u"} {
				l := mustCreate(t, s, topic)
				for i := range 20 {
					mustAppend(t, l, batchOf(topic, fmt.Sprint(i), strings.Repeat("x", 10*i)))
				}
			}
			want = 0
			for _, l := range s.All() {
				in, err := l.Info(t.Context())
				must(t, err)
				want += in.Batches
			}
			if round%2 == 0 {
				must(t, s.Close())
			} else {
				kill(s)
			}
			found, r := check(t, disk)
			if found != nil {
				t.Fatalf("round %d of %+v: found %+v", round, o, found)
			}
			before := disk.Ops()
			_, err := fsck.Check(t.Context(), fsck.CheckOptions{FS: disk, Online: true}, func(f fsck.Finding) { t.Errorf("online: found %+v", f) })
			if err != nil || disk.Ops() != before {
				t.Fatalf("online: %v, after %d operations that change something", err, disk.Ops()-before)
			}
			if r.Batches != want && o.Partitions < 0 {
				t.Fatalf("round %d: %d batches, want %d", round, r.Batches, want)
			}
		}
	}
}

// Real files, of a real store.
func TestCheckRealFiles(t *testing.T) {
	dir := t.TempDir()
	fsys := osFS(t, dir)
	s, err := Open(t.Context(), Options{FS: fsys, PartitionSize: 5000})
	must(t, err)
	l := mustCreate(t, s, "t")
	for i := range 100 {
		mustAppend(t, l, batchOf("t", fmt.Sprint("message ", i), strings.Repeat("x", 100)))
	}
	if _, err := fsck.Check(t.Context(), fsck.CheckOptions{FS: fsys}, nil); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("check of a locked directory: %v", err)
	}
	if _, err := fsck.Repair(t.Context(), fsck.RepairOptions{FS: fsys}, nil); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("repair of a locked directory: %v", err)
	}
	online := func() (found []fsck.Finding, r fsck.CheckReport) {
		r, err := fsck.Check(t.Context(), fsck.CheckOptions{FS: fsys, Online: true}, func(f fsck.Finding) { found = append(found, f) })
		must(t, err)
		return found, r
	}
	if found, r := online(); found != nil || r.Batches == 0 || r.Bytes+r.Unmarked != l.Next() {
		t.Errorf("online: %+v, %+v", found, r)
	}
	must(t, s.Close())
	if found, r := check(t, fsys); found != nil || r.Messages != 200 || r.Unmarked != 0 || r.Batches != 100 || r.Partitions != 4 || r.Topics != 1 {
		t.Errorf("found %+v, %+v", found, r)
	}

	must(t, os.Chmod(filepath.Join(dir, "t", "0.log"), 0o606))
	must(t, os.Chmod(filepath.Join(dir, "t"), 0o777))
	must(t, os.Symlink("0.log", filepath.Join(dir, "t", "5.log")))
	if found, _ := check(t, fsys); kinds(found) != "mode file mode" {
		t.Errorf("found %+v", found)
	}
	must(t, os.Remove(filepath.Join(dir, "t", "5.log")))
	must(t, os.WriteFile(filepath.Join(dir, "t", "0.log"), make([]byte, 100), 0o600))
	if found, _ := online(); !slices.ContainsFunc(found, func(f fsck.Finding) bool { return f.Level == fsck.Damage }) {
		t.Errorf("online: damage of a complete partition is not found: %+v", found)
	}

	if _, err := fsck.Check(t.Context(), fsck.CheckOptions{FS: osFS(t, filepath.Join(dir, "t"))}, nil); !errors.Is(err, fsck.ErrNoWorkDir) {
		t.Errorf("check of a topic's folder: %v", err)
	}
}

// What can't be read is said to be that, and the rest is checked.
func TestCheckUnreadable(t *testing.T) {
	disk, all := lay(t)
	name := layout.Partition("t", all[3].Offset)
	disk.FailAt(1, vfstest.Fault{Forever: true, Reads: true, Match: func(op vfstest.Op) bool {
		return op.Kind == vfstest.OpRead && op.Name == name
	}})
	found, r := check(t, disk)
	if kinds(found) != "unreadable" || r.Unchecked != 1 || r.Batches != 6 || found[0].File != name {
		t.Fatalf("found %+v, %+v", found, r)
	}
	report, err := fsck.Repair(t.Context(), fsck.RepairOptions{FS: disk}, func(a fsck.Action) { t.Errorf("did %+v", a) })
	must(t, err)
	if report.Topics != 0 || len(report.Failed) != 1 {
		t.Errorf("a topic that can't be read was repaired: %+v", report)
	}
}

// The work directory of an older line has only partitions, and perhaps no lock
// file. No file is made for a check.
func TestCheckOldLayout(t *testing.T) {
	disk, _ := lay(t)
	for _, name := range disk.Names() {
		if !strings.HasSuffix(name, ".log") && !strings.HasSuffix(name, "/") {
			must(t, disk.Remove(name))
		}
	}
	names := disk.Names()
	found, r := check(t, disk)
	if found != nil || r.Batches != 9 {
		t.Fatalf("found %+v, %+v", found, r)
	}
	if !slices.Equal(disk.Names(), names) {
		t.Errorf("files are now %q", disk.Names())
	}
	// A server that starts meanwhile is noticed.
	_, err := fsck.Check(t.Context(), fsck.CheckOptions{FS: disk, Progress: func(int64, int64) {
		disk.WriteFile(layout.LockName, nil)
	}}, func(fsck.Finding) {})
	if !errors.Is(err, layout.ErrStarted) {
		t.Errorf("check while a server starts: %v", err)
	}
}

// Every byte of the log counts: to flip any bit of it is damage. The control is
// a log whose batches have no checksum that could fail, for the flips make the
// body another one with the checksum that goes with it.
func TestCheckFindsEveryFlip(t *testing.T) {
	if missed := missedFlips(t, func(_ []byte, _ int64) {}); missed != 0 {
		t.Errorf("%d flips were not found", missed)
	}
}

func TestCheckFindsEveryFlipControl(t *testing.T) {
	missed := missedFlips(t, func(b []byte, at int64) {
		for pos := int64(0); pos < int64(len(b)); {
			h, n, err := batch.Parse(b[pos:])
			if err != nil || n > int64(len(b))-pos {
				return
			}
			if at >= pos && at < pos+n {
				// As if checksums were not looked at.
				h.CRC = batch.Checksum(b[pos+n-h.Size : pos+n])
				if line := batch.AppendHeader(nil, &h); int64(len(line)) == n-h.Size {
					copy(b[pos:], line)
				}
			}
			pos += n
		}
	})
	if missed == 0 {
		t.Error("without checksums every flip is found all the same: the test shows nothing")
	}
}

// missedFlips flips every bit of a small log's head and of an older partition,
// one at a time, has after change the bytes further, and counts what a check
// does not report as damage there.
func missedFlips(t *testing.T, after func(b []byte, at int64)) (missed int) {
	disk, all := lay(t)
	for _, base := range []int64{all[3].Offset, all[6].Offset} {
		name := layout.Partition("t", base)
		good, err := disk.ReadFile(name)
		must(t, err)
		for i := range int64(len(good)) * 8 {
			at := i / 8
			b := slices.Clone(good)
			b[at] ^= 1 << (i % 8)
			after(b, at)
			must(t, disk.WriteFile(name, b))
			found, _ := check(t, disk)
			if !slices.ContainsFunc(found, func(f fsck.Finding) bool {
				return f.Level == fsck.Damage && f.File == name && f.Position <= at && at < f.Position+f.Length
			}) {
				missed++
			}
		}
		must(t, disk.WriteFile(name, good))
	}
	return missed
}

// A check ends with its context.
func TestCheckCanceled(t *testing.T) {
	disk, _ := lay(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := fsck.Check(ctx, fsck.CheckOptions{FS: disk, Progress: func(int64, int64) { cancel() }}, func(fsck.Finding) {})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := disk.Open(); n != 0 {
		t.Errorf("%d files are left open", n)
	}
}

// Progress ends at the total.
func TestCheckProgress(t *testing.T) {
	disk, all := lay(t)
	put(t, disk, "t/0.log", flip(0))
	last, sum := int64(0), int64(0)
	_, err := fsck.Check(t.Context(), fsck.CheckOptions{FS: disk, Progress: func(done, total int64) {
		if done < last {
			t.Errorf("progress goes back from %d to %d", last, done)
		}
		last, sum = done, total
	}}, func(fsck.Finding) {})
	must(t, err)
	if want := all[8].End; last != want || sum != want {
		t.Errorf("progress ended at %d of %d, want %d", last, sum, want)
	}
}
