package settings

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/glob"
	"github.com/logd-dev/logd/internal/forward/inputs"
	"github.com/logd-dev/logd/internal/forward/render"
	"github.com/logd-dev/logd/internal/setting"
	"github.com/logd-dev/logd/internal/socket"
)

// kinds says for which inputs a setting counts; those that are not here count for all.
var kinds = map[string]struct {
	of  func(inputs.From) bool
	who string
}{
	"topics":          {isKind(inputs.Msg, inputs.HTTP), "of msg and http, whose senders can name a topic"},
	"exclude":         {isKind(inputs.File), "of files"},
	"start":           {isKind(inputs.File, inputs.Journal), "of files and the journal"},
	"copies":          {isKind(inputs.File), "of files"},
	"scan-interval":   {isKind(inputs.File), "of files"},
	"rotated-wait":    {isKind(inputs.File), "of files"},
	"forget-after":    {isKind(inputs.File), "of files"},
	"units":           {isKind(inputs.Journal), "of the journal"},
	"long-lines":      {isKind(inputs.File, inputs.Stdin, inputs.Lines, inputs.Syslog, inputs.Journal, inputs.HTTP), "of lines, not of messages"},
	"trim-cr":         {isKind(inputs.File, inputs.Stdin, inputs.Lines, inputs.HTTP), "of lines"},
	"when-full":       {isKind(inputs.Stdin, inputs.Lines, inputs.Msg, inputs.HTTP, inputs.Syslog), "of what can't be read again"},
	"max-connections": {onNetwork("tcp", "tls", "unix"), "of what takes connections"},
	"max-body":        {isKind(inputs.HTTP), "of http"},
	"socket-mode":     {onNetwork("unix", "unixgram"), "of unix sockets"},
	"receive-buffer":  {onNetwork("udp", "unixgram"), "of datagrams"},
	"insecure":        {onNetwork("tcp", "tls", "udp"), "of what listens on the network"},
	"tls-cert":        {onNetwork("tls"), "of syslog+tls"},
	"tls-key":         {onNetwork("tls"), "of syslog+tls"},
	"tls-client-ca":   {onNetwork("tls"), "of syslog+tls"},
}

func isKind(kinds ...inputs.Kind) func(inputs.From) bool {
	return func(f inputs.From) bool { return slices.Contains(kinds, f.Kind) }
}

func onNetwork(networks ...string) func(inputs.From) bool {
	return func(f inputs.From) bool { return slices.Contains(networks, f.Network) }
}

// known says for which inputs a name in a template stands for something.
var known = map[string]struct {
	of  func(inputs.From) bool
	who string
}{
	"base":     {isKind(inputs.File), "of files"},
	"app":      {isKind(inputs.Syslog, inputs.Journal), "of syslog and the journal"},
	"unit":     {isKind(inputs.Journal), "of the journal"},
	"facility": {isKind(inputs.Syslog, inputs.Journal), "of syslog and the journal"},
	"severity": {isKind(inputs.Syslog, inputs.Journal), "of syslog and the journal"},
}

// combinations reports what is wrong with settings that are each in their range.
func (l *loader) combinations() {
	c := &l.Config
	conflict := func(key, reason string) {
		if l.Bad[key] {
			return
		}
		s, _ := top.Lookup(key)
		l.report(&setting.Error{Origin: l.Origins.Of(key), Key: key, Value: s.Quote(s.Value(c)), Reason: reason})
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		key, other := "tls-cert", "tls-key"
		if c.TLSCert == "" {
			key, other = other, key
		}
		conflict(key, "without "+other+": a certificate has a key, and both are shown")
	}
	if c.BatchSize*4 > c.Memory && !l.Bad["memory"] {
		conflict("batch-size", "a topic has a quarter of memory = "+strconv.Quote(value("memory", c))+", and a batch has to fit there")
	}
	if len(c.Host) == 0 {
		conflict("host", "no server to store in")
	}
	if c.HTTPHost != "" && !l.src.NoInputs && !c.defaults.Insecure && !l.Bad["insecure"] && !socket.OnLoopback(c.HTTPHost) {
		conflict("http-host", "it is reached from other machines, and anybody may read paths and numbers there: listen on 127.0.0.1, or set insecure = true at the top if the network keeps strangers out")
	}
	if c.StateDir == "" && (len(c.Inputs) > 0 && !c.OnlyStdin() || l.src.NoInputs) {
		conflict("state-dir", "no folder for positions and for what waits: name one, or set HOME")
	}
	names := make(map[string]*Input)
	froms := make(map[inputs.From]*Input)
	for i := range c.Inputs {
		in := &c.Inputs[i]
		l.checkInput(in)
		if other := froms[in.From]; other != nil && (in.From.Network != "" || in.From.Kind == inputs.Stdin) && !anyPort(in.From) {
			l.inputProblem(in, "from", "that of input "+other.Name+", too")
		} else if names[in.Name] != nil && in.Name != "" {
			l.inputProblem(in, "name", "the name of another input: positions belong to it, so give each its own name")
		}
		names[in.Name] = in
		froms[in.From] = in
		if l.src.Once && in.From.Network != "" {
			l.report(usageError{fmt.Errorf("--once: %s has no end; it is for files, the journal and standard input", in.From)})
		}
	}
}

