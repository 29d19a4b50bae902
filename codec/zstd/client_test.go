package zstd_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/backlog"
	_ "github.com/logd-dev/logd/codec/s2"
	_ "github.com/logd-dev/logd/codec/zstd"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/logdtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// line returns the i-th line of a log.
func line(i int) string {
	return fmt.Sprintf("2026-11-29T16:%02d:%02d.%03dZ level=INFO msg=\"request served\" path=/api/v1/orders/%d status=200", i/60%60, i%60, i%1000, i*7919%10007)
}

// write writes lines with a Writer that has the codec, and returns what became of the
// batches.
func write(t *testing.T, c *logd.Client, topic, codec string, n int) (batches [][]byte) {
	t.Helper()
	w, err := logd.NewWriter(t.Context(), c, topic, logd.WriterConfig{
		Codec: codec, BatchBytes: 8 << 10, BatchAge: logd.Unlimited, // so that batches are the same each time
		OnBatch: func(r logd.BatchResult) { batches = append(batches, bytes.Clone(r.Raw)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := w.Write([]byte(line(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return batches
}

// wantLines reads the topic from a place on and compares with the lines.
func wantLines(t *testing.T, c *logd.Client, topic string, from, n int, at logd.ScannerConfig) (ids []logd.ID) {
	t.Helper()
	s, err := logd.NewScanner(t.Context(), c, topic, at)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for ; s.Scan(); from++ {
		if m := s.Message(); string(m.Body) != line(from) {
			t.Fatalf("message %d is %q", from, m.Body)
		} else {
			ids = append(ids, m.ID())
		}
	}
	if s.Err() != nil || from != n {
		t.Fatalf("read up to %d of %d: %v", from, n, s.Err())
	}
	return ids
}

// TestWriteAndRead: what is compressed by a Writer takes less room, and is read by a
// Scanner, by its position in the data as it was.
func TestWriteAndRead(t *testing.T) {
	server := logdtest.Start(t, logdtest.PartitionSize(64<<10))
	c := server.Client(t)
	const n = 5000
	write(t, c, "plain", "", n)
	plain, err := c.Info(t.Context(), "plain")
	if err != nil {
		t.Fatal(err)
	}
	want := wantLines(t, c, "plain", 0, n, logd.ScannerConfig{})
	for _, codec := range []string{"zstd", "s2"} {
		for _, raw := range write(t, c, codec, codec, n) {
			if h, _, err := batch.Parse(raw); err != nil || h.Codec != codec || h.Seq == 0 {
				t.Fatalf("%s: a batch begins %.100q", codec, raw)
			}
		}
		in, err := c.Info(t.Context(), codec)
		if err != nil || in.Messages != n || in.Bytes*2 > plain.Bytes {
			t.Errorf("%s: %+v, %v; plain it has %d bytes", codec, in, err, plain.Bytes)
		}
		ids := wantLines(t, c, codec, 0, n, logd.ScannerConfig{})
		for i := range ids {
			if ids[i].Delta != want[i].Delta {
				t.Fatalf("%s: message %d has delta %d, and %d if it is not compressed", codec, i, ids[i].Delta, want[i].Delta)
			}
		}
		wantLines(t, c, codec, 1234, n, logd.ScannerConfig{Start: logd.At(ids[1234])})
		wantLines(t, c, codec, 1235, n, logd.ScannerConfig{Start: logd.After(ids[1234])})
	}
	server.Restart()
	wantLines(t, c, "zstd", 0, n, logd.ScannerConfig{})
}

// TestShortAndRandom: what does not get shorter is sent as it is.
func TestShortAndRandom(t *testing.T) {
	c := logdtest.Start(t).Client(t)
	for _, raw := range write(t, c, "t", "zstd", 3) {
		if h, _, _ := batch.Parse(raw); h.Codec != "" {
			t.Errorf("a batch of %d bytes is compressed", len(raw))
		}
	}
}

// plainServer is a server that takes no codecs.
func plainServer(t *testing.T) *logdtest.Server { return logdtest.Start(t, logdtest.Codecs("")) }

// TestServerWithoutCodec: a server that does not take the codec gets what it takes, and
// one line of the log says so.
func TestServerWithoutCodec(t *testing.T) {
	server := plainServer(t)
	var log testkit.Buffer
	cfg := server.ClientConfig()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	c, err := logd.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, raw := range write(t, c, "t", "zstd", 500) {
		if h, _, _ := batch.Parse(raw); h.Codec != "" {
			t.Errorf("a batch begins %.60q", raw)
		}
	}
	wantLines(t, c, "t", 0, 500, logd.ScannerConfig{})
	if n := strings.Count(log.String(), "does not take the codec"); n != 1 {
		t.Errorf("the log says %d times that the codec is not taken:\n%s", n, log.String())
	}
}

// TestBacklog: what a backlog has compressed is delivered as it is, and plain to a server
// that does not take it.
func TestBacklog(t *testing.T) {
	for name, server := range map[string]*logdtest.Server{"takes": logdtest.Start(t), "does not": plainServer(t)} {
		t.Run(name, func(t *testing.T) {
			var b batch.Builder
			for i := range 50 {
				b.Add([]byte(line(i)))
			}
			room := make([]byte, batch.MaxHeaderLen)
			raw := batch.Seal(codec.NewZstd(codec.Default).Encode(room, b.Data()), &batch.Header{
				Topic: []byte("t"), Messages: 50, Codec: "zstd", PID: []byte("before"), Seq: 1,
			})
			kept, err := backlog.NewMemory(backlog.MemoryConfig{})
			if err != nil {
				t.Fatal(err)
			}
			if err := kept.Put(&backlog.Entry{Raw: raw, Messages: 50, Reason: "it was away"}); err != nil {
				t.Fatal(err)
			}
			c := server.Client(t)
			w, err := logd.NewWriter(t.Context(), c, "t", logd.WriterConfig{Codec: "s2", Backlog: kept})
			if err != nil {
				t.Fatal(err)
			}
			for i := 50; i < 60; i++ {
				w.Write([]byte(line(i)))
			}
			if err := w.Close(); err != nil || kept.Len() > 0 {
				t.Fatalf("%v, %d batches left", err, kept.Len())
			}
			wantLines(t, c, "t", 0, 60, logd.ScannerConfig{})
			res, err := c.Read(t.Context(), "t", 0, logd.ReadOptions{Messages: 1})
			if err != nil {
				t.Fatal(err)
			}
			if same := bytes.Equal(res.Batches[0].Raw(), raw); same != (name == "takes") {
				t.Errorf("stored is %.60q", res.Batches[0].Raw())
			}
		})
	}
}

// TestUnknownCodec: NewWriter fails.
func TestUnknownCodec(t *testing.T) {
	c := logdtest.Start(t).Client(t)
	if _, err := logd.NewWriter(t.Context(), c, "t", logd.WriterConfig{Codec: "lz4"}); err == nil || !strings.Contains(err.Error(), `"lz4"`) {
		t.Errorf("NewWriter: %v", err)
	}
}

// oldServer answers each connection with f, which is given its number.
func oldServer(t *testing.T, f func(n int, in *bufio.Reader, out io.Writer)) *logd.Client {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for n := 0; ; n++ {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer nc.Close()
				f(n, bufio.NewReader(nc), nc)
			})
		}
	})
	c, err := logd.NewClient(logd.ClientConfig{Addrs: []string{l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		l.Close()
		all.Wait()
	})
	return c
}

// TestServersWithoutHello: one that answers HELLO with an error, or closes the
// connection on it, is used without.
func TestServersWithoutHello(t *testing.T) {
	for _, answer := range []string{"ERR invalid request\r\n", "ERR invalid protocol\r\n", ""} {
		var mu sync.Mutex
		var heard []string
		c := oldServer(t, func(_ int, in *bufio.Reader, out io.Writer) {
			for {
				request, err := in.ReadString('\n')
				if err != nil {
					return
				}
				mu.Lock()
				heard = append(heard, strings.TrimSpace(request))
				mu.Unlock()
				if !strings.HasPrefix(request, "HELLO ") {
					io.WriteString(out, "OK\r\n")
					continue
				}
				io.WriteString(out, answer)
				if !strings.Contains(answer, "request") {
					return
				}
			}
		})
		for range 2 {
			if err := c.Ping(t.Context()); err != nil {
				t.Fatalf("%q: %v", answer, err)
			}
		}
		if got := strings.Join(heard, ", "); got != "HELLO 1 codecs=s2,zstd, PING, PING" {
			t.Errorf("%q: the server has heard %s", answer, got)
		}
	}
}

// TestGreetsAfterAll: a server that was taken for one without HELLO, and has a compressed
// batch, is greeted after all; once for each read, if it goes on to hang up on that.
func TestGreetsAfterAll(t *testing.T) {
	const refusal = "ERR unsupported codec\r\n"
	packed := codec.NewS2().Encode(nil, []byte("MSG 2\r\nok\r\n"))
	h := batch.Header{Size: int64(len(packed)), CRC: batch.Checksum(packed), Topic: []byte("t"), Messages: 1, Codec: "s2"}
	good := append(batch.AppendHeader([]byte("OK 0 1\r\n"), &h), packed...)
	for _, tc := range []struct {
		name   string
		greets int // the first connection that HELLO is answered on
		wait   time.Duration
		heard  string
	}{
		{"answers the next", 2, 0, "0 HELLO, 1 PING, 1 READ, 2 HELLO, 2 READ"},
		{"answers the next, read that waits", 2, time.Minute, "0 HELLO, 1 PING, 1 READ, 2 HELLO, 2 READ"},
		{"hangs up on all", 99, 0, "0 HELLO, 1 PING, 1 READ, 2 HELLO, 3 READ"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var mu sync.Mutex
			var heard []string
			c := oldServer(t, func(number int, in *bufio.Reader, out io.Writer) {
				answer := []byte(refusal)
				for {
					request, err := in.ReadString('\n')
					if err != nil {
						return
					}
					command, _, _ := strings.Cut(strings.TrimSpace(request), " ")
					mu.Lock()
					heard = append(heard, fmt.Sprint(number, " ", command))
					mu.Unlock()
					switch {
					case command == "PING":
						io.WriteString(out, "OK\r\n")
					case command != "HELLO":
						out.Write(answer)
					case number < tc.greets:
						return
					default:
						answer = good
						io.WriteString(out, "MOK 12\r\nVersion: 1\r\n\r\n")
					}
				}
			})
			if err := c.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			res, err := c.Read(t.Context(), "t", 0, logd.ReadOptions{Wait: tc.wait})
			if tc.greets == 99 {
				if !errors.Is(err, logd.ErrUnsupportedCodec) {
					t.Errorf("Read: %v", err)
				}
			} else if err != nil || len(res.Batches) != 1 || string(res.Batches[0].Data()) != "MSG 2\r\nok\r\n" {
				t.Errorf("Read: %+v, %v", res, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(heard, ", "); got != tc.heard {
				t.Errorf("the server has heard %s, want %s", got, tc.heard)
			}
		})
	}
}

// TestBadBatches: what can't be unpacked, or is not what it says, is ErrCorrupt; what comes
// before it is read.
func TestBadBatches(t *testing.T) {
	good := codec.NewS2().Encode(nil, []byte("MSG 2\r\nok\r\n"))
	for name, tc := range map[string]struct {
		codec    string
		messages int64
		data     []byte
		want     error
	}{
		"no such data":   {"zstd", 1, []byte("garbage"), logd.ErrCorrupt},
		"messages":       {"s2", 2, good, logd.ErrCorrupt},
		"another codec":  {"zstd", 1, good, logd.ErrCorrupt},
		"not registered": {"lz4", 1, good, logd.ErrUnsupportedCodec},
	} {
		t.Run(name, func(t *testing.T) {
			wire := func(codec string, messages int64, data []byte) []byte {
				h := batch.Header{Size: int64(len(data)), CRC: batch.Checksum(data), Topic: []byte("t"), Messages: messages, Codec: codec}
				return append(batch.AppendHeader(nil, &h), data...)
			}
			first := wire("s2", 1, good)
			bad := wire(tc.codec, tc.messages, tc.data)
			c := oldServer(t, func(_ int, in *bufio.Reader, out io.Writer) {
				for {
					request, err := in.ReadString('\n')
					switch {
					case err != nil:
						return
					case strings.HasPrefix(request, "HELLO"):
						io.WriteString(out, "MOK 12\r\nVersion: 1\r\n\r\n")
					case strings.HasPrefix(request, "READ t 0 "):
						fmt.Fprintf(out, "OK 0 2\r\n%s%s", first, bad)
					default:
						fmt.Fprintf(out, "OK %d 1\r\n%s", len(first), bad)
					}
				}
			})
			res, err := c.Read(t.Context(), "t", 0, logd.ReadOptions{})
			if err != nil || len(res.Batches) < 1 || string(res.Batches[0].Data()) != "MSG 2\r\nok\r\n" || res.Next != int64(len(first)) {
				t.Fatalf("Read: %+v, %v", res, err)
			}
			if _, err := c.Read(t.Context(), "t", int64(len(first)), logd.ReadOptions{}); !errors.Is(err, tc.want) {
				t.Errorf("Read at the bad one: %v", err)
			}
		})
	}
}

// TestMaxUncompressedSize: a batch over the limit of the Client is ErrCorrupt, and those
// that are over it together come one after another.
func TestMaxUncompressedSize(t *testing.T) {
	server := logdtest.Start(t)
	write(t, server.Client(t), "t", "zstd", 1000)
	cfg := server.ClientConfig()
	cfg.MaxUncompressedSize = 20 << 10 // two batches and a half
	c, err := logd.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wantLines(t, c, "t", 0, 1000, logd.ScannerConfig{})
	cfg.MaxUncompressedSize = 1000
	small, err := logd.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	if _, err := small.Read(t.Context(), "t", 0, logd.ReadOptions{}); !errors.Is(err, logd.ErrCorrupt) {
		t.Errorf("Read: %v", err)
	}
}

// TestSplit: compressed batches that are too large for the topic by now are split, those
// on their way and those in the backlog.
func TestSplit(t *testing.T) {
	const n = 3000
	s := logdtest.Start(t)
	c := s.Client(t)
	kept, err := backlog.NewMemory(backlog.MemoryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := logd.NewWriter(t.Context(), c, "t", logd.WriterConfig{
		Codec: "zstd", Backlog: kept, WriteWhileFailing: true, Patience: time.Millisecond, BatchMessages: n / 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	write := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if _, err := w.Write([]byte(line(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	limit := func(size int) {
		t.Helper()
		if _, err := c.Command(t.Context(), fmt.Sprintf("SETTING batch-size %d topic=t", size)); err != nil {
			t.Fatal(err)
		}
	}
	write(0, 1)
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	limit(1000)
	write(1, n/2)
	if err := w.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	limit(500)
	s.Stop()
	write(n/2, n/2+1)
	testkit.Eventually(t, func() string {
		if w.State() != logd.StateFailing {
			return "the Writer is not failing"
		}
		return ""
	})
	write(n/2+1, n)
	s.Restart()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	wantLines(t, c, "t", 0, n, logd.ScannerConfig{})
	if st := w.Stats(); st.Lost != 0 || st.InDoubt != 0 || kept.Len() != 0 {
		t.Errorf("%+v", st)
	}
}
