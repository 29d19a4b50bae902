package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
)

// inProcess runs log-cli in this process.
func inProcess(t *testing.T, addr string, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &cli.App{Stdin: stdin, Stdout: &out, Stderr: &errs, Getenv: func(string) string { return addr }}
	code = a.Run(t.Context(), root(a), args)
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
		code, _, stderr := inProcess(t, s.addr, strings.NewReader("before\n"+line+"\nafter\n"), "write", "-t", "long")
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
	code, _, stderr := inProcess(t, s.addr, endless, "write", "-t", "long")
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
	code, stdout, stderr := inProcess(t, s.addr, in, "write", "-t", "t")
	if code != exit.Failed || stdout != "0\n" || !strings.Contains(stderr, "lines 1 to 2 are stored; no other") || !strings.Contains(stderr, "read the input: it broke") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
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
	a := &cli.App{Stdout: io.Discard, Stderr: io.Discard, Getenv: func(string) string { return s.addr }}
	for b.Loop() {
		a.Stdin = bytes.NewReader(input)
		if code := a.Run(context.Background(), root(a), []string{"write", "-t", "t"}); code != 0 {
			b.Fatalf("exit code %d", code)
		}
	}
}
