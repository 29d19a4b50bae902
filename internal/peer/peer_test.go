package peer

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/logd-dev/logd/internal/entry"
)

var update = flag.Bool("update", false, "write the golden file anew")

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var id = ID{0xab, 15: 0x0f}

var requests = []Request{
	&Hello{id, 1, 2, Control},
	&Hello{id, 2, 18446744073709551615, Data},
	&Hello{id, 3, 1, ForFetch},
	&Join{id, "b-2", "10.0.0.2:1776", "[::1]:1777"},
	&Fetch{id, 0, 1 << 40},
	&Sum{id, 7, 8},
	&Replace{id, 3, 18446744073709551615},
}

var members = []entry.Member{
	{ID: 1, Name: "a", Addr: "a:1", PeerAddr: "a:2"},
	{ID: 12, Name: "b", Addr: "b:1", PeerAddr: "b:2"},
}

var beat = Beat{Position: 7<<32 | 5, Clock: 1_700_000_000_000, Free: 1 << 33, Flags: Full | Draining, Groups: []GroupBeat{
	{Group: 0, Change: 9, Applied: 77, Stored: 1<<33 + 5, Message: []byte("heartbeat")},
	{Group: 5, TableTerm: 2, TableIndex: 70},
}}

var parts = Parts{From: 100, Bytes: 50, Parts: []Part{{100, 1_700_000_000_000, false}, {120, 1_700_000_000_001, true}}}

// golden is what is said once, by name.
func golden() (names []string, said map[string][]byte) {
	said = make(map[string][]byte)
	add := func(name string, b []byte) { names, said[name] = append(names, name), b }
	for i, r := range requests {
		add(fmt.Sprintf("request-%d", i), AppendRequest(nil, r))
	}
	add("refusal", AppendRefusal(nil, NotLeader+" a:2"))
	add("welcome", AppendWelcome(nil, &Welcome{13, 8, members}))
	add("start", AppendFrame(nil, &Frame{Kind: KindStart, Message: Start{1 << 63, 7<<32 | 5, "1.2.3"}.Append(nil)}))
	add("beat", AppendFrame(nil, &Frame{Kind: KindBeat, Message: beat.Append(nil)}))
	add("message", AppendFrame(nil, &Frame{Kind: KindMessage, Group: 3, Message: []byte("vote")}))
	add("append", append(AppendFrame(nil, &Frame{Kind: KindAppend, Group: 63, Message: []byte("entry"), Body: 5}), "bytes"...))
	add("table", AppendFrame(nil, &Frame{Kind: KindTable, Message: []byte("table")}))
	add("parts", append(parts.Append(nil), make([]byte, 50)...))
	add("gone", AppendGone(nil, 1000))
	add("sums", AppendSums(nil, []uint32{1, 0xdeadbeef}))
	return names, said
}

