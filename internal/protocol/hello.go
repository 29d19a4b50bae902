package protocol

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/logd-dev/logd/internal/batch"
)

// maxClient is the length of the longest name of a client, in bytes.
const maxClient = 64

// parseHello parses the arguments of HELLO.
func parseHello(w words, req *Request) bool {
	var ok bool
	if req.Speaks, ok = w.int(); !ok || req.Speaks == 0 {
		return false
	}
	for w.more {
		word, _ := w.next()
		switch key, value, _ := bytes.Cut(word, []byte("=")); {
		case string(key) == "codecs" && req.Offers == nil:
			if req.Codecs, ok = batch.ParseCodecs(value); !ok {
				return false
			}
			req.Offers = value
		case string(key) == "client" && req.Client == nil && validClient(value):
			req.Client = value
		default:
			return false
		}
	}
	return true
}

// validClient reports whether a client may call itself so.
func validClient(name []byte) bool {
	for _, c := range name {
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '/' && c != '-' {
			return false
		}
	}
	return len(name) > 0 && len(name) <= maxClient
}

func appendHelloRequest(dst []byte, req *Request) []byte {
	dst = append(dst, req.Command.String()...)
	dst = appendWord(dst, req.Speaks)
	if len(req.Offers) > 0 {
		dst = append(dst, " codecs="...)
		dst = append(dst, req.Offers...)
	}
	if len(req.Client) > 0 {
		dst = append(dst, " client="...)
		dst = append(dst, req.Client...)
	}
	return dst
}

// Greeting is the body of HELLO's answer.
type Greeting struct {
	Version int64  // of the protocol, the newest that both know
	Server  string // its name and version
	Node    string // the member's name; empty if it is in no cluster
	Codecs  batch.Codecs
	Role    Role
	Auth    string // AuthOff, AuthRequired, or the client's identity
}

// The Auth of a server that asks nobody who they are, and of one that wants to know and
// does not. They are no identity's names.
const (
	AuthOff      = "off"
	AuthRequired = "required"
)

// AppendGreeting appends the body of HELLO's answer.
func AppendGreeting(dst []byte, g *Greeting) []byte {
	dst = AppendField(dst, "Version", strconv.FormatInt(g.Version, 10))
	dst = AppendField(dst, "Server", g.Server)
	dst = AppendField(dst, "Node", g.Node)
	dst = AppendField(dst, "Codecs", g.Codecs.String())
	dst = AppendField(dst, "Role", string(g.Role))
	return AppendField(dst, "Auth", g.Auth)
}

// ParseGreeting parses the body of HELLO's answer. Codecs that are not known are left
// out.
func ParseGreeting(body []byte) (Greeting, error) {
	var g Greeting
	fields, err := ParseFields(body)
	if err != nil {
		return g, err
	}
	for _, f := range fields {
		ok := true
		switch f.Name {
		case "Version":
			g.Version, ok = batch.ParseInt([]byte(f.Value))
		case "Server":
			g.Server = f.Value
		case "Node":
			g.Node = f.Value
		case "Codecs":
			g.Codecs, ok = parseCodecs(f.Value)
		case "Role":
			g.Role = Role(f.Value)
		case "Auth":
			g.Auth = f.Value
		}
		if !ok {
			return g, badField(f)
		}
	}
	if g.Version == 0 {
		return g, errors.New("there is no line Version")
	}
	return g, nil
}

// parseCodecs parses a list of codecs in a body, which may be empty.
func parseCodecs(list string) (batch.Codecs, bool) {
	if list == "" {
		return 0, true
	}
	return batch.ParseCodecs([]byte(list))
}
