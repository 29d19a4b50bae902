package logd

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/testkit"
)

// listenOnce is a server on loopback for one connection, which ends with the
// test.
func listenOnce(t testing.TB, serve func(net.Conn)) ClientConfig {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		serve(nc)
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ClientConfig{Addrs: []string{ln.Addr().String()}}
}

// sink is a server that answers every request of a known length with the same
// bytes, and takes no memory for it. If it is asked for its limit first it has none.
func sink(t testing.TB, request int, reply []byte) ClientConfig {
	return listenOnce(t, func(nc net.Conn) {
		buf := make([]byte, 1<<20)
		var out []byte
		left := request
		for first := true; ; first = false {
			n, err := nc.Read(buf)
			if err != nil {
				return
			}
			if first && string(buf[:n]) == "CONFIG\r\n" {
				nc.Write(protocol.AppendBody(nil, nil))
				continue
			}
			out = out[:0]
			for ; n >= left; left = request {
				n -= left
				out = append(out, reply...)
			}
			left -= n
			if _, err := nc.Write(out); err != nil {
				return
			}
		}
	})
}

func dialSink(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// fixedBatch returns a batch of n messages of the size and its length.
func fixedBatch(n, size int) (*Batch, int) {
	b := new(Batch)
	for range n {
		b.Add(make([]byte, size))
	}
	return b, int(b.Len("t"))
}

func TestAppendDoesNotAllocate(t *testing.T) {
	b, length := fixedBatch(10, 100)
	c := dialSink(t, sink(t, length, []byte("OK 12345 1\r\n")))
	append := func() {
		if _, err := c.Append(t.Context(), "t", b); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		append()
	}
	if n := testing.AllocsPerRun(1000, append); n > 0 && !testkit.Race {
		t.Errorf("Append allocates %v times", n)
	}

	var p Pending
	start := func() {
		if err := c.StartAppend(t.Context(), "t", b, &p); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	start()
	if n := testing.AllocsPerRun(1000, start); n > 0 && !testkit.Race {
		t.Errorf("StartAppend and Wait allocate %v times", n)
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	one := stored("t", string(make([]byte, 1000)), "b")
	reply := []byte("OK 0 3\r\n" + one + one + one)
	request := len("READ t 0 10000 wait=0 max-bytes=1048576\r\n")
	c := dialSink(t, sink(t, request, reply))
	read := func() {
		res, err := c.Read(t.Context(), "t", 0, ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range res.Batches {
			for m := range b.All() {
				if len(m.Body) == 0 {
					t.Error("empty body")
				}
			}
		}
		res.Release()
	}
	for range 100 {
		read()
	}
	// The one is the topic's name, for the request.
	if n := testing.AllocsPerRun(1000, read); n > 1 && !testkit.Race {
		t.Errorf("Read allocates %v times, want 1", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, messages := range []int{1, 600} {
		batch, length := fixedBatch(messages, 100)
		b.Run(fmt.Sprintf("messages=%d/one-by-one", messages), func(b *testing.B) {
			c := dialSink(b, sink(b, length, []byte("OK 12345 1\r\n")))
			b.SetBytes(int64(length))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Append(b.Context(), "t", batch); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, depth := range []int{8, 64} {
			b.Run(fmt.Sprintf("messages=%d/pipelined=%d", messages, depth), func(b *testing.B) {
				c := dialSink(b, sink(b, length, []byte("OK 12345 1\r\n")))
				batches := make([]*Batch, depth)
				for i := range batches {
					batches[i], _ = fixedBatch(messages, 100)
				}
				pending := make([]Pending, depth)
				b.SetBytes(int64(length))
				b.ReportAllocs()
				begun := 0
				for b.Loop() {
					i := begun % depth
					if begun >= depth {
						if _, err := pending[i].Wait(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
					if err := c.StartAppend(b.Context(), "t", batches[i], &pending[i]); err != nil {
						b.Fatal(err)
					}
					begun++
				}
				for i := range min(begun, depth) {
					pending[i].Wait(b.Context())
				}
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, messages := range []int{1, 600} {
		b.Run("messages="+strconv.Itoa(messages), func(b *testing.B) {
			batch, length := fixedBatch(messages, 100)
			raw, _ := batch.finish("t")
			n := max(1<<20/length, 1)
			reply := []byte(fmt.Sprintf("OK 0 %d\r\n", n))
			for range n {
				reply = append(reply, raw...)
			}
			request := len("READ t 0 10000 wait=0 max-bytes=1048576\r\n")
			c := dialSink(b, sink(b, request, reply))
			b.SetBytes(int64(len(reply)))
			b.ReportAllocs()
			for b.Loop() {
				res, err := c.Read(b.Context(), "t", 0, ReadOptions{})
				if err != nil {
					b.Fatal(err)
				}
				res.Release()
			}
		})
	}
}

// BenchmarkTCP is what there is to reach: the same bytes without a client.
func BenchmarkTCP(b *testing.B) {
	for _, length := range []int{150, 65 << 10} {
		b.Run(strconv.Itoa(length), func(b *testing.B) {
			cfg := sink(b, length, []byte("x"))
			nc, err := net.DialTimeout("tcp", cfg.Addrs[0], 5*time.Second)
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			buf := make([]byte, length)
			b.SetBytes(int64(length))
			for b.Loop() {
				nc.Write(buf)
				if _, err := io.ReadFull(nc, buf[:1]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
