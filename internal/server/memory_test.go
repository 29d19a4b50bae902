package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// inUse returns the bytes of the heap and of all stacks.
func inUse() int64 {
	var m runtime.MemStats
	for range 3 { // pools give up what they hold at the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestMemoryOfConnections: a connection that does nothing, or waits, is cheap,
// whatever it did before. The client's side is counted too.
func TestMemoryOfConnections(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector takes memory of its own")
	}
	const most = 20 << 10
	batch := testkit.Batch("t", "one")
	large := testkit.Batch("t", strings.Repeat("x", 60_000))
	for _, test := range []struct {
		name    string
		conns   int64
		request string // sent before the connection is idle
		answers int    // lines
		then    string // has no answer yet
	}{
		{"new", 1000, "", 0, ""},
		{"after PING", 200, "PING\r\n", 1, ""},
		{"after a batch", 200, large, 1, ""},
		{"after many batches", 200, strings.Repeat(batch, 1000), 1000, ""},
		{"after many refused batches", 200, strings.Repeat("BATCH 0 t 0 0\r\n", 2000), 2000, ""},
		{"after many small requests", 200, strings.Repeat("PING\r\n", 2000), 2000, ""},
		{"waiting read", 1000, "PING\r\n", 1, "READ w 37 1 wait=60000\r\n"},
		{"waiting read after many batches", 200, strings.Repeat(batch, 1000), 1000, "READ w 37 1 wait=60000\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := server.New(server.Options{Store: discardStore{}, IdleTimeout: time.Minute})
			addr := serveTCP(t, s)
			open := make([]net.Conn, 0, test.conns)
			in := bufio.NewReader(nil)
			before := inUse()
			for range test.conns {
				nc := dialAddr(t, addr)
				open = append(open, nc)
				nc.SetDeadline(time.Now().Add(time.Minute))
				if _, err := io.WriteString(nc, test.request); err != nil {
					t.Fatal(err)
				}
				in.Reset(nc)
				for range test.answers {
					if _, err := in.ReadSlice('\n'); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := io.WriteString(nc, test.then); err != nil {
					t.Fatal(err)
				}
			}
			testkit.Eventually(t, func() string {
				if st := s.Stats(); st.Connections != test.conns || test.then != "" && st.WaitingReads != test.conns {
					return fmt.Sprintf("%d connections, %d waiting reads", st.Connections, st.WaitingReads)
				}
				return ""
			})
			each := (inUse() - before) / test.conns
			t.Logf("%d bytes for each connection", each)
			if each > most {
				t.Errorf("%d bytes for each connection, want at most %d", each, most)
			}
			runtime.KeepAlive(open)
		})
	}
}

// TestMemoryOfPipelinedRequests: what the server holds for a client that sends
// without end and no longer reads is not much more than its buffer.
func TestMemoryOfPipelinedRequests(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector takes memory of its own")
	}
	const conns, most = 10, 600 << 10 // a buffer of 256 KiB, its answers, its extents
	for _, request := range []string{
		"PING\n", "BATCH 0 t 0 0\n", "BATCH 0 t 0 1\n", "BATCH 0 __t 0 1\n", "TOPICS\n", "READ t 0 1\n",
		testkit.Batch("t", ""), testkit.Batch("t", "", "", "", ""), testkit.Batch("t", "") + testkit.Batch("u", ""),
	} {
		t.Run(strings.ReplaceAll(request, "\r\n", "|"), func(t *testing.T) {
			inBubble(t, server.Options{Store: discardStore{}}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
				text := []byte(strings.Repeat(request, (1<<20)/len(request)))
				before := inUse()
				var clients []*client
				for range conns {
					c := connect(t, s)
					clients = append(clients, c)
					go c.nc.Write(text)
					// The buffer is as large as it gets when so much was answered.
					for range (512 << 10) / len(request) {
						if _, err := c.in.ReadSlice('\n'); err != nil {
							t.Fatal(err)
						}
					}
				}
				synctest.Wait() // until no more is taken
				each := (inUse() - before) / conns
				t.Logf("%d bytes for each connection", each)
				if each > most {
					t.Errorf("%d bytes for each connection, want at most %d", each, most)
				}
				for _, c := range clients {
					c.nc.Close()
				}
				runtime.KeepAlive(text)
			})
		})
	}
}

// TestMemoryAfterALargeBatch: a connection that has sent one is not given as
// large a buffer for ever.
func TestMemoryAfterALargeBatch(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector takes memory of its own")
	}
	for _, test := range []struct {
		size, pings int
		most        int64
	}{
		{16 << 20, 0, 1100 << 10},
		{16 << 20, 20, 64 << 10},
		{200 << 10, 20, 64 << 10},
	} {
		s := server.New(server.Options{Store: discardStore{}, Settings: protocol.Settings{MaxBatchSize: 32 << 20}})
		nc := dialAddr(t, serveTCP(t, s))
		nc.SetDeadline(time.Now().Add(time.Minute))
		before := inUse()
		batch := []byte(testkit.Batch("t", strings.Repeat("x", test.size)))
		exchange(t, nc, batch, make([]byte, len("OK 0 1\r\n")))
		for range test.pings {
			exchange(t, nc, []byte("PING\r\n"), make([]byte, len("OK\r\n")))
		}
		arrived := s.Stats().BytesIn
		io.WriteString(nc, "PIN")
		testkit.Eventually(t, func() string {
			if s.Stats().BytesIn == arrived {
				return "half a request has not arrived"
			}
			return ""
		})
		runtime.KeepAlive(batch)
		batch = nil
		if got := inUse() - before; got > test.most {
			t.Errorf("after %d bytes and %d requests half a request takes %d bytes, want at most %d", test.size, test.pings, got, test.most)
		}
		s.Close()
	}
}
