package read

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/logdtest"
)

// readAt runs read against the server at addr.
func readAt(t *testing.T, addr string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &cli.App{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(name string) string { return map[string]string{cli.CLIHostEnv: addr}[name] }}
	code = a.Run(t.Context(), a.Root([]*cobra.Command{Command(a)}, nil), append([]string{"read"}, args...))
	return code, out.String(), errs.String()
}

// TestRanges: every way to say where to begin and to end means the same messages.
func TestRanges(t *testing.T) {
	server := logdtest.Start(t)
	client := server.Client(t)
	var offsets []int64
	for i := range 6 {
		id, err := client.AppendMessage(t.Context(), "t", fmt.Append(nil, i))
		if err != nil {
			t.Fatal(err)
		}
		offsets = append(offsets, id.Offset)
	}
	at := func(i int) string { return fmt.Sprint(offsets[i]) }
	for _, tt := range []struct{ args, want string }{
		{"", "012345"},
		{"--from start --to end", "012345"},
		{"--from " + at(2), "2345"},
		{"--offset " + at(2) + " --to " + at(4), "23"},
		{"--from -2", "45"},
		{"--last 2", "45"},
		{"--last 4 --limit 1", "2"},
		{"--to -2", "0123"},
		{"--since 1h --limit 2", "01"},
		{"--from end", ""},
		{"--grep [135]", "135"},
		{"--grep [135] --invert --limit 2", "02"},
		{"-F --limit 6", "012345"},
	} {
		code, stdout, stderr := readAt(t, server.Addr(), append([]string{"t"}, strings.Fields(tt.args)...)...)
		if got := strings.ReplaceAll(stdout, "\n", ""); code != exit.Done || got != tt.want {
			t.Errorf("%s: exit code %d, %q, want %q; %s", tt.args, code, got, tt.want, stderr)
		}
	}
	for args, says := range map[string]string{
		"--from 1":    fmt.Sprintf("offset 1 of topic \"t\" is not the beginning of a batch; the next one begins at %s", at(1)),
		"--from 1000": "is beyond the end",
		"--from 0.5":  fmt.Sprintf("0.5 of topic \"t\" is not the beginning of a message; the next one begins at %s", at(1)),
	} {
		code, stdout, stderr := readAt(t, server.Addr(), append([]string{"t"}, strings.Fields(args)...)...)
		if code != exit.NotFound || stdout != "" || !strings.Contains(stderr, says) {
			t.Errorf("%s: exit code %d, %q, %q, want %q", args, code, stdout, stderr, says)
		}
	}
	if code, _, stderr := readAt(t, server.Addr(), "tt"); code != exit.NotFound || !strings.Contains(stderr, `there is no topic "tt"; did you mean "t"?`) {
		t.Errorf("no topic: exit code %d, %q", code, stderr)
	}
}

// TestFlagsThatDoNotGoTogether are said to be those, before anybody is asked.
func TestFlagsThatDoNotGoTogether(t *testing.T) {
	for args, says := range map[string]string{
		"--from 5 --since 1h":     "--from and --since both say where to begin",
		"--last 3 --offset 5":     "--last and --offset both say where to begin",
		"--from 5 --to 4":         "--from is behind --to",
		"-F --to 5":               "--read-forever has no end",
		"--invert":                "want --grep",
		"--grep (":                "--grep: ",
		"--limit -1":              "must not be negative",
		"-o %s -n":                "a pattern says it all",
		"-o %q":                   `"%q" is unknown`,
		"-o yaml":                 "want text or json, or a pattern such as '%T %s\\n'",
		"-o json -o %s":           `a second format; the first is "json"`,
		"-o %s -o json":           `a second format; the first is "%s"`,
		"-n 3":                    "-n takes no number: --limit does",
		"-5":                      "did you mean --last 5?",
		"--follow":                "did you mean --read-forever?",
		"--from nowhere":          "want start, end, OFFSET",
		"--topic t --topic other": `a second topic; the first is "t"`,
	} {
		code, stdout, stderr := readAt(t, "127.0.0.1:1", append([]string{"t"}, strings.Fields(args)...)...)
		if code != exit.Usage || stdout != "" || !strings.Contains(stderr, says) {
			t.Errorf("%s: exit code %d, %q, %q, want %q", args, code, stdout, stderr, says)
		}
	}
}
