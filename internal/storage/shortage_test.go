package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/files"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// shortages are what a process or a disk has too little of, for a while, and the
// operations that then fail.
var shortages = []struct {
	name  string
	err   error
	fails func(vfstest.Op) bool
}{
	{"room", syscall.ENOSPC, takesRoom},
	{"inodes", syscall.ENOSPC, func(op vfstest.Op) bool { return op.Kind == vfstest.OpCreate || op.Kind == vfstest.OpMkdir }},
	{"descriptors", syscall.EMFILE, takesDescriptor},
}

func takesRoom(op vfstest.Op) bool {
	switch op.Kind {
	case vfstest.OpCreate, vfstest.OpMkdir, vfstest.OpRename, vfstest.OpWrite:
		return true
	}
	return false
}

// takesDescriptor: a name in a folder is used by opening the folder.
func takesDescriptor(op vfstest.Op) bool {
	switch op.Kind {
	case vfstest.OpCreate, vfstest.OpOpen, vfstest.OpReadDir, vfstest.OpSyncDir:
		return true
	case vfstest.OpRemove, vfstest.OpRename, vfstest.OpMkdir, vfstest.OpStat:
		return strings.Contains(op.Name, "/")
	}
	return false
}

// A drill is a workload during which something is missing from the n-th
// operation on, for every n, for one operation or until the end of the workload.
// When it is there again everything is served, without a restart, and what was
// refused is not stored and has left nothing.
var drills = []struct {
	name  string
	o     Options
	do    func(*drill)
	apart bool // there is no sync of all
}{
	{name: "create", o: Options{FlushBatches: 1}, do: func(d *drill) {
		for i := range 3 {
			d.append(fmt.Sprint("new", i))
		}
	}},
	{name: "create without sync", o: Options{FlushInterval: -1}, do: func(d *drill) {
		for i := range 3 {
			d.append(fmt.Sprint("new", i))
		}
	}},
	{name: "create apart", o: Options{FlushBatches: 1}, apart: true, do: func(d *drill) {
		for i := range 3 {
			d.append(fmt.Sprint("new", i))
		}
	}},
	{name: "rotate apart", o: Options{FlushBatches: 1, PartitionSize: 1, Partitions: -1}, apart: true, do: func(d *drill) {
		for range 3 {
			d.append("old")
		}
	}},
	{name: "rotate", o: Options{FlushInterval: -1, PartitionSize: 1, Partitions: -1}, do: func(d *drill) {
		for range 4 {
			d.append("old")
		}
	}},
	{name: "retain", o: Options{FlushInterval: -1, PartitionSize: 1, Partitions: 2}, do: func(d *drill) {
		for range 4 {
			d.append("other")
		}
	}},
	{name: "start", o: Options{FlushInterval: -1, PartitionSize: 200, Partitions: -1}, do: func(d *drill) {
		d.append("old")
		d.append("new")
		d.kill()
		d.open()
		d.append("old")
	}},
	{name: "start after a power cut", o: Options{FlushBatches: 1}, do: func(d *drill) {
		d.append("old")
		d.append("new")
		d.kill()
		d.leaked = 0
		image := d.disk.CrashKeepNothing()
		d.arm(image)
		d.open()
		d.append("new")
	}},
	{name: "restart", o: Options{FlushInterval: -1}, do: func(d *drill) {
		d.append("old")
		d.s.Close()
		d.open()
		d.append("old")
	}},
}

// apartFS is a file system that can't be synced as a whole.
type apartFS struct{ vfs.FS }

func (apartFS) SyncAll() error { return errors.ErrUnsupported }

type drill struct {
	t     *testing.T
	disk  *vfstest.FS
	arm   func(*vfstest.FS) // goes on with a disk of which something is missing
	o     Options
	apart bool
	s     *Store
	acked map[string][]string // bodies by topic
	doubt map[string][]string // may be stored
	n     int

	leaked int // files that those who were killed have left open
}

func (d *drill) kill() {
	kill(d.s)
	d.leaked = d.disk.Open()
}