// What is said once is said the same for ever.
func TestGolden(t *testing.T) {
	names, said := golden()
	var b strings.Builder
	for _, name := range names {
		text := fmt.Sprintf("%x", said[name])
		if line, ok := bytes.CutSuffix(said[name], []byte("\r\n")); ok && bytes.IndexByte(line, '\n') < 0 {
			text = string(line)
		}
		fmt.Fprintf(&b, "%s: %s\n", name, text)
	}
	const file = "testdata/version1"
	if *update {
		check(t, os.WriteFile(file, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if string(want) != b.String() {
		t.Errorf("said:\n%s\nwant:\n%s", b.String(), want)
	}
}

// Everything is read as it was said, however it arrives.
func TestReader(t *testing.T) {
	_, said := golden()
	for name, slow := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
		t.Run(name, func(t *testing.T) {
			reader := func(names ...string) *Reader {
				var b []byte
				for _, name := range names {
					b = append(b, said[name]...)
				}
				return NewReader(slow(bytes.NewReader(b)))
			}
			r := reader("request-0", "request-1", "request-2", "request-3", "request-4", "request-5", "request-6")
			for _, want := range requests {
				if got, err := r.Request(); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%+v, %v, want %+v", got, err, want)
				}
			}
			if got, err := r.Request(); err != io.EOF {
				t.Errorf("at the end: %+v, %v", got, err)
			}

			r = reader("refusal", "welcome", "refusal", "refusal")
			refused := func(err error) {
				t.Helper()
				if e, ok := errors.AsType[*Refused](err); !ok || e.Reason != "not leader a:2" {
					t.Errorf("refusal: %v", err)
				}
			}
			refused(r.Accepted())
			if got, err := r.Welcome(); err != nil || !reflect.DeepEqual(got, &Welcome{13, 8, members}) {
				t.Errorf("welcome: %d, %+v, %v", id, got, err)
			}
			_, err := r.Welcome()
			refused(err)
			_, err = r.Fetched(&Fetch{id, 0, 1})
			refused(err)
			if err := NewReader(strings.NewReader("OK\r\n")).Accepted(); err != nil {
				t.Error(err)
			}

			r = reader("start", "beat", "message")
			f, err := r.Next(Control, 0)
			if s, err2 := ParseStart(f.Message); err != nil || err2 != nil || s != (Start{1 << 63, 7<<32 | 5, "1.2.3"}) {
				t.Errorf("start: %+v, %+v, %v, %v", f, s, err, err2)
			}
			f, err = r.Next(Control, 0)
			var got Beat
			if err2 := got.Parse(f.Message); err != nil || err2 != nil || fmt.Sprint(got) != fmt.Sprint(beat) {
				t.Errorf("beat: %+v, %v, %v", got, err, err2)
			}
			if f, err = r.Next(Control, 0); err != nil || f.Kind != KindMessage || f.Group != 3 || string(f.Message) != "vote" {
				t.Errorf("message: %+v, %v", f, err)
			}
			if f, err = r.Next(Control, 0); err != io.EOF {
				t.Errorf("at the end: %+v, %v", f, err)
			}

			r = reader("append", "append", "table")
			f, err = r.Next(Data, 5)
			body, err2 := r.Body([]byte("the "))
			if err != nil || err2 != nil || string(body) != "the bytes" || string(f.Message) != "entry" || f.Group != 63 {
				t.Errorf("append: %+v, %q, %v, %v", f, body, err, err2)
			}
			if f, err = r.Next(Data, 5); err != nil { // the body of the second is skipped
				t.Errorf("append: %+v, %v", f, err)
			}
			if f, err = r.Next(Data, 5); err != nil || f.Kind != KindTable || string(f.Message) != "table" {
				t.Errorf("table: %+v, %v", f, err)
			}

			r = reader("parts", "gone", "sums", "gone")
			p, err := r.Fetched(&Fetch{id, 100, 1000})
			if body, err2 := r.Body(nil); err != nil || err2 != nil || len(body) != 50 || !reflect.DeepEqual(*p, parts) {
				t.Errorf("parts: %+v, %v, %v", p, err, err2)
			}
			gone := func(err error) {
				t.Helper()
				if e, ok := errors.AsType[*GoneError](err); !ok || e.Oldest != 1000 {
					t.Errorf("gone: %v", err)
				}
			}
			_, err = r.Fetched(&Fetch{id, 100, 1000})
			gone(err)
			if sums, err := r.Sums(&Sum{id, 0, SumBytes + 1}); err != nil || len(sums) != 2 || sums[1] != 0xdeadbeef {
				t.Errorf("sums: %x, %v", sums, err)
			}
			_, err = r.Sums(&Sum{id, 0, 1})
			gone(err)
		})
	}
}

// A line that says something else, or the same in another form, is invalid. One of
// another version says so.
func TestRequestInvalid(t *testing.T) {
	const id = "ab00000000000000000000000000000f"
	for _, line := range []string{
		"", "PEER", "PEER 1", "peer 1 " + id + " 1 2 data", "PEER 01 " + id + " 1 2 data", "PEER 0 " + id + " 1 2 data",
		"PEER 1 " + id + " 1 1 data", "PEER 1 " + id + " 0 1 data", "PEER 1 " + id + " 01 2 data", "PEER 1 " + id + " 1 2 other",
		"PEER 1 " + id + " 1 2  data", "PEER 1 " + id + " 1 2 data ", "PEER 1 " + id + " 1 18446744073709551616 data", "PEER 1 " + id + " 1 2",
		"PEER 1 " + strings.ToUpper(id) + " 1 2 data", "PEER 1 " + id[1:] + " 1 2 data", "PEER 1 " + id + "0 1 2 data", "PEER x " + id + " 1 2 data",
		"PEER 1 " + id[1:] + "g 1 2 data",
		"JOIN " + id + " b b:1", "JOIN " + id + " b/ b:1 b:2", "JOIN " + id + " " + strings.Repeat("b", 33) + " b:1 b:2", "JOIN " + id + " b b:\x01 b:2",
		"REPLACE " + id + " 3", "REPLACE " + id + " 3 3", "REPLACE " + id + " 0 3", "REPLACE " + id + " 3 0", "REPLACE " + id + " 03 4", "REPLACE " + id + " 3 b", "REPLACE " + id + " 3 4 ",
		"FETCH " + id + " 5 5", "FETCH " + id + " -1 5", "FETCH " + id + " 1 9223372036854775808", "FETCH " + id + " +1 5", "FETCH " + id + " 6 5",
		"SUM " + id + " 5", "SUM " + id + " 5 5", "OTHER", " ",
	} {
		if r, err := ParseRequest([]byte(line)); err != ErrInvalid {
			t.Errorf("%q: %+v, %v", line, r, err)
		}
	}
	_, err := ParseRequest([]byte("PEER 7 whatever it says"))
	if e, ok := errors.AsType[*VersionError](err); !ok || e.Reason() != "version 7, this member speaks version 1" {
		t.Errorf("version 7: %v", err)
	}
	for _, test := range []struct {
		input string
		want  error
	}{
		{"PEER 1 " + id + " 1 2 data\n", ErrInvalid},
		{"PEER 1 " + id + " 1 2 da", io.ErrUnexpectedEOF},
		{strings.Repeat("x", maxLine), ErrTooLong},
		{strings.Repeat("x", 10*maxLine), ErrTooLong},
		{"", io.EOF},
		{"\r\n", ErrInvalid},
		{"\n", ErrInvalid},
	} {
		r := NewReader(strings.NewReader(test.input + map[bool]string{true: "\r\n"}[test.want == ErrTooLong]))
		if got, err := r.Request(); err != test.want {
			t.Errorf("%.40q: %+v, %v, want %v", test.input, got, err, test.want)
		}
	}
}

func TestAnswerInvalid(t *testing.T) {
	long := fmt.Sprintf("OK 1 %d 8\r\n", MaxMembers+1)
	welcome := func(r *Reader) error { _, err := r.Welcome(); return err }
	fetched := func(r *Reader) error { _, err := r.Fetched(&Fetch{id, 10, 20}); return err }
	sums := func(r *Reader) error { _, err := r.Sums(&Sum{id, 10, 20}); return err }
	whole := (&Parts{From: 10, Bytes: 5, Parts: []Part{{10, 0, false}}}).Append(nil)
	other := (&Parts{From: 11, Bytes: 5, Parts: []Part{{11, 0, false}}}).Append(nil)
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-1] ^= 1
	for _, test := range []struct {
		input string
		read  func(*Reader) error
		want  error
	}{
		{"", (*Reader).Accepted, io.ErrUnexpectedEOF},
		{"OK", (*Reader).Accepted, io.ErrUnexpectedEOF},
		{"OK \r\n", (*Reader).Accepted, ErrInvalid},
		{"OK 1\r\n", (*Reader).Accepted, ErrInvalid},
		{"OKAY\r\n", (*Reader).Accepted, ErrInvalid},
		{"ERR \r\n", (*Reader).Accepted, ErrInvalid},
		{"\r\n", (*Reader).Accepted, ErrInvalid},
		{"OK 1\r\n", welcome, ErrInvalid},
		{"OK 0 0\r\n", welcome, ErrInvalid},
		{"OK 1 01\r\n", welcome, ErrInvalid},
		{"OK 1 0 0\r\n", welcome, ErrInvalid},
		{"OK 1 9223372036854775808\r\n", welcome, ErrInvalid},
		{long, welcome, ErrTooLong},
		{"OK 1 1 8\r\n", welcome, io.ErrUnexpectedEOF},
		{"OK 1 1 8\r\n1 a a:1\r\n", welcome, ErrInvalid},
		{"OK 1 1 8\r\n0 a a:1 a:2\r\n", welcome, ErrInvalid},
		{"OK 1 1 8\r\n01 a a:1 a:2\r\n", welcome, ErrInvalid},
		{"OK 11 1\r\n", fetched, ErrTooLong},
		{"OK 1 65537\r\n", fetched, ErrTooLong},
		{"OK 1 0\r\n\x00\x00\x00\x00", fetched, ErrInvalid},
		{string(whole[:len(whole)-1]), fetched, io.ErrUnexpectedEOF},
		{string(flipped), fetched, ErrInvalid},
		{string(other), fetched, ErrInvalid},
		{"GONE 10\r\n", fetched, ErrInvalid},
		{"GONE\r\n", fetched, ErrInvalid},
		{"GONE 11\r\n", welcome, ErrInvalid},
		{"OK 2\r\n", sums, ErrTooLong},
		{"OK 0\r\n", sums, ErrInvalid},
		{"OK 1\r\n1234", sums, io.ErrUnexpectedEOF},
		{"OK 1\r\n12345678", sums, ErrInvalid},
		{"GONE 9\r\n", sums, ErrInvalid},
	} {
		if err := test.read(NewReader(strings.NewReader(test.input))); err != test.want {
			t.Errorf("%.40q: %v, want %v", test.input, err, test.want)
		}
	}
	if b := AppendRefusal(nil, "a\r\nb\x80"+strings.Repeat("c", 2*maxLine)); len(b) != maxLine || !strings.HasPrefix(string(b), "ERR a??b?c") {
		t.Errorf("refusal of %d bytes: %q", len(b), b[:20])
	}
	for what, f := range map[string]func(){
		"a member without a name":   func() { AppendWelcome(nil, &Welcome{1, 1, []entry.Member{{ID: 1}}}) },
		"no sums":                   func() { AppendSums(nil, nil) },
		"no parts":                  func() { (&Parts{From: 1, Bytes: 1}).Append(nil) },
		"parts out of order":        func() { (&Parts{From: 1, Bytes: 9, Parts: []Part{{Offset: 1}, {Offset: 1}}}).Append(nil) },
		"a part behind the end":     func() { (&Parts{From: 1, Bytes: 9, Parts: []Part{{Offset: 1}, {Offset: 10}}}).Append(nil) },
		"a connection with oneself": func() { AppendRequest(nil, &Hello{id, 1, 1, Data}) },
		"too many groups":           func() { (&Beat{Groups: make([]GroupBeat, maxGroups+1)}).Append(nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was said", what)
				}
			}()
			f()
		}()
	}
}

