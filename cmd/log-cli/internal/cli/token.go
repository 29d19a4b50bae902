package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
)

// token returns what shows who the user is, or nil if nothing does.
func (a *App) token() func(context.Context) (string, error) {
	if path := a.tokenPath(); path != "" {
		return logd.TokenFile(path)
	}
	if token := strings.TrimSpace(a.Getenv(TokenEnv)); token != "" {
		return logd.StaticToken(token)
	}
	return nil
}

// tokenPath returns the file that has the token, or nothing.
func (a *App) tokenPath() string {
	if a.tokenFile != "" {
		return a.tokenFile
	}
	if strings.TrimSpace(a.Getenv(TokenEnv)) != "" {
		return ""
	}
	return a.Getenv(TokenFileEnv)
}

// checkToken sees whether there is a token where the user says so, and warns if others
// can read it.
func (a *App) checkToken() error {
	token := a.token()
	if token == nil {
		return nil
	}
	if _, err := token(context.Background()); err != nil {
		return exit.With(exit.Config, fmt.Errorf("no token: %w", err))
	}
	path := a.tokenPath()
	if st, err := os.Stat(path); path != "" && err == nil && st.Mode().Perm()&0o077 != 0 {
		a.Note("others can read the token in %s (mode %04o): chmod 0600 %s", path, st.Mode().Perm(), path)
	}
	return nil
}

// hint returns the text of an error, and what to do if it is about a token.
func (a *App) hint(err error) string {
	text := Plain(err)
	switch {
	case errors.Is(err, logd.ErrPlainToken):
		return text + ", or --plain-token where nobody else is on the way"
	case !errors.Is(err, logd.ErrUnauthorized) || strings.Contains(text, "the token is not accepted"):
		return text
	case a.token() == nil && a.tls.dialer.Cert == "":
		return text + ": the server wants a token: --token-file or " + TokenEnv
	}
	op, _ := errors.AsType[*logd.OpError](err)
	if op == nil {
		return text
	}
	topic := op.Topic
	if topic == "" {
		topic = "*"
	}
	return text + ": the token's identity may not " + verbOf(op.Op) + " " + topic
}

// verbOf returns the verb of a rule that would allow an operation.
func verbOf(op string) string {
	switch op {
	case "append", "write", "close", "new writer":
		return "write"
	case "stats", "cluster", "groups":
		return "monitor"
	case "delete", "trim", "hooks", "retry hook", "skip hook", "transfer", "drain", "leave", "replace", "set":
		return "admin"
	}
	return "read"
}
