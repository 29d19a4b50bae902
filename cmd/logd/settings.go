package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/node"
)

// checkName is the command for which flags that can't be read are wrong settings
// like others.
const checkName = "check"

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or show the settings.",
		Example: `  logd config check /etc/logd/logd.toml
  logd config show`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("which one: logd config check or logd config show?")
		},
	}
	check := &cobra.Command{
		Use:   checkName + " [FILE]",
		Short: "Tell whether logd would start with these settings.",
		Example: `  logd config check
  logd config check /etc/logd/logd.toml
  logd config check --batch-size 1MiB`,
		Long: `Checks the configuration file, the environment and the flags as a start would,
and the files of certificates that they name, and starts nothing. It exits with
0 if they are good, and with 78 after it has named everything that is wrong with
them.`,
		Args:        cobra.MaximumNArgs(1),
		RunE:        a.do(a.configCheck),
		Annotations: cmdline.TakesSettings,
	}
	show := &cobra.Command{
		Use:   "show [flags]",
		Short: "Show every setting, its value and where that comes from.",
		Example: `  logd config show
  logd config show -o json
  logd config show --config /etc/logd/logd.toml`,
		Args:        cobra.NoArgs,
		RunE:        a.do(a.configShow),
		Annotations: cmdline.TakesSettings,
	}
	a.formatFlag(show)
	for _, c := range []*cobra.Command{check, show} {
		c.DisableFlagsInUseLine = true
		cmd.AddCommand(c)
	}
	return cmd
}

func (a *app) configCheck(args []string) error {
	file := a.configFile
	if len(args) == 1 {
		if file != "" && file != args[0] {
			return exit.With(exit.Usage, fmt.Errorf("which file is it: %s, or --config %s?", args[0], file))
		}
		if file = args[0]; file == "" {
			return exit.With(exit.Usage, errors.New("the name of the configuration file is empty"))
		}
	}
	c, origins, err := a.load(file)
	if err != nil {
		return err
	}
	if err := node.Check(&c); err != nil {
		return exit.With(exit.Config, err)
	}
	what := origins.File()
	if what == "" {
		what = "no configuration file"
	}
	_, err = fmt.Fprintf(a.stdout, "%s: ok\n", what)
	return exit.OutputError(err)
}

func (a *app) configShow([]string) error {
	c, origins, err := a.load(a.configFile)
	if err != nil {
		return err
	}
	if a.json() {
		return exit.OutputError(a.showJSON(&c, origins))
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tVALUE\tORIGIN")
	for _, s := range config.Settings() {
		value := s.Value(&c)
		if value == "" {
			value = `""`
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, value, origins.Of(s.Name))
	}
	return exit.OutputError(w.Flush())
}

func (a *app) showJSON(c *config.Config, origins config.Origins) error {
	encoder := json.NewEncoder(a.stdout)
	encoder.SetEscapeHTML(false)
	for _, s := range config.Settings() {
		err := encoder.Encode(struct {
			Setting string `json:"setting"`
			Value   string `json:"value"`
			Origin  string `json:"origin"`
		}{s.Name, s.Value(c), origins.Of(s.Name).String()})
		if err != nil {
			return err
		}
	}
	return nil
}
