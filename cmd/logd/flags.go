package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/logd-dev/logd/internal/config"
)

// settingFlags adds a flag for each setting, and the one that names the file.
func (a *app) settingFlags(flags *pflag.FlagSet) {
	a.settings = make(map[string][]string)
	flags.SortFlags = false
	flags.StringVar(&a.configFile, "config", "", "configuration `FILE` (environment: "+config.EnvFile+
		"; default: the first of "+strings.Join(config.DefaultFiles(), ", ")+" that exists)")
	for _, s := range config.Settings() {
		f := &pflag.Flag{
			Name:     s.Name,
			Usage:    s.Usage,
			DefValue: s.Default,
			Value:    &settingFlag{setting: s, app: a},
		}
		if s.Kind == config.Switch {
			f.NoOptDefVal = "true"
		}
		if s.Name == "verbose" {
			f.Shorthand = "v"
		}
		flags.AddFlag(f)
	}
}

// settingFlag is the flag of a setting. It keeps the texts that it is given,
// for package config to make a value of.
type settingFlag struct {
	setting config.Setting
	app     *app
}

// Set implements pflag.Value. A text that can't be read is wrong usage, but for
// a check, which is there to find it; one that is out of range is a wrong
// setting, and not found here.
func (f *settingFlag) Set(text string) error {
	if err := f.setting.Parse(text); err != nil && f.app.badFlag == nil {
		f.app.badFlag = fmt.Errorf("invalid argument %q for %q flag: %w", text, "--"+f.setting.Name, err)
	}
	f.app.settings[f.setting.Name] = append(f.app.settings[f.setting.Name], text)
	return nil
}

// String implements pflag.Value.
func (f *settingFlag) String() string {
	return strings.Join(f.app.settings[f.setting.Name], ",")
}

// Type implements pflag.Value: the word that help shows for the value.
func (f *settingFlag) Type() string {
	switch {
	case f.setting.Kind == config.Switch:
		return "bool" // which package pflag leaves out
	case f.setting.Choices() != nil:
		return strings.Join(f.setting.Choices(), "|")
	}
	return f.setting.Kind.Arg()
}

// completeFlags tells shells what may follow the flags.
func completeFlags(root *cobra.Command) {
	for _, s := range config.Settings() {
		complete := cobra.NoFileCompletions
		if c := s.Choices(); c != nil {
			complete = cobra.FixedCompletions(c, cobra.ShellCompDirectiveNoFileComp)
		}
		if s.Kind == config.Folder {
			complete = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
		}
		if s.Kind == config.File {
			complete = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
		}
		mustComplete(root, s.Name, complete)
	}
	mustComplete(root, "config", cobra.FixedCompletions([]string{"toml"}, cobra.ShellCompDirectiveFilterFileExt))
}

func mustComplete(root *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := root.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // there is no such flag, or it is here twice
	}
}
