package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// crashRuns returns how many random workloads a test runs: LOGD_CRASH_RUNS if
// that is set.
func crashRuns(t *testing.T, n int) int {
	if s := os.Getenv("LOGD_CRASH_RUNS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("LOGD_CRASH_RUNS: %v", err)
		}
		return n
	}
	if testing.Short() {
		return max(n/5, 1)
	}
	return n
}

// firstSeed returns the seed of the first run: LOGD_CRASH_SEED if that is set.
func firstSeed(t *testing.T) uint64 {
	if s := os.Getenv("LOGD_CRASH_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("LOGD_CRASH_SEED: %v", err)
		}
		return n
	}
	return rand.Uint64N(1e9)
}

// kill ends a store as kill -9 ends its process: nothing more is written, and
// nothing that was is taken back.
func kill(s *Store) {
	s.shared.Numbers.Stop()
	s.reopening.stop()
	s.retention.stop()
	s.interval.stop()
	s.lock.Close()
}

// packers compress some batches.
var packers = [...]*codec.Codec{codec.NewS2(), codec.NewZstd(codec.Fastest)}

// crashRun is one random workload on a disk whose power may fail after every
// operation.
type crashRun struct {
	rng    *rand.Rand // of the workload
	disk   *vfstest.FS
	o      Options
	s      *Store
	topics []*model
	lie    func(*vfstest.FS) // for negative controls
	packed bool              // some batches are compressed

	// mu guards what follows, and the models, which the hook reads.
	mu        sync.Mutex
	imageRng  *rand.Rand
	images    int
	powerCuts int
	steps     []string
	violation error
}

func newCrashRun(seed uint64, lie func(*vfstest.FS)) *crashRun {
	r := &crashRun{
		rng:      rand.New(rand.NewPCG(seed, 1)),
		imageRng: rand.New(rand.NewPCG(seed, 2)),
		lie:      lie,
	}
	rng := r.rng
	r.o = Options{
		PartitionSize: []int64{150, 500, 2000, 20000}[rng.IntN(4)],
		Partitions:    []int{-1, -1, 2, 5}[rng.IntN(4)],
		FlushBatches:  []int{0, 1, 1, 3}[rng.IntN(4)],
		FlushInterval: []time.Duration{-1, 500 * time.Millisecond, 3 * time.Second}[rng.IntN(3)],
		OpenFiles:     []int{1, 4, 1000}[rng.IntN(3)],

		journalCompact: []int64{100, 1000, 100000}[rng.IntN(3)],
		syncTogether:   []int{1, 2, 100}[rng.IntN(3)],
	}
	r.packed = seed%2 == 1
	switch rng.IntN(4) {
	case 0:
		r.o.RetentionBytes = 500 + rng.Int64N(5000)
	case 1:
		r.o.RetentionAge = time.Duration(1+rng.IntN(30)) * time.Second
	}
	r.topics = []*model{newModel("t"), newModel("other")}
	r.use(vfstest.New())
	return r
}

// use makes disk the disk of the run.
func (r *crashRun) use(disk *vfstest.FS) {
	r.disk = disk
	if r.lie != nil {
		r.lie(disk)
	}
	disk.OnOp(r.afterOp)
}

// run does the workload and returns the first violation of a promise.
func (r *crashRun) run(steps int) error {
	if err := r.open(); err != nil {
		return err
	}
	for range steps {
		if err := r.step(); err != nil {
			return r.explain(err)
		}
		synctest.Wait()
		r.settle()
		if err := r.violated(); err != nil {
			return r.explain(err)
		}
	}
	if err := r.verifyAll(r.s, true); err != nil {
		return r.explain(err)
	}
	if err := r.s.Close(); err != nil {
		return r.explain(err)
	}
	return r.violated()
}

func (r *crashRun) violated() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.violation
}

