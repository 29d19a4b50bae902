package api_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestDocs types the commands of docs/http.md and compares what comes with what the page
// shows.
func TestDocs(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("there is no curl")
	}
	page, err := os.ReadFile("../../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, nil)
	stamp := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`)
	commands, command, want := 0, "", ""
	run := func() {
		if command == "" {
			return
		}
		commands++
		cmd := exec.Command("sh", "-c", strings.ReplaceAll(command, "127.0.0.1:1775", s.node.HTTPAddr().String()))
		got, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
		got = append(bytes.TrimSuffix(got, []byte("\n")), '\n') // also behind the body of one message
		if stamp.ReplaceAllString(string(got), "TIME") != stamp.ReplaceAllString(want, "TIME") {
			t.Errorf("%s\nprints\n%s\nand the page shows\n%s", command, got, want)
		}
		command, want = "", ""
	}
	for line := range strings.Lines(string(page)) {
		text, indented := strings.CutPrefix(line, "    ")
		next, is := strings.CutPrefix(text, "$ ")
		switch {
		case indented && is:
			run()
			command = strings.TrimSuffix(next, "\n")
		case indented && command != "":
			want += text
		default:
			run()
		}
	}
	run()
	if commands < 10 {
		t.Errorf("%d commands", commands)
	}
	// All names of problems and all keys of reading are there.
	for _, word := range []string{"from=PLACE", "after=ID", "to=PLACE", "limit=N", "max_bytes=N", "wait=MS", "gaps=skip", "id=ID", "fresh=1", "await=1", "Logd-Next", "Logd-End", "Last-Event-ID", "Idempotency-Key", "Logd-Producer"} {
		if !strings.Contains(string(page), word) {
			t.Errorf("the page does not say %s", word)
		}
	}
}
