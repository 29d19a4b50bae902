// Package cli is what the commands of log-cli share: the streams and flags of one
// run, the connection that the flags describe, output as text and JSON, exit codes,
// help, and words that are completed or misspelt.
//
// A room of commands is a package beside it. It makes each command from an [App],
// and what the command line has to do with the topic, the format and the server it
// leaves to the App:
//
//	func pingCommand(a *cli.App) *cobra.Command {
//		cmd := &cobra.Command{
//			Use:  "ping [flags]",
//			Args: cobra.NoArgs,
//			RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
//				return client.Ping(ctx)
//			}),
//		}
//		a.FormatFlag(cmd)
//		return cmd
//	}
//
// An error of a command is printed once, by [App.Run], which turns it into the exit
// code: see package exit.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
)

// App is one run of log-cli: its streams and the flags that all commands have. It is
// for one goroutine, and for one [App.Run].
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string

	Format Format // the value of -o, if the command has FormatFlag

	hosts                   hosts
	hostFrom                string // the environment variable that they are from
	tokenFile               string
	plainToken              bool
	timeout, connectTimeout time.Duration
	readTimeout             time.Duration
	writeTimeout            time.Duration
	tls                     tlsFlags

	bar     atomic.Pointer[Bar] // the one that is shown
	running bool                // the command line was understood
	helpErr error               // of printing help
}

// The environment variables that stand in for --host: the first that is set.
// The second is also where a server listens, so that a shell in which one runs
// elsewhere needs the first.
const (
	CLIHostEnv = "LOGD_CLI_HOST"
	HostEnv    = "LOGD_HOST"
)

// The environment variables that stand in for --token-file: the first is the token
// itself.
const (
	TokenEnv     = "LOGD_TOKEN"
	TokenFileEnv = "LOGD_TOKEN_FILE"
)

// Run runs the command line, with the root of all commands, and returns the exit
// code.
func (a *App) Run(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if word, ok := unknownWord(err); ok && cmd == root {
		err = UnknownCommand(root, word)
	}
	if err == nil && a.helpErr != nil {
		a.running, err = true, exit.OutputError(a.helpErr)
	}
	if err == nil || errors.Is(err, exit.ErrQuiet) {
		return exit.Done
	}
	if !a.running {
		fmt.Fprintf(a.Stderr, "log-cli: %v\nSee %s --help.\n", err, cmd.CommandPath())
		return exit.Usage
	}
	err = a.explain(err)
	a.Note("%s", a.hint(err))
	return ExitCode(err)
}

// unknownWord returns the word that cobra's error says is no command.
func unknownWord(err error) (string, bool) {
	if err == nil {
		return "", false
	}
	rest, ok := strings.CutPrefix(err.Error(), "unknown command ")
	if !ok {
		return "", false
	}
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return "", false
	}
	word, err := strconv.Unquote(quoted)
	return word, err == nil
}

// Root returns the command that has all others: those that talk to a server, and
// those that do not.
func (a *App) Root(online, offline []*cobra.Command) *cobra.Command {
	showVersion := false
	root := &cobra.Command{
		Use:   "log-cli",
		Short: "Write to, read from and ask about a logd server.",
		Example: `  echo hello | log-cli write greetings
  log-cli read greetings
  log-cli info greetings`,
		Long: `Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such topic or offset, 4 damage
was found, 5 refused by the server (a limit, the whitelist, read only), 75 for
now (no connection, busy, shutting down), 78 configuration.`,
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true, // ours fit into a line
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				return a.printVersion()
			}
			return cmd.Help()
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpFunc(a.help)
	root.SetFlagErrorFunc(flagError)
	help := a.helpCommand()
	root.SetHelpCommand(help)
	cobra.EnableCommandSorting = false

	root.AddCommand(a.online(online...)...)
	root.AddCommand(offline...)
	root.AddCommand(a.versionCommand(), a.completionCommand(), help)
	root.Flags().BoolVar(&showVersion, "version", false, "show the version of log-cli")
	a.finish(root)
	return root
}

