package identity

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// text is n bytes that tell where they stand, and of what.
func text(of string, n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%s %d\n", of, b.Len())
	}
	return b.String()[:n]
}

// record is what is known of a file of which so much was seen, and read up to the
// position; the batch before ended at last.
func record(t *testing.T, path string, inode uint64, content string, position, last int64) Record {
	t.Helper()
	r := strings.NewReader(content)
	n := min(PrefixMost, int64(len(content)))
	f := &feed.File{Path: path, Device: 1, Inode: inode, Position: position, Size: int64(len(content)), PrefixLen: n}
	var err error
	if f.Prefix, err = Prefix(r, n); err != nil {
		t.Fatal(err)
	}
	for i, at := range []int64{position, last} {
		if f.Anchors[i], err = Anchor(r, at); err != nil {
			t.Fatal(err)
		}
	}
	return Record{File: f, First: 1}
}

func candidate(path string, inode uint64, content string) Candidate {
	return Candidate{Path: path, Device: 1, Inode: inode, Size: int64(len(content)), Content: strings.NewReader(content), First: 2}
}

func TestDecide(t *testing.T) {
	const here, there = "/log/a", "/log/a.1"
	old := text("old", 5000)
	other := text("new", 5000)
	// The same first 1024 bytes, as a header makes them; then all is different.
	header := old[:PrefixMost] + text("new", 5000)
	rec := func(t *testing.T, s State) []Record {
		r := record(t, here, 7, old, 4000, 3000)
		r.State = s
		return []Record{r}
	}
	small := func(t *testing.T, s State) []Record {
		r := record(t, here, 7, old[:500], 500, 200)
		r.State = s
		return []Record{r}
	}
	unread := func(t *testing.T, s State) []Record {
		r := record(t, here, 7, old[:500], 0, 0)
		r.State = s
		return []Record{r}
	}
	// What a program without O_APPEND makes of a file that is truncated.
	nuls := strings.Repeat("\x00", 2000)
	blank := func(t *testing.T, s State) []Record {
		r := record(t, here, 7, nuls+old, 0, 0)
		r.State = s
		var err error
		if r.Text, err = Anchor(strings.NewReader(nuls+old), 2100); err != nil {
			t.Fatal(err)
		}
		return []Record{r}
	}
	recent := func(t *testing.T, s State) []Record {
		r := rec(t, s)
		r[0].Recent = []byte(old[3500:4000])
		return r
	}
	settled := func(c Candidate) Candidate {
		c.Waited, c.Settled = true, true
		return c
	}
	type state = func(*testing.T, State) []Record
	for _, test := range []struct {
		name    string
		c       Candidate
		records state
		state   State
		rule    Rule
		from    int64
		isNew   bool // it is none of the records
		copyOf  int
	}{
		{"a: the same", candidate(here, 7, old), rec, Intact, RuleSame, 4000, false, -1},
		{"a: grown", candidate(here, 7, old+other), rec, Intact, RuleSame, 4000, false, -1},
		{"a: renamed", candidate(there, 7, old), rec, Intact, RuleSame, 4000, false, -1},
		{"a: cut back, but not so far", candidate(here, 7, old[:4500]), rec, Intact, RuleSame, 4000, false, -1},
		{"a: the very same bytes written anew are not seen", candidate(here, 7, old[:4000]+other), rec, Intact, RuleSame, 4000, false, -1},
		{"a: small", candidate(here, 7, old), small, Intact, RuleSame, 500, false, -1},
		{"a: nothing was read yet", candidate(here, 7, old), func(t *testing.T, s State) []Record {
			return []Record{record(t, here, 7, old[:100], 0, 0)}
		}, Intact, RuleSame, 0, false, -1},
		{"b: cut back to behind the last batch", candidate(here, 7, old[:3500]), rec, Intact, RuleCut, 3000, false, -1},
		{"b: cut back further", candidate(here, 7, old[:2000]), rec, Intact, RuleCut, 0, false, -1},
		{"b: cut back, and then other text", candidate(here, 7, old[:1200]+other[:2000]), rec, Intact, RuleCut, 0, false, -1},
		{"c: the inode is used again", candidate(here, 7, other), rec, Intact, RuleOther, 0, true, -1},
		{"c: the same header", candidate(here, 7, header), rec, Intact, RuleOther, 0, true, -1},
		{"c: cut back below the prefix", candidate(here, 7, old[:1000]), rec, Intact, RuleOther, 0, true, -1},
		{"c: empty", candidate(here, 7, ""), rec, Intact, RuleOther, 0, true, -1},
		{"c: small", candidate(here, 7, other), small, Intact, RuleOther, 0, true, -1},
		{"d: saved by an editor", candidate(here, 8, old+other), rec, Gone, RuleSaved, 4000, false, -1},
		{"d: another text", candidate(here, 8, other), rec, Gone, RuleNew, 0, true, -1},
		{"d: the same header", candidate(here, 8, header), rec, Gone, RuleNew, 0, true, -1},
		{"d: shorter than the position", candidate(here, 8, old[:3000]), rec, Gone, RuleNew, 0, true, -1},
		{"d: a small one is sent again whole", candidate(here, 8, old), small, Gone, RuleNew, 0, true, -1},
		{"d: moved away and copied back", candidate(here, 8, old), rec, Intact, RuleWaiting, 0, true, 0},
		{"e: a copy, and the file is truncated", candidate(there, 8, old), rec, Truncated, RuleCopy, 4000, false, -1},
		{"e: a copy of a small file", candidate(there, 8, old[:500]), small, Truncated, RuleCopy, 500, false, -1},
		{"e: a copy of what was truncated before any of it was read", candidate(there, 8, old), unread, Truncated, RuleCopy, 0, false, -1},
		{"e: a copy of what nothing was read of, and it is there", candidate(there, 8, old), unread, Intact, RuleWaiting, 0, true, 0},
		{"e: a copy of less than was seen before any of it was read", candidate(there, 8, old[:500]), func(t *testing.T, s State) []Record {
			r := unread(t, s)
			r[0].Size = 600
			return r
		}, Truncated, RuleWaiting, 0, true, 0},
		{"e: moved from elsewhere", candidate(there, 8, old), rec, Gone, RuleCopy, 4000, false, -1},
		{"e: a small one that is gone is a new one", candidate(there, 8, old[:500]), small, Gone, RuleNew, 0, true, -1},
		{"e: a copy, and the file is there", candidate(there, 8, old), rec, Intact, RuleWaiting, 0, true, 0},
		{"e: a copy that is being made", candidate(there, 8, old[:2000]), rec, Truncated, RuleWaiting, 0, true, 0},
		{"e: a copy that ends within what was read last", candidate(there, 8, old[:3800]), recent, Truncated, RuleNew, 3800, true, 0},
		{"e: another text that ends there", candidate(there, 8, old[:1200]+other[:2600]), recent, Truncated, RuleWaiting, 0, true, 0},
		{"e: a copy that ends before, but has the end of the last batch", candidate(there, 8, old[:3400]), recent, Truncated, RuleNew, 3000, true, 0},
		{"e: a copy that ends before that", candidate(there, 8, old[:2500]), recent, Truncated, RuleWaiting, 0, true, 0},
		{"e: a copy that ends within what was read last, and the file is there", candidate(there, 8, old[:3800]), recent, Intact, RuleWaiting, 0, true, 0},
		{"f: waited in vain", settled(candidate(there, 8, old)), rec, Intact, RuleNew, 0, true, 0},
		{"f: waited in vain for the rest", settled(candidate(there, 8, old[:2000])), rec, Truncated, RuleNew, 0, true, 0},
		{"f: another text", candidate(there, 8, other), rec, Truncated, RuleNew, 0, true, -1},
		{"f: the same header", candidate(there, 8, header), rec, Truncated, RuleNew, 0, true, -1},
		{"f: seen by the same look", func() Candidate {
			c := candidate(there, 8, old)
			c.First = 1
			return c
		}(), rec, Truncated, RuleNew, 0, true, -1},
		{"a: text behind NULs", candidate(here, 7, nuls+old+other), blank, Intact, RuleSame, 0, false, -1},
		{"c: other text behind NULs", candidate(here, 7, nuls+other), blank, Intact, RuleOther, 0, true, -1},
		{"c: text behind more NULs", candidate(here, 7, nuls+nuls+old), blank, Intact, RuleOther, 0, true, -1},
		{"e: a copy of text behind NULs", candidate(there, 8, nuls+old), blank, Truncated, RuleCopy, 0, false, -1},
		{"e: a copy that has only the NULs yet", candidate(there, 8, nuls), blank, Intact, RuleWaiting, 0, true, 0},
		{"f: other text behind NULs in another file", candidate(there, 8, nuls+other), blank, Truncated, RuleNew, 0, true, -1},
		{"a: one that was gone is there again", candidate(there, 7, old), rec, Gone, RuleSame, 4000, false, -1},
		{"f: the inode of one that was gone is used again", candidate(there, 7, other), rec, Gone, RuleNew, 0, true, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			records := test.records(t, test.state)
			d, err := Decide(test.c, records, true)
			if err != nil {
				t.Fatal(err)
			}
			if d.Rule != test.rule || d.From != test.from || (d.Record < 0) != test.isNew || d.CopyOf != test.copyOf {
				t.Errorf("got %+v, want rule %q from %d", d, test.rule, test.from)
			}
			if replaced := d.Rule == RuleCut || d.Rule == RuleOther; (d.Replaced >= 0) != replaced {
				t.Errorf("got %+v, replaced should be %v", d, replaced)
			}
			// Without copies, all that are not by the same inode are new.
			d, err = Decide(test.c, records, false)
			if err != nil {
				t.Fatal(err)
			}
			want := test.rule
			if want == RuleSaved || want == RuleCopy || want == RuleWaiting {
				want = RuleNew
			}
			if d.Rule != want {
				t.Errorf("without copies: %+v, want rule %q", d, want)
			}
		})
	}
}

