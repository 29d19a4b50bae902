package batch_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/logd-dev/logd/internal/batch"
)

func TestBuilder(t *testing.T) {
	var b batch.Builder
	if b.Messages() != 0 || b.Size() != 0 {
		t.Errorf("an empty Builder has %d messages, %d bytes", b.Messages(), b.Size())
	}
	b.Reset()
	var deltas []int64
	for _, body := range []string{"hello", "", "a\r\nb"} {
		before := b.Size()
		deltas = append(deltas, b.Add([]byte(body)))
		if b.Size()-before != batch.MessageLen(len(body)) {
			t.Errorf("%q took %d bytes, MessageLen says %d", body, b.Size()-before, batch.MessageLen(len(body)))
		}
	}
	if fmt.Sprint(deltas) != "[0 14 23]" || b.Messages() != 3 || b.Size() != 36 {
		t.Errorf("deltas %v, %d messages, %d bytes", deltas, b.Messages(), b.Size())
	}
	want := "BATCH 36 topic 1473237670 3\r\nMSG 5\r\nhello\r\nMSG 0\r\n\r\nMSG 4\r\na\r\nb\r\n"
	for range 2 { // Finish changes nothing
		if got := b.Finish("topic"); string(got) != want {
			t.Errorf("Finish: %q, want %q", got, want)
		}
	}
	if got := b.Add(nil); got != 36 {
		t.Errorf("delta after Finish: %d, want 36", got)
	}
	b.Reset()
	b.Add([]byte("x"))
	if got, want := string(b.Finish("t")), "BATCH 10 t 2019964379 1\r\nMSG 1\r\nx\r\n"; got != want {
		t.Errorf("after Reset: %q, want %q", got, want)
	}
}

func TestBuilderPanics(t *testing.T) {
	for name, finish := range map[string]func(b *batch.Builder){
		"no message":    func(b *batch.Builder) { b.Finish("t") },
		"reset":         func(b *batch.Builder) { b.Add(nil); b.Reset(); b.Finish("t") },
		"no topic":      func(b *batch.Builder) { b.Add(nil); b.Finish("") },
		"invalid topic": func(b *batch.Builder) { b.Add(nil); b.Finish("../t") },
		"invalid pid":   func(b *batch.Builder) { b.Add(nil); b.FinishNumbered("t", "a b", 1) },
		"negative seq":  func(b *batch.Builder) { b.Add(nil); b.FinishNumbered("t", "a", -1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: Finish did not panic", name)
				}
			}()
			finish(new(batch.Builder))
		}()
	}
}

// TestBuilderRoundTrip takes apart what Builder put together.
func TestBuilderRoundTrip(t *testing.T) {
	topics := rapid.StringMatching(`[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}`)
	bodies := rapid.SliceOfN(rapid.OneOf(
		rapid.SliceOf(rapid.Byte()),
		rapid.Just([]byte("MSG 0\r\n\r\n")),
		rapid.Just(bytes.Repeat([]byte("\r\n"), 5000)),
	), 1, 20)
	var b batch.Builder
	rapid.Check(t, func(t *rapid.T) {
		topic, bodies := topics.Draw(t, "topic"), bodies.Draw(t, "bodies")
		rest := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "rest")
		pid, seq := "", int64(0)
		if rapid.Bool().Draw(t, "numbered") {
			pid, seq = rapid.StringMatching(`[A-Za-z0-9._-]{1,32}`).Draw(t, "pid"), rapid.Int64Min(1).Draw(t, "seq")
		}
		b.Reset()
		var deltas []int64
		for _, body := range bodies {
			deltas = append(deltas, b.Add(body))
		}
		p := append(bytes.Clone(b.FinishNumbered(topic, pid, seq)), rest...)

		h, n, err := batch.Parse(p)
		if err != nil {
			t.Fatal(err)
		}
		data := p[h.Len():n]
		if string(h.Topic) != topic || string(h.PID) != pid || h.Seq != seq || h.Messages != int64(len(bodies)) || h.Size != b.Size() || !bytes.Equal(p[n:], rest) {
			t.Fatalf("parsed %+v and %q behind it", h, p[n:])
		}
		if err := batch.Check(&h, data); err != nil {
			t.Fatal(err)
		}
		m := batch.Messages{Data: data}
		for i := range bodies {
			if !m.Next() || m.Delta() != deltas[i] || !bytes.Equal(m.Body(), bodies[i]) {
				t.Fatalf("message %d: delta %d, %q", i, m.Delta(), m.Body())
			}
		}
		if m.Next() || m.Err() != nil {
			t.Fatalf("there is more: %v", m.Err())
		}
		for _, cut := range []int{h.Len() - 1, h.Len() / 2, 0} {
			if _, _, err := batch.Parse(p[:cut]); err != batch.ErrShort {
				t.Fatalf("the first %d bytes: %v", cut, err)
			}
		}
	})
}

