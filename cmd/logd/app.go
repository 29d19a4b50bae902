package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/systemd"
	"github.com/logd-dev/logd/internal/version"
)

// app is one run of logd: what it has of the process, and its flags.
type app struct {
	stdout, stderr io.Writer
	env            []string
	defaultFiles   []string // configuration files where none is named
	notify         func() cmdline.Signals
	start          startFunc

	configFile string
	topic      string // of which config show shows what counts
	settings   cmdline.Flags
	cpuProfile string
	traceFile  string
	format     string // of what a command prints

	running bool         // the command line was understood
	sockets sockets      // that the process was started with, if it serves
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
	case !a.running:
		fmt.Fprintf(a.stderr, "%sSee %s --help.\n", cmdline.Lines("logd", err), cmd.CommandPath())
		return exit.Usage
	case a.logger != nil:
		a.logger.Error(err.Error())
	default:
		io.WriteString(a.stderr, cmdline.Lines("logd", err))
	}
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "logd [flags]",
		Short: "Run an append-only log server.",
		Example: `  logd
  logd --workdir /var/lib/logd --flush-batches 1
  LOGD_HOST=127.0.0.1:2774 logd --http-host 127.0.0.1:2775
  logd config show`,
		Long: `Every setting is a flag, an environment variable (LOGD_BATCH_SIZE for
--batch-size) and a key of the configuration file (batch-size = "64KiB"), in
that order of strength. logd config show tells what each is and why.`,
		Version:       version.String(),
		Args:          cobra.NoArgs,
		RunE:          a.do(a.serve),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.SetHelpTemplate(cmdline.HelpTemplate)
	root.SetVersionTemplate(version.Line("logd"))
	cobra.EnableCommandSorting = false

	a.settingFlags(root.PersistentFlags())
	root.Flags().StringVar(&a.cpuProfile, "cpuprofile", "", "write a CPU profile of the run to `FILE`")
	root.Flags().StringVar(&a.traceFile, "trace", "", "write an execution trace of the run to `FILE`")
	root.AddCommand(a.configCommand(), a.clusterCommand(), a.versionCommand(), cmdline.Completion("logd", a.stdout, &a.running))
	cmdline.Complete(root, config.Settings())
	for _, cmd := range append(root.Commands(), root) {
		cmd.Flags().SortFlags = false
		cmd.DisableFlagsInUseLine = true
	}
	return root
}

// do makes the function of a command out of one that runs when the command
// line is understood.
func (a *app) do(f func(args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if a.settings.Bad != nil && cmd.Name() != checkName {
			return a.settings.Bad
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
func (a *app) load(file string) (config.Config, config.Origins, error) {
	c, o, err := config.Load(config.Sources{
		File:         file,
		DefaultFiles: a.defaultFiles,
		Env:          a.env,
		Flags:        a.settings.Texts,
		Inherited:    a.sockets.settings,
	})
	if err != nil {
		return c, o, exit.With(exit.Config, err)
	}
	c.TopicOrigins = config.TopicOrigins(o)
	return c, o, nil
}
