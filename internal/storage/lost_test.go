package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// losses are bytes that a log of newRefillLog is told to be without: those of the
// batches from i to j. What prepare does to it beforehand is durable.
var losses = map[string]struct {
	i, j    int
	prepare func(t *testing.T, m *refillLog, l *Log)
}{
	"one":             {i: 7, j: 7},
	"first":           {i: 0, j: 0},
	"over partitions": {i: 3, j: 20},
	"all":             {i: 0, j: 39},
	"in the head":     {i: 37, j: 37},
	"newest":          {i: 38, j: 39},
	"other bytes": {i: 12, j: 13, prepare: func(t *testing.T, m *refillLog, l *Log) {
		b := batchOf("t", "12", strings.Repeat("y", 50+12))
		p := partitionAt(l, m.ends[11])
		must(t, m.disk.Corrupt(p.File().Name(), m.ends[11]-p.Base(), func(at []byte) { copy(at, b.data) }))
	}},
	"damaged already": {i: 6, j: 10, prepare: func(t *testing.T, m *refillLog, l *Log) {
		m.scribbleOn(8, 8)
		must(t, m.readAll(l))
	}},
	"before the files": {i: 0, j: 11, prepare: func(t *testing.T, m *refillLog, l *Log) {
		must(t, l.AdvanceOldest(m.bases[2]))
	}},
	"before the files and in them": {i: 0, j: 30, prepare: func(t *testing.T, m *refillLog, l *Log) {
		must(t, l.AdvanceOldest(m.bases[2]))
	}},
	"a piece before the files": {i: 0, j: 2, prepare: func(t *testing.T, m *refillLog, l *Log) {
		must(t, l.AdvanceOldest(m.bases[2]))
	}},
	"behind the end": {i: 31, j: 39, prepare: func(t *testing.T, m *refillLog, l *Log) {
		must(t, l.TruncateTo(t.Context(), m.ends[30]))
	}},
	"behind the end and before it": {i: 20, j: 39, prepare: func(t *testing.T, m *refillLog, l *Log) {
		must(t, l.TruncateTo(t.Context(), m.ends[30]))
	}},
	"far behind the end": {i: 36, j: 39, prepare: func(t *testing.T, m *refillLog, l *Log) {
		must(t, l.TruncateTo(t.Context(), m.ends[30]))
	}},
	"behind an empty head": {i: 0, j: 39, prepare: func(t *testing.T, m *refillLog, l *Log) {
		must(t, l.TruncateTo(t.Context(), m.bases[3]))
		must(t, l.AdvanceOldest(m.bases[3]))
	}},
}

// newLossLog is newRefillLog of a log that a leader's retention is for: its own might
// remove again what is back.
func newLossLog(t *testing.T) *refillLog {
	m := newRefillLog(t, func(*refillLog) {})
	m.o.Managed = true
	return m
}

// log returns the log of an open store, all of which is readable.
func (m *refillLog) log(s *Store) (*Log, error) {
	l, err := s.Log([]byte("t"))
	if err == nil {
		l.SetReadable(m.info.Next)
	}
	return l, err
}

func (m *refillLog) mustLog(t *testing.T, s *Store) *Log {
	t.Helper()
	l, err := m.log(s)
	must(t, err)
	return l
}

// lose prepares a log of newRefillLog and returns the range that it is without then.
func (m *refillLog) lose(t *testing.T, name string, l *Log) layout.Range {
	t.Helper()
	loss := losses[name]
	if loss.prepare != nil {
		loss.prepare(t, m, l)
	} else {
		must(t, m.readAll(l))
	}
	synctest.Wait()
	must(t, m.disk.SyncAll())
	l.SetReadable(m.info.Next)
	r := layout.Range{To: m.ends[loss.j]}
	if loss.i > 0 {
		r.From = m.ends[loss.i-1]
	}
	return r
}

// counted returns nil if a log serves what was written but for what it sets aside, and
// counts that.
func (m *refillLog) counted(l *Log) error {
	if err := m.readAll(l); err != nil {
		return err
	}
	in, err := l.Info(context.Background())
	if err != nil {
		return err
	}
	var batches, start int64
	for _, end := range m.ends {
		if start >= l.Begin() && end <= l.Next() && !layout.Contains(*l.Damaged(), layout.Range{From: start, To: end}) {
			batches++
		}
		start = end
	}
	if in.Batches != batches || in.Messages != 2*batches {
		return fmt.Errorf("info counts %d batches with %d messages, there are %d; without %v", in.Batches, in.Messages, batches, *l.Damaged())
	}
	return nil
}

