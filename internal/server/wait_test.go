package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// watching returns how many readers wait, as the server and the store see it.
func watching(s *server.Server, store *topictest.Memory, topic string) (readers int64, watchers int) {
	synctest.Wait()
	return s.Stats().WaitingReads, store.Watchers(topic)
}

func wantWatching(t *testing.T, s *server.Server, store *topictest.Memory, want int) {
	t.Helper()
	if readers, watchers := watching(s, store, "t"); int(readers) != want || watchers != want {
		t.Fatalf("%d reads wait, %d watch the log; want %d", readers, watchers, want)
	}
}

func TestWaitingReadIsWoken(t *testing.T) {
	inBubble(t, server.Options{IdleTimeout: time.Second, Timeout: time.Second}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		b := testkit.Batch("t", "one")
		w := connect(t, s)
		w.ask(b, "OK 0 1")
		var readers []*client
		for range 10 {
			r := connect(t, s)
			r.send(fmt.Sprintf("READ t %d 10 wait=3600000\r\nPING\r\n", len(b)))
			readers = append(readers, r)
		}
		tail := connect(t, s)
		tail.send("TAIL empty 1 wait=1000\r\n")
		tail.want("ERR not found\r\n") // the topic is not there, which is no end of a log
		wantWatching(t, s, store, 10)
		// Neither deadline is one for a read that waits; nor does another topic
		// end it.
		time.Sleep(30 * time.Minute)
		w = connect(t, s)
		w.ask(testkit.Batch("u", "one"), "OK 0 1")
		wantWatching(t, s, store, 10)
		start := time.Now()
		w.ask(b, fmt.Sprintf("OK %d 1", len(b)))
		for _, r := range readers {
			r.want(fmt.Sprintf("OK %d 1\r\n%sOK\r\n", len(b), b))
		}
		if time.Since(start) != 0 {
			t.Errorf("it took %v", time.Since(start))
		}
		wantWatching(t, s, store, 0)
	})
}

// TestTailOfAnEmptyTopic waits at its end like a READ.
func TestTailOfAnEmptyTopic(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		store.Create(t.Context(), []byte("t"))
		c, w := connect(t, s), connect(t, s)
		c.ask("TAIL t 1\r\n", "ERR not found")
		c.ask("TAIL t 1 wait=1000\r\n", "OK 0 0")
		c.send("TAIL t 5 wait=60000 max-bytes=1\r\n")
		wantWatching(t, s, store, 1)
		b := testkit.Batch("t", "one")
		go w.nc.Write([]byte(b + b))
		c.want("OK 0 1\r\n" + b)
		w.want("OK 0 1\r\nOK 37 1\r\n")
	})
}

func TestWaitingReadEndsInTime(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		b := testkit.Batch("t", "one")
		c := connect(t, s)
		c.ask(b, "OK 0 1")
		for _, wait := range []time.Duration{0, time.Millisecond, 5 * time.Second, time.Hour} {
			start := time.Now()
			c.ask(fmt.Sprintf("READ t %d 1 wait=%d\r\n", len(b), wait.Milliseconds()), fmt.Sprintf("OK %d 0", len(b)))
			if got := time.Since(start); got != wait {
				t.Errorf("wait=%v took %v", wait, got)
			}
		}
		wantWatching(t, s, store, 0)
		// The deadline of the wait is not left behind.
		start := time.Now()
		c.wantClosed()
		elapsed(t, start, 30*time.Second)
	})
}

func TestWaitingReaderGoesAway(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		c := connect(t, s)
		c.ask(testkit.Batch("t", "one"), "OK 0 1")
		var gone []*client
		for range 5 {
			r := connect(t, s)
			r.send("READ t 37 1 wait=3600000\r\n")
			gone = append(gone, r)
		}
		wantWatching(t, s, store, 5)
		for _, r := range gone {
			r.nc.Close()
		}
		wantWatching(t, s, store, 0)
		if n := s.Stats().Connections; n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
		c.ask("PING\r\n", "OK")
	})
}

func TestWaitingReadEndsWithDrain(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		c := connect(t, s)
		c.ask(testkit.Batch("t", "one"), "OK 0 1")
		c.send("READ t 37 1 wait=3600000\r\nPING\r\n")
		wantWatching(t, s, store, 1)
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		c.want("OK 37 0\r\nOK\r\n")
		if time.Since(start) != 0 {
			t.Errorf("the answer took %v", time.Since(start))
		}
		c.wantClosed()
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// TestRequestsBehindAWaitingRead: more of them than the buffer holds wait for
// their turn and are answered in order.
func TestRequestsBehindAWaitingRead(t *testing.T) {
	inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		b := testkit.Batch("t", "one")
		c, w := connect(t, s), connect(t, s)
		w.ask(b, "OK 0 1")
		const n = 50_000
		requests := strings.Repeat(fmt.Sprintf("PING\r\nREAD t %d 1\r\n", 2*len(b)), n)
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(c.nc, fmt.Sprintf("READ t %d 1 wait=3600000\r\n", len(b))+requests)
			sent <- err
		}()
		wantWatching(t, s, store, 1)
		select {
		case <-sent:
			t.Fatal("the server took all of it")
		default:
		}
		w.ask(b, fmt.Sprintf("OK %d 1", len(b)))
		c.want(fmt.Sprintf("OK %d 1\r\n%s", len(b), b))
		for range n {
			c.want("OK\r\nERR not found\r\n")
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}

// TestFullBufferBehindAWaitingRead: also when the buffer is full a waiting
// read ends in time, and with a drain.
func TestFullBufferBehindAWaitingRead(t *testing.T) {
	for _, drain := range []bool{false, true} {
		inBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
			c := connect(t, s)
			c.ask(testkit.Batch("t", "one"), "OK 0 1")
			go io.WriteString(c.nc, "READ t 37 1 wait=60000\r\n"+strings.Repeat("PING\r\n", 200_000))
			wantWatching(t, s, store, 1)
			start := time.Now()
			if drain {
				go s.Shutdown(context.Background())
			}
			c.want("OK 37 0\r\nOK\r\nOK\r\n")
			want := time.Minute
			if drain {
				want = 0
			}
			if got := time.Since(start); got != want {
				t.Errorf("drain %v: it took %v, want %v", drain, got, want)
			}
			wantWatching(t, s, store, 0)
			c.nc.Close()
		})
	}
}

