package tlsconf

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/tlsconn"
)

// Protocol is what ALPN calls the protocol of logd.
const Protocol = protocol.Name

// Dialer makes the connections of a client. Its files are read each time, so that they
// can be renewed.
type Dialer struct {
	// CA is a bundle of the authorities that sign certificates of servers; the
	// system's if it is empty.
	CA string
	// Cert and Key are the client's own, both or neither.
	Cert, Key string
	// ServerName is the name that the server's certificate must be for; the host of the
	// address if it is empty.
	ServerName string
}

// DialContext connects, and returns a *tlsconn.Conn whose handshake is done. It speaks
// no TLS over a unix socket.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if network == "unix" {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	config, err := d.config()
	if err != nil {
		return nil, err
	}
	if config.ServerName == "" {
		if config.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			return nil, err
		}
	}
	return dial(ctx, network, addr, config)
}

// dial connects, and does the handshake.
func dial(ctx context.Context, network, addr string, config *tls.Config) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := tlsconn.Client(nc, config)
	if err := c.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// Check returns why the files can't be used, if so.
func (d *Dialer) Check() error {
	_, err := d.config()
	return err
}

// config returns the configuration of a connection, without a ServerName if d has none.
func (d *Dialer) config() (*tls.Config, error) {
	c := &tls.Config{
		ServerName: d.ServerName, NextProtos: []string{Protocol}, MinVersion: tls.VersionTLS12, CipherSuites: suites,
		DynamicRecordSizingDisabled: true,
	}
	if d.CA != "" {
		pool, err := loadPool("tls-ca", d.CA)
		if err != nil {
			return nil, &FileError{err}
		}
		c.RootCAs = pool
	}
	if d.Cert != "" || d.Key != "" {
		pair, err := loadPair("tls-", d.Cert, d.Key)
		if err != nil {
			return nil, &FileError{err}
		}
		c.Certificates = []tls.Certificate{*pair}
	}
	return c, nil
}

// FileError is why a file of a Dialer can't be used.
type FileError struct{ Err error }

// Error returns the text of Err, which names the flag and the file.
func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }
