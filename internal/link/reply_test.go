package link

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
)

var unbounded = func() Options {
	o := options("")
	o.MaxReplySize = math.MaxInt64
	return o
}()

func newReplyReader(stream io.Reader) *replyReader {
	return &replyReader{br: bufio.NewReaderSize(stream, readChunk), opts: &unbounded}
}

// readCall returns a call for so many messages of topic t, from its beginning.
func readCall(messages int64) *Call {
	cl := new(Call)
	cl.kind, cl.topic, cl.messages, cl.batches = AnswerBatches, "t", messages, new(Batches)
	return cl
}

// readOne reads one answer of the stream for a call of the kind.
func readOne(r *replyReader, kind AnswerKind) (*Call, error) {
	cl := readCall(math.MaxInt64)
	cl.kind, cl.from, cl.MaxBody = kind, -1, math.MaxInt64
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
		kind AnswerKind
		head string
	}{
		{AnswerBatches, "OK 0 1\r\nBATCH 9000000000000000000 t 1 1\r\nMSG 4000000000000000000\r\n"},
		{AnswerBatches, "OK 0 9000000000000000000\r\nBATCH 1000000000000 t 1 10000000\r\nMSG 900000000000\r\n"},
		{AnswerBody, "MOK 9000000000000000000\r\n"},
	} {
		for _, arrived := range []int{0, 100, 1 << 20, 5<<20 + 1} {
			stream := tt.head + strings.Repeat("x", arrived)
			cl, err := readOne(newReplyReader(strings.NewReader(stream)), tt.kind)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%.30q and %d bytes: %v, want unexpected end", tt.head, arrived, err)
			}
			if got, limit := cap(cl.batches.Buf)+cap(cl.Body), memoryFor(len(stream)); got > limit {
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
	f.Add(byte(AnswerBatches), []byte("OK 5 2\r\n"+one+two+"OK 9 0\r\n"))
	f.Add(byte(AnswerBatches), []byte("OK 9223372036854775807 1\r\n"+one))
	f.Add(byte(AnswerBatches), []byte("OK 0 1\r\nBATCH 9223372036854775807 t 1 1\r\n"))
	f.Add(byte(AnswerBatches), []byte("OK 0 1\r\nBATCH 5 t 907060870 1\r\nhello"))
	f.Add(byte(answerAppend), []byte("OK 1 1\r\nOK 2 1\r\nERR busy\r\nOK 3 1\r\nERR too large\r\n"))
	f.Add(byte(AnswerOK), []byte("OK\r\nERR\r\n"))
	f.Add(byte(AnswerOffset), []byte("OK 1 0\r\n"))
	f.Add(byte(AnswerBody), []byte(mok("Host: x\r\n")+mok("")))
	f.Add(byte(AnswerAny), []byte("OK\r\nOK 5 0\r\n"+mok("x")+"ERR busy\r\nOK 5 1\r\n"))
	f.Fuzz(func(t *testing.T, kind byte, stream []byte) {
		r := newReplyReader(bytes.NewReader(stream))
		k := AnswerKind(kind % byte(AnswerAny+1))
		for {
			cl, err := readOne(r, k)
			if got, limit := cap(cl.batches.Buf)+cap(cl.Body), memoryFor(len(stream)); got > limit {
				t.Fatalf("%d bytes of memory for a stream of %d", got, len(stream))
			}
			if err != nil && !cl.cut {
				return
			}
			if cl.err != nil || k != AnswerBatches {
				continue
			}
			res := cl.batches
			var again []byte
			for i, at := range res.Extents {
				raw := rawOf(res, i)
				if want := res.Offset + int64(len(again)); at.Offset != want {
					t.Fatalf("batch %d has offset %d, want %d", i, at.Offset, want)
				}
				var made batch.Builder
				messages := batch.Messages{Data: raw[at.Header:]}
				for messages.Next() {
					if delta := made.Add(messages.Body()); delta != messages.Delta() {
						t.Fatalf("message %d.%d, want %d.%d", at.Offset, messages.Delta(), at.Offset, delta)
					}
				}
				if made.Messages() != at.Messages {
					t.Fatalf("batch %d: %d messages, want %d", i, made.Messages(), at.Messages)
				}
				if got := made.Finish("t"); !bytes.Equal(got, raw) {
					t.Fatalf("batch %q made again is %q", raw, got)
				}
				again = append(again, raw...)
			}
			offset := res.Offset + int64(len(again))
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
func TestBatchesAreReused(t *testing.T) {
	one := stored("t", strings.Repeat("a", 1000), "b")
	stream := "OK 0 1\r\n" + one
	res := new(Batches)
	read := func() {
		cl := readCall(10)
		cl.batches = res
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
	memory := &res.Buf[0]
	res.clear()
	if res.Offset != 0 || res.Next != 0 || len(res.Extents) != 0 || len(res.Buf) != 0 {
		t.Errorf("what is released has %+v", res)
	}
	read()
	if &res.Buf[0] != memory {
		t.Error("the memory was not used again")
	}
	if got := fmt.Sprint(len(res.Extents), res.Extents[0].Messages, res.Next == int64(len(one)), string(rawOf(res, 0)) == one); got != "1 2 true true" {
		t.Errorf("second use: %s", got)
	}
}
