package inputs

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// nowhere is a feed.Sink that takes everything, and keeps nothing.
type nowhere struct{ feed.Sink }

func (nowhere) Live(string, string) feed.Live { return nowhereLive{} }

type nowhereLive struct{}

func (nowhereLive) Put(_ context.Context, _ []feed.Message, _ feed.Full, safe func()) error {
	if safe != nil {
		safe()
	}
	return nil
}
func (nowhereLive) Hole(feed.Hole) {}
func (nowhereLive) Close()         {}

// BenchmarkInputs measures the taking of messages of 200 bytes over a unix socket.
func BenchmarkInputs(b *testing.B) {
	body := strings.Repeat("x", 159)
	for _, bench := range []struct{ name, first, message string }{
		{"msg", "", "MSG 200\r\n" + strings.Repeat("x", 200) + "\r\n"},
		{"msg-ack", "ACK\r\n", "MSG 200\r\n" + strings.Repeat("x", 200) + "\r\n"},
		{"lines", "", strings.Repeat("x", 200) + "\n"},
		{"syslog", "", "<30>Oct 11 22:14:15 host-a app-b[12345]: " + body + "\n"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			kind, _, _ := strings.Cut(bench.name, "-")
			path := socketPath(b)
			f, err := ParseFrom(kind + "+unix:" + path)
			if err != nil {
				b.Fatal(err)
			}
			in, err := Start(Config{Name: "b", From: f}, nowhere{}, nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			nc, err := net.Dial("unix", path)
			if err != nil {
				b.Fatal(err)
			}
			go io.Copy(io.Discard, nc)
			const many = 300
			block := []byte(strings.Repeat(bench.message, many))
			io.WriteString(nc, bench.first)
			b.SetBytes(200)
			b.ReportAllocs()
			b.ResetTimer()
			for n := b.N; n > 0; n -= many {
				nc.Write(block[:min(n, many)*len(bench.message)])
			}
			nc.Close()
			in.Stop(context.Background())
		})
	}
}
