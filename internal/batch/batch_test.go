package batch_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/logd-dev/logd/internal/batch"
)

func TestParseHeader(t *testing.T) {
	long, longPID := strings.Repeat("t", batch.MaxTopicLen), strings.Repeat("p", batch.MaxPIDLen)
	tests := []struct {
		line string
		want batch.Header
	}{
		{"BATCH 9 t 0 1", batch.Header{Size: 9, Topic: []byte("t"), Messages: 1}},
		{"BATCH 0 t 0 1", batch.Header{Topic: []byte("t"), Messages: 1}}, // nothing fits in it, but the line is fine
		{"BATCH 10 a.b_c-D9 4294967295 23", batch.Header{Size: 10, Topic: []byte("a.b_c-D9"), CRC: math.MaxUint32, Messages: 23}},
		{"BATCH 9 __own 1 1", batch.Header{Size: 9, Topic: []byte("__own"), CRC: 1, Messages: 1}},
		{"BATCH 9 -.. 1 1", batch.Header{Size: 9, Topic: []byte("-.."), CRC: 1, Messages: 1}},
		{"BATCH 9 0 1 1", batch.Header{Size: 9, Topic: []byte("0"), CRC: 1, Messages: 1}},
		{
			"BATCH 9223372036854775807 " + long + " 4294967295 9223372036854775807",
			batch.Header{Size: math.MaxInt64, Topic: []byte(long), CRC: math.MaxUint32, Messages: math.MaxInt64},
		},
		{"BATCH 9 t 0 1 pid=a seq=1", batch.Header{Size: 9, Topic: []byte("t"), Messages: 1, PID: []byte("a"), Seq: 1}},
		{"BATCH 9 t 0 1 pid=.-_Z9 seq=10", batch.Header{Size: 9, Topic: []byte("t"), Messages: 1, PID: []byte(".-_Z9"), Seq: 10}},
		{
			"BATCH 9223372036854775807 " + long + " 4294967295 9223372036854775807 pid=" + longPID + " seq=9223372036854775807",
			batch.Header{
				Size: math.MaxInt64, Topic: []byte(long), CRC: math.MaxUint32, Messages: math.MaxInt64,
				PID: []byte(longPID), Seq: math.MaxInt64,
			},
		},
	}
	for _, test := range tests {
		got, err := batch.ParseHeader([]byte(test.line))
		if err != nil {
			t.Errorf("ParseHeader(%q): %v", test.line, err)
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("ParseHeader(%q) (-want +got):\n%s", test.line, diff)
		}
		line := test.line + "\r\n"
		if back := batch.AppendHeader([]byte("x"), &got); string(back) != "x"+line {
			t.Errorf("AppendHeader of %q: %q", test.line, back)
		}
		if got.Len() != len(line) {
			t.Errorf("Len of %q: %d, want %d", test.line, got.Len(), len(line))
		}
		if len(line) > batch.MaxHeaderLen {
			t.Errorf("%q is longer than MaxHeaderLen", test.line)
		}
	}
	if last := tests[len(tests)-1]; len(last.line)+2 != batch.MaxHeaderLen-batch.MaxCodecLen { // with a codec there are not so many messages
		t.Errorf("the longest line has %d bytes, MaxHeaderLen is %d", len(last.line)+2, batch.MaxHeaderLen-batch.MaxCodecLen)
	}
}

