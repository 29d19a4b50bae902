package link

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/testkit"
)

// tcpServer serves each connection with serve, on a socket of the operating
// system: only there a caller reads its answer itself.
func tcpServer(t *testing.T, serve func(nc net.Conn, in *bufio.Reader)) *Link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var g sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	g.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, nc)
			mu.Unlock()
			g.Go(func() {
				defer nc.Close()
				serve(nc, bufio.NewReader(nc))
			})
		}
	})
	c := New(options(l.Addr().String()))
	t.Cleanup(func() {
		c.Close()
		l.Close()
		mu.Lock()
		for _, nc := range open {
			nc.Close()
		}
		mu.Unlock()
		g.Wait()
	})
	return c
}

// nextNumber reads a batch and returns the number that is its first message.
func nextNumber(in *bufio.Reader) (int64, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	h, err := batch.ParseHeader(bytes.TrimRight(line, "\r\n"))
	if err != nil {
		return 0, err
	}
	data := make([]byte, h.Size)
	if _, err := io.ReadFull(in, data); err != nil {
		return 0, err
	}
	lines := strings.Split(string(data), "\r\n")
	return strconv.ParseInt(lines[1], 10, 64)
}

// appendNumber appends a batch of one message, the number.
func appendNumber(ctx context.Context, c *Link, n int64) (int64, *Failure) {
	call := c.AppendCall(batchOf(strconv.FormatInt(n, 10)))
	if f := c.Do(ctx, call); f != nil {
		return 0, f
	}
	defer call.Release()
	return call.Offset, nil
}

// roleOf returns the role of the reader of the Link's connection.
func roleOf(c *Link) role {
	cn := c.conn.Load()
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.role
}

// ended reports whether the Link has noticed that its connection has ended, or, if it need
// not have, the next caller will: it looks at the socket, which tells.
func ended(c *Link, noticed bool) bool {
	cn := c.conn.Load()
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.ended != nil || !noticed && cn.role == roleFree && cn.sleeping && cn.quiet() == hungUp
}

// becomesFree waits until the next caller may read its answer itself.
func becomesFree(t *testing.T, c *Link) {
	t.Helper()
	for n := int64(0); ; n++ {
		if got, err := appendNumber(t.Context(), c, n); err != nil || got != n {
			t.Fatalf("answer %d to %d (%+v)", got, n, err)
		}
		if roleOf(c) == roleFree {
			return
		}
	}
}

// A call after the server has closed the connection goes to a new one, without
// an error, whether that is noticed before or by the call.
func TestDirectAfterClose(t *testing.T) {
	for _, noticed := range []bool{false, true} { // before the call
		var conns sync.Map
		closed := make(chan bool, 10)
		c := tcpServer(t, func(nc net.Conn, in *bufio.Reader) {
			conns.Store(nc, true)
			defer func() {
				nc.Close()
				closed <- true
			}()
			for range 5 {
				n, err := nextNumber(in)
				if err != nil {
					return
				}
				fmt.Fprintf(nc, "OK %d 1\r\n", n)
			}
		})
		for n := range int64(30) {
			if n%5 == 0 && n > 0 {
				<-closed
				testkit.Eventually(t, func() string {
					return testkit.Unless(ended(c, noticed), "the connection has not ended for the Link")
				})
			}
			if got, err := appendNumber(t.Context(), c, n); err != nil || got != n {
				t.Fatalf("answer %d to %d (%+v)", got, n, err)
			}
		}
		n := 0
		conns.Range(func(any, any) bool { n++; return true })
		if n != 6 {
			t.Errorf("%d connections, want 6", n)
		}
	}
}

// A caller that is cancelled before its answer has begun leaves at once, and
// the answer is nobody else's.
func TestDirectCancelled(t *testing.T) {
	got, held := make(chan struct{}), make(chan struct{})
	c := tcpServer(t, func(nc net.Conn, in *bufio.Reader) {
		for {
			n, err := nextNumber(in)
			if err != nil {
				return
			}
			if n == 1000 {
				close(got)
				<-held
			}
			fmt.Fprintf(nc, "OK %d 1\r\n", n)
		}
	})
	becomesFree(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-got
		cancel()
	}()
	_, f := appendNumber(ctx, c, 1000)
	if f == nil || !errors.Is(f.Err, context.Canceled) || f.Outcome != Unknown {
		t.Errorf("cancelled append: %+v", f)
	}
	close(held)
	addr := c.conn.Load()
	for n := range int64(10) {
		if got, err := appendNumber(t.Context(), c, n); err != nil || got != n {
			t.Fatalf("answer %d to %d (%+v)", got, n, err)
		}
	}
	if c.conn.Load() != addr {
		t.Error("the connection was given up")
	}
}

