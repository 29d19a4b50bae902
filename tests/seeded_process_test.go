package tests

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// processPlaces are bugs that clusters of processes alone have to see: by what a server
// answers, and by what a program is told that reads with the client.
var processPlaces = []seededPlace{
	{"internal/cluster/log.go",
		`func (n *Node) freshGroup(ctx context.Context, number int) error {
`, `func (n *Node) freshGroup(ctx context.Context, number int) error {
	if bug("fresh=1 asks nobody") {
		return nil
	}
`, ""},
	{"internal/cluster/round.go",
		`		began := time.Now()
		var logErr error
`, `		if bug("a round says that it is done before its sync") {
			d.post(func() { r.end(pos, in, nil, nil) })
			time.AfterFunc(100*time.Millisecond, func() { _ = r.n.topics.Sync(logs, file.Sync) }) // as on a busy disk
			return
		}
		began := time.Now()
		var logErr error
`, ""},
	// Clocks that can be set, of one process each: no bug.
	{"internal/storage/clock/clock.go",
		`	"sync/atomic"
	"time"
`, `	"os"
	"sync/atomic"
	"time"
`, ""},
	{"internal/storage/clock/clock.go",
		`func (System) Now() time.Time { return time.Now() }
`, `func (System) Now() time.Time {
	b, _ := os.ReadFile(os.Getenv("SEEDED_CLOCK"))
	ahead, _ := time.ParseDuration(string(b))
	return time.Now().Add(ahead)
}
`, ""},
	{"internal/cluster/start.go",
		`	"github.com/logd-dev/logd/internal/storage"
`, `	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/storage/clock"
`, ""},
	{"internal/cluster/start.go",
		`		o.Now = time.Now
`, `		o.Now = clock.System{}.Now
`, ""},
	{"scanner_source.go",
		`	command := protocol.Read
	if offset == fetch.FromOldest {
		command = protocol.Tail
	}
	in, err := src.client.read(ctx, command, src.topic, offset, ReadOptions{Messages: messages, MaxBytes: src.bytes, Wait: wait}, fresh)
`, `	command := protocol.Read
	if bug("a Scanner goes back to the oldest batch when nobody leads") && src.addr == "nobody" {
		offset = fetch.FromOldest
	}
	if offset == fetch.FromOldest {
		command = protocol.Tail
	}
	in, err := src.client.read(ctx, command, src.topic, offset, ReadOptions{Messages: messages, MaxBytes: src.bytes, Wait: wait}, fresh)
	if errors.Is(err, ErrNotLeader) {
		src.addr = "nobody"
	}
`, ""},
}

// processBugs are the bugs that tests with processes have to see, and the tests of this
// package that do. They are planted in processPlaces or, where a simulation sees them, too,
// in clusterPlaces.
var processBugs = []struct{ name, judges string }{
	{"fresh=1 asks nobody", "^TestCluster$/^(a_rolling_restart|transfers|kills_while_catching_up)$"},
	{"a member says that there is nothing beyond its own end", "^TestCluster$/^(a_rolling_restart|a_long_stop_of_the_leader|kills_while_catching_up)$"},
	{"what is written can be read before it is committed", "^TestCluster$/^(kill_the_leader|a_long_stop_of_the_leader|transfers|drains)$"},
	{"who is elected knows no numbers", "^TestCluster$/^(kill_the_leader|transfers)$"},
	{"a number that leaves a gap is taken", "^TestClusterNumbers$"},
	{"a lost lead is answered as an error", "^TestClusterRefusals$"},
	{"a round says that it is done before its sync", byClusterPower},
	{"the member log is left out of the round", byClusterPower},
	{"a clock that is set is believed at once", byClocks},
	{"a vote is given for which there is no room", "^TestClusterVoteWithoutRoom$"},
	{"a Scanner goes back to the oldest batch when nobody leads", "^TestScannerWithoutLeader$"},
}

const (
	byClusterPower = "^TestClusterPowerCut$/^few_topics$"
	byClocks       = "^TestClusterClocks$"
)

// TestSeededProcesses builds the server, and these tests with the client, with bugs in
// them, and runs tests of clusters with each until one fails.
func TestSeededProcesses(t *testing.T) {
	if setting(t, "LOGD_SEEDED_BUGS", 0) == 0 {
		t.Skip("this builds and runs other tests for some minutes: LOGD_SEEDED_BUGS=1 asks for it")
	}
	temp := t.TempDir()
	overlay := plantSeeded(t, temp, slices.Concat(clusterPlaces, processPlaces))
	judge := filepath.Join(temp, "judge")
	for _, args := range [][]string{
		{"build", "-overlay", overlay, "-o", filepath.Join(temp, "logd"), "./cmd/logd"},
		{"test", "-c", "-vet=off", "-overlay", overlay, "-o", judge, "./tests"},
	} {
		build := exec.Command("go", args...)
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build with bugs: %v\n%s", err, out)
		}
	}
	run := func(t *testing.T, bug, judges string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, judge, "-test.run", judges, "-test.failfast", "-test.timeout", (3 * patience).String())
		cmd.Env = append(os.Environ(), "LOGD_BUILT="+temp, steppedClocks+"=1", "SEEDED_BUG="+bug, "TMPDIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, judges := range []string{processBugs[0].judges, byClocks} {
		if out, err := run(t, "none", judges); err != nil {
			t.Fatalf("without a bug: %v\n%s", err, out)
		}
	}
	for _, b := range processBugs {
		t.Run(b.name, func(t *testing.T) {
			if b.judges == byClusterPower && os.Geteuid() != 0 {
				t.Skip("needs root, to cut the power of a file system")
			}
			for range 10 { // the judges are random
				if out, err := run(t, b.name, b.judges); err != nil {
					t.Logf("%.600s", out)
					return
				}
			}
			t.Fatalf("%s do not see it", b.judges)
		})
	}
}
