package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/place"
)

// connectionGroup marks the flags that --help shows under a heading of their
// own.
const connectionGroup = "connection"

// online gives commands that talk to a server, and those below them, the flags
// that say to which one, and how long to wait for it.
func (a *App) online(cmds ...*cobra.Command) []*cobra.Command {
	for _, cmd := range cmds {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags.SortFlags = false
		a.hosts.text = logd.DefaultAddr
		flags.Var(&a.hosts, "host", "ask the server at `HOST:PORT`, or unix:PATH; of several, with commas between or the flag repeated, the first that answers (environment: "+CLIHostEnv+", else "+HostEnv+")")
		flags.StringVar(&a.tokenFile, "token-file", "", "show the token in this `FILE` to the server (environment: "+TokenEnv+" is the token, else "+TokenFileEnv+" the file)")
		flags.BoolVar(&a.plainToken, "plain-token", false, "send the token without TLS, also to another machine")
		flags.DurationVar(&a.timeout, "timeout", 15*time.Second, "`TIME` for each of the three below")
		flags.DurationVar(&a.connectTimeout, "connect-timeout", 0, "wait this `TIME` for a connection")
		flags.DurationVar(&a.readTimeout, "read-timeout", 0, "wait this `TIME` for the server to go on answering")
		flags.DurationVar(&a.writeTimeout, "write-timeout", 0, "allow this `TIME` for one write to the server")
		a.tls.add(flags)
		flags.VisitAll(func(f *pflag.Flag) {
			f.Annotations = map[string][]string{connectionGroup: nil}
			cmd.Flags().AddFlag(f)
		})
		a.online(cmd.Commands()...)
	}
	return cmds
}

// resolveHost lets the environment stand in for --host.
func (a *App) resolveHost(cmd *cobra.Command) {
	if cmd.Flags().Lookup("host") == nil || cmd.Flags().Changed("host") {
		return
	}
	for _, name := range []string{CLIHostEnv, HostEnv} {
		if env := a.Getenv(name); env != "" {
			a.hosts.text, a.hostFrom = env, name
			return
		}
	}
}

// hosts is the value of --host: addresses with commas between.
type hosts struct {
	text  string
	given bool
}

// Set takes more addresses.
func (h *hosts) Set(text string) error {
	if h.given {
		text = h.text + "," + text
	}
	h.text, h.given = text, true
	return nil
}

func (h *hosts) String() string { return h.text }

// Type is asked for by pflag.
func (h *hosts) Type() string { return "HOST:PORT" }

// addrs returns the addresses, each once.
func (h *hosts) addrs() (addrs []string) {
	for addr := range strings.SplitSeq(h.text, ",") {
		if addr = strings.TrimSpace(addr); !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
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

// Format is the value of --format: text, json, or what else the command takes.
type Format struct {
	text string
}

// FormatFlag gives a command that prints data the flag -o.
func (a *App) FormatFlag(cmd *cobra.Command) {
	cmd.Flags().VarP(&a.Format, "format", "o", "print in this `FORMAT`: text, or json (one object a line)")
	CompleteFormat(cmd)
}

// CompleteFormat makes the shell complete the value of --format.
func CompleteFormat(cmd *cobra.Command) {
	cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// Set takes the value of --format.
func (f *Format) Set(text string) error {
	if f.text == "" && text != "text" && text != "json" {
		return errors.New("want text or json")
	}
	return f.Take(text)
}

// Take takes any text, if it is the first or says the same again.
func (f *Format) Take(text string) error {
	if f.text != "" && text != f.text {
		return fmt.Errorf("a second format; the first is %q", f.text)
	}
	f.text = text
	return nil
}

func (f *Format) String() string { return f.text }

// Type is asked for by pflag.
func (f *Format) Type() string { return "FORMAT" }

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
		if _, ok := place.Digits(name); ok && cmd.Flags().Lookup("last") != nil {
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
