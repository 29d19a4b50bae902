package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// refillLog is a log that was whole, and a disk with a damaged copy of it.
type refillLog struct {
	t     *testing.T
	disk  *vfstest.FS
	o     Options
	wire  []byte // of the whole log
	ends  []int64
	bases []int64
	info  Info
	times []TimeMark
}

// newRefillLog writes a log of some partitions, in which each batch has a time of
// its own, closes it and has damage done to it. It is to be called in a bubble.
func newRefillLog(t *testing.T, damage func(m *refillLog)) *refillLog {
	t.Helper()
	m := &refillLog{t: t, disk: vfstest.New(), o: Options{PartitionSize: 900, Partitions: -1, FlushBatches: 1}}
	s := openMem(t, m.disk, m.o)
	l := mustCreate(t, s, "t")
	for i := range 40 {
		time.Sleep(time.Duration(1+i%3) * time.Millisecond)
		r := batchOf("t", fmt.Sprint(i), strings.Repeat("x", 50+i))
		m.wire = append(m.wire, r.data...)
		m.ends = append(m.ends, mustAppend(t, l, r).End)
	}
	for _, p := range l.Partitions() {
		m.bases = append(m.bases, p.Base())
	}
	m.note(t, l)
	must(t, s.Close())
	must(t, m.disk.SyncAll()) // indexes, too
	time.Sleep(time.Hour)
	damage(m)
	return m
}