// A caller that is cancelled in the middle of an answer that stalls leaves, and
// the next one has a connection on which answers are whole.
func TestDirectCancelledInTheMiddle(t *testing.T) {
	// The reader goroutine may take the role back just before the call: then that is
	// no direct one.
	for try := 0; !cancelledInTheMiddle(t); try++ {
		if try == 20 {
			t.Fatal("no call was direct")
		}
	}
}

// cancelledInTheMiddle reports whether the call that it cancels was a direct one.
func cancelledInTheMiddle(t *testing.T) bool {
	begun := make(chan struct{})
	c := tcpServer(t, func(nc net.Conn, in *bufio.Reader) {
		for {
			n, err := nextNumber(in)
			if err != nil {
				return
			}
			if n == 1000 {
				io.WriteString(nc, "OK 10")
				close(begun)
				continue
			}
			fmt.Fprintf(nc, "OK %d 1\r\n", n)
		}
	})
	becomesFree(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	var at time.Time
	var last role
	left := make(chan struct{})
	go func() {
		defer close(left)
		<-begun
		for last = roleOf(c); last == roleWriting || last == roleAwaiting; last = roleOf(c) {
			runtime.Gosched()
		}
		at = time.Now()
		cancel()
	}()
	_, f := appendNumber(ctx, c, 1000)
	<-left
	if f == nil || !errors.Is(f.Err, context.Canceled) || f.Outcome != Unknown {
		t.Errorf("cancelled append: %+v", f)
	}
	if last != roleReading {
		return false
	}
	if took := time.Since(at); took > 10*cancelGrace {
		t.Errorf("it took %v", took)
	}
	for n := range int64(10) {
		if got, err := appendNumber(t.Context(), c, n); err != nil || got != n {
			t.Fatalf("answer %d to %d (%+v)", got, n, err)
		}
	}
	return true
}

// Close ends a call whose caller reads, too.
func TestDirectClosed(t *testing.T) {
	c := tcpServer(t, func(nc net.Conn, in *bufio.Reader) {
		for {
			n, err := nextNumber(in)
			if err != nil {
				return
			}
			if n < 1000 {
				fmt.Fprintf(nc, "OK %d 1\r\n", n)
			}
		}
	})
	becomesFree(t, c)
	time.AfterFunc(20*time.Millisecond, func() { c.Close() })
	if _, f := appendNumber(t.Context(), c, 1000); f == nil || !errors.Is(f.Err, ErrClosed) {
		t.Errorf("append while the Link closes: %+v", f)
	}
}

// Whoever calls, waits, pipelines and gives up at the same time: each answer
// is that of its request.
func TestDirectConcurrently(t *testing.T) {
	c := tcpServer(t, func(nc net.Conn, in *bufio.Reader) {
		r := rand.New(rand.NewPCG(1, 2))
		for i := 0; ; i++ {
			n, err := nextNumber(in)
			if err != nil || r.IntN(2000) == 0 {
				return
			}
			if r.IntN(50) == 0 {
				time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond) // a server that stalls
			}
			fmt.Fprintf(nc, "OK %d 1\r\n", n)
		}
	})
	var g sync.WaitGroup
	for worker := range int64(4) {
		g.Go(func() {
			r := rand.New(rand.NewPCG(3, uint64(worker)))
			for i := range int64(2000) {
				n := worker*1_000_000 + i
				switch r.IntN(8) {
				case 0:
					var p Pending
					if c.Start(t.Context(), batchOf(strconv.FormatInt(n, 10)), &p) != nil {
						continue
					}
					if got, err := p.Wait(context.Background()); err == nil && got != n {
						t.Errorf("pipelined: answer %d to %d", got, n)
					}
				case 1:
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(2000))*time.Microsecond)
					if got, err := appendNumber(ctx, c, n); err == nil && got != n {
						t.Errorf("with a timeout: answer %d to %d", got, n)
					}
					cancel()
				case 2:
					time.Sleep(time.Duration(r.IntN(300)) * time.Microsecond) // a caller that rests
				default:
					if got, err := appendNumber(t.Context(), c, n); err == nil && got != n {
						t.Errorf("answer %d to %d", got, n)
					}
				}
			}
		})
	}
	g.Wait()
}

// A write that its caller does, and that fails, ends the connection: the next
// call has another one.
func TestDirectWriteFails(t *testing.T) {
	c := tcpServer(t, func(nc net.Conn, in *bufio.Reader) {
		for {
			n, err := nextNumber(in)
			if err != nil {
				return
			}
			fmt.Fprintf(nc, "OK %d 1\r\n", n)
		}
	})
	timeout := c.opts.WriteTimeout
	becomesFree(t, c)
	c.opts.WriteTimeout = 1 // over before the write begins
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, f := appendNumber(ctx, c, 1000); f == nil || ctx.Err() != nil {
		t.Fatalf("an append whose write fails: %+v", f)
	}
	c.opts.WriteTimeout = timeout
	if got, f := appendNumber(ctx, c, 7); got != 7 || f != nil {
		t.Errorf("the next: %d, %+v", got, f)
	}
}
