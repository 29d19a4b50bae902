package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
)

// app is one run of log-cli: its streams and the flags that all commands have.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string

	host                    string
	hostFromEnv             bool
	timeout, connectTimeout time.Duration
	readTimeout             time.Duration
	writeTimeout            time.Duration
	format                  string

	// dialer makes connections in another way than usual, if it is not nil.
	dialer func(ctx context.Context, network, addr string) (net.Conn, error)

	running bool // the command line was understood
}

// hostEnv names the environment variable that stands in for --host.
const hostEnv = "LOGD_HOST"

// run runs the command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetOut(exit.HelpWriter{Writer: a.stdout})
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil || errors.Is(err, exit.ErrQuiet) {
		return exit.Done
	}
	if !a.running {
		fmt.Fprintf(a.stderr, "log-cli: %v\nSee %s --help.\n", err, cmd.CommandPath())
		return exit.Usage
	}
	a.note("%s", plain(err))
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "log-cli",
		Short: "Write to, read from and ask about a logd server.",
		Example: `  echo hello | log-cli write --topic greetings
  log-cli read --topic greetings
  log-cli info greetings`,
		Long: `Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such topic or offset, 4 damage was found, 5 refused by the
server (a limit, the whitelist, read only), 75 for now (no connection, busy, shutting down), 78 configuration.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.SetHelpTemplate(helpTemplate)
	cobra.EnableCommandSorting = false

	flags := root.PersistentFlags()
	flags.StringVar(&a.host, "host", logd.DefaultAddr, "server's `HOST:PORT`; several, with commas between, are tried in turn (environment: "+hostEnv+")")
	flags.DurationVar(&a.timeout, "timeout", 15*time.Second, "default of --connect-timeout, --read-timeout and --write-timeout")
	flags.DurationVar(&a.connectTimeout, "connect-timeout", 0, "how long to wait for a connection")
	flags.DurationVar(&a.readTimeout, "read-timeout", 0, "how long the server may be silent when it should answer")
	flags.DurationVar(&a.writeTimeout, "write-timeout", 0, "how long one write to the server may take")
	flags.SortFlags = false

	root.AddCommand(
		a.writeCommand(), a.readCommand(), a.topicsCommand(), a.infoCommand(), a.statsCommand(),
		a.configCommand(), a.pingCommand(), a.hooksCommand(), a.retentionCommand(), a.benchCommand(),
		a.checkCommand(), a.dumpCommand(), a.repairCommand(), a.versionCommand(), a.completionCommand(),
	)
	for _, cmd := range root.Commands() {
		cmd.Flags().SortFlags = false
		cmd.DisableFlagsInUseLine = true
		for _, sub := range cmd.Commands() {
			sub.DisableFlagsInUseLine = true
		}
	}
	return root
}

// helpTemplate begins with a line and examples.
const helpTemplate = `{{.Short}}

{{if .HasExample}}Examples:
{{.Example}}

{{end}}{{with .Long}}{{. | trimTrailingWhitespaces}}

{{end}}Usage:
  {{.UseLine}}{{if .HasAvailableSubCommands}} COMMAND

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Connection:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

// do makes the function of a command out of one that runs when the command
// line is understood.
func (a *app) do(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if a.format != "" && a.format != "text" && a.format != "json" {
			return fmt.Errorf("--format is %q: want text or json", a.format)
		}
		for _, name := range []string{"timeout", "connect-timeout", "read-timeout", "write-timeout"} {
			if d, err := cmd.Flags().GetDuration(name); err == nil && d <= 0 && cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s is %v: want more than 0", name, d)
			}
		}
		a.running = true
		if env := a.getenv(hostEnv); env != "" && !cmd.Flags().Changed("host") {
			a.host, a.hostFromEnv = env, true
		}
		return f(cmd.Context(), args)
	}
}

// formatFlag gives a command that prints data the flag -o.
func (a *app) formatFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.format, "format", "o", "text", "`text`, or json: one object a line")
}

func (a *app) json() bool { return a.format == "json" }

// clientConfig returns what the connection flags say.
func (a *app) clientConfig() logd.ClientConfig {
	or := func(d time.Duration) time.Duration {
		if d == 0 {
			return a.timeout
		}
		return d
	}
	addrs := strings.Split(a.host, ",")
	for i := range addrs {
		addrs[i] = strings.TrimSpace(addrs[i])
	}
	return logd.ClientConfig{
		Addrs:             addrs,
		Dial:              a.dialer,
		ConnectTimeout:    or(a.connectTimeout),
		ReadTimeout:       or(a.readTimeout),
		WriteTimeout:      or(a.writeTimeout),
		ReconnectAttempts: 1,
	}
}

// dial connects to the server.
func (a *app) dial(ctx context.Context) (*logd.Client, error) {
	cfg := a.clientConfig()
	if err := cfg.Validate(); err != nil && a.hostFromEnv {
		return nil, exit.With(exit.Config, fmt.Errorf("%s is %q: want HOST:PORT", hostEnv, a.host))
	} else if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("--host is %q: want HOST:PORT", a.host))
	}
	return logd.Dial(ctx, cfg)
}

// withClient runs f with a connection.
func (a *app) withClient(ctx context.Context, f func(*logd.Client) error) error {
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	return f(client)
}

// plain is what an error says, without the name of the package that it is from.
func plain(err error) string { return strings.TrimPrefix(err.Error(), "logd: ") }

// note says something that is not data.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.stderr, "log-cli: "+format+"\n", args...)
}

// isTerminal reports whether the stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
