package server_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// client is a connection over a pipe, for use in a bubble of synctest.
type client struct {
	t  testing.TB
	nc net.Conn
	in *bufio.Reader
}

func connect(t testing.TB, s *server.Server) *client {
	nc, srv := net.Pipe()
	s.ServeConn(srv)
	return &client{t, nc, bufio.NewReader(nc)}
}

// send sends text, which the server must take.
func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, text); err != nil {
		c.t.Fatalf("send %.60q: %v", text, err)
	}
}

// want receives exactly text.
func (c *client) want(text string) {
	c.t.Helper()
	got := make([]byte, len(text))
	n, err := io.ReadFull(c.in, got)
	if err != nil || string(got) != text {
		c.t.Fatalf("received %.200q (%v), want %.200q", got[:n], err, text)
	}
}

// ask sends a request that has one line as its answer.
func (c *client) ask(request, answer string) {
	c.t.Helper()
	c.send(request)
	c.want(answer + "\r\n")
}

// wantClosed waits for the server to close.
func (c *client) wantClosed() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.in); len(rest) > 0 || err != nil {
		c.t.Fatalf("received %.200q (%v), want the connection closed", rest, err)
	}
}

// logBuffer is where a server logs to. It is read when nobody writes.
func logBuffer() (*bytes.Buffer, *slog.Logger) {
	var b bytes.Buffer
	return &b, slog.New(slog.NewTextHandler(&b, nil))
}

// inBubble runs f with a server in a bubble of synctest, and closes the server.
func inBubble(t *testing.T, o server.Options, f func(t *testing.T, s *server.Server, store *topictest.Memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := o
		store, _ := o.Store.(*topictest.Memory)
		if o.Store == nil {
			store = topictest.NewMemory()
			o.Store, o.Hooks = store, store
		}
		s := server.New(o)
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if n := s.Stats().Connections; n != 0 {
				t.Errorf("%d connections after Close", n)
			}
		})
		f(t, s, store)
	})
}

// elapsed fails unless the time since start is from want to want + 1/32.
func elapsed(t testing.TB, start time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(start); got < want || got > want+want/32 {
		t.Errorf("it took %v, want %v", got, want)
	}
}

func TestIdleConnectionIsCut(t *testing.T) {
	inBubble(t, server.Options{IdleTimeout: 30 * time.Second, Timeout: time.Second}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		start := time.Now()
		c := connect(t, s)
		c.wantClosed()
		elapsed(t, start, 30*time.Second)

		// Each request starts the time anew.
		c = connect(t, s)
		for range 3 {
			time.Sleep(29 * time.Second)
			c.ask("PING\r\n", "OK")
		}
		start = time.Now()
		c.wantClosed()
		elapsed(t, start, 30*time.Second)
	})
}

// TestRequestThatDribbles: a request has Timeout from its first byte to its
// end, however steadily its bytes come.
func TestRequestThatDribbles(t *testing.T) {
	batch := testkit.Batch("t", strings.Repeat("x", 1000))
	refused := strings.Replace(batch, " t ", " .t ", 1)
	for name, request := range map[string]string{
		"line":    "READ " + strings.Repeat("t", 200) + " 0 1\r\n",
		"batch":   batch,
		"refused": refused,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, server.Options{Timeout: 10 * time.Second, IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
				c := connect(t, s)
				go io.Copy(io.Discard, c.in)
				time.Sleep(30 * time.Second) // an idle time does not count
				start := time.Now()
				i := 0
				for ; i < len(request); i++ {
					if _, err := c.nc.Write([]byte{request[i]}); err != nil {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				elapsed(t, start, 10*time.Second)
				if i == len(request) {
					t.Error("the request was taken whole")
				}
				synctest.Wait()
				if length(store, "t") > 0 {
					t.Error("something was stored")
				}
				c.nc.Close()
			})
		})
	}
}

// TestPipelinedRequestsHaveTheirOwnTime: the time of a request begins with its
// own first byte, not with that of one before.
func TestPipelinedRequestsHaveTheirOwnTime(t *testing.T) {
	inBubble(t, server.Options{Timeout: 10 * time.Second, IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		c := connect(t, s)
		c.send("PI")
		for range 10 {
			time.Sleep(9 * time.Second)
			c.send("NG\r\nPI")
			c.want("OK\r\n")
		}
		start := time.Now()
		c.wantClosed()
		elapsed(t, start, 10*time.Second)
	})
}