// without returns nil if a log is without a range, and all else is as it was.
func (m *refillLog) without(l *Log, r layout.Range) error {
	if l.Next() != m.info.Next || l.Begin() > r.From || !layout.Contains(*l.Damaged(), r) {
		return fmt.Errorf("from %d to %d, without %v; want none of %v", l.Begin(), l.Next(), *l.Damaged(), r)
	}
	return m.counted(l)
}

// What a log is told to be without is set aside, wherever it is, and can be put back.
func TestLost(t *testing.T) {
	for name := range losses {
		for _, most := range []int64{0, 250, 1 << 20} {
			t.Run(fmt.Sprintf("%s/%d", name, most), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newLossLog(t)
					s := openMem(t, m.disk, m.o)
					defer func() { kill(s) }()
					l := m.mustLog(t, s)
					r := m.lose(t, name, l)
					parts := len(l.Partitions())
					for range 2 {
						must(t, l.Lost(t.Context(), r.From, r.To))
						must(t, m.without(l, r))
					}
					if n := len(l.Partitions()); n > parts+2 {
						t.Errorf("%d partitions, and there were %d", n, parts)
					}
					must(t, agree(m.disk.CrashKeepNothing(), "t"))
					for range 2 {
						image := m.disk.CrashKeepNothing()
						kill(s)
						m.disk = image
						s = openMem(t, image, m.o)
						l = m.mustLog(t, s)
						must(t, m.without(l, r))
						must(t, s.Close())
						s = openMem(t, image, m.o)
						l = m.mustLog(t, s)
						must(t, m.without(l, r))
					}
					must(t, m.refill(l, most))
					must(t, m.whole(l))
					image := m.disk.CrashKeepNothing()
					kill(s)
					s = openMem(t, image, m.o)
					l = m.mustLog(t, s)
					must(t, m.whole(l))
					mustAppend(t, l, batchOf("t", "more"))
				})
			})
		}
	}
}

// What comes behind the end goes on in a partition of its own, also before a restart.
func TestLostBehindTheEnd(t *testing.T) {
	disk, c := vfstest.New(), newCopied()
	s := openMem(t, disk, c.o)
	defer func() { kill(s) }()
	l := mustCreateAs(t, s, "t", 1, 0)
	r := batchOf("t", "x")
	n := int64(len(r.data))
	mustRun(t, l, r)
	for i := range int64(3) {
		to := l.Next() + 1000
		if i == 1 {
			to = l.Next() // no more than it has
		}
		must(t, l.Lost(t.Context(), l.Next()-n, to))
		if l.Next() != to || headOf(l).Base() != to || l.Readable() != 0 {
			t.Errorf("it goes on at %d in the partition at %d", l.Next(), headOf(l).Base())
		}
		for roll := range 2 {
			res, err := l.AppendRun(t.Context(), placed(to, 1, roll == 1, r))
			if err != nil || res.Offset != to || headOf(l).Base() != to {
				t.Errorf("%+v, %v", res, err)
			}
		}
		must(t, l.SyncTo(t.Context(), l.Next()))
		next := l.Next()
		image := disk.CrashKeepNothing()
		must(t, agree(image, dirOf(l)))
		s2 := openMem(t, image, c.o)
		if l := s2.ByID([16]byte{1}); l.Next() != next || headOf(l).Base() != to {
			t.Errorf("after a power cut it goes on at %d, want %d", l.Next(), next)
		}
		kill(s2)
	}
	for _, r := range []layout.Range{{From: -1, To: 5}, {From: 5, To: 5}, {From: 5, To: 4}} {
		if err := l.Lost(t.Context(), r.From, r.To); !errors.Is(err, ErrOffset) {
			t.Errorf("%v: %v", r, err)
		}
	}
}

