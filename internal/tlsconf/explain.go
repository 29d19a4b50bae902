package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"time"
)

// Explain says what was wrong when a client could not connect, and what to do about it,
// or returns "" if it was nothing of TLS. What is to be done is a flag of a command:
// --tls, --tls-ca, --tls-cert, --tls-key or --tls-server-name. Sent tells that the client
// has a certificate of its own.
func Explain(err error, sent bool) string {
	if e, ok := errors.AsType[*FileError](err); ok {
		return "--" + e.Error()
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Cert != nil {
		if s := explainDates(e.Cert); s != "" && e.Reason == x509.Expired {
			return "the server's " + s
		}
		return "the server's certificate is not good: " + e.Error()
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the server's certificate " + names(e.Certificate) + ", not for " + e.Host + ": see --tls-server-name"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the server's certificate is signed by an unknown authority: see --tls-ca"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the server does not speak TLS: leave out --tls"
	}
	if code, ok := alert(err); ok {
		return explainAlert(code, sent)
	}
	return ""
}

func explainDates(c *x509.Certificate) string {
	const form = "2006-01-02 15:04:05 UTC"
	switch now := time.Now(); {
	case now.After(c.NotAfter):
		return "certificate expired on " + c.NotAfter.UTC().Format(form)
	case now.Before(c.NotBefore):
		return "certificate is not valid before " + c.NotBefore.UTC().Format(form)
	}
	return ""
}

// names says what names a certificate is for.
func names(c *x509.Certificate) string {
	all := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "has no names (subjectAltName), so it is for none"
	}
	const most = 8
	if len(all) > most {
		all = append(all[:most], "…")
	}
	return "is for " + strings.Join(all, ", ")
}

// The alerts that are known, by RFC 8446, section 6.
const (
	handshakeFailure      tls.AlertError = 40
	badCertificate        tls.AlertError = 42
	protocolVersion       tls.AlertError = 70
	certificateRequired   tls.AlertError = 116
	noApplicationProtocol tls.AlertError = 120
)

func explainAlert(code tls.AlertError, sent bool) string {
	switch {
	case !sent && (code == certificateRequired || code == badCertificate || code == handshakeFailure):
		return "the server wants a client certificate: --tls-cert and --tls-key"
	case code == protocolVersion:
		return "the server wants a later version of TLS"
	case code == noApplicationProtocol:
		return "the server speaks TLS, but not the protocol of logd"
	case sent && code >= badCertificate && code <= 51 || code == certificateRequired:
		return "the server refuses the client certificate: " + code.Error()
	}
	return "the server ended the TLS handshake: " + code.Error()
}

// alert returns the alert by which the other side has ended a connection. Package
// crypto/tls does not export the type of such an error: it is known by its text.
func alert(err error) (tls.AlertError, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" || op.Err == nil {
		return 0, false
	}
	for code := range 256 {
		if a := tls.AlertError(code); a.Error() == op.Err.Error() {
			return a, true
		}
	}
	return 0, false
}
