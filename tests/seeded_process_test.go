package tests

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// processPlaces are bugs that clusters of processes have to see, by what their clients
// are told: the judges are tests of this package.
var processPlaces = []seededPlace{
	{"internal/cluster/log.go",
		`func (n *Node) freshGroup(ctx context.Context, number int) error {
`, `func (n *Node) freshGroup(ctx context.Context, number int) error {
	if bug("fresh=1 asks nobody") {
		return nil
	}
`, "^TestCluster$/^(a_rolling_restart|transfers|kills_while_catching_up)$"},
	{"internal/cluster/log.go",
		`	case offset > l.Readable():
`, `	case offset > l.Readable() && bug("a member says that there is nothing beyond its own end"):
		return err
	case offset > l.Readable():
`, "^TestCluster$/^(a_rolling_restart|a_long_stop_of_the_leader|kills_while_catching_up)$"},
	{"internal/cluster/core.go",
		`			l.SetReadable(e.Offset)
`, `			if bug("what is written can be read before it is committed") {
				e.Offset = l.Next()
			}
			l.SetReadable(e.Offset)
`, "^TestCluster$/^(kill_the_leader|a_long_stop_of_the_leader|transfers|drains)$"},
}

// TestSeededProcesses builds the server with bugs in it, and runs tests of clusters with
// each until one fails.
func TestSeededProcesses(t *testing.T) {
	if setting(t, "LOGD_SEEDED_BUGS", 0) == 0 {
		t.Skip("this builds and runs other tests for some minutes: LOGD_SEEDED_BUGS=1 asks for it")
	}
	temp := t.TempDir()
	overlay := plantSeeded(t, temp, processPlaces)
	build := exec.Command("go", "build", "-overlay", overlay, "-o", filepath.Join(temp, "logd"), "./cmd/logd")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build logd with bugs: %v\n%s", err, out)
	}
	run := func(t *testing.T, bug, judges string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", judges, "-test.failfast", "-test.timeout", (3 * patience).String())
		cmd.Env = append(os.Environ(), "LOGD_BUILT="+temp, "SEEDED_BUG="+bug, "TMPDIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(t, "none", processPlaces[0].judges); err != nil {
		t.Fatalf("without a bug: %v\n%s", err, out)
	}
	for _, place := range processPlaces {
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