// note notes what a log says of itself.
func (m *refillLog) note(t *testing.T, l *Log) {
	var err error
	if m.info, err = l.Info(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.times, err = l.Times(0, m.info.Next, 1000); err != nil {
		t.Fatal(err)
	}
}

// scribbleOn damages the batches from i to j.
func (m *refillLog) scribbleOn(i, j int) {
	for ; i <= j; i++ {
		at := m.ends[i] - 10
		k := len(m.bases) - 1
		for m.bases[k] > at {
			k--
		}
		if err := m.disk.Corrupt(layout.Partition("t", m.bases[k]), at-m.bases[k], func(b []byte) { b[0] ^= 1 }); err != nil {
			m.t.Fatal(err)
		}
	}
}

// readAll has all that is damaged found out, and returns nil if what is served is
// what was written.
func (m *refillLog) readAll(l *Log) error {
	for offset := l.Begin(); offset < l.Readable(); {
		if past := layout.Past(*l.Damaged(), offset); past > offset {
			offset = past
			continue
		}
		v, err := l.Verify(offset, 3, 0)
		if errors.Is(err, ErrNotFound) && layout.Past(*l.Damaged(), offset) > offset {
			continue
		}
		if err != nil {
			return fmt.Errorf("at %d: %w", offset, err)
		}
		b, err := readView(v)
		if err != nil || !bytes.Equal(b, m.wire[offset:offset+int64(len(b))]) {
			return fmt.Errorf("at %d: other bytes, %w", offset, err)
		}
		offset += int64(len(b))
	}
	return nil
}

// refill puts back all that is set aside, at most most bytes at once.
func (m *refillLog) refill(l *Log, most int64) error {
	for len(*l.Damaged()) > 0 {
		r := (*l.Damaged())[0]
		for _, end := range m.ends {
			if end > r.From && end < r.To && end-r.From > most {
				r.To = end
				break
			}
		}
		times, err := m.timesOf(r)
		if err != nil {
			return err
		}
		if err := l.Refill(context.Background(), r.From, r.To, m.wire[r.From:r.To], times); err != nil {
			return fmt.Errorf("refill from %d to %d: %w", r.From, r.To, err)
		}
	}
	return nil
}

func (m *refillLog) timesOf(r layout.Range) (times []TimeMark, err error) {
	for _, mark := range m.times {
		if mark.Offset >= r.From && mark.Offset < r.To {
			times = append(times, mark)
		}
	}
	if len(times) == 0 {
		err = fmt.Errorf("no time for %v", r)
	}
	return times, err
}

// whole returns nil if a log has all that it had, as it was.
func (m *refillLog) whole(l *Log) error {
	if err := m.readAll(l); err != nil {
		return err
	}
	in, err := l.Info(context.Background())
	if err != nil || in.Damaged > 0 || in.Bytes != m.info.Bytes || in.Batches != m.info.Batches || in.Messages != m.info.Messages {
		return fmt.Errorf("info %+v (%w), want %+v", in, err, m.info)
	}
	for i, end := range m.ends[:len(m.ends)-1] {
		if got, err := l.OffsetOf(int64(i) + 1); err != nil || got != end {
			return fmt.Errorf("batch %d is at %d (%w), want %d", i+1, got, err, end)
		}
	}
	return nil
}

// timesIn returns the times of those batches of a log that are not in the ranges.
func (m *refillLog) timesIn(l *Log, ranges []layout.Range) (times []int64, err error) {
	start := int64(0)
	for _, end := range m.ends {
		if !layout.Contains(ranges, layout.Range{From: start, To: end}) {
			marks, err := l.Times(start, end, 1)
			if err != nil || len(marks) != 1 {
				return nil, fmt.Errorf("times from %d to %d: %v, %w", start, end, marks, err)
			}
			times = append(times, marks[0].Millis)
		}
		start = end
	}
	return times, nil
}

// damages are what can happen to a log of newRefillLog.
var damages = map[string]func(m *refillLog){
	"one":             func(m *refillLog) { m.scribbleOn(7, 7) },
	"two beside":      func(m *refillLog) { m.scribbleOn(7, 8) },
	"first":           func(m *refillLog) { m.scribbleOn(0, 0) },
	"in each":         func(m *refillLog) { m.scribbleOn(2, 2); m.scribbleOn(9, 9); m.scribbleOn(18, 18); m.scribbleOn(30, 30) },
	"over partitions": func(m *refillLog) { m.scribbleOn(3, 20) },
	"all":             func(m *refillLog) { m.scribbleOn(0, 39) },
	"in the head":     func(m *refillLog) { m.scribbleOn(37, 37) },
	"end of the head": func(m *refillLog) { m.scribbleOn(39, 39) },
	"zeros": func(m *refillLog) {
		must(m.t, m.disk.Corrupt("t/0.log", 100, func(b []byte) { clear(b[:300]) }))
	},
	"file cut short": func(m *refillLog) {
		b, _ := m.disk.ReadFile("t/0.log")
		must(m.t, m.disk.WriteFile("t/0.log", b[:len(b)/2]))
	},
	"head cut short": func(m *refillLog) {
		name := layout.Partition("t", m.bases[len(m.bases)-1])
		b, _ := m.disk.ReadFile(name)
		must(m.t, m.disk.WriteFile(name, b[:len(b)-20]))
	},
	"file gone": func(m *refillLog) {
		must(m.t, m.disk.Remove(layout.Partition("t", m.bases[1])))
		must(m.t, m.disk.Remove(layout.Index("t", m.bases[1])))
	},
}

// What another copy has puts a log back to what it was: bytes, counts and times,
// now and after a restart, whatever was damaged and in whatever pieces.
func TestRefill(t *testing.T) {
	for name, damage := range damages {
		for _, most := range []int64{0, 250, 1 << 20} {
			t.Run(fmt.Sprintf("%s/%d", name, most), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newRefillLog(t, damage)
					s := openMem(t, m.disk, m.o)
					defer func() { kill(s) }()
					l := mustLog(t, s, "t")
					must(t, m.readAll(l))
					ranges := *l.Damaged()
					if len(ranges) == 0 {
						t.Fatal("nothing is damaged")
					}
					times, err := m.timesIn(l, ranges)
					must(t, err)
					must(t, m.refill(l, most))
					must(t, m.whole(l))
					if now, err := m.timesIn(l, ranges); err != nil || fmt.Sprint(now) != fmt.Sprint(times) {
						t.Errorf("the others' times are %v (%v), and were %v", now, err, times)
					}
					image := m.disk.CrashKeepNothing()
					kill(s)
					s = openMem(t, image, m.o)
					must(t, m.whole(mustLog(t, s, "t")))
					mustAppend(t, mustLog(t, s, "t"), batchOf("t", "more"))
				})
			})
		}
	}
}

// Times come back with the bytes, and a crash does not take them away.
func TestRefillTimes(t *testing.T) {
	for name, batches := range map[string][2]int{"first": {0, 1}, "middle": {10, 10}, "last of a partition": {8, 8}, "head": {37, 37}, "newest": {39, 39}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newRefillLog(t, func(*refillLog) {})
				s := openMem(t, m.disk, m.o)
				defer func() { kill(s) }()
				l := mustLog(t, s, "t")
				must(t, m.readAll(l))
				m.scribbleOn(batches[0], batches[1])
				must(t, m.readAll(l))
				if len(*l.Damaged()) == 0 {
					t.Fatal("nothing is damaged")
				}
				must(t, m.refill(l, 0))
				for range 2 {
					must(t, m.whole(l))
					times, err := l.Times(0, m.info.Next, 1000)
					if err != nil || fmt.Sprint(times) != fmt.Sprint(m.times) {
						t.Errorf("times %v (%v), want %v", times, err, m.times)
					}
					in, err := l.Info(t.Context())
					if err != nil || !in.OldestTime.Equal(m.info.OldestTime) || !in.NewestTime.Equal(m.info.NewestTime) {
						t.Errorf("info %+v (%v), want %+v", in, err, m.info)
					}
					image := m.disk.CrashKeepNothing()
					kill(s)
					s = openMem(t, image, m.o)
					l = mustLog(t, s, "t")
				}
			})
		})
	}
}

