package tlsconn

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/testkit"
)

// writes counts the writes of a connection.
type writes struct {
	net.Conn
	mu    sync.Mutex
	sizes []int
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.sizes = append(w.sizes, len(p))
	w.mu.Unlock()
	return w.Conn.Write(p)
}

func (w *writes) take() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sizes
	w.sizes = nil
	return s
}

func configs(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	a := testkit.NewAuthority(t)
	certFile, keyFile := a.Issue(t, "server", []string{"localhost"})
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	now := time.Now() // not what a bubble's clock says
	return &tls.Config{Certificates: []tls.Certificate{cert}, DynamicRecordSizingDisabled: true},
		&tls.Config{RootCAs: pool, ServerName: "localhost", Time: func() time.Time { return now }, DynamicRecordSizingDisabled: true}
}

// connect returns both ends of a connection; the server has read some bytes before.
func connect(t *testing.T, serverConfig, clientConfig *tls.Config, timeout time.Duration) (server, client *Conn, counted *writes) {
	t.Helper()
	a, b := net.Pipe()
	counted = &writes{Conn: a}
	client = Client(b, clientConfig)
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	first := make([]byte, 3)
	if _, err := io.ReadFull(a, first); err != nil {
		t.Fatal(err)
	}
	server = Server(counted, first, serverConfig, timeout)
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	counted.take()
	return server, client, counted
}

// All records of a write leave together, and what was written with more before it.
func TestGathers(t *testing.T) {
	serverConfig, clientConfig := configs(t)
	server, client, counted := connect(t, serverConfig, clientConfig, time.Minute)
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10/16)
	tests := []struct {
		name  string
		write func() (int, error)
		bytes int
		most  int // writes
	}{
		{"a piece", func() (int, error) { return server.Write(data) }, len(data), 1},
		{"a short one", func() (int, error) { return server.Write(data[:1]) }, 1, 1},
		{"more", func() (int, error) {
			n, err := server.WriteMore(data[:100])
			m, err2 := server.Write(data)
			if err == nil {
				err = err2
			}
			return n + m, err
		}, 100 + len(data), 1},
		{"buffers", func() (int, error) {
			b := make(net.Buffers, 100)
			for i := range b {
				b[i] = data[:300]
			}
			n, err := server.WriteBuffers(&b)
			return int(n), err
		}, 100 * 300, 1},
		{"ten pieces", func() (int, error) { return server.Write(bytes.Repeat(data, 10)) }, 10 * len(data), 9},
		{"nothing", func() (int, error) { return server.Write(nil) }, 0, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := make(chan []byte)
			go func() {
				b := make([]byte, test.bytes)
				io.ReadFull(client, b)
				got <- b
			}()
			n, err := test.write()
			if err != nil || n != test.bytes {
				t.Fatalf("%d, %v", n, err)
			}
			if b := <-got; len(b) != test.bytes {
				t.Errorf("%d bytes have come", len(b))
			}
			if sizes := counted.take(); len(sizes) > test.most {
				t.Errorf("writes of %d bytes, want %d of them at most", sizes, test.most)
			}
			if server.under.buf != nil {
				t.Error("a buffer is kept")
			}
		})
	}
	server.Close()
	client.Close()
}

// Close does not wait for an alert that nobody reads.
func TestCloseIsQuick(t *testing.T) {
	serverConfig, clientConfig := configs(t)
	synctest.Test(t, func(t *testing.T) {
		server, client, _ := connect(t, serverConfig, clientConfig, time.Minute)
		began := time.Now()
		server.Close()
		if d := time.Since(began); d > 0 {
			t.Errorf("%v", d)
		}
		began = time.Now()
		client.Close()
		if d := time.Since(began); d > 0 {
			t.Errorf("%v", d)
		}
	})
}

// A read that timed out does not end the connection. Nor does a write deadline of long
// ago, if TLS itself writes: an answer, say, to an update of keys.
func TestDeadlines(t *testing.T) {
	serverConfig, clientConfig := configs(t)
	synctest.Test(t, func(t *testing.T) {
		server, client, _ := connect(t, serverConfig, clientConfig, time.Minute)
		defer client.Close()
		defer server.Close()
		server.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := server.Read(make([]byte, 1)); !os.IsTimeout(err) {
			t.Fatalf("%v", err)
		}
		server.SetReadDeadline(time.Time{})
		server.SetWriteDeadline(time.Now().Add(time.Second))
		time.Sleep(time.Hour)
		go server.under.Write([]byte("x")) // as TLS does by itself
		client.NetConn().SetReadDeadline(time.Now().Add(time.Second))
		if _, err := io.ReadFull(client.NetConn(), make([]byte, 1)); err != nil {
			t.Errorf("what TLS writes by itself: %v", err)
		}
		go client.Write([]byte("y"))
		b := make([]byte, 1)
		if _, err := io.ReadFull(server, b); err != nil || b[0] != 'y' {
			t.Errorf("%q, %v", b, err)
		}
	})
}
