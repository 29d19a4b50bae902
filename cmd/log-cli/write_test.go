package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
)

// cli runs log-cli in this process.
func cli(t *testing.T, addr string, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdin: stdin, stdout: &out, stderr: &errs, getenv: func(string) string { return addr }}
	code = a.run(t.Context(), args)
	return code, out.String(), errs.String()
}

// A line may be as long as a batch can hold, to the byte, and no longer.
func TestLongestLine(t *testing.T) {
	const max = 1024
	s := serve(t, "batch-size=1KiB")
	fitted := 0
	for n := max - 60; n < max; n++ {
		line := strings.Repeat("x", n)
		var b logd.Batch
		b.Add([]byte(line))
		fits := b.Len("long") <= max
		code, _, stderr := cli(t, s.addr, strings.NewReader("before\n"+line+"\nafter\n"), "write", "-t", "long")
		if fits {
			fitted++
			if code != exit.Done || stderr != "" {
				t.Errorf("a line of %d bytes: exit code %d, %s", n, code, stderr)
			}
			continue
		}
		want := "log-cli: line 1 is stored; no other line is stored\n" +
			"log-cli: line 2 is too long: no batch can hold it, which the server limits to 1024 bytes\n"
		if code != exit.Failed || stderr != want {
			t.Errorf("a line of %d bytes: exit code %d, standard error %q, want %q", n, code, stderr, want)
		}
	}
	if fitted == 0 || fitted == 60 {
		t.Errorf("%d of 60 lengths fit: the limit was not met", fitted)
	}
	// One without an end in sight is given up before it is read to the end.
	endless := io.MultiReader(strings.NewReader("before\n"), endlessReader{})
	code, _, stderr := cli(t, s.addr, endless, "write", "-t", "long")
	if code != exit.Failed || !strings.Contains(stderr, "line 2 is too long") {
		t.Errorf("an endless line: exit code %d, %s", code, stderr)
	}
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestInputFails(t *testing.T) {
	s := serve(t)
	in := io.MultiReader(strings.NewReader("one\ntwo\nth"), iotest.ErrReader(errors.New("it broke")))
	code, stdout, stderr := cli(t, s.addr, in, "write", "-t", "t")
	if code != exit.Failed || stdout != "0\n" || !strings.Contains(stderr, "lines 1 to 2 are stored; no other") || !strings.Contains(stderr, "read the input: it broke") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

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

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "65536": 65536, "64KiB": 65536, "64kib": 65536, "2MB": 2e6, "1GiB": 1 << 30, "7B": 7, "3kB": 3000, "3KB": 3000,
	} {
		var s size
		if err := s.Set(text); err != nil || int64(s) != want {
			t.Errorf("Set(%q) = %d, %v, want %d", text, s, err, want)
		}
		var back size
		if err := back.Set(s.String()); err != nil || back != s {
			t.Errorf("%q is printed as %q, which is %d, %v", text, &s, back, err)
		}
	}
	for _, text := range []string{"", "KiB", "x", "-1", "1.5KiB", "64K", "1 KiB", "99999999999GiB", "99999999999999999999"} {
		var s size
		if err := s.Set(text); err == nil {
			t.Errorf("Set(%q) = %d", text, s)
		}
	}
}

func TestAccount(t *testing.T) {
	var a account
	if got, want := a.report("line"), "no line is stored"; got != want {
		t.Errorf("report = %q, want %q", got, want)
	}
	a.add(1, 3, stored)
	a.add(4, 4, stored)
	a.add(5, 5, unknown)
	a.add(7, 7, stored)
	want := "lines 1 to 4 are stored; line 5 may be stored or not; line 7 is stored; no other line is stored"
	if got := a.report("line"); got != want {
		t.Errorf("report = %q, want %q", got, want)
	}
}

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{"MaxBatchSize": "max_batch_size", "Host": "host", "OldestTime": "oldest_time", "x": "x", "": ""} {
		if got := snake(name); got != want {
			t.Errorf("snake(%q) = %q, want %q", name, got, want)
		}
	}
}

// The last messages are found whatever the batches are like.
func TestLast(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := serve(t)
	client, err := logd.Dial(t.Context(), logd.ClientConfig{Addrs: []string{s.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, batches := range []int{1, 2, 300} {
		topic := fmt.Sprint("t", batches)
		type name struct{ offset, delta int64 }
		var all []name
		for range batches {
			var b logd.Batch
			var deltas []int64
			for range 1 + rnd.IntN(5) {
				// Few are long, so that the mean says little of most places.
				n := rnd.IntN(20)
				if rnd.IntN(20) == 0 {
					n = rnd.IntN(20000)
				}
				deltas = append(deltas, b.Add(make([]byte, n)))
			}
			// Appended one by one: their times differ.
			offset, err := client.Append(t.Context(), topic, &b)
			if err != nil {
				t.Fatal(err)
			}
			for _, delta := range deltas {
				all = append(all, name{offset, delta})
			}
		}
		f := &finder{client: client, topic: topic}
		for _, n := range []int{1, 2, 3, 7, 50, 100, len(all) - 1, len(all), len(all) + 1, 10 * len(all)} {
			if n < 1 {
				continue
			}
			offset, delta, err := f.last(t.Context(), int64(n))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := (name{offset, delta}), all[max(len(all)-n, 0)]; got != want {
				t.Errorf("the last %d of %d messages begin at %d, want %d", n, len(all), got, want)
			}
		}
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

// BenchmarkWrite writes lines to a server in the same process.
func BenchmarkWrite(b *testing.B) {
	s, err := startServer(b.TempDir(), "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer s.stop()
	line := append(bytes.Repeat([]byte("x"), 99), '\n')
	input := bytes.Repeat(line, 64<<20/len(line))
	b.SetBytes(int64(len(input)))
	a := &app{stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return s.addr }}
	for b.Loop() {
		a.stdin = bytes.NewReader(input)
		if code := a.run(context.Background(), []string{"write", "-t", "t"}); code != 0 {
			b.Fatalf("exit code %d", code)
		}
	}
}