// TestParseHeaderRefuses also says which size is known of a line that is
// refused: the server skips so many bytes to stay in step.
func TestParseHeaderRefuses(t *testing.T) {
	const unknown = -1
	tests := []struct {
		line string
		size int64
	}{
		{"", unknown},
		{"BATCH", unknown},
		{"BATCH ", unknown},
		{"batch 9 t 0 1", unknown},
		{"BATCHES 9 t 0 1", unknown},
		{" BATCH 9 t 0 1", unknown},
		{"BATCH\t9 t 0 1", unknown},
		{"MSG 9 t 0 1", unknown},

		// The size.
		{"BATCH  9 t 0 1", unknown},
		{"BATCH x t 0 1", unknown},
		{"BATCH -1 t 0 1", unknown},
		{"BATCH +9 t 0 1", unknown},
		{"BATCH 09 t 0 1", unknown},
		{"BATCH 00 t 0 1", unknown},
		{"BATCH 9x t 0 1", unknown},
		{"BATCH 9.0 t 0 1", unknown},
		{"BATCH 0x9 t 0 1", unknown},
		{"BATCH 9_0 t 0 1", unknown},
		{"BATCH ٩ t 0 1", unknown},
		{"BATCH 9223372036854775808 t 0 1", unknown},
		{"BATCH 18446744073709551625 t 0 1", unknown}, // 9 and 1<<64
		{"BATCH 99999999999999999999999 t 0 1", unknown},
		{"BATCH 9\r", unknown},

		// Words missing or too many.
		{"BATCH 9", 9},
		{"BATCH 9 ", 9},
		{"BATCH 9 t", 9},
		{"BATCH 9 t ", 9},
		{"BATCH 9 t 0", 9},
		{"BATCH 9 t 0 ", 9},
		{"BATCH 9 t 0 1 ", 9},
		{"BATCH 9 t 0 1 1", 9},
		{"BATCH 9 t 0 1 codec", 9},
		{"BATCH 9  t 0 1", 9},
		{"BATCH 9 t  0 1", 9},
		{"BATCH 9 t 0  1", 9},
		{"BATCH 9 t 0 1\r", 9},
		{"BATCH 9 t 0 1\n", 9},

		// The topic.
		{"BATCH 9 .t 0 1", 9},
		{"BATCH 9 . 0 1", 9},
		{"BATCH 9 .. 0 1", 9},
		{"BATCH 9 ../t 0 1", 9},
		{"BATCH 9 a/b 0 1", 9},
		{"BATCH 9 a\\b 0 1", 9},
		{"BATCH 9 a\x00b 0 1", 9},
		{"BATCH 9 ä 0 1", 9},
		{"BATCH 9 a=b 0 1", 9},
		{"BATCH 9 a:b 0 1", 9},
		{"BATCH 9 a* 0 1", 9},
		{"BATCH 9 " + strings.Repeat("t", batch.MaxTopicLen+1) + " 0 1", 9},

		// The checksum.
		{"BATCH 9 t x 1", 9},
		{"BATCH 9 t -1 1", 9},
		{"BATCH 9 t 00 1", 9},
		{"BATCH 9 t 01 1", 9},
		{"BATCH 9 t 4294967296 1", 9},
		{"BATCH 9 t deadbeef 1", 9},
		{"BATCH 9 t 9223372036854775808 1", 9},

		// The messages.
		{"BATCH 9 t 0 0", 9},
		{"BATCH 9 t 0 x", 9},
		{"BATCH 9 t 0 -1", 9},
		{"BATCH 9 t 0 01", 9},
		{"BATCH 9 t 0 9223372036854775808", 9},

		// The number.
		{"BATCH 9 t 0 1 pid=a", 9},
		{"BATCH 9 t 0 1 seq=1", 9},
		{"BATCH 9 t 0 1 seq=1 pid=a", 9},
		{"BATCH 9 t 0 1 pid=a seq=1 ", 9},
		{"BATCH 9 t 0 1 pid=a seq=1 seq=1", 9},
		{"BATCH 9 t 0 1 pid=a pid=a seq=1", 9},
		{"BATCH 9 t 0 1 pid=a  seq=1", 9},
		{"BATCH 9 t 0 1  pid=a seq=1", 9},
		{"BATCH 9 t 0 1 pid= seq=1", 9},
		{"BATCH 9 t 0 1 pid=a seq=", 9},
		{"BATCH 9 t 0 1 pid=a seq=0", 9},
		{"BATCH 9 t 0 1 pid=a seq=01", 9},
		{"BATCH 9 t 0 1 pid=a seq=-1", 9},
		{"BATCH 9 t 0 1 pid=a seq=9223372036854775808", 9},
		{"BATCH 9 t 0 1 PID=a seq=1", 9},
		{"BATCH 9 t 0 1 pid=a SEQ=1", 9},
		{"BATCH 9 t 0 1 pid=a/b seq=1", 9},
		{"BATCH 9 t 0 1 pid=a=b seq=1", 9},
		{"BATCH 9 t 0 1 pid=ä seq=1", 9},
		{"BATCH 9 t 0 1 pid=" + strings.Repeat("p", batch.MaxPIDLen+1) + " seq=1", 9},
		{"BATCH 9 t 0 1 codec=", 9},
		{"BATCH 9 t 0 1 codec=Zstd", 9},
		{"BATCH 9 t 0 1 codec=zstd codec=zstd", 9},
		{"BATCH 9 t 0 2147483648 codec=zstd", 9},
		{"BATCH 9 t 0 1 pid=a seq=1 codec=zstd", 9},

		{"BATCH 9223372036854775807 t 0 0", math.MaxInt64},
	}
	for _, test := range tests {
		h, err := batch.ParseHeader([]byte(test.line))
		if !errors.Is(err, batch.ErrHeader) || h.Size != test.size {
			t.Errorf("ParseHeader(%q): size %d, %v, want %d, ErrHeader", test.line, h.Size, err, test.size)
		}
	}
}

