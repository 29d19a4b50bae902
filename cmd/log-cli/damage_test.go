package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/exit"
)

// A byte that changes under the running server, any byte, costs "read" the batch
// that it is in: it prints what comes before, names topic, offset and file, and
// goes on behind with --or-oldest.
func TestReadEveryByteDamaged(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, "workdir="+dir)
	var whole []byte
	step := 1
	if testing.Short() {
		step = 9
	}
	for at := 0; at == 0 || at < len(whole); at += step {
		topic := fmt.Sprintf("t%03d", at)
		var ends []int
		name := filepath.Join(dir, topic, "0.log")
		for _, line := range []string{"one", "two", "three", "four"} {
			// Without a number, whose bytes no checksum covers.
			if code, _, stderr := inProcess(t, s.addr, strings.NewReader(line+"\n"), "write", topic, "--retry", "0s"); code != exit.Done {
				t.Fatal(stderr)
			}
			var err error
			if whole, err = os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
			ends = append(ends, len(whole))
		}
		whole[at] ^= 1
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(whole[at:at+1], int64(at)); err != nil {
			t.Fatal(err)
		}
		f.Close()
		lines, begin := []string{"one\n", "two\n", "three\n", "four\n"}, 0
		i := 0
		for ; ends[i] <= at; i++ {
			begin = ends[i]
		}
		before, behind := strings.Join(lines[:i], ""), strings.Join(lines[i+1:], "")
		for range 2 {
			for _, args := range [][]string{{}, {"--or-oldest"}} {
				code, stdout, stderr := inProcess(t, s.addr, nil, append([]string{"read", topic}, args...)...)
				wantCode, want := exit.Done, before+behind
				if i > 0 && len(args) == 0 {
					wantCode, want = exit.NotFound, before
				}
				if code != wantCode || stdout != want {
					t.Fatalf("byte %d, %q: exit code %d, %q, %s", at, args, code, stdout, stderr)
				}
				for _, part := range []string{fmt.Sprint("offset ", begin), topic, topic + "/0.log", fmt.Sprint(ends[i])} {
					if !strings.Contains(stderr, part) {
						t.Fatalf("byte %d: %q does not name %s", at, stderr, part)
					}
				}
			}
		}
	}
}
