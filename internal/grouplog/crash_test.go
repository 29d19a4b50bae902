package grouplog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

const groups = 3

var testMember = Member{Cluster: [16]byte{0xab, 15: 1}, ID: 7, Name: "a", Groups: groups}

// state is what the log of one group should say, as simple as can be.
type state struct {
	term, vote, commit uint64
	base, baseTerm     uint64
	entries            []LogEntry
}

func (s *state) last() uint64 { return s.base + uint64(len(s.entries)) }

func (s *state) apply(r Record) {
	switch r.Kind {
	case Hard:
		s.term, s.vote = r.Term, r.Vote
	case Entry:
		s.entries = append(slices.Clone(s.entries), LogEntry{Index: r.Index, Term: r.Term, Type: r.Type, Data: r.Data})
	case Void:
		s.entries = s.entries[:r.Index-s.base-1]
	case Commit:
		s.commit = max(s.commit, r.Index)
	case Table:
		if r.Index <= s.last() && s.entries[r.Index-s.base-1].Term == r.Term {
			s.entries = s.entries[r.Index-s.base:]
		} else {
			s.entries = nil
		}
		s.base, s.baseTerm = r.Index, r.Term
		s.commit = max(s.commit, r.Index)
	}
}

// text is the state in words, to compare.
func (s *state) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "term %d vote %d commit %d table %d@%d:", s.term, s.vote, s.commit, s.base, s.baseTerm)
	for _, e := range s.entries {
		fmt.Fprintf(&b, " %d@%d/%x", e.Index, e.Term, crc32.ChecksumIEEE(e.Data))
	}
	return b.String()
}

func stateOf(g *Group) state {
	return state{term: g.Term, vote: g.Vote, commit: g.Commit, base: g.Table.Index, baseTerm: g.Table.Term, entries: slices.Clone(g.Entries)}
}

type world [groups]state

func (w *world) text() string {
	var lines []string
	for i := range w {
		lines = append(lines, w[i].text())
	}
	return strings.Join(lines, "\n")
}

func worldOf(gs []Group) (w world) {
	for i := range w {
		w[i] = stateOf(&gs[i])
	}
	return w
}

// driver does with a log what a member does, badly if it is told to, and looks
// at what power cuts leave of it.
type driver struct {
	rng, imageRng *rand.Rand
	disk          *vfstest.FS
	lie           func(*vfstest.FS)
	quiet         bool // files of the log are not synced before they have their names
	lazy          bool // a file that was cut is not synced at once
	log           *Log
	next          [groups]int64 // where the next bytes go, of the topic of each group
	dirty         [groups]bool
	boot          uint64

	// Since the last round that succeeded: what the log may say, the first at
	// least.
	may []world

	every, images, cuts, ended, full int // an image is looked at after one of every so many operations
	err                              error
	steps                            []string

	position uint64 // that was told to peers

	// The slips of a careless caller.
	syncedEarly bool // Durable without a sync of the bytes
	lateCut     bool // bytes are cut off before VOID is synced
	unchecked   bool // entries at or after S are not checked
	tailKept    bool // what follows S of the bytes is not written again
}

// fs is the disk as the log sees it.
func (d *driver) fs(disk *vfstest.FS) vfs.FS {
	if !d.quiet && !d.lazy {
		return disk
	}
	return slipFS{disk, d}
}

// slipFS leaves out syncs of files of the log.
type slipFS struct {
	vfs.FS
	d *driver
}

type slipFile struct {
	vfs.File
	quiet, lazy, cut bool
}

func (f *slipFile) Truncate(size int64) error {
	f.cut = true
	return f.File.Truncate(size)
}

func (f *slipFile) Sync() error {
	if f.quiet || f.lazy && f.cut {
		f.cut = false
		return nil
	}
	return f.File.Sync()
}

func (s slipFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := s.FS.OpenFile(name, flag, perm)
	if err == nil && strings.HasPrefix(name, logDir) {
		f = &slipFile{File: f, quiet: s.d.quiet && strings.HasSuffix(name, unnamed), lazy: s.d.lazy}
	}
	return f, err
}

func topicFile(g int) string { return "t" + strconv.Itoa(g) }

