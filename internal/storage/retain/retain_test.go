package retain

import (
	"math"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/topic"
)

// at returns a time in ms, so many hours after the beginning of the tests'.
func at(hours float64) int64 { return 1_000_000_000_000 + int64(hours*3_600_000) }

// part is a partition of a test.
type part struct {
	base               int64
	last               int64
	first              int64
	changed            int64 // 0: can't be told
	adopted            bool
	doubted            time.Duration
	mayAsk, mayDoubted bool
}

// log makes a View of partitions, the last of which is an empty head unless it
// has a time.
type log struct {
	t     *testing.T
	parts []part
}

func (l *log) First(i int) int64 { return l.parts[i].first }

func (l *log) Changed(i int) (int64, bool) {
	if !l.parts[i].mayAsk {
		l.t.Errorf("the file of partition %d is looked at", i)
	}
	return l.parts[i].changed, l.parts[i].changed != 0
}

func (l *log) Doubted(i int) time.Duration {
	if !l.parts[i].mayDoubted {
		l.t.Errorf("partition %d is in doubt", i)
	}
	return l.parts[i].doubted
}

// view has created the topic at hour 0, and the clock at hour 10.
func view(t *testing.T, parts ...part) *View {
	v := &View{Next: 1000, Readable: 1000, Now: at(10), Created: at(0), Traces: &log{t, parts}}
	for _, p := range parts {
		v.Partitions = append(v.Partitions, Partition{Base: p.base, Last: p.last, Adopted: p.adopted})
	}
	return v
}

// young are four partitions of an hour each, all of which the log knows.
func young() []part {
	return []part{
		{base: 0, first: at(5), last: at(6), changed: at(6), mayAsk: true},
		{base: 300, first: at(6), last: at(7), changed: at(7), mayAsk: true},
		{base: 600, first: at(7), last: at(8), changed: at(8), mayAsk: true},
		{base: 900},
	}
}

func TestDecision(t *testing.T) {
	hours := func(n float64) time.Duration { return time.Duration(n * float64(time.Hour)) }
	for _, test := range []struct {
		name   string
		limits topic.Limits
		change func(v *View)
		want   int
		why    topic.Reason
		oldest int64
	}{
		{"no limits", topic.Limits{}, nil, 0, 0, 0},
		{"as many as there may be", topic.Limits{Partitions: 4, Bytes: 1000, Age: hours(4)}, nil, 0, 0, 0},
		{"a partition too many", topic.Limits{Partitions: 3}, nil, 1, topic.ByPartitions, 300},
		{"the head alone may stay", topic.Limits{Partitions: 1}, nil, 3, topic.ByPartitions, 900},
		{"never the head", topic.Limits{Partitions: 1, Bytes: 1, Age: 1}, nil, 3, topic.ByPartitions, 900},
		{"a byte too many", topic.Limits{Bytes: 999}, nil, 1, topic.ByBytes, 300},
		{"bytes of two", topic.Limits{Bytes: 699}, nil, 2, topic.ByBytes, 600},
		{"a moment too old", topic.Limits{Age: hours(4) - time.Millisecond}, nil, 1, topic.ByAge, 300},
		{"all too old", topic.Limits{Age: hours(1)}, nil, 3, topic.ByAge, 900},
		{"too old, and the clock is in doubt", topic.Limits{Age: hours(1)}, func(v *View) { v.Unsure = true }, 0, 0, 0},
		{"too large, and the clock is in doubt", topic.Limits{Age: hours(1), Bytes: 699}, func(v *View) { v.Unsure = true }, 2, topic.ByBytes, 600},
		{"not readable", topic.Limits{Partitions: 1}, func(v *View) { v.Readable = 899 }, 3, topic.ByPartitions, 600},
		{"nothing is readable", topic.Limits{Partitions: 1}, func(v *View) { v.Readable = 0 }, 3, topic.ByPartitions, 0},
		{"as many as there can be", topic.Limits{Partitions: math.MaxInt64, Bytes: math.MaxInt64, Age: math.MaxInt64}, nil, 0, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := view(t, young()...)
			if test.change != nil {
				test.change(v)
			}
			n := v.Expired(test.limits)
			if oldest := v.Oldest(n); n != test.want || oldest != test.oldest {
				t.Errorf("%d are expired, the log begins at %d; want %d, %d", n, oldest, test.want, test.oldest)
			}
			if why := v.Reason(0, test.limits); why != test.why {
				t.Errorf("the oldest goes by %v, want %v", why, test.why)
			}
		})
	}
}