// A frame with any bit flipped is refused, or one whose body is of another length,
// which the checksum covers; so is one cut short, and one that does not belong there.
func TestFrameInvalid(t *testing.T) {
	whole := AppendFrame(nil, &Frame{Kind: KindAppend, Group: 63, Message: []byte("entry"), Body: 5})
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if f, err := NewReader(bytes.NewReader(append(b, make([]byte, 1<<10)...))).Next(Data, 1<<20); err == nil {
				t.Errorf("bit %d of byte %d: %+v", bit, i, f)
			}
		}
		want := io.ErrUnexpectedEOF
		if i == 0 {
			want = io.EOF
		}
		if f, err := NewReader(bytes.NewReader(whole[:i])).Next(Data, 5); err != want {
			t.Errorf("%d bytes: %+v, %v", i, f, err)
		}
	}
	r := NewReader(bytes.NewReader(append(whole, "byt"...)))
	_, err := r.Next(Data, 5)
	check(t, err)
	if _, err := r.Next(Data, 5); err != io.ErrUnexpectedEOF {
		t.Errorf("half a body is skipped: %v", err)
	}
	for _, test := range []struct {
		f    Frame
		use  Use
		want error
	}{
		{Frame{Kind: KindAppend, Body: 6}, Data, ErrTooLong},
		{Frame{Kind: KindAppend}, Control, ErrInvalid},
		{Frame{Kind: KindTable}, Control, ErrInvalid},
		{Frame{Kind: KindTable, Body: 1}, Data, ErrTooLong},
		{Frame{Kind: KindBeat}, Data, ErrInvalid},
		{Frame{Kind: KindMessage, Body: 1}, Control, ErrTooLong},
		{Frame{Kind: KindMessage, Message: make([]byte, MaxMessage+1)}, Control, ErrTooLong},
		{Frame{Kind: KindTable, Message: make([]byte, MaxMessage+1)}, Data, nil},
		{Frame{Kind: 0}, Control, ErrInvalid},
		{Frame{Kind: KindTable + 1}, Data, ErrInvalid},
		{Frame{Kind: KindMessage}, ForFetch, ErrInvalid},
	} {
		if f, err := NewReader(bytes.NewReader(AppendFrame(nil, &test.f))).Next(test.use, 5); err != test.want {
			t.Errorf("kind %d on %d: %v, want %v", f.Kind, test.use, err, test.want)
		}
	}
}

