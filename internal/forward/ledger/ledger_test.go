package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/segment"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// text returns all of a state.
func text(t *testing.T, l *Ledger) string {
	t.Helper()
	s := ""
	l.Look(func(state *State) {
		err := state.records(func(kind uint32, r any) error {
			content, err := json.Marshal(r)
			s += fmt.Sprintf("%d %s\n", kind, content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	return s
}

// step does something to a ledger that could happen.
func step(t *testing.T, rng *rand.Rand, l *Ledger) {
	t.Helper()
	var err error
	topic := fmt.Sprint("t", rng.IntN(3))
	var unanswered []*Sent
	var files []feed.File
	l.Look(func(s *State) {
		unanswered = s.Unanswered()
		for id := range s.NextID {
			if src := s.Sources[id]; src != nil {
				files = append(files, src.File)
			}
		}
	})
	pick := func(n int) int { return rng.IntN(max(n, 1)) }
	switch n := rng.IntN(20); {
	case n < 2 || len(files) == 0:
		_, err = l.Found(feed.File{Input: "in", Path: fmt.Sprint("/f", rng.IntN(9)), Size: rng.Int64N(100)}, false)
	case n < 9:
		f := files[pick(len(files))]
		from := f.Position + rng.Int64N(50)
		s := &Sent{Key: Key{topic, "p", rng.Int64()}, Size: 10, Messages: 2, Time: 5}
		s.Runs = []Run{{Input: "in", Source: f.ID, From: feed.Position{At: from}, To: feed.Position{At: from + 10}, Lines: 2, Bytes: 8}}
		if rng.IntN(3) == 0 {
			s.Spool = &segment.Ref{Segment: rng.Uint64N(3) + 1, At: rng.Int64N(1000)}
		}
		if len(unanswered) > 0 && rng.IntN(4) == 0 {
			was := unanswered[pick(len(unanswered))]
			s.Was, s.Topic = &was.Key, was.Topic
		}
		err = l.Sent(s)
	case n < 15 && len(unanswered) > 0:
		s := unanswered[pick(len(unanswered))]
		err = l.Stored(&Stored{Key: s.Key, Offset: rng.Int64N(1000), Pos: []Pos{{Source: s.Runs[0].Source, Position: s.Runs[0].To, Anchor: 7}}})
	case n < 16 && rng.IntN(2) == 0 && len(unanswered) > 0 && unanswered[0].Spool != nil:
		s := unanswered[0]
		if err = l.Replaced(*s.Spool, s.Key, 2); err == nil {
			for range rng.IntN(3) {
				err = errors.Join(err, l.Sent(&Sent{Key: Key{s.Topic, "q", rng.Int64()}, Was: &s.Key, Runs: s.Runs}))
			}
		}
	case n < 16:
		h := &Hole{Hole: feed.Hole{Kind: feed.Kinds[pick(len(feed.Kinds))], Topic: topic, Messages: 3, Bytes: 9}, Input: "in"}
		if len(unanswered) > 0 {
			h.Key = &unanswered[0].Key
		}
		err = l.Hole(h)
	case n < 17:
		err = l.Gone(files[pick(len(files))].ID)
	case n < 18:
		err = l.TopicMade(topic)
	case n < 19:
		err = l.SpoolGone(rng.Uint64N(3) + 1)
	default:
		_, err = l.Found(files[pick(len(files))], rng.IntN(2) == 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestReplay says that a ledger that is opened again knows what it knew, whatever its
// segments, and that those that are no longer needed go.
func TestReplay(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		disk := vfstest.New()
		l, _, err := open(disk, 64<<10, 16<<10)
		if err != nil {
			t.Fatal(err)
		}
		for range 400 {
			step(t, rng, l)
		}
		want := text(t, l)
		if len(l.log.Segments()) < 2 {
			t.Fatal("one segment only")
		}
		if n := l.Bytes(); n > 64<<10+2*16<<10+int64(2*len(want)) {
			t.Fatalf("%d bytes", n)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l, damage, err := open(disk, 64<<10, 16<<10)
		if err != nil || len(damage) > 0 {
			t.Fatal(damage, err)
		}
		if got := text(t, l); got != want {
			t.Fatalf("seed %d: after opening again\n%s\nwant\n%s", seed, got, want)
		}
		l.Close()
	}
}

// TestPartsInPlace: what has taken the place of a batch in the spool is sent where that was,
// before what was sent behind it, also if a checkpoint comes in between.
func TestPartsInPlace(t *testing.T) {
	for _, rolled := range []bool{false, true} {
		disk := vfstest.New()
		l, _, err := open(disk, 1<<20, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		key := func(pid string, seq int64) Key { return Key{"t", pid, seq} }
		ref := func(at int64) *segment.Ref { return &segment.Ref{Segment: 1, At: at} }
		first, behind := key("old", 1), key("old", 2)
		sent := func(all ...*Sent) {
			for _, s := range all {
				if err := l.Sent(s); err != nil {
					t.Fatal(err)
				}
			}
		}
		sent(&Sent{Key: first, Spool: ref(1)}, &Sent{Key: behind})
		if err := l.Replaced(*ref(1), first, 2); err != nil {
			t.Fatal(err)
		}
		if rolled {
			l.mu.Lock()
			err := l.roll()
			l.mu.Unlock()
			if err = errors.Join(err, l.Close()); err != nil {
				t.Fatal(err)
			}
			if l, _, err = open(disk, 1<<20, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		sent(&Sent{Key: key("new", 1), Spool: ref(2), Was: &first}, &Sent{Key: key("new", 2), Spool: ref(3), Was: &first}, &Sent{Key: key("new", 3), Was: &behind})
		got := ""
		l.Look(func(s *State) {
			for _, sent := range s.Unanswered() {
				got += fmt.Sprint(sent.Key, " ")
			}
			if len(s.Places) > 0 {
				t.Errorf("places %v are left", s.Places)
			}
		})
		if want := "{t new 1} {t new 2} {t new 3} "; got != want {
			t.Errorf("rolled %v: %s, want %s", rolled, got, want)
		}
		l.Close()
	}
}

// TestPowerCut says that what was synced is known after a power cut: the state is one of
// those since the last sync.
func TestPowerCut(t *testing.T) {
	lost := false
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 2))
		disk := vfstest.New()
		l, _, err := open(disk, 64<<10, 16<<10)
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]bool{text(t, l): true}
		last := ""
		for range 150 {
			step(t, rng, l)
			if rng.IntN(10) == 0 {
				if err := l.Sync(); err != nil {
					t.Fatal(err)
				}
				clear(states)
			}
			last = text(t, l)
			states[last] = true
		}
		image := disk.CrashKeepNothing()
		l.Close()
		l, _, err = open(image, 64<<10, 16<<10)
		if err != nil {
			t.Fatal(err)
		}
		got := text(t, l)
		if !states[got] {
			t.Fatalf("seed %d: a state that there never was since the last sync:\n%s\nthe last one\n%s", seed, got, last)
		}
		lost = lost || got != last
		l.Close()
	}
	if !lost {
		t.Error("no power cut has lost anything: the test shows nothing")
	}
}