func TestHeadExpired(t *testing.T) {
	for age, want := range map[time.Duration]bool{0: false, time.Hour: true, 2 * time.Hour: false} {
		for _, unsure := range []bool{false, true} {
			v := view(t, part{last: at(8), changed: at(8), mayAsk: true})
			v.Unsure = unsure
			if got := v.HeadExpired(topic.Limits{Age: age, Partitions: 1, Bytes: 1}); got != (want && !unsure) {
				t.Errorf("age %v, clock in doubt %v: %v", age, unsure, got)
			}
		}
	}
}

func TestForesee(t *testing.T) {
	v := view(t, young()...)
	limits := topic.Limits{Partitions: 5, Bytes: 2000, Age: 24 * time.Hour}
	for i, want := range []struct {
		partitions int
		bytes      int64
	}{{2, 1001}, {3, 1301}, {4, 1601}, {5, 0}} {
		partitions, bytes, when := v.Foresee(i, at(6), limits)
		if partitions != want.partitions || bytes != want.bytes || when.UnixMilli() != at(30) {
			t.Errorf("partition %d: %d, %d, %v", i, partitions, bytes, when)
		}
	}
	if partitions, bytes, when := v.Foresee(0, at(6), topic.Limits{}); partitions != 0 || bytes != 0 || !when.IsZero() {
		t.Errorf("without limits: %d, %d, %v", partitions, bytes, when)
	}
	if _, _, when := v.Foresee(3, 0, limits); !when.IsZero() {
		t.Errorf("a head without a batch goes at %v", when)
	}
}

// TestNewest has each rule by which the age of a partition is told, and what
// tells for it that the next one is not asked for.
func TestNewest(t *testing.T) {
	const doubted = 2 * time.Hour
	old := part{base: 0, last: at(5), first: at(4)}
	for _, test := range []struct {
		name string
		p    part
		next int64 // when the partition behind it began
		want int64
	}{
		{"recorded", part{last: at(6), changed: at(6)}, 0, at(6)},
		{"recorded, and the file was touched since", part{last: at(6), changed: at(9)}, 0, at(6)},
		{"recorded, and the file is a moment older", part{last: at(6), changed: at(6) - Slack}, 0, at(6)},
		{"ahead of the clock", part{last: at(11), changed: at(7)}, 0, at(7)},
		{"before what was stored before", part{last: at(4), changed: at(7)}, 0, at(7)},
		{"not known", part{changed: at(7)}, 0, at(7)},
		{"the file contradicts what is recorded", part{last: at(8), changed: at(7)}, at(9), at(9)},
		{"both ahead, and a later one began", part{last: at(11), changed: at(11)}, at(9), at(9)},
		{"both ahead, and the later one began so, too", part{last: at(11), changed: at(11), mayDoubted: true, doubted: doubted}, at(11), at(8)},
		{"nothing tells", part{mayDoubted: true, doubted: doubted}, 0, at(8)},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.p.base, test.p.mayAsk = 300, true
			v := view(t, old, test.p, part{base: 900, first: test.next})
			if got := v.Newest(1); got != test.want {
				t.Errorf("stored at hour %v, want %v", float64(got-at(0))/3_600_000, float64(test.want-at(0))/3_600_000)
			}
		})
	}
	t.Run("adopted", func(t *testing.T) {
		// Its file has a time before the first start.
		v := view(t, part{changed: at(-1000), mayAsk: true, adopted: true}, part{base: 900})
		if got := v.Newest(0); got != at(0) {
			t.Errorf("%d", got)
		}
	})
	t.Run("removed", func(t *testing.T) {
		// What went before it bounds how old it is.
		v := view(t, part{last: at(4), changed: at(4), mayAsk: true, mayDoubted: true}, part{base: 900})
		v.Removed = at(5)
		if got := v.Newest(0); got != at(10) {
			t.Errorf("%d", got)
		}
	})
}

