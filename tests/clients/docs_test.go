package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/internal/testkit"
)

// TestDocs types what docs/clients.md says of each language, in its order, against a
// server, and compares what is printed.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	typeSection := func(t *testing.T, heading string, least int) {
		_, section, ok := strings.Cut(string(text), "\n## "+heading+"\n")
		if !ok {
			t.Fatalf("docs/clients.md says nothing of %s", heading)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		s := serve(t)
		d := &typist{t: t, addr: s.addr, http: s.http}
		if d.section(section); d.compared < least {
			t.Errorf("%d outputs of %s were compared, want %d at least", d.compared, heading, least)
		}
	}
	t.Run("shell", func(t *testing.T) { typeSection(t, "Shell", 1) })
	t.Run("go", func(t *testing.T) { typeSection(t, "Go", 2) })
	each(t, func(t *testing.T, l language) {
		typeSection(t, map[string]string{"python": "Python", "js": "JavaScript"}[l.name], 3)
	})
}

// TestDocsCanFail types what is wrong.
func TestDocsCanFail(t *testing.T) {
	if got := compareText("0.0\n1.0\n", "0.0\n2.0\n"); got == "" {
		t.Error("two texts that differ are equal")
	}
}

// typist types what a page says.
type typist struct {
	t        *testing.T
	addr     string
	http     string
	exports  []string
	compared int
}

// section types a section: commands in indented blocks, and programs in fenced ones,
// whose output is the next indented block.
func (d *typist) section(text string) {
	d.t.Helper()
	for i, part := range strings.Split("\n"+text, "\n```") {
		if i%2 == 1 {
			if lang, code, ok := strings.Cut(part, "\n"); ok {
				_, after, _ := strings.Cut(text, code)
				d.program(lang, code, firstBlock(after))
			}
			continue
		}
		var lines []string
		for line := range strings.Lines(part) {
			if rest, ok := strings.CutPrefix(line, "    "); ok {
				lines = append(lines, strings.TrimSuffix(rest, "\n"))
			}
		}
		for len(lines) > 0 {
			command, ok := strings.CutPrefix(lines[0], "$ ")
			lines = lines[1:]
			var want []string
			for len(lines) > 0 && !strings.HasPrefix(lines[0], "$ ") {
				want, lines = append(want, lines[0]), lines[1:]
			}
			if ok {
				d.command(command, strings.Join(append(want, ""), "\n"))
			}
		}
	}
}

// firstBlock returns the indented block that begins a text, behind one paragraph.
func firstBlock(text string) string {
	var block strings.Builder
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "    ")
		switch {
		case ok:
			block.WriteString(rest)
		case block.Len() > 0 || strings.HasPrefix(line, "#"):
			return block.String()
		}
	}
	return block.String()
}

func (d *typist) environment() []string {
	return append(os.Environ(), append(d.exports, "LOGD_CLI_HOST="+d.addr, "LOGD_HTTP=http://"+d.http, "PYTHONDONTWRITEBYTECODE=1",
		"PATH="+built+":"+os.Getenv("PATH"))...)
}

func (d *typist) command(command, want string) {
	d.t.Helper()
	if setting, ok := strings.CutPrefix(command, "export "); ok {
		d.exports = append(d.exports, setting)
		return
	}
	command, forever := strings.CutSuffix(command, "    # until Ctrl-C")
	cmd := exec.Command("bash", "-c", "exec "+command)
	if strings.Contains(command, "|") {
		cmd = exec.Command("bash", "-c", command)
	}
	cmd.Dir, cmd.Env = "../..", d.environment()
	out := new(testkit.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to be interrupted as by a terminal
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	if forever {
		await(d.t, command+" prints", func() bool { return len(out.String()) >= len(want) })
		syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	}
	if err := cmd.Wait(); err != nil && !forever {
		d.t.Errorf("$ %s\n%v\n%s", command, err, out)
	}
	if want != "\n" && want != "" {
		d.compared++
		if diff := compareText(out.String(), want); diff != "" {
			d.t.Errorf("$ %s\n%s", command, diff)
		}
	}
}

// program runs a whole program.
func (d *typist) program(lang, code, want string) {
	d.t.Helper()
	name, program := "program.py", "python3"
	switch lang {
	case "python":
	case "js":
		name, program = "program.mjs", "node"
	default:
		return
	}
	d.compared++
	root, err := filepath.Abs("../..")
	if err != nil {
		d.t.Fatal(err)
	}
	code = strings.ReplaceAll(code, "127.0.0.1:1774", d.addr)
	code = strings.ReplaceAll(code, "./clients/js/index.js", root+"/clients/js/index.js")
	file := filepath.Join(d.t.TempDir(), name)
	write(d.t, file, code)
	cmd := exec.Command(program, file)
	cmd.Env = append(d.environment(), "PYTHONPATH="+root+"/clients/python")
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Errorf("%v\n%s\n%s", err, out, code)
	}
	if diff := compareText(string(out), want); diff != "" {
		d.t.Errorf("%s\n%s", code, diff)
	}
}

func compareText(got, want string) string {
	if strings.TrimSpace(got) == strings.TrimSpace(want) {
		return ""
	}
	return "prints\n" + got + "the page says\n" + want
}
