package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

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
	name string
	o    Options
	do   func(*drill)
}{
	{"create", Options{FlushBatches: 1}, func(d *drill) {
		for i := range 3 {
			d.append(fmt.Sprint("new", i))
		}
	}},
	{"create without sync", Options{FlushInterval: -1}, func(d *drill) {
		for i := range 3 {
			d.append(fmt.Sprint("new", i))
		}
	}},
	{"rotate", Options{FlushInterval: -1, PartitionSize: 1, Partitions: -1}, func(d *drill) {
		for range 4 {
			d.append("old")
		}
	}},
	{"retain", Options{FlushInterval: -1, PartitionSize: 1, Partitions: 2}, func(d *drill) {
		for range 4 {
			d.append("other")
		}
	}},
	{"start", Options{FlushInterval: -1, PartitionSize: 200, Partitions: -1}, func(d *drill) {
		d.append("old")
		d.append("new")
		d.kill()
		d.open()
		d.append("old")
	}},
	{"start after a power cut", Options{FlushBatches: 1}, func(d *drill) {
		d.append("old")
		d.append("new")
		d.kill()
		d.leaked = 0
		image := d.disk.CrashKeepNothing()
		d.arm(image)
		d.open()
		d.append("new")
	}},
	{"restart", Options{FlushInterval: -1}, func(d *drill) {
		d.append("old")
		d.s.Close()
		d.open()
		d.append("old")
	}},
}

type drill struct {
	t     *testing.T
	disk  *vfstest.FS
	arm   func(*vfstest.FS) // goes on with a disk of which something is missing
	o     Options
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
		s, err := Open(context.Background(), d.o)
		if err == nil {
			d.s = s
			return
		}
		// A start as a whole may fail, as long as the next one does not.
		if !shortage(err) || try > 0 {
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
		if folder, ok := strings.CutSuffix(name, "/"); ok && !strings.Contains(folder, "/") && !Reserved(folder) {
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
						bubble(t, func(t *testing.T) { met = runDrill(t, n, fault, work.o, work.do) })
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
func runDrill(t *testing.T, n int, fault vfstest.Fault, o Options, do func(*drill)) bool {
	d := &drill{t: t, disk: vfstest.New(), o: o, acked: make(map[string][]string), doubt: make(map[string][]string)}
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
