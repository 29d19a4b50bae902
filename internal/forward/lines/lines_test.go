package lines

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// show writes pieces as text: a message in quotes, a hole as its range, parts with their
// number and * at the last.
func show(pieces []Piece) string {
	var b strings.Builder
	for _, p := range pieces {
		switch {
		case p.TooLong:
			fmt.Fprintf(&b, "hole[%d,%d) ", p.From, p.To)
		case p.Part > 0:
			fmt.Fprintf(&b, "%d", p.Part)
			if p.Last {
				b.WriteByte('*')
			}
			fallthrough
		default:
			fmt.Fprintf(&b, "%q[%d,%d) ", p.Body, p.From, p.To)
		}
	}
	return strings.TrimSpace(b.String())
}

// collect returns the pieces of a text that comes in pieces of the given sizes, the last
// of which goes on.
func collect(t testing.TB, set Settings, text string, sizes func() int) []Piece {
	t.Helper()
	s := Stream{Splitter: Splitter{Settings: set}}
	var got []Piece
	yield := func(p Piece) error {
		p.Body = slices.Clone(p.Body)
		got = append(got, p)
		return nil
	}
	for rest := text; rest != ""; {
		n := min(sizes(), len(rest))
		if err := s.Write([]byte(rest[:n]), yield); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
		if s.Held() > set.Max+2 {
			t.Fatalf("%d bytes are held, the longest message is %d", s.Held(), set.Max)
		}
	}
	if err := s.End(yield); err != nil {
		t.Fatal(err)
	}
	if s.Held() != 0 {
		t.Fatalf("%d bytes are held behind the end", s.Held())
	}
	return got
}

func TestLines(t *testing.T) {
	for _, test := range []struct {
		name string
		set  Settings
		text string
		want string
	}{
		{"nothing", Settings{Max: 4}, "", ``},
		{"lines", Settings{Max: 4}, "a\nbc\n", `"a"[0,2) "bc"[2,5)`},
		{"an empty line is a message", Settings{Max: 4}, "\n\na\n", `""[0,1) ""[1,2) "a"[2,4)`},
		{"a last line without LF", Settings{Max: 4}, "a\nbc", `"a"[0,2) "bc"[2,4)`},
		{"a CR stays", Settings{Max: 4}, "a\r\n", `"a\r"[0,3)`},
		{"a CR is trimmed", Settings{Max: 4, TrimCR: true}, "a\r\n\r\nb\rc\n\r", `"a"[0,3) ""[3,5) "b\rc"[5,9) ""[9,10)`},
		{"bytes of any kind", Settings{Max: 9}, "\x00\xff\n", `"\x00\xff"[0,3)`},
		{"as long as may be", Settings{Max: 4}, "abcd\nefgh", `"abcd"[0,5) "efgh"[5,9)`},
		{"as long as may be with CR", Settings{Max: 4, TrimCR: true}, "abcd\r\nefgh\r", `"abcd"[0,6) "efgh"[6,11)`},
		{"split", Settings{Max: 4}, "abcdefghi\nj\n", `1"abcd"[0,4) 2"efgh"[4,8) 3*"i"[8,10) "j"[10,12)`},
		{"split in equal parts", Settings{Max: 4}, "abcdefgh\nabcdefgh", `1"abcd"[0,4) 2*"efgh"[4,9) 1"abcd"[9,13) 2*"efgh"[13,17)`},
		{"split before a CR", Settings{Max: 4}, "abcd\r\n", `1"abcd"[0,4) 2*"\r"[4,6)`},
		{"truncate", Settings{Max: 4, Long: Truncate}, "abcdefghij\nk\nabcde", `"abcd"[0,4) hole[4,11) "k"[11,13) "abcd"[13,17) hole[17,18)`},
		{"skip", Settings{Max: 4, Long: Skip}, "a\nabcdefghij\nk\nabcde", `"a"[0,2) hole[2,13) "k"[13,15) hole[15,20)`},
		{"NULs at the start", Settings{Max: 4, LeadingNULs: true}, "\x00\x00\x00\x00\x00\x00\x00a\x00b\n\x00\n", `"a\x00b"[7,11) "\x00"[11,13)`},
		{"NULs alone", Settings{Max: 4, LeadingNULs: true}, "\x00\x00\x00\x00\x00\x00\x00", ``},
		{"NULs as text", Settings{Max: 4}, "\x00\x00\x00\n", `"\x00\x00\x00"[0,4)`},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 5, 100} {
				if got := show(collect(t, test.set, test.text, func() int { return size })); got != test.want {
					t.Errorf("%d bytes at once:\n got %s\nwant %s", size, got, test.want)
				}
			}
		})
	}
}

