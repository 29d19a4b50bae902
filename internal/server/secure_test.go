package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// tlsPair returns the TLS of a listener, and that of a client with a certificate which
// the listener's authority has signed.
func tlsPair(t testing.TB, change func(*tls.Config)) (*server.TLS, *tls.Config) {
	t.Helper()
	a := testkit.NewAuthority(t)
	load := func(name string, names ...string) tls.Certificate {
		cert, err := tls.LoadX509KeyPair(a.Issue(t, name, names))
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	now := time.Now() // not what a bubble's clock says
	clock := func() time.Time { return now }
	c := &tls.Config{Certificates: []tls.Certificate{load("server", "127.0.0.1", "localhost")}, ClientCAs: pool, Time: clock, SessionTicketsDisabled: true}
	if change != nil {
		change(c)
	}
	return &server.TLS{Config: c}, &tls.Config{Certificates: []tls.Certificate{load("client")}, RootCAs: pool, ServerName: "localhost", Time: clock}
}

// serveTLS lets the server listen for TLS until the test ends.
func serveTLS(t testing.TB, s *server.Server, secure *server.TLS) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveTLSAt(t, s, l, secure)
}

// serveTLSAt is serveTLS at a listener, which it closes.
func serveTLSAt(t testing.TB, s *server.Server, l net.Listener, secure *server.TLS) string {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.ServeTLS(l, secure) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, server.ErrServerClosed) {
			t.Errorf("ServeTLS = %v, want ErrServerClosed", err)
		}
	})
	return l.Addr().String()
}

func dialTLS(t testing.TB, s *server.Server) dialer {
	secure, config := tlsPair(t, nil)
	addr := serveTLS(t, s, secure)
	return func(t testing.TB) net.Conn {
		nc := tls.Client(dialAddr(t, addr), config)
		if err := nc.Handshake(); err != nil {
			t.Fatal(err)
		}
		return nc
	}
}

// dialAllowed speaks no TLS to a listener that allows that.
func dialAllowed(t testing.TB, s *server.Server) dialer {
	secure, _ := tlsPair(t, nil)
	secure.Plain = true
	addr := serveTLS(t, s, secure)
	return func(t testing.TB) net.Conn { return dialAddr(t, addr) }
}

// The first byte tells whether a client wants TLS. Nothing plain is written to one who
// does, and who does not is told at once where it must.
func TestFirstByte(t *testing.T) {
	hello := "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"
	for _, test := range []struct {
		name          string
		secure, plain bool // the listener's
		send, want    string
	}{
		{"TLS to plain", false, false, "\x16", "ERR invalid protocol\r\n"},
		{"a handshake to plain", false, false, hello, "ERR invalid protocol\r\n"},
		{"plain to TLS", true, false, "P", "ERR tls required\r\n"},
		{"a request to TLS", true, false, "PING\r\nPING\r\n", "ERR tls required\r\n"},
		{"a line end to TLS", true, false, "\r\n", "ERR tls required\r\n"},
		{"HTTP to TLS", true, false, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "ERR tls required\r\n"},
		{"plain where it is allowed", true, true, "PING\r\nCLOSE\r\n", "OK\r\nOK\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			secure, _ := tlsPair(t, nil)
			secure.Plain = test.plain
			s := server.New(server.Options{Store: topictest.NewMemory()})
			var addr string
			if test.secure {
				addr = serveTLS(t, s, secure)
			} else {
				addr = serveTCP(t, s)
			}
			nc := dialAddr(t, addr)
			nc.SetDeadline(time.Now().Add(20 * time.Second))
			io.WriteString(nc, test.send)
			if got, err := io.ReadAll(nc); string(got) != test.want || err != nil {
				t.Errorf("%q (%v), want %q", got, err, test.want)
			}
		})
	}
}

