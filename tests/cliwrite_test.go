package tests

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// TestWriteOutlivesKill has log-cli write lines as they come while the server
// is killed and started again: each line is stored once, in order.
func TestWriteOutlivesKill(t *testing.T) {
	kills := int(setting(t, "LOGD_SOAK_KILLS", 6))
	dir := t.TempDir()
	s := start(t, dir)
	addr := s.addr
	cmd := cli(t, addr, "write", "-t", "t", "--wait-interval", "1ms", "-c", "5")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	offsets := make(chan struct{}, 1)
	go func() {
		defer close(offsets)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			select {
			case offsets <- struct{}{}:
			default:
			}
		}
	}()

	// The producer writes until told to end, a little faster than batches are made.
	end := make(chan struct{})
	sent := make(chan int)
	go func() {
		n := 0
		defer func() {
			in.Close()
			sent <- n
		}()
		tick := time.NewTicker(100 * time.Microsecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-end:
				return
			}
			for range 10 {
				if _, err := fmt.Fprintf(in, "line %d\n", n+1); err != nil {
					t.Error(err)
					return
				}
				n++
			}
		}
	}()
	r := random(t)
	for range kills {
		<-offsets // it writes
		time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
		s.kill()
		s = start(t, dir, "--host", addr)
		select {
		case <-offsets:
		default:
		}
	}
	<-offsets
	close(end)
	n := <-sent
	for range offsets {
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("log-cli write: %v\n%s", err, &stderr)
	}
	var want strings.Builder
	for i := range n {
		fmt.Fprintf(&want, "line %d\n", i+1)
	}
	read := cli(t, addr, "read", "-t", "t", "--limit", "0")
	got, err := read.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Start(); err != nil {
		t.Fatal(err)
	}
	if err := sameStream(got, strings.NewReader(want.String())); err != nil {
		t.Error(err)
		io.Copy(io.Discard, got)
	}
	if err := read.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d lines over %d kills; log-cli said:\n%s", n, kills, &stderr)
}
