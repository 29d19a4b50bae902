package diagnose

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

func wireOf(topic, body string) string {
	var b batch.Builder
	b.Add([]byte(body))
	return string(b.Finish(topic))
}

func scanner(file string) *scan.Scanner {
	return &scan.Scanner{File: strings.NewReader(file), Size: int64(len(file)), Topic: "t"}
}

func TestTorn(t *testing.T) {
	whole, foreign := wireOf("t", "whole"), wireOf("u", "foreign")
	end := int64(len(whole))
	for name, test := range map[string]struct {
		tail   string
		synced int64
		want   bool
	}{
		"half a batch":                     {whole[:10], end, true},
		"zeros":                            {"\x00\x00", 0, true},
		"before the mark":                  {whole[:10], end + 1, false},
		"a batch of another topic":         {foreign, 0, false},
		"half a batch of another topic":    {foreign[:len(foreign)-1], 0, true},
		"a damaged batch of another topic": {strings.Replace(foreign, "foreign", "Foreign", 1), 0, true},
	} {
		d := &Log{Journal: &journal.State{Synced: test.synced}, Parts: []layout.Range{{From: 0, To: end + int64(len(test.tail))}}}
		if torn, err := d.Torn(scanner(whole+test.tail), 0, end); err != nil || torn != test.want {
			t.Errorf("%s: %v, %v", name, torn, err)
		}
	}
}

// log returns a Log with partitions that begin and end at the offsets.
func log(state journal.State, offsets ...int64) *Log {
	d := &Log{Journal: &state}
	for i := 0; i+1 < len(offsets); i += 2 {
		d.Parts = append(d.Parts, layout.Range{From: offsets[i], To: offsets[i+1]})
	}
	return d
}

func TestTornIsOfTheHead(t *testing.T) {
	torn := wireOf("t", "whole")[:10]
	d := log(journal.NewState(), 0, 10, 10, 20)
	for base, want := range map[int64]bool{0: false, 10: true} {
		if is, err := d.Torn(scanner(torn), base, 0); err != nil || is != want {
			t.Errorf("at the end of the partition at %d: %v, %v", base, is, err)
		}
	}
	// Nothing is known of what is older than the journal, and all of it may be torn.
	d = log(journal.State{Synced: 20}, 0, 10, 10, 20)
	for _, d.Adopted = range []bool{false, true} {
		if is, err := d.Torn(scanner(torn), 10, 0); err != nil || is != d.Adopted {
			t.Errorf("before the mark, without a journal %v: %v, %v", d.Adopted, is, err)
		}
	}
}

func TestUnfinished(t *testing.T) {
	trimmed := func(oldest int64) journal.State {
		s := journal.NewState()
		s.Trimmed.Oldest = oldest
		return s
	}
	for _, test := range []struct {
		oldest int64
		parts  []int64
		want   int
	}{
		{0, []int64{0, 10, 10, 20}, 0},
		{10, []int64{0, 10, 10, 20}, 1},
		{20, []int64{0, 10, 10, 20}, 2},
		{15, []int64{0, 10, 10, 20}, 1},
		{10, []int64{0, 12, 10, 20}, 1}, // it reaches into the next
		{10, []int64{0, 12}, 0},         // it has more than what was removed
		{10, nil, 0},
	} {
		if n := log(trimmed(test.oldest), test.parts...).Trimmed(); n != test.want {
			t.Errorf("oldest %d of %v: %d are removed, want %d", test.oldest, test.parts, n, test.want)
		}
	}
	for _, test := range []struct {
		oldest, cut        int64
		parts              []int64
		keep               int
		shorten, announced bool
	}{
		{0, -1, []int64{0, 10, 10, 20}, 2, false, false},
		{0, 15, []int64{0, 10, 10, 20}, 2, true, true},
		{0, 10, []int64{0, 10, 10, 20}, 2, true, true},
		{0, 9, []int64{0, 10, 10, 20}, 1, true, true},
		{0, 20, []int64{0, 10, 10, 20}, 2, false, true},
		{0, 0, []int64{0, 10, 10, 20}, 1, true, true}, // a partition stays, if an empty one
		// The log is being emptied: it begins where it is cut off.
		{0, 0, []int64{5, 10, 10, 20}, 0, false, true},
		{7, 7, []int64{5, 10, 10, 20}, 0, false, true},
		{7, 7, []int64{7, 10, 10, 20}, 1, true, true},
		{0, 0, nil, 0, false, true},
	} {
		state := journal.NewState()
		state.Cut, state.Trimmed.Oldest = test.cut, test.oldest
		keep, shorten, announced := log(state, test.parts...).Cut()
		if keep != test.keep || shorten != test.shorten || announced != test.announced {
			t.Errorf("cut at %d of %v: keep %d, shorten %v, announced %v", test.cut, test.parts, keep, shorten, announced)
		}
	}
}

