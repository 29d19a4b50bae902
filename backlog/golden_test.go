package backlog

import (
	"flag"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/testkit"
)

var update = flag.Bool("update", false, "write the golden files that are missing")

func TestGoldenBacklog(t *testing.T) {
	version := strings.TrimSpace(backlogVersion)
	path := testkit.Golden(t, "backlog"+version, *update, func(name string) {
		b := openDisk(t, name)
		defer b.Close()
		for _, m := range []string{"first", "second", "third"} {
			keep(t, b, m)
		}
		deliver(t, b, 1)
	})
	b := openDisk(t, path)
	defer b.Close()
	if got, want := kept(t, b), "second third"; got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
	if torn, _ := b.Torn(); torn != "" || b.Topic() != "t" {
		t.Errorf("torn %q, topic %q", torn, b.Topic())
	}
}
