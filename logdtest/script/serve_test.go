package script_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/logdtest/memnet"
	"github.com/logd-dev/logd/logdtest/script"
)

// dialNet connects to an address of the network, for one test.
func dialNet(t *testing.T, network *memnet.Network, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := network.Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, bufio.NewReader(c)
}

// exchange sends a request and reads a line of answer.
func exchange(t *testing.T, c net.Conn, br *bufio.Reader, request string) string {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	line, err := br.ReadString('\n')
	if err != nil {
		t.Fatalf("the answer ends with %v", err)
	}
	return strings.TrimSpace(line)
}

// A script on a network in memory works in a bubble, however long a step takes.
func TestScriptInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		s := script.On(t, network, "log:1774")
		s.Play(script.Accept(), script.Expect("PING"), script.Answer("OK\r\n"), script.Cut())
		time.Sleep(10 * script.StepTimeout)
		c, br := dialNet(t, network, s.Addr())
		time.Sleep(10 * script.StepTimeout)
		if got := exchange(t, c, br, "PING\r\n"); got != "OK" {
			t.Errorf("answer %q", got)
		}
		if _, err := br.ReadByte(); err != io.EOF {
			t.Errorf("after the cut: %v", err)
		}
		s.Play(script.Refuse())
		s.Wait()
		if _, err := network.Dial(t.Context(), "tcp", s.Addr()); err == nil {
			t.Error("connected to a server that refuses")
		}
		s.Play(script.Listen())
		s.Wait()
		s.Play(script.Accept(), script.ExpectBytes(2), script.Reset())
		s2, br := dialNet(t, network, s.Addr())
		io.WriteString(s2, "PI")
		if _, err := br.ReadByte(); err == nil || err == io.EOF {
			t.Errorf("read ends with %v, want a reset", err)
		}
		s.Play(script.Accept(), script.ExpectNothing(time.Hour), script.ExpectClose())
		s3, _ := dialNet(t, network, s.Addr())
		start := time.Now()
		time.Sleep(2 * time.Hour)
		s3.Close()
		s.Wait()
		if took := time.Since(start); took != 2*time.Hour {
			t.Errorf("took %v", took)
		}
	})
}

func TestLog(t *testing.T) {
	network := memnet.New(t)
	l := &script.Log{MaxBatchSize: 1000}
	refuse, half := false, false
	l.OnBatch = func(p *script.Peer, messages []string) string {
		if refuse {
			return "ERR busy\r\n"
		}
		return ""
	}
	l.OnStored = func(p *script.Peer, messages []string, answer string) string {
		if half {
			return answer[:3] + "\n"
		}
		return answer
	}
	script.Serve(t, network, "log:1774", l.Serve)
	c, br := dialNet(t, network, "log:1774")
	if got := exchange(t, c, br, "CONFIG\r\n"); !strings.HasPrefix(got, "MOK ") {
		t.Errorf("CONFIG: %q", got)
	}
	for !strings.HasPrefix(exchange(t, c, br, ""), "MaxBatchSize: 1000") {
	}
	br.ReadString('\n')
	if got := exchange(t, c, br, batch); got != "OK 0 1" {
		t.Errorf("BATCH: %q", got)
	}
	refuse = true
	if got := exchange(t, c, br, batch); got != "ERR busy" {
		t.Errorf("BATCH: %q", got)
	}
	refuse, half = false, true
	if got := exchange(t, c, br, batch); got != "OK" {
		t.Errorf("BATCH: %q", got)
	}
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("behind another answer: %v", err)
	}
	if !slices.Equal(l.Messages(), []string{"a", "a"}) || !slices.Equal(l.IDs(), []string{"0.0", fmt.Sprintf("%d.0", len(batch))}) ||
		!slices.Equal(l.Batches(), []int{1, 1}) || l.Next("t") != int64(2*len(batch)) || l.Next("other") != 0 {
		t.Errorf("%q as %q in %v, next %d", l.Messages(), l.IDs(), l.Batches(), l.Next("t"))
	}
}

// A Log that knows numbers stores each batch once, and one that does not refuses
// numbered batches.
func TestLogNumbered(t *testing.T) {
	network := memnet.New(t)
	l := &script.Log{Producers: 100}
	script.Serve(t, network, "log:1774", l.Serve)
	script.Serve(t, network, "plain:1774", new(script.Log).Serve)
	c, br := dialNet(t, network, "log:1774")
	number := func(b string, seq int) string {
		return strings.Replace(b, "\r\n", fmt.Sprintf(" pid=p seq=%d\r\n", seq), 1)
	}
	first, length := number(batch, 1), len(number(batch, 1))
	for _, step := range [][2]string{
		{first, "OK 0 1"}, {first, "OK 0 1"}, {number(batch, 3), "ERR out of order 2"}, {number(batch, 2), fmt.Sprintf("OK %d 1", length)},
		{batch, fmt.Sprintf("OK %d 1", 2*length)}, {first, "OK 0 1"},
	} {
		if got := exchange(t, c, br, step[0]); got != step[1] {
			t.Errorf("%q: %q, want %q", step[0], got, step[1])
		}
	}
	if n := len(l.Messages()); n != 3 {
		t.Errorf("%d messages are stored", n)
	}
	c, br = dialNet(t, network, "plain:1774")
	if got := exchange(t, c, br, first); got != "ERR invalid request" {
		t.Errorf("to one without numbers: %q", got)
	}
}

// What a client sends and should not fails the test, also in the hands of a
// function.
func TestPeerFails(t *testing.T) {
	for name, tt := range map[string]struct {
		sends, says string
		serve       func(*script.Peer)
	}{
		"another request":  {"PING\r\n", `"PING"`, func(p *script.Peer) { p.Expect("BATCH") }},
		"no request":       {"NONSENSE\r\n", "NONSENSE", func(p *script.Peer) { p.Request() }},
		"a damaged batch":  {"BATCH 10 t 1 1\r\nMSG 1\r\na\r\n", "checksum", func(p *script.Peer) { p.Request() }},
		"not for a Log":    {"INFO t\r\n", "INFO t", new(script.Log).Serve},
		"a connection end": {"PI", "", func(p *script.Peer) { p.Request() }},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			network := memnet.New(t)
			done := make(chan struct{})
			script.Serve(r, network, "log:1774", func(p *script.Peer) {
				tt.serve(p)
				close(done)
			})
			c, err := network.Dial(t.Context(), "tcp", "log:1774")
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, tt.sends)
			c.Close()
			<-done
			if got := r.end(); !strings.Contains(got, tt.says) || tt.says == "" && got != "" {
				t.Errorf("the test fails with %q, which does not say %q", got, tt.says)
			}
		})
	}
}
