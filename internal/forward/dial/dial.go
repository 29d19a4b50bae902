// Package dial says how the agent, and what looks after it, reach the server.
package dial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/settings"
	"github.com/logd-dev/logd/internal/tlsconf"
)

// Config returns how the settings say that the server is reached: where, over TLS or not,
// and with which token. What of a Client is not about that has its default.
func Config(c *settings.Config, logger *slog.Logger) logd.ClientConfig {
	cfg := logd.ClientConfig{Addrs: c.Host, AllowPlainToken: c.PlainToken, Logger: logger}
	if c.TLS {
		cfg.Dial = dialer(c).DialContext
	}
	switch {
	case c.TokenFile != "":
		cfg.Token = logd.TokenFile(c.TokenFile)
	case c.Token != "":
		cfg.Token = logd.StaticToken(c.Token)
	}
	return cfg
}

func dialer(c *settings.Config) *tlsconf.Dialer {
	return &tlsconf.Dialer{CA: c.TLSCA, Cert: c.TLSCert, Key: c.TLSKey, ServerName: c.TLSServerName}
}

// Check returns why what the settings name can't be shown to a server: certificates, a key
// and a token. The error has a line for each problem.
func Check(ctx context.Context, c *settings.Config) error {
	err := dialer(c).Check()
	if token := Config(c, nil).Token; token != nil {
		if _, bad := token(ctx); bad != nil {
			err = errors.Join(err, fmt.Errorf("no token: %w", bad))
		}
	}
	return err
}

// Explain returns what to do about an error of a connection, or "" if it needs no words:
// one of TLS, or of a token.
func Explain(c *settings.Config, err error) string {
	switch text := tlsconf.Explain(err, c.TLSCert != ""); {
	case text != "":
		return text
	case errors.Is(err, logd.ErrTLSRequired):
		return "the server wants TLS: set tls"
	case errors.Is(err, logd.ErrPlainToken):
		return "set tls, or plain-token where nobody else is on the way"
	case errors.Is(err, logd.ErrUnauthorized) && c.Token == "" && c.TokenFile == "" && c.TLSCert == "":
		return "the server wants to know who this is: set token-file"
	}
	return ""
}