func (d *drill) open() {
	for try := range 2 {
		d.o.FS = d.disk
		if d.apart {
			d.o.FS = apartFS{d.disk}
		}
		s, err := Open(context.Background(), d.o)
		if err == nil {
			d.s = s
			return
		}
		// A start as a whole may fail, as long as the next one does not.
		if !files.Shortage(err) || try > 0 {
			d.t.Fatalf("open: %v", err)
		}
		d.disk.ClearFaults()
	}
}

// append appends a batch of one message to a topic, and reports whether it is
// stored.
func (d *drill) append(topic string) bool {
	d.n++
	body := fmt.Sprintf("message %d", d.n)
	l, err := d.s.Create([]byte(topic))
	if err == nil {
		r := batchOf(topic, body)
		var a Appended
		if a, err = l.Append(context.Background(), r.data, r.extents); err == nil {
			err = l.Commit(context.Background(), a)
		}
	}
	switch {
	case err == nil:
		d.acked[topic] = append(d.acked[topic], body)
	case errors.Is(err, ErrInDoubt):
		d.doubt[topic] = append(d.doubt[topic], body)
	case !errors.Is(err, ErrReadOnly):
		d.t.Errorf("append to %s: %v, want %v", topic, err, ErrReadOnly)
	}
	return err == nil
}

// verify checks that nothing is missing any more, neither room nor a batch.
func (d *drill) verify(when string) {
	d.t.Helper()
	synctest.Wait() // for retention
	for topic, want := range d.acked {
		l, err := d.s.Log([]byte(topic))
		if err != nil {
			d.t.Errorf("%s: topic %s: %v", when, topic, err)
			continue
		}
		got, err := bodiesFrom(l, l.Oldest())
		if err != nil {
			d.t.Errorf("%s: read of %s: %v", when, topic, err)
		}
		got = slices.DeleteFunc(got, func(b string) bool { return slices.Contains(d.doubt[topic], b) })
		if d.o.Partitions > 0 { // retention has removed some
			want = want[max(len(want)-len(got), 0):]
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			d.t.Errorf("%s: %s has %q, want %q", when, topic, got, want)
		}
	}
	if broken := d.s.Broken(); len(broken) > 0 {
		d.t.Errorf("%s: can't be opened: %v", when, broken)
	}
	for _, st := range d.s.Stats().Topics {
		if st.Err != nil {
			d.t.Errorf("%s: %s is read only: %v", when, st.Topic, st.Err)
		}
		if d.acked[st.Topic] == nil && d.doubt[st.Topic] == nil {
			d.t.Errorf("%s: there is a topic %s, of which nothing was stored", when, st.Topic)
		}
	}
}

// folders are those in the work directory that are topics'.
func (d *drill) folders() (names []string) {
	for _, name := range d.disk.Names() {
		if folder, ok := strings.CutSuffix(name, "/"); ok && !strings.Contains(folder, "/") && !layout.Reserved(folder) {
			names = append(names, folder)
		}
	}
	slices.Sort(names)
	return names
}

func TestShortages(t *testing.T) {
	for _, short := range shortages {
		for _, work := range drills {
			for _, forever := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/forever=%t", short.name, work.name, forever), func(t *testing.T) {
					for n := 1; n < 1000; n++ {
						fault := vfstest.Fault{Err: short.err, Match: short.fails, Reads: true, Forever: forever}
						met := true
						synctest.Test(t, func(t *testing.T) { met = runDrill(t, n, fault, work.o, work.apart, work.do) })
						if !met {
							return
						}
						if t.Failed() {
							t.Fatalf("when operation %d found too little", n)
						}
					}
					t.Error("the sweep does not end")
				})
			}
		}
	}
}

// runDrill reports whether the fault was met.
func runDrill(t *testing.T, n int, fault vfstest.Fault, o Options, apart bool, do func(*drill)) bool {
	d := &drill{t: t, disk: vfstest.New(), o: o, apart: apart, acked: make(map[string][]string), doubt: make(map[string][]string)}
	d.open()
	for _, topic := range []string{"old", "other"} {
		if !d.append(topic) {
			t.Fatalf("%s is not made", topic)
		}
	}
	faults := 0
	d.arm = func(disk *vfstest.FS) {
		faults += d.disk.Faults()
		d.disk = disk
		disk.FailAt(n, fault)
	}
	d.arm(d.disk)
	do(d)
	synctest.Wait()
	faults += d.disk.Faults()
	d.disk.ClearFaults()

	// What could not be opened is opened by itself, too.
	time.Sleep(reopenInterval + time.Millisecond)
	if broken := d.s.Broken(); len(broken) > 0 {
		t.Errorf("nobody has asked for it, and it is not opened: %v", broken)
	}
	for _, topic := range []string{"old", "new", "new0", "other"} {
		if !d.append(topic) {
			t.Errorf("%s can't be written", topic)
		}
	}
	d.verify("after the shortage")
	if got := d.folders(); fmt.Sprint(got) != fmt.Sprint(d.s.Topics()) {
		t.Errorf("folders are %q, and topics %q", got, d.s.Topics())
	}
	if err := d.s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	d.open()
	d.verify("after a restart")
	if err := d.s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if n := d.disk.Open(); n != d.leaked {
		t.Errorf("%d files are still open", n-d.leaked)
	}
	return faults > 0
}

// TestNamesWithoutDescriptors syncs topics whose new names take a descriptor that
// there is none for. Their writers are in doubt soon, however many topics there
// are; when there are descriptors again, all of it is durable and readable, also
// if nobody writes any more.
func TestNamesWithoutDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		o := Options{FS: apartFS{disk}, FlushBatches: 1}
		s := openStore(t, o)
		disk.FailAt(1, vfstest.Fault{Err: syscall.ENFILE, Forever: true, Match: func(op vfstest.Op) bool { return op.Kind == vfstest.OpSyncDir }})
		const topics = 100
		begun := time.Now()
		var group sync.WaitGroup
		for i := range topics {
			l := mustCreate(t, s, fmt.Sprint("t", i))
			for _, body := range []string{"one", "two"} {
				r := batchOf(l.Name(), body)
				a, err := l.Append(t.Context(), r.data, r.extents)
				if err != nil {
					t.Fatal(err)
				}
				group.Go(func() {
					if err := l.Commit(context.Background(), a); !errors.Is(err, ErrInDoubt) || !errors.Is(err, syscall.ENFILE) {
						t.Errorf("commit to %s: %v", l.Name(), err)
					}
				})
			}
		}
		group.Wait()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("the writers were told after %v", took)
		}
		time.Sleep(3 * reopenInterval)
		for _, st := range s.Stats().Topics {
			if st.Err != nil {
				t.Errorf("%s has failed: %v", st.Topic, st.Err)
			}
		}
		disk.ClearFaults()
		time.Sleep(reopenInterval + time.Millisecond)
		for _, name := range s.Topics() {
			wantBodies(t, mustLog(t, s, name), "one", "two")
		}
		image := disk.CrashKeepNothing()
		mustAppend(t, mustLog(t, s, "t0"), batchOf("t0", "three"))
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		s = openMem(t, image, Options{FlushBatches: 1})
		defer s.Close()
		if n := len(s.Topics()); n != topics {
			t.Errorf("after a power cut there are %d topics", n)
		}
		wantBodies(t, mustLog(t, s, "t0"), "one", "two")
	})
}

// TestOpenWithoutDescriptorsForNames: a topic whose names can't be synced for want of a
// descriptor while it is opened is opened when there is one.
func TestOpenWithoutDescriptorsForNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.New()
		s := openMem(t, disk, Options{FlushInterval: -1})
		mustAppend(t, mustCreate(t, s, "t"), batchOf("t", "one"))
		kill(s)
		disk.FailAt(1, vfstest.Fault{Err: syscall.ENFILE, Forever: true, Match: func(op vfstest.Op) bool {
			return op.Kind == vfstest.OpSyncDir && op.Name == "t"
		}})
		s = openStore(t, Options{FS: apartFS{disk}, FlushBatches: 1})
		defer s.Close()
		if err := s.Broken()["t"]; !errors.Is(err, syscall.ENFILE) {
			t.Errorf("it is opened: %v", err)
		}
		disk.ClearFaults()
		time.Sleep(reopenInterval + time.Millisecond)
		wantBodies(t, mustLog(t, s, "t"), "one")
	})
}
