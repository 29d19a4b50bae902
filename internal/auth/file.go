package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/logd-dev/logd/internal/quantity"
)

const (
	maxFile       = 4 << 20
	maxIdentities = 10_000
	maxTokens     = 4
	maxName       = 64
	maxProblems   = 20 // that are told of one file

	version = "1"
)

// Error is one thing that is wrong with a file.
type Error struct {
	File   string
	Line   int    // counted from 1; 0: the file as a whole
	Key    string // may be empty
	Reason string
}

// Error returns file, line, key and what is wrong, on one line.
func (e *Error) Error() string {
	s := e.File + ": "
	if e.Line > 0 {
		s = e.File + ":" + strconv.Itoa(e.Line) + ": "
	}
	if e.Key != "" {
		s += e.Key + ": "
	}
	return s + e.Reason
}

// Load reads a file. It refuses one that others than its owner may write: who can
// change it can do anything. The error joins all that is wrong with it, an [*Error]
// each, or wraps that of opening it.
func Load(path string) (*Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("can't read the auth file: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("can't read the auth file: %w", err)
	}
	if open := st.Mode().Perm() & 0o022; open != 0 && st.Mode().IsRegular() {
		return nil, &Error{File: path, Reason: fmt.Sprintf("others than its owner can write it (mode %04o): chmod go-w %s", st.Mode().Perm(), path)}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("can't read the auth file: %w", err)
	}
	return Parse(path, data)
}

// Parse reads what is in a file; path is for errors alone. See [Load].
func Parse(path string, data []byte) (*Policy, error) {
	if len(data) > maxFile {
		return nil, &Error{File: path, Reason: "larger than " + quantity.FormatSize(maxFile)}
	}
	r, err := read(path, data)
	if err != nil {
		return nil, err
	}
	return r.policy, nil
}

// read reads what is in a file.
func read(path string, data []byte) (*reader, error) {
	sum := sha256.Sum256(data)
	r := &reader{path: path, data: bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), seen: make(map[string]int), policy: &Policy{
		digest: hex.EncodeToString(sum[:6]), counts: make(map[*Identity]int), names: make(map[string]*Identity),
		tokens: make(map[Digest]holder), certs: make(map[string]*Identity), uids: make(map[uint32]*Identity), gids: make(map[uint32]*Identity),
	}}
	r.read()
	return r, errors.Join(r.problems...)
}

// entry is an identity that is being read.
type entry struct {
	Identity
	line   int
	keys   map[string]int // lines
	tokens []Digest
	certs  []string
	uids   []uint32
	gids   []uint32
	shows  bool // it has a key of these

	nameAt, tokensAt int // where the keys stand, for an editor
}

// reader is a file that is being read.
type reader struct {
	path     string
	data     []byte
	policy   *Policy
	entries  []*entry
	current  *entry
	seen     map[string]int // the lines of names, tokens, certs, uids and gids
	problems []error
	line, at int // data[at] is in that line
}

// bad notes what is wrong with a line.
func (r *reader) bad(line int, key, format string, args ...any) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, &Error{File: r.path, Line: line, Key: key, Reason: fmt.Sprintf(format, args...)})
	}
}

// read reads the file. Package toml checks the syntax, keys that are there twice
// included; its parser then gives each key with its line.
func (r *reader) read() {
	if err := toml.Unmarshal(r.data, new(map[string]any)); err != nil {
		if de := (*toml.DecodeError)(nil); errors.As(err, &de) {
			line, _ := de.Position()
			r.bad(line, "", "not TOML: %s", oneLine(strings.TrimPrefix(de.Error(), "toml: ")))
		} else {
			r.bad(0, "", "not TOML: %s", oneLine(err.Error()))
		}
		return
	}
	var p unstable.Parser
	p.Reset(r.data)
	r.line = 1
	versioned := false
	for p.NextExpression() && len(r.problems) < maxProblems {
		x := p.Expression()
		name, at := r.key(x.Key())
		switch {
		case x.Kind == unstable.ArrayTable && name == "identity":
			if r.end(); len(r.entries) >= maxIdentities {
				r.bad(r.line, "", "more than %d identities", maxIdentities)
				return
			}
			r.current = &entry{line: r.line, keys: make(map[string]int), nameAt: -1, tokensAt: -1}
		case x.Kind != unstable.KeyValue:
			r.bad(r.line, "["+name+"]", "unknown table; there is [[identity]], any number of times")
			return // what follows belongs to it
		case r.current != nil:
			r.identity(name, at, x.Value())
		case name != "version":
			r.bad(r.line, name, "unknown key; before the first [[identity]] there is version alone")
		default:
			versioned = true
			if v := x.Value(); v.Kind != unstable.Integer || string(v.Data) != version {
				r.bad(r.line, name, "not a version that this logd knows, which is %s", version)
			}
		}
	}
	r.end()
	if err := p.Error(); err != nil {
		r.bad(0, "", "not TOML: %s", oneLine(err.Error()))
	}
	if !versioned && len(r.problems) == 0 {
		r.bad(0, "version", "missing: the file begins with version = %s", version)
	}
}

