package server_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// watchedConn is the server's side of a pipe; it keeps what is written with
// each call.
type watchedConn struct {
	net.Conn
	writes []string
}

func (c *watchedConn) Write(p []byte) (int, error) {
	c.writes = append(c.writes, string(p))
	return c.Conn.Write(p)
}

// TestPipelinedAnswersLeaveTogether: requests that arrive together are
// answered with one write, in order, errors among them too; a batch that is
// read is not held up by it.
func TestPipelinedAnswersLeaveTogether(t *testing.T) {
	b := testkit.Batch("t", "one")
	n := len(b)
	wrong := strings.Replace(b, "one", "two", 1)
	for name, test := range map[string]struct {
		request string
		writes  []string
		closes  bool
	}{
		"batches":  {b + b + b, []string{fmt.Sprintf("OK 0 1\r\nOK %d 1\r\nOK %d 1\r\n", n, 2*n)}, false},
		"commands": {"PING\r\nTOPICS\r\nPING\r\n", []string{"OK\r\nMOK 0\r\n\r\nOK\r\n"}, false},
		"topics": {
			b + testkit.Batch("u", "x") + b,
			[]string{fmt.Sprintf("OK 0 1\r\nOK 0 1\r\nOK %d 1\r\n", n)}, false,
		},
		"errors that keep": {
			b + wrong + "READ t 1 1\r\n" + "BATCH 0 t 0 0\r\n" + "SEEK x 0\r\n" + "AUTH x\r\n" + b,
			[]string{fmt.Sprintf("OK 0 1\r\nERR checksum mismatch\r\nERR not found\r\nERR invalid request\r\nERR not found\r\nERR invalid request\r\nOK %d 1\r\n", n)}, false,
		},
		"errors that close": {b + "what\r\n" + b, []string{"OK 0 1\r\nERR invalid protocol\r\n"}, true},
		"too large":         {b + "BATCH 70000 t 1 1\r\n" + b, []string{"OK 0 1\r\nERR too large\r\n"}, true},
		"size not known":    {b + "BATCH x t 1 1\r\n" + b, []string{"OK 0 1\r\nERR invalid request\r\n"}, true},
		"CLOSE":             {b + "CLOSE\r\n" + b, []string{"OK 0 1\r\nOK\r\n"}, true},
		"reads": {
			b + "PING\r\nREAD t 0 1\r\nPING\r\nPING\r\n",
			[]string{"OK 0 1\r\nOK\r\nOK 0 1\r\n", b, "OK\r\nOK\r\n"}, false,
		},
		"half a request behind": {b + "PING\r\n" + b[:10], []string{"OK 0 1\r\nOK\r\n"}, false},
		"a wait behind":         {b + "PING\r\n" + fmt.Sprintf("READ t %d 1 wait=1000\r\n", n), []string{"OK 0 1\r\nOK\r\n", fmt.Sprintf("OK %d 0\r\n", n)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
				nc, srv := net.Pipe()
				watched := &watchedConn{Conn: srv}
				s.ServeConn(watched)
				c := &client{t, nc, bufio.NewReader(nc)}
				c.send(test.request)
				c.want(strings.Join(test.writes, ""))
				if test.closes {
					c.wantClosed()
				}
				synctest.Wait()
				if fmt.Sprintf("%q", watched.writes) != fmt.Sprintf("%q", test.writes) {
					t.Errorf("written: %q\nwant     %q", watched.writes, test.writes)
				}
				nc.Close()
				synctest.Wait()
				want := n * strings.Count(test.writes[0], "OK 0 1\r\n")
				if test.closes && length(store, "t") != want {
					t.Errorf("%d bytes are stored, want %d: something behind the end was", length(store, "t"), want)
				}
			})
		})
	}
}