// TestReaderThatDoesNotRead is cut after Timeout, over a pipe; node has the
// same over TCP.
func TestReaderThatDoesNotRead(t *testing.T) {
	inBubble(t, server.Options{Timeout: 10 * time.Second, IdleTimeout: time.Hour}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		start := time.Now()
		c, d := connect(t, s), connect(t, s)
		c.send("PING\r\n")
		d.ask(testkit.Batch("t", "one"), "OK 0 1")
		d.send("READ t 0 1\r\n")
		d.want("OK 0 1\r\n") // and no more
		// Meanwhile others are served at once.
		e := connect(t, s)
		e.ask("PING\r\n", "OK")
		if time.Since(start) != 0 {
			t.Errorf("others waited for %v", time.Since(start))
		}
		for s.Stats().Connections > 1 && time.Since(start) < time.Minute {
			time.Sleep(100 * time.Millisecond)
		}
		elapsed(t, start, 10*time.Second)
	})
}

// TestAnswersInMemoryAreBounded: answers that are not taken are not piled up,
// however many requests arrive at once and however long their answers are.
func TestAnswersInMemoryAreBounded(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		const topics = 500
		for i := range topics {
			store.Create(t.Context(), fmt.Appendf(nil, "%s%d", strings.Repeat("t", 200), i))
		}
		c := connect(t, s)
		go c.nc.Write([]byte(strings.Repeat("TOPICS\n", 30_000)))
		synctest.Wait() // it can't go on before we read
		if bytes := store.Listed() * topics * 200; bytes > 1<<20 {
			t.Errorf("%d answers, %d bytes, wait for the client", store.Listed(), bytes)
		}
		if store.Listed() == 0 {
			t.Error("nothing was answered")
		}
	})
}

func TestStoreErrors(t *testing.T) {
	errDisk := errors.New("disk on fire")
	for _, test := range []struct {
		err    error
		want   string
		logged bool
	}{
		{topic.ErrReadOnly, "ERR read only", false},
		{fmt.Errorf("%w: %w", topic.ErrReadOnly, errDisk), "ERR read only", false},
		{topic.ErrBusy, "ERR busy", false},
		{topic.ErrClosed, "ERR shutting down", false},
		{errDisk, "ERR internal error", true},
	} {
		for _, where := range []string{"append", "commit", "read"} {
			t.Run(where+"/"+test.err.Error(), func(t *testing.T) {
				store := topictest.NewMemory()
				fails := func(topic string) error {
					if topic == "bad" {
						return test.err
					}
					return nil
				}
				store.Create(t.Context(), []byte("bad"))
				request := testkit.Batch("bad", "one")
				switch where {
				case "append":
					store.OnAppend = fails
				case "commit":
					store.OnCommit = fails
				case "read":
					store.OnRead = fails
					request = "READ bad 0 1\r\n"
				}
				log, logger := logBuffer()
				inBubble(t, server.Options{Store: store, Logger: logger}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
					c := connect(t, s)
					// Between others, which it does not touch.
					good := testkit.Batch("good", "one")
					go c.nc.Write([]byte(good + request + request + good + "PING\r\n"))
					c.want("OK 0 1\r\n")
					c.want(test.want + "\r\n")
					if where == "read" && errors.Is(test.err, topic.ErrClosed) {
						c.wantClosed()
						return
					}
					c.want(test.want + "\r\n")
					c.want(fmt.Sprintf("OK %d 1\r\nOK\r\n", len(good)))
				})
				if got := log.String(); strings.Contains(got, errDisk.Error()) != test.logged {
					t.Errorf("logged: %s", got)
				} else if test.logged && !strings.Contains(got, "topic=bad") {
					t.Errorf("the topic is not in the log: %s", got)
				}
			})
		}
	}
}

