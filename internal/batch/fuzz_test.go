package batch_test

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"regexp"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
)

// What follows reads batches as docs/protocol.md describes them, slowly and
// with other means than the package. The fuzz targets compare.

var (
	naiveLine = regexp.MustCompile(
		`^BATCH (0|[1-9][0-9]*) ([A-Za-z0-9_-][A-Za-z0-9._-]{0,254}) (0|[1-9][0-9]*) ([1-9][0-9]*)( codec=([a-z0-9]{1,16}))?( pid=([A-Za-z0-9._-]{1,32}) seq=([1-9][0-9]*))?\r\n`)
	naiveSize    = regexp.MustCompile(`^BATCH (0|[1-9][0-9]*)( |$)`)
	naiveMessage = regexp.MustCompile(`^MSG (0|[1-9][0-9]*)\r\n`)
)

// number returns the value of decimal digits, or -1 if it is above limit.
func number(digits []byte, limit uint64) int64 {
	n, ok := new(big.Int).SetString(string(digits), 10)
	if !ok || n.Cmp(new(big.Int).SetUint64(limit)) > 0 {
		return -1
	}
	return n.Int64()
}

// naiveHeader returns the envelope that p begins with and its length, which is
// 0 if there is none.
func naiveHeader(p []byte) (h batch.Header, n int) {
	m := naiveLine.FindSubmatch(p)
	if m == nil {
		return h, 0
	}
	size, crc, messages := number(m[1], math.MaxInt64), number(m[3], math.MaxUint32), number(m[4], math.MaxInt64)
	if size < 0 || crc < 0 || messages < 0 {
		return h, 0
	}
	h = batch.Header{Size: size, Topic: m[2], CRC: uint32(crc), Messages: messages}
	if h.Codec = string(m[6]); h.Codec != "" && messages > math.MaxInt32 {
		return h, 0
	}
	if len(m[7]) > 0 {
		if h.PID, h.Seq = m[8], number(m[9], math.MaxInt64); h.Seq < 0 {
			return h, 0
		}
	}
	return h, len(m[0])
}

// naiveBodies returns the bodies of the messages that data is made of, and
// whether it is made of messages.
func naiveBodies(data []byte) (bodies [][]byte, ok bool) {
	for len(data) > 0 {
		m := naiveMessage.FindSubmatch(data)
		if m == nil {
			return bodies, false
		}
		n := number(m[1], math.MaxInt64)
		data = data[len(m[0]):]
		if n < 0 || n > int64(len(data)) || !bytes.HasPrefix(data[n:], []byte("\r\n")) {
			return bodies, false
		}
		bodies = append(bodies, data[:n])
		data = data[n+2:]
	}
	return bodies, true
}

