package node

import (
	"errors"
	"fmt"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/socket"
)

// exposed returns what others than this machine could do with a node that has these
// settings: a line for each listener that they reach and that does not keep them out.
func exposed(c *config.Config) (lines []error) {
	for _, l := range [...]struct {
		setting, addr string
		tls           bool // it speaks nothing else
		known         bool // clients need a certificate
		remedies      string
	}{
		{"host", c.Host, c.TLSCert != "" && !c.TLSPlain, c.AuthFile != "" || c.TLSClientCA != "" && !c.TLSClientCertOptional, "tls-cert, and auth-file or tls-client-ca"},
		{"http-host", c.HTTPHost, c.HTTPTLSCert != "", c.AuthFile != "" || c.HTTPTLSClientCA != "" && !c.HTTPTLSClientCertOptional, "http-tls-cert, and auth-file or http-tls-client-ca"},
		{"peer-host", c.PeerHost, c.PeerTLSCert != "", c.PeerTLSCert != "", "peer-tls-cert, peer-tls-key and peer-tls-ca"},
	} {
		if l.addr == "" || l.setting == "peer-host" && c.Node == "" || l.tls && l.known || socket.OnLoopback(l.addr) {
			continue
		}
		missing := "it has no TLS, and anybody may do all"
		if l.tls {
			missing = "nobody has to show who it is, so anybody may do all"
		} else if l.known {
			missing = "what clients send without TLS can be read on the way"
		}
		remedy := "set " + l.remedies + ", or listen on 127.0.0.1"
		remedy += ", or set insecure = true if the network keeps strangers out"
		if c.Insecure {
			remedy = "insecure = true allows it"
		}
		lines = append(lines, fmt.Errorf("%s = %q is reached from other machines, and %s: %s", l.setting, l.addr, missing, remedy))
	}
	return lines
}

// checkExposed returns exposed as one error, unless it is allowed.
func checkExposed(c *config.Config) error {
	if c.Insecure {
		return nil
	}
	return errors.Join(exposed(c)...)
}