// crashLost looks at what a power cut leaves after each operation of noting a loss, and
// of putting it back.
func crashLost(t *testing.T, name string, lie func(*vfstest.FS)) (failed error) {
	synctest.Test(t, func(t *testing.T) {
		m := newLossLog(t)
		s := openMem(t, m.disk, m.o)
		defer func() { kill(s) }()
		l := m.mustLog(t, s)
		r := m.lose(t, name, l)
		// Where other bytes stand nothing tells so before it is noted.
		wrong := name == "other bytes"
		if lie != nil {
			lie(m.disk)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		noted, filling, back := false, false, false
		survived := func(image *vfstest.FS) error {
			if err := agree(image, "t"); err != nil {
				return err
			}
			s, err := Open(context.Background(), withFS(m.o, image))
			if err != nil {
				return err
			}
			defer kill(s)
			l, err := m.log(s)
			if err != nil {
				return err
			}
			switch aside := *l.Damaged(); {
			case back:
				return m.whole(l)
			case !noted && wrong && !layout.Contains(aside, r):
				return nil
			case noted && !filling:
				if err := m.without(l, r); err != nil {
					return err
				}
			case noted && (l.Next() != m.info.Next || l.Begin() > r.From):
				return fmt.Errorf("it reaches from %d to %d", l.Begin(), l.Next())
			}
			if err := m.counted(l); err != nil {
				return err
			}
			// It can be done again.
			if err := l.Lost(context.Background(), r.From, r.To); err != nil {
				return err
			}
			if err := m.without(l, r); err != nil {
				return err
			}
			if err := m.refill(l, 1<<20); err != nil {
				return err
			}
			return m.whole(l)
		}
		look := func(op vfstest.Op) {
			for i := range 3 {
				if failed != nil {
					return
				}
				image := m.disk.CrashKeepNothing()
				if i > 0 {
					image = m.disk.Crash(rng)
				}
				if err := survived(image); err != nil {
					failed = fmt.Errorf("%s, after %s: %w", name, op, err)
				}
			}
		}
		m.disk.OnOp(look)
		must(t, l.Lost(t.Context(), r.From, r.To))
		noted = true
		look(vfstest.Op{})
		filling = true
		must(t, m.refill(l, 1<<20))
		back = true
		look(vfstest.Op{})
		m.disk.OnOp(nil)
		must(t, m.whole(l))
	})
	return failed
}

func TestLostCrash(t *testing.T) {
	for name := range losses {
		t.Run(name, func(t *testing.T) {
			if err := crashLost(t, name, nil); err != nil {
				t.Error(err)
			}
		})
	}
	for name, lie := range map[string]func(*vfstest.FS){
		"sync":    func(d *vfstest.FS) { d.IgnoreSync(true) },
		"syncdir": func(d *vfstest.FS) { d.IgnoreSyncDir(true) },
	} {
		t.Run("without "+name, func(t *testing.T) {
			for _, loss := range []string{"over partitions", "before the files", "behind the end"} {
				if err := crashLost(t, loss, lie); err != nil {
					return
				}
			}
			t.Fatal("nothing was found on a disk that lies")
		})
	}
}

// Whatever fails: what is served is right, then and after a restart, and it can be done
// again.
func TestLostFaults(t *testing.T) {
	for _, failure := range []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
		for _, name := range []string{"over partitions", "before the files and in them", "behind the end and before it"} {
			t.Run(fmt.Sprintf("%s/%v", name, failure), func(t *testing.T) {
				for n, struck := 1, true; struck; n++ {
					synctest.Test(t, func(t *testing.T) {
						m := newLossLog(t)
						s := openMem(t, m.disk, m.o)
						l := m.mustLog(t, s)
						r := m.lose(t, name, l)
						m.disk.FailAt(n, vfstest.Fault{Err: failure, Reads: true})
						err := l.Lost(t.Context(), r.From, r.To)
						struck = m.disk.Faults() > 0
						m.disk.ClearFaults()
						if err != nil && !struck {
							t.Fatalf("without a fault: %v", err)
						}
						if err == nil {
							err = m.without(l, r)
						} else if err = m.readAll(l); err == nil && l.Failed() == nil {
							if err = l.Lost(t.Context(), r.From, r.To); err == nil {
								err = m.without(l, r)
							}
						}
						if err != nil {
							t.Fatalf("operation %d: %v", n, err)
						}
						kill(s)
						s = reopened(t, m.disk, m.o)
						defer kill(s)
						l = m.mustLog(t, s)
						must(t, m.readAll(l))
						must(t, l.Lost(t.Context(), r.From, r.To))
						must(t, m.without(l, r))
					})
				}
			})
		}
	}
}

// A log may begin again at any batch before its oldest file.
func TestLostPiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLossLog(t)
		s := openMem(t, m.disk, m.o)
		defer func() { kill(s) }()
		l := m.mustLog(t, s)
		must(t, m.readAll(l))
		must(t, l.AdvanceOldest(m.bases[3]))
		must(t, l.Lost(t.Context(), m.ends[4], m.ends[5]))
		r := layout.Range{From: m.ends[4], To: m.bases[3]} // also what follows
		for range 2 {
			must(t, m.without(l, r))
			if l.Begin() != m.ends[4] || l.Oldest() != m.bases[3] {
				t.Errorf("it begins at %d, and is there from %d on", l.Begin(), l.Oldest())
			}
			image := m.disk.CrashKeepNothing()
			must(t, agree(image, "t"))
			kill(s)
			m.disk = image
			s = openMem(t, image, m.o)
			l = m.mustLog(t, s)
		}
		must(t, m.refill(l, 250))
		must(t, m.counted(l))
		if l.Oldest() != m.ends[4] {
			t.Errorf("it is there from %d on", l.Oldest())
		}
		must(t, l.AdvanceOldest(m.bases[3]))
		must(t, m.counted(l))
	})
}

