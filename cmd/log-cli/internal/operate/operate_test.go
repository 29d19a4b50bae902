package operate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/logdtest"
	"github.com/logd-dev/logd/logdtest/script"
)

// operate runs one of the commands against the server at addr.
func operate(t *testing.T, addr string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &cli.App{Stdin: strings.NewReader("y\n"), Stdout: &out, Stderr: &errs, Getenv: func(name string) string { return map[string]string{cli.CLIHostEnv: addr}[name] }}
	code = a.Run(t.Context(), a.Root(Commands(a), nil), args)
	return code, out.String(), errs.String()
}

// answering returns the address of a server that answers these requests.
func answering(t *testing.T, requestsAndBodies ...string) string {
	s := script.New(t)
	s.Play(script.Accept())
	for i := 0; i < len(requestsAndBodies); i += 2 {
		body := requestsAndBodies[i+1]
		s.Play(script.Expect(requestsAndBodies[i]), script.Answer(fmt.Sprintf("MOK %d\r\n%s\r\n", len(body), body)))
	}
	s.Play(script.ExpectClose())
	return s.Addr()
}

// A server that goes away while it is asked is said to do so.
func TestServerGoesAway(t *testing.T) {
	for _, command := range []string{"topics", "stats", "config", "ping", "hooks", "info t", "retention t", "delete t --yes", "trim t --before 5 --yes"} {
		s := script.New(t)
		s.Play(script.Accept(), script.ExpectBytes(4), script.Cut())
		code, stdout, stderr := operate(t, s.Addr(), strings.Fields(command)...)
		if code != exit.Temporary || stdout != "" || !strings.Contains(stderr, "connection lost") {
			t.Errorf("%s: exit code %d, %q, %q", command, code, stdout, stderr)
		}
	}
}

// A command is not run if its words or flags make no sense.
func TestUsage(t *testing.T) {
	for _, line := range []string{
		"topics x", "topics --table --names", "info", "info a b", "stats x", "config x", "ping x", "hooks x", "hooks retry t", "hooks skip t x", "hooks skip t -1",
		"retention", "retention t --partitions -1", "retention t --retention-age -1s", "delete", "delete t", "trim t --yes", "trim t --before nowhere --yes", "trim t --before 5",
	} {
		code, stdout, stderr := operate(t, "127.0.0.1:1", strings.Fields(line)...)
		if code != exit.Usage || stdout != "" || !strings.HasSuffix(stderr, "--help.\n") {
			t.Errorf("%s: exit code %d, %q, %q", line, code, stdout, stderr)
		}
	}
}

