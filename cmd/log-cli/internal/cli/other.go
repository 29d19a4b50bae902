package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/tlsconf"
)

// Other is a second server that a command talks to. Its flags are those of the first
// one with "to-" before; no environment stands in for them, so that nothing that is for
// one server is shown to another.
type Other struct {
	app       *App
	hosts     hosts
	tokenFile string
	plain     bool
	tls       tlsFlags
	flags     *pflag.FlagSet
}

// otherFlags are the flags that mean nothing without --to-host.
var otherFlags = []string{"to-token-file", "to-plain-token", "to-tls", "to-tls-ca", "to-tls-cert", "to-tls-key", "to-tls-server-name"}

// OtherFlags gives a command the flags of a second server.
func (a *App) OtherFlags(cmd *cobra.Command) *Other {
	o := &Other{app: a, flags: cmd.Flags()}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.Var(&o.hosts, "to-host", "the other server, `HOST:PORT` or unix:PATH, as --host has the first (default the same one)")
	flags.StringVar(&o.tokenFile, "to-token-file", "", "show the token in this `FILE` to the other server")
	flags.BoolVar(&o.plain, "to-plain-token", false, "send that token without TLS, also to another machine")
	flags.BoolVar(&o.tls.on, "to-tls", false, "speak TLS with the other server; each of the four below means that, too")
	flags.StringVar(&o.tls.dialer.CA, "to-tls-ca", "", "believe it if an authority in `FILE` has signed its certificate (default the system's)")
	flags.StringVar(&o.tls.dialer.Cert, "to-tls-cert", "", "show it the certificate in `FILE`")
	flags.StringVar(&o.tls.dialer.Key, "to-tls-key", "", "`FILE` of the key of --to-tls-cert")
	flags.StringVar(&o.tls.dialer.ServerName, "to-tls-server-name", "", "`NAME` that its certificate must be for (default its host)")
	cmd.Flags().AddFlagSet(flags)
	return o
}

// Check returns an error if the flags do not go together.
func (o *Other) Check() error {
	if d := &o.tls.dialer; (d.Cert == "") != (d.Key == "") {
		return errors.New("--to-tls-cert and --to-tls-key: want both or neither")
	}
	for _, name := range otherFlags {
		if o.flags.Changed(name) && !o.hosts.given {
			return fmt.Errorf("--%s: want --to-host with it", name)
		}
	}
	return nil
}

// With runs f with a connection to the second server, or with first if that is the
// same one.
func (o *Other) With(ctx context.Context, first *logd.Client, f func(*logd.Client) error) error {
	if !o.hosts.given {
		return f(first)
	}
	a := o.app
	other := &App{
		Stderr: a.Stderr, Getenv: func(string) string { return "" },
		hosts: o.hosts, tokenFile: o.tokenFile, plainToken: o.plain, tls: o.tls,
		timeout: a.timeout, connectTimeout: a.connectTimeout, readTimeout: a.readTimeout, writeTimeout: a.writeTimeout,
	}
	if !o.flags.Changed("to-tls") {
		other.tls.on = other.tls.dialer != (tlsconf.Dialer{})
	}
	client, err := other.Dial(ctx)
	if err != nil {
		return o.explained(other, err)
	}
	defer client.Close()
	err = withCause(ctx, client, f(client))
	if op, ok := errors.AsType[*logd.OpError](err); ok && errors.Is(err, logd.ErrUnauthorized) && slices.Contains(o.hosts.addrs(), op.Addr) {
		return o.explained(other, err)
	}
	return err
}

// toFlags are the names that flags of the first server have for the second one.
var toFlags = strings.NewReplacer("--tls", "--to-tls", "--token-file or "+TokenEnv, "--to-token-file", "--plain-token", "--to-plain-token")

// explained is an error of the second server, with what to do about it.
func (o *Other) explained(other *App, err error) error {
	err = other.explain(err)
	return exit.With(ExitCode(err), errors.New("--to-host: "+toFlags.Replace(other.hint(err))))
}
