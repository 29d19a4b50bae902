package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/forward/settings"
	"github.com/logd-dev/logd/internal/systemd"
	"github.com/logd-dev/logd/internal/version"
)

const program = "log-forwarder"

// app is one run of the command: what it has of the process, and its flags.
type app struct {
	stdout, stderr io.Writer
	notify         func() cmdline.Signals
	sources        settings.Sources // but for what the command line says
	start          startFunc

	configFile string
	flags      cmdline.Flags
	once       bool
	format     string // of what a command prints

	running bool         // the command line was understood
	logger  *slog.Logger // once there is one
	level   slog.LevelVar
	manager *systemd.Notifier // nil if there is none
}

// run runs the command line and returns the exit code.
func (a *app) run(args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetOut(exit.HelpWriter{Writer: a.stdout})
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(context.Background())
	switch {
	case err == nil || errors.Is(err, exit.ErrQuiet):
		return exit.Done
	case !a.running || settings.IsUsage(err):
		fmt.Fprintf(a.stderr, "%sSee %s --help.\n", cmdline.Lines(program, err), cmd.CommandPath())
		return exit.Usage
	case a.logger != nil:
		a.logger.Error(err.Error())
	default:
		io.WriteString(a.stderr, cmdline.Lines(program, err))
	}
	if e, ok := errors.AsType[*exit.Error](err); ok {
		return e.Code
	}
	return exit.Failed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   program + " [flags] [INPUT…]",
		Short: "Take log lines and messages, and store them in logd.",
		Example: `  log-forwarder --host logs:1774 --topic app 'file:/var/log/app/*.log'
  make 2>&1 | log-forwarder --topic builds
  log-forwarder --topic 'syslog-{app}' syslog+udp://127.0.0.1:5140
  log-forwarder --config /etc/logd/forwarder.toml`,
		Long: `An INPUT is file:GLOB, journald:, - for standard input, or where to listen:
lines+tcp://HOST:PORT, lines+unix:PATH, msg+tcp://HOST:PORT, msg+unix:PATH,
http://HOST:PORT, syslog+tcp://HOST:PORT, syslog+tls://HOST:PORT,
syslog+unix:PATH, syslog+udp://HOST:PORT or syslog+unixgram:PATH. INPUTs replace
those of the configuration file. If there is neither, standard input is read.

Every setting is a flag, an environment variable (LOGD_FORWARDER_BATCH_SIZE for
--batch-size) and a key of the configuration file (batch-size = "64KiB"), in
that order of strength. log-forwarder config show tells what each is and why.`,
		Version:       version.String(),
		Args:          cobra.ArbitraryArgs,
		RunE:          a.do(a.forward),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.SetHelpTemplate(cmdline.HelpTemplate)
	root.SetVersionTemplate(version.Line(program))
	cobra.EnableCommandSorting = false

	a.settingFlags(root.PersistentFlags())
	root.Flags().BoolVar(&a.once, "once", false, "read files, the journal and standard input to their present end, deliver, and exit")
	root.AddCommand(a.configCommand(), a.statusCommand(), a.auditCommand(), a.spoolCommand(), a.versionCommand(), cmdline.Completion(program, a.stdout, &a.running))
	cmdline.Complete(root, settings.Settings())
	for _, cmd := range append(root.Commands(), root) {
		cmd.Flags().SortFlags = false
		cmd.DisableFlagsInUseLine = true
	}
	return root
}

// settingFlags adds a flag for each setting, and the one that names the file. Those of
// inputs come first: they are what a command line mostly has.
func (a *app) settingFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&a.configFile, "config", "", "configuration `FILE` (environment: "+settings.EnvFile+
		"; default: the first of "+strings.Join(settings.DefaultFiles(), ", ")+" that exists)")
	for _, ofInputs := range []bool{true, false} {
		for _, s := range settings.Settings() {
			if settings.OfInputs(s.Name) == ofInputs {
				cmdline.Add(&a.flags, flags, []settings.Setting{s}, nil)
			}
		}
	}
}

// do makes the function of a command out of one that runs when the command
// line is understood.
func (a *app) do(f func(args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if a.flags.Bad != nil && cmd.Name() != checkName {
			return a.flags.Bad
		}
		if a.format != "" && a.format != "text" && a.format != "json" {
			return fmt.Errorf("--format is %q: want text or json", a.format)
		}
		a.running = true
		return f(args)
	}
}

// formatFlag gives a command that prints data the flag -o.
func (a *app) formatFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.format, "format", "o", "text", "`text`, or json: one object a line")
}

func (a *app) json() bool { return a.format == "json" }

// load puts the settings together.
func (a *app) load(file string, inputs []string) (*settings.Config, error) {
	src := a.sources
	src.File, src.Flags, src.Inputs, src.Once = file, a.flags.Texts, inputs, a.once
	c, err := settings.Load(src)
	if err != nil && !settings.IsUsage(err) {
		err = exit.With(exit.Config, err)
	}
	return c, err
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version [flags]",
		Short: "Show the version of log-forwarder.",
		Example: `  log-forwarder version
  log-forwarder version -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func([]string) error {
			if a.json() {
				return exit.OutputError(json.NewEncoder(a.stdout).Encode(version.JSON()))
			}
			_, err := io.WriteString(a.stdout, version.Line(program))
			return exit.OutputError(err)
		}),
	}
	a.formatFlag(cmd)
	return cmd
}