// check returns what is wrong with the pieces of a text: everything but ends of lines must
// be in a message or in a hole, in order.
func check(set Settings, text string, pieces []Piece) error {
	at := int64(0)
	if set.LeadingNULs {
		at = int64(len(text) - len(strings.TrimLeft(text, "\x00")))
	}
	for i, p := range pieces {
		if p.From != at || p.To < p.From || p.To > int64(len(text)) {
			return fmt.Errorf("piece %d is [%d,%d), and the one before ends at %d", i, p.From, p.To, at)
		}
		at = p.To
		whole := text[p.From:p.To]
		if p.TooLong {
			if set.Long == Split {
				return fmt.Errorf("hole [%d,%d) where nothing may be lost", p.From, p.To)
			}
			continue
		}
		end := strings.TrimPrefix(whole, string(p.Body))
		if !strings.HasPrefix(whole, string(p.Body)) || end != "" && end != "\n" && !(set.TrimCR && (end == "\r" || end == "\r\n")) {
			return fmt.Errorf("message %q of [%d,%d), where %q stands", p.Body, p.From, p.To, whole)
		}
		if len(p.Body) > set.Max {
			return fmt.Errorf("message of %d bytes, the most is %d", len(p.Body), set.Max)
		}
		if bytes.ContainsRune(p.Body, '\n') {
			return fmt.Errorf("message %q has a LF", p.Body)
		}
	}
	if at != int64(len(text)) {
		return fmt.Errorf("the pieces end at %d of %d", at, len(text))
	}
	return nil
}

func randomText(r *rand.Rand) string {
	b := make([]byte, r.IntN(80))
	for i := range b {
		b[i] = "\n\n\r\x00abcdefgh"[r.IntN(12)]
	}
	return string(b)
}

func randomSettings(r *rand.Rand) Settings {
	return Settings{Max: 1 + r.IntN(9), Long: Long(r.IntN(3)), TrimCR: r.IntN(2) == 0, LeadingNULs: r.IntN(3) == 0}
}

// However the bytes come, the pieces are the same; and where any piece begins, the pieces
// go on the same, from the state before it and from what the text says of it.
func TestPiecesAreOfTheTextAlone(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 1000 {
		text, set := randomText(r), randomSettings(r)
		all := collect(t, set, text, func() int { return 1000 })
		if err := check(set, text, all); err != nil {
			t.Fatalf("%v of %q: %v", set, text, err)
		}
		if got := collect(t, set, text, func() int { return 1 + r.IntN(12) }); show(got) != show(all) {
			t.Fatalf("%v of %q:\n got %s\nwant %s", set, text, show(got), show(all))
		}
		for i, p := range all {
			resumed, err := set.Resume(strings.NewReader(text), p.From)
			if err != nil {
				t.Fatal(err)
			}
			for _, state := range []State{set.Before(p), resumed} {
				s := Splitter{Settings: set, State: state}
				rest := []byte(text[p.From:])
				var got []Piece
				for {
					p, n, ok := s.Next(rest, true)
					if !ok {
						break
					}
					rest = rest[n:]
					got = append(got, p)
				}
				if show(got) != show(all[i:]) {
					t.Fatalf("%v of %q from %d, state %+v:\n got %s\nwant %s", set, text, p.From, state, show(got), show(all[i:]))
				}
			}
		}
	}
}