// A check has nothing to say of what was refilled.
func TestRefillCheck(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newRefillLog(t, damage)
				s := openMem(t, m.disk, m.o)
				l := mustLog(t, s, "t")
				must(t, m.readAll(l))
				must(t, m.refill(l, 1<<20))
				must(t, s.Close())
				found, _ := check(t, m.disk)
				if len(found) > 0 {
					t.Errorf("found %+v", found)
				}
				must(t, agree(m.disk, "t"))
			})
		})
	}
}

// What does not fit is refused, and changes nothing.
func TestRefillMisfit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRefillLog(t, func(m *refillLog) { m.scribbleOn(7, 10) })
		s := openMem(t, m.disk, m.o)
		defer s.Close()
		l := mustLog(t, s, "t")
		must(t, m.readAll(l))
		ranges := *l.Damaged()
		r := ranges[0]
		whole := m.wire[r.From:r.To]
		before := tree(t, m.disk)
		flipped := bytes.Clone(whole)
		flipped[len(flipped)-10] ^= 1
		for name, test := range map[string]struct {
			from, to int64
			data     []byte
			want     error
		}{
			"another byte":        {r.From, r.To, flipped, ErrMisfit},
			"too few bytes":       {r.From, r.To, whole[:len(whole)-1], ErrMisfit},
			"too many bytes":      {r.From, r.To, append(bytes.Clone(whole), 'x'), ErrMisfit},
			"half a batch":        {r.From, r.To - 1, whole[:len(whole)-1], ErrMisfit},
			"nothing":             {r.From, r.From, nil, ErrNotFound},
			"another topic's":     {r.From, r.To, bytes.ReplaceAll(whole, []byte(" t "), []byte(" u ")), ErrMisfit},
			"begins too early":    {m.ends[5], r.To, m.wire[m.ends[5]:r.To], ErrNotFound},
			"begins in the range": {m.ends[7], m.ends[8], m.wire[m.ends[7]:m.ends[8]], ErrNotFound},
			"ends too late":       {r.From, m.ends[11], m.wire[r.From:m.ends[11]], ErrNotFound},
			"nothing is damaged":  {m.ends[20], m.ends[21], m.wire[m.ends[20]:m.ends[21]], ErrNotFound},
			"before the log":      {-5, r.To, whole, ErrNotFound},
			"behind the log":      {m.info.Next, m.info.Next + r.To - r.From, whole, ErrNotFound},
		} {
			if err := l.Refill(t.Context(), test.from, test.to, test.data, nil); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", name, err, test.want)
			}
		}
		if err := sameTree(before, tree(t, m.disk)); err != nil {
			t.Errorf("a refused refill has changed files: %v", err)
		}
		must(t, m.refill(l, 1<<20))
		must(t, m.whole(l))
	})
}

// A batch of one partition does not reach into the next.
func TestRefillOverPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRefillLog(t, damages["all"])
		s := openMem(t, m.disk, m.o)
		defer s.Close()
		l := mustLog(t, s, "t")
		must(t, m.readAll(l))
		to := m.bases[2]
		one := batchOf("t", strings.Repeat("y", int(to)-100))
		for len(one.data) > int(to) {
			one = batchOf("t", strings.Repeat("y", int(to)-100-(len(one.data)-int(to))))
		}
		if err := l.Refill(t.Context(), 0, int64(len(one.data)), one.data, nil); !errors.Is(err, ErrMisfit) {
			t.Errorf("a batch over two partitions: %v", err)
		}
		// Without times they are as late as can have been, and never decrease.
		must(t, l.Refill(t.Context(), 0, to, m.wire[:to], nil))
		must(t, m.readAll(l))
	})
}

