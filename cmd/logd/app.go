package main

import (
	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/exit"
)

// app is one run of logd: what it has of the process, and its flags.
type app struct {
	cmdline.Program
	env          []string
	defaultFiles []string // configuration files where none is named
	notify       func() cmdline.Signals
	start        startFunc

	topic      string // of which config show shows what counts
	cpuProfile string
	traceFile  string

	sockets sockets // that the process was started with, if it serves
}

// run runs the command line and returns the exit code.
func (a *app) run(args []string) int { return a.Run(a.root(), args, nil) }

func (a *app) root() *cobra.Command {
	a.Name = "logd"
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
		Args: cobra.NoArgs,
		RunE: a.Do(a.serve),
	}
	a.settingFlags(root.PersistentFlags())
	root.Flags().StringVar(&a.cpuProfile, "cpuprofile", "", "write a CPU profile of the run to `FILE`")
	root.Flags().StringVar(&a.traceFile, "trace", "", "write an execution trace of the run to `FILE`")
	root.AddCommand(a.configCommand(), a.clusterCommand())
	a.Prepare(root)
	cmdline.Complete(root, config.Settings())
	return root
}

// load puts the settings together.
func (a *app) load(file string) (config.Config, config.Origins, error) {
	c, o, err := config.Load(config.Sources{
		File:         file,
		DefaultFiles: a.defaultFiles,
		Env:          a.env,
		Flags:        a.Flags.Texts,
		Inherited:    a.sockets.settings,
	})
	if err != nil {
		return c, o, exit.With(exit.Config, err)
	}
	c.TopicOrigins = config.TopicOrigins(o)
	return c, o, nil
}