func (r *crashRun) explain(err error) error {
	o := r.o
	return fmt.Errorf("%w\npartition size %d, partitions %d, flush batches %d, interval %v, retention %d bytes, %v\nsteps:\n  %s",
		err, o.PartitionSize, o.Partitions, o.FlushBatches, o.FlushInterval, o.RetentionBytes, o.RetentionAge,
		strings.Join(r.steps[max(0, len(r.steps)-30):], "\n  "))
}

func (r *crashRun) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, fmt.Sprintf("op %d: ", r.disk.Ops())+fmt.Sprintf(format, args...))
}

func (r *crashRun) open() error {
	r.o.FS = r.disk
	s, err := open(context.Background(), r.o)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.s = s // before retention begins: what it removes is looked up there
	r.mu.Unlock()
	s.retention = startRetention(s)
	if broken := s.Broken(); len(broken) > 0 {
		return fmt.Errorf("broken topics: %v", broken)
	}
	return nil
}

// settle notes what retention has done once it is at rest.
func (r *crashRun) settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.topics {
		if l, err := r.s.Log([]byte(m.topic)); err == nil {
			m.oldest, m.gone = l.Begin(), l.Begin()
			m.promised = max(m.promised, m.oldest)
		}
	}
}

func (r *crashRun) step() error {
	m := r.topics[0]
	if r.rng.IntN(6) == 0 {
		m = r.topics[1]
	}
	switch n := r.rng.IntN(44); {
	case n < 22:
		return r.append(m)
	case n < 25:
		return r.syncTo(m)
	case n < 29:
		return r.sleep()
	case n < 31:
		return r.advance(m)
	case n < 34:
		return r.truncate(m)
	case n < 35:
		return r.verifyAll(r.s, true)
	case n < 37:
		return r.restart()
	case n < 38:
		return r.killAndOpen()
	case n < 40:
		return r.trim(m)
	case n < 41:
		return r.delete(m)
	default:
		return r.powerCut()
	}
}

func (r *crashRun) append(m *model) error {
	l, err := r.s.Create([]byte(m.topic))
	if err != nil {
		return err
	}
	var run run
	for range 1 + r.rng.IntN(1+r.rng.IntN(5)) {
		var bodies []string
		for range 1 + r.rng.IntN(1+r.rng.IntN(4)) {
			bodies = append(bodies, r.body(m.topic))
		}
		if r.packed && r.rng.IntN(3) == 0 {
			var b batch.Builder
			for _, body := range bodies {
				b.Add([]byte(body))
			}
			c := packers[r.rng.IntN(len(packers))]
			run.addPacked(m.topic, batch.CodecOf(c.Name()), int32(len(bodies)), c.Encode(nil, b.Data()))
		} else {
			run.add(m.topic, bodies...)
		}
	}
	r.note("append %d bytes in %d batches to %s at %d", len(run.data), len(run.extents), m.topic, l.Next())
	r.mu.Lock()
	n := m.expect(run, time.Now())
	r.mu.Unlock()
	a, err := l.Append(context.Background(), run.data, run.extents)
	if err != nil {
		return err
	}
	r.mu.Lock()
	m.appended()
	r.mu.Unlock()
	if a.End != m.next || a.Batches != len(run.extents) {
		return fmt.Errorf("append gave %+v, want end %d", a, m.next)
	}
	if r.rng.IntN(8) == 0 {
		return nil // not asked for
	}
	if err := l.Commit(context.Background(), a); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m.acknowledged(n, r.o.FlushBatches)
	return nil
}

// body makes a message's body. Some hold batches of the same topic: those must
// never be taken for batches of the log.
func (r *crashRun) body(topic string) string {
	rng := r.rng
	text := strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(100)) + strconv.Itoa(rng.IntN(1e9))
	switch rng.IntN(10) {
	case 0:
		return strings.Repeat(text, 1+rng.IntN(80))
	case 1, 2:
		nested := string(batchOf(topic, text).data)
		return []string{"", "x"}[rng.IntN(2)] + strings.Repeat(nested, 1+rng.IntN(3)) + []string{"", "y", "\r\n"}[rng.IntN(3)]
	case 3:
		return ""
	}
	return text
}

