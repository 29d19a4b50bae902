package link

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// options returns options to reach the addresses, with the defaults that users
// have.
func options(addrs ...string) Options {
	return Options{
		Addrs: addrs, Dial: new(net.Dialer).DialContext,
		ConnectTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 15 * time.Second, IdleTimeout: 25 * time.Second,
		ReconnectMin: 50 * time.Millisecond, ReconnectMax: 5 * time.Second, ReconnectAttempts: 5,
		MaxReplySize: 256 << 20,
		OnConnect:    func(string) {}, OnDisconnect: func(string, error) {}, OnConnectFailed: func(error, time.Duration) {},
		Logger: slog.New(slog.DiscardHandler),
		Refusal: func(reason string) error {
			if next, ok := protocol.ParseOutOfOrder(reason); ok {
				return fmt.Errorf("%w: %d is next", protocol.ErrOutOfOrder, next)
			}
			return nil
		},
		NotLeader:  func(addr string) error { return fmt.Errorf("%w: %s is", protocol.ErrNotLeader, addr) },
		OtherReply: func(reason string) error { return fmt.Errorf("answer %q", reason) },
	}
}

// batchOf returns a finished batch of the messages for topic t.
func batchOf(bodies ...string) []byte { return []byte(stored("t", bodies...)) }

// stored returns the bytes of a stored batch of the messages.
func stored(topic string, bodies ...string) string {
	var b batch.Builder
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	return string(b.Finish(topic))
}

// rawOf returns the bytes of one of the batches.
func rawOf(b *Batches, i int) []byte {
	end := b.Next
	if i+1 < len(b.Extents) {
		end = b.Extents[i+1].Offset
	}
	return b.Buf[b.Extents[i].Offset-b.Offset : end-b.Offset]
}

// mok returns an answer with a body.
func mok(body string) string { return string(protocol.AppendBody(nil, []byte(body))) }

// slowClose is a connection whose Close waits, as that of TLS may.
type slowClose struct {
	net.Conn
	closing, close chan struct{}
}

func (c *slowClose) Close() error {
	close(c.closing)
	<-c.close
	return c.Conn.Close()
}

// While a connection is closed, which may take its time, nobody waits for it who asks
// the Link something else.
func TestCloseHoldsUpNobody(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	slow := &slowClose{here, make(chan struct{}), make(chan struct{})}
	o := options("server:1")
	o.Dial = func(context.Context, string, string) (net.Conn, error) { return slow, nil }
	l := New(o)
	if err := l.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	go l.drop()
	<-slow.closing
	asked := make(chan string)
	go func() { asked <- l.Addr() }()
	select {
	case addr := <-asked:
		if addr != "" {
			t.Errorf("it is said to be connected to %s", addr)
		}
	case <-time.After(10 * time.Second):
		t.Error("a caller waits for the end of Close")
	}
	close(slow.close)
	l.Close()
}
