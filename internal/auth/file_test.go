package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const someToken = "logd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// TestBadFiles: what is wrong is told with its line and key, and no message has a
// token, wherever it stands.
func TestBadFiles(t *testing.T) {
	digest := Sum([]byte(someToken)).String()
	id := func(lines ...string) string {
		return "version = 1\n[[identity]]\nname = \"a\"\n" + strings.Join(lines, "\n") + "\n"
	}
	for _, test := range []struct{ text, err string }{
		{"", "auth.toml: version: missing: the file begins with version = 1"},
		{"version = 2\n", "auth.toml:1: version: not a version that this logd knows, which is 1"},
		{"version = \"1\"\n", "auth.toml:1: version: not a version that this logd knows, which is 1"},
		{"version = 1\nversion = 1\n", "auth.toml:2: not TOML: "},
		{"version = 1\nx = 1\n", "auth.toml:2: x: unknown key; before the first [[identity]] there is version alone"},
		{"version = 1\n[identity]\nname = \"a\"\n", "auth.toml:2: [identity]: unknown table; there is [[identity]], any number of times"},
		{"version = 1\n[[identities]]\n", "auth.toml:2: [identities]: unknown table"},
		{id("[identity.x]"), "auth.toml:4: [identity.x]: unknown table"},
		{"version = 1\nidentity = []\n", "auth.toml:2: identity: unknown key"},
		{"version = 1\n[[identity]]\nallow = []\n", "auth.toml:2: name: missing: an identity has one"},
		{"version = 1\n[[identity]]\nname = \"\"\n", `auth.toml:3: name: "" is not 1 to 64 bytes`},
		{"version = 1\n[[identity]]\nname = 1\n", "auth.toml:3: name: not text in quotes"},
		{"version = 1\n[[identity]]\nname = \"off\"\n", `auth.toml:3: name: "off" is not 1 to 64 bytes`},
		{"version = 1\n[[identity]]\nname = \"required\"\n", `auth.toml:3: name: "required" is not 1 to 64 bytes`},
		{"version = 1\n[[identity]]\nname = \"a b\"\n", `auth.toml:3: name: "a b" is not 1 to 64 bytes`},
		{"version = 1\n[[identity]]\nname = \"\u212a\"\n", "auth.toml:3: name: \"\u212a\" is not 1 to 64 bytes"}, // its small letter is k
		{"version = 1\n[[identity]]\nname = \"a\u00e9\"\n", "is not 1 to 64 bytes"},
		{"version = 1\n[[identity]]\nname = \"" + strings.Repeat("a", 65) + "\"\n", "is not 1 to 64 bytes"},
		{id("[[identity]]", `name = "a"`), "auth.toml:5: name: a is there already, in line 3"},
		{id("name.x = 1"), "auth.toml:4: not TOML"},
		{id("x.y = 1"), "auth.toml:4: x.y: unknown key of an identity"},
		{id("", "", "colour = 1"), "auth.toml:6: colour: unknown key of an identity; there are name, tokens, certs, uids, gids, allow, write-rate, read-rate and connections"},

		{id(`tokens = "` + digest + `"`), "auth.toml:4: tokens: not an array of texts in quotes"},
		{id("tokens = [1]"), "auth.toml:4: tokens: not all of the array is text in quotes"},
		{id(`tokens = ["` + digest + `", "` + someToken + `"]`), "auth.toml:4: tokens: the one at place 2 is not sha256: and 64 hexadecimal digits, which log-cli token hash makes of a token"},
		{id(`tokens = ["sha256:` + strings.Repeat("0", 63) + `g"]`), "the one at place 1 is not sha256:"},
		{id(`tokens = ["` + digest + `", "` + "sha256:" + strings.ToUpper(digest[7:]) + `"]`), "auth.toml:4: tokens: the token at place 2 is there already, in line 4"},
		{id(`tokens = ["`+digest+`"]`, "[[identity]]", `name = "b"`, `tokens = ["`+digest+`"]`), "auth.toml:7: tokens: the token at place 1 is there already, in line 4"},
		{id(fmt.Sprintf("tokens = [%s]", fiveTokens())), "auth.toml:4: tokens: 5 of them; there may be 4"},
		{id(`certs = ["` + someToken + `"]`), `auth.toml:4: certs: "logd_…" is not dns:, uri: or cn: and a name`},
		{id(`certs = ["dns:"]`), `auth.toml:4: certs: "dns:" is not`},
		{id(`certs = ["email:a@example"]`), `auth.toml:4: certs: "email:a@example" is not`},
		{id(`certs = ["cn:a"]`, "[[identity]]", `name = "b"`, `certs = ["cn:a"]`), `auth.toml:7: certs: "cn:a" is there already, in line 4`},
		{id("uids = [-1]"), "auth.toml:4: uids: not all of the array is numbers of users or groups"},
		{id("uids = [4294967295]"), "auth.toml:4: uids: not all"},
		{id(`uids = ["root"]`), "auth.toml:4: uids: not all"},
		{id("uids = [0, 0]"), "auth.toml:4: uids: uid 0 is there already, in line 4"},
		{id("gids = [7]", "[[identity]]", `name = "b"`, "gids = [7]"), "auth.toml:7: gids: gid 7 is there already, in line 4"},

		{id(`allow = "read *"`), "auth.toml:4: allow: not an array of texts in quotes"},
		{id(`allow = ["read"]`), `auth.toml:4: allow: "read": not VERB[,VERB…] PATTERN`},
		{id(`allow = ["read "]`), `auth.toml:4: allow: "read ": no pattern`},
		{id(`allow = ["read  *"]`), "matches no topic"},
		{id(`allow = ["READ *"]`), `auth.toml:4: allow: "READ *": no verb is "READ"`},
		{id(`allow = ["read, write *"]`), `no verb is ""`},
		{id(`allow = ["read,read *"]`), "read twice"},
		{id(`allow = ["read orders*?"]`), `the pattern "orders*?" matches no topic: names are of A-Z a-z 0-9 . _ -`},
		{id(`allow = ["read orders/*"]`), `allow: "read orders/*": a pattern of consumers, behind a /, is for the verb position alone`},
		{id(`allow = ["read,position orders/*"]`), "a pattern of consumers, behind a /, is for the verb position alone"},
		{id(`allow = ["position orders/"]`), "consumers: no pattern"},
		{id(`allow = ["position orders/a/b"]`), `consumers: the pattern "a/b" matches`},
		{id(`allow = ["read ` + strings.Repeat("*", 9) + `"]`), "a pattern with 9 stars; there may be 8"},
		{id(`allow = ["read ` + strings.Repeat("a", 256) + `"]`), "a pattern of 256 bytes; there may be 255"},
		{id(`allow = ["monitor orders"]`), "monitor is about the server as a whole: its pattern is *"},
		{id(`allow = ["` + someToken + ` *"]`), `no verb is "logd_…"`},
		{id(`write-rate = "20M"`), "auth.toml:4: write-rate: the unit is ambiguous"},
		{id("read-rate = 0"), "auth.toml:4: read-rate: not 1 byte a second or more"},
		{id("read-rate = 1.5"), "auth.toml:4: read-rate: not a number"},
		{id("connections = 0"), "auth.toml:4: connections: not 1 or more"},
		{id("connections = 4294967296"), "auth.toml:4: connections: not 1 or more"},
		{"version = 1\n[[identity]]\nname = \"anonymous\"\nuids = []\n", "auth.toml:2: anonymous has no tokens, certs, uids or gids"},
		{"version = 1\n[[identity]]\n" + someToken + " = 1\n" + someToken + " = 2\n", "auth.toml:4: not TOML"},
		{"version = 1\n[[identity]]\nname = \"a\n" + someToken + "\n", "not TOML"},
		{"version = 1\n[[identity]]\n\"" + someToken + "\" = 1\nname = \"a\"\n", `auth.toml:3: "logd_…": unknown key`},
	} {
		p, err := Parse("auth.toml", []byte(test.text))
		if err == nil || p != nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%q:\n%v, want\n%s", test.text, err, test.err)
			continue
		}
		if strings.Contains(err.Error(), someToken) || strings.Contains(err.Error(), digest) {
			t.Errorf("a token is shown: %v", err)
		}
		if e, ok := errors.AsType[*Error](err); !ok || e.File != "auth.toml" {
			t.Errorf("%q: %T", test.text, err)
		}
	}
}