// FuzzFirstBytes: whatever a client begins with, a listener of TLS answers with TLS after a
// handshake's first byte, and else with the one line. It neither hangs nor falls.
func FuzzFirstBytes(f *testing.F) {
	for _, seed := range []string{
		"", "\x16", "\x16\x03\x01\x00\x00", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "\x16\xff\xff\xff\xff\xff", "\x15\x03\x01\x00\x02\x01\x00",
		"\x80\x2e\x01\x03\x01", "PING\r\n", "\r\n", "BATCH 1 t 0 1\r\nx", "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n", "\x00\x00\x00\x00", "ERR tls required\r\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	secure, _ := tlsPair(f, nil)
	open, _ := tlsPair(f, nil)
	open.Plain = true
	s := server.New(server.Options{Store: topictest.NewMemory()})
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, data []byte, plain bool) {
		nc, srv := net.Pipe()
		l := &fakeListener{closed: make(chan struct{})}
		given := false
		l.accept = func() (net.Conn, error) {
			if !given {
				given = true
				return srv, nil
			}
			<-l.closed
			return nil, net.ErrClosed
		}
		mode := secure
		if plain {
			mode = open
		}
		done := make(chan struct{})
		go func() { defer close(done); s.ServeTLS(l, mode) }()
		got := make(chan []byte, 1)
		go func() {
			nc.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			b, _ := io.ReadAll(io.LimitReader(nc, 1<<20))
			got <- b
		}()
		nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		nc.Write(data)
		if len(data) > 0 && (data[0] == 22 || plain) || len(data) == 0 {
			nc.Close()
		}
		answer := <-got
		nc.Close()
		l.Close()
		<-done
		switch {
		case len(data) == 0:
			if len(answer) > 0 {
				t.Fatalf("%q to nothing", answer)
			}
		case data[0] == 22:
			if len(answer) > 0 && answer[0] != 21 && answer[0] != 22 {
				t.Fatalf("%q to a handshake: no record of TLS", answer)
			}
		case !plain && !strings.HasPrefix("ERR tls required\r\n", string(answer)):
			t.Fatalf("%q to %q", answer, data)
		}
	})
}

// No stranger holds up the server: neither one who begins a handshake and does not go on
// with it, nor one who sends nothing, and both are gone in time, without a word.
func TestHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secure, _ := tlsPair(t, nil)
		var ended atomic.Int64
		secure.Ended = func(_ string, err error) {
			if err != nil {
				ended.Add(1)
			}
		}
		s := server.New(server.Options{Store: topictest.NewMemory(), AuthTimeout: 10 * time.Second})
		defer s.Close()
		for _, sent := range []string{"", "\x16", "\x16\x03\x01\x02\x00\x01\x00"} {
			nc, srv := net.Pipe()
			began := time.Now()
			server.ServeSecure(s, srv, secure)
			io.WriteString(nc, sent)
			got, _ := io.ReadAll(nc)
			elapsed(t, began, 10*time.Second)
			if len(got) > 0 {
				t.Errorf("%q is answered with %q", sent, got)
			}
			nc.Close()
		}
		if n := ended.Load(); n != 2 {
			t.Errorf("%d handshakes have failed, want 2", n)
		}
		// A byte a second does not get more time.
		nc, srv := net.Pipe()
		defer nc.Close()
		began := time.Now()
		server.ServeSecure(s, srv, secure)
		dribbled := make(chan struct{})
		go func() {
			defer close(dribbled)
			for _, b := range []byte("\x16\x03\x01\x02\x00" + strings.Repeat("x", 100)) {
				if _, err := nc.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		io.Copy(io.Discard, nc)
		elapsed(t, began, 10*time.Second)
		<-dribbled
	})
}

// A drain does not wait for handshakes, nor does Close.
func TestDrainDuringHandshake(t *testing.T) {
	for name, end := range map[string]func(*server.Server) error{
		"drain": func(s *server.Server) error { return s.Shutdown(context.Background()) },
		"close": func(s *server.Server) error { return s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				secure, _ := tlsPair(t, nil)
				s := server.New(server.Options{Store: topictest.NewMemory()})
				for _, sent := range []string{"", "\x16\x03"} {
					nc, srv := net.Pipe()
					defer nc.Close()
					server.ServeSecure(s, srv, secure)
					io.WriteString(nc, sent)
				}
				synctest.Wait()
				began := time.Now()
				if err := end(s); err != nil {
					t.Error(err)
				}
				elapsed(t, began, 0)
			})
		})
	}
}

// splitConn has something done in the middle of its first write.
type splitConn struct {
	net.Conn
	between func()
}

func (c *splitConn) Write(p []byte) (int, error) {
	between := c.between
	if c.between = nil; between == nil || len(p) < 2 {
		return c.Conn.Write(p)
	}
	n, err := c.Conn.Write(p[:len(p)/2])
	if err != nil {
		return n, err
	}
	between()
	m, err := c.Conn.Write(p[len(p)/2:])
	return n + m, err
}

// A Recall ends no handshake, and none that has not begun.
func TestRecallDuringHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secure, config := tlsPair(t, nil)
		s := server.New(server.Options{Store: topictest.NewMemory()})
		defer s.Close()
		nc, srv := net.Pipe()
		defer nc.Close()
		server.ServeSecure(s, srv, secure)
		recall := func() {
			synctest.Wait()
			s.Recall()
			synctest.Wait()
		}
		recall()
		c := tls.Client(&splitConn{nc, recall}, config)
		if _, err := io.WriteString(c, "PING\r\n"); err != nil {
			t.Fatal(err)
		}
		if got, err := bytesUntil(c, '\n'); string(got) != "OK\r\n" {
			t.Errorf("%q (%v)", got, err)
		}
	})
}