// TestPipelinedRequestsInPieces: however the bytes of requests are cut into
// packets, the answers are the same.
func TestPipelinedRequestsInPieces(t *testing.T) {
	b := testkit.Batch("t", "one", "two")
	large := testkit.Batch("t", strings.Repeat("x", 5000))
	requests := b + "PING\r\n" + strings.Replace(b, "one", "two", 1) + large + "BATCH 10 .t 0 1\r\n0123456789" + "READ t 0 1\r\nSEEK t 0\r\n" +
		strings.Replace(b, "\r\n", "\n", 1) + "READ t 0 9\r\nwhat\r\n"
	answers := fmt.Sprintf("OK 0 1\r\nOK\r\nERR checksum mismatch\r\nOK %d 1\r\nERR invalid request\r\nOK 0 1\r\n%sOK 0 0\r\nOK %d 1\r\nOK 0 3\r\n%sERR invalid protocol\r\n",
		len(b), b, len(b)+len(large), b+large+b)
	for _, size := range []int{1, 2, 3, 5, 7, 64, 1000, 4095, 4096, 4097, len(requests) - 1, len(requests)} {
		inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
			c := connect(t, s)
			go func() {
				for rest := requests; rest != ""; {
					n := min(size, len(rest))
					c.nc.Write([]byte(rest[:n])) // an error shows in the answers
					rest = rest[n:]
				}
			}()
			c.want(answers)
			c.wantClosed()
		})
	}
}

// TestEveryErrorAnswerIsOfARequest: STATS never counts more errors than
// requests of a command.
func TestEveryErrorAnswerIsOfARequest(t *testing.T) {
	b := testkit.Batch("t", "one")
	for _, request := range []string{
		"what\r\n", strings.Repeat("x", 2000), strings.Repeat("x", 2000) + "\r\n", "BATCH\r\n", "BATCH 100000 t 1 1\r\n",
		"BATCH 0 t 0 0\r\n", "READ\r\n", "TAIL t 0\r\n", "SEEK t 1 1\r\n", "INFO t\r\n", "HELLO 0\r\n", "PING x\r\n",
		strings.Replace(b, "one", "two", 1), strings.Replace(b, " t ", " __t ", 1),
	} {
		inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
			c := connect(t, s)
			go c.nc.Write([]byte(request))
			line, err := c.in.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "ERR ") {
				t.Errorf("%.30q: received %q, %v", request, line, err)
			}
			c.nc.Close()
			synctest.Wait()
			var requests, failed int64
			st := s.Stats()
			for i := range st.Requests {
				requests += st.Requests[i]
				failed += st.Errors[i]
				if st.Errors[i] > st.Requests[i] {
					t.Errorf("%.30q: %d errors in %d requests of %v", request, st.Errors[i], st.Requests[i], protocol.Command(i))
				}
			}
			if requests != 1 || failed != 1 {
				t.Errorf("%.30q: %d requests, %d errors; want 1, 1", request, requests, failed)
			}
		})
	}
}

// TestDeadlinesAreOfOneConnection: each deadline cuts the connection that it
// is of, and those that do as they should live on, long after.
func TestDeadlinesAreOfOneConnection(t *testing.T) {
	inBubble(t, server.Options{Timeout: 2 * time.Second, IdleTimeout: 5 * time.Second}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		b := testkit.Batch("t", "one")
		good := connect(t, s)
		good.ask(b, "OK 0 1")
		waiting := connect(t, s)
		waiting.send(fmt.Sprintf("READ t %d 1 wait=60000\r\n", len(b)))
		bad := map[string]string{
			"idle": "", "half a line": "PIN", "half a batch": b[:len(b)-1], "half a refused batch": strings.Replace(b, " t ", " .t ", 1)[:len(b)],
			"does not read": "READ t 0 1\r\n",
		}
		var open []*client
		for _, text := range bad {
			c := connect(t, s)
			if text != "" {
				c.send(text)
			}
			open = append(open, c)
		}
		for i := range 30 {
			good.ask("PING\r\n", "OK")
			if n, want := s.Stats().Connections, int64(2+len(bad)); i == 0 && n != want {
				t.Errorf("%d connections, want %d", n, want)
			}
			time.Sleep(time.Second)
		}
		if n := s.Stats().Connections; n != 2 {
			t.Errorf("%d connections, want the 2 that are good", n)
		}
		good.ask(b, fmt.Sprintf("OK %d 1", len(b)))
		waiting.want(fmt.Sprintf("OK %d 1\r\n%s", len(b), b))
		for _, c := range open {
			c.nc.Close()
		}
	})
}