func newDriver(seed uint64, every int) *driver {
	d := &driver{rng: rand.New(rand.NewPCG(seed, 1)), imageRng: rand.New(rand.NewPCG(seed, 2)), boot: 100, every: every}
	return d
}

func (d *driver) note(format string, args ...any) {
	d.steps = append(d.steps, fmt.Sprintf(format, args...))
}

// create makes the member and its first tables.
func (d *driver) create() error {
	var tables []*entry.Table
	var w world
	for g := range groups {
		if err := d.disk.WriteFile(topicFile(g), nil); err != nil {
			return err
		}
		tables = append(tables, &entry.Table{Group: uint16(g), Index: 1, Term: 1, Conf: entry.Conf{Voters: []uint64{7}}})
		w[g] = state{term: 1, commit: 1, base: 1, baseTerm: 1}
	}
	d.may = []world{w}
	l, err := Create(d.fs(d.disk), testMember, 1, tables)
	if err != nil {
		return err
	}
	d.use(l)
	return nil
}

func (d *driver) use(l *Log) {
	d.log = l
	l.grow = 500
	d.next, d.dirty = [groups]int64{}, [groups]bool{}
	for g := range groups {
		f, _ := d.disk.ReadFile(topicFile(g))
		d.next[g] = int64(len(f))
	}
}

// watch looks at images of what power cuts leave.
func (d *driver) watch() {
	if d.lie != nil && d.log != nil {
		d.lie(d.disk)
	}
	d.disk.OnOp(func(vfstest.Op) {
		if d.err != nil || d.imageRng.IntN(d.every) > 0 {
			return
		}
		d.images++
		if _, _, err := d.recover(d.disk.Crash(d.imageRng), true); err != nil && d.log != nil {
			d.err = fmt.Errorf("after %d operations: %w", d.disk.Ops(), err)
		}
	})
}

// now returns what the log is to say when all has been written.
func (d *driver) now() world { return d.may[len(d.may)-1] }

// append appends records and notes what the log may say from then on.
func (d *driver) append(records ...Record) error {
	for _, r := range records {
		w := d.now()
		w[r.Group].apply(r)
		d.may = append(d.may, w)
		d.note("%v: kind %d group %d index %d term %d vote %d", d.log.End(), r.Kind, r.Group, r.Index, r.Term, r.Vote)
	}
	err := d.log.Append(records...)
	if err != nil && !errors.Is(err, ErrFailed) {
		d.may = d.may[:len(d.may)-len(records)] // none of them may come back
	}
	return err
}

// round is a sync round: bytes and log.
func (d *driver) round() error {
	pos, n := d.log.End(), len(d.may)-1
	for g := range groups {
		if !d.dirty[g] || d.syncedEarly {
			continue
		}
		if err := d.syncTopic(g); err != nil {
			d.log.Fail(err)
			return err
		}
	}
	if err := d.log.File().Sync(); err != nil {
		d.log.Fail(err)
		return err
	}
	d.may = d.may[n:]
	err := d.log.Durable(pos)
	d.position = max(d.position, d.log.Position())
	return err
}

