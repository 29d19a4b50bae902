// Package tlsconf makes TLS of files: of a certificate and its key, and of the
// authorities that sign the certificates of others. What the files say can be put in
// force while connections are served: see [Server.Prepare].
//
// A Server is the TLS of one listener, and of the members of a cluster, who both take
// and make connections. A [Dialer] is that of a client. [Explain] says what was wrong
// when a connection could not be made.
//
// It has no settings of its own: versions from 1.2 on, of 1.2 only cipher suites with
// ECDHE and AEAD, no session tickets. With tickets a client would come back although its
// certificate is no longer signed: package crypto/tls checks no chain again.
package tlsconf

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// suites are those of TLS 1.2 that are used; those of 1.3 are all good.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// maxFile bounds a file that is read.
const maxFile = 4 << 20

// loadPair returns the certificate, with its chain, and the key of two files, which may
// be one. what says which settings or flags name them, in errors.
func loadPair(what, certFile, keyFile string) (*tls.Certificate, error) {
	chain, err := readFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("%scert: %w", what, err)
	}
	key, err := readFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("%skey: %w", what, err)
	}
	if !hasCertificate(chain) {
		return nil, fmt.Errorf("%scert: %s holds no certificate in PEM form", what, certFile)
	}
	if err := checkKey(key); err != nil {
		return nil, fmt.Errorf("%skey: %s %w", what, keyFile, err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		if strings.Contains(err.Error(), "does not match") {
			return nil, fmt.Errorf("%skey: %s is not the key of the first certificate in %s", what, keyFile, certFile)
		}
		return nil, fmt.Errorf("%scert: %s, %s: %w", what, certFile, keyFile, err)
	}
	return &pair, nil
}

// checkKey returns why a file of a key can't be used, to follow its name.
func checkKey(data []byte) error {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return errors.New("is encrypted, and nobody is there who could be asked for the passphrase: " +
				"openssl pkey decrypts it; let only its user read the result")
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil
		}
	}
	return errors.New("holds no private key in PEM form")
}

func hasCertificate(data []byte) bool {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return true
		}
	}
	return false
}

// loadPool returns the certificates of a bundle. what names the setting or flag, in
// errors.
func loadPool(what, file string) (*x509.CertPool, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	pool := x509.NewCertPool()
	n := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d of %s: %w", what, n+1, file, err)
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM form", what, file)
	}
	return pool, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(f, maxFile+1))
	if err == nil && n > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", name, maxFile)
	}
	return b.Bytes(), err
}
