package positions

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd/internal/batch"
)

// table is a Table that is changed by what a draft has.
type table struct {
	t *testing.T
	*Table
	now   time.Time
	clock time.Duration
	rules Rules
}

func newTable(t *testing.T) *table {
	return &table{t: t, Table: NewTable(), now: time.UnixMilli(1e12).UTC(), rules: Rules{Most: 3, Stale: time.Hour}}
}

// do does a change and returns what was answered, and how many records it took.
func (x *table) do(c Change) (version int64, records int, err error) {
	d := x.Draft(x.rules, x.now, x.clock)
	version, err = d.Do(&c)
	x.store(d)
	return version, len(d.Lines()), err
}

func (x *table) store(d *Draft) {
	x.t.Helper()
	if _, _, err := x.Apply(d.Lines(), x.clock); err != nil {
		x.t.Fatal(err)
	}
	d.Renew()
}

func (x *table) pass(d time.Duration) { x.now, x.clock = x.now.Add(d), x.clock+d }

func set(consumer string, offset int64) Change {
	return Change{Key: Key{"0a", consumer}, Topic: "t", At: batch.Place{Offset: offset}}
}

func as(name string, hold time.Duration, c Change) Change { c.As, c.Hold = name, hold; return c }
func by(what What, c Change) Change                       { c.What = what; return c }
func at(version int64, c Change) Change                   { c.Versioned, c.Version = true, version; return c }

// TestRules: what is answered to one change after another.
func TestRules(t *testing.T) {
	x := newTable(t)
	forced := func(c Change) Change { c.Force = true; return c }
	for i, step := range []struct {
		wait    time.Duration
		c       Change
		version int64
		records int
		err     error // of what kind
	}{
		{c: by(Take, as("w", time.Second, set("a", 0))), err: ErrNotFound},
		{c: by(Forget, set("a", 0))},
		{c: at(7, set("a", 0)), err: &VersionError{0}},
		{c: at(0, set("a", 5)), version: 1, records: 1},
		{c: at(0, set("a", 5)), err: &VersionError{1}},
		{c: set("a", 3), version: 2, records: 1},
		{c: by(Take, as("w", time.Second, set("a", 0))), version: 2, records: 1},
		{c: set("a", 9), err: &HeldError{"w", time.Second}},
		{c: as("v", 0, set("a", 9)), err: &HeldError{"w", time.Second}},
		{c: by(Forget, set("a", 9)), err: &HeldError{"w", time.Second}},
		{c: by(Let, as("v", 0, set("a", 9))), err: &HeldError{"w", time.Second}},
		{c: as("w", 0, set("a", 4)), version: 3, records: 1},
		// Who holds it goes on, and nothing is written of that.
		{wait: 900 * time.Millisecond, c: by(Take, as("w", time.Second, set("a", 0))), version: 3},
		{wait: 900 * time.Millisecond, c: set("a", 9), err: &HeldError{"w", 100 * time.Millisecond}},
		{wait: 100 * time.Millisecond, c: set("a", 9), version: 4, records: 1},
		{c: by(Take, as("v", time.Minute, set("a", 0))), version: 4, records: 1},
		{c: by(Take, as("w", time.Minute, set("a", 0))), err: &HeldError{"v", time.Minute}},
		{c: forced(set("a", 1)), version: 5, records: 1},
		{c: set("a", 1), err: &HeldError{"v", time.Minute}}, // it still holds it
		{c: by(Let, as("v", 0, set("a", 0))), version: 5, records: 1},
		{c: by(Let, as("v", 0, set("a", 0))), version: 5},
		// So many there may be; the one that is stale for the longest time makes room.
		{c: set("b", 1), version: 6, records: 1},
		{wait: time.Minute, c: set("c", 1), version: 7, records: 1},
		{wait: 59 * time.Minute, c: set("d", 1), err: ErrLimit},
		{wait: time.Millisecond, c: set("a", 1), version: 8, records: 1},
		{c: set("d", 1), version: 10, records: 2}, // and the other is forgotten
		{c: set("b", 1), err: ErrLimit},
		{c: by(Forget, at(9, set("d", 1))), err: &VersionError{10}},
		{c: by(Forget, at(10, set("d", 1))), records: 1},
		{c: at(0, set("b", 1)), version: 12, records: 1},
	} {
		x.pass(step.wait)
		version, records, err := x.do(step.c)
		var same bool
		switch want := step.err.(type) {
		case *VersionError:
			got, ok := errors.AsType[*VersionError](err)
			same = ok && *got == *want
		case *HeldError:
			got, ok := errors.AsType[*HeldError](err)
			same = ok && *got == *want
		default:
			same = errors.Is(err, step.err)
		}
		if version != step.version || records != step.records || !same {
			t.Fatalf("step %d, %+v: version %d, %d records, %v; want %d, %d, %v", i, step.c, version, records, err, step.version, step.records, step.err)
		}
	}
}

// TestTogether: what is judged in one draft knows of what was before it.
func TestTogether(t *testing.T) {
	x := newTable(t)
	d := x.Draft(x.rules, x.now, x.clock)
	do := func(c Change, version int64, err error) {
		t.Helper()
		if got, gotErr := d.Do(&c); got != version || (gotErr == nil) != (err == nil) {
			t.Errorf("%+v: %d, %v, want %d, %v", c, got, gotErr, version, err)
		}
	}
	do(at(0, set("a", 1)), 1, nil)
	do(at(0, set("a", 2)), 0, &VersionError{1})
	do(at(1, set("a", 2)), 2, nil)
	do(set("b", 2), 3, nil)
	do(set("c", 2), 4, nil)
	do(set("d", 2), 0, ErrLimit)
	do(by(Forget, set("b", 2)), 0, nil)
	do(set("d", 2), 6, nil)
	if x.Len() != 0 {
		t.Errorf("there are %d positions before they are stored", x.Len())
	}
	x.store(d)
	if x.Len() != 3 || x.Version() != 6 {
		t.Errorf("%d positions, version %d", x.Len(), x.Version())
	}
}

