package keeper

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/positions"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// modelRun is random work on positions, on a disk whose power fails now and then, and a map
// of what is to come of it.
type modelRun struct {
	t     *testing.T
	rng   *rand.Rand
	disk  *vfstest.FS
	o     storage.Options
	store *storage.Store
	k     *Keeper

	mu    sync.Mutex
	image *vfstest.FS // what a power cut that is to come leaves

	of    map[positions.Key]*modelPosition
	given map[int64]bool // versions that were answered
	steps []string
}

// modelPosition is what is known of a position.
type modelPosition struct {
	topic string
	is    modelState   // the last that was acknowledged; version 0: there is none
	doubt bool         // the power may have failed before it was acknowledged
	was   []modelState // those since the last moment at which all was durable, without it
}

type modelState struct {
	at      batch.Place
	version int64
}

func TestModel(t *testing.T) {
	runs := 60
	if s := os.Getenv("LOGD_CRASH_RUNS"); s != "" {
		runs, _ = strconv.Atoi(s)
	} else if testing.Short() {
		runs = 12
	}
	first := rand.Uint64N(1e9)
	if s := os.Getenv("LOGD_CRASH_SEED"); s != "" {
		first, _ = strconv.ParseUint(s, 10, 64)
	}
	for seed := first; seed < first+uint64(runs); seed++ {
		r := newModelRun(t, seed)
		for range 150 {
			r.step()
		}
		r.restart(true)
		r.close()
		if t.Failed() {
			for _, s := range r.steps[max(0, len(r.steps)-60):] {
				t.Log(s)
			}
			t.Fatalf("LOGD_CRASH_SEED=%d LOGD_CRASH_RUNS=1", seed)
		}
	}
}

func newModelRun(t *testing.T, seed uint64) *modelRun {
	r := &modelRun{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), disk: vfstest.New(),
		of: make(map[positions.Key]*modelPosition), given: make(map[int64]bool),
	}
	r.o = storage.Options{
		FlushBatches: r.rng.IntN(2), FlushInterval: -1, PartitionSize: []int64{500, 1 << 20}[r.rng.IntN(2)], Partitions: -1, DeleteAfter: -1,
	}
	r.open()
	return r
}

func (r *modelRun) note(format string, args ...any) {
	r.steps = append(r.steps, fmt.Sprintf(format, args...))
}

func (r *modelRun) open() {
	r.o.FS = r.disk
	store, err := storage.Open(context.Background(), r.o)
	if err != nil {
		r.t.Fatalf("open: %v", err)
	}
	r.store = store
	r.k = New(Options{Store: store.Contract(), Rules: positions.Rules{Most: 30, Stale: time.Hour}, SnapshotAfter: 1500})
	if err := r.k.Open(); err != nil {
		r.t.Fatalf("open: %v", err)
	}
}

func (r *modelRun) close() {
	r.k.Close()
	if err := r.store.Close(); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

// restart ends the server and begins another one: with all that there was, or with what a
// power cut has left.
func (r *modelRun) restart(clean bool) {
	r.disk.OnOp(nil)
	r.mu.Lock()
	image := r.image
	r.image = nil
	r.mu.Unlock()
	switch {
	case clean:
		r.note("restart")
		r.close()
	case image == nil:
		image = r.disk.Crash(r.rng)
		fallthrough
	default:
		r.note("power cut")
		r.close()
		r.disk = image
	}
	r.open()
	for key, m := range r.of {
		r.check(key, m, !clean)
	}
}

// idOf returns the id of a topic and its end, which is made if need be.
func (r *modelRun) log(name string) topic.Log {
	l, err := r.store.Contract().Create(context.Background(), []byte(name))
	if err != nil {
		r.t.Fatalf("create: %v", err)
	}
	return l
}

// check looks whether a position is what it may be, after a start.
func (r *modelRun) check(key positions.Key, m *modelPosition, cut bool) {
	l, err := r.store.Contract().Log([]byte(m.topic))
	if err != nil || l.HexID() != key.ID {
		delete(r.of, key) // the topic is gone, and takes it along
		return
	}
	s, err := r.k.Get(context.Background(), m.topic, key.Consumer, false)
	got := modelState{s.At, s.Version}
	if err != nil && !errors.Is(err, positions.ErrNotFound) {
		r.t.Fatalf("%s %s: %v", m.topic, key.Consumer, err)
	}
	may := []modelState{m.is}
	switch {
	case cut && r.o.FlushBatches != 1:
		may = append(may, m.was...)
	case cut && m.doubt:
		may = append(may, m.was[len(m.was)-1])
	}
	end := batch.Place{Offset: l.Readable()}
	if end.Before(got.at) {
		r.t.Errorf("%s %s: at %v, and the topic ends at %d", m.topic, key.Consumer, got.at, end.Offset)
	}
	ok := false
	for _, state := range may {
		back := end.Before(state.at) && got.at == end && !r.given[got.version] && got.version > state.version
		ok = ok || got == state || cut && back
	}
	if !ok {
		r.t.Errorf("%s %s: is %+v, may be %+v; cut %t", m.topic, key.Consumer, got, may, cut)
	}
	r.given[got.version] = true
	m.is, m.was, m.doubt = got, nil, false // what a start serves is on stable storage
}

// power has an image taken at one of the next file operations.
func (r *modelRun) power() {
	left := r.rng.IntN(12)
	disk, rng := r.disk, rand.New(rand.NewPCG(r.rng.Uint64(), 3))
	disk.OnOp(func(vfstest.Op) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if left--; left < 0 && r.image == nil {
			r.image = disk.Crash(rng)
		}
	})
}