func TestParse(t *testing.T) {
	long := strings.Repeat("t", batch.MaxTopicLen)
	tests := []struct {
		input string
		len   int64
		err   error
	}{
		{"BATCH 9 t 0 1\r\n", 24, nil},
		{"BATCH 9 t 0 1\r\nMSG 0\r\n\r\n", 24, nil},
		{"BATCH 9 t 0 1\r\nanything and more of it", 24, nil},
		{"BATCH 0 t 0 1\r\n", 15, nil},
		{"BATCH 9223372036854775773 t 0 1\r\n", math.MaxInt64 - 1, nil},
		{"BATCH 9223372036854775774 t 0 1\r\n", math.MaxInt64, nil},
		{"BATCH 9223372036854775775 t 0 1\r\n", 0, batch.ErrHeader}, // its end is beyond int64
		{"BATCH 9223372036854775807 t 0 1\r\n", 0, batch.ErrHeader},

		{"BATCH 9 t 0 1\n", 0, batch.ErrHeader}, // not as it is stored
		{"BATCH 9 t 0 1\r\r\n", 0, batch.ErrHeader},
		{"BATCH 9 t 0 1\n\r\n", 0, batch.ErrHeader},
		{"BATCH 9 t 0 1 \r\n", 0, batch.ErrHeader},
		{"BATCH 9\r\n", 0, batch.ErrHeader},
		{"BATCH \n", 0, batch.ErrHeader},
		{"BATCH \r\n", 0, batch.ErrHeader},
		{"batch 9 t 0 1\r\n", 0, batch.ErrHeader},
		{"\r\n", 0, batch.ErrHeader},
		{"\x00", 0, batch.ErrHeader},
		{"BATCHx", 0, batch.ErrHeader},
		{"MSG 0\r\n\r\n", 0, batch.ErrHeader},
		{strings.Repeat("\x00", 1000), 0, batch.ErrHeader},
		{"BATCH " + strings.Repeat("1", batch.MaxHeaderLen), 0, batch.ErrHeader}, // no line end in reach
		{"BATCH 9 t" + long + " 0 1\r\n", 0, batch.ErrHeader},

		{"", 0, batch.ErrShort},
		{"B", 0, batch.ErrShort},
		{"BATCH", 0, batch.ErrShort},
		{"BATCH ", 0, batch.ErrShort},
		{"BATCH 9", 0, batch.ErrShort},
		{"BATCH 9 t 0 1", 0, batch.ErrShort},
		{"BATCH 9 t 0 1\r", 0, batch.ErrShort},
	}
	for _, test := range tests {
		h, n, err := batch.Parse([]byte(test.input))
		if !errors.Is(err, test.err) || n != test.len {
			t.Errorf("Parse(%.60q): %d, %v, want %d, %v", test.input, n, err, test.len, test.err)
		}
		if err == nil && int64(h.Len())+h.Size != n {
			t.Errorf("Parse(%.60q): length %d, envelope %d and data %d", test.input, n, h.Len(), h.Size)
		}
	}
}

