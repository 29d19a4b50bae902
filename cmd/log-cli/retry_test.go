package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/exit"
)

// A writer outlives its server: nothing is lost and nothing is stored twice,
// also what was on its way when the server went.
func TestWriteOutlivesTheServer(t *testing.T) {
	dir := t.TempDir()
	s, err := startServer(dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}()
	p := start(t, s.addr, "write", "-t", "t", "--wait-interval", "1ms", "-c", "3")
	var want strings.Builder
	line := 0
	for range 5 {
		for range 200 {
			line++
			fmt.Fprintf(p.in, "line %d\n", line)
			fmt.Fprintf(&want, "line %d\n", line)
		}
		p.line() // some is stored
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		for range 50 { // while there is no server
			line++
			fmt.Fprintf(p.in, "line %d\n", line)
			fmt.Fprintf(&want, "line %d\n", line)
		}
		if s, err = startServer(dir, s.addr); err != nil {
			t.Fatal(err)
		}
	}
	p.in.Close()
	if code := p.wait(); code != exit.Done {
		t.Errorf("exit code %d, standard error %q", code, &p.stderr)
	}
	if got := run(t, s.addr, "", "read", "-t", "t", "--limit", "0"); got != want.String() {
		t.Errorf("stored %d bytes, want %d: %s", len(got), want.Len(), firstDifference(got, want.String()))
	}
}

// firstDifference names the first line in which two texts differ.
func firstDifference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return fmt.Sprintf("line %d is %q, want %q", i+1, as[i], bs[i])
		}
	}
	return "one is longer"
}

// cutProxy passes connections on to a server, and ends the first ones when the
// server has answered so many times: what it answers then does not arrive.
type cutProxy struct {
	ln    net.Listener
	group sync.WaitGroup

	mu   sync.Mutex
	cuts []int // how many answers each connection gets
}

func newCutProxy(t *testing.T, addr string, cuts ...int) *cutProxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &cutProxy{ln: ln, cuts: cuts}
	p.group.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			left := -1
			p.mu.Lock()
			if len(p.cuts) > 0 {
				left, p.cuts = p.cuts[0], p.cuts[1:]
			}
			p.mu.Unlock()
			p.group.Go(func() { pass(nc, addr, left) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		p.group.Wait()
	})
	return p
}

// pass serves one connection. Of a cut one it waits until the server has
// answered all that was sent, so that the requests are stored.
func pass(client net.Conn, addr string, left int) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
	}()
	if left < 0 {
		io.Copy(client, server)
		return
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		for _, answer := range bytes.SplitAfter(buf[:n], []byte("\r\n")) {
			if bytes.HasPrefix(answer, []byte("OK ")) {
				if left == 0 {
					client.(*net.TCPConn).CloseWrite()
					client.Close()
					io.Copy(io.Discard, server)
					return
				}
				left--
			}
			client.Write(answer)
		}
	}
}

// What was stored without an answer is not stored again, and what looks the
// same is not taken for it.
func TestWriteLooksForWhatWasNotAnswered(t *testing.T) {
	s := serve(t)
	for cut := range 4 {
		topic := fmt.Sprint("t", cut)
		p := newCutProxy(t, s.addr, cut, 0)
		// All batches are alike.
		input := strings.Repeat("same\n", 9)
		code, stdout, stderr := inProcess(t, p.ln.Addr().String(), strings.NewReader(input), "write", "-t", topic, "-c", "3")
		if code != exit.Done {
			t.Errorf("cut after %d answers: exit code %d, %s", cut, code, stderr)
		}
		if n := strings.Count(stdout, "\n"); n != 3 {
			t.Errorf("cut after %d answers: %d offsets, want 3:\n%s", cut, n, stdout)
		}
		if got := run(t, s.addr, "", "read", "-t", topic, "--limit", "0"); got != input {
			t.Errorf("cut after %d answers: stored %q, want %q", cut, got, input)
		}
	}
}

// Patience has an end, and then what is not stored is said.
func TestWriteGivesUp(t *testing.T) {
	s, err := startServer(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, s.addr, "write", "-t", "t", "--wait-interval", "1ms", "--retry", "10ms")
	fmt.Fprintln(p.in, "one")
	p.line()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(p.in, "two")
	if code := p.wait(); code != exit.Temporary {
		t.Errorf("exit code %d", code)
	}
	text := p.stderr.String()
	for _, want := range []string{"; trying on\n", "line 1 is stored; no other line is stored\n", "the server was away for 10ms: "} {
		if !strings.Contains(text, want) {
			t.Errorf("standard error has no %q:\n%s", want, text)
		}
	}
}

