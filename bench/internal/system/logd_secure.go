package system

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/logd-dev/logd"
)

// security is how the clients of a logd are kept apart from others: what its name ends
// with. Nothing is done with the empty one.
type security string

const (
	overTLS   security = "-tls"  // TLS 1.3
	mutualTLS security = "-mtls" // and the clients have certificates
	withToken security = "-auth" // an auth file, and the clients have a token
)

// secrets are what a server and its clients have for their security.
type secrets struct {
	flags []string // of the server
	tls   *tls.Config
	token func(context.Context) (string, error)
}

// make makes the secrets, with the server's files in dir.
func (s security) make(dir string) (*secrets, error) {
	in := func(name string) string { return filepath.Join(dir, name) }
	switch s {
	case overTLS, mutualTLS:
		// One certificate for all: it has signed itself.
		cert, key, err := selfSigned()
		if err != nil {
			return nil, err
		}
		for name, data := range map[string][]byte{"cert.pem": cert, "key.pem": key} {
			if err := os.WriteFile(in(name), data, 0o600); err != nil {
				return nil, err
			}
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(cert)
		all := &secrets{
			flags: []string{"--tls-cert", in("cert.pem"), "--tls-key", in("key.pem"), "--tls-min-version", "1.3"},
			tls:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
		}
		if s == mutualTLS {
			all.flags = append(all.flags, "--tls-client-ca", in("cert.pem"))
			all.tls.Certificates = []tls.Certificate{pair}
		}
		return all, nil
	case withToken:
		token := "logd_" + rand.Text() + rand.Text()[:17]
		file := fmt.Sprintf("version = 1\n[[identity]]\nname = \"bench\"\ntokens = [\"sha256:%x\"]\nallow = [\"read,write,create *\", \"monitor *\"]\n", sha256.Sum256([]byte(token)))
		if err := os.WriteFile(in("auth.toml"), []byte(file), 0o600); err != nil {
			return nil, err
		}
		return &secrets{flags: []string{"--auth-file", in("auth.toml")}, token: logd.StaticToken(token)}, nil
	}
	return &secrets{}, nil
}

// selfSigned returns a certificate for this machine and its key, in PEM.
func selfSigned() (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, t, t, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
