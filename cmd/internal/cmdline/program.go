package cmdline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/systemd"
	"github.com/logd-dev/logd/internal/version"
)

// Program is one run of a program that serves: what it has of the process, and what its
// commands have in common.
type Program struct {
	Name           string
	Stdout, Stderr io.Writer
	Flags          Flags
	ConfigFile     string // of the flag

	// Logger is nil until there is one: see StartLog.
	Logger  *slog.Logger
	Level   slog.LevelVar
	Manager *systemd.Notifier // nil if there is none

	running bool   // the command line was understood
	format  string // of what a command prints
}

// CheckName is the command for which flags that can't be read are wrong settings like
// others.
const CheckName = "check"

// Run runs the command line and returns the exit code. What is wrong with it, and what isUsage
// says, is wrong usage; isUsage may be nil.
func (p *Program) Run(root *cobra.Command, args []string, isUsage func(error) bool) int {
	root.SetArgs(args)
	root.SetOut(exit.HelpWriter{Writer: p.Stdout})
	root.SetErr(p.Stderr)
	cmd, err := root.ExecuteContextC(context.Background())
	switch {
	case err == nil || errors.Is(err, exit.ErrQuiet):
		return exit.Done
	case !p.running || isUsage != nil && isUsage(err):
		fmt.Fprintf(p.Stderr, "%sSee %s --help.\n", Lines(p.Name, err), cmd.CommandPath())
		return exit.Usage
	case p.Logger != nil:
		p.Logger.Error(err.Error())
	default:
		io.WriteString(p.Stderr, Lines(p.Name, err))
	}
	if e, ok := errors.AsType[*exit.Error](err); ok {
		return e.Code
	}
	return exit.Failed
}

// Prepare makes the root command as it is with all programs. Its commands come behind those
// that are added before: version and completion are.
func (p *Program) Prepare(root *cobra.Command) {
	root.Version = version.String()
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.SetHelpTemplate(HelpTemplate)
	root.SetVersionTemplate(version.Line(p.Name))
	cobra.EnableCommandSorting = false
	root.AddCommand(p.versionCommand(), p.completion())
	for _, cmd := range append(root.Commands(), root) {
		cmd.Flags().SortFlags = false
		cmd.DisableFlagsInUseLine = true
	}
}

// Do makes the function of a command out of one that runs when the command line is
// understood.
func (p *Program) Do(f func(args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if p.Flags.Bad != nil && cmd.Name() != CheckName {
			return p.Flags.Bad
		}
		if p.format != "" && p.format != "text" && p.format != "json" {
			return fmt.Errorf("--format is %q: want text or json", p.format)
		}
		p.running = true
		return f(args)
	}
}

// FormatFlag gives a command that prints data the flag -o.
func (p *Program) FormatFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&p.format, "format", "o", "text", "`text`, or json: one object a line")
}

// JSON reports whether -o asks for it.
func (p *Program) JSON() bool { return p.format == "json" }

func (p *Program) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version [flags]",
		Short:   "Show the version of " + p.Name + ".",
		Example: "  " + p.Name + " version\n  " + p.Name + " version -o json",
		Args:    cobra.NoArgs,
		RunE: p.Do(func([]string) error {
			if p.JSON() {
				return exit.OutputError(json.NewEncoder(p.Stdout).Encode(version.JSON()))
			}
			_, err := io.WriteString(p.Stdout, version.Line(p.Name))
			return exit.OutputError(err)
		}),
	}
	p.FormatFlag(cmd)
	return cmd
}

// FileToCheck returns the configuration file that check is about: that of its argument, or
// that of the flag.
func (p *Program) FileToCheck(args []string) (string, error) {
	if len(args) == 0 {
		return p.ConfigFile, nil
	}
	switch file := args[0]; {
	case p.ConfigFile != "" && p.ConfigFile != file:
		return "", exit.With(exit.Usage, fmt.Errorf("which file is it: %s, or --config %s?", file, p.ConfigFile))
	case file == "":
		return "", exit.With(exit.Usage, errors.New("the name of the configuration file is empty"))
	default:
		return file, nil
	}
}

// StartLog begins to log to standard error, and to tell the service manager that env names.
func (p *Program) StartLog(json bool, level slog.Level, env []string) {
	p.Level.Set(level)
	p.Logger = newLogger(p.Stderr, json, &p.Level)
	var err error
	if p.Manager, err = systemd.NewNotifier(env); err != nil {
		p.Logger.Warn("the service manager's environment makes no sense", "err", err)
	}
}

// Tell notes that the service manager could not be told something, which changes nothing
// here.
func (p *Program) Tell(err error) {
	if err != nil {
		p.Logger.Debug("the service manager was not told", "err", err)
	}
}

// NotReloaded logs each thing that is wrong with settings that were read again.
func (p *Program) NotReloaded(err error) {
	for line := range strings.Lines(err.Error()) {
		p.Logger.Error("not reloaded, all stays as it was: " + strings.TrimSuffix(line, "\n"))
	}
}
