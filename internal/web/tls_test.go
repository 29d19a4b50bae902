package web_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
	"github.com/logd-dev/logd/internal/web"
)

// nobody is a policy without identities.
type nobody struct{}

func (nobody) ByToken([sha256.Size]byte) server.Identity                       { return nil }
func (nobody) ByCertificate(*x509.Certificate) (id server.Identity, both bool) { return nil, false }
func (nobody) ByName(string) server.Identity                                   { return nil }
func (nobody) ByPeer(uid, gid uint32) server.Identity                          { return nil }
func (nobody) Anonymous() server.Identity                                      { return nil }
func (nobody) Failed(netip.Addr, time.Time) (time.Duration, bool)              { return 0, false }

// serveTLS serves HTTP over TLS until the test ends, and returns where, and a client's
// configuration.
func serveTLS(t *testing.T, o web.Options) (addr string, client *tls.Config) {
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
	o.TLS = &tls.Config{Certificates: []tls.Certificate{load("server", "127.0.0.1")}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven}
	o.Ready = func() error { return nil }
	o.Limits = web.Limits{Timeout: 20 * time.Second, IdleTimeout: time.Minute}
	w := web.New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.Serve(l) }()
	t.Cleanup(func() {
		w.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve = %v", err)
		}
	})
	return l.Addr().String(), &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{load("client")}}
}

// TestFailedHandshakes: strangers can't fill the log with handshakes that fail, nor write
// into it, and each is counted.
func TestFailedHandshakes(t *testing.T) {
	for _, withAuth := range []bool{true, false} {
		var log testkit.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		var auth *server.Auth
		if withAuth {
			auth = server.NewAuth(nobody{}, nobody{}, logger)
		}
		var failed atomic.Int64
		addr, _ := serveTLS(t, web.Options{Auth: auth, Logger: logger, Ended: func(err error) {
			if err != nil {
				failed.Add(1)
			}
			if withAuth && log.String() == "" {
				t.Error("a handshake is counted before it is audited")
			}
		}})
		const n = 60
		for i := range n {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			switch i % 4 {
			case 0:
				io.WriteString(nc, "GET / HTTP/1.1\r\nHost: attacker\r\n\r\n")
			case 1:
				io.WriteString(nc, "\x16\x03\x01\x00\x07attacker")
			case 2:
				io.WriteString(nc, "\x16\x03\x01\x02\x00\x01")
				nc.(*net.TCPConn).CloseWrite()
			case 3:
				tls.Client(nc, &tls.Config{ServerName: "attacker"}).Handshake() // an authority that is not known
			}
			io.Copy(io.Discard, nc)
			nc.Close()
		}
		testkit.Eventually(t, func() string {
			return testkit.Unless(failed.Load() == n, fmt.Sprintf("%d handshakes have failed, want %d", failed.Load(), n))
		})
		if withAuth {
			auth.Close()
		}
		lines := strings.Count(log.String(), "\n")
		audits := strings.Count(log.String(), "msg=audit event=tls_failed")
		if withAuth && (audits != 11 || !strings.Contains(log.String(), fmt.Sprintf("suppressed=%d", n-10))) || !withAuth && audits > 0 || lines > audits {
			t.Errorf("auth %v: the log has\n%s", withAuth, log.String())
		}
		if strings.Contains(log.String(), "attacker") {
			t.Errorf("what a stranger says is in the log:\n%s", log.String())
		}
	}
}

// TestFollowerHandshake: that of a connection whose client follows is counted, too.
func TestFollowerHandshake(t *testing.T) {
	s := server.New(server.Options{Store: topictest.NewMemory(), IdleTimeout: time.Hour})
	defer s.Close()
	connect(t, s).ask(testkit.Batch("t", "one"), "OK 0 1")
	ended := make(chan error, 1)
	addr, config := serveTLS(t, web.Options{
		Protocol: func() *server.Server { return s }, Ended: func(err error) { ended <- err },
		Verifier: func([]*x509.Certificate) func() error { return func() error { return nil } },
	})
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("https://" + addr + "/api/v1/topics/t/messages?format=sse&from=start")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	wantText(t, resp.Body, `"body":"one"}`+"\n\n")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestCertificateIsLookedAtOnce: what tells whether a certificate is good is made once a
// connection, and asked for each request.
func TestCertificateIsLookedAtOnce(t *testing.T) {
	var made, asked atomic.Int64
	var bad atomic.Bool
	addr, config := serveTLS(t, web.Options{
		Ended: func(error) {},
		Verifier: func(certs []*x509.Certificate) func() error {
			made.Add(1)
			return func() error {
				asked.Add(1)
				if bad.Load() {
					return errors.New("not signed any more")
				}
				return nil
			}
		},
	})
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	get := func() int {
		resp, err := client.Get("https://" + addr + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	for range 3 {
		if status := get(); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	}
	bad.Store(true)
	if status := get(); status != http.StatusForbidden {
		t.Errorf("status %d of a client whose certificate is not good any more", status)
	}
	if made.Load() != 1 || asked.Load() != 4 {
		t.Errorf("made %d times and asked %d times", made.Load(), asked.Load())
	}
}

// TestRefusalsAreAudited: with an Auth, so are requests that a web page may have made.
func TestRefusalsAreAudited(t *testing.T) {
	var log testkit.Buffer
	auth := server.NewAuth(everybody{}, nobody{}, slog.New(slog.NewTextHandler(&log, nil)))
	s := server.New(server.Options{Store: topictest.NewMemory(), Auth: auth})
	defer s.Close()
	w := web.New(web.Options{Auth: auth, Protocol: func() *server.Server { return s }})
	for reason, header := range map[string][2]string{
		"origin":       {"Origin", "http://attacker.example"},
		"content_type": {"Content-Type", "text/plain"},
	} {
		r := httptest.NewRequest("POST", "http://127.0.0.1/log", strings.NewReader("PING"))
		r.Header.Set("Content-Type", "application/logd")
		r.Header.Set(header[0], header[1])
		w.ServeHTTP(httptest.NewRecorder(), r)
		if want := "level=WARN msg=audit event=http_refused remote=192.0.2.1:1234 reason=" + reason + "\n"; !strings.Contains(log.String(), want) {
			t.Errorf("%s: the log has\n%s", reason, log.String())
		}
	}
	if strings.Contains(log.String(), "attacker") {
		t.Errorf("what a stranger says is in the log:\n%s", log.String())
	}
}

// everybody is a policy by which who shows nothing may do all.
type everybody struct{ nobody }

func (everybody) Anonymous() server.Identity { return anyone{} }

type anyone struct{}

func (anyone) Name() string                                         { return "anonymous" }
func (anyone) May(string, []byte) bool                              { return true }
func (anyone) MayAny(string) bool                                   { return true }
func (anyone) MayAll(string) bool                                   { return true }
func (anyone) MayPosition(_, _ []byte) bool                         { return true }
func (anyone) Sees([]byte) bool                                     { return true }
func (anyone) Quotas() (writeRate, readRate int64, connections int) { return 0, 0, 0 }