// finish sets what all commands have in common.
func (a *App) finish(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false
	cmd.DisableFlagsInUseLine = true
	cmd.Flags().BoolP("help", "h", false, "show this help")
	for _, sub := range cmd.Commands() {
		a.finish(sub)
	}
}

// Do makes the function of a command out of one that runs when the command
// line is understood.
func (a *App) Do(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := checkTimeouts(cmd.Flags()); err != nil {
			return err
		}
		a.running = true
		a.resolveHost(cmd)
		if err := a.resolveTLS(cmd); err != nil {
			return err
		}
		return f(cmd.Context(), args)
	}
}

// JSON reports whether data is to be printed as JSON.
func (a *App) JSON() bool { return a.Format.text == "json" }

// ClientConfig returns what the connection flags say.
func (a *App) ClientConfig() logd.ClientConfig {
	or := func(d time.Duration) time.Duration {
		if d == 0 {
			return a.timeout
		}
		return d
	}
	return logd.ClientConfig{
		Addrs: a.hosts.addrs(),
		Dial:  a.tls.dial(),
		Token: a.token(), AllowPlainToken: a.plainToken,
		ConnectTimeout: or(a.connectTimeout),
		ReadTimeout:    or(a.readTimeout),
		WriteTimeout:   or(a.writeTimeout),
	}
}

// Dial connects to the first server that answers, of those that the flags name. If none
// does it fails at once. What comes later is tried for as long as a cluster may take to
// have a leader again.
func (a *App) Dial(ctx context.Context) (*logd.Client, error) {
	if err := a.checkToken(); err != nil {
		return nil, err
	}
	cfg := a.ClientConfig()
	if err := cfg.Validate(); err != nil && a.hostFrom != "" {
		return nil, exit.With(exit.Config, fmt.Errorf("%s is %q: want HOST:PORT or unix:PATH", a.hostFrom, &a.hosts))
	} else if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("--host is %q: want HOST:PORT or unix:PATH", &a.hosts))
	}
	dialing, end := context.WithCancelCause(ctx)
	defer end(nil)
	cfg.OnConnectFailed = func(err error, _ time.Duration) { end(err) }
	client, err := logd.Dial(dialing, cfg)
	if cause := context.Cause(dialing); err != nil && cause != nil && ctx.Err() == nil {
		err = &logd.OpError{Op: "connect", Err: cause}
	}
	return client, err
}

// WithClient runs f with a connection. The error of a topic that is read only says
// why the topic is.
func (a *App) WithClient(ctx context.Context, f func(*logd.Client) error) error {
	client, err := a.Dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	return withCause(ctx, client, f(client))
}

// Ask makes the function of a command out of one that asks a server: Do and
// WithClient.
func (a *App) Ask(f func(context.Context, *logd.Client) error) func(*cobra.Command, []string) error {
	return a.Do(func(ctx context.Context, _ []string) error {
		return a.WithClient(ctx, func(client *logd.Client) error { return f(ctx, client) })
	})
}

// withCause adds to the error of a topic that is read only why the topic is, as
// the server tells.
func withCause(ctx context.Context, client *logd.Client, err error) error {
	op, ok := errors.AsType[*logd.OpError](err)
	if !ok || !errors.Is(err, logd.ErrReadOnly) {
		return err
	}
	info, infoErr := client.Info(context.WithoutCancel(ctx), op.Topic)
	cause, told := strings.CutPrefix(info.State, "read only: ")
	if infoErr != nil || !told {
		return fmt.Errorf("%w (the server's log says why)", err)
	}
	return fmt.Errorf("%w: %s", err, cause)
}

// Plain is what an error says, without the name of the package that it is from.
func Plain(err error) string { return strings.TrimPrefix(err.Error(), "logd: ") }

// Note says something that is not data. A bar makes way for it.
func (a *App) Note(format string, args ...any) {
	a.bar.Load().clear()
	fmt.Fprintf(a.Stderr, "log-cli: "+format+"\n", args...)
}

// IsTerminal reports whether the stream is one.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
