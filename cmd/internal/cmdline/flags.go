// Package cmdline is what the commands of programs that run for long share: flags of
// settings, the form of help, logs, and signals.
package cmdline

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/logd-dev/logd/internal/setting"
)

// Flags are flags of settings. They keep the texts that they are given, for package
// setting to make values of.
type Flags struct {
	// Texts are those of each setting, in the order in which they were given.
	Texts map[string][]string
	// Bad says what is wrong with the first flag whose text can't be read. That is wrong
	// usage, but for a command that is there to find it; what is out of range is a wrong
	// setting, and not found here.
	Bad error
}

// Add adds a flag for each setting to flags. Shorthands are letters for some of them.
func Add[C any](f *Flags, flags *pflag.FlagSet, settings []setting.Setting[C], shorthands map[string]string) {
	if f.Texts == nil {
		f.Texts = make(map[string][]string)
	}
	flags.SortFlags = false
	for _, s := range settings {
		flag := &pflag.Flag{
			Name:      s.Name,
			Shorthand: shorthands[s.Name],
			Usage:     s.Usage,
			DefValue:  s.Default,
			Value:     &value[C]{s, f},
		}
		if s.Kind == setting.Switch {
			flag.NoOptDefVal = "true"
		}
		flags.AddFlag(flag)
	}
}

// value is the value of the flag of a setting.
type value[C any] struct {
	setting setting.Setting[C]
	flags   *Flags
}

// Set implements pflag.Value.
func (v *value[C]) Set(text string) error {
	if err := v.setting.Parse(text); err != nil && v.flags.Bad == nil {
		v.flags.Bad = fmt.Errorf("invalid argument %q for %q flag: %w", text, "--"+v.setting.Name, err)
	}
	v.flags.Texts[v.setting.Name] = append(v.flags.Texts[v.setting.Name], text)
	return nil
}

// String implements pflag.Value.
func (v *value[C]) String() string {
	if v.flags == nil {
		return "" // of the zero value, which package pflag makes
	}
	return strings.Join(v.flags.Texts[v.setting.Name], ",")
}

// Type implements pflag.Value: the word that help shows for the value.
func (v *value[C]) Type() string {
	switch {
	case v.setting.Kind == setting.Switch:
		return "bool" // which package pflag leaves out
	case v.setting.Choices() != nil:
		return strings.Join(v.setting.Choices(), "|")
	}
	return v.setting.Kind.Arg()
}

// Complete tells shells what may follow the flags of settings, and --config.
func Complete[C any](root *cobra.Command, settings []setting.Setting[C]) {
	for _, s := range settings {
		complete := cobra.NoFileCompletions
		if c := s.Choices(); c != nil {
			complete = cobra.FixedCompletions(c, cobra.ShellCompDirectiveNoFileComp)
		}
		switch s.Kind {
		case setting.Folder:
			complete = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
		case setting.File, setting.Paths:
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
