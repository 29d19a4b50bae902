package inputs

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// Kind is what an input takes.
type Kind uint8

// The kinds of inputs.
const (
	File    Kind = iota + 1 // lines of files
	Journal                 // entries of the journal
	Stdin                   // lines of standard input
	Lines                   // lines
	Msg                     // messages as logd has them
	HTTP                    // lines in bodies of requests
	Syslog                  // messages of syslog
)

// From says where an input's messages come from. It is comparable: with an equal one, an
// input goes on.
type From struct {
	Kind    Kind
	Network string // tcp, tls, unix, udp or unixgram; empty if it doesn't listen
	Addr    string // host:port, the path of a socket, or the glob of files
}

// forms are how a From is written: what it begins with, and what that means.
var forms = [...]struct {
	prefix  string
	kind    Kind
	network string
	rest    string // of the form, for people
}{
	{"file:", File, "", "GLOB"},
	{"journald:", Journal, "", ""},
	{"stdin:", Stdin, "", ""},
	{"lines+tcp://", Lines, "tcp", "HOST:PORT"},
	{"lines+unix:", Lines, "unix", "PATH"},
	{"msg+tcp://", Msg, "tcp", "HOST:PORT"},
	{"msg+unix:", Msg, "unix", "PATH"},
	{"http://", HTTP, "tcp", "HOST:PORT"},
	{"syslog+tcp://", Syslog, "tcp", "HOST:PORT"},
	{"syslog+tls://", Syslog, "tls", "HOST:PORT"},
	{"syslog+unix:", Syslog, "unix", "PATH"},
	{"syslog+udp://", Syslog, "udp", "HOST:PORT"},
	{"syslog+unixgram:", Syslog, "unixgram", "PATH"},
}

// maxSocketPath is the length of a path at which a socket can be made under another name
// in the same folder first: unix(7) has room for 107 bytes.
const maxSocketPath = 90

// ParseFrom parses what people write: file:/var/log/*.log, syslog+udp://127.0.0.1:514, or
// - for standard input. Its errors name what was written, and what it may be.
func ParseFrom(s string) (From, error) {
	f, err := parseFrom(s)
	if err != nil {
		return From{}, fmt.Errorf("input %q: %w", s, err)
	}
	return f, nil
}

func parseFrom(s string) (From, error) {
	if s == "-" {
		return From{Kind: Stdin}, nil
	}
	for _, form := range forms {
		rest, ok := strings.CutPrefix(s, form.prefix)
		if !ok {
			continue
		}
		f := From{form.kind, form.network, rest}
		switch form.rest {
		case "":
			if rest != "" {
				return From{}, fmt.Errorf("nothing follows %s", form.prefix)
			}
			return f, nil
		case "HOST:PORT":
			return f, checkHostPort(rest)
		case "PATH":
			return f, checkSocketPath(rest)
		}
		return f, checkGlob(rest)
	}
	if s == "" {
		return From{}, errors.New("it is empty: " + knownForms())
	}
	for _, form := range forms {
		if name := strings.TrimRight(form.prefix, ":/"); strings.HasPrefix(s, name+":") || s == name {
			return From{}, fmt.Errorf("write %s%s", form.prefix, form.rest)
		}
	}
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") {
		return From{}, fmt.Errorf("files are written file:%s", s)
	}
	return From{}, errors.New("no input is written so: " + knownForms())
}

// knownForms lists them for an error.
func knownForms() string {
	var b strings.Builder
	b.WriteString("it may be - or ")
	for i, form := range forms {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(form.prefix + form.rest)
	}
	return b.String()
}

func checkHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return errors.New("it takes HOST:PORT and nothing else, such as 127.0.0.1:5140 or [::1]:5140")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q is no port: it is a number up to 65535", port)
	}
	if strings.ContainsAny(host, "/@?# ") {
		return fmt.Errorf("%q is no host", host)
	}
	return nil
}

func checkSocketPath(s string) error {
	switch {
	case s == "":
		return errors.New("the path of the socket is missing")
	case strings.HasPrefix(s, "//"):
		return fmt.Errorf("a path follows the colon alone: %s", "/"+strings.TrimLeft(s, "/"))
	case strings.HasSuffix(s, "/"):
		return errors.New("a socket's path does not end with /")
	case strings.ContainsRune(s, 0):
		return errors.New("a path has no zero bytes")
	case len(s) > maxSocketPath:
		return fmt.Errorf("a socket's path may have %d bytes, and this one has %d", maxSocketPath, len(s))
	}
	return nil
}

func checkGlob(s string) error {
	switch {
	case s == "":
		return errors.New("the path of the files is missing")
	case strings.HasPrefix(s, "//"):
		return fmt.Errorf("a path follows the colon alone: file:%s", "/"+strings.TrimLeft(s, "/"))
	case strings.ContainsRune(s, 0):
		return errors.New("a path has no zero bytes")
	}
	if _, err := filepath.Match(s, ""); err != nil {
		return errors.New("a [ in it has no ], or nothing between them")
	}
	return nil
}

// String returns the form that ParseFrom parses.
func (f From) String() string {
	for _, form := range forms {
		if form.kind == f.Kind && form.network == f.Network {
			return form.prefix + f.Addr
		}
	}
	return ""
}

// Datagrams reports whether messages come as datagrams: nobody waits for them.
func (f From) Datagrams() bool { return f.Network == "udp" || f.Network == "unixgram" }

// Full returns what becomes of messages for which there is no room, unless a setting says
// otherwise. To block datagrams would hang every program that calls syslog(3).
func (f From) Full() feed.Full {
	switch {
	case f.Kind == HTTP:
		return feed.Refuse
	case f.Datagrams():
		return feed.Drop
	}
	return feed.Block
}