// TestTooLarge: envelope and data together have a limit, whether the data is
// there or not.
func TestTooLarge(t *testing.T) {
	const limit = 2000
	inBubble(t, server.Options{Settings: protocol.Settings{MaxBatchSize: limit}}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		const rest = len("BATCH 1980 t 1234567890 1\r\n") + len("MSG 1900\r\n\r\n") // with a checksum of any length
		longest := ""
		for n := limit - rest; ; n++ {
			b := testkit.Batch("t", strings.Repeat("x", n))
			if len(b) > limit {
				break
			}
			longest = b
		}
		if len(longest) != limit {
			t.Fatalf("the longest batch has %d bytes", len(longest))
		}
		connect(t, s).ask(longest, "OK 0 1")
		for _, line := range []string{
			"BATCH 2000 t 1 1\r\n", "BATCH 1983 t 1 1\r\n", "BATCH 1983 t 1 1\n", "BATCH 2000 t 1 0\r\n", "BATCH 2000 / 1 1\r\n",
			"BATCH 9223372036854775807 t 1 1\r\n",
		} {
			c := connect(t, s)
			go c.nc.Write([]byte(line + "PING\r\n"))
			c.want("ERR too large\r\n")
			c.wantClosed()
		}
	})
}

// TestInDoubt: what may be stored or not has no answer. What was certain before
// it has its own, and the connection ends.
func TestInDoubt(t *testing.T) {
	for _, where := range []string{"append", "commit"} {
		t.Run(where, func(t *testing.T) {
			store := topictest.NewMemory()
			fails := func(name string) error {
				if name == "bad" {
					return fmt.Errorf("%w: %w", topic.ErrInDoubt, errors.New("disk on fire"))
				}
				return nil
			}
			if where == "append" {
				store.OnAppend = fails
			} else {
				store.OnCommit = fails
			}
			good, bad := testkit.Batch("good", "one"), testkit.Batch("bad", "one")
			inBubble(t, server.Options{Store: store}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
				for _, last := range []string{"", "CLOSE\r\n", "no request\r\n"} {
					c := connect(t, s)
					go c.nc.Write([]byte("PING\r\n" + good + bad + good + "PING\r\n" + last))
					c.want("OK\r\n")
					if line, err := c.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "OK ") {
						t.Fatalf("the good batch is answered %q, %v", line, err)
					}
					c.wantClosed()
				}
				if n := s.Stats().Panics; n != 0 {
					t.Errorf("%d panics are counted", n)
				}
			})
		})
	}
}

// TestPartialAppend: of a run that is appended in part, each batch has its own
// answer.
func TestPartialAppend(t *testing.T) {
	store := topictest.NewMemory()
	store.OnAppend = func(string) error { return topic.ErrReadOnly }
	store.Appended = 2
	inBubble(t, server.Options{Store: store}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		c := connect(t, s)
		b := testkit.Batch("t", "one")
		go c.nc.Write([]byte(b + b + b + b + "PING\r\n"))
		c.want(fmt.Sprintf("OK 0 1\r\nOK %d 1\r\nERR read only\r\nERR read only\r\nOK\r\n", len(b)))
		synctest.Wait()
		if st := s.Stats(); st.Batches != 2 || st.Messages != 2 || st.Errors[protocol.Batch] != 2 || st.Requests[protocol.Batch] != 4 {
			t.Errorf("Stats: %+v", st)
		}
	})
}

// TestPanicClosesOneConnection: it is logged with its stack, and all others
// live.
func TestPanicClosesOneConnection(t *testing.T) {
	store := topictest.NewMemory()
	store.OnAppend = func(topic string) error {
		if topic == "boom" {
			panic("the store is broken")
		}
		return nil
	}
	log, logger := logBuffer()
	inBubble(t, server.Options{Store: store, Logger: logger}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		c, d := connect(t, s), connect(t, s)
		c.send(testkit.Batch("boom", "one"))
		c.wantClosed()
		d.ask("PING\r\n", "OK")
		connect(t, s).ask("PING\r\n", "OK")
		synctest.Wait() // closed is not yet forgotten
		if st := s.Stats(); st.Panics != 1 || st.Connections != 2 {
			t.Errorf("Stats: %+v", st)
		}
	})
	for _, text := range []string{"the store is broken", "stack=", "conn_test.go", "remote=pipe"} {
		if !strings.Contains(log.String(), text) {
			t.Errorf("the log does not have %q: %s", text, log.String())
		}
	}
}

