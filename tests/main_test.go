// Package tests runs the built programs, logd and log-cli, as processes, and
// talks to them over the network as any client may.
//
// It imports no other package of this module: the protocol client in
// wire_test.go is written from the description of the protocol alone, so that
// a misreading that server and client library share does not pass unseen.
//
// The programs are built once, with coverage. Where LOGD_COVERDIR names a
// folder their counters are left there. Further settings of a run:
//
//	LOGD_E2E_BYTES    bytes that the end-to-end test stores, in all (64 MB)
//	LOGD_KILL_CYCLES  times that the kill test kills the server
//	LOGD_CLUSTER_ALL  everything that happens to clusters, also in network namespaces and
//	                  in containers, as root
//	LOGD_CLUSTER_SOAK seconds that things happen to clusters in a random order
//	LOGD_CLUSTER_GAPS times that the gaps in the answers of a cluster are measured
//	LOGD_ABUSE        strangers in all the numbers that a server has to bear
//	LOGD_SEED         seed of everything random, to repeat a run
//	LOGD_BUILT        a folder with the programs, which are then not built
package tests

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/testkit"
)

// patience bounds every wait for something that has to happen. No good run
// comes near it.
const patience = 30 * time.Second

// built is where the programs of this run are.
var built struct {
	logd, cli string
	noConfig  string // an empty configuration file
	empty     string // a folder to run in
	coverDir  string
}

func TestMain(m *testing.M) {
	if os.Getenv(writerProcess) != "" {
		if err := writeUntilKilled(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if code, did := inOwnNamespace(); did {
		os.Exit(code)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "logd-tests-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := build(dir); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func build(dir string) error {
	if from := os.Getenv("LOGD_BUILT"); from != "" {
		built.logd, built.cli = filepath.Join(from, "logd"), filepath.Join(from, "log-cli")
		return prepare(dir)
	}
	cmd := exec.Command("go", "build", "-cover", "-coverpkg=github.com/logd-dev/logd/...", "-o", dir+"/", "./cmd/logd", "./cmd/log-cli", "./cmd/log-forwarder")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	built.logd, built.cli = filepath.Join(dir, "logd"), filepath.Join(dir, "log-cli")
	return prepare(dir)
}

// prepare makes in dir what every run of the programs needs.
func prepare(dir string) error {
	built.noConfig = filepath.Join(dir, "logd.toml")
	if err := os.WriteFile(built.noConfig, nil, 0o600); err != nil {
		return err
	}
	built.empty = filepath.Join(dir, "empty")
	if err := os.Mkdir(built.empty, 0o700); err != nil {
		return err
	}
	built.coverDir = os.Getenv("LOGD_COVERDIR")
	if built.coverDir == "" {
		built.coverDir = filepath.Join(dir, "cover")
	}
	var err error
	if built.coverDir, err = filepath.Abs(built.coverDir); err != nil {
		return err
	}
	return os.MkdirAll(built.coverDir, 0o700)
}

// environment returns the whole environment of a program: nothing of the
// tester's settings reaches it, but which bug it is to have, of those that tests put into
// copies of the source.
func environment(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + built.coverDir, "SEEDED_BUG=" + os.Getenv("SEEDED_BUG")}, more...)
}

// setting returns a number from the environment.
func setting(t testing.TB, name string, otherwise int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s is %q: want a number", name, text)
	}
	return n
}

// brief reports whether to leave out what only repeats.
func brief() bool { return testing.Short() || testkit.Race }

// random returns a source of randomness of the test's own, and logs how to have
// it again.
func random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := setting(t, "LOGD_SEED", time.Now().UnixNano())
	t.Logf("seed: LOGD_SEED=%d", seed)
	name := fnv.New64a()
	name.Write([]byte(t.Name()))
	return rand.New(rand.NewPCG(uint64(seed), name.Sum64()))
}

// eventually asks until the answer is yes. Each question costs a request, so it
// does not spin.
func eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	for late := time.Now().Add(patience); !ask(); {
		if time.Now().After(late) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// cannot ends a test that this machine can't run: it is skipped, except in CI,
// where everything has to be there.
func cannot(t *testing.T, format string, args ...any) {
	t.Helper()
	if strings.EqualFold(os.Getenv("CI"), "true") {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