func TestHooks(t *testing.T) {
	const body = "topic=a base=0 end=120 state=running attempts=0\r\n" +
		"topic=b base=7 end=9 state=failed attempts=3 next=2026-01-02T03:04:05.678Z error=no room\r\n"
	code, stdout, _ := operate(t, answering(t, "HOOKS", body), "hooks")
	want := `TOPIC  BASE  END  STATE    ATTEMPTS  NEXT                  ERROR
a      0     120  running  0         -
b      7     9    failed   3         2026-01-02T03:04:05Z  no room
`
	if code != exit.Done || stdout != want {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	code, stdout, _ = operate(t, answering(t, "HOOKS", body), "hooks", "-o", "json")
	want = `{"topic":"a","base":0,"end":120,"state":"running","attempts":0}
{"topic":"b","base":7,"end":9,"state":"failed","attempts":3,"next":"2026-01-02T03:04:05.678Z","error":"no room"}
`
	if code != exit.Done || stdout != want {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	if code, stdout, stderr := operate(t, answering(t, "HOOKS", ""), "hooks"); code != exit.Done || stdout != "" || stderr != "log-cli: no partition waits for a hook\n" {
		t.Errorf("none: exit code %d, %q, %q", code, stdout, stderr)
	}
}

// What the flags of retention ask about is what the server is asked about.
func TestRetention(t *testing.T) {
	const body = "base=0 end=3000 verdict=remove why=partitions messages=5 newest=2026-01-02T03:04:05Z\r\n" +
		"base=3000 end=5000 verdict=keep after-partitions=1 after-bytes=2000 at=2026-01-03T03:04:05Z\r\n"
	for flags, request := range map[string]string{
		"":                                      "RETENTION t",
		"--partitions 0":                        "RETENTION t partitions=0",
		"--partitions 3 --retention-bytes 1KiB": "RETENTION t partitions=3 bytes=1024",
		"--retention-age 90s --retention-bytes 0 --partitions 1": "RETENTION t partitions=1 bytes=0 age=90000",
	} {
		code, stdout, stderr := operate(t, answering(t, request, body), append([]string{"retention", "t"}, strings.Fields(flags)...)...)
		want := `BASE  END   BYTES   NEWEST                VERDICT  BECAUSE
0     3000  3.0 kB  2026-01-02T03:04:05Z  remove   partitions
3000  5000  2.0 kB  -                     keep     until a partition is begun, or until 2.0 kB more are written, or until 2026-01-03T03:04:05Z
`
		if code != exit.Done || stdout != want {
			t.Errorf("%s: exit code %d, %s\n%s", flags, code, stderr, stdout)
		}
	}
}

// TestTopics of a real server: what is printed as a table is there as JSON, too.
func TestTopics(t *testing.T) {
	server := logdtest.Start(t)
	client := server.Client(t)
	for _, topic := range []string{"b", "a", "a"} {
		if _, err := client.AppendMessage(t.Context(), topic, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	if code, stdout, stderr := operate(t, server.Addr(), "topics"); code != exit.Done || stdout != "a\nb\n" {
		t.Errorf("names: exit code %d, %q, %q", code, stdout, stderr)
	}
	code, stdout, _ := operate(t, server.Addr(), "topics", "--table")
	if lines := strings.Split(stdout, "\n"); code != exit.Done || len(lines) != 4 || strings.Join(strings.Fields(lines[0]), " ") != "NAME SIZE MESSAGES OLDEST NEWEST STATE" ||
		!strings.HasPrefix(lines[1], "a ") || !strings.HasSuffix(lines[1], "  writable") {
		t.Errorf("table: exit code %d\n%s", code, stdout)
	}
	_, stdout, _ = operate(t, server.Addr(), "topics", "--table", "-o", "json")
	var found []string
	for line := range strings.Lines(stdout) {
		var topic struct {
			Topic    string
			Messages int
			State    string
		}
		if err := json.Unmarshal([]byte(line), &topic); err != nil {
			t.Fatal(err)
		}
		found = append(found, fmt.Sprint(topic))
	}
	if fmt.Sprint(found) != "[{a 2 writable} {b 1 writable}]" {
		t.Errorf("as JSON: %s", found)
	}
}

// TestRemoving: nothing goes without a yes, and what goes is what was announced.
func TestRemoving(t *testing.T) {
	server := logdtest.Start(t, logdtest.PartitionSize(128))
	client := server.Client(t)
	for range 4 {
		if _, err := client.AppendMessage(t.Context(), "t", make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		line, stdout string
		code         int
	}{
		{"delete none --dry-run", "", exit.NotFound},
		{"trim t --before 190 --dry-run", "would remove from topic \"t\": 2 messages (190 B) in 2 partitions, all before offset 190\n", exit.Done},
		{"delete t --dry-run", "would delete topic \"t\": 4 messages (380 B) in 4 partitions; no delete hook would run\n", exit.Done},
		{"trim t --before 190", "", exit.Usage},
		{"delete t", "", exit.Usage},
		{"trim t --before 190 --yes", "removed from topic \"t\": 2 messages (190 B) in 2 partitions; the oldest offset is 190\n", exit.Done},
		{"trim t --before 190 --yes", "nothing to remove from topic \"t\": no partition ends at or before offset 190; the oldest is 190\n", exit.Done},
		{"delete t --yes --now -o json", `{"topic":"t","dry_run":false,"partitions":2,"messages":2,"bytes":190}` + "\n", exit.Done},
		{"delete t --yes", "", exit.NotFound},
	} {
		code, stdout, stderr := operate(t, server.Addr(), strings.Fields(step.line)...)
		if code != step.code || stdout != step.stdout {
			t.Errorf("%s: exit code %d, %q, %q, want %d, %q", step.line, code, stdout, stderr, step.code, step.stdout)
		}
	}
}
