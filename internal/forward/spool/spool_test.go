package spool

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/logd-dev/logd/internal/forward/segment"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestModel puts and takes, restarts and cuts the power, beside a plain model.
func TestModel(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		disk := vfstest.New()
		removed := 0
		gone := func(uint64) error { removed++; return nil }
		open := func(disk *vfstest.FS) *Spool {
			s, damage, err := Open(disk, 64<<20, gone)
			if err != nil || len(damage) > 0 {
				t.Fatal(damage, err)
			}
			return s
		}
		s := open(disk)
		live := map[segment.Ref][]byte{}
		check := func() {
			t.Helper()
			got := s.Live()
			if len(got) != len(live) {
				t.Fatalf("seed %d: %d records, want %d", seed, len(got), len(live))
			}
			for _, r := range got {
				raw, err := s.Get(r.Ref, []byte("x"))
				if err != nil || !bytes.Equal(raw, live[r.Ref]) {
					t.Fatalf("seed %d: %v: %d bytes, %v", seed, r.Ref, len(raw), err)
				}
			}
		}
		for i := range 60 {
			raw := bytes.Repeat([]byte{byte(i)}, rng.IntN(1<<20))
			r, err := s.Put(&Head{Topic: fmt.Sprint("t", i%3), Messages: 1}, raw)
			if err != nil {
				t.Fatal(err)
			}
			live[r.Ref] = raw
			for ref := range live {
				if rng.IntN(3) == 0 {
					if err := s.Done(ref); err != nil {
						t.Fatal(err)
					}
					delete(live, ref)
				}
				break
			}
			if rng.IntN(20) == 0 {
				check()
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if rng.IntN(2) == 0 {
					disk = disk.CrashKeepNothing()
				}
				s = open(disk)
				for _, r := range s.Live() { // the ledger knows what is done with
					if live[r.Ref] == nil {
						s.Done(r.Ref)
					}
				}
			}
		}
		check()
		for ref := range live {
			s.Done(ref)
		}
		if n, _ := s.Bytes(); n > segmentSize || removed == 0 {
			t.Fatalf("seed %d: %d bytes are left, %d segments were removed", seed, n, removed)
		}
		s.Close()
	}
}

func TestReserve(t *testing.T) {
	s, _, err := Open(vfstest.New(), 1000, func(uint64) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, tc := range []struct {
		topic string
		n     int64
		want  bool
	}{{"a", 400, true}, {"a", 101, false}, {"b", 500, true}, {"c", 101, false}, {"c", 100, true}, {"a", 1, false}} {
		if got := s.Reserve(tc.topic, tc.n); got != tc.want {
			t.Errorf("Reserve(%s, %d): %v", tc.topic, tc.n, got)
		}
	}
	s.Release("a", 400)
	if !s.Reserve("a", 1) {
		t.Error("what is released is not there")
	}
}

func TestDamaged(t *testing.T) {
	disk := vfstest.New()
	s, _, err := Open(disk, 1<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Put(&Head{Topic: "t", Messages: 1}, []byte("some bytes"))
	if err != nil {
		t.Fatal(err)
	}
	disk.Corrupt(fmt.Sprintf("%s/%020d.seg", Dir, 1), r.Ref.At+20, func(b []byte) { b[0] ^= 1 })
	if _, err := s.Get(r.Ref, nil); !errors.Is(err, segment.ErrNoRecord) {
		t.Fatal(err)
	}
	s.Close()
}
