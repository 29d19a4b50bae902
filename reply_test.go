package logd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
)

func newReplyReader(stream io.Reader) *replyReader {
	return &replyReader{br: bufio.NewReaderSize(stream, readChunk), maxSize: math.MaxInt64}
}

// readOne reads one answer of the stream for a call of the kind.
func readOne(r *replyReader, kind answerKind) (*call, error) {
	cl := &call{kind: kind, topic: "t", from: -1, messages: math.MaxInt64, maxBody: math.MaxInt64, result: new(Result)}
	line, err := r.line()
	if err != nil {
		return cl, err
	}
	return cl, r.answer(line, cl)
}

// memoryFor returns how much memory an answer may take of which so many bytes
// have come. What append rounds up is allowed for.
func memoryFor(arrived int) int { return (2*arrived + 2*readChunk) * 5 / 4 }

// Whatever a server announces, memory is taken for what it sends.
func TestReplyMemoryIsBounded(t *testing.T) {
	for _, tt := range []struct {
		kind answerKind
		head string
	}{
		{answerBatches, "OK 0 1\r\nBATCH 9000000000000000000 t 1 1\r\nMSG 4000000000000000000\r\n"},
		{answerBatches, "OK 0 9000000000000000000\r\nBATCH 1000000000000 t 1 10000000\r\nMSG 900000000000\r\n"},
		{answerBody, "MOK 9000000000000000000\r\n"},
	} {
		for _, arrived := range []int{0, 100, 1 << 20, 5<<20 + 1} {
			stream := tt.head + strings.Repeat("x", arrived)
			cl, err := readOne(newReplyReader(strings.NewReader(stream)), tt.kind)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%.30q and %d bytes: %v, want unexpected end", tt.head, arrived, err)
			}
			if got, limit := cap(cl.result.buf)+cap(cl.body), memoryFor(len(stream)); got > limit {
				t.Errorf("%.30q and %d bytes take %d bytes of memory, limit %d", tt.head, arrived, got, limit)
			}
		}
	}
}

// FuzzReply reads a stream as a sequence of answers. It must not panic, nor
// take more memory than what there is to read; and batches that pass the
// checks are what the stream has, byte for byte.
func FuzzReply(f *testing.F) {
	one, two := stored("t", "a", "", "c\r\n"), stored("t", "z")
	f.Add(byte(answerBatches), []byte("OK 5 2\r\n"+one+two+"OK 9 0\r\n"))
	f.Add(byte(answerBatches), []byte("OK 9223372036854775807 1\r\n"+one))
	f.Add(byte(answerBatches), []byte("OK 0 1\r\nBATCH 9223372036854775807 t 1 1\r\n"))
	f.Add(byte(answerBatches), []byte("OK 0 1\r\nBATCH 5 t 907060870 1\r\nhello"))
	f.Add(byte(answerAppend), []byte("OK 1 1\r\nOK 2 1\r\nERR busy\r\nOK 3 1\r\nERR too large\r\n"))
	f.Add(byte(answerOK), []byte("OK\r\nERR\r\n"))
	f.Add(byte(answerOffset), []byte("OK 1 0\r\n"))
	f.Add(byte(answerBody), []byte(mok("Host: x\r\n")+mok("")))
	f.Fuzz(func(t *testing.T, kind byte, stream []byte) {
		r := newReplyReader(bytes.NewReader(stream))
		k := answerKind(kind % byte(answerBatches+1))
		for {
			cl, err := readOne(r, k)
			if got, limit := cap(cl.result.buf)+cap(cl.body), memoryFor(len(stream)); got > limit {
				t.Fatalf("%d bytes of memory for a stream of %d", got, len(stream))
			}
			if err != nil && !cl.cut {
				return
			}
			if cl.err != nil || k != answerBatches {
				continue
			}
			res := cl.result
			var again []byte
			offset := res.Offset
			for i := range res.Batches {
				b := &res.Batches[i]
				if b.Offset != offset {
					t.Fatalf("batch %d has offset %d, want %d", i, b.Offset, offset)
				}
				offset = b.Next()
				made := new(Batch)
				for m := range b.All() {
					if delta := made.Add(m.Body); delta != m.Delta || m.Offset != b.Offset {
						t.Fatalf("message %d.%d, want %d.%d", m.Offset, m.Delta, b.Offset, delta)
					}
				}
				raw, err := made.finish("t")
				if err != nil || made.Messages() != b.Messages {
					t.Fatalf("batch %d: %d messages, want %d: %v", i, made.Messages(), b.Messages, err)
				}
				if !bytes.Equal(raw, b.Raw()) {
					t.Fatalf("batch %q made again is %q", b.Raw(), raw)
				}
				again = append(again, raw...)
			}
			if !bytes.Contains(stream, again) || res.Next != offset {
				t.Fatalf("Next is %d, want %d", res.Next, offset)
			}
			if err != nil {
				return
			}
		}
	})
}

// Memory that was given back is used again, and holds nothing of what it held.
func TestResultIsReused(t *testing.T) {
	one := stored("t", strings.Repeat("a", 1000), "b")
	stream := "OK 0 1\r\n" + one
	res := new(Result)
	read := func() {
		cl := &call{kind: answerBatches, topic: "t", from: 0, messages: 10, result: res}
		r := newReplyReader(strings.NewReader(stream))
		line, err := r.line()
		if err == nil {
			err = r.answer(line, cl)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	read()
	memory := &res.buf[0]
	res.clear()
	if res.Offset != 0 || res.Next != 0 || len(res.Batches) != 0 {
		t.Errorf("a released result has %+v", res)
	}
	read()
	if &res.buf[0] != memory {
		t.Error("the memory was not used again")
	}
	if got := fmt.Sprint(len(messages(res)), res.Next == int64(len(one))); got != "2 true" {
		t.Errorf("second use: %s", got)
	}
}