// sample returns a batch near 64 KiB of messages with bodies of size bytes.
func sample(size int) (whole []byte, h batch.Header, data []byte, b *batch.Builder) {
	b = new(batch.Builder)
	body := []byte(strings.Repeat("x", size))
	for b.Size()+batch.MessageLen(size) <= 65536-int64(batch.MaxHeaderLen) {
		b.Add(body)
	}
	whole = b.Finish("topic")
	h, n, err := batch.Parse(whole)
	if err != nil || n != int64(len(whole)) {
		panic(err)
	}
	return whole, h, whole[h.Len():], b
}

func TestNoAllocations(t *testing.T) {
	whole, h, data, b := sample(100)
	line := bytes.TrimSuffix(whole[:h.Len()], []byte("\r\n"))
	dst := make([]byte, 0, batch.MaxHeaderLen)
	body := []byte(strings.Repeat("x", 100))
	var m batch.Messages
	for name, fn := range map[string]func(){
		"ParseHeader":  func() { batch.ParseHeader(line) },
		"Parse":        func() { batch.Parse(whole) },
		"Check":        func() { batch.Check(&h, data) },
		"AppendHeader": func() { dst = batch.AppendHeader(dst[:0], &h) },
		"Messages": func() {
			m = batch.Messages{Data: data}
			for m.Next() {
				_ = m.Body()
			}
		},
		"Builder": func() {
			b.Reset()
			for range 500 {
				b.Add(body)
			}
			b.Finish("topic")
		},
	} {
		if n := testing.AllocsPerRun(10, fn); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// each runs a benchmark with small and with larger messages.
func each(b *testing.B, fn func(b *testing.B, size int)) {
	for _, size := range []int{100, 1024} {
		b.Run(fmt.Sprintf("message=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			fn(b, size)
		})
	}
}

func BenchmarkParse(b *testing.B) {
	each(b, func(b *testing.B, size int) {
		whole, _, _, _ := sample(size)
		for b.Loop() {
			if _, _, err := batch.Parse(whole); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	each(b, func(b *testing.B, size int) {
		_, h, data, _ := sample(size)
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if err := batch.Check(&h, data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkChecksum(b *testing.B) {
	each(b, func(b *testing.B, size int) {
		_, _, data, _ := sample(size)
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			batch.Checksum(data)
		}
	})
}

func BenchmarkMessages(b *testing.B) {
	each(b, func(b *testing.B, size int) {
		_, _, data, _ := sample(size)
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			m := batch.Messages{Data: data}
			for m.Next() {
			}
			if m.Err() != nil {
				b.Fatal(m.Err())
			}
		}
	})
}

func BenchmarkBuilder(b *testing.B) {
	each(b, func(b *testing.B, size int) {
		_, h, _, builder := sample(size)
		body := []byte(strings.Repeat("x", size))
		b.SetBytes(h.Size)
		for b.Loop() {
			builder.Reset()
			for range h.Messages {
				builder.Add(body)
			}
			builder.Finish("topic")
		}
	})
}