func (r *crashRun) syncTo(m *model) error {
	l, err := r.s.Log([]byte(m.topic))
	if err != nil {
		return nil
	}
	var ends []int64
	for _, b := range m.batches {
		ends = append(ends, b.end())
	}
	if len(ends) == 0 {
		return nil
	}
	offset := ends[len(ends)-1-r.rng.IntN(min(len(ends), 4))]
	r.note("sync %s to %d", m.topic, offset)
	if err := l.SyncTo(context.Background(), offset); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m.promise(offset)
	return nil
}

func (r *crashRun) sleep() error {
	d := time.Duration(r.rng.IntN(1+[]int{2, 1000, 20000}[r.rng.IntN(3)])) * time.Millisecond
	r.note("sleep %v", d)
	time.Sleep(d)
	synctest.Wait()
	if d >= r.o.FlushInterval && r.o.FlushInterval > 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, m := range r.topics {
			// With FlushBatches 1 there is no interval: Commit does it.
			if r.o.FlushBatches != 1 {
				m.promise(m.next)
			}
		}
	}
	return nil
}

func (r *crashRun) advance(m *model) error {
	l, err := r.s.Log([]byte(m.topic))
	if err != nil {
		return nil
	}
	parts := l.Partitions()
	offset := parts[r.rng.IntN(len(parts))].Base() + r.rng.Int64N(2)
	r.note("advance oldest of %s to %d", m.topic, offset)
	return l.AdvanceOldest(offset)
}

func (r *crashRun) trim(m *model) error {
	l, err := r.s.Log([]byte(m.topic))
	if err != nil {
		return nil
	}
	parts := l.Partitions()
	offset := parts[r.rng.IntN(len(parts))].Base() + r.rng.Int64N(2)
	if r.rng.IntN(3) == 0 {
		offset = l.Next() + r.rng.Int64N(2)
	}
	r.note("trim %s to %d of %d", m.topic, offset, l.Next())
	oldest, err := l.Trim(context.Background(), offset)
	if err == nil && (oldest > l.Next() || offset >= l.Next() && oldest != l.Next()) {
		err = fmt.Errorf("trim to %d leaves %d of %d", offset, oldest, l.Next())
	}
	return err
}

// delete deletes a topic. From then on the model knows of nothing: whatever
// comes back was never written.
func (r *crashRun) delete(m *model) error {
	l, err := r.s.Log([]byte(m.topic))
	if err != nil {
		return nil
	}
	now := r.rng.IntN(2) == 0
	r.note("delete %s, now: %v", m.topic, now)
	r.mu.Lock()
	m.deleting = true
	r.mu.Unlock()
	if err := r.s.Delete(context.Background(), m.topic, layout.HexID(l.ID()), now); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	*m = *newModel(m.topic)
	return nil
}

func (r *crashRun) truncate(m *model) error {
	l, err := r.s.Log([]byte(m.topic))
	if err != nil {
		return nil
	}
	var starts []int64
	for _, b := range m.batches {
		if b.offset >= l.Begin() {
			starts = append(starts, b.offset)
		}
	}
	if len(starts) == 0 {
		return nil
	}
	offset := starts[len(starts)-1-r.rng.IntN(min(len(starts), 6))]
	r.note("truncate %s to %d", m.topic, offset)
	r.mu.Lock()
	m.cutting = offset
	r.mu.Unlock()
	if err := l.TruncateTo(context.Background(), offset); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m.cut(offset)
	return nil
}

func (r *crashRun) restart() error {
	r.note("close and open")
	if err := r.s.Close(); err != nil {
		return err
	}
	r.mu.Lock()
	for _, m := range r.topics {
		m.promise(m.next)
	}
	r.mu.Unlock()
	if err := r.open(); err != nil {
		return err
	}
	return r.verifyAll(r.s, true)
}

