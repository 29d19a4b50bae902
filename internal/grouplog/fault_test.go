package grouplog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

// TestFaults fails each operation of a member's life, with either error: what was
// synced stays, a log that failed says so for ever, and after a start all goes on.
func TestFaults(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		t.Run(cause.Error(), func(t *testing.T) {
			for n := 1; ; n++ {
				d := newDriver(11, 50)
				d.disk = vfstest.New()
				d.disk.FailAt(n, vfstest.Fault{Err: cause, Written: int64(n % 40)})
				if err := faultRun(d, cause); err != nil {
					t.Fatalf("operation %d fails: %v\nsteps:\n%s", n, err, strings.Join(d.steps[max(0, len(d.steps)-15):], "\n"))
				}
				if d.disk.Faults() == 0 {
					t.Logf("%d operations, %d images", n, d.images)
					return
				}
			}
		})
	}
}

// faultRun is one life in which something may fail.
func faultRun(d *driver, cause error) error {
	for d.create() != nil {
		if d.disk.Faults() == 0 {
			return errors.New("no member was made, and nothing failed")
		}
		d.disk.ClearFaults()
	}
	d.watch()
	for range 45 {
		disk := d.disk
		err := d.calm()
		if err != nil && (disk.Faults() == 0 || !errors.Is(err, cause)) {
			return err
		}
		if d.err != nil {
			return d.err
		}
		if failed := d.log.failed; failed != nil {
			if d.log.Append(Record{Kind: Synced}) != failed || d.log.Durable(0) != failed || d.log.Roll() != failed {
				return errors.New("a log that failed goes on")
			}
			if err := d.restart(d.disk, false); err != nil {
				return fmt.Errorf("after %w: %v", failed, err)
			}
		}
	}
	disk := d.disk
	err := d.restart(disk, true)
	if err != nil && disk.Faults() > 0 && errors.Is(err, cause) {
		err = d.restart(disk, false)
	}
	return err
}

// calm does a step that brings no fault of its own, and stays on the disk.
func (d *driver) calm() error {
	for {
		switch d.rng.IntN(12) {
		case 0:
			return d.table(d.rng.IntN(groups))
		case 1:
			return d.void(d.rng.IntN(groups))
		case 2:
			if err := d.round(); err != nil {
				return err
			}
			return d.log.Roll()
		case 3, 4:
			return d.round()
		case 5:
			g := d.rng.IntN(groups)
			now := d.now()
			return d.append(Record{Kind: Hard, Group: g, Term: now[g].term + 1, Vote: 2})
		case 6:
			g := d.rng.IntN(groups)
			if i := d.syncedIndex(g); i > d.log.groups[g].Commit {
				return d.append(Record{Kind: Commit, Group: g, Index: i})
			}
		default:
			return d.entries(d.rng.IntN(groups))
		}
	}
}

// TestStartFaults fails each operation of a start, reads as well: nothing is lost
// by that, and the next start succeeds.
func TestStartFaults(t *testing.T) {
	for n := 1; ; n++ {
		d := newDriver(5, 1<<30)
		if err := d.run(0); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			if err := d.calm(); err != nil {
				t.Fatal(err)
			}
		}
		d.log.File().Close()
		d.disk.FailAt(n, vfstest.Fault{Reads: true})
		_, l, err := d.recover(d.disk, false)
		if d.disk.Faults() == 0 {
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d operations", n-1)
			return
		}
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNewer) {
			t.Fatalf("operation %d fails, and the log is called %v", n, err)
		}
		d.disk.ClearFaults()
		if l != nil && l.file != nil {
			l.file.Close()
		}
		if _, _, err := d.recover(d.disk, false); err != nil {
			t.Fatalf("after operation %d failed: %v", n, err)
		}
	}
}

// On a full disk nothing that was refused counts or comes back, also if a new file
// can't be begun, and all goes on when there is room.
func TestFullDisk(t *testing.T) {
	disk, l, _ := sample(t)
	sync(t, l)
	for room := int64(0); room < 300; room += 7 {
		disk.SetSpace(disk.Used() + room)
		var err error
		last := l.groups[0].Last()
		for err == nil {
			err = l.Append(setting(l.groups[0].Last()+1, 3, "x"), Record{Kind: Commit, Index: l.groups[0].Commit})
		}
		if !noRoom(err) || l.failed != nil {
			t.Fatalf("%d bytes of room: %v", room, err)
		}
		sync(t, l)
		if err := l.Roll(); !noRoom(err) || l.failed != nil {
			t.Fatalf("%d bytes of room, a new file: %v", room, err)
		}
		if _, err := l.WriteTable(&entry.Table{Index: last, Term: 3, Settings: []entry.Setting{{Key: "k", Value: strings.Repeat("x", 300)}}}); !noRoom(err) || l.failed != nil {
			t.Fatalf("%d bytes of room, a table: %v", room, err)
		}
		disk.SetSpace(-1)
		check(t, l.Append(Record{Kind: Void, Index: last}, setting(last, 3, "y")))
		_, err = Open(disk.Crash(rand.New(rand.NewPCG(uint64(room), 0))))
		check(t, err)
		sync(t, l)
	}
	check(t, l.Roll())
	check(t, l.Close())
	if _, err := l.WriteTable(&entry.Table{Index: 99}); !errors.Is(err, ErrFailed) {
		t.Errorf("a table of a closed log: %v", err)
	}
	r, err := Open(disk)
	check(t, err)
	if got, want := worldOf(r.Groups), worldOf(l.groups); !r.Clean || got.text() != want.text() {
		t.Errorf("clean %v:\n%s\nwant\n%s", r.Clean, got.text(), want.text())
	}
}
