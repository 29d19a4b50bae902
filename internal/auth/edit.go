package auth

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// AddToken returns what is in a file with a token more, of the identity of the name. If
// there is no such identity it is added at the end, with the rules; if there is one its
// rules stay, and there must be none to add. All else, comments too, stays as it is.
// data may be empty: then the file begins here. The error is of the file, as that of
// Parse, or says why the token can't be added.
func AddToken(path string, data []byte, name string, d Digest, rules []string) ([]byte, error) {
	if !validName(name) || name == Anonymous {
		return nil, fmt.Errorf("%s is no name of an identity with tokens: 1 to %d bytes of A-Z a-z 0-9 . _ -, not %s, off or required", quote(name), maxName, Anonymous)
	}
	for _, text := range rules {
		if _, err := parseRule(text); err != nil {
			return nil, fmt.Errorf("rule %s: %w", quote(text), err)
		}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		data = []byte("version = " + version + "\n")
	}
	r, err := read(path, data)
	if err != nil {
		return nil, err
	}
	for _, id := range r.entries {
		if id.name != name {
			continue
		}
		switch {
		case len(rules) > 0:
			return nil, fmt.Errorf("%s is in %s already, and its rules stay as they are: leave out the new ones", name, path)
		case len(id.tokens) >= maxTokens:
			return nil, fmt.Errorf("%s has %d tokens in %s, and there may be no more: remove one first", name, maxTokens, path)
		}
		data = r.insert(id, d)
		if _, err := Parse(path, data); err != nil {
			return nil, err
		}
		return data, nil
	}
	if !bytes.HasSuffix(data, []byte("\n")) {
		data = append(bytes.Clone(data), '\n')
	}
	data = append(bytes.Clone(data), "\n"+Block(name, d, rules)...)
	if _, err := Parse(path, data); err != nil {
		return nil, err
	}
	return data, nil
}

// insert puts a digest first among those of an identity.
func (r *reader) insert(id *entry, d Digest) []byte {
	digest := strconv.Quote(d.String())
	if id.tokensAt < 0 {
		return splice(r.data, id.nameAt, "tokens = ["+digest+"]\n")
	}
	at := id.tokensAt + bytes.IndexByte(r.data[id.tokensAt:], '[') + 1 // a key has none
	if len(id.tokens) > 0 {
		digest += ", "
	}
	return splice(r.data, at, digest)
}

func splice(data []byte, at int, text string) []byte {
	return bytes.Join([][]byte{data[:at], data[at:]}, []byte(text))
}

// Block returns an identity as a file has it.
func Block(name string, d Digest, rules []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[[identity]]\nname = %q\ntokens = [%q]\n", name, d.String())
	quoted := make([]string, len(rules))
	for i, rule := range rules {
		quoted[i] = strconv.Quote(rule)
	}
	fmt.Fprintf(&b, "allow = [%s]\n", strings.Join(quoted, ", "))
	return b.String()
}
