package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/logd-dev/logd"
)

// connectionGroup marks the flags that --help shows under a heading of their
// own.
const connectionGroup = "connection"

// online gives commands that talk to a server, and those below them, the flags
// that say to which one, and how long to wait for it.
func (a *app) online(cmds ...*cobra.Command) []*cobra.Command {
	for _, cmd := range cmds {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags.SortFlags = false
		flags.StringVar(&a.host, "host", logd.DefaultAddr, "ask the server at `HOST:PORT`; of several, with commas between, the first that answers (environment: "+cliHostEnv+", else "+hostEnv+")")
		flags.DurationVar(&a.timeout, "timeout", 15*time.Second, "`TIME` for each of the three below")
		flags.DurationVar(&a.connectTimeout, "connect-timeout", 0, "wait this `TIME` for a connection")
		flags.DurationVar(&a.readTimeout, "read-timeout", 0, "wait this `TIME` for the server to go on answering")
		flags.DurationVar(&a.writeTimeout, "write-timeout", 0, "allow this `TIME` for one write to the server")
		flags.VisitAll(func(f *pflag.Flag) {
			f.Annotations = map[string][]string{connectionGroup: nil}
			cmd.Flags().AddFlag(f)
		})
		a.online(cmd.Commands()...)
	}
	return cmds
}

// resolveHost lets the environment stand in for --host.
func (a *app) resolveHost(cmd *cobra.Command) {
	if cmd.Flags().Lookup("host") == nil || cmd.Flags().Changed("host") {
		return
	}
	for _, name := range []string{cliHostEnv, hostEnv} {
		if env := a.getenv(name); env != "" {
			a.host, a.hostFrom = env, name
			return
		}
	}
}

// checkTimeouts refuses timeouts that would never wait.
func checkTimeouts(flags *pflag.FlagSet) error {
	for _, name := range []string{"timeout", "connect-timeout", "read-timeout", "write-timeout"} {
		if d, err := flags.GetDuration(name); err == nil && d <= 0 && flags.Changed(name) {
			return fmt.Errorf("--%s is %v: want more than 0", name, d)
		}
	}
	return nil
}

// topic is the topic that a command is about: the value of --topic, else the
// first word.
type topic struct {
	flag bool // --topic was given
	name string
}

// topicFlag gives a command the flag --topic, and its topics to the shell's
// completion. The command calls words for the rest.
func (a *app) topicFlag(cmd *cobra.Command, t *topic) {
	cmd.Flags().VarP(t, "topic", "t", "the `TOPIC`, if it is not the first word")
	cmd.RegisterFlagCompletionFunc("topic", a.completeTopic)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || t.flag {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completeTopic(cmd, args, begun)
	}
}

// words takes the topic from the words of the command line, if --topic does not
// name it, and returns the rest. It may be called again.
func (t *topic) words(args []string) ([]string, error) {
	switch {
	case t.flag:
		return args, nil
	case len(args) == 0:
		return nil, errors.New("want a TOPIC, as the first word or with --topic")
	}
	t.name = args[0]
	return args[1:], nil
}

// only is words for a command that takes no other word.
func (t *topic) only(args []string) error {
	rest, err := t.words(args)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%q is one word too many: the topic is %q", rest[0], t.name)
	}
	return err
}

// onlyTopic makes a command take its topic and no other word.
func onlyTopic(t *topic) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error { return t.only(args) }
}

// Set takes the value of --topic.
func (t *topic) Set(name string) error {
	if t.flag && name != t.name {
		return fmt.Errorf("a second topic; the first is %q", t.name)
	}
	t.flag, t.name = true, name
	return nil
}

func (t *topic) String() string { return t.name }

// Type is asked for by pflag.
func (t *topic) Type() string { return "TOPIC" }

// formatValue is the value of --format: text, json, or, if the command takes
// them, a pattern.
type formatValue struct {
	text    string
	pattern pattern // nil if the value is none
}

// formatFlag gives a command that prints data the flag -o.
func (a *app) formatFlag(cmd *cobra.Command) {
	cmd.Flags().VarP(&a.format, "format", "o", "print in this `FORMAT`: text, or json (one object a line)")
	completeFormat(cmd)
}

// patternFlag is formatFlag for a command that takes patterns, too.
func (a *app) patternFlag(cmd *cobra.Command) {
	cmd.Flags().VarP(patternValue{&a.format}, "format", "o", "print in this `FORMAT`: text, json (one object a line), or a pattern (see above)")
	completeFormat(cmd)
}

func completeFormat(cmd *cobra.Command) {
	cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// Set takes the value of --format.
func (f *formatValue) Set(text string) error {
	switch {
	case f.text != "" && text != f.text:
		return fmt.Errorf("a second format; the first is %q", f.text)
	case text != "text" && text != "json":
		return errors.New("want text or json")
	}
	f.text = text
	return nil
}

func (f *formatValue) String() string { return f.text }

// Type is asked for by pflag.
func (f *formatValue) Type() string { return "FORMAT" }

// patternValue is a formatValue that may be a pattern.
type patternValue struct{ *formatValue }

// Set takes the value of --format.
func (f patternValue) Set(text string) error {
	if !strings.Contains(text, "%") {
		if err := f.formatValue.Set(text); err != nil {
			return fmt.Errorf("%w, or a pattern such as '%%T %%s\\n'", err)
		}
		return nil
	}
	if f.text != "" && text != f.text {
		return fmt.Errorf("a second format; the first is %q", f.text)
	}
	var err error
	f.text = text
	f.pattern, err = parsePattern(text)
	return err
}

// flagAliases are what flags of this meaning are called by other programs.
var flagAliases = map[string]string{"follow": "read-forever", "until": "to", "force": "yes", "json": "format json"}

// flagError says what is wrong with a flag, and which one may be meant.
func flagError(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return err
	}
	if unknown.GetSpecifiedShortnames() != "" {
		name := unknown.GetSpecifiedName()
		if _, ok := digits(name); ok && cmd.Flags().Lookup("last") != nil {
			return fmt.Errorf("unknown flag -%s; did you mean --last %s?", name, name)
		}
		return fmt.Errorf("unknown flag -%s", name)
	}
	name := unknown.GetSpecifiedName()
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, f.Name)
		}
	})
	meant := nearest(name, known)
	if alias := flagAliases[name]; alias != "" {
		if flag, _, _ := strings.Cut(alias, " "); slices.Contains(known, flag) {
			meant = alias
		}
	}
	if meant != "" {
		return fmt.Errorf("unknown flag --%s; did you mean --%s?", name, meant)
	}
	return fmt.Errorf("unknown flag --%s", name)
}