func TestGone(t *testing.T) {
	state := journal.NewState()
	state.Trimmed.Oldest = 10
	for _, base := range []int64{0, 10, 20, 30} {
		state.Ends[base] = journal.PartitionEnd{End: base + 10}
	}
	if gone := log(state, 30, 40).Gone(); fmt.Sprint(gone) != "[{10 20} {20 30}]" {
		t.Errorf("gone are %v", gone)
	}
	if gone := log(state, 10, 20, 30, 40).Gone(); gone != nil { // that is a gap
		t.Errorf("gone are %v", gone)
	}
	for want, at := range map[Joint][2]int64{Joined: {10, 10}, Overlap: {12, 10}, Gap: {10, 12}} {
		if joint, r := Between(at[0], at[1]); joint != want || r.To-r.From != max(at[0], at[1])-min(at[0], at[1]) {
			t.Errorf("between %v: %v %v", at, joint, r)
		}
	}
}

func TestInDoubt(t *testing.T) {
	for _, test := range []struct {
		synced int64
		parts  []int64
		want   bool
	}{
		{0, []int64{0, 10}, false}, // there is no partition before
		{9, []int64{0, 10, 10, 20}, true},
		{10, []int64{0, 10, 10, 20}, false},
	} {
		if is := log(journal.State{Synced: test.synced}, test.parts...).InDoubt(); is != test.want {
			t.Errorf("synced %d of %v: %v", test.synced, test.parts, is)
		}
	}
}

func TestGoesOn(t *testing.T) {
	for name, test := range map[string]struct {
		parts   []int64
		damaged []layout.Range
		next    int64
		begins  bool
	}{
		"at the end":                   {[]int64{0, 10, 10, 20}, nil, 20, false},
		"behind damage, in the middle": {[]int64{0, 10, 10, 20}, []layout.Range{{From: 5, To: 15}}, 20, false},
		"behind damage at the end":     {[]int64{0, 10, 10, 20}, []layout.Range{{From: 15, To: 20}}, 20, true},
		"behind what is missing":       {[]int64{0, 10, 10, 20}, []layout.Range{{From: 5, To: 6}, {From: 20, To: 25}}, 25, true},
		"in an empty head":             {[]int64{0, 10, 10, 10}, []layout.Range{{From: 5, To: 10}}, 10, false},
		"without partitions":           {nil, nil, 40, true},
	} {
		state := journal.NewState()
		state.Synced, state.Trimmed.Oldest, state.Ends[30] = 20, 10, journal.PartitionEnd{End: 40}
		if next, begins := log(state, test.parts...).GoesOn(test.damaged); next != test.next || begins != test.begins {
			t.Errorf("%s: %d, %v", name, next, begins)
		}
	}
	if r := log(journal.State{Synced: 25}, 0, 20).Missing(); r != (layout.Range{From: 20, To: 25}) {
		t.Errorf("missing is %v", r)
	}
	if r := log(journal.State{Synced: 15}, 0, 20).Missing(); r.From < r.To {
		t.Errorf("missing is %v", r)
	}
}

func TestAlive(t *testing.T) {
	whole, foreign := wireOf("t", "whole"), wireOf("u", "foreign")
	for name, test := range map[string]struct {
		file string
		want bool
	}{
		"a batch":                         {whole, true},
		"a batch behind damage":           {"damage" + whole, true},
		"half a batch":                    {whole[:10], false},
		"a batch of another topic":        {foreign, true},
		"a batch of another topic, later": {"damage" + foreign, false},
	} {
		if alive, err := Alive(scanner(test.file)); err != nil || alive != test.want {
			t.Errorf("%s: %v, %v", name, alive, err)
		}
	}
}

func TestContentsOf(t *testing.T) {
	known := journal.NewState()
	known.Synced = 70
	for name, test := range map[string]struct {
		files map[string]string
		want  Contents
	}{
		"nothing":                    {nil, HalfMade},
		"a partition":                {map[string]string{"0.log": ""}, Topic},
		"a journal that knows":       {map[string]string{"journal": string(known.Encode())}, Topic},
		"a journal that was begun":   {map[string]string{"journal": "logd-"}, HalfMade},
		"a damaged journal, aside":   {map[string]string{"journal.damaged": "x"}, Topic},
		"somebody's file":            {map[string]string{"notes": "x", "journal": ""}, Foreign},
		"an index without its topic": {map[string]string{"0.idx": ""}, Foreign},
	} {
		disk := vfstest.New()
		if err := disk.Mkdir("t", 0o700); err != nil {
			t.Fatal(err)
		}
		for file, content := range test.files {
			if err := disk.WriteFile("t/"+file, []byte(content)); err != nil {
				t.Fatal(err)
			}
		}
		if found, err := ContentsOf(disk, "t"); err != nil || found != test.want {
			t.Errorf("%s: %v, %v", name, fmt.Sprint(found), err)
		}
	}
	if _, err := ContentsOf(vfstest.New(), "t"); err == nil || errors.Is(err, layout.ErrLinked) {
		t.Errorf("no folder: %v", err)
	}
}