func value(name string, c *Config) string {
	s, _ := top.Lookup(name)
	return s.Value(c)
}

func anyPort(f inputs.From) bool {
	return f.Network != "unix" && f.Network != "unixgram" && setting.AnyPort(f.Addr)
}

// inputProblem reports what is wrong with a setting of an input.
func (l *loader) inputProblem(in *Input, key, reason string) {
	o := in.origins.Of(key)
	who := "input " + in.Name
	if in.argument {
		who = "input " + strconv.Quote(in.From.String())
	}
	if in.argument && (o.Source == setting.FromDefault || o.Source == setting.FromArgument) {
		l.report(usageError{fmt.Errorf("%s: %s: %s", who, key, reason)})
		return
	}
	s, _ := each.Lookup(key)
	written := s.Quote(s.Value(in))
	if f := in.origins.Of("from"); o.Source == setting.FromDefault && f.Source == setting.FromFile {
		o, written = f, "" // the input at least
	}
	var err error = &setting.Error{Origin: o, Key: key, Value: written, Reason: who + ": " + reason}
	if o.Source == setting.FromFlag {
		err = usageError{err}
	}
	l.report(err)
}

// checkInput reports what is wrong with an input by itself.
func (l *loader) checkInput(in *Input) {
	if in.From.Kind == 0 {
		return // which was said
	}
	bad := func(key string) bool {
		return in.bad[key] || l.Bad[key] && in.origins.Of(key).Source != setting.FromFile
	}
	// What the top says for all inputs may not count for each of them.
	for name, whose := range kinds {
		if o := in.origins.Of(name); o.Source == setting.FromFile && o != l.Origins.Of(name) && !whose.of(in.From) {
			l.inputProblem(in, name, "it is a setting "+whose.who)
		}
	}
	l.checkTopic(in, bad)
	if most := fitting(l.Config.BatchSize, in.Format); in.MaxLine > most && !bad("max-line") && !l.Bad["batch-size"] {
		reason := fmt.Sprintf("no batch of batch-size = %q has room for it: at most %d", value("batch-size", &l.Config), most)
		if in.Format == render.JSON {
			reason += ", because JSON may write six bytes for one"
		}
		l.inputProblem(in, "max-line", reason)
	}
	if in.From.Network == "unixgram" && fullOf(in.whenFull, in.From) == feed.Block {
		l.inputProblem(in, "when-full", "to block here would hang every program that logs: use drop-newest")
	}
	if in.From.Network == "tls" && (in.TLSCert == "" || in.TLSKey == "") && !bad("tls-cert") && !bad("tls-key") {
		key := "tls-cert"
		if in.TLSCert != "" {
			key = "tls-key"
		}
		l.inputProblem(in, key, "syslog+tls needs tls-cert and tls-key")
	}
	if err := inputs.CheckExposed(in.From, in.Insecure, in.TLSClientCA != ""); err != nil {
		l.inputProblem(in, "from", err.Error())
	}
	if in.From.Kind == inputs.File {
		if _, err := glob.Compile(in.From.Addr); err != nil {
			l.inputProblem(in, "from", err.Error())
		}
	}
}

func (l *loader) checkTopic(in *Input, bad func(string) bool) {
	switch {
	case bad("topic"):
	case in.Topic == nil:
		err := errors.New("no topic: where are the messages to go? Use --topic, or topic at the top of the file or in [[input]]")
		if in.argument {
			l.report(usageError{fmt.Errorf("input %q: %w", in.From.String(), err)})
		} else {
			l.report(&setting.Error{Origin: in.origins.Of("from"), Key: "input " + in.Name, Reason: err.Error()})
		}
	default:
		for _, name := range in.Topic.Names() {
			if whose, ok := known[name]; ok && !whose.of(in.From) {
				l.inputProblem(in, "topic", "{"+name+"} is known "+whose.who+" alone")
			}
		}
		if highest := in.Topic.Wildcards(); highest > 0 {
			have := 0
			if in.From.Kind == inputs.File {
				if g, err := glob.Compile(in.From.Addr); err == nil {
					have = g.Wildcards()
				}
			}
			if highest > have {
				l.inputProblem(in, "topic", fmt.Sprintf("{%d} has no wildcard to stand for: %s has %d", highest, in.From, have))
			}
		}
	}
}