// Handshakes count as connections that have to show who they are, also where nobody has to
// after that.
func TestHandshakesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secure, config := tlsPair(t, nil)
		s := server.New(server.Options{Store: topictest.NewMemory(), MaxUnauthenticated: 2})
		defer s.Close()
		connect := func() net.Conn {
			nc, srv := net.Pipe()
			t.Cleanup(func() { nc.Close() })
			server.ServeSecure(s, srv, secure)
			return nc
		}
		connect()
		c := tls.Client(connect(), config)
		if got, err := io.ReadAll(connect()); len(got) > 0 || err != nil {
			t.Errorf("the third handshake: %q (%v)", got, err)
		}
		for range 2 { // whose handshake is done counts no more
			if _, err := io.WriteString(c, "PING\r\n"); err != nil {
				t.Fatal(err)
			}
			if got, err := bytesUntil(c, '\n'); string(got) != "OK\r\n" {
				t.Fatalf("%q (%v)", got, err)
			}
			c = tls.Client(connect(), config)
		}
	})
}

// A token that comes without TLS from another machine is not taken where clients can speak
// TLS; the connection stays.
func TestTokenWithoutTLS(t *testing.T) {
	secure, _ := tlsPair(t, nil)
	secure.Plain = true
	s := server.New(server.Options{Store: topictest.NewMemory(), Auth: newAuth(t, "a: read *")})
	t.Cleanup(func() { s.Close() })
	far, srv := net.Pipe() // which has no address of this machine
	server.ServeSecure(s, srv, secure)
	for name, test := range map[string]struct {
		nc   net.Conn
		want string
	}{
		"another machine": {far, "ERR tls required\r\nOK\r\n"},
		"this machine":    {dialAddr(t, serveTLS(t, s, secure)), "OK\r\nOK\r\n"},
	} {
		test.nc.SetDeadline(time.Now().Add(20 * time.Second))
		go io.WriteString(test.nc, "AUTH a-token\r\nCLOSE\r\n")
		got, _ := io.ReadAll(test.nc)
		if string(got) != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		test.nc.Close()
	}
}

// Where there are too many connections, whoever wants TLS is told nothing: what is plain
// would be taken for a broken handshake.
func TestBusyUnderTLS(t *testing.T) {
	secure, config := tlsPair(t, nil)
	s := server.New(server.Options{Store: topictest.NewMemory(), MaxConnections: 1})
	addr := serveTLS(t, s, secure)
	first := tls.Client(dialAddr(t, addr), config)
	first.SetDeadline(time.Now().Add(20 * time.Second))
	if err := first.Handshake(); err != nil {
		t.Fatal(err)
	}
	second := dialAddr(t, addr)
	second.SetDeadline(time.Now().Add(20 * time.Second))
	if got, err := io.ReadAll(second); len(got) > 0 || err != nil {
		t.Errorf("%q (%v)", got, err)
	}
}

// Under TLS what is read goes through the server, in pieces that each leave with one
// system call, and sendfile is not used; it is where clients need no TLS.
func TestReadsUnderTLS(t *testing.T) {
	const size = 3 << 20
	for _, plain := range []bool{false, true} {
		store, b := newFileStore(t, size, 1<<40)
		s := server.New(server.Options{Store: store})
		t.Cleanup(func() { s.Close() })
		secure, config := tlsPair(t, nil)
		secure.Plain = true
		secure.Config.DynamicRecordSizingDisabled = true
		client, srv := tcpPair(t)
		counted := &countedConn{Conn: srv}
		client.SetDeadline(time.Now().Add(30 * time.Second))
		if plain {
			server.ServeSecure(s, srv, secure)
		} else {
			server.ServeSecure(s, counted, secure)
			client = tls.Client(client, config)
		}
		fmt.Fprint(client, "READ t 0 1\r\nCLOSE\r\n")
		got, err := io.ReadAll(client)
		if want := "OK 0 1\r\n" + b + "OK\r\n"; err != nil || string(got) != want {
			t.Fatalf("received %d bytes (%v), not the %d wanted", len(got), err, len(want))
		}
		if calls := s.Stats().Sendfiles; (calls > 0) != plain {
			t.Errorf("plain %v: %d calls of sendfile", plain, calls)
		}
		if writes := counted.writes.Load(); !plain && writes > size/(64<<10)+8 {
			t.Errorf("%d writes for %d bytes", writes, size)
		}
	}
}

