package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/forward"
	"github.com/logd-dev/logd/internal/forward/settings"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or show the settings.",
		Example: `  log-forwarder config check /etc/logd/forwarder.toml
  log-forwarder config show`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("which one: log-forwarder config check or log-forwarder config show?")
		},
	}
	check := &cobra.Command{
		Use:   cmdline.CheckName + " [FILE]",
		Short: "Tell whether log-forwarder would start with these settings.",
		Example: `  log-forwarder config check
  log-forwarder config check /etc/logd/forwarder.toml
  log-forwarder config check --batch-size 1MiB`,
		Long: `Checks the configuration file, the environment and the flags as a start would,
patterns of paths, templates of topics and bounds among them, and the files of
certificates and of the token that they name. It starts nothing. It exits with 0
if they are good, and with 78 after it has named everything that is wrong with
them.`,
		Args:        cobra.MaximumNArgs(1),
		RunE:        a.Do(a.configCheck),
		Annotations: cmdline.TakesSettings,
	}
	show := &cobra.Command{
		Use:   "show [flags] [INPUT…]",
		Short: "Show every setting, its value and where that comes from.",
		Example: `  log-forwarder config show
  log-forwarder config show -o json
  log-forwarder config show --topic app 'file:/var/log/app/*.log'`,
		Args:        cobra.ArbitraryArgs,
		RunE:        a.Do(a.configShow),
		Annotations: cmdline.TakesSettings,
	}
	a.FormatFlag(show)
	for _, c := range []*cobra.Command{check, show} {
		c.DisableFlagsInUseLine = true
		cmd.AddCommand(c)
	}
	return cmd
}

func (a *app) configCheck(args []string) error {
	file, err := a.FileToCheck(args)
	if err != nil {
		return err
	}
	a.sources.Terminal = false // there is nothing that it could take lines from
	c, err := a.load(file, nil)
	if err != nil {
		return exit.With(exit.Config, errors.New(err.Error()))
	}
	if err := forward.Check(c); err != nil {
		return exit.With(exit.Config, err)
	}
	what := c.File()
	if what == "" {
		what = "no configuration file"
	}
	_, err = fmt.Fprintf(a.Stdout, "%s: ok\n", what)
	return exit.OutputError(err)
}

// shown is a setting as config show prints it.
type shown struct {
	Input   string `json:"input,omitempty"` // of which it is
	Setting string `json:"setting"`
	Value   string `json:"value"`
	Origin  string `json:"origin"`
}

// all returns the settings: those of the agent, and behind them those of each input.
func all(c *settings.Config) (list []shown) {
	for _, s := range settings.Settings() {
		if !settings.OfInputs(s.Name) {
			list = append(list, shown{"", s.Name, s.Value(c), c.Origin(s.Name).String()})
		}
	}
	for i := range c.Inputs {
		in := &c.Inputs[i]
		for _, s := range in.Shown() {
			list = append(list, shown{in.Name, s.Name, s.Value(in), in.Origin(s.Name).String()})
		}
	}
	return list
}

func (a *app) configShow(args []string) error {
	c, err := a.load(a.ConfigFile, args)
	if err != nil {
		return err
	}
	if a.JSON() {
		encoder := json.NewEncoder(a.Stdout)
		encoder.SetEscapeHTML(false)
		for _, s := range all(c) {
			if err := encoder.Encode(s); err != nil {
				return exit.OutputError(err)
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tVALUE\tORIGIN")
	input := ""
	for _, s := range all(c) {
		if s.Input != input {
			input = s.Input
			fmt.Fprintf(w, "\n[input %s]\n", input)
		}
		if s.Value == "" {
			s.Value = `""`
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Setting, s.Value, s.Origin)
	}
	return exit.OutputError(w.Flush())
}
