package main

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/config"
)

// settingFlags adds a flag for each setting, and the one that names the file.
func (a *app) settingFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&a.ConfigFile, "config", "", "configuration `FILE` (environment: "+config.EnvFile+
		"; default: the first of "+strings.Join(config.DefaultFiles(), ", ")+" that exists)")
	cmdline.Add(&a.Flags, flags, config.Settings(), map[string]string{"verbose": "v"})
}
