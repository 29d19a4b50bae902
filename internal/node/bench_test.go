package node

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

// exchange sends a request and receives as many bytes as its answer has.
func exchange(t testing.TB, nc net.Conn, request, answer []byte) {
	if _, err := nc.Write(request); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(nc, answer); err != nil {
		t.Fatal(err)
	}
}

// commands are requests to a node whose topic t has two small batches, and
// their answers.
func commands() []struct{ name, request, answer string } {
	b := testkit.Batch("t", "one")
	return []struct{ name, request, answer string }{
		{"PING", "PING\r\n", "OK\r\n"},
		{"READ", "READ t 0 1\r\n", "OK 0 1\r\n" + b},
		{"READ second", fmt.Sprintf("READ t %d 1\r\n", len(b)), fmt.Sprintf("OK %d 1\r\n%s", len(b), b)},
		{"TAIL", "TAIL t 2\r\n", "OK 0 2\r\n" + b + b},
		{"SEEK", "SEEK t 0\r\n", "OK 0 0\r\n"},
		{"TOPICS", "TOPICS\r\n", "MOK 3\r\nt\r\n\r\n"},
		{"READ at the end", fmt.Sprintf("READ t %d 1\r\n", 2*len(b)), "ERR not found\r\n"},
		{"READ, no such topic", "READ nothing 0 1\r\n", "ERR not found\r\n"},
		{"READ, refused", "READ t 0 0\r\n", "ERR invalid request\r\n"},
		{"BATCH, refused", "BATCH 0 t 0 0\r\n", "ERR invalid request\r\n"},
		{"BATCH, bad checksum", strings.Replace(b, "one", "two", 1), "ERR checksum mismatch\r\n"},
	}
}

// TestAllocations pins what a request to a node with real files allocates. Where it is
// asked who may do what, that is no more, but for TOPICS, which shows some.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	t.Run("auth off", func(t *testing.T) {
		n := startNode(t, func(c *config.Config) { c.FlushInterval = -1 })
		c, _ := dial(t, n)
		testAllocations(t, c, 2)
	})
	t.Run("auth on", func(t *testing.T) {
		n := startNode(t, func(c *config.Config) { c.FlushInterval, c.AuthFile = -1, authFile(t, oneIdentity) })
		c, _ := dial(t, n)
		exchange(t, c, []byte("AUTH a-token\r\n"), make([]byte, len("OK\r\n")))
		testAllocations(t, c, 4)
	})
}

func testAllocations(t *testing.T, c net.Conn, topics float64) {
	b := testkit.Batch("t", "one")
	for _, answer := range []string{"OK 0 1\r\n", fmt.Sprintf("OK %d 1\r\n", len(b))} {
		exchange(t, c, []byte(b), make([]byte, len(answer)))
	}
	pin := func(name string, most float64, f func()) {
		f()
		got := 1e9
		for range 3 { // a collection empties the pools: the least counts
			got = min(got, testing.AllocsPerRun(200, f))
		}
		t.Logf("%s: %v allocations", name, got)
		if got > most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, most)
		}
	}
	most := map[string]float64{
		"READ": 1, "READ second": 1, "TAIL": 1, "TOPICS": topics, // 0 for the others
	}
	for _, cmd := range commands() {
		request, answer := []byte(cmd.request), make([]byte, len(cmd.answer))
		pin(cmd.name, most[cmd.name], func() { exchange(t, c, request, answer) })
		if string(answer) != cmd.answer {
			t.Errorf("%s: received %q, want %q", cmd.name, answer, cmd.answer)
		}
	}
	// The length of the answer to a BATCH grows with the offset, so its end is
	// looked for.
	request, answer := []byte(testkit.Batch("u", "one")), make([]byte, 100)
	pin("BATCH", 0, func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for n := 0; n == 0 || answer[n-1] != '\n'; {
			m, err := c.Read(answer[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	})
}

// TestSendfile: reads over TCP use it, and those over HTTP, which copy, are
// seen not to.
func TestSendfile(t *testing.T) {
	n := startNode(t, nil)
	b := testkit.Batch("t", strings.Repeat("x", 5000))
	answers(t, n, b+"CLOSE\r\n")
	calls := func() int64 { return n.server.Load().Stats().Sendfiles }
	if got := answers(t, n, "READ t 0 1\r\nREAD t 0 1\r\nCLOSE\r\n"); got != strings.Repeat("OK 0 1\r\n"+b, 2)+"OK\r\n" {
		t.Fatalf("received %.100q", got)
	}
	before := calls()
	if before < 2 {
		t.Errorf("2 reads called sendfile %d times", before)
	}
	if status, got := post(t, n.HTTPAddr(), "READ t 0 1\r\n"); status != 200 || got != "OK 0 1\r\n"+b {
		t.Fatalf("received %d %.100q", status, got)
	}
	if after := calls(); after != before {
		t.Errorf("a read over HTTP called sendfile %d times", after-before)
	}
}

func BenchmarkCommand(b *testing.B) {
	n := startNode(b, nil)
	answers(b, n, strings.Repeat(testkit.Batch("t", "one"), 2)+"CLOSE\r\n")
	c, _ := dial(b, n)
	for _, cmd := range commands() {
		b.Run(strings.ReplaceAll(cmd.name, " ", "-"), func(b *testing.B) {
			request, answer := []byte(cmd.request), make([]byte, len(cmd.answer))
			b.ReportAllocs()
			for b.Loop() {
				exchange(b, c, request, answer)
			}
		})
	}
	for _, name := range []string{"CONFIG", "STATS", "INFO t"} {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			c, r := dial(b, n)
			b.ReportAllocs()
			for b.Loop() {
				fmt.Fprintf(c, "%s\r\n", name)
				var size int
				if _, err := fmt.Fscanf(r, "MOK %d\r\n", &size); err != nil {
					b.Fatal(err)
				}
				if _, err := r.Discard(size + 2); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		for _, pipelined := range []int{1, 100} {
			b.Run(fmt.Sprintf("size=%d/pipelined=%d", size, pipelined), func(b *testing.B) {
				n := startNode(b, func(c *config.Config) { c.PartitionSize, c.Partitions = 64<<20, 2 })
				c, r := dial(b, n)
				batch := testkit.Batch("t", strings.Repeat("x", size))
				request := []byte(strings.Repeat(batch, pipelined))
				b.SetBytes(int64(len(batch)))
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i += pipelined {
					if _, err := c.Write(request); err != nil {
						b.Fatal(err)
					}
					for range pipelined {
						line, err := r.ReadSlice('\n')
						if err != nil || line[0] != 'O' {
							b.Fatalf("%q, %v", line, err)
						}
					}
				}
			})
		}
	}
}

// BenchmarkStart starts and shuts down a node, over a work directory with so
// many topics.
func BenchmarkStart(b *testing.B) {
	for _, topics := range []int{0, 100} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			c := testConfig(b)
			start := func() *Node {
				n, err := Start(b.Context(), Options{Config: c, Version: "test"})
				if err != nil {
					b.Fatal(err)
				}
				return n
			}
			n := start()
			for i := range topics {
				answers(b, n, testkit.Batch(fmt.Sprintf("topic-%d", i), "one", "two")+"CLOSE\r\n")
			}
			if err := n.Close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := start().Shutdown(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