// TestRefusalArrives: the answer to a BATCH that is too large arrives although
// the client sends all of it before it reads.
func TestRefusalArrives(t *testing.T) {
	s := server.New(server.Options{Store: topictest.NewMemory()})
	addr := serveTCP(t, s)
	for _, line := range []string{"BATCH 3000000 t 0 1\r\n", "BATCH x t 0 1\r\n", "BATCH\r\n", "what\r\n"} {
		nc := dialAddr(t, addr)
		nc.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := nc.Write([]byte(line + strings.Repeat("x", 3_000_000))); err != nil {
			t.Errorf("%q: the client could not send: %v", line, err)
		}
		got, err := io.ReadAll(nc)
		if err != nil || !strings.HasPrefix(string(got), "ERR ") || strings.Count(string(got), "\n") != 1 {
			t.Errorf("%q: received %q, %v", line, got, err)
		}
		nc.Close()
	}
}

// TestBytesAreCounted counts what goes over the wire.
func TestBytesAreCounted(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		c := connect(t, s)
		b := testkit.Batch("t", "one")
		c.ask(b, "OK 0 1")
		c.send("READ t 0 1\r\n")
		c.want("OK 0 1\r\n" + b)
		synctest.Wait()
		in, out := int64(len(b)+len("READ t 0 1\r\n")), int64(2*len("OK 0 1\r\n")+len(b))
		if st := s.Stats(); st.BytesIn != in || st.BytesOut != out {
			t.Errorf("%d bytes in, %d out; want %d, %d", st.BytesIn, st.BytesOut, in, out)
		}
	})
}

// A hint is part of the answer's line, also if the answers before it have become so
// long that they are sent without waiting for more.
func TestHintBehindLongAnswers(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		help := string(protocol.AppendBody(nil, protocol.AppendHelp(nil)))
		const long = 64 << 10
		helps := (long - 1) / len(help)
		pings := (long - 1 - helps*len(help)) / len("OK\r\n") // the error is what makes them long
		c := connect(t, s)
		go c.nc.Write([]byte(strings.Repeat("HELP\r\n", helps) + strings.Repeat("PING\r\n", pings) + "ping\r\n"))
		got, err := io.ReadAll(c.in)
		want := strings.Repeat(help, helps) + strings.Repeat("OK\r\n", pings) + "ERR invalid protocol: commands are in upper case: PING\r\n"
		if err != nil || string(got) != want {
			t.Errorf("the last of %d bytes are %q, %v", len(got), got[max(0, len(got)-80):], err)
		}
	})
}

// TestTypedBatch: a person whose lines end with a bare LF learns it, instead of
// waiting for an answer in vain; a program is given the time that it has.
func TestTypedBatch(t *testing.T) {
	const hint = "in a batch each line ends with CR LF, and each body too: nc -C, telnet and printf '...\\r\\n' send that\r\n"
	for _, test := range []struct {
		name   string
		pieces []string // one a quarter of a second
		after  time.Duration
		answer string
	}{
		{"nc without -C", []string{"BATCH 16 t - 1\nMSG 7\nwelcome\n"}, time.Second, "ERR invalid protocol: " + hint},
		{"line by line", []string{"BATCH 16 t 1 1\n", "MSG 7\n", "wel", "come\n"}, 1750 * time.Millisecond, "ERR invalid protocol: " + hint},
		{"behind a request", []string{"PING\nBATCH 16 t - 1\r\nMSG 7\nwelcome\n"}, time.Second, "OK\r\nERR invalid protocol: " + hint},
		{"the body alone", []string{"BATCH 16 t - 1\nMSG 7\r\nwelcome\n"}, 15 * time.Second, "ERR invalid protocol: " + hint},
		{"all CR LF, and short", []string{"BATCH 17 t 1 1\r\nMSG 7\r\nwelcome\r\n"}, 15 * time.Second, ""},
		{"a program that is slow", []string{"BATCH 16 t 1 1\r\n", "MSG ", "7", "\r"}, 15*time.Second + 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
				c := connect(t, s)
				start := time.Now()
				go func() {
					for i, piece := range test.pieces {
						if i > 0 {
							time.Sleep(250 * time.Millisecond)
						}
						c.nc.Write([]byte(piece))
					}
				}()
				got, err := io.ReadAll(c.in)
				if err != nil || string(got) != test.answer {
					t.Errorf("received %q, %v; want %q", got, err, test.answer)
				}
				// Deadlines are set a little late.
				if took := time.Since(start); took < test.after || took > test.after+test.after/16 {
					t.Errorf("it took %v, want %v", took, test.after)
				}
				if n := length(store, "t"); n != -1 {
					t.Errorf("%d bytes are stored", n)
				}
			})
		})
	}
}
