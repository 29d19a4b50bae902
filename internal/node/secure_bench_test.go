package node

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/testkit"
)

// oneIdentity may do what these tests do. Its token is a-token.
const oneIdentity = "a: read,write,create *"

// BenchmarkAuth reads a small batch with an auth file and without, in turns, and tells
// how much longer that takes, by the medians.
func BenchmarkAuth(b *testing.B) {
	file := authFile(b, oneIdentity)
	var ends [2]net.Conn
	one := testkit.Batch("t", "one")
	for i := range ends {
		n := startNode(b, func(c *config.Config) {
			if i == 1 {
				c.AuthFile = file
			}
		})
		c, r := dial(b, n)
		if i == 1 {
			fmt.Fprint(c, "AUTH a-token\r\n")
			if line, err := r.ReadString('\n'); line != "OK\r\n" {
				b.Fatal(line, err)
			}
		}
		exchange(b, c, []byte(one), make([]byte, len("OK 0 1\r\n")))
		ends[i] = c
	}
	request, answer := []byte("READ t 0 1\r\n"), make([]byte, len("OK 0 1\r\n")+len(one))
	var took [2][]time.Duration
	for i := range took {
		took[i] = make([]time.Duration, 0, 1<<20)
	}
	b.ReportAllocs()
	for b.Loop() {
		for i, c := range ends {
			began := time.Now()
			exchange(b, c, request, answer)
			took[i] = append(took[i], time.Since(began))
		}
	}
	for _, t := range took {
		slices.Sort(t)
	}
	b.ReportMetric(float64(took[1][len(took[1])/2])/float64(took[0][len(took[0])/2]), "on/off")
}

// certificate makes a certificate for the key, which signs itself, and writes both.
func certificate(b *testing.B, key any, public any) (certFile, keyFile string) {
	b.Helper()
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, t, t, public, key)
	if err != nil {
		b.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return certFile, keyFile
}

// cpu returns how long this process has used processors.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkHandshake connects, shakes hands by TLS 1.3 and asks for PING, and tells what
// that takes of processors: of the server, and of the client, which verifies nothing.
func BenchmarkHandshake(b *testing.B) {
	small, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	large, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	for _, tc := range []struct {
		name        string
		key, public any
	}{{"none", nil, nil}, {"P-256", small, &small.PublicKey}, {"RSA-2048", large, &large.PublicKey}} {
		b.Run(tc.name, func(b *testing.B) {
			n := startNode(b, func(c *config.Config) {
				if tc.key != nil {
					c.TLSCert, c.TLSKey = certificate(b, tc.key, tc.public)
				}
			})
			before := cpu(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c := connect(b, n, tc.key != nil)
					c.Close()
				}
			})
			b.ReportMetric(float64(b.N)/(cpu(b)-before).Seconds(), "connections/CPU-s")
		})
	}
}

// connect returns a connection on which PING was answered.
func connect(b *testing.B, n *Node, secure bool) net.Conn {
	raw, err := net.Dial("tcp", n.Addr().String())
	if err != nil {
		b.Error(err)
		b.SkipNow()
	}
	c := raw
	if secure {
		c = tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	}
	fmt.Fprint(c, "PING\r\n")
	if line, err := bufio.NewReaderSize(c, 16).ReadString('\n'); line != "OK\r\n" {
		b.Errorf("%q, %v", line, err)
	}
	return raw
}

// BenchmarkIdle tells what a connection takes that has asked for PING and does nothing
// more: of the server, and a socket of the client.
func BenchmarkIdle(b *testing.B) {
	for _, secure := range []bool{false, true} {
		b.Run(fmt.Sprintf("tls=%v", secure), func(b *testing.B) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				b.Fatal(err)
			}
			n := startNode(b, func(c *config.Config) {
				if secure {
					c.TLSCert, c.TLSKey = certificate(b, key, &key.PublicKey)
				}
				c.MaxConnections = 2000
			})
			used := func() uint64 {
				runtime.GC()
				runtime.GC() // also what pools had
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc + m.StackInuse
			}
			connect(b, n, secure).Close()
			const many = 500
			for b.Loop() {
				before := used()
				var open []net.Conn
				for range many {
					open = append(open, connect(b, n, secure))
				}
				b.ReportMetric(float64(used()-before)/many, "B/connection")
				for _, c := range open {
					c.Close()
				}
			}
		})
	}
}
