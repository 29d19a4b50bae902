package tests

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReadme types what README's tour says, in its order, and compares what
// comes back.
func TestReadme(t *testing.T) {
	t.Parallel()
	s := start(t, filepath.Join(t.TempDir(), "logs"))
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	tour := func(heading string) (lines []string) {
		_, text, ok := strings.Cut(string(readme), "\n### "+heading+"\n")
		if !ok {
			t.Fatalf("README has no tour %q", heading)
		}
		text, _, _ = strings.Cut(text, "\n### ")
		for line := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(line, "    "); ok || line == "\n" && len(lines) > 0 {
				lines = append(lines, strings.TrimSuffix(rest, "\n"))
			}
		}
		return lines
	}

	dir := t.TempDir()
	shell := func(lines []string) { typeLines(t, s, dir, lines) }
	shell(tour("With log-cli"))

	c, err := net.DialTimeout("tcp", s.addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(c)
	lines := tour("With nc")[1:]
	for _, typed := range []struct{ lines, answer int }{{1, 1}, {3, 1}, {1, 4}, {1, 1}} {
		fmt.Fprint(c, strings.Join(lines[:typed.lines], "\r\n")+"\r\n")
		lines = lines[typed.lines:]
		for _, want := range lines[:typed.answer] {
			if got, err := r.ReadString('\n'); err != nil || got != want+"\r\n" {
				t.Fatalf("the server answers %q (%v), README says %q", got, err, want)
			}
		}
		lines = lines[typed.answer:]
	}

	if _, err := exec.LookPath("curl"); err != nil {
		t.Log("curl is not installed; its tour is left out")
	} else {
		shell(tour("With curl"))
	}
	shell(tour("With log-forwarder"))
}

// TestReadmeProgram runs README's program as it says, in a module of its own.
func TestReadmeProgram(t *testing.T) {
	t.Parallel()
	s := start(t, filepath.Join(t.TempDir(), "logs"))
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(readme), "\n### From Go\n")
	text, _, _ = strings.Cut(text, "\n## ")
	_, text, _ = strings.Cut(text, "```go\n")
	program, text, ok := strings.Cut(text, "```\n")
	const nowhere = "logd.ClientConfig{}"
	if !ok || strings.Count(program, nowhere) != 1 {
		t.Fatalf("README has no program that uses %s once:\n%s", nowhere, program)
	}
	program = strings.Replace(program, nowhere, fmt.Sprintf("logd.ClientConfig{Addrs: []string{%q}}", s.addr), 1)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	clone, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	const last = "go run ."
	var got []byte
	for line := range strings.Lines(text) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if !ok {
			continue
		}
		cmd := exec.Command("sh", "-c", strings.Replace(command, "=../logd", "="+clone, 1))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if got, err = cmd.Output(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, stderr.String())
		}
		if command == last {
			break
		}
	}
	if string(got) != "hello\n" {
		t.Errorf("README's program prints %q, want hello", got)
	}
}

// typeLines types the commands of lines, each behind "$ ", in a folder, and compares what
// comes back with what stands below it, if there is something.
func typeLines(t *testing.T, s *server, dir string, lines []string) {
	t.Helper()
	for len(lines) > 0 {
		command, ok := strings.CutPrefix(lines[0], "$ ")
		lines = lines[1:]
		var want []string
		for len(lines) > 0 && !strings.HasPrefix(lines[0], "$ ") {
			want, lines = append(want, lines[0]), lines[1:]
		}
		if !ok || strings.Contains(command, "Ctrl-C") {
			continue
		}
		command = strings.ReplaceAll(command, "127.0.0.1:1775", s.http)
		cmd := exec.Command("sh", "-c", command)
		cmd.Env = append(environment(), "LOGD_HOST="+s.addr, "PATH="+filepath.Dir(built.cli)+":"+os.Getenv("PATH"))
		cmd.Dir = dir
		got, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
		text := func(s string) string { return strings.TrimRight(strings.ReplaceAll(s, "\r", ""), "\n") }
		if want := text(strings.Join(want, "\n")); want != "" && text(string(got)) != want {
			t.Errorf("$ %s\n%s\nREADME says\n%s", command, got, want)
		}
	}
}
