package hook

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/logd-dev/logd/internal/testkit"
)

// TestReap: what hooks leave behind is waited for, and no hook loses its exit
// status by it.
func TestReap(t *testing.T) {
	if Adopts() {
		t.Skip("this process adopts others already")
	}
	subreaper := func(on uintptr) {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, on, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	subreaper(1)
	defer subreaper(0)
	if !Adopts() {
		t.Error("a subreaper does not adopt")
	}
	stop := Reap()
	defer stop()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 10 {
				code := (i + j) % 4
				// Some end before their hook does, some with it, some after.
				c, _ := shell(t, fmt.Sprintf("(sleep 0.0%d) >/dev/null 2>&1 & (exit 7) & sleep 0.0%d; exit %d", j%3, i%3, code))
				c.Logger = slog.New(slog.DiscardHandler)
				want := "exit status " + fmt.Sprint(code)
				err := c.Run(t.Context(), Partition{Topic: "t"})
				if code == 0 && err != nil || code != 0 && (err == nil || !strings.HasSuffix(err.Error(), want)) {
					t.Errorf("hook ended with %v, want %s", err, want)
				}
			}
		})
	}
	group.Wait()
	testkit.Eventually(t, func() string {
		list := zombies()
		return testkit.Unless(len(list) == 0, fmt.Sprintf("zombies are left: %v", list))
	})
}

// zombies returns the children of this process that nobody has waited for.
func zombies() (list []string) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, _ := os.ReadFile(name)
		_, rest, _ := strings.Cut(string(text), ") ")
		if strings.HasPrefix(rest, fmt.Sprintf("Z %d ", os.Getpid())) {
			list = append(list, name)
		}
	}
	return list
}