// TestParseEveryPrefix cuts the longest envelope everywhere.
func TestParseEveryPrefix(t *testing.T) {
	line := []byte("BATCH 9223372036854775000 " + strings.Repeat("t", batch.MaxTopicLen) + " 4294967295 9223372036854775807 pid=" +
		strings.Repeat("p", batch.MaxPIDLen) + " seq=9223372036854775807\r\n")
	for n := range line {
		if _, _, err := batch.Parse(line[:n]); !errors.Is(err, batch.ErrShort) {
			t.Errorf("Parse of the first %d bytes: %v, want ErrShort", n, err)
		}
	}
	if _, _, err := batch.Parse(line); err != nil {
		t.Errorf("Parse of all: %v", err)
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		data     string
		messages int64
		ok       bool
	}{
		{"MSG 0\r\n\r\n", 1, true},
		{"MSG 1\r\nx\r\n", 1, true},
		{"MSG 10\r\n0123456789\r\n", 1, true},
		{"MSG 2\r\n\r\n\r\n", 1, true},
		{"MSG 9\r\nMSG 0\r\n\r\n\r\n", 1, true}, // one that has another for a body
		{"MSG 0\r\n\r\nMSG 0\r\n\r\n", 2, true},
		{"MSG 0\r\n\r\nMSG 1\r\nx\r\nMSG 2\r\nxy\r\n", 3, true},

		{"", 0, false},
		{"", 1, false},
		{"x", 1, false},
		{"MSG 0\r\n\r\n", 0, false},
		{"MSG 0\r\n\r\n", -1, false},
		{"MSG 0\r\n\r\n", math.MinInt64, false},
		{"MSG 0\r\n\r\n", 2, false},
		{"MSG 0\r\n\r\n", math.MaxInt64, false},
		{"MSG 0\r\n\r\nMSG 0\r\n\r\n", 1, false},
		{"MSG 0\r\n\r\nMSG 0\r\n\r\n", 3, false},
		{"MSG 0\r\n\r\nx", 1, false},
		{"xMSG 0\r\n\r\n", 1, false},

		{"msg 0\r\n\r\n", 1, false},
		{"MSG0\r\n\r\n\r\n", 1, false},
		{"MSG  0\r\n\r\n", 1, false},
		{"MSG \r\n\r\n\r\n", 1, false},
		{"MSG 0 \r\n\r\n", 1, false},
		{"MSG x\r\n\r\n", 1, false},
		{"MSG -0\r\n\r\n", 1, false},
		{"MSG +1\r\nx\r\n", 1, false},
		{"MSG 00\r\n\r\n", 1, false},
		{"MSG 01\r\nx\r\n", 1, false},
		{"MSG 0\n\n.....", 1, false},
		{"MSG 1\nxx\r\n\n", 1, false},
		{"MSG 1\r\nx\n\n", 1, false},
		{"MSG 1\r\nx\r\r", 1, false},
		{"MSG 1\r\nxy\r\n", 1, false},
		{"MSG 2\r\nx\r\n", 1, false},
		{"MSG 3\r\nx\r\n", 1, false},
		{"MSG 100\r\nx\r\n", 1, false},
		{"MSG 9223372036854775807\r\nx\r\n", 1, false},
		{"MSG 9223372036854775808\r\nx\r\n", 1, false},
		{"MSG 18446744073709551617\r\nx\r\n", 1, false}, // 1 and 1<<64
		{"MSG 4294967297\r\nx\r\n", 1, false},           // 1 and 1<<32
		{"MSG 99999999999999999999999999999999\r\nx\r\n", 1, false},
		{"MSG 11111111111111111111111111111111", 1, false},
	}
	for _, test := range tests {
		data := []byte(test.data)
		h := batch.Header{Size: int64(len(data)), Topic: []byte("t"), CRC: batch.Checksum(data), Messages: test.messages}
		var want error
		if !test.ok {
			want = batch.ErrFraming
		}
		if err := batch.Check(&h, data); !errors.Is(err, want) {
			t.Errorf("Check(%q, %d messages): %v, want %v", test.data, test.messages, err, want)
		}
		h.CRC ^= 1
		if err := batch.Check(&h, data); !errors.Is(err, batch.ErrChecksum) {
			t.Errorf("Check(%q) with another checksum: %v", test.data, err)
		}
	}
}

// TestCheckEveryPosition changes a batch at each position in every way of one
// byte, with the checksum made to fit: whatever is not a body must be noticed.
func TestCheckEveryPosition(t *testing.T) {
	data := []byte("MSG 0\r\n\r\nMSG 12\r\n............\r\nMSG 1\r\n.\r\n")
	check := func(data []byte) error {
		h := batch.Header{Size: int64(len(data)), CRC: batch.Checksum(data), Messages: 3}
		return batch.Check(&h, data)
	}
	if err := check(data); err != nil {
		t.Fatal(err)
	}
	for i, old := range data {
		for c := range 256 {
			changed := bytes.Clone(data)
			changed[i] = byte(c)
			if err := check(changed); (err == nil) != (old == '.' || old == byte(c)) {
				t.Errorf("byte %d is %q instead of %q: %v", i, byte(c), old, err)
			}
			inserted := append(append(bytes.Clone(data[:i]), byte(c)), data[i:]...)
			if check(inserted) == nil {
				t.Errorf("%q inserted at %d: not noticed", byte(c), i)
			}
		}
		if check(append(bytes.Clone(data[:i]), data[i+1:]...)) == nil {
			t.Errorf("byte %d missing: not noticed", i)
		}
		if check(data[:i]) == nil {
			t.Errorf("cut at %d: not noticed", i)
		}
	}
}

