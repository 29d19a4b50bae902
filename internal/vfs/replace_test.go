package vfs_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestReplaceCrash: whatever fails, the file is as it was or as it is to be, also after a
// crash, and it is as it is to be once Replace has said so.
func TestReplaceCrash(t *testing.T) {
	contents := func(fsys vfs.FS) string {
		b, err := vfs.ReadFile(fsys, "f", 100)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for at := 1; ; at++ {
		disk := vfstest.New()
		if err := vfs.Replace(disk, "f", []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		fired := false
		disk.FailAt(at, vfstest.Fault{Err: broken, Match: func(vfstest.Op) bool { fired = true; return true }})
		err := vfs.Replace(disk, "f", []byte("new one"), 0o600)
		disk.ClearFaults()
		if err != nil && !errors.Is(err, broken) {
			t.Fatal(err)
		}
		for seed := range uint64(20) {
			after := disk.Crash(rand.New(rand.NewPCG(seed, uint64(at))))
			if got := contents(after); got != "new one" && (err == nil || got != "old") {
				t.Errorf("operation %d fails (%v), and then the power: the file is %q", at, err, got)
			}
		}
		if got := contents(disk); got != "new one" && (err == nil || got != "old") {
			t.Errorf("operation %d fails (%v): the file is %q", at, err, got)
		}
		if err == nil {
			if !fired || at < 5 {
				t.Fatalf("%d operations", at)
			}
			return
		}
		if at > 20 {
			t.Fatal("it always fails")
		}
	}
}