// The file system is not asked where what is recorded says that nothing is old.
func TestFilesAreLeftAlone(t *testing.T) {
	parts := young()
	for i := range parts {
		parts[i].mayAsk = false
	}
	parts[3].last = at(10) + Slack // appended since the clock was asked
	v, limits := view(t, parts...), topic.Limits{Age: 4 * time.Hour}
	if n := v.Expired(limits); n != 0 || v.HeadExpired(limits) {
		t.Errorf("%d are expired, the head %v", n, v.HeadExpired(limits))
	}
}

func TestStoredBefore(t *testing.T) {
	parts := []part{
		{base: 0, first: at(3), last: at(1000)}, // written while the clock was ahead
		{base: 300, first: at(1000), last: at(1001)},
		{base: 600, first: at(6), last: at(8)},
		{base: 900},
	}
	v := view(t, parts...)
	if got := v.StoredBefore(0, at(500)); got != at(6) {
		t.Errorf("stored before %d, want %d", got, at(6))
	}
	if got := v.StoredBefore(2, at(500)); got != math.MaxInt64 {
		t.Errorf("nothing follows, and it was stored before %d", got)
	}
	v.Created = at(20) // so the clock is behind
	if got := v.StoredBefore(0, at(500)); got != math.MaxInt64 {
		t.Errorf("the clock is behind, and it was stored before %d", got)
	}
}

func TestSensible(t *testing.T) {
	v := view(t, part{base: 0, first: at(5), changed: at(6), mayAsk: true}, part{base: 900})
	for _, test := range []struct{ first, last, wantFirst, wantLast int64 }{
		{at(5), at(6), at(5), at(6)},
		{at(5), at(20), at(5), at(6)},
		{at(20), at(21), at(5), at(6)},
	} {
		if first, last := v.Sensible(test.first, test.last, 0); first != test.wantFirst || last != test.wantLast {
			t.Errorf("%+v: %d, %d", test, first, last)
		}
	}
	if _, last := v.Sensible(at(5), at(20), -1); last != at(20) {
		t.Errorf("no partition has a batch: %d", last)
	}
}

func TestClockWatch(t *testing.T) {
	steady := time.Now()
	w := NewClockWatch(steady, at(0))
	// Each line: an hour of the steady clock, what the clock says, how far ahead it
	// is taken to be.
	for _, test := range []struct {
		name        string
		hour, clock float64
		ahead       int64
	}{
		{"right", 1, 1, 0},
		{"less than in doubt", 2, 16, 0},
		{"right again", 3, 3, 0},
		{"behind", 4, -100, 0},
		{"a year ahead, and more of where it was", 5, 5 + 365*24, 365*24 + 104},
		{"still", 5.5, 5.5 + 365*24, 365*24 + 104},
		{"set back", 5.75, 5.75, 0},
		{"ahead once more", 6, 6 + 100, 100},
		{"further ahead", 6.75, 6.75 + 200, 200},
		{"not long enough so", 7.5, 7.5 + 200, 200},
		{"believed", 7.75, 7.75 + 200, 0},
		{"and so from then on", 8, 8 + 200, 0},
		{"set right after that", 9, 9, 0},
		{"and believed", 10, 10, 0},
		{"ahead of that", 11, 11 + 250, 250},
		{"believed once more", 12, 12 + 250, 0},
		{"behind", 12.5, 12.5, 0},
		{"ahead again, and not so far as it was", 12.75, 12.75 + 200, 200},
	} {
		got := w.Look(steady.Add(time.Duration(test.hour*float64(time.Hour))), at(test.clock))
		if want := test.ahead * 3_600_000; got != want {
			t.Errorf("%s: %v hours ahead, want %v", test.name, float64(got)/3_600_000, test.ahead)
		}
	}
}

// TestUpTo: what is begun after a decision, and what is not readable, stays.
func TestUpTo(t *testing.T) {
	v := view(t, part{base: 0}, part{base: 100}, part{base: 200}, part{base: 300})
	for _, c := range []struct{ base, readable, want int64 }{
		{0, 1000, 0}, {200, 1000, 200}, {300, 1000, 300}, {200, 200, 200}, {300, 250, 200}, {200, 50, 0},
	} {
		if v.Readable = c.readable; v.UpTo(c.base) != c.want {
			t.Errorf("up to %d, readable up to %d: %d, want %d", c.base, c.readable, v.UpTo(c.base), c.want)
		}
	}
}