// An announced length takes no memory.
func TestMemory(t *testing.T) {
	header := make([]byte, headerLen)
	binary.LittleEndian.PutUint32(header, MaxTable)
	header[8] = byte(KindTable)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := NewReader(bytes.NewReader(append(header, make([]byte, 1000)...))).Next(Data, 0)
	runtime.ReadMemStats(&after)
	if err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 2*chunk {
		t.Errorf("%d bytes of memory for 1000 of a message", n)
	}

	b := AppendFrame(nil, &Frame{Kind: KindAppend, Body: 1 << 30})
	runtime.ReadMemStats(&before)
	r := NewReader(bytes.NewReader(append(b, make([]byte, 1000)...)))
	if _, err := r.Next(Data, 1<<30); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Body(nil); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 2*chunk {
		t.Errorf("%d bytes of memory for 1000 of a body", n)
	}
}

// In steady state a frame takes no memory.
func TestFrameAllocs(t *testing.T) {
	_, said := golden()
	all := bytes.Repeat(append(said["append"], said["append"]...), 1000)
	r := NewReader(bytes.NewReader(all))
	body := make([]byte, 5)
	dst := make([]byte, 0, 100)
	f := Frame{Kind: KindAppend, Message: []byte("entry"), Body: 5}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := r.Next(Data, 5); err != nil {
			t.Fatal(err)
		}
		_, err := r.Body(body[:0])
		check(t, err)
		dst = AppendFrame(dst[:0], &f)
	}); n != 0 {
		t.Errorf("%v allocations for a frame", n)
	}
}

