package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/forward/settings"
)

const program = "log-forwarder"

// app is one run of the command: what it has of the process, and its flags.
type app struct {
	cmdline.Program
	notify  func() cmdline.Signals
	sources settings.Sources // but for what the command line says
	start   startFunc

	once bool
}

// run runs the command line and returns the exit code.
func (a *app) run(args []string) int { return a.Run(a.root(), args, settings.IsUsage) }

func (a *app) root() *cobra.Command {
	a.Name = program
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
		Args: cobra.ArbitraryArgs,
		RunE: a.Do(a.forward),
	}
	a.settingFlags(root.PersistentFlags())
	root.Flags().BoolVar(&a.once, "once", false, "read files, the journal and standard input to their present end, deliver, and exit")
	root.AddCommand(a.configCommand(), a.statusCommand(), a.auditCommand(), a.spoolCommand())
	a.Prepare(root)
	cmdline.Complete(root, settings.Settings())
	return root
}

// settingFlags adds a flag for each setting, and the one that names the file. Those of
// inputs come first: they are what a command line mostly has.
func (a *app) settingFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&a.ConfigFile, "config", "", "configuration `FILE` (environment: "+settings.EnvFile+
		"; default: the first of "+strings.Join(settings.DefaultFiles(), ", ")+" that exists)")
	for _, ofInputs := range []bool{true, false} {
		for _, s := range settings.Settings() {
			if settings.OfInputs(s.Name) == ofInputs {
				cmdline.Add(&a.Flags, flags, []settings.Setting{s}, nil)
			}
		}
	}
}

// load puts the settings together.
func (a *app) load(file string, inputs []string) (*settings.Config, error) {
	src := a.sources
	src.File, src.Flags, src.Inputs, src.Once = file, a.Flags.Texts, inputs, a.once
	c, err := settings.Load(src)
	if err != nil && !settings.IsUsage(err) {
		err = exit.With(exit.Config, err)
	}
	return c, err
}