// The check of the test above sees a byte left out, and one too many.
func TestCheckSeesLoss(t *testing.T) {
	set := Settings{Max: 4}
	text := "abc\nabcdef\n"
	all := collect(t, set, text, func() int { return 100 })
	for i := range all {
		if check(set, text, slices.Delete(slices.Clone(all), i, i+1)) == nil {
			t.Errorf("piece %d left out, and the check sees nothing", i)
		}
		if check(set, text, slices.Insert(slices.Clone(all), i, all[i])) == nil {
			t.Errorf("piece %d twice, and the check sees nothing", i)
		}
	}
	if check(set, text+"x", all) == nil {
		t.Error("the last byte left out, and the check sees nothing")
	}
}

// A line that ended without LF, because its file did, is not continued by what is written
// behind it.
func TestResumeBehindAnUnfinishedLine(t *testing.T) {
	text := strings.NewReader("x\nabcdef")
	for _, long := range []Long{Split, Truncate, Skip} {
		set := Settings{Max: 10, Long: long}
		if st, err := set.Resume(text, 5); err != nil || st != (State{At: 5}) {
			t.Errorf("%v: %+v, %v", set, st, err)
		}
	}
	if _, err := (Settings{Max: 4}).Resume(text, 100); err == nil {
		t.Error("no error behind the end")
	}
}

// A long line holds no more memory than a message and what comes at once, however it is
// given; and with Skip and Truncate nothing of its rest at all.
func TestMemoryOfALongLine(t *testing.T) {
	const most, step, length = 1000, 700, 3_000_000
	for _, long := range []Long{Split, Truncate, Skip} {
		s := Stream{Splitter: Splitter{Settings: Settings{Max: most, Long: long}}}
		var bytesOut, last int64
		yield := func(p Piece) error {
			bytesOut += int64(len(p.Body))
			last = p.To
			return nil
		}
		chunk := bytes.Repeat([]byte{'x'}, step)
		for at := 0; at < length; at += step {
			s.Write(chunk, yield)
			if s.Held() > most+2 || cap(s.rest) > 2*(most+step) {
				t.Fatalf("%v: %d bytes are held, in room for %d", long, s.Held(), cap(s.rest))
			}
		}
		s.Write([]byte("\n"), yield)
		want := map[Long]int64{Split: s.At - 1, Truncate: most, Skip: 0}[long]
		if bytesOut != want || last != s.At {
			t.Errorf("%v: %d bytes up to %d, want %d up to %d", long, bytesOut, last, want, s.At)
		}
	}
}

// To look for the LF of a line that comes byte by byte takes time by its length.
func TestByteByByteScansEachByteOnce(t *testing.T) {
	s := Splitter{Settings: Settings{Max: 100}}
	b := []byte("abcdef")
	s.Next(b, false)
	if s.Seen != len(b) {
		t.Fatalf("%d bytes are seen, want %d", s.Seen, len(b))
	}
	// That they are not looked at again shows where one of them is changed.
	b[2] = '\n'
	if p, _, ok := s.Next(b, false); ok {
		t.Errorf("piece %q of bytes that were seen before", p.Body)
	}
}

func TestYieldEndsTheStream(t *testing.T) {
	s := Stream{Splitter: Splitter{Settings: Settings{Max: 100}}}
	stop := errors.New("stop")
	if err := s.Write([]byte("a\nb\n"), func(Piece) error { return stop }); err != stop {
		t.Errorf("error %v, want %v", err, stop)
	}
}

func TestSettingsInAWord(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		set := randomSettings(r)
		if got, err := Parse(set.String()); err != nil || got != set {
			t.Errorf("%q is read as %+v, %v", set, got, err)
		}
	}
	for _, bad := range []string{"", "split", "split:0", "split:x", "slit:4", "split:4:lf", "split:-1"} {
		if set, err := Parse(bad); err == nil {
			t.Errorf("%q is read as %v", bad, set)
		}
	}
}

func BenchmarkStream(b *testing.B) {
	text := bytes.Repeat([]byte(strings.Repeat("x", 199)+"\n"), 1000)
	s := Stream{Splitter: Splitter{Settings: Settings{Max: 64 << 10}}}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		for rest := text; len(rest) > 0; {
			n := min(len(rest), 32<<10)
			s.Write(rest[:n], func(Piece) error { return nil })
			rest = rest[n:]
		}
	}
}
