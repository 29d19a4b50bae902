package tests

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// resident returns how many bytes of memory the process has, now and at most
// so far (Linux, proc_pid_status(5): VmRSS, VmHWM).
func (s *server) resident() (now, most int64) {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Skipf("this machine does not tell the memory of a process: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case name == "VmRSS":
			now = kib << 10
		case name == "VmHWM":
			most = kib << 10
		}
	}
	return now, most
}

// descriptors has this process, and those that it starts, open so many files
// and more.
func descriptors(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= n {
		return
	}
	limit.Cur, limit.Max = n, max(limit.Max, n)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		cannot(t, "needs %d open files: %v", n, err)
	}
}

// TestIdleConnections has 10,000 clients that do nothing: they cost little
// memory, and one that does something is served.
func TestIdleConnections(t *testing.T) {
	const n, each = 10_000, 16 << 10
	descriptors(t, n+2000)
	s := start(t, t.TempDir(), "--max-connections", fmt.Sprint(n+10))
	c := dial(t, s.addr)
	c.append("t", "before")
	before, _ := s.resident()
	for range n {
		idle, err := net.DialTimeout("tcp", s.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer idle.Close()
	}
	eventually(t, "all connections are accepted", func() bool { return c.stat("conns.active") > n })
	c.append("t", "between")
	after, _ := s.resident()
	t.Logf("%d idle connections take %d bytes each", n, (after-before)/n)
	if after-before > n*each {
		t.Errorf("%d idle connections take %d bytes, want %d each at most", n, after-before, each)
	}
	if got := len(stored(t, s.addr, "t")); got != 2 {
		t.Errorf("%d batches are stored, want 2", got)
	}
}

// TestSlowClients has 500 clients that send a batch byte by byte, or read
// nothing of what they ask for, beside one that is served all the while. The
// slow ones are cut off in the end.
func TestSlowClients(t *testing.T) {
	const n, timeout = 500, 3 * time.Second
	descriptors(t, 4*n)
	s := start(t, t.TempDir(), "--timeout", timeout.String(), "--batch-size", "1MiB")
	good := dial(t, s.addr)
	page := strings.Repeat("a line of text that many readers want\n", 20_000)
	for range 20 {
		good.append("pages", page)
	}
	before, _ := s.resident()

	slow := make([]*net.TCPConn, n)
	half := []byte(encode("t", page))
	half = half[:len(half)-1]
	wants := bytes.Repeat([]byte("READ pages 0 20\r\n"), 20)
	for i := range slow {
		c, err := net.DialTimeout("tcp", s.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		slow[i] = c.(*net.TCPConn)
		defer slow[i].Close()
	}
	done := make(chan struct{})
	var group sync.WaitGroup
	for i, c := range slow {
		group.Go(func() {
			if i%2 == 0 {
				c.SetReadBuffer(4 << 10)
				c.Write(wants) // and reads nothing of the answers
				return
			}
			// 10,000 bytes of a batch at once, and then a byte at a time.
			c.Write(half[:10_000])
			for at := 10_000; at < len(half); at++ {
				select {
				case <-done:
					return
				case <-time.After(50 * time.Millisecond):
				}
				if _, err := c.Write(half[at : at+1]); err != nil {
					return
				}
			}
		})
	}
	var slowest time.Duration
	for i, begun := 0, time.Now(); time.Since(begun) < timeout+2*time.Second; i++ {
		asked := time.Now()
		offset := good.append("t", fmt.Sprint(i))
		if got := good.read("t", offset, 1); len(got) != 1 {
			t.Fatalf("%d batches at %d", len(got), offset)
		}
		slowest = max(slowest, time.Since(asked))
		time.Sleep(10 * time.Millisecond)
	}
	// A client that has to wait for another one waits for its deadline.
	if slowest > timeout/2 {
		t.Errorf("beside %d slow clients an append and a read take %v", n, slowest)
	}
	_, most := s.resident()
	t.Logf("beside %d slow clients an append and a read take %v at most, and the server %d bytes more", n, slowest, most-before)
	// Each of the half has sent 10,000 bytes.
	if more := most - before; more > n*64<<10 {
		t.Errorf("%d slow clients take %d bytes", n, more)
	}
	eventually(t, "the slow clients are cut off", func() bool { return good.stat("conns.active") == 1 })
	close(done)
	group.Wait()
	if got := good.stat("conns.panics"); got != 0 {
		t.Errorf("%d panics", got)
	}
}
