package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/deleted"
	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

func mustCreateAs(t testing.TB, s *Store, name string, id byte, base int64) *Log {
	t.Helper()
	l, err := s.CreateAs(name, [16]byte{id}, base, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// longName is the longest that a topic can have.
var longName = strings.Repeat("long", 63) + "est"

// mustRun appends batches to a log as a run at its end.
func mustRun(t testing.TB, l *Log, r run) {
	t.Helper()
	if _, err := l.AppendRun(context.Background(), placed(l.Next(), 2000, false, r)); err != nil {
		t.Fatal(err)
	}
}

// wireOf returns all bytes of a log, up to what is set aside: not synced, and lost, but
// for what follows.
func wireOf(l *Log) ([]byte, error) {
	end := layout.Clear(*l.Damaged(), l.Begin(), l.Next())
	if end == l.Begin() {
		return nil, nil
	}
	v, err := l.Stored(l.Begin(), end)
	if err != nil {
		return nil, err
	}
	return readView(v)
}

// A topic without its name is found by its id alone, and is one like others.
func TestCreateAs(t *testing.T) {
	disk, o := vfstest.New(), Options{Managed: true}
	s := openMem(t, disk, o)
	defer func() { s.Close() }()
	old := mustCreate(t, s, "t")
	mustRun(t, old, batchOf("t", "old"))
	l := mustCreateAs(t, s, "t", 7, 1000)
	if again := mustCreateAs(t, s, "t", 7, 5); again != l || s.ByID([16]byte{7}) != l || s.ByID(old.ID()) != old || s.ByID([16]byte{8}) != nil {
		t.Error("it is not found by its id")
	}
	if l.Named() || !old.Named() || l.Name() != "t" || l.ID() != [16]byte{7} || l.Next() != 1000 || l.Oldest() != 1000 || l.Created() != 1000 {
		t.Errorf("named %t, name %q, next %d", l.Named(), l.Name(), l.Next())
	}
	mustRun(t, l, batchOf("t", "new"))
	if errs, _ := s.SyncTogether([]*Log{l}, nil); errs[0] != nil {
		t.Fatal(errs[0])
	}
	if mustLog(t, s, "t") != old || len(s.Topics()) != 1 || len(s.Stats().Topics) != 1 || s.Counts().Topics != 1 || len(s.All()) != 2 {
		t.Errorf("topics %q, %+v", s.Topics(), s.Stats().Topics)
	}
	if err := s.TakeName(l); !errors.Is(err, fs.ErrExist) || l.Named() {
		t.Errorf("the name is taken: %v", err)
	}

	// Another start finds both; one that is not Managed leaves it alone.
	must(t, s.Close())
	before := tree(t, disk)
	s = openMem(t, disk, Options{})
	if len(s.All()) != 1 {
		t.Errorf("%d logs", len(s.All()))
	}
	must(t, s.Close())
	for name := range before {
		if strings.HasPrefix(name, layout.New) && tree(t, disk)[name] != before[name] {
			t.Errorf("%s has changed", name)
		}
	}
	s = openMem(t, disk, o)
	l, old = s.ByID([16]byte{7}), mustLog(t, s, "t")
	if l == nil || l.Named() || l.Next() == l.Begin() || l.Begin() != 1000 {
		t.Fatalf("after a restart: %+v", l)
	}
	l.SetReadable(l.Next())

	must(t, s.Delete(t.Context(), "t", layout.HexID(old.ID()), true))
	v, err := l.Read(1000, 1, 0)
	must(t, err)
	must(t, s.TakeName(l))
	must(t, s.TakeName(l))
	if b, err := readView(v); err != nil || !bytes.Equal(b, batchOf("t", "new").data) {
		t.Errorf("a reader has %q, %v", b, err)
	}
	if mustLog(t, s, "t") != l || !l.Named() || s.ByID(l.ID()) != l || headOf(l).File().Name() != "t/1000.log" {
		t.Errorf("it has its name: %t, file %s", l.Named(), headOf(l).File().Name())
	}
	if err := s.DropNew(l); !errors.Is(err, ErrNamed) {
		t.Errorf("dropped with its name: %v", err)
	}
	mustRun(t, l, batchOf("t", "newer"))
	l.SetReadable(l.Next())
	wantBodies(t, l, "new", "newer")
	must(t, s.Close())
	s = openMem(t, disk, Options{})
	wantBodies(t, mustLog(t, s, "t"), "new", "newer")

	// Names.
	if _, err := s.CreateAs(longName+"x", [16]byte{9}, 0, 0); !errors.Is(err, ErrTopicName) {
		t.Errorf("a name that is too long: %v", err)
	}
	for n, want := range map[int]string{222: ".new/" + longName[:222] + "." + layout.HexID([16]byte{222}), 223: ".new/" + layout.HexID([16]byte{223}) + "/" + longName[:223]} {
		mustCreateAs(t, s, longName[:n], byte(n), 0)
		if st, err := disk.Stat(want); err != nil || !st.IsDir() {
			t.Errorf("a name of %d bytes: %v", n, err)
		}
	}
	if _, err := s.CreateAs("a/b", [16]byte{10}, 0, 0); !errors.Is(err, ErrTopicName) {
		t.Errorf("a name that no topic has: %v", err)
	}
}

// What is dropped is gone, and kept if there was something in it.
func TestDropNew(t *testing.T) {
	disk, o := vfstest.New(), Options{Managed: true}
	s := openMem(t, disk, o)
	empty, full := mustCreateAs(t, s, "t", 1, 50), mustCreateAs(t, s, "t", 2, 50)
	mustRun(t, full, batchOf("t", "x"))
	for _, l := range []*Log{empty, full} {
		must(t, s.DropNew(l))
		if !l.Deleted() || s.ByID(l.ID()) != nil {
			t.Error("it is still there")
		}
		if err := s.DropNew(l); err == nil {
			t.Error("dropped twice")
		}
		if err := s.TakeName(l); !errors.Is(err, ErrDeleted) {
			t.Errorf("named after that: %v", err)
		}
	}
	kept, err := disk.ReadDir(deleted.Dir)
	if err != nil || len(kept) != 1 || !strings.Contains(kept[0].Name(), "t~") {
		t.Errorf("kept: %v, %v", kept, err)
	}
	must(t, s.Close())
	s = openMem(t, disk.CrashKeepNothing(), o)
	defer s.Close()
	if len(s.All()) > 0 {
		t.Errorf("%d logs after a power cut", len(s.All()))
	}
}

// What a creation has left that was interrupted is removed by the next start, and what
// is not ours stays.
func TestHalfMadeNew(t *testing.T) {
	disk := vfstest.New()
	folder := layout.NewFolder("t", [16]byte{1})
	for name, ours := range map[string]bool{
		folder + "/journal": true, folder + "/70.log": true, folder + "/70.idx": true, layout.NewFolder("u", [16]byte{2}) + "/journal.new": true,
		layout.New + "/t/0.log": false, layout.NewFolder("t", [16]byte{3}) + "/mine": false, layout.New + "/file": false,
	} {
		b := []byte("x")
		if ours {
			b = nil
		}
		must(t, disk.WriteFile(name, b))
	}
	s := openMem(t, disk, Options{Managed: true})
	if len(s.All()) != 0 || len(s.Broken()) != 0 {
		t.Errorf("%d logs, broken %v", len(s.All()), s.Broken())
	}
	if _, err := s.CreateAs("t", [16]byte{3}, 0, 0); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a topic where something else is: %v", err)
	}
	must(t, s.Close())
	found, _ := check(t, disk)
	for _, f := range found {
		if f.Kind != fsck.FoundStray {
			t.Errorf("%+v", f)
		}
	}
	if got := len(found); got != 3 {
		t.Errorf("%d findings: %+v", got, found)
	}
}

// A damaged journal does not make another topic of one without its name, and check and
// repair know it by its folder.
func TestNewTopicDamaged(t *testing.T) {
	disk, o := vfstest.New(), Options{Managed: true}
	s := openMem(t, disk, o)
	l := mustCreateAs(t, s, "t", 1, 50)
	dir := dirOf(l)
	for range 3 {
		mustRun(t, l, batchOf("t", strings.Repeat("x", 50)))
	}
	next := l.Next()
	must(t, s.Close())
	if found, report := check(t, disk); len(found) > 0 || report.Topics != 1 || report.Next[dir] != next {
		t.Errorf("found %+v, %+v", found, report)
	}
	must(t, disk.Corrupt(dir+"/50.log", 30, func(b []byte) { b[0] ^= 1 }))
	found, _ := check(t, disk)
	if len(found) != 1 || found[0].Topic != dir || found[0].Offset != 50 {
		t.Errorf("found %+v", found)
	}
	must(t, agree(disk, dir))
	done, report := repair(t, disk, false)
	if len(report.Failed) > 0 || len(done) == 0 || !strings.HasPrefix(done[0].SavedAs, ".repaired/"+dir+"/") {
		t.Errorf("%+v, %+v", done, report)
	}
	if found, _ := check(t, disk); len(found) != 1 || found[0].Level != fsck.Note {
		t.Errorf("after the repair: %+v", found)
	}

	must(t, disk.WriteFile(layout.JournalFile(dir), []byte("rubbish")))
	s = openMem(t, disk, o)
	if l := s.ByID([16]byte{1}); l == nil || l.Next() != next {
		t.Errorf("it is another one: %v", s.All())
	}
	must(t, s.Close())

	other := layout.NewFolder("t", [16]byte{2})
	b, err := disk.ReadFile(layout.JournalFile(dir))
	must(t, err)
	must(t, disk.WriteFile(layout.JournalFile(other), b))
	s = openMem(t, disk, o)
	if s.ByID([16]byte{2}) != nil || len(s.All()) != 1 {
		t.Errorf("%d logs", len(s.All()))
	}
	must(t, s.Close())
	if found, _ := check(t, disk); !slices.ContainsFunc(found, func(f fsck.Finding) bool { return f.Topic == other && f.Kind == fsck.FoundJournal }) {
		t.Errorf("found %+v", found)
	}
}

// Readers, writers and syncs go on while a log gets its name, also if they have to open
// its files by their names all the time.
func TestTakeNameMeanwhile(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{Managed: true, OpenFiles: 1, PartitionSize: 200, Partitions: -1})
	defer s.Close()
	for id := range byte(20) {
		name := fmt.Sprint("t", id)
		l := mustCreateAs(t, s, name, id, 0)
		r := batchOf(name, strings.Repeat("x", 50))
		mustRun(t, l, r)
		var g sync.WaitGroup
		stop := make(chan struct{})
		each := func(f func() error) {
			g.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if err := f(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		each(func() error {
			_, err := l.AppendRun(context.Background(), placed(l.Next(), 1, true, r))
			l.SetReadable(l.Next())
			return err
		})
		each(func() error {
			errs, _ := s.SyncTogether([]*Log{l}, nil)
			return errs[0]
		})
		for range 2 {
			each(func() error {
				if l.Readable() == 0 {
					return nil
				}
				v, err := l.Read(0, 1<<20, 0)
				if err == nil {
					v.Close()
					_, err = l.Info(context.Background())
				}
				return err
			})
		}
		must(t, s.TakeName(l))
		for n := l.Next() + 10*int64(len(r.data)); l.Next() < n && l.Failed() == nil; {
			l.Readable()
		}
		close(stop)
		g.Wait()
		if l.Failed() != nil || mustLog(t, s, name) != l {
			t.Fatal(l.Failed())
		}
	}
}

// reopened opens a store on a disk that has told of a fault, and may tell of it once
// more.
func reopened(t testing.TB, disk *vfstest.FS, o Options) *Store {
	t.Helper()
	if s, err := Open(context.Background(), withFS(o, disk)); err == nil {
		return s
	}
	return openMem(t, disk, o)
}

// Whatever fails while a topic is made, named or dropped: it is afterwards what it was
// or what it was to be, and everything that was synced is there.
func TestNewTopicFaults(t *testing.T) {
	for _, errno := range []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
		newTopicFaults(t, errno, "t")
		newTopicFaults(t, errno, longName)
	}
}

func newTopicFaults(t *testing.T, errno error, name string) {
	for _, what := range []string{"create", "name", "drop"} {
		for n := 1; ; n++ {
			disk, o := vfstest.New(), Options{Managed: true, Logger: slog.New(slog.DiscardHandler)}
			s := openMem(t, disk, o)
			var l *Log
			if what != "create" {
				l = mustCreateAs(t, s, name, 1, 50)
				mustRun(t, l, batchOf(name, "x"))
				if what == "drop" {
					errs, _ := s.SyncTogether([]*Log{l}, nil)
					must(t, errs[0])
				}
			}
			disk.FailAt(n, vfstest.Fault{Err: errno, Reads: true})
			var err error
			switch what {
			case "create":
				l, err = s.CreateAs(name, [16]byte{1}, 50, 5)
			case "name":
				err = s.TakeName(l)
			case "drop":
				err = s.DropNew(l)
			}
			hit := disk.Faults() > 0
			disk.ClearFaults()
			place := fmt.Sprintf("%s of %.5s, operation %d, %v: %v", what, name, n, errno, err)
			// Once more, now that it can.
			switch what {
			case "create":
				if err != nil && !errors.Is(err, ErrReadOnly) {
					t.Errorf("%s", place)
				}
				mustCreateAs(t, s, name, 1, 50)
			case "name":
				if err != nil && l.Failed() == nil {
					if err := s.TakeName(l); err != nil && l.Failed() == nil {
						t.Errorf("%s; once more: %v", place, err)
					}
				}
			case "drop":
				if err != nil && !l.Deleted() {
					must(t, s.DropNew(l))
				}
			}
			kill(s)
			s = reopened(t, disk, o)
			got := s.ByID([16]byte{1})
			switch {
			case what == "drop" && got != nil:
				t.Errorf("%s: it is still there", place)
			case what != "drop" && (got == nil || got.Begin() != 50):
				t.Errorf("%s: it is not there", place)
			case what == "name" && err == nil && !got.Named():
				t.Errorf("%s: it does not have its name", place)
			}
			if what != "drop" && got != nil {
				must(t, s.TakeName(got))
				if b, err := wireOf(got); err != nil || what == "name" && !bytes.Equal(b, batchOf(name, "x").data) {
					t.Errorf("%s: %q, %v", place, b, err)
				}
			}
			if dir, err := disk.ReadDir(layout.New); len(dir) > 0 {
				t.Errorf("%s: %s is left, %v", place, dir[0].Name(), err)
			}
			kill(s)
			if !hit {
				break
			}
		}
	}
}

// newTopic is what is known of a topic in a crash test.
type newTopic struct {
	id     [16]byte
	name   string
	base   int64
	l      *Log
	wire   []byte
	synced int  // so much of wire is durable
	sure   bool // it is durable
	named  bool
	// What is being done, or was done.
	naming, going, gone bool
}

type newTopics struct {
	o   Options
	mu  sync.Mutex // held while what is known is changed, and by who looks
	all []*newTopic
}

func (n *newTopics) know(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// survived returns nil if what a crash has left of the topics is what must be there.
func (n *newTopics) survived(op int, image *vfstest.FS) error {
	if len(n.all) > 0 && op%4 == 0 { // it takes long
		nt := n.all[op/4%len(n.all)]
		for _, dir := range []string{nt.name, layout.NewFolder(nt.name, nt.id)} {
			if err := agree(image, dir); err != nil {
				return err
			}
		}
	}
	s, err := Open(context.Background(), withFS(n.o, image))
	if err != nil {
		return err
	}
	defer kill(s)
	if len(s.Broken()) > 0 {
		return fmt.Errorf("broken: %v", s.Broken())
	}
	for _, nt := range n.all {
		if err := nt.survived(s); err != nil {
			return fmt.Errorf("topic %d, %q: %w", nt.id[0], nt.name, err)
		}
	}
	return nil
}

func (nt *newTopic) survived(s *Store) error {
	l := s.ByID(nt.id)
	switch {
	case l == nil && nt.sure && !nt.going:
		return errors.New("it is lost")
	case l == nil:
		return nil
	case nt.gone:
		return errors.New("it has come back")
	case l.Name() != nt.name || nt.sure && l.Begin() != nt.base:
		return fmt.Errorf("it is %q and begins at %d, not %d", l.Name(), l.Begin(), nt.base)
	case l.Named() != nt.named && !nt.naming && !nt.going:
		return fmt.Errorf("it has its name: %t", l.Named())
	}
	if found, err := s.Log([]byte(nt.name)); l.Named() && (err != nil || found != l) {
		return fmt.Errorf("its name leads elsewhere: %w", err)
	}
	b, err := wireOf(l)
	lost := min(max(l.Begin()-nt.base, 0), int64(len(nt.wire))) // the first files, of one that is not sure
	if err != nil || len(b) < nt.synced || !bytes.HasPrefix(nt.wire[lost:], b) {
		return fmt.Errorf("%d bytes of %d, %d of which were synced: %w", len(b), len(nt.wire), nt.synced, err)
	}
	return nil
}

func crashNewTopics(t *testing.T, seed uint64, lie func(*vfstest.FS)) (failed error) {
	synctest.Test(t, func(t *testing.T) {
		disk, n := vfstest.New(), &newTopics{o: Options{PartitionSize: 300, Partitions: -1, Managed: true, DeleteAfter: 5 * time.Second}}
		s := openMem(t, disk, n.o)
		defer func() { kill(s) }()
		if lie != nil {
			lie(disk)
		}
		rng, imageRng := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
		disk.OnOp(func(op vfstest.Op) {
			n.mu.Lock()
			defer n.mu.Unlock()
			if failed != nil {
				return
			}
			if failed = n.survived(op.N, disk.CrashKeepNothing()); failed == nil {
				failed = n.survived(op.N, disk.Crash(imageRng))
			}
			if failed != nil {
				failed = fmt.Errorf("seed %d, after %s: %w", seed, op, failed)
			}
		})
		id := byte(0)
		for range 30 {
			time.Sleep(time.Second)
			synctest.Wait() // nobody else has an operation under way while n changes
			if failed != nil {
				break
			}
			var live []*newTopic
			for _, nt := range n.all {
				if !nt.gone {
					live = append(live, nt)
				}
			}
			if len(live) < 2 || len(live) < 6 && rng.IntN(4) == 0 {
				id++
				nt := &newTopic{id: [16]byte{id}, name: []string{"t", longName}[rng.IntN(2)], base: rng.Int64N(2) * 1000}
				n.know(func() { n.all = append(n.all, nt) })
				var err error
				nt.l, err = s.CreateAs(nt.name, nt.id, nt.base, 1000)
				must(t, err)
				continue
			}
			nt := live[rng.IntN(len(live))]
			switch k := rng.IntN(10); {
			case k < 4:
				var r run
				r.add(nt.name, strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(150)))
				n.know(func() { nt.wire = append(nt.wire, r.data...) })
				_, err := nt.l.AppendRun(t.Context(), placed(nt.l.Next(), time.Now().UnixMilli(), rng.IntN(2) == 0, r))
				must(t, err)
			case k < 6:
				var logs []*Log
				for _, nt := range live {
					logs = append(logs, nt.l)
				}
				errs, _ := s.SyncTogether(logs, nil)
				must(t, errors.Join(errs...))
				n.know(func() {
					for _, nt := range live {
						nt.sure, nt.synced = true, len(nt.wire)
					}
				})
			case k < 8 && !nt.named:
				n.know(func() { nt.naming = true })
				err := s.TakeName(nt.l)
				if taken := slices.ContainsFunc(live, func(o *newTopic) bool { return o.named && o.name == nt.name }); taken {
					if !errors.Is(err, fs.ErrExist) {
						t.Fatalf("the name is taken: %v", err)
					}
					n.know(func() { nt.naming = false })
					break
				}
				must(t, err)
				n.know(func() { nt.naming, nt.named, nt.sure, nt.synced = false, true, true, len(nt.wire) })
			case k < 9:
				n.know(func() { nt.going = true })
				if nt.named {
					must(t, s.Delete(t.Context(), nt.name, layout.HexID(nt.id), rng.IntN(2) == 0))
				} else {
					must(t, s.DropNew(nt.l))
				}
				n.know(func() { nt.gone = true })
			default:
				if rng.IntN(2) == 0 {
					must(t, s.Close())
				} else {
					kill(s)
				}
				s = openMem(t, disk, n.o)
				for _, nt := range live {
					if nt.l = s.ByID(nt.id); nt.l == nil {
						t.Fatalf("seed %d: topic %d is lost by a restart", seed, nt.id[0])
					}
				}
			}
			synctest.Wait()
		}
		disk.OnOp(nil)
	})
	return failed
}

func TestNewTopicCrash(t *testing.T) {
	first := firstSeed(t)
	for i := range uint64(crashRuns(t, 15)) {
		if err := crashNewTopics(t, first+i, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, lie := range map[string]func(*vfstest.FS){
		"forgets bytes": func(d *vfstest.FS) { d.IgnoreSync(true) },
		"forgets names": func(d *vfstest.FS) { d.IgnoreSyncDir(true) },
	} {
		found := false
		for i := uint64(0); i < 20 && !found; i++ {
			found = crashNewTopics(t, first+i, lie) != nil
		}
		if !found {
			t.Errorf("nothing was found on a disk that %s", name)
		}
	}
}

// A topic is made, named and dropped in a folder of this machine, too.
func TestCreateAsOS(t *testing.T) {
	for _, name := range []string{"t", longName} {
		createAsOS(t, name)
	}
}

func createAsOS(t *testing.T, name string) {
	fsys := osFS(t, t.TempDir())
	o := Options{FS: fsys, Managed: true, OpenFiles: 1}
	s := openStore(t, o)
	l, dropped := mustCreateAs(t, s, name, 1, 0), mustCreateAs(t, s, name, 2, 0)
	for _, l := range []*Log{l, dropped} {
		mustRun(t, l, batchOf(name, "x"))
	}
	must(t, s.TakeName(l))
	must(t, s.DropNew(dropped))
	if other := mustCreateAs(t, s, name, 3, 0); !errors.Is(s.TakeName(other), fs.ErrExist) {
		t.Error("two topics have the name")
	}
	mustRun(t, l, batchOf(name, "y"))
	must(t, s.Close())
	s = openStore(t, o)
	l = mustLog(t, s, name)
	l.SetReadable(l.Next())
	wantBodies(t, l, "x", "y")
	if len(s.All()) != 2 || s.ByID([16]byte{3}) == nil {
		t.Errorf("%d logs", len(s.All()))
	}
}

// A topic that could not be opened, and now can, is made durable by the next sync as a
// new one is.
func TestCreateAsAgain(t *testing.T) {
	disk, o := vfstest.New(), Options{Managed: true, Logger: slog.New(slog.DiscardHandler)}
	s := openMem(t, disk, o)
	l := mustCreateAs(t, s, "t", 1, 50)
	mustRun(t, l, batchOf("t", "x"))
	kill(s)
	disk.FailAt(1, vfstest.Fault{Err: syscall.EMFILE, Forever: true, Reads: true, Match: func(op vfstest.Op) bool { return strings.HasPrefix(op.Name, layout.New+"/") }})
	s = openMem(t, disk, o)
	disk.ClearFaults()
	defer s.Close()
	if len(s.All()) != 0 || len(s.Topics()) != 0 {
		t.Fatalf("%d logs, topics %q", len(s.All()), s.Topics())
	}
	l = mustCreateAs(t, s, "t", 1, 0)
	if b, err := wireOf(l); err != nil || l.Begin() != 50 || !bytes.Equal(b, batchOf("t", "x").data) {
		t.Errorf("it begins at %d with %q, %v", l.Begin(), b, err)
	}
	synced := false
	disk.OnOp(func(op vfstest.Op) { synced = synced || op.Kind == vfstest.OpSyncDir && op.Name == layout.New })
	errs, _ := s.SyncTogether([]*Log{l}, nil)
	must(t, errs[0])
	disk.OnOp(nil)
	if !synced {
		t.Error("its name is not synced")
	}
}

// A folder in .new whose name could not be made durable is made anew: were it there for the
// next try, that would take it for durable.
func TestNewFolderIsDurable(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{Managed: true, Logger: slog.New(slog.DiscardHandler)})
	defer s.Close()
	disk.FailAt(1, vfstest.Fault{Err: syscall.EMFILE, Match: func(op vfstest.Op) bool {
		return op.Kind == vfstest.OpSyncDir && op.Name == layout.New
	}})
	l := mustCreateAs(t, s, longName, 1, 50) // which tries twice
	if disk.Faults() == 0 {
		t.Fatal("no sync has failed")
	}
	disk.ClearFaults()
	mustRun(t, l, batchOf(longName, "x"))
	errs, err := s.SyncTogether([]*Log{l}, nil)
	must(t, errors.Join(errs[0], err))
	image := disk.CrashKeepNothing()
	if names := image.Names(); !slices.ContainsFunc(names, func(n string) bool {
		return strings.HasPrefix(n, layout.New+"/") && strings.Contains(n, longName) && strings.HasSuffix(n, ".log")
	}) {
		t.Errorf("after a power cut there is only %q", names)
	}
}