func fiveTokens() string {
	var all []string
	for i := range 5 {
		all = append(all, `"`+Sum([]byte{byte(i)}).String()+`"`)
	}
	return strings.Join(all, ",")
}

// TestAllProblems: a file with many mistakes is told all of them, but not without end.
func TestAllProblems(t *testing.T) {
	_, err := Parse("f", []byte("version = 1\n[[identity]]\nname = \"a\"\nx = 1\ny = 2\nallow = [\"z\"]\n"))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("%v", err)
	}
	_, err = Parse("f", []byte("version = 1\n"+strings.Repeat("[[identity]]\nname = \"a\"\n", 1000)))
	if err == nil || strings.Count(err.Error(), "\n") != maxProblems-1 {
		t.Errorf("%v", err)
	}
}

func TestLimits(t *testing.T) {
	var b strings.Builder
	b.WriteString("version = 1\n")
	for i := range maxIdentities {
		fmt.Fprintf(&b, "[[identity]]\nname = \"i%d\"\nuids = [%d]\n", i, i)
	}
	if p := policy(t, b.String()); len(p.Identities()) != maxIdentities || p.ByPeer(9999, 0).Name() != "i9999" {
		t.Errorf("%d identities", len(p.Identities()))
	}
	b.WriteString("[[identity]]\nname = \"one-more\"\n")
	if _, err := Parse("f", []byte(b.String())); err == nil || !strings.Contains(err.Error(), "more than 10000 identities") {
		t.Errorf("%v", err)
	}
	if _, err := Parse("f", []byte("version = 1\n"+strings.Repeat("#", maxFile))); err == nil || !strings.Contains(err.Error(), "larger than 4MiB") {
		t.Errorf("%v", err)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.toml")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(path, []byte("\xef\xbb\xbf"+file), 0o644); err != nil {
		t.Fatal(err)
	}
	if p, err := Load(path); err != nil || len(p.Identities()) != 4 {
		t.Errorf("%v", err)
	}
	for mode, open := range map[fs.FileMode]bool{0o600: false, 0o640: false, 0o660: true, 0o602: true, 0o666: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if (err != nil) != open || open && !strings.Contains(err.Error(), "others than its owner can write it") {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a folder is read")
	}
}

// FuzzFile: whatever is in a file, it is refused with its name, or its identities are
// as they must be.
func FuzzFile(f *testing.F) {
	f.Add([]byte(file))
	f.Add([]byte("version = 1\n"))
	f.Add([]byte("version = 1\n[[identity]]\nname = \"a\"\ntokens = [\"" + someToken + "\"]\n"))
	f.Add([]byte("version = 1\n[[identity]]\nname = \"anonymous\"\nallow = [\"read *\"]\nuids=[1]\n"))
	f.Add([]byte("version = 1\nidentity = [{name = \"a\"}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("the-file", data)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "the-file:") || tokens.MatchString(line) {
					t.Errorf("%q", line)
				}
			}
			return
		}
		names := make(map[string]bool)
		for _, id := range p.Identities() {
			if names[id.Name()] || !validName(id.Name()) || p.Tokens(id) > maxTokens || id.writeRate < 0 || id.connections < 0 || p.ByName(id.Name()) != id {
				t.Errorf("%+v", id)
			}
			names[id.Name()] = true
			for _, text := range id.Rules() {
				if _, err := parseRule(text); err != nil {
					t.Errorf("%q: %v", text, err)
				}
			}
		}
		if id := p.Anonymous(); id != nil && (id.Name() != Anonymous || p.Tokens(id) > 0 || len(id.Rules()) == 0) {
			t.Errorf("%+v", id)
		}
		if again := policy(t, string(data)); again.Digest() != p.Digest() || len(again.Identities()) != len(p.Identities()) {
			t.Error("not the same the second time")
		}
	})
}
