package memnet_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/logdtest/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo sends back what comes, line by line.
func echo(c *memnet.Conn) {
	for br := bufio.NewReader(c); ; {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		io.WriteString(c, line)
	}
}

func dial(t *testing.T, n *memnet.Network, addr string) net.Conn {
	t.Helper()
	c, err := n.Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends a line and returns the answer.
func ask(c net.Conn, line string) (string, error) {
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	p := make([]byte, 100)
	n, err := c.Read(p)
	return strings.TrimSuffix(string(p[:n]), "\n"), err
}

func TestHandle(t *testing.T) {
	n := memnet.New(t)
	n.Handle("a:1", echo)
	c := dial(t, n, "a:1")
	if got, err := ask(c, "hello"); got != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	n.Handle("a:1", nil)
	if got, err := ask(c, "still"); got != "still" || err != nil {
		t.Errorf("a connection ends with its server's address: %q, %v", got, err)
	}
	_, err := n.Dial(t.Context(), "tcp", "a:1")
	if !errors.Is(err, syscall.ECONNREFUSED) || err.Error() != "dial tcp a:1: connect: connection refused" {
		t.Errorf("where nobody is: %v", err)
	}
	n.Handle("a:1", func(c *memnet.Conn) {
		if c.Number() != 3 || c.LocalAddr().String() != "a:1" || c.RemoteAddr().String() == "a:1" {
			t.Errorf("connection %d from %v to %v", c.Number(), c.RemoteAddr(), c.LocalAddr())
		}
	})
	c = dial(t, n, "a:1")
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read when the function has returned: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write when the function has returned: %v", err)
	}
	if c.LocalAddr().String() != "client:3" || c.RemoteAddr().String() != "a:1" {
		t.Errorf("the client is at %v, the server at %v", c.LocalAddr(), c.RemoteAddr())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Dial(ctx, "tcp", "a:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("dial with a context that has ended: %v", err)
	}
	if got, want := n.Dials(), []string{"a:1", "a:1", "a:1"}; !slices.Equal(got, want) {
		t.Errorf("dialed %q, want %q", got, want)
	}
}

func TestCut(t *testing.T) {
	n := memnet.New(t)
	n.Handle("a:1", echo)
	n.Handle("b:1", echo)
	a, b := dial(t, n, "a:1"), dial(t, n, "b:1")
	n.Cut("a:1")
	for range 2 {
		if _, err := ask(a, "x"); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after the cut: %v", err)
		}
	}
	if _, err := ask(b, "x"); err != nil {
		t.Errorf("the other connection: %v", err)
	}
	if _, err := ask(dial(t, n, "a:1"), "x"); err != nil {
		t.Errorf("a connection after the cut: %v", err)
	}
	n.Cut("")
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after all were cut: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := b.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the second Close: %v", err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read of a closed connection: %v", err)
	}
}

func TestListen(t *testing.T) {
	n := memnet.New(t)
	l, err := n.Listen("host:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if other, err := n.Listen("host:0"); err != nil || other.Addr().String() == addr {
		t.Errorf("two listeners at %s: %v", addr, err)
	}
	if _, err := n.Listen(addr); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("an address that is taken: %v", err)
	}
	if _, err := n.Listen("host"); err == nil {
		t.Error("an address without a port")
	}
	// Connections wait to be accepted, in order.
	first, second, third := dial(t, n, addr), dial(t, n, addr), dial(t, n, addr)
	for _, client := range []net.Conn{first, second} {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer c.Close()
			echo(c.(*memnet.Conn))
		}()
		if _, err := ask(client, "x"); err != nil {
			t.Error(err)
		}
	}
	accepted := make(chan error)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if _, err := ask(third, "x"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection that was not accepted: %v", err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the second Close: %v", err)
	}
	if _, err := n.Dial(t.Context(), "tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after Close: %v", err)
	}
	if again, err := n.Listen(addr); err != nil {
		t.Errorf("the address is not free: %v", err)
	} else {
		again.Close()
	}
}

// Who waits on a connection is durably blocked, and deadlines are of the bubble's
// clock.
func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(t)
		l, err := n.Listen("host:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go echo(c.(*memnet.Conn))
			}
		}()
		c := dial(t, n, l.Addr().String())
		synctest.Wait()
		start := time.Now()
		c.SetReadDeadline(start.Add(time.Hour))
		_, err = c.Read(make([]byte, 1))
		if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("at the deadline: %v", err)
		}
		if time.Since(start) != time.Hour {
			t.Errorf("after %v", time.Since(start))
		}
		c.Close()
	})
}
