package logd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
)

// A dialer that connects although its context has ended comes too late: the
// Client has another connection by then, and keeps to that one.
func TestConnectionOfAnAttemptThatWasGivenUp(t *testing.T) {
	server := logdtest.Start(t)
	cfg := server.ClientConfig()
	var dials, connected atomic.Int32
	var begun func() // called when the first attempt is under way
	late, given := make(chan struct{}), make(chan struct{})
	cfg.OnConnect = func(string) { connected.Add(1) }
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		first := dials.Add(1) == 1
		nc, err := new(net.Dialer).DialContext(context.WithoutCancel(ctx), network, addr)
		if !first || err != nil {
			return nc, err
		}
		begun()
		<-ctx.Done()
		<-late
		return closeTold{nc, given}, nil
	}
	client, err := logd.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	begun = cancel
	if err := client.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Ping: %v", err)
	}
	if err := client.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(late)
	<-given // closed by the Client
	if err := client.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	client.Close()
	if n := connected.Load(); n != 1 {
		t.Errorf("the Client has had %d connections", n)
	}
}

// closeTold tells when it is closed.
type closeTold struct {
	net.Conn
	closed chan struct{}
}

func (c closeTold) Close() error {
	close(c.closed)
	return c.Conn.Close()
}

// Flush says that a batch was refused, also if it is the last and only one.
func TestFlushOfOneRefusedBatch(t *testing.T) {
	server := logdtest.Start(t, logdtest.Topics("other"))
	w, err := logd.NewWriter(t.Context(), server.Client(t), "t", logd.WriterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "m")
	if err := w.Flush(t.Context()); !errors.Is(err, logd.ErrTopicNotAllowed) {
		t.Errorf("Flush: %v", err)
	}
	if err := w.Close(); err == nil {
		t.Error("Close: nil, and nothing is stored")
	}
}

// Attempts that fail can be watched, and whoever comes while the Client waits
// for the next one is told of that one.
func TestOnConnectFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		var pauses []time.Duration
		client, err := logd.NewClient(logd.ClientConfig{
			ReconnectAttempts: 3,
			Dial:              func(context.Context, string, string) (net.Conn, error) { return nil, refused },
			OnConnectFailed: func(err error, pause time.Duration) {
				if !errors.Is(err, logd.ErrConnect) {
					t.Errorf("told of %v", err)
				}
				pauses = append(pauses, pause)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Ping(t.Context()); !errors.Is(err, logd.ErrConnect) {
			t.Errorf("Ping: %v", err)
		}
		if len(pauses) != 3 || pauses[0] <= 0 || pauses[2] <= pauses[0] {
			t.Errorf("told of pauses %v", pauses)
		}
	})
}
