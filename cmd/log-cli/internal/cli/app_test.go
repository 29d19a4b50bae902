package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/logdtest"
)

// runWith runs a command line in which there is one command that talks to a server.
func runWith(t *testing.T, addr string, make func(a *App) *cobra.Command, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &App{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(name string) string { return map[string]string{CLIHostEnv: addr}[name] }}
	code = a.Run(t.Context(), a.Root([]*cobra.Command{make(a)}, nil), args)
	return code, out.String(), errs.String()
}

// failingCommand is a command that fails with err.
func failingCommand(err error) func(a *App) *cobra.Command {
	return func(a *App) *cobra.Command {
		cmd := &cobra.Command{Use: "fail", SuggestFor: []string{"crash"}, RunE: a.Do(func(context.Context, []string) error { return err })}
		a.FormatFlag(cmd)
		return cmd
	}
}

// TestExitCodes: what an error is decides the exit code, wherever it is wrapped.
func TestExitCodes(t *testing.T) {
	for err, want := range map[error]int{
		nil:                                  exit.Done,
		exit.ErrQuiet:                        exit.Done,
		errors.New("it broke"):               exit.Failed,
		logd.ErrInternal:                     exit.Failed,
		logd.ErrInvalidRequest:               exit.Usage,
		logd.ErrNoTopic:                      exit.NotFound,
		logd.ErrNoBatch:                      exit.NotFound,
		logd.ErrReadOnly:                     exit.Refused,
		logd.ErrTooLarge:                     exit.Refused,
		logd.ErrConnect:                      exit.Temporary,
		logd.ErrBusy:                         exit.Temporary,
		&logd.NotLeaderError{Addr: "x"}:      exit.Temporary,
		exit.With(exit.Damage, logd.ErrBusy): exit.Damage,
	} {
		cause := err
		if err != nil && err != exit.ErrQuiet {
			cause = fmt.Errorf("in between: %w", &logd.OpError{Op: "stats", Err: err})
		}
		code, stdout, stderr := runWith(t, "", failingCommand(cause), "fail")
		if code != want || stdout != "" || (stderr == "") != (want == exit.Done) {
			t.Errorf("%v: exit code %d, %q, %q, want %d", err, code, stdout, stderr, want)
		}
	}
	_, _, stderr := runWith(t, "", failingCommand(&logd.OpError{Op: "stats", Addr: "a:1", Err: logd.ErrBusy}), "fail")
	if stderr != "log-cli: stats at a:1: busy\n" {
		t.Errorf("standard error %q", stderr)
	}
}

// TestUsage: a line that is not understood runs nothing, and says what may be meant.
func TestUsage(t *testing.T) {
	for line, want := range map[string]string{
		"fial":                    `unknown command "fial" for "log-cli"; did you mean "fail"?`,
		"crash":                   `unknown command "crash" for "log-cli"; did you mean "fail"?`,
		"xyz":                     `unknown command "xyz" for "log-cli"`,
		"fail --formta json":      `unknown flag --formta; did you mean --format?`,
		"fail --json":             `unknown flag --json; did you mean --format json?`,
		"fail -x":                 `unknown flag -x`,
		"fail -o yaml":            `want text or json`,
		"fail -o json -o text":    `a second format; the first is "json"`,
		"fail --timeout 0s":       `--timeout is 0s: want more than 0`,
		"fail --read-timeout -1s": `--read-timeout is -1s: want more than 0`,
	} {
		code, _, stderr := runWith(t, "", failingCommand(errors.New("it ran")), strings.Fields(line)...)
		if code != exit.Usage || !strings.Contains(stderr, want) || !strings.Contains(stderr, "--help.\n") {
			t.Errorf("%s: exit code %d, %q, want %q", line, code, stderr, want)
		}
	}
	// The same format twice is no matter.
	if code, _, stderr := runWith(t, "", failingCommand(nil), "fail", "-o", "json", "--format", "json"); code != exit.Done {
		t.Errorf("one format twice: exit code %d, %q", code, stderr)
	}
}

// TestHost: --host is stronger than the environment, and what is wrong with either
// is said of it.
func TestHost(t *testing.T) {
	ping := func(a *App) *cobra.Command {
		return &cobra.Command{Use: "ping", RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			a.Note("%s", client.Addr())
			return client.Ping(ctx)
		})}
	}
	addr := logdtest.Start(t).Addr()
	for name, tt := range map[string]struct {
		env  string
		args []string
		code int
		says string
	}{
		"environment":     {addr, nil, exit.Done, addr},
		"flag":            {"none", []string{"--host", addr}, exit.Done, addr},
		"several":         {"", []string{"--host", "127.0.0.1:1, " + addr}, exit.Done, addr},
		"bad environment": {"none", nil, exit.Config, `LOGD_CLI_HOST is "none": want HOST:PORT`},
		"bad flag":        {addr, []string{"--host", "none"}, exit.Usage, `--host is "none": want HOST:PORT`},
		"nobody":          {"127.0.0.1:1", nil, exit.Temporary, "cannot connect"},
	} {
		code, _, stderr := runWith(t, tt.env, ping, append([]string{"ping"}, tt.args...)...)
		if code != tt.code || !strings.Contains(stderr, tt.says) {
			t.Errorf("%s: exit code %d, %q, want %d and %q", name, code, stderr, tt.code, tt.says)
		}
	}
}

// TestTopicWords: the topic is the first word or the flag's value, once.
func TestTopicWords(t *testing.T) {
	for line, want := range map[string]string{
		"t a":       `0 "t" [a]`,
		"-t t a":    `0 "t" [a]`,
		"-t t":      `0 "t" []`,
		"":          "2",
		"-t t -t u": "2",
	} {
		code, stdout, _ := runWith(t, "", func(a *App) *cobra.Command {
			var topic Topic
			cmd := &cobra.Command{Use: "words", RunE: a.Do(func(_ context.Context, args []string) error {
				rest, err := topic.Words(args)
				if err == nil {
					err = Printf(a.Stdout, "%q %v", topic.Name, rest)
				}
				return err
			}), Args: func(_ *cobra.Command, args []string) error { _, err := topic.Words(args); return err }}
			a.TopicFlag(cmd, &topic)
			return cmd
		}, append([]string{"words"}, strings.Fields(line)...)...)
		if got := strings.TrimSpace(fmt.Sprint(code, " ", stdout)); got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}

func TestPrintTable(t *testing.T) {
	var out strings.Builder
	a := &App{Stdout: &out}
	err := a.PrintTable("NAME\tSIZE\tWHY", func(row func(format string, args ...any)) {
		row("%s\t%d\t%s", "a", 5, "")
		row("%s\t%d\t%s", "long name", 123456, "because")
	})
	if want := "NAME       SIZE    WHY\na          5\nlong name  123456  because\n"; err != nil || out.String() != want {
		t.Errorf("%v:\n%s", err, &out)
	}
	a.Stdout = failingWriter{}
	if err := a.PrintTable("NAME", func(func(string, ...any)) {}); err != io.ErrShortWrite {
		t.Errorf("a table that can't be printed: %v", err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestFieldsJSON(t *testing.T) {
	fields := serverFields("Topic", "007", "MaxBatchSize", "65536", "Next", "9223372036854775807", "Version", "1", "State", "a \"b\"")
	want := `{"topic":"007","max_batch_size":65536,"next":9223372036854775807,"version":"1","state":"a \"b\""}`
	if got := string(FieldsJSON(fields, Snake)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := string(FieldsJSON(serverFields("bytes.in", "5"), nil)); got != `{"bytes.in":5}` {
		t.Error(got)
	}
}