// key returns a key, its parts joined by dots, and where it stands. It moves line
// there.
func (r *reader) key(parts unstable.Iterator) (name string, at int) {
	var words []string
	for parts.Next() {
		n := parts.Node()
		if words == nil {
			at = int(n.Raw.Offset)
		}
		word := string(n.Data)
		if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz-") != "" {
			word = quote(word)
		}
		words = append(words, word)
	}
	r.line += bytes.Count(r.data[r.at:at], []byte("\n"))
	r.at = at
	return strings.Join(words, "."), at
}

// identity reads a key of an identity.
func (r *reader) identity(key string, at int, v *unstable.Node) {
	id := r.current
	id.keys[key] = r.line
	var err error
	switch key {
	case "name":
		id.nameAt = at
		if v.Kind != unstable.String {
			err = errors.New("not text in quotes")
		} else if id.name = string(v.Data); !validName(id.name) {
			err = fmt.Errorf("%s is not 1 to %d bytes of A-Z a-z 0-9 . _ -, and neither off nor required", quote(id.name), maxName)
		} else {
			err = r.once("name "+id.name, id.name)
		}
	case "tokens":
		id.tokensAt, id.shows = at, true
		err = r.tokens(v)
	case "certs":
		id.shows = true
		err = texts(v, r.cert)
	case "uids":
		id.shows = true
		id.uids, err = r.numbers(v, "uid")
	case "gids":
		id.shows = true
		id.gids, err = r.numbers(v, "gid")
	case "allow":
		err = texts(v, func(text string) error {
			rule, err := parseRule(text)
			if err != nil {
				return fmt.Errorf("%s: %w", quote(text), err)
			}
			id.rules = append(id.rules, rule)
			return nil
		})
	case "write-rate":
		id.writeRate, err = rate(v)
	case "read-rate":
		id.readRate, err = rate(v)
	case "connections":
		var n int64
		n, err = integer(v)
		if err == nil && (n < 1 || n > math.MaxInt32) {
			err = errors.New("not 1 or more")
		}
		id.connections = int(n)
	default:
		err = errors.New("unknown key of an identity; there are name, tokens, certs, uids, gids, allow, write-rate, read-rate and connections")
	}
	if err != nil {
		r.bad(r.line, key, "%v", err)
	}
}

// tokens reads digests of tokens. What stands in place of one may be a token, so it
// is not repeated.
func (r *reader) tokens(v *unstable.Node) error {
	n := 0
	err := texts(v, func(text string) error {
		n++
		d, ok := parseDigest(text)
		if !ok {
			return fmt.Errorf("the one at place %d is not sha256: and 64 hexadecimal digits, which log-cli token hash makes of a token", n)
		}
		if err := r.once("token "+d.String(), fmt.Sprintf("the token at place %d", n)); err != nil {
			return err
		}
		r.current.tokens = append(r.current.tokens, d)
		return nil
	})
	if err == nil && n > maxTokens {
		err = fmt.Errorf("%d of them; there may be %d", n, maxTokens)
	}
	return err
}