// FuzzRequest parses any line: what is understood is said the same.
func FuzzRequest(f *testing.F) {
	for _, r := range requests {
		f.Add(bytes.TrimSpace(AppendRequest(nil, r)))
	}
	f.Add([]byte("PEER 2 x"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if r, err := ParseRequest(line); err == nil && string(AppendRequest(nil, r)) != string(line)+"\r\n" {
			t.Fatalf("%q is read as %+v", line, r)
		}
	})
}

// FuzzReader reads any bytes as all that may come.
func FuzzReader(f *testing.F) {
	_, said := golden()
	for name, b := range said {
		for use := range byte(8) {
			if use < 2 || !strings.HasPrefix(name, "request") {
				f.Add(use, b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, how byte, b []byte) {
		b = bytes.Clone(b)
		r := NewReader(bytes.NewReader(b))
		switch how % 8 {
		case 0:
			r.Request()
		case 1:
			r.Accepted()
		case 2:
			if w, err := r.Welcome(); err == nil && !bytes.HasPrefix(b, AppendWelcome(nil, w)) {
				t.Fatalf("%q is read as %d, %+v", b, id, members)
			}
		case 3:
			if p, err := r.Fetched(&Fetch{id, 100, 1000}); err == nil && !bytes.HasPrefix(b, p.Append(nil)) {
				t.Fatalf("%q is read as %+v", b, p)
			}
		case 4:
			if sums, err := r.Sums(&Sum{id, 0, SumBytes * 5}); err == nil && !bytes.HasPrefix(b, AppendSums(nil, sums)) {
				t.Fatalf("%q is read as %x", b, sums)
			}
		case 5:
			var beat Beat
			if err := beat.Parse(b); err == nil && !bytes.Equal(beat.Append(nil), b) {
				t.Fatalf("%x is read as %+v", b, beat)
			}
		default:
			use := Control + Use(how%8) - 6
			for at := 0; ; {
				if len(b) >= at+headerLen { // sealed, or nothing else would ever be read
					n := min(int(binary.LittleEndian.Uint32(b[at:])), len(b)-at-headerLen)
					binary.LittleEndian.PutUint32(b[at+4:], checksum(b[at:at+headerLen], b[at+headerLen:at+headerLen+n]))
				}
				f, err := r.Next(use, 100)
				if err != nil {
					return
				}
				again := AppendFrame(nil, &f)
				if !bytes.HasPrefix(b[at:], again) {
					t.Fatalf("%s is read as %+v", hex.EncodeToString(b[at:]), f)
				}
				at += len(again) + int(f.Body)
			}
		}
	})
}

// TestBeatAuth: the digest follows the groups, and is nothing but digits: it becomes a word
// of CLUSTER. A beat without it, as of a member that says none, takes away what was there.
func TestBeatAuth(t *testing.T) {
	without := beat.Append(nil)
	for tail, good := range map[string]bool{
		"": true, "0123456789ab": true, "0123456789a": false, "0123456789abc": false, "0123456789aB": false, "01234567 9ab": false, "0123456789\r\n": false,
	} {
		got := Beat{Auth: "ffffffffffff"}
		b := append(bytes.Clone(without), tail...)
		err := got.Parse(b)
		if (err == nil) != good || good && (got.Auth != tail || !bytes.Equal(got.Append(nil), b)) {
			t.Errorf("%q: %q, %v", tail, got.Auth, err)
		}
	}
}