func sameHeader(a, b batch.Header) bool {
	return a.Size == b.Size && bytes.Equal(a.Topic, b.Topic) && a.CRC == b.CRC && a.Messages == b.Messages &&
		a.Codec == b.Codec && bytes.Equal(a.PID, b.PID) && a.Seq == b.Seq
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"BATCH 9 t 0 1\r\nMSG 0\r\n\r\n",
		"BATCH 9 t 0 1\n",
		"BATCH 9 t 0 1",
		"BATCH 9223372036854775807 a.b 4294967295 9223372036854775807\r\n",
		"BATCH 9223372036854775808 .a 4294967296 0\r\n",
		"BATCH 09  a 1 1 \r\n",
		"BATCH 9 t 0 1 pid=a.B-_9 seq=7\r\nMSG 0\r\n\r\n",
		"BATCH 9 t 0 1 pid=a seq=0\r\n",
		"BATCH 9 t 0 1 seq=1 pid=a\r\n",
		"BATCH 9 t 0 1 codec=zstd\r\nMSG 0\r\n\r\n",
		"BATCH 9 t 0 1 codec=s2 pid=a seq=7\r\nMSG 0\r\n\r\n",
		"BATCH 9 t 0 2147483648 codec=0123456789abcdef\r\n",
		"BATCH 9 t 0 1 pid=a seq=7 codec=s2\r\n",
		"BATCH 9 t 0 1 codec=s2 codec=s2\r\n",
		"BATCH 9 t 0 1 codec=\r\n",
		"BATCH 9 t 0 1 codec=S2\r\n",
		"BAT",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		h, n, err := batch.Parse(p)
		want, line := naiveHeader(p)
		switch {
		case line > 0 && want.Size <= math.MaxInt64-int64(line):
			if err != nil || !sameHeader(h, want) || n != int64(line)+want.Size {
				t.Fatalf("Parse: %+v, %d, %v, want %+v, %d", h, n, err, want, int64(line)+want.Size)
			}
			if again := batch.AppendHeader(nil, &h); !bytes.Equal(again, p[:line]) || h.Len() != line {
				t.Fatalf("%q is written %q, length %d", p[:line], again, h.Len())
			}
			x := h.Extent()
			if x.Len != n || x.Messages != int32(h.Messages) || x.Numbered != (h.Seq > 0) || x.Codec != batch.CodecOf(h.Codec) {
				t.Fatalf("%q has the extent %+v", p[:line], x)
			}
		case bytes.IndexByte(p, '\n') < 0 && len(p) < batch.MaxHeaderLen &&
			(bytes.HasPrefix(p, []byte("BATCH ")) || bytes.HasPrefix([]byte("BATCH "), p)):
			if !errors.Is(err, batch.ErrShort) {
				t.Fatalf("Parse: %v, want ErrShort", err)
			}
		default:
			if !errors.Is(err, batch.ErrHeader) {
				t.Fatalf("Parse: %v, want ErrHeader", err)
			}
		}

		// The same bytes as a line without its end.
		h, err = batch.ParseHeader(p)
		want, line = naiveHeader(append(bytes.Clone(p), "\r\n"...))
		if line == len(p)+2 {
			if err != nil || !sameHeader(h, want) {
				t.Fatalf("ParseHeader: %+v, %v, want %+v", h, err, want)
			}
			return
		}
		size := int64(-1)
		if m := naiveSize.FindSubmatch(p); m != nil {
			size = number(m[1], math.MaxInt64)
		}
		if !errors.Is(err, batch.ErrHeader) || h.Size != size {
			t.Fatalf("ParseHeader: size %d, %v, want %d, ErrHeader", h.Size, err, size)
		}
	})
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		"MSG 0\r\n\r\n",
		"MSG 1\r\nx\r\nMSG 12\r\n0123456789\r\n\r\n",
		"MSG 01\r\nx\r\n",
		"MSG 9\r\nMSG 0\r\n\r\n\r\n",
		"MSG 18446744073709551617\r\nx\r\n",
		"MSG 3\r\nx\r\n",
	} {
		f.Add([]byte(s), int64(1), uint32(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, messages int64, flip uint32) {
		bodies, framed := naiveBodies(data)
		h := batch.Header{Size: int64(len(data)), CRC: batch.Checksum(data) ^ flip, Messages: messages}
		for _, h.Messages = range []int64{messages, int64(len(bodies))} {
			var want error
			switch {
			case flip != 0:
				want = batch.ErrChecksum
			case !framed || h.Messages != int64(len(bodies)) || h.Messages < 1:
				want = batch.ErrFraming
			}
			if err := batch.Check(&h, data); !errors.Is(err, want) {
				t.Fatalf("Check for %d messages: %v, want %v", h.Messages, err, want)
			}
		}

		m := batch.Messages{Data: data}
		var b batch.Builder
		for i := 0; m.Next(); i++ {
			if i == len(bodies) || !bytes.Equal(m.Body(), bodies[i]) {
				t.Fatalf("message %d is %q", i, m.Body())
			}
			if b.Add(m.Body()) != m.Delta() {
				t.Fatalf("message %d has delta %d", i, m.Delta())
			}
		}
		if b.Messages() != int64(len(bodies)) || (m.Err() == nil) != framed {
			t.Fatalf("%d messages, %v, want %d, %v", b.Messages(), m.Err(), len(bodies), framed)
		}
		if framed && len(bodies) > 0 && !bytes.HasSuffix(b.Finish("t"), data) {
			t.Fatal("building the same messages makes other data")
		}
	})
}