// Numbered batches of a copy are refused while one that was sent before may be among
// what is set aside.
func TestNumbersLost(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{Managed: true, Partitions: -1, PartitionSize: 400, Producers: 32})
	defer s.Close()
	l := mustCreateAs(t, s, "t", 1, 0)
	var wire []byte
	var ends []int64
	send := func(seq int) (LedResult, error) {
		r := numbered(int64(seq), strings.Repeat("x", 50))
		return l.AppendLed(t.Context(), &LedRun{Offset: l.Next(), Millis: 1, Parts: parts(r)})
	}
	for i := range 50 {
		must(t, l.ReadyNumbers(t.Context()))
		if _, err := send(i + 1); err != nil {
			t.Fatal(err)
		}
		wire = append(wire, numbered(int64(i+1), strings.Repeat("x", 50)).data...)
		ends = append(ends, l.Next())
	}
	must(t, l.Lost(t.Context(), 0, ends[3])) // which the table does not know
	must(t, l.ReadyNumbers(t.Context()))
	must(t, l.Lost(t.Context(), ends[44], ends[45]))
	if err := l.ReadyNumbers(t.Context()); !errors.Is(err, ErrBusy) {
		t.Errorf("without one of the newest: %v", err)
	}
	if _, err := send(46); !errors.Is(err, ErrBusy) {
		t.Errorf("it is sent again: %v", err)
	}
	must(t, l.Refill(t.Context(), ends[44], ends[45], wire[ends[44]:ends[45]], nil))
	must(t, l.ReadyNumbers(t.Context()))
	if res, err := send(46); err != nil || res.Bytes > 0 || res.Parts[0].Outcomes[0].Offset != ends[44] {
		t.Errorf("it is sent again: %+v, %v", res, err)
	}
}

// What was trimmed is not missed, also while its partition is there.
func TestNumbersLostAndTrimmed(t *testing.T) {
	s := openMem(t, vfstest.New(), Options{Managed: true, Partitions: -1, Producers: 4096})
	defer s.Close()
	l := mustCreateAs(t, s, "t", 1, 0)
	var ends []int64
	for i := range 5 {
		must(t, l.ReadyNumbers(t.Context()))
		if _, err := l.AppendLed(t.Context(), &LedRun{Offset: l.Next(), Millis: 1, Parts: parts(numbered(int64(i+1), "x"))}); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, l.Next())
	}
	must(t, l.Lost(t.Context(), ends[0], ends[1]))
	must(t, l.AdvanceOldest(ends[0]))
	if err := l.ReadyNumbers(t.Context()); !errors.Is(err, ErrBusy) {
		t.Errorf("one that is not trimmed is missing: %v", err)
	}
	must(t, l.AdvanceOldest(ends[1]))
	must(t, l.ReadyNumbers(t.Context()))
}

// What was trimmed goes also where it and what follows are missing together, and what
// follows is refilled.
func TestTrimmedHole(t *testing.T) {
	disk, o := vfstest.New(), Options{Managed: true, Partitions: -1, PartitionSize: 400}
	s := openMem(t, disk, o)
	l := mustCreateAs(t, s, "t", 1, 0)
	var wire []byte
	var ends []int64
	for i := range 20 {
		r := batchOf("t", strings.Repeat("x", 50+i))
		if _, err := l.AppendLed(t.Context(), &LedRun{Offset: l.Next(), Millis: 1, Parts: parts(r)}); err != nil {
			t.Fatal(err)
		}
		wire = append(wire, r.data...)
		ends = append(ends, l.Next())
	}
	last := headOf(l).Base()
	must(t, l.Reset(t.Context(), last)) // as if the older files were gone
	must(t, l.Lost(t.Context(), 0, int64(len(wire))))
	l.SetReadable(int64(len(wire)))
	must(t, l.AdvanceOldest(ends[4]))
	if l.Begin() != ends[4] {
		t.Fatalf("it begins at %d, want %d", l.Begin(), ends[4])
	}
	for _, killed := range []bool{false, true} {
		if killed {
			kill(s)
			s = openMem(t, disk, o)
			l = s.ByID(l.ID())
			l.SetReadable(int64(len(wire)))
		}
		if r := *l.Damaged(); l.Begin() != ends[4] || len(r) != 1 || max(r[0].From, l.Begin()) != ends[4] || r[0].To != int64(len(wire)) {
			t.Fatalf("killed %v: it begins at %d, with %v set aside", killed, l.Begin(), r)
		}
	}
	must(t, l.Refill(t.Context(), ends[4], int64(len(wire)), wire[ends[4]:], nil))
	if layout.Clear(*l.Damaged(), ends[4], int64(len(wire))) < int64(len(wire)) || l.Oldest() != ends[4] {
		t.Errorf("it is there from %d on, with %v set aside", l.Oldest(), *l.Damaged())
	}
	must(t, s.Close())
}