// Arguments are not waited with, unless that is wanted.
func TestWriteArgumentsWait(t *testing.T) {
	s := serve(t)
	for _, retry := range []string{"", "30s"} {
		p := newCutProxy(t, s.addr, 0, 0)
		args := []string{"write", "-t", "t" + retry, "x"}
		if retry != "" {
			args = append(args, "--retry", retry)
		}
		code, _, stderr := inProcess(t, p.ln.Addr().String(), nil, args...)
		if want := map[string]int{"": exit.Temporary, "30s": exit.Done}[retry]; code != want {
			t.Errorf("--retry %q: exit code %d, want %d: %s", retry, code, want, stderr)
		}
	}
	if got := run(t, s.addr, "", "read", "-t", "t30s"); got != "x\n" {
		t.Errorf("stored %q", got)
	}
}

// What a run could not store the next one stores first.
func TestWriteBacklog(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(t.TempDir(), "backlog")
	s, err := startServer(dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// Without a server at the start nothing is taken.
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	input := strings.NewReader("none\n")
	if code, _, stderr := inProcess(t, s.addr, input, "write", "-t", "t", "--backlog", path); code != exit.Temporary || input.Len() == 0 {
		t.Errorf("no server at the start: exit code %d, %d bytes left: %s", code, input.Len(), stderr)
	}
	if s, err = startServer(dir, s.addr); err != nil {
		t.Fatal(err)
	}
	p := start(t, s.addr, "write", "-t", "t", "--wait-interval", "1ms", "--retry", "10ms", "--backlog", path)
	fmt.Fprintln(p.in, "one")
	p.line()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(p.in, "two\nthree")
	if code := p.wait(); code != exit.Temporary {
		t.Errorf("exit code %d: %s", code, &p.stderr)
	}
	want := "log-cli: line 1 is stored; lines 2 to 3 are in the backlog; no other line is stored\n"
	if text := p.stderr.String(); !strings.Contains(text, want) {
		t.Errorf("standard error has no %q:\n%s", want, text)
	}

	if s, err = startServer(dir, s.addr); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}()
	code, _, stderr := inProcess(t, s.addr, nil, "write", "-t", "other", "--backlog", path, "x")
	if code != exit.Usage || !strings.Contains(stderr, `which has messages for topic "t"`) {
		t.Errorf("another topic: exit code %d: %s", code, stderr)
	}
	code, stdout, stderr := inProcess(t, s.addr, nil, "write", "-t", "t", "--backlog", path, "four")
	if code != exit.Done || strings.Count(stdout, "\n") != 2 || !strings.Contains(stderr, "2 messages that an earlier run has left in "+path+" are stored\n") {
		t.Errorf("the next run: exit code %d, %q, %q", code, stdout, stderr)
	}
	if got := run(t, s.addr, "", "read", "-t", "t", "--limit", "0"); got != "one\ntwo\nthree\nfour\n" {
		t.Errorf("stored %q", got)
	}
	// Nothing is left.
	code, _, stderr = inProcess(t, s.addr, nil, "write", "-t", "t", "--backlog", path, "five")
	if code != exit.Done || stderr != "" {
		t.Errorf("an empty backlog: exit code %d, %q", code, stderr)
	}
}

// A batch that the server refuses is kept, too.
func TestWriteBacklogOfRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backlog")
	s := serve(t, "topics-whitelist=good")
	for range 2 {
		code, _, stderr := inProcess(t, s.addr, nil, "write", "-t", "bad", "--backlog", path, "x")
		if code != exit.Refused {
			t.Errorf("exit code %d: %s", code, stderr)
		}
	}
	b, err := backlog.OpenDisk(backlog.DiskConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if n := b.Len(); n != 1 {
		t.Errorf("%d batches are kept, want 1: the second run did not get to its own", n)
	}
}

// A topic that is read only is said to be so with the reason.
func TestReadOnlyHasItsCause(t *testing.T) {
	dir := t.TempDir()
	s, err := startServer(dir, "127.0.0.1:0", "flush-batches=1")
	if err != nil {
		t.Fatal(err)
	}
	run(t, s.addr, "", "write", "t", "one")
	if err := os.RemoveAll(filepath.Join(dir, "t")); err != nil {
		t.Fatal(err)
	}
	code, _, _ := inProcess(t, s.addr, nil, "write", "t", "two") // which notices
	if code == exit.Done {
		t.Error("a batch is acknowledged that no name leads to")
	}
	code, _, stderr := inProcess(t, s.addr, nil, "write", "t", "three")
	if code != exit.Refused || !strings.Contains(stderr, ": read only: ") || !strings.Contains(stderr, "removed, replaced or cut short by another program") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	s.stop() // which can't sync what is gone
}
