package copies

import (
	"slices"
	"testing"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/storage"
)

// TestSet: copies are found by group and number, in that order, and those that come and
// go can be noticed.
func TestSet(t *testing.T) {
	s, l := newSet(t)
	s.Put(1, 0, l)
	s.Put(0, 2, l)
	var keys []Key
	for _, c := range s.All() {
		keys = append(keys, c.Key)
	}
	if want := []Key{{0, 1}, {0, 2}, {1, 0}}; !slices.Equal(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
	gen := s.Generation()
	if s.Put(1, 0, l); s.Generation() != gen {
		t.Error("what stays as it is is noticed")
	}
	if s.Put(1, 0, nil); s.Generation() == gen || s.Get(1, 0) != nil || s.Get(0, 1) != l {
		t.Errorf("generation %d after %d; %v, %v", s.Generation(), gen, s.Get(1, 0), s.Get(0, 1))
	}
}

// TestFit: what no entry names goes, what is missing is set aside, and that is damage as
// long as it is not trimmed.
func TestFit(t *testing.T) {
	s, l := newSet(t)
	id, one := entry.ID(l.ID()), l.Next()
	fit := func(oldest, end int64, want ...storage.Range) {
		t.Helper()
		got, err := s.Fit(&entry.Topic{ID: id, Name: "t", End: end}, oldest, end)
		if err != nil || got != l || l.Next() != end {
			t.Fatalf("%v, %v, ends at %d", got, err, l.Next())
		}
		if damage := s.Damage(l); !slices.Equal(damage, want) {
			t.Errorf("damage %v, want %v", damage, want)
		}
	}
	fit(0, one)
	fit(0, one+50, storage.Range{From: one, To: one + 50})
	s.Trimmed(id, one+50)
	fit(0, one+50)
	s.Trimmed(id, 0)
	fit(0, one+20, storage.Range{From: one, To: one + 20}) // a cut inside of what is set aside
	fit(0, 0)

	other, err := s.Fit(&entry.Topic{ID: entry.ID{2}, Name: "u", Oldest: 10, End: 30}, 10, 30)
	if err != nil || other.Begin() != 10 || other.Next() != 30 {
		t.Fatalf("%v, %v", other, err)
	}
	if got := s.Damage(other); !slices.Equal(got, []storage.Range{{From: 10, To: 30}}) {
		t.Errorf("damage of a topic without files: %v", got)
	}
}
