package cli

import (
	"errors"
	"fmt"
	"testing"

	"github.com/logd-dev/logd"
)

// TestVerbOf: what the message names is a right that would help.
func TestVerbOf(t *testing.T) {
	for verb, ops := range map[string][]string{
		"write":   {"append", "write", "close", "new writer"},
		"read":    {"read", "tail", "scan", "seek", "times", "info", "retention", "topics", "config"},
		"monitor": {"stats", "cluster", "groups"},
		"admin":   {"delete", "trim", "hooks", "retry hook", "skip hook", "transfer", "drain", "leave", "replace", "set"},
	} {
		for _, op := range ops {
			if got := verbOf(op); got != verb {
				t.Errorf("%s: %s, want %s", op, got, verb)
			}
		}
	}
}

func TestHint(t *testing.T) {
	refused := func(op, topic string) error {
		return fmt.Errorf("failed: %w", &logd.OpError{Op: op, Topic: topic, Addr: "h:1", Err: logd.ErrUnauthorized})
	}
	for _, tc := range []struct {
		name  string
		token string
		cert  string
		err   error
		want  string // behind the error's text
	}{
		{"another error", "", "", errors.New("no such thing"), ""},
		{"no token", "", "", refused("read", "t"), ": the server wants a token: --token-file or LOGD_TOKEN"},
		{"no right", "x", "", refused("append", "t"), ": the token's identity may not write t"},
		{"no right by certificate", "", "client.pem", refused("read", "t"), ": the token's identity may not read t"},
		{"no right, of no topic", "x", "", refused("stats", ""), ": the token's identity may not monitor *"},
		{"wrong token", "x", "", fmt.Errorf("the token is not accepted: %w", logd.ErrUnauthorized), ""},
		{"of no operation", "x", "", logd.ErrUnauthorized, ""},
		{"in the open", "x", "", logd.ErrPlainToken, ", or --plain-token where nobody else is on the way"},
	} {
		a := &App{Getenv: func(name string) string { return map[string]string{TokenEnv: tc.token}[name] }}
		a.tls.dialer.Cert = tc.cert
		if got, want := a.hint(tc.err), Plain(tc.err)+tc.want; got != want {
			t.Errorf("%s: %s\nwant %s", tc.name, got, want)
		}
	}
}
