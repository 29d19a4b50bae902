package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/tlsconf"
)

// tlsFlags say whether TLS is spoken, and how. Each of them but on implies on.
type tlsFlags struct {
	on     bool
	dialer tlsconf.Dialer
}

// tlsEnv are the environment variables that stand in for the flags.
var tlsEnv = [...]struct{ flag, env string }{
	{"tls", "LOGD_CLI_TLS"}, {"tls-ca", "LOGD_CLI_TLS_CA"}, {"tls-cert", "LOGD_CLI_TLS_CERT"},
	{"tls-key", "LOGD_CLI_TLS_KEY"}, {"tls-server-name", "LOGD_CLI_TLS_SERVER_NAME"},
}

func (t *tlsFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&t.on, "tls", false, "speak TLS; each of the four below means that, too (environment: LOGD_CLI_TLS=true, LOGD_CLI_TLS_CA and so on)")
	flags.StringVar(&t.dialer.CA, "tls-ca", "", "believe servers whose certificate an authority in `FILE` has signed (default the system's)")
	flags.StringVar(&t.dialer.Cert, "tls-cert", "", "show the server the certificate in `FILE`")
	flags.StringVar(&t.dialer.Key, "tls-key", "", "`FILE` of the key of --tls-cert")
	flags.StringVar(&t.dialer.ServerName, "tls-server-name", "", "`NAME` that the server's certificate must be for (default its host)")
}

// resolveTLS lets the environment stand in for flags that are not given.
func (a *App) resolveTLS(cmd *cobra.Command) error {
	flags := cmd.Flags()
	if flags.Lookup("tls") == nil {
		return nil
	}
	for _, e := range tlsEnv {
		text := a.Getenv(e.env)
		if text == "" || flags.Changed(e.flag) {
			continue
		}
		if _, err := strconv.ParseBool(text); err != nil && e.flag == "tls" {
			return exit.With(exit.Config, fmt.Errorf("%s is %q: want true or false", e.env, text))
		}
		if err := flags.Lookup(e.flag).Value.Set(text); err != nil {
			return exit.With(exit.Config, fmt.Errorf("%s: %w", e.env, err))
		}
	}
	t := &a.tls
	if d := &t.dialer; (d.Cert == "") != (d.Key == "") {
		return exit.With(exit.Usage, errors.New("--tls-cert and --tls-key: want both or neither"))
	}
	if !flags.Changed("tls") && a.Getenv("LOGD_CLI_TLS") == "" {
		t.on = t.dialer != (tlsconf.Dialer{})
	}
	return nil
}

// dial returns what connects, or nil if no TLS is spoken.
func (t *tlsFlags) dial() func(ctx context.Context, network, addr string) (net.Conn, error) {
	if !t.on {
		return nil
	}
	return t.dialer.DialContext
}

// explain returns in place of an error that is about TLS one that says what to do.
func (a *App) explain(err error) error {
	text := tlsconf.Explain(err, a.tls.dialer.Cert != "")
	if errors.Is(err, logd.ErrTLSRequired) {
		text = "the server wants TLS: use --tls"
	}
	if text == "" {
		return err
	}
	return exit.With(exit.Config, fmt.Errorf("%s: %s", &a.hosts, text))
}