// While a file is there, what it holds tells whether another one is a copy of it, also if
// nothing was read of it yet. A copy that grows is waited for; another file that grows is
// not, but for so long.
func TestCopyOfAnIntactFile(t *testing.T) {
	old, other := text("old", 5000), text("new", 5000)
	for _, test := range []struct {
		name               string
		content, candidate string
		unread             bool
		waiting, waited    bool // it is not decided: at once, and after a while in which it grew
		copied             int64
		unknown            bool // the file is not open
		isNoCopy           bool
	}{
		{name: "a copy", content: old, candidate: old, waiting: true, waited: true, copied: 5000},
		{name: "a copy, and the file has grown", content: old + other, candidate: old, waiting: true, waited: true, copied: 5000},
		{name: "other text behind the position", content: old, candidate: old[:4000] + other, waiting: true, copied: 4000},
		{name: "copied back, and grown", content: old, candidate: old + other, waiting: true, copied: 4000},
		{name: "the file is not open", unknown: true, candidate: old, waiting: true, copied: 4000},
		{name: "a copy of an unread file", content: old, candidate: old, unread: true, waiting: true, waited: true, copied: 5000},
		{name: "a copy that is being made of an unread file", content: old, candidate: old[:2000], unread: true, waiting: true, waited: true, copied: 2000},
		{name: "a header that two files have", content: old, candidate: old[:2000] + other, unread: true, isNoCopy: true},
		{name: "one that is longer than the unread file", content: old, candidate: old + other, unread: true, isNoCopy: true},
		{name: "the unread file was truncated just now", content: other, candidate: old, unread: true, waiting: true},
		{name: "the unread file is not open", unknown: true, candidate: old, unread: true, waiting: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := record(t, "/log/a", 7, old, 4000, 3000)
			if test.unread {
				r = record(t, "/log/a", 7, old, 0, 0)
			}
			if !test.unknown {
				r.Content = strings.NewReader(test.content)
			}
			for _, step := range []struct{ waited, settled, want bool }{{false, false, test.waiting}, {true, false, test.waited}, {true, true, false}} {
				c := candidate("/log/a.1", 8, test.candidate)
				c.Waited, c.Settled = step.waited, step.settled
				d, err := Decide(c, []Record{r}, true)
				if err != nil {
					t.Fatal(err)
				}
				if wait := d.Rule == RuleWaiting; wait != step.want || !wait && d.Rule != RuleNew {
					t.Errorf("waited %v, settled %v: %+v", step.waited, step.settled, d)
				}
				if d.Copied != test.copied || (d.CopyOf < 0) != test.isNoCopy {
					t.Errorf("%+v, want a copy up to %d: %v", d, test.copied, !test.isNoCopy)
				}
			}
		})
	}
}

// Files that changed their inodes among each other, as restoring them does, are known by
// their content.
func TestInodesThatChangedPlaces(t *testing.T) {
	a, b := text("a", 3000), text("b", 3000)
	ra, rb := record(t, "/log/a", 7, a, 2500, 2000), record(t, "/log/b", 8, b, 2800, 2000)
	ra.State, rb.State = Truncated, Truncated
	d, err := Decide(candidate("/log/a", 8, a), []Record{ra, rb}, true)
	if err != nil || d.Rule != RuleSaved || d.Record != 0 || d.Replaced != 1 || d.From != 2500 {
		t.Errorf("%+v, %v", d, err)
	}
}

// Of several that a copy could be of, it is that which was read furthest.
func TestCopyOfSeveral(t *testing.T) {
	a := text("a", 3000)
	r1, r2, r3 := record(t, "/log/a", 7, a, 2000, 1500), record(t, "/log/b", 8, a, 2500, 2000), record(t, "/log/c", 9, a, 1800, 1500)
	r1.State, r2.State, r3.State = Truncated, Gone, Truncated
	d, err := Decide(candidate("/log/x", 10, a), []Record{r1, r2, r3}, true)
	if err != nil || d.Record != 1 {
		t.Errorf("%+v, %v", d, err)
	}
}

type broken struct{ err error }

func (b broken) ReadAt([]byte, int64) (int, error) { return 0, b.err }

// What can't be read is no other file: the error comes out, and nothing is decided.
func TestReadErrorDecidesNothing(t *testing.T) {
	bad := errors.New("bad")
	for _, c := range []Candidate{candidate("/log/a", 7, ""), candidate("/log/a", 8, ""), candidate("/log/b", 8, "")} {
		c.Content = broken{bad}
		r := record(t, "/log/a", 7, text("a", 3000), 2000, 1500)
		r.State = Truncated
		if _, err := Decide(c, []Record{r}, true); !errors.Is(err, bad) {
			t.Errorf("%s %d: error %v", c.Path, c.Inode, err)
		}
	}
	if _, err := Prefix(strings.NewReader("abc"), 4); err != io.ErrUnexpectedEOF {
		t.Errorf("prefix of a short file: %v", err)
	}
}