func (d *driver) syncTopic(g int) error {
	f, err := d.disk.OpenFile(topicFile(g), vfs.ReadWrite, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	d.dirty[g] = false
	return f.Sync()
}

// write writes bytes and returns the run that names them.
func (d *driver) write(g int) (entry.Run, error) {
	b := make([]byte, 1+d.rng.IntN(1+d.rng.IntN(900)))
	for i := range b {
		b[i] = byte(1 + d.rng.IntN(255))
	}
	run := entry.Run{Topic: uint32(g), Offset: d.next[g], Bytes: uint32(len(b)), Batches: 1, CRC: crc32.Checksum(b, castagnoli)}
	f, err := d.disk.OpenFile(topicFile(g), vfs.ReadWrite, 0)
	if err != nil {
		return run, err
	}
	defer f.Close()
	if _, err := f.WriteAt(b, run.Offset); err != nil {
		return run, errors.Join(err, f.Truncate(run.Offset))
	}
	d.next[g] += int64(len(b))
	d.dirty[g] = true
	return run, nil
}

// truncate cuts the bytes of a group's topic off.
func truncate(disk vfs.FS, g int, size int64) error {
	f, err := disk.OpenFile(topicFile(g), vfs.ReadWrite, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}

func runOf(data []byte) (entry.Run, bool) {
	d, _ := entry.Decode(data)
	round, ok := d.(*entry.Round)
	if !ok {
		return entry.Run{}, false
	}
	return round.Runs[0], true
}

// entries appends some entries to a group's log, and what they name.
func (d *driver) entries(g int) error {
	now := d.now()
	s := &now[g]
	first := d.next[g]
	var records []Record
	for i := range 1 + d.rng.IntN(3) {
		run, err := d.write(g)
		if err != nil {
			d.next[g] = first
			return errors.Join(err, truncate(d.disk, g, first))
		}
		data := entry.Append(nil, &entry.Round{Runs: []entry.Run{run}})
		records = append(records, Record{Kind: Entry, Group: g, Index: s.last() + 1 + uint64(i), Term: s.term, Data: data})
	}
	err := d.append(records...)
	if err != nil && d.log.failed == nil { // no room: the bytes of what was refused go
		d.next[g] = first
		return errors.Join(err, truncate(d.disk, g, first))
	}
	return err
}

func (d *driver) step() error {
	g := d.rng.IntN(groups)
	now := d.now()
	s := &now[g]
	switch n := d.rng.IntN(45); {
	case n < 18 || n >= 42:
		if n >= 42 {
			d.note("the disk is full")
			d.disk.FailAt(1, vfstest.Fault{Err: syscall.ENOSPC, Written: d.rng.Int64N(310), Match: func(op vfstest.Op) bool {
				return op.Kind == vfstest.OpWrite && strings.HasPrefix(op.Name, logDir)
			}})
		}
		before := d.disk.Faults()
		err := d.entries(g)
		if n >= 42 && d.log.failed == nil && d.disk.Faults() > before {
			d.full++
			err = nil
		}
		return err
	case n < 24:
		return d.round()
	case n < 27:
		term, vote := s.term+uint64(d.rng.IntN(2)), uint64(1+d.rng.IntN(3))
		if term == s.term && s.vote != 0 {
			vote = s.vote
		}
		return d.append(Record{Kind: Hard, Group: g, Term: term, Vote: vote})
	case n < 30:
		return d.void(g)
	case n < 33:
		if i := d.syncedIndex(g); i > s.commit {
			return d.append(Record{Kind: Commit, Group: g, Index: s.commit + 1 + d.rng.Uint64N(i-s.commit)})
		}
	case n < 35:
		return d.table(g)
	case n < 36:
		if err := d.round(); err != nil {
			return err
		}
		if d.log.Full() {
			d.note("roll")
			return d.log.Roll()
		}
	case n < 37:
		return d.append(Record{Kind: Synced})
	case n < 38:
		return d.restart(d.disk, d.rng.IntN(2) == 0)
	case n < 40:
		d.note("a sync fails")
		d.disk.FailAt(1+d.rng.IntN(3), vfstest.Fault{Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSync }})
		if err := d.round(); err == nil || !errors.Is(d.log.Durable(0), ErrFailed) || d.log.Append(Record{Kind: Synced}) == nil {
			d.disk.ClearFaults()
			return err
		}
		return d.restart(d.disk, false)
	default:
		d.note("power cut")
		d.cuts++
		return d.restart(d.disk.Crash(d.rng), false)
	}
	return nil
}

// syncedIndex returns the highest index that is synced.
func (d *driver) syncedIndex(g int) uint64 {
	gr := &d.log.groups[g]
	i := gr.Last()
	for !gr.synced(i, d.log.Synced()) {
		i--
	}
	return i
}

// void makes entries void and cuts off what they name.
func (d *driver) void(g int) error {
	now := d.now()
	s := &now[g]
	if s.last() == s.commit {
		return nil
	}
	index := s.commit + 1 + d.rng.Uint64N(s.last()-s.commit)
	if err := d.append(Record{Kind: Hard, Group: g, Term: s.term + 1}, Record{Kind: Void, Group: g, Index: index}); err != nil {
		return err
	}
	run, _ := runOf(s.entries[index-s.base-1].Data)
	d.next[g] = run.Offset
	if d.lateCut {
		return truncate(d.disk, g, run.Offset)
	}
	if err := d.round(); err != nil {
		return err
	}
	d.dirty[g] = true
	return truncate(d.disk, g, run.Offset)
}

// table begins a group's log with a new table, of its own or another's.
func (d *driver) table(g int) error {
	now := d.now()
	s := &now[g]
	t := &entry.Table{Group: uint16(g), Index: s.commit, Term: s.baseTerm, Conf: entry.Conf{Voters: []uint64{7}}}
	if d.rng.IntN(4) == 0 {
		if err := d.round(); err != nil {
			return err
		}
		t.Index, t.Term = s.last()+1+d.rng.Uint64N(3), s.term
	} else if s.commit > s.base {
		t.Term = s.entries[s.commit-s.base-1].Term
	} else {
		return nil
	}
	r, err := d.log.WriteTable(t)
	if err != nil {
		return err
	}
	return d.append(r)
}

// restart ends the log and opens what is on disk.
func (d *driver) restart(disk *vfstest.FS, clean bool) error {
	d.disk.OnOp(nil)
	if clean {
		if err := d.round(); err != nil {
			return err
		}
		if err := d.log.Close(); err != nil {
			return err
		}
	} else {
		d.log.File().Close()
	}
	disk.ClearFaults()
	d.disk = disk
	if d.lie != nil {
		d.lie(disk)
	}
	w, l, err := d.recover(disk, false)
	if err != nil {
		return err
	}
	d.may = []world{w}
	d.note("start with\n%s", w.text())
	d.use(l)
	d.watch()
	return nil
}

// recover starts from what is on a disk, as a member does, and checks what it
// finds. An image's is done twice, with a power cut in between.
func (d *driver) recover(disk *vfstest.FS, image bool) (world, *Log, error) {
	r, err := Open(d.fs(disk))
	if errors.Is(err, fs.ErrNotExist) && d.log == nil {
		return world{}, nil, err // inside create
	}
	if err != nil {
		return world{}, nil, err
	}
	found := worldOf(r.Groups)
	if !slices.ContainsFunc(d.may, func(w world) bool { return w.text() == found.text() }) {
		return found, nil, fmt.Errorf("the log says\n%s\nand should say at least\n%s\nand at most\n%s", found.text(), d.may[0].text(), d.may[len(d.may)-1].text())
	}
	for g := range r.Groups {
		if err := d.check(disk, r, g); err != nil {
			return found, nil, err
		}
	}
	want := worldOf(r.Groups)
	var second *vfstest.FS
	if image {
		n := 1 + d.imageRng.IntN(8)
		disk.OnOp(func(vfstest.Op) {
			if n--; n == 0 {
				second = disk.Crash(d.imageRng)
			}
		})
	}
	d.boot++
	l, err := r.Start(d.boot)
	if err != nil {
		return want, nil, err
	}
	if l.Position() < d.position {
		return want, nil, fmt.Errorf("position %d, and %d was told to peers", l.Position(), d.position)
	}
	for g := range r.Groups { // what no entry names
		if last := r.Groups[g].Entries; len(last) > 0 {
			if run, ok := runOf(last[len(last)-1].Data); ok {
				if err := truncate(disk, g, run.End()); err != nil {
					return want, nil, err
				}
			}
		}
	}
	disk.OnOp(nil)
	for _, disk := range []*vfstest.FS{disk, second} {
		if disk == nil || !image {
			continue
		}
		again, err := Open(disk)
		if err != nil {
			return want, nil, fmt.Errorf("the second time: %w", err)
		}
		expect := found // the power failed before the new file had its name
		if again.Boot == d.boot {
			expect = want
		}
		if w := worldOf(again.Groups); w.text() != expect.text() {
			return want, nil, fmt.Errorf("started with\n%s\nand after that\n%s", expect.text(), w.text())
		}
	}
	return want, l, nil
}

// check looks after the bytes that entries name.
func (d *driver) check(disk *vfstest.FS, r *Recovery, g int) error {
	content, err := disk.ReadFile(topicFile(g))
	if err != nil {
		return err
	}
	f, err := disk.OpenFile(topicFile(g), vfs.ReadWrite, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, e := range r.Groups[g].Entries {
		run, _ := runOf(e.Data)
		var b []byte
		if run.End() <= int64(len(content)) {
			b = content[run.Offset:run.End()]
		}
		ok := b != nil && crc32.Checksum(b, castagnoli) == run.CRC
		switch {
		case !ok && e.At < r.Synced:
			return fmt.Errorf("bytes of entry %d of group %d, at %v, are missing before S, %v", e.Index, g, e.At, r.Synced)
		case !ok && d.unchecked:
		case !ok:
			for _, sure := range d.may[0][g].entries {
				if sure.Index == e.Index && sure.Term == e.Term {
					return fmt.Errorf("entry %d of group %d was synced, and its bytes are missing", e.Index, g)
				}
			}
			d.ended++
			r.End(g, e.Index)
			return f.Sync()
		case e.At >= r.Synced && !d.tailKept:
			if _, err := f.WriteAt(b, run.Offset); err != nil {
				return err
			}
		}
	}
	return f.Sync()
}

func (d *driver) run(steps int) error {
	d.disk = vfstest.New()
	d.watch()
	err := d.create()
	d.watch()
	for i := 0; i < steps && err == nil && d.err == nil; i++ {
		err = d.step()
	}
	if err = errors.Join(err, d.err); err != nil {
		return fmt.Errorf("%w\nsteps:\n%s", err, strings.Join(d.steps[max(0, len(d.steps)-25):], "\n"))
	}
	return nil
}

func seeds(t *testing.T, n int) (first uint64, runs int) {
	if s := os.Getenv("LOGD_CRASH_RUNS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("LOGD_CRASH_SEED"); s != "" {
		first, _ = strconv.ParseUint(s, 10, 64)
		return first, n
	}
	return rand.Uint64N(1e9), n
}

// TestPowerCuts looks at what a power cut after any operation may leave: what was
// synced is there, nothing void comes back, votes do not go back, and what is there
// after a start stays.
func TestPowerCuts(t *testing.T) {
	first, runs := seeds(t, 30)
	images, cuts, ended, full := 0, 0, 0, 0
	for seed := first; seed < first+uint64(runs); seed++ {
		d := newDriver(seed, 2)
		if err := d.run(60); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		images, cuts, ended, full = images+d.images, cuts+d.cuts, ended+d.ended, full+d.full
	}
	t.Logf("seeds from %d: %d images, %d power cuts, %d groups' logs ended early, %d times full", first, images, cuts, ended, full)
	if images < 10*runs || ended == 0 || full == 0 {
		t.Errorf("%d images, %d ended early: the test tests nothing", images, ended)
	}
}

// TestPowerCutsControl makes sure that TestPowerCuts would notice.
func TestPowerCutsControl(t *testing.T) {
	for name, plant := range map[string]func(*driver){
		"synced tells of what is not synced":   func(d *driver) { d.syncedEarly = true },
		"bytes cut off before VOID is synced":  func(d *driver) { d.lateCut = true },
		"syncs of the log that do nothing":     func(d *driver) { d.lie = func(f *vfstest.FS) { f.IgnoreSync(true) } },
		"syncs of folders that do nothing":     func(d *driver) { d.lie = func(f *vfstest.FS) { f.IgnoreSyncDir(true) } },
		"bytes after S are not written again":  func(d *driver) { d.tailKept = true },
		"bytes after S are not looked at":      func(d *driver) { d.unchecked = true },
		"a file that was cut is not synced":    func(d *driver) { d.lazy = true },
		"a file gets its name before its sync": func(d *driver) { d.quiet = true },
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			for seed := uint64(1); seed <= 200 && err == nil; seed++ {
				d := newDriver(seed, 2)
				plant(d)
				err = d.run(60)
			}
			if err == nil {
				t.Fatal("not found in 200 seeds")
			}
			t.Log(strings.SplitN(err.Error(), "\n", 2)[0])
		})
	}
}