// taken returns the image of a power cut that has come meanwhile.
func (r *modelRun) taken() *vfstest.FS {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.image
}

var (
	modelTopics    = []string{"a", "b"}
	modelConsumers = []string{"x", "y", "z"}
)

func (r *modelRun) step() {
	if r.taken() != nil { // what comes now is not in it
		r.restart(false)
	}
	name := modelTopics[r.rng.IntN(len(modelTopics))]
	l := r.log(name)
	key := positions.Key{ID: l.HexID(), Consumer: modelConsumers[r.rng.IntN(len(modelConsumers))]}
	switch n := r.rng.IntN(100); {
	case n < 25:
		var b batch.Builder
		b.Add(fmt.Appendf(nil, "%d", r.rng.Uint64()))
		wire := b.Finish(name)
		a, err := l.Append(context.Background(), wire, []batch.Extent{{Len: int64(len(wire)), Messages: 1}})
		if err == nil {
			err = l.Commit(context.Background(), a)
		}
		if err != nil {
			r.t.Fatalf("append: %v", err)
		}
		return
	case n < 28:
		r.note("delete %s", name)
		if err := r.store.Contract().Delete(context.Background(), name, l.HexID(), false); err != nil {
			r.t.Fatalf("delete: %v", err)
		}
		return
	case n < 31:
		r.restart(true)
		return
	case n < 34:
		r.restart(false)
		return
	case n < 36 && r.rng.IntN(2) == 0:
		r.note("power is to fail")
		r.power()
	case n < 38:
		for _, l := range r.store.All() {
			if err := l.SyncAll(); err != nil {
				r.t.Fatalf("sync: %v", err)
			}
		}
		if r.taken() == nil {
			for _, m := range r.of { // all of it is durable
				m.was = nil
			}
		}
		return
	}
	r.change(name, key, l.Readable())
}

func (r *modelRun) change(name string, key positions.Key, end int64) {
	m := r.of[key]
	if m == nil {
		m = &modelPosition{topic: name}
		r.of[key] = m
	}
	c := positions.Change{Key: key, Topic: name, At: batch.Place{Offset: r.rng.Int64N(end + 1), Delta: r.rng.Int64N(3)}}
	if c.At.Offset == end {
		c.At.Delta = 0
	}
	if r.rng.IntN(3) > 0 {
		c.Versioned, c.Version = true, m.is.version
		if r.rng.IntN(4) == 0 {
			c.Version += r.rng.Int64N(3) - 1
		}
	}
	if r.rng.IntN(6) == 0 {
		c.What = positions.Forget
	}
	before := m.is
	version, err := r.k.Change(context.Background(), c)
	r.note("%s %s: %d to %v, version %d (%t): %d, %v", name, key.Consumer, c.What, c.At, c.Version, c.Versioned, version, err)
	conflict, isConflict := errors.AsType[*positions.VersionError](err)
	switch wants := c.Versioned && c.Version != before.version; {
	case isConflict != (wants && (c.What == positions.Set || before.version > 0)):
		r.t.Errorf("version %d of %d: %v", c.Version, before.version, err)
	case isConflict && conflict.Present != before.version:
		r.t.Errorf("the version is %d, want %d", conflict.Present, before.version)
	case isConflict:
		return
	case err != nil:
		r.t.Errorf("change: %v", err)
		return
	}
	state := modelState{}
	if c.What == positions.Set {
		state = modelState{c.At, version}
		if r.given[version] {
			r.t.Errorf("version %d is given out twice", version)
		}
		r.given[version] = true
	}
	m.was = append(m.was, m.is)
	m.is = state
	if r.taken() != nil { // perhaps before it was answered
		delete(r.given, version)
		m.doubt = true
	}
}