// TestErrorAfterWait: what is logged of a read that waited has its topic,
// though its line is no longer in the buffer.
func TestErrorAfterWait(t *testing.T) {
	store := topictest.NewMemory()
	var broken atomic.Bool // the read that waits looks at it whenever a PING arrives
	store.OnRead = func(string) error {
		if broken.Load() {
			return errors.New("disk on fire")
		}
		return nil
	}
	log, logger := logBuffer()
	inBubble(t, server.Options{Store: store, Logger: logger}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		c, w := connect(t, s), connect(t, s)
		w.ask(testkit.Batch("topic-to-name", "one"), "OK 0 1")
		c.send("READ topic-to-name 49 1 wait=60000\r\n")
		synctest.Wait()
		c.send(strings.Repeat("PING\r\n", 600)) // in place of the line
		broken.Store(true)
		w.send(testkit.Batch("topic-to-name", "one"))
		c.want("ERR internal error\r\nOK\r\n")
		synctest.Wait()
		c.nc.Close()
	})
	if !strings.Contains(log.String(), "topic=topic-to-name") {
		t.Errorf("logged: %s", log.String())
	}
}

// TestFullBufferOfOneWhoGoesAway: the end of a client is noticed although more
// has arrived than is read while its read waits.
func TestFullBufferOfOneWhoGoesAway(t *testing.T) {
	for name, leave := range map[string]func(*net.TCPConn){
		"close": func(c *net.TCPConn) { c.Close() },
		"reset": func(c *net.TCPConn) {
			c.SetLinger(0)
			c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := topictest.NewMemory()
			s := server.New(server.Options{Store: store})
			addr := serveTCP(t, s)
			if _, err := store.Create(t.Context(), []byte("t")); err != nil {
				t.Fatal(err)
			}
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			const behind = 264 << 10 // a little more than a buffer: the end of the stream has to fit into the socket
			if _, err := io.WriteString(nc, "READ t 0 1 wait=3600000\r\n"+strings.Repeat("PING\r\n", behind/len("PING\r\n"))); err != nil {
				t.Fatal(err)
			}
			waiting := func(want int64) {
				t.Helper()
				testkit.Eventually(t, func() string {
					st := s.Stats()
					return testkit.Unless(st.WaitingReads == want && st.BytesIn >= 256<<10,
						fmt.Sprintf("%d reads wait and %d bytes have come; want %d that wait", st.WaitingReads, st.BytesIn, want))
				})
			}
			waiting(1)
			leave(nc.(*net.TCPConn))
			waiting(0)
		})
	}
}

// TestFullBufferIsWoken over TCP, where nothing is read meanwhile: an append, the
// end of the wait, a Recall and a drain end it as any other.
func TestFullBufferIsWoken(t *testing.T) {
	b := testkit.Batch("t", "one")
	const pings = 264 << 10 / len("PING\r\n") // a little more than a buffer
	for name, test := range map[string]struct {
		wait   string
		end    func(*server.Server, *fickleStore)
		answer string
	}{
		"append": {"3600000", func(_ *server.Server, store *fickleStore) {
			log, _ := store.Memory.Log([]byte("t"))
			log.Append(t.Context(), []byte(b), []batch.Extent{{Len: int64(len(b)), Messages: 1}})
		}, "OK 0 1\r\n" + b},
		"time": {"100", func(*server.Server, *fickleStore) {}, "OK 0 0\r\n"},
		"recall": {"3600000", func(s *server.Server, store *fickleStore) {
			store.refuses.Store(protocol.ErrNotLeader)
			s.Recall()
		}, "ERR not leader\r\n"},
		"drain": {"3600000", func(s *server.Server, _ *fickleStore) { go s.Shutdown(context.Background()) }, "OK 0 0\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			store := &fickleStore{Memory: topictest.NewMemory()}
			if _, err := store.Create(t.Context(), []byte("t")); err != nil {
				t.Fatal(err)
			}
			s := server.New(server.Options{Store: store})
			nc := dialAddr(t, serveTCP(t, s))
			nc.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.WriteString(nc, "READ t 0 1 wait="+test.wait+"\r\n"+strings.Repeat("PING\r\n", pings)); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, func() string {
				if st := s.Stats(); st.BytesIn < 256<<10 || st.WaitingReads != 1 && name != "time" {
					return fmt.Sprintf("%d bytes have come, %d reads wait", st.BytesIn, st.WaitingReads)
				}
				return ""
			})
			test.end(s, store)
			want := test.answer
			if name != "drain" { // which has its own time for what is behind
				want += strings.Repeat("OK\r\n", pings)
			}
			got := make([]byte, len(want))
			if n, err := io.ReadFull(nc, got); err != nil || string(got) != want {
				t.Errorf("received %d bytes, %.60q (%v), want %d, %.60q", n, got, err, len(want), want)
			}
		})
	}
}
