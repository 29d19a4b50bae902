package write

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/logdtest"
)

// writeTo runs write against the server at addr.
func writeTo(t *testing.T, addr string, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &cli.App{Stdin: stdin, Stdout: &out, Stderr: &errs, Getenv: func(name string) string { return map[string]string{cli.CLIHostEnv: addr}[name] }}
	code = a.Run(t.Context(), a.Root([]*cobra.Command{Command(a)}, nil), append([]string{"write"}, args...))
	return code, out.String(), errs.String()
}

// A line may be as long as a batch can hold, to the byte, and no longer.
func TestLongestLine(t *testing.T) {
	const max = 1024
	addr := logdtest.Start(t, logdtest.BatchSize(max)).Addr()
	fitted := 0
	const number = len(" pid=") + 32 + len(" seq=") + 19 // for which a batch has room
	for n := max - number - 60; n < max-number; n++ {
		line := strings.Repeat("x", n)
		var b logd.Batch
		b.Add([]byte(line))
		fits := b.Len("long") <= max-int64(number)
		code, _, stderr := writeTo(t, addr, strings.NewReader("before\n"+line+"\nafter\n"), "-t", "long")
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
	code, _, stderr := writeTo(t, addr, endless, "-t", "long")
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
	addr := logdtest.Start(t).Addr()
	in := io.MultiReader(strings.NewReader("one\ntwo\nth"), iotest.ErrReader(errors.New("it broke")))
	code, stdout, stderr := writeTo(t, addr, in, "-t", "t")
	if code != exit.Failed || stdout != "0\n" || !strings.Contains(stderr, "lines 1 to 2 are stored; no other") || !strings.Contains(stderr, "read the input: it broke") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

// BenchmarkWrite writes lines to a server in the same process.
func BenchmarkWrite(b *testing.B) {
	addr := logdtest.Start(b).Addr()
	line := append(bytes.Repeat([]byte("x"), 99), '\n')
	input := bytes.Repeat(line, 64<<20/len(line))
	b.SetBytes(int64(len(input)))
	a := &cli.App{Stdout: io.Discard, Stderr: io.Discard, Getenv: func(name string) string { return map[string]string{cli.CLIHostEnv: addr}[name] }}
	for b.Loop() {
		a.Stdin = bytes.NewReader(input)
		if code := a.Run(context.Background(), a.Root([]*cobra.Command{Command(a)}, nil), []string{"write", "-t", "t"}); code != 0 {
			b.Fatalf("exit code %d", code)
		}
	}
}