// cert reads a name that certificates have.
func (r *reader) cert(text string) error {
	kind, name, ok := strings.Cut(text, ":")
	if !ok || name == "" || kind != "dns" && kind != "uri" && kind != "cn" {
		return fmt.Errorf("%s is not dns:, uri: or cn: and a name", quote(text))
	}
	r.current.certs = append(r.current.certs, text)
	return r.once("cert "+text, quote(text))
}

// once notes what may be there once in the file.
func (r *reader) once(what, shown string) error {
	if first, ok := r.seen[what]; ok {
		return fmt.Errorf("%s is there already, in line %d", shown, first)
	}
	r.seen[what] = r.line
	return nil
}

// end ends the identity that is being read.
func (r *reader) end() {
	id := r.current
	if id == nil {
		return
	}
	r.current = nil
	if _, ok := id.keys["name"]; !ok {
		r.bad(id.line, "name", "missing: an identity has one")
		return
	}
	p := r.policy
	r.entries = append(r.entries, id)
	p.identities = append(p.identities, &id.Identity)
	p.names[id.name] = &id.Identity
	p.counts[&id.Identity] = len(id.tokens)
	for _, d := range id.tokens {
		p.tokens[d] = holder{d, &id.Identity}
	}
	if id.name == Anonymous {
		if id.shows {
			r.bad(id.line, "", "%s has no tokens, certs, uids or gids: it is who shows nothing", Anonymous)
		}
		if len(id.rules) > 0 {
			p.anonymous = &id.Identity
		}
	}
	for _, name := range id.certs {
		p.certs[name] = &id.Identity
	}
	for _, n := range id.uids {
		p.uids[n] = &id.Identity
	}
	for _, n := range id.gids {
		p.gids[n] = &id.Identity
	}
}

func validName(name string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	return name != "" && len(name) <= maxName && strings.Trim(name, letters) == "" && name != "off" && name != "required"
}

// texts reads an array of texts.
func texts(v *unstable.Node, take func(string) error) error {
	if v.Kind != unstable.Array {
		return errors.New("not an array of texts in quotes")
	}
	for it := v.Children(); it.Next(); {
		if it.Node().Kind == unstable.Comment {
			continue
		}
		if it.Node().Kind != unstable.String {
			return errors.New("not all of the array is text in quotes")
		}
		if err := take(string(it.Node().Data)); err != nil {
			return err
		}
	}
	return nil
}

// numbers reads an array of ids of users or groups.
func (r *reader) numbers(v *unstable.Node, kind string) (ids []uint32, err error) {
	if v.Kind != unstable.Array {
		return nil, errors.New("not an array of numbers")
	}
	for it := v.Children(); it.Next(); {
		if it.Node().Kind == unstable.Comment {
			continue
		}
		n, err := integer(it.Node())
		if err != nil || n < 0 || n >= math.MaxUint32 { // the last one is nobody's
			return nil, errors.New("not all of the array is numbers of users or groups")
		}
		what := kind + " " + strconv.FormatInt(n, 10)
		if err := r.once(what, what); err != nil {
			return nil, err
		}
		ids = append(ids, uint32(n))
	}
	return ids, nil
}

func integer(v *unstable.Node) (int64, error) {
	if v.Kind != unstable.Integer {
		return 0, errors.New("not a number")
	}
	n, err := strconv.ParseInt(string(v.Data), 0, 64)
	if err != nil {
		return 0, errors.New("out of range")
	}
	return n, nil
}

// rate reads bytes a second.
func rate(v *unstable.Node) (n int64, err error) {
	if v.Kind == unstable.String {
		n, err = quantity.ParseSize(string(v.Data))
	} else {
		n, err = integer(v)
	}
	if err == nil && n < 1 {
		err = errors.New("not 1 byte a second or more")
	}
	return n, err
}

// quote returns a text for a message: in quotes, and not too long.
func quote(s string) string {
	const most = 80
	s = tokens.ReplaceAllString(s, tokenPrefix+"…")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

// tokens are what no message is to show, wherever in the file somebody has put them.
var tokens = regexp.MustCompile(tokenPrefix + `[0-9A-Za-z_-]{16,}`)

// oneLine puts a space for each control character.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, tokens.ReplaceAllString(s, tokenPrefix+"…"))
}