// TestSnapshot: a table that a snapshot tells of is the table that it was made of; one that
// lacks a record changes nothing.
func TestSnapshot(t *testing.T) {
	x := newTable(t)
	x.rules.Most = 100
	for i := range 20 {
		c := set(string(rune('a'+i)), int64(i))
		c.Note, c.TTL, c.By = "n", time.Duration(i)*time.Second, "me"
		if _, _, err := x.do(c); err != nil {
			t.Fatal(err)
		}
	}
	x.do(by(Forget, set("c", 0)))
	x.do(by(Take, as("w", time.Minute, set("d", 0))))
	batches := x.Snapshot(x.clock, 300)
	if len(batches) < 3 {
		t.Fatalf("%d batches", len(batches))
	}
	other := func() *table {
		o := newTable(t)
		o.clock = x.clock
		o.rules.Most = 100
		for _, c := range []string{"c", "zz"} { // which a snapshot that is whole takes away
			if _, _, err := o.do(set(c, 1)); err != nil {
				t.Fatal(err)
			}
		}
		return o
	}
	o := other()
	for i, lines := range batches {
		begins, ends, err := o.Apply(lines, o.clock)
		if err != nil || begins != (i == 0) || ends != (i == len(batches)-1) {
			t.Fatalf("batch %d: begins %t, ends %t, %v", i, begins, ends, err)
		}
	}
	if diff := cmp.Diff(x.All(), o.All(), cmp.AllowUnexported(Position{})); diff != "" || o.Version() != x.Version() {
		t.Errorf("version %d, want %d; another table: %s", o.Version(), x.Version(), diff)
	}

	// One that begins anew, after one that was not ended, is whole.
	o = other()
	for _, lines := range append(batches[:2:2], batches...) {
		o.Apply(lines, o.clock)
	}
	if o.Len() != 19 {
		t.Errorf("begun twice: %d positions", o.Len())
	}

	for missing := range batches {
		o := other()
		for i, lines := range batches {
			if i == missing {
				lines = lines[:len(lines)-1]
			}
			if _, ends, _ := o.Apply(lines, o.clock); ends {
				t.Errorf("it ends, and a record of batch %d is missing", missing)
			}
		}
		// Records that come later are not the snapshot's.
		if _, _, err := o.do(set("new", 1)); err != nil {
			t.Fatal(err)
		}
		if _, ok := o.Get(Key{"0a", "zz"}); !ok {
			t.Error("half a snapshot counts")
		}
	}
}

// TestOlderRecords: records that come again, or in place of what a newer one says, change
// nothing.
func TestOlderRecords(t *testing.T) {
	x := newTable(t)
	lines := [][]byte{
		[]byte("SET 5 0a t c 70.11 1000 ttl=60000 as=w hold=2000 by=- note=x"),
		[]byte("SET 4 0a t c 0.0 999 ttl=- as=- hold=- by=- note=-"),
		[]byte("FORGET 3 0a c"),
		[]byte("nonsense"),
		[]byte("SET 6 0a t d 1.2 1000 ttl=- as=- hold=- by=- note=- new=word"),
	}
	if _, _, err := x.Apply(lines, 0); err == nil {
		t.Error("nonsense is a record")
	}
	p, _ := x.Get(Key{"0a", "c"})
	want := &Position{
		Key: Key{"0a", "c"}, Topic: "t", At: batch.Place{Offset: 70, Delta: 11}, Version: 5, Updated: time.UnixMilli(1000).UTC(),
		TTL: time.Minute, As: "w", Hold: 2 * time.Second, Note: "x", until: 2 * time.Second,
	}
	if diff := cmp.Diff(want, p, cmp.AllowUnexported(Position{})); diff != "" || x.Len() != 2 {
		t.Errorf("%d positions; %s", x.Len(), diff)
	}
}

// FuzzRecord: what is parsed is written as it was, but for what is not known.
func FuzzRecord(f *testing.F) {
	for _, line := range []string{
		"SET 5 0a t c 70.11 1000 ttl=60000 as=w hold=2000 by=me note=x", "SET 1 0 t c 0.0 0 ttl=- as=- hold=- by=- note=-",
		"FORGET 3 0a c", "SNAPSHOT 3 9", "SNAPSHOT -1 9", "SET 1 0 t c 0 0", "SET 1 0 t c 0.0 0 ttl=x", "",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseRecord(line)
		if err != nil {
			return
		}
		var again []byte
		switch r.kind {
		case "SET":
			again = appendSet(nil, &r.p)
		case "FORGET":
			again = appendForget(nil, r.version, r.p.Key)
		case "SNAPSHOT":
			again = appendSnapshot(nil, int(r.count), r.version)
		}
		r2, err := parseRecord(again)
		if err != nil || r2 != r {
			t.Fatalf("%q is written %q: %+v, %+v, %v", line, again, r, r2, err)
		}
		x := NewTable()
		x.Apply([][]byte{line, bytes.Clone(line)}, 0)
	})
}