func (r *crashRun) killAndOpen() error {
	r.note("kill and open")
	kill(r.s)
	if err := r.open(); err != nil {
		return err
	}
	r.mu.Lock()
	for _, m := range r.topics {
		m.promise(m.next)
		m.exact = false
	}
	r.mu.Unlock()
	return r.verifyAll(r.s, true)
}

// powerCut goes on with what a power cut leaves.
func (r *crashRun) powerCut() error {
	r.note("power cut")
	kill(r.s)
	r.mu.Lock()
	r.use(r.disk.Crash(r.imageRng))
	r.powerCuts++
	r.mu.Unlock()
	if err := r.open(); err != nil {
		return err
	}
	// Retention waits for this: it must not remove what is being looked at.
	synctest.Wait()
	for _, m := range r.topics {
		l, err := r.s.Log([]byte(m.topic))
		if errors.Is(err, ErrNotFound) {
			if m.promised > m.gone {
				return fmt.Errorf("topic %s is lost, promised %d", m.topic, m.promised)
			}
			r.mu.Lock()
			*m = *newModel(m.topic)
			m.exact = false
			r.mu.Unlock()
			continue
		}
		blurred := *m
		blurred.oldest, blurred.exact = max(m.oldest, l.Begin()), false
		found, err := blurred.verify(l, r.rng, false)
		if err != nil {
			return fmt.Errorf("after a power cut, topic %s: %w", m.topic, err)
		}
		before, err := l.Ordinal(l.Next()) // that of Begin is not known if what was there is lost
		if err != nil {
			return fmt.Errorf("after a power cut, topic %s: batches that were removed: %w", m.topic, err)
		}
		before -= int64(len(found))
		r.mu.Lock()
		m.survived(found, l.Begin(), l.Next(), before)
		r.mu.Unlock()
	}
	return nil
}

// verifyAll compares a live store with the models. Verifying may write an
// index, and the hook wants mu: so it is not held here. The models are changed
// by this goroutine alone.
func (r *crashRun) verifyAll(s *Store, complete bool) error {
	synctest.Wait()
	r.settle()
	for _, m := range r.topics {
		l, err := s.Log([]byte(m.topic))
		if errors.Is(err, ErrNotFound) && len(m.batches) == 0 {
			continue
		}
		if err == nil {
			_, err = m.verify(l, r.rng, complete)
		}
		if err != nil {
			return fmt.Errorf("topic %s: %w", m.topic, err)
		}
	}
	return nil
}

// afterOp looks at what a power cut would leave now.
func (r *crashRun) afterOp(op vfstest.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.violation != nil {
		return
	}
	err := r.recoverImage(r.disk.CrashKeepNothing())
	if err == nil && r.imageRng.IntN(2) == 0 {
		err = r.recoverImage(r.disk.Crash(r.imageRng))
	}
	if err != nil {
		r.violation = fmt.Errorf("power cut after operation %d, %s: %w", op.N, op, err)
	}
}

// recoverImage opens what a power cut has left, checks it, and cuts the power
// once more: what was served must not change by that.
func (r *crashRun) recoverImage(image *vfstest.FS) error {
	r.images++
	if r.images%16 == 0 && r.lie == nil {
		for _, m := range r.topics {
			if err := agree(image, m.topic); err != nil {
				return fmt.Errorf("topic %s: %w", m.topic, err)
			}
		}
	}
	if err := keptAway(image); err != nil && r.lie == nil {
		return err
	}
	first, err := r.survivors(image)
	if err != nil {
		return err
	}
	again, err := r.survivors(image.CrashKeepNothing())
	if err != nil {
		return fmt.Errorf("second power cut: %w", err)
	}
	if first != again {
		return fmt.Errorf("a second power cut changed what was served: from %s to %s", first, again)
	}
	return nil
}