// refilledOrNot returns nil if what a crash has left serves what was written, counts
// it right, and has the bytes of all that its journal does not set aside.
func (m *refillLog) refilledOrNot(image *vfstest.FS, healed bool) error {
	b, err := image.ReadFile("t/journal")
	if err != nil {
		return err
	}
	state, _, err := journal.Decode(b)
	if err != nil {
		return err
	}
	if healed && len(state.Damaged) > 0 {
		return fmt.Errorf("what was refilled is set aside: %v", state.Damaged)
	}
	for k, base := range m.bases {
		b, err := image.ReadFile(layout.Partition("t", base))
		if err != nil {
			return err
		}
		end := m.info.Next
		if k+1 < len(m.bases) {
			end = m.bases[k+1]
		}
		for _, r := range layout.Clip(state.Damaged, base, end-base) {
			copy(b[min(r.From, int64(len(b))):], m.wire[base+r.From:base+r.To])
			b = append(b, m.wire[base+int64(len(b)):max(base+int64(len(b)), base+r.To)]...)
		}
		if !bytes.Equal(b, m.wire[base:end]) {
			return fmt.Errorf("partition %d is not what it was, but for %v", base, state.Damaged)
		}
	}
	if err := agree(image, "t"); err != nil {
		return err
	}
	s, err := Open(context.Background(), withFS(m.o, image))
	if err != nil {
		return err
	}
	defer kill(s)
	l, err := s.Log([]byte("t"))
	if err != nil {
		return err
	}
	in, err := l.Info(context.Background())
	if err != nil {
		return err
	}
	var batches int64
	for i, end := range m.ends {
		start := int64(0)
		if i > 0 {
			start = m.ends[i-1]
		}
		if !layout.Contains(state.Damaged, layout.Range{From: start, To: end}) {
			batches++
		}
	}
	if in.Batches != batches || in.Messages != 2*batches {
		return fmt.Errorf("info counts %d batches with %d messages, there are %d", in.Batches, in.Messages, batches)
	}
	if err := m.readAll(l); err != nil {
		return err
	}
	// It can be done again.
	if err := m.refill(l, 1<<20); err != nil {
		return err
	}
	return m.readAll(l)
}

func withFS(o Options, disk *vfstest.FS) Options {
	o.FS = disk
	return o
}

// crashRefill looks at what a power cut leaves after each operation of a refill.
func crashRefill(t *testing.T, damage func(*refillLog), most int64, lie func(*vfstest.FS)) (failed error) {
	synctest.Test(t, func(t *testing.T) {
		m := newRefillLog(t, damage)
		s := openMem(t, m.disk, m.o)
		defer kill(s)
		l := mustLog(t, s, "t")
		must(t, m.readAll(l))
		synctest.Wait()
		must(t, m.disk.SyncAll()) // what was found
		if lie != nil {
			lie(m.disk)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		healed := false
		look := func(op vfstest.Op) {
			for i := range 4 {
				image := m.disk.CrashKeepNothing()
				if i > 0 {
					image = m.disk.Crash(rng)
				}
				if err := m.refilledOrNot(image, healed); err != nil && failed == nil {
					failed = fmt.Errorf("after %s: %w", op, err)
				}
			}
		}
		m.disk.OnOp(look)
		must(t, m.refill(l, most))
		healed = true
		look(vfstest.Op{})
		m.disk.OnOp(nil)
		must(t, m.whole(l))
	})
	return failed
}

func TestRefillCrash(t *testing.T) {
	for _, name := range []string{"one", "over partitions", "in the head", "file cut short"} {
		t.Run(name, func(t *testing.T) {
			if err := crashRefill(t, damages[name], 250, nil); err != nil {
				t.Error(err)
			}
		})
	}
	// Controls: a disk that forgets what it was told to keep is found out.
	for name, lie := range map[string]func(*vfstest.FS){
		"sync":    func(d *vfstest.FS) { d.IgnoreSync(true) },
		"syncdir": func(d *vfstest.FS) { d.IgnoreSyncDir(true) },
	} {
		t.Run("without "+name, func(t *testing.T) {
			err := crashRefill(t, damages["over partitions"], 250, lie)
			if err == nil {
				t.Fatal("nothing was found on a disk that lies")
			}
			t.Log(err)
		})
	}
}

// TestRefillFaults fails each operation of a refill: what is served is right, then
// and after a restart, and a log that goes on can be refilled after all.
func TestRefillFaults(t *testing.T) {
	for _, failure := range []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
		t.Run(fmt.Sprint(failure), func(t *testing.T) {
			for n, struck := 1, true; struck; n++ {
				synctest.Test(t, func(t *testing.T) {
					m := newRefillLog(t, damages["in each"])
					s := openMem(t, m.disk, m.o)
					l := mustLog(t, s, "t")
					must(t, m.readAll(l))
					m.disk.FailAt(n, vfstest.Fault{Err: failure, Reads: true})
					err := m.refill(l, 1<<20)
					struck = m.disk.Faults() > 0
					m.disk.ClearFaults()
					if err != nil && !struck {
						t.Fatalf("without a fault: %v", err)
					}
					if err := m.readAll(l); err != nil {
						t.Fatalf("operation %d: %v", n, err)
					}
					if err == nil || l.Failed() == nil {
						must(t, m.refill(l, 1<<20))
						if err := m.readAll(l); err != nil {
							t.Fatalf("operation %d, second try: %v", n, err)
						}
						in, err := l.Info(t.Context())
						if err != nil || in.Batches != m.info.Batches || in.Damaged != 0 {
							t.Fatalf("operation %d: info %+v (%v)", n, in, err)
						}
					}
					kill(s)
					if err := m.refilledOrNot(m.disk, false); err != nil {
						t.Fatalf("operation %d, after a restart: %v", n, err)
					}
				})
			}
		})
	}
}

