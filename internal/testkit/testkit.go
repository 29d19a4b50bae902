// Package testkit has what tests of several packages need. Only tests import it.
package testkit

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// patience is how long Eventually waits.
const patience = 20 * time.Second

// Eventually waits until problem returns nothing. If that takes long, the test has
// failed, with what problem returned last, and ends.
func Eventually(t testing.TB, problem func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		p := problem()
		if p == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(p)
		}
		<-tick.C
	}
}

// Unless returns nothing if ok, and otherwise the problem: it is for Eventually.
func Unless(ok bool, problem string) string {
	if ok {
		return ""
	}
	return problem
}

// Batch returns a whole batch for the topic, with a message for each body: as it
// is sent and stored.
func Batch(topic string, bodies ...string) string {
	var b batch.Builder
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	return string(b.Finish(topic))
}

// Golden returns the path of a copy of testdata/golden/name: what some version has
// written, which is never changed, since all that was ever written has to be read.
// If missing is true and there is no such file, write is called to make it.
func Golden(t testing.TB, name string, missing bool, write func(name string)) (path string) {
	t.Helper()
	name = filepath.Join("testdata", "golden", name)
	if _, err := os.Stat(name); missing && err != nil {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		write(name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), filepath.Base(name))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
