package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/hook"
	"github.com/logd-dev/logd/internal/setting"
)

func field[T any](of func(*Config) *T, values setting.Values[T]) setting.Field[Config] {
	return setting.One(of, values)
}

func list(of func(*Config) *[]string, good func(string) error, allowed string) setting.Field[Config] {
	return setting.Any(of, good, allowed)
}

var topicNames = fmt.Sprintf("names of 1 to %d bytes of A-Z a-z 0-9 . _ - that do not begin with . or __", batch.MaxTopicLen)

func checkTopic(name string) error {
	if !batch.ValidTopic(name) {
		return fmt.Errorf("%s is not a topic name", setting.Shorten(strconv.Quote(name)))
	}
	if strings.HasPrefix(name, "__") {
		return fmt.Errorf("%s begins with __, as only the server's own topics do", setting.Shorten(strconv.Quote(name)))
	}
	return nil
}

func checkHostName(name string) error {
	if name == "" || !setting.HostName(name) {
		return fmt.Errorf("%s is not the name of a host", setting.Shorten(strconv.Quote(name)))
	}
	return nil
}

// codecs is a set of codecs.
var codecs = setting.Values[batch.Codecs]{
	Parse: func(text string) (batch.Codecs, error) {
		if text == "" {
			return 0, nil
		}
		c, ok := batch.ParseCodecs([]byte(text))
		if !ok || len(c.String()) != len(text) { // one that is not known is left out
			return 0, errors.New("not such a list")
		}
		return c, nil
	},
	Format:  batch.Codecs.String,
	Allowed: batch.KnownCodecs.String() + " or one of them, or empty (none)",
}

// HTTPParts are the parts that HTTP may serve besides health.
var HTTPParts = []string{"api", "console", "log", "metrics", "debug"}

// httpParts is a list of them, each once, with commas between.
var httpParts = setting.Values[[]string]{
	Parse: func(text string) ([]string, error) {
		list := []string{}
		if text == "" {
			return list, nil
		}
		for part := range strings.SplitSeq(text, ",") {
			if !slices.Contains(HTTPParts, part) || slices.Contains(list, part) {
				return nil, fmt.Errorf("%s is not one of them, or is there twice", setting.Shorten(strconv.Quote(part)))
			}
			list = append(list, part)
		}
		return list, nil
	},
	Format:  func(list []string) string { return strings.Join(list, ",") },
	Allowed: strings.Join(HTTPParts, ",") + " or some of them, or empty (none)",
}

// program is words that are split without a shell.
var program = setting.Values[string]{
	Parse:  setting.ParseText,
	Format: func(s string) string { return s },
	Check: func(s string) error {
		if s == "" {
			return nil
		}
		if strings.ContainsRune(s, 0) {
			return errors.New("holds a NUL byte")
		}
		_, err := hook.Words(s)
		return err
	},
	Allowed: "a program and its arguments, quoted as for a shell, or empty (none)",
}

// ownerAccess is what the server itself needs of its files.
const ownerAccess fs.FileMode = 0o600

var mode = setting.Modes(ownerAccess, "logd itself could not read and write its files", "0600 to 0777 (octal), readable and writable by the owner")

// address is HOST:PORT with a numeric port.
func address(optional bool) setting.Values[string] {
	k := setting.Values[string]{
		Format:  func(s string) string { return s },
		Allowed: "HOST:PORT with a port from 0 (any free one) to 65535",
	}
	if optional {
		k.Allowed += ", or empty (none)"
	}
	k.Check = func(s string) error {
		if s == "" && optional {
			return nil
		}
		return checkAddress(s)
	}
	k.Parse = func(text string) (string, error) { return text, k.Check(text) }
	return k
}

// advertised is where somebody else finds this machine: an address that leads somewhere.
var advertised = setting.Values[string]{
	Parse:   setting.ParseText,
	Format:  func(s string) string { return s },
	Allowed: "HOST:PORT that others can dial, or empty",
	Check: func(s string) error {
		if s == "" {
			return nil
		}
		if err := checkAddress(s); err != nil {
			return err
		}
		if unspecified(s) {
			return errors.New("an address of every interface, or without a port, leads nowhere")
		}
		return nil
	},
}

// advertisedURL is where clients of HTTP find this machine. It is what Location begins with.
var advertisedURL = setting.Values[string]{
	Parse:   setting.ParseText,
	Format:  func(s string) string { return s },
	Allowed: "http://HOST:PORT or https://HOST:PORT that others can dial, or empty (none)",
	Check: func(s string) error {
		if s == "" {
			return nil
		}
		scheme, rest, ok := strings.Cut(s, "://")
		if !ok || scheme != "http" && scheme != "https" {
			return errors.New("begins with neither http:// nor https://")
		}
		addr, path, slash := strings.Cut(rest, "/")
		switch {
		case slash && path == "":
			return errors.New("ends with a slash, and a path is put behind it that begins with one")
		case slash:
			return errors.New("has a path, and the API is at /api/v1 of each member")
		case strings.Contains(addr, "@"):
			return errors.New("has a user in it, and each client shows its own token")
		case strings.ContainsAny(addr, "?#"):
			return errors.New("has a query or a fragment, and those are each request's own")
		}
		if err := setting.CheckAddress(addr); err != nil {
			return err
		}
		if unspecified(addr) {
			return errors.New("an address of every interface, or without a port, leads nowhere")
		}
		return nil
	},
}

// unspecified reports whether a valid address is one that nobody can dial: of every
// interface, or of any free port.
func unspecified(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.Unmap().IsUnspecified() || setting.AnyPort(addr)
}

// hostAddress is HOST:PORT; Validate says when it may be empty.
var hostAddress = func() setting.Values[string] {
	k := address(true)
	k.Allowed = address(false).Allowed
	return k
}()

// group is a group of users, or nothing. Whether there is such a group the start sees.
var group = setting.Values[string]{
	Parse:   setting.ParseText,
	Format:  func(s string) string { return s },
	Allowed: "the name or number of a group, or empty (that of the process)",
	Check: func(s string) error {
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == ':' }) {
			return errors.New("not a name of a group")
		}
		return nil
	},
}

// memberName is the name of a member, or nothing.
var memberName = setting.Values[string]{
	Parse:   setting.ParseText,
	Format:  func(s string) string { return s },
	Allowed: "1 to 32 bytes of A-Z a-z 0-9 . _ -, or empty (none)",
	Check: func(s string) error {
		if s != "" && !entry.ValidName(s) {
			return errors.New("not a name of a member")
		}
		return nil
	},
}

// clusterID is the id of a cluster, or nothing.
var clusterID = setting.Values[string]{
	Parse:   setting.ParseText,
	Format:  func(s string) string { return s },
	Allowed: "32 hexadecimal digits, or empty (none)",
	Check: func(s string) error {
		if b, err := hex.DecodeString(s); s != "" && (err != nil || len(b) != 16) {
			return errors.New("not the id of a cluster")
		}
		return nil
	},
}

func checkAddress(s string) error {
	if strings.Contains(s, ",") {
		return errors.New("more than one address, and logd listens on one; a list of servers for log-cli goes into LOGD_CLI_HOST")
	}
	return setting.CheckAddress(s)
}