// TestCheckNoticesEveryBit flips each bit of the data.
func TestCheckNoticesEveryBit(t *testing.T) {
	data := []byte("MSG 0\r\n\r\nMSG 12\r\n............\r\nMSG 1\r\n.\r\n")
	h := batch.Header{Size: int64(len(data)), CRC: batch.Checksum(data), Messages: 3}
	for bit := range 8 * len(data) {
		data[bit/8] ^= 1 << (bit % 8)
		if err := batch.Check(&h, data); !errors.Is(err, batch.ErrChecksum) {
			t.Errorf("bit %d flipped: %v", bit, err)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
}

func TestChecksumIsIEEE(t *testing.T) {
	if got := batch.Checksum([]byte("123456789")); got != 0xcbf43926 {
		t.Errorf("checksum of the standard's example: %#x", got)
	}
}

func TestMessages(t *testing.T) {
	tests := []struct {
		data string
		want string
		err  error
	}{
		{"", "", nil},
		{"MSG 0\r\n\r\n", `0:"" `, nil},
		{"MSG 0\r\n\r\nMSG 1\r\nx\r\nMSG 10\r\n0123\r\n6789\r\n", `0:"" 9:"x" 19:"0123\r\n6789" `, nil},
		{"MSG 1\r\nx\r\nMSG 1\r\nx\r", `0:"x" `, batch.ErrFraming},
		{"MSG 1\r\nx\r\n\x00", `0:"x" `, batch.ErrFraming},
		{"x", "", batch.ErrFraming},
	}
	for _, test := range tests {
		m := batch.Messages{Data: []byte(test.data)}
		var got strings.Builder
		for m.Next() {
			fmt.Fprintf(&got, "%d:%q ", m.Delta(), m.Body())
			if cap(m.Body()) != len(m.Body()) {
				t.Errorf("%q: appending to a body would write into the batch", test.data)
			}
		}
		if got.String() != test.want || !errors.Is(m.Err(), test.err) {
			t.Errorf("%q: %s %v, want %s %v", test.data, got.String(), m.Err(), test.want, test.err)
		}
		if m.Next() {
			t.Errorf("%q: Next after the end", test.data)
		}
	}
}

func TestValidTopic(t *testing.T) {
	for c := range 256 {
		name := "t" + string([]byte{byte(c)})
		want := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if got := batch.ValidTopic(name); got != want {
			t.Errorf("ValidTopic(%q) = %v", name, got)
		}
		if got := batch.ValidTopic([]byte{byte(c)}); got != (want && c != '.') {
			t.Errorf("ValidTopic(%q) = %v", name[1:], got)
		}
	}
	for name, want := range map[string]bool{
		"": false, "...": false, "a..": true, "__consumer": true,
		strings.Repeat("x", 255): true, strings.Repeat("x", 256): false,
	} {
		if got := batch.ValidTopic(name); got != want {
			t.Errorf("ValidTopic(%q) = %v", name, got)
		}
	}
}

func TestValidPID(t *testing.T) {
	for c := range 256 {
		want := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if got := batch.ValidPID([]byte{byte(c)}); got != want {
			t.Errorf("ValidPID(%q) = %v", []byte{byte(c)}, got)
		}
	}
	for id, want := range map[string]bool{"": false, strings.Repeat("x", 32): true, strings.Repeat("x", 33): false} {
		if got := batch.ValidPID(id); got != want {
			t.Errorf("ValidPID(%q) = %v", id, got)
		}
	}
}

func TestParseInt(t *testing.T) {
	for word, want := range map[string]int64{
		"0": 0, "7": 7, "10": 10, "1000000000000000000": 1e18, "9223372036854775807": math.MaxInt64,
		"": -1, "-1": -1, "+1": -1, "-0": -1, "00": -1, "01": -1, " 1": -1, "1 ": -1, "1e3": -1, "0x1": -1, "1_0": -1, "x": -1,
		"9223372036854775808": -1, "9999999999999999999": -1, "18446744073709551616": -1, "10000000000000000000": -1,
		"1/": -1, "1:": -1, "/": -1, ":": -1,
	} {
		got, ok := batch.ParseInt([]byte(word))
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("ParseInt(%q) = %d, %v", word, got, ok)
		}
	}
}
