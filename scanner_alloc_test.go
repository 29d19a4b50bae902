//go:build !race

package logd_test

import (
	"path/filepath"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/logdtest"
	"github.com/logd-dev/logd/progress"
)

// In steady state no message costs an allocation, by nobody: neither by the
// Scanner's goroutines nor by those of the server, which is in this process.
func TestScannerDoesNotAllocate(t *testing.T) {
	const n = 100_000
	client := logdtest.Start(t).Client(t)
	store(t, client, "t", n, 100, 0)
	file, err := progress.OpenFile(progress.FileConfig{Path: filepath.Join(t.TempDir(), "state"), Sync: progress.SyncOnClose})
	if err != nil {
		t.Fatal(err)
	}
	for what, state := range map[string]logd.Progress{"none": nil, "memory": new(progress.Memory), "file": file} {
		s := newScanner(t, client, "t", logd.ScannerConfig{Progress: state})
		const many = 10_000
		scan := func() {
			for range many {
				if !s.Scan() {
					t.Fatal(s.Err())
				}
				m := s.Message()
				if state != nil {
					if err := state.Done(m.ID(), nil); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for range 4 {
			scan()
		}
		// The few there are belong to reads, and to saves, of many messages.
		if got := testing.AllocsPerRun(4, scan); got > many/20 {
			t.Errorf("state %s: %v allocations for %d messages", what, got, many)
		} else {
			t.Logf("state %s: %v allocations for %d messages", what, got, many)
		}
		s.Close()
	}
}
