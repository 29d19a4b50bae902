package forward

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// seededPlace is a place in the source where there could be a bug, and the tests of which
// one has to see it.
type seededPlace struct {
	file, old, new, judges string
}

var seededPlaces = []seededPlace{
	{"internal/forward/deliver/source.go",
		`	if len(s.covered) == 0 {
`, `	if len(s.covered) == 0 || bug("a restart sends again what was sent") {
`, "^TestKill$"},
	{"internal/forward/deliver/source.go",
		`return r.Topic == topic && r.From.At <= line.From.At && line.To.At <= r.To.At
`, `return r.Topic == topic && r.From.At <= line.From.At && (line.To.At <= r.To.At || line.From.At <= r.To.At && bug("a restart leaves out the next line"))
`, "^TestKill$"},
	{"internal/forward/deliver/spill.go",
		`	raw := b.b.Raw(l.topic)
	if b.reserved`, `	raw := b.b.Raw(l.topic)
	if bug("the ledger before the spool") {
		if moved := b.settle(); len(moved.pos) > 0 {
			l.d.ledger.Moved(moved.pos...)
		}
		b.saved()
		time.Sleep(10 * time.Millisecond)
	}
	if b.reserved`, "^TestKill$"},
	{"internal/forward/files/look.go",
		`	t.rotated = true
	t.grown = time.Now()
`, `	t.rotated = true
	t.complete = bug("a rotated file is not read to its end")
	t.grown = time.Now()
`, "^TestStorm$/^rename$"},
	{"internal/forward/files/turn.go",
		`end && (t.finishing || in.m.o.Once))
	if`, `end && (t.finishing || in.m.o.Once || bug("a line that was begun is one")))
	if`, "^TestOdd$"},
	{"internal/forward/files/rest.go",
		`	if e != nil {
		in.n.Copies.Add(1)
`, `	if e != nil && !bug("the rest is not looked for in the copy") {
		in.n.Copies.Add(1)
`, "^TestCopytruncate$/^append_true,_app.log$"},
	{"internal/forward/identity/identity.go",
		`	for _, a := range rec.Anchors {
		if a.At == rec.Position {
`, `	if bug("a file is known by its beginning alone") {
		return true, nil
	}
	for _, a := range rec.Anchors {
		if a.At == rec.Position {
`, "^TestSame$"},
	{"internal/forward/inputs/frame.go",
		`	part := f.part
	f.part = 0
`, `	part := f.part
	f.part = 0
	if bytes.HasSuffix(b, []byte("77")) && bug("a syslog message is lost") {
		return nil
	}
`, "^TestRsyslog$"},
}

var seededName = regexp.MustCompile(`bug\("([^"]+)"\)`)

// TestSeededBugs builds the agent with bugs in it, and runs tests with each until one fails.
func TestSeededBugs(t *testing.T) {
	if n := os.Getenv("LOGD_FORWARD_SEEDED_BUGS"); n == "" || n == "0" {
		t.Skip("this builds and runs other tests for some minutes: LOGD_FORWARD_SEEDED_BUGS=1 asks for it")
	}
	temp := t.TempDir()
	for _, program := range []string{"logd", "log-cli"} {
		if err := os.Link(filepath.Join(built, program), filepath.Join(temp, program)); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-overlay", plant(t, temp), "-o", filepath.Join(temp, "log-forwarder"), "./cmd/log-forwarder")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build log-forwarder with bugs: %v\n%s", err, out)
	}
	run := func(t *testing.T, bug, judges string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
		defer cancel()
		dir, err := os.MkdirTemp("", "s") // the path of a socket must be short
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", judges, "-test.failfast", "-test.timeout", (3 * patience).String())
		cmd.Env = append(os.Environ(), "LOGD_BUILT="+temp, "SEEDED_BUG="+bug, "TMPDIR="+dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(t, "none", seededPlaces[0].judges); err != nil {
		t.Fatalf("without a bug: %v\n%s", err, out)
	}
	for _, place := range seededPlaces {
		for _, name := range seededName.FindAllStringSubmatch(place.new, -1) {
			t.Run(name[1], func(t *testing.T) {
				for range 10 { // the judges are random
					if out, err := run(t, name[1], place.judges); err != nil {
						t.Logf("%.600s", out)
						return
					}
				}
				t.Fatalf("%s do not see it", place.judges)
			})
		}
	}
}

// TestSeededPlaces says that each place is in the source, once.
func TestSeededPlaces(t *testing.T) { plant(t, t.TempDir()) }

// plant puts the bugs into copies of the source, and returns an overlay for the go command.
// Each is there if SEEDED_BUG names it.
func plant(t *testing.T, temp string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{} // with the bugs, by name
	for _, place := range seededPlaces {
		source, ok := sources[place.file]
		if !ok {
			whole, err := os.ReadFile(filepath.Join(root, place.file))
			if err != nil {
				t.Fatal(err)
			}
			source = string(whole)
			name := regexp.MustCompile(`(?m)^package \w+$`).FindString(source)
			sources[filepath.Join(filepath.Dir(place.file), "seeded.go")] = name + "\n\nimport \"os\"\n\nvar seededBug = os.Getenv(\"SEEDED_BUG\")\n\nfunc bug(name string) bool { return name == seededBug }\n"
		}
		if n := strings.Count(source, place.old); n != 1 {
			t.Fatalf("%s has this %d times, want once:\n%s", place.file, n, place.old)
		}
		source = strings.Replace(source, place.old, place.new, 1)
		if strings.Contains(place.new, "time.") && !strings.Contains(source, "\t\"time\"\n") {
			source = strings.Replace(source, "import (\n", "import (\n\t\"time\"\n", 1)
		}
		sources[place.file] = source
	}
	replace := map[string]string{}
	for name, source := range sources {
		changed := filepath.Join(temp, fmt.Sprint(len(replace), ".go"))
		replace[filepath.Join(root, name)] = changed
		if err := os.WriteFile(changed, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}