// survivors opens an image, verifies it and returns what it serves. The store
// is killed, so that only recovery has written to the image.
func (r *crashRun) survivors(image *vfstest.FS) (string, error) {
	o := r.o
	o.FS, o.Partitions, o.RetentionAge, o.RetentionBytes = image, -1, 0, 0
	var logged strings.Builder
	o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	s, err := Open(context.Background(), o)
	if err != nil {
		return "", err
	}
	defer kill(s)
	if broken := s.Broken(); len(broken) > 0 {
		return "", fmt.Errorf("broken topics: %v", broken)
	}
	var all strings.Builder
	for _, m := range r.topics {
		oldest := m.oldest
		if r.s != nil {
			if l, err := r.s.Log([]byte(m.topic)); err == nil {
				oldest = max(oldest, l.Begin())
			}
		}
		l, err := s.Log([]byte(m.topic))
		if errors.Is(err, ErrNotFound) {
			if m.promised > oldest && !m.deleting {
				return "", fmt.Errorf("topic %s is lost, promised %d", m.topic, m.promised)
			}
			continue
		}
		blurred := *m
		blurred.oldest, blurred.exact = oldest, false
		found, err := blurred.verify(l, r.imageRng, false)
		if err != nil {
			return "", fmt.Errorf("topic %s: %w\nlogged:\n%s", m.topic, err, logged.String())
		}
		fmt.Fprintf(&all, "%s from %d to %d: %v; ", m.topic, l.Begin(), l.Next(), offsetsOf(found))
	}
	return all.String(), nil
}

// runCrash runs one workload in a bubble, so that time is its own.
func runCrash(t *testing.T, seed uint64, steps int, lie func(*vfstest.FS)) (r *crashRun, err error) {
	synctest.Test(t, func(t *testing.T) {
		r = newCrashRun(seed, lie)
		err = r.run(steps)
		if err != nil && r.s != nil {
			r.disk.OnOp(nil)
			r.s.Close() // so that no goroutine is left; the error is the first one
		}
	})
	return r, err
}

// TestPowerCut runs random workloads and recovers what a power cut may leave
// after every single operation of them: at least LOGD_CRASH_IMAGES, if that is
// set.
func TestPowerCut(t *testing.T) {
	first := firstSeed(t)
	images, cuts, enough := 0, 0, 0
	if s := os.Getenv("LOGD_CRASH_IMAGES"); s != "" {
		var err error
		if enough, err = strconv.Atoi(s); err != nil {
			t.Fatalf("LOGD_CRASH_IMAGES: %v", err)
		}
	}
	for i := range uint64(math.MaxInt) {
		if i >= uint64(crashRuns(t, 4)) && images >= enough {
			break
		}
		seed := first + i
		r, err := runCrash(t, seed, 40, nil)
		images, cuts = images+r.images, cuts+r.powerCuts
		if err != nil {
			t.Fatalf("seed %d (LOGD_CRASH_SEED=%d LOGD_CRASH_RUNS=1): %v", seed, seed, err)
		}
	}
	t.Logf("first seed %d: %d images recovered, each twice; %d workloads went on after a power cut", first, images, cuts)
}

// TestPowerCutControl makes sure that TestPowerCut sees it if the disk, or
// this package, skips a sync.
func TestPowerCutControl(t *testing.T) {
	for name, lie := range map[string]func(*vfstest.FS){
		"sync":    func(d *vfstest.FS) { d.IgnoreSync(true) },
		"syncdir": func(d *vfstest.FS) { d.IgnoreSyncDir(true) },
	} {
		t.Run(name, func(t *testing.T) {
			first := firstSeed(t)
			for i := range uint64(20) {
				if _, err := runCrash(t, first+i, 40, lie); err != nil {
					t.Logf("seed %d: found, as it must be: %.300v", first+i, err)
					return
				}
			}
			t.Fatalf("seeds from %d: no violation was found on a disk that lies", first)
		})
	}
}