// Readers and writers go on meanwhile, and nobody is told anything wrong.
func TestRefillMeanwhile(t *testing.T) {
	disk := vfstest.New()
	s := openMem(t, disk, Options{FlushInterval: -1, PartitionSize: 200_000, Partitions: -1})
	defer s.Close()
	l := mustCreate(t, s, "t")
	var all []Appended
	var wire []byte
	for i := range 1000 {
		r := batchOf("t", strings.Repeat("x", 400+i%7))
		wire = append(wire, r.data...)
		all = append(all, mustAppend(t, l, r))
	}
	var g sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		g.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for {
				select {
				case <-stop:
					return
				default:
				}
				a := all[rng.IntN(len(all))]
				v, err := l.Read(a.Offset, 20, 0)
				if errors.Is(err, ErrNotFound) {
					continue
				}
				if err != nil {
					t.Errorf("read: %v", err)
					return
				}
				n := v.Batches()
				b, err := readView(v)
				for i := range 20 { // what is not found yet
					if at := all[990-45*i].Offset - a.Offset; at >= 0 && at < int64(len(b)) {
						b[at] = 'B'
					}
				}
				if err != nil || n > 20 || (a.Offset+int64(len(b)) <= int64(len(wire)) && !bytes.Equal(b, wire[a.Offset:a.Offset+int64(len(b))])) {
					t.Errorf("at %d: %d batches, other bytes (%v)", a.Offset, n, err)
					return
				}
			}
		})
	}
	g.Go(func() {
		r := batchOf("t", strings.Repeat("y", 400))
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := l.Append(context.Background(), r.data, r.extents); err != nil {
				t.Errorf("append: %v", err)
				return
			}
		}
	})
	for i := range 20 {
		k := 990 - 45*i
		p := partitionAt(l, all[k].Offset)
		must(t, disk.Corrupt(p.File().Name(), all[k].Offset-p.Base(), func(b []byte) { b[0] = 'x' }))
		if v, err := l.Verify(all[k].Offset, 1, 0); err == nil {
			v.Close()
			t.Fatal("the damage is not found")
		}
		must(t, l.Refill(t.Context(), all[k].Offset, all[k].End, wire[all[k].Offset:all[k].End], nil))
	}
	close(stop)
	g.Wait()
	in, err := l.Info(t.Context())
	if err != nil || in.Damaged != 0 || in.Messages != in.Batches {
		t.Errorf("info %+v (%v)", in, err)
	}
}

// What is put back is durably set aside before the first byte of it is written: half of
// it must not be searched for batches.
func TestRefillNotedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRefillLog(t, damages["one"])
		s := openMem(t, m.disk, m.o)
		defer func() { kill(s) }()
		l := mustLog(t, s, "t")
		must(t, m.readAll(l))
		aside := *l.Damaged()
		written := 0
		m.disk.BeforeOp(func(op vfstest.Op) {
			if op.Kind != vfstest.OpWrite || !strings.HasSuffix(op.Name, ".log") {
				return
			}
			written++
			b, err := m.disk.CrashKeepNothing().ReadFile("t/journal")
			state, _, _ := journal.Decode(b)
			if err != nil || !layout.Contains(state.Damaged, aside[0]) {
				t.Errorf("%v is written, and %v is set aside (%v)", aside, state.Damaged, err)
			}
		})
		must(t, m.refill(l, 1<<20))
		m.disk.BeforeOp(nil)
		if written == 0 {
			t.Error("nothing was written")
		}
	})
}
