package write

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/logd-dev/logd"
)

// Lines are the same however the input comes, and make it again.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\r\n\n\nb\rc\nlast"), uint16(3))
	f.Add([]byte("\n"), uint16(1))
	f.Add([]byte("no end"), uint16(2))
	f.Add([]byte(""), uint16(1))
	f.Fuzz(func(t *testing.T, input []byte, step uint16) {
		var got, want []string
		l := &lines{max: int64(len(input))}
		add := func(line []byte) error {
			got = append(got, string(line))
			return nil
		}
		for rest := bytes.Clone(input); len(rest) > 0; {
			n := min(int(step)+1, len(rest))
			if err := l.each(rest[:n], add); err != nil {
				t.Fatal(err)
			}
			clear(rest[:n]) // memory is used again for other input
			rest = rest[n:]
		}
		if err := l.last(add); err != nil {
			t.Fatal(err)
		}
		whole := string(input)
		if text := strings.TrimSuffix(whole, "\n"); len(input) > 0 {
			want = strings.Split(text, "\n")
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("lines of %q: %q, want %q", input, got, want)
		}
		again := strings.Join(got, "\n")
		if len(got) > 0 {
			again += "\n"
		}
		if again != whole && again != whole+"\n" {
			t.Fatalf("%q gives %q", whole, again)
		}
	})
}

func TestLinesStopAtTheLimit(t *testing.T) {
	l := &lines{max: 10}
	err := l.each([]byte("short\n0123456789"), func([]byte) error { return nil })
	if err != nil {
		t.Errorf("10 bytes: %v", err)
	}
	if err := l.each([]byte("x"), nil); !errors.Is(err, errTooLong) {
		t.Errorf("11 bytes: %v, want too long", err)
	}
}

// BenchmarkLines is what log-cli write does with its input.
func BenchmarkLines(b *testing.B) {
	line := append(bytes.Repeat([]byte("x"), 99), '\n')
	input := bytes.Repeat(line, chunkSize/len(line))
	var batch logd.Batch
	b.SetBytes(int64(len(input)))
	b.ReportAllocs()
	split := &lines{max: logd.DefaultMaxBatchSize}
	add := func(line []byte) error {
		if !batch.Fits("topic", len(line), logd.DefaultMaxBatchSize) {
			batch.Reset()
		}
		batch.Add(line)
		return nil
	}
	for b.Loop() {
		if err := split.each(input, add); err != nil {
			b.Fatal(err)
		}
	}
}