type countedConn struct {
	net.Conn
	writes atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// A read that waits under TLS is woken by an append, goes on afterwards, and ends with its
// client, also if more has arrived behind it than is read meanwhile.
func TestWaitUnderTLS(t *testing.T) {
	store := topictest.NewMemory()
	s := server.New(server.Options{Store: store})
	secure, config := tlsPair(t, nil)
	// The end of the stream is told behind all else: what the server leaves unread has to
	// fit into the socket. How much does by default depends on the sizes of packets.
	roomy := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 208<<10)
		}), err)
	}}
	l, err := roomy.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := serveTLSAt(t, s, l, secure)
	log, err := store.Create(t.Context(), []byte("t"))
	if err != nil {
		t.Fatal(err)
	}
	connect := func() *tls.Conn {
		nc := tls.Client(dialAddr(t, addr), config)
		nc.SetDeadline(time.Now().Add(30 * time.Second))
		return nc
	}
	waiting := func(want int64) {
		t.Helper()
		testkit.Eventually(t, func() string {
			n := s.Stats().WaitingReads
			return testkit.Unless(n == want, fmt.Sprintf("%d reads wait, want %d", n, want))
		})
	}
	nc := connect()
	b := testkit.Batch("t", "one")
	for i := range 3 {
		fmt.Fprintf(nc, "READ t %d 1 wait=600000\r\n", i*len(b))
		waiting(1)
		if _, err := log.Append(t.Context(), []byte(b), []batch.Extent{{Len: int64(len(b)), Messages: 1}}); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("OK %d 1\r\n%s", i*len(b), b)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != want {
			t.Fatalf("%q (%v), want %q", got, err, want)
		}
	}
	for _, behind := range []int{0, 300 << 10} {
		nc, before := connect(), s.Stats().BytesIn
		io.WriteString(nc, fmt.Sprintf("READ t %d 1 wait=600000\r\n", 3*len(b))+strings.Repeat("PING\r\n", behind/6))
		waiting(1)
		testkit.Eventually(t, func() string { // it waits without reading from here on
			n := s.Stats().BytesIn - before
			return testkit.Unless(n >= int64(min(behind, 256<<10)), fmt.Sprintf("%d bytes of %d are read", n, behind))
		})
		nc.NetConn().Close()
		waiting(0)
	}
}

// Connections whose certificate is not good any more are cut, and no others.
func TestCutUnverified(t *testing.T) {
	secure, config := tlsPair(t, func(c *tls.Config) { c.ClientAuth = tls.VerifyClientCertIfGiven })
	var bad atomic.Bool
	secure.Verify = func(certs []*x509.Certificate) error {
		if bad.Load() && certs[0].Subject.CommonName == "client" {
			return errors.New("not signed any more")
		}
		return nil
	}
	s := server.New(server.Options{Store: topictest.NewMemory()})
	addr := serveTLS(t, s, secure)
	bare := config.Clone()
	bare.Certificates = nil
	with, without := tls.Client(dialAddr(t, addr), config), tls.Client(dialAddr(t, addr), bare)
	ping := func(nc net.Conn) error {
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(nc, "PING\r\n")
		_, err := io.ReadFull(nc, make([]byte, len("OK\r\n")))
		return err
	}
	for range 2 {
		if err := errors.Join(ping(with), ping(without)); err != nil {
			t.Fatal(err)
		}
		if n := s.CutUnverified(); n != 0 {
			t.Fatalf("%d are cut", n)
		}
	}
	bad.Store(true)
	if n := s.CutUnverified(); n != 1 {
		t.Errorf("%d are cut, want 1", n)
	}
	if ping(with) == nil {
		t.Error("it is still served")
	}
	if err := ping(without); err != nil {
		t.Error(err)
	}
}

// An idle connection of TLS holds none of the server's buffers, also after it has used
// large ones.
func TestMemoryOfIdleTLS(t *testing.T) {
	store := &discardStore{}
	s := server.New(server.Options{Store: store, Settings: protocol.Settings{MaxBatchSize: 1 << 20}})
	secure, config := tlsPair(t, nil)
	addr := serveTLS(t, s, secure)
	const connections = 100
	b := testkit.Batch("t", strings.Repeat("x", 900<<10))
	before := inUse()
	conns := make([]net.Conn, connections)
	for i := range conns {
		conns[i] = tls.Client(dialAddr(t, addr), config)
		conns[i].SetDeadline(time.Now().Add(30 * time.Second))
		io.WriteString(conns[i], b)
		if got, err := bytesUntil(conns[i], '\n'); err != nil || !bytes.HasPrefix(got, []byte("OK ")) {
			t.Fatalf("%q (%v)", got, err)
		}
	}
	// Both sides are in this process: package crypto/tls keeps some 20 KiB on each.
	if each := (inUse() - before) / connections; each > 100<<10 {
		t.Errorf("%d bytes for each", each)
	} else {
		t.Logf("%d bytes for both sides of an idle connection", each)
	}
}

func bytesUntil(r io.Reader, end byte) ([]byte, error) {
	var got []byte
	one := make([]byte, 1)
	for {
		if _, err := io.ReadFull(r, one); err != nil {
			return got, err
		}
		if got = append(got, one[0]); one[0] == end {
			return got, nil
		}
	}
}
