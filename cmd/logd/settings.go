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
		Use:   cmdline.CheckName + " [FILE]",
		Short: "Tell whether logd would start with these settings.",
		Example: `  logd config check
  logd config check /etc/logd/logd.toml
  logd config check --batch-size 1MiB`,
		Long: `Checks the configuration file, the environment and the flags as a start would,
and the files of certificates that they name, and starts nothing. It exits with
0 if they are good, and with 78 after it has named everything that is wrong with
them.`,
		Args:        cobra.MaximumNArgs(1),
		RunE:        a.Do(a.configCheck),
		Annotations: cmdline.TakesSettings,
	}
	show := &cobra.Command{
		Use:   "show [flags]",
		Short: "Show every setting, its value and where that comes from.",
		Example: `  logd config show
  logd config show -o json
  logd config show --topic orders.eu
  logd config show --config /etc/logd/logd.toml`,
		Long: `Shows every setting, its value and where that comes from. With --topic it shows
the settings that a topic may have of its own, and what counts for that one: also
what commands have set, as the work directory has it of a server that is in no
cluster.`,
		Args:        cobra.NoArgs,
		RunE:        a.Do(a.configShow),
		Annotations: cmdline.TakesSettings,
	}
	a.FormatFlag(show)
	show.Flags().StringVar(&a.topic, "topic", "", "show what counts for the topic `NAME`")
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
	_, err = fmt.Fprintf(a.Stdout, "%s: ok\n", what)
	return exit.OutputError(err)
}

func (a *app) configShow([]string) error {
	c, origins, err := a.load(a.ConfigFile)
	if err != nil {
		return err
	}
	var list []shown
	if a.topic != "" {
		if list, err = ofTopic(&c, a.topic); err != nil {
			return err
		}
	} else {
		for _, s := range config.Settings() {
			list = append(list, shown{s.Name, s.Value(&c), origins.Of(s.Name).String()})
		}
	}
	return exit.OutputError(a.show(list))
}

// shown is a setting as config show has it.
type shown struct {
	Setting string `json:"setting"`
	Value   string `json:"value"`
	Origin  string `json:"origin"`
}

// ofTopic returns what counts for a topic.
func ofTopic(c *config.Config, topic string) (list []shown, err error) {
	if c.Node != "" {
		return nil, exit.With(exit.Config, errors.New("the settings of topics are the cluster's: ask a member, with log-cli info "+topic))
	}
	values, err := node.TopicSettings(c, topic)
	if errors.Is(err, node.ErrTopicName) {
		return nil, exit.With(exit.Usage, err)
	}
	if err != nil {
		return nil, exit.With(exit.Config, err)
	}
	for _, v := range values {
		list = append(list, shown{v.Key.String(), v.Value, v.Origin})
	}
	return list, nil
}

func (a *app) show(list []shown) error {
	if a.JSON() {
		encoder := json.NewEncoder(a.Stdout)
		encoder.SetEscapeHTML(false)
		for _, s := range list {
			if err := encoder.Encode(s); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tVALUE\tORIGIN")
	for _, s := range list {
		if s.Value == "" {
			s.Value = `""`
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Setting, s.Value, s.Origin)
	}
	return w.Flush()
}
