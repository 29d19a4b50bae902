package tests

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// flakyDisk is an ext4 on a block device that fails as it is told, by the
// device mapper's target flakey (Linux,
// Documentation/admin-guide/device-mapper/dm-flakey.rst).
type flakyDisk struct {
	*disk
	device  string
	sectors int64
}

const flakyName = "logd-flakey"

// newFlakyDisk makes a flaky disk of the block device that LOGD_FLAKEY_DISK
// names, and overwrites all of it.
func newFlakyDisk(t *testing.T) *flakyDisk {
	t.Helper()
	device := os.Getenv("LOGD_FLAKEY_DISK")
	if device == "" {
		t.Skip("needs a block device to overwrite and a kernel with dm-flakey: make test-flakey boots a machine that has both")
	}
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	d := &flakyDisk{disk: &disk{t: t, kind: "ext4"}, device: device, sectors: size / 512}
	d.dir = filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d.must("dmsetup", "--noudevsync", "create", flakyName, "--table", d.table("linear", ""))
	t.Cleanup(func() {
		exec.Command("umount", "-l", d.dir).Run()
		exec.Command("dmsetup", "--noudevsync", "remove", "--force", "--retry", flakyName).Run()
	})
	minor, err := exec.Command("dmsetup", "info", "--columns", "--noheadings", "-o", "minor", flakyName).Output()
	if err != nil {
		t.Fatal(err)
	}
	d.image = "/dev/dm-" + strings.TrimSpace(string(minor)) // whatever the machine's way to name it otherwise
	d.must("mkfs.ext4", "-q", "-F", d.image)
	d.mount()
	return d
}

func (d *flakyDisk) table(target, rest string) string {
	return strings.TrimSpace(fmt.Sprintf("0 %d %s %s 0 %s", d.sectors, target, d.device, rest))
}

// become changes what the device does, from now on.
func (d *flakyDisk) become(target, rest string) {
	d.t.Helper()
	d.must("dmsetup", "--noudevsync", "suspend", "--nolockfs", "--noflush", flakyName)
	d.must("dmsetup", "--noudevsync", "load", flakyName, "--table", d.table(target, rest))
	d.must("dmsetup", "--noudevsync", "resume", flakyName)
}

func (d *flakyDisk) heal() { d.become("linear", "") }

// TestFlakeyErrorWrites has every write of the disk fail under writers: they
// are told, or lose their connections where the disk does not even let go of
// what it has; reads go on, and after a restart all that was acknowledged is
// there, and nothing that was refused.
func TestFlakeyErrorWrites(t *testing.T) {
	d := newFlakyDisk(t)
	dir := filepath.Join(d.dir, "data")
	s := start(t, dir, "--flush-batches", "1")
	l := newLoad(s.addr, "t", 4, "before")
	l.awaitAcks(t, 100)
	d.become("flakey", "0 1 1 error_writes")
	l.wait()
	refused := 0
	for id, w := range l.writers {
		switch {
		case errors.Is(w.err, refusal("read only")):
			refused++
		case !ended(w.err):
			t.Errorf("writer %d ended with %v, want ERR read only or the connection's end", id, w.err)
		}
		w.err = io.EOF
	}
	t.Logf("%d of %d writers were refused", refused, len(l.writers))
	if problems := checkLoads(stored(t, s.addr, "t"), l); len(problems) > 0 {
		t.Errorf("while the disk fails: %s", strings.Join(problems, "\n"))
	}
	c := dial(t, s.addr)
	c.write("%s", encode("t", "more"))
	if _, _, err := c.offset(); !errors.Is(err, refusal("read only")) {
		t.Errorf("an append to a disk that fails: %v", err)
	}
	d.heal()
	s.kill()
	d.remount()
	s = start(t, dir, "--flush-batches", "1")
	got := stored(t, s.addr, "t")
	if problems := checkLoads(got, l); len(problems) > 0 {
		t.Errorf("after the restart: %s", strings.Join(problems, "\n"))
	}
	if refused == len(l.writers) && len(got) != l.acks {
		t.Errorf("%d batches are stored, %d were acknowledged and the others refused", len(got), l.acks)
	}
	dial(t, s.addr).append("t", "after")
	s.stop()
	d.check(dir)
}

// TestFlakeyDropWrites has the disk say that it has written and not do it.
// What it acknowledged in that time it may lose; all before is there, and
// nothing that was never written.
func TestFlakeyDropWrites(t *testing.T) {
	d := newFlakyDisk(t)
	dir := filepath.Join(d.dir, "data")
	s := start(t, dir, "--flush-batches", "1")
	before := newLoad(s.addr, "t", 4, "before")
	before.awaitAcks(t, 100)
	counts := before.acked()
	d.become("flakey", "0 1 1 drop_writes")
	before.awaitAcks(t, 300)
	s.kill()
	before.wait()
	lied := 0
	for id, w := range before.writers {
		lied += len(w.acked) - counts[id]
		w.acked = w.acked[:counts[id]]
	}
	d.must("umount", d.dir) // what it writes is dropped, too
	d.heal()
	d.mount()
	s = start(t, dir)
	got := stored(t, s.addr, "t")
	if problems := checkLoads(got, before); len(problems) > 0 {
		t.Errorf("after the disk has lied: %s", strings.Join(problems, "\n"))
	}
	t.Logf("%d batches were acknowledged on the word of the disk", lied)
	// The control: a disk that drops nothing would lose none of them.
	kept := 0
	for _, n := range counts {
		kept += n
	}
	if len(got) >= kept+lied {
		t.Errorf("%d batches are stored of %d, of which the disk has dropped %d: it has not lied", len(got), kept+lied, lied)
	}
	s.stop()
	d.check(dir)
}

// TestFlakeyUpAndDown has the disk fail for a second, and be good for one, and
// so on, with restarts between.
func TestFlakeyUpAndDown(t *testing.T) {
	d := newFlakyDisk(t)
	dir := filepath.Join(d.dir, "data")
	var loads []*load
	for life := range 4 {
		s := start(t, dir, "--flush-batches", "1", "--partition-size", "64KiB", "--partitions", "1000")
		if problems := checkLoads(stored(t, s.addr, "t"), loads...); len(problems) > 0 {
			t.Fatalf("life %d: %s", life, strings.Join(problems, "\n"))
		}
		l := newLoad(s.addr, "t", 4, fmt.Sprint(life))
		l.awaitAcks(t, 20)
		d.become("flakey", "1 1 1 error_writes")
		ended := time.AfterFunc(patience/2, s.kill) // where no write met the disk while it was down
		l.wait()
		ended.Stop()
		for _, w := range l.writers {
			if errors.Is(w.err, refusal("read only")) {
				w.err = io.EOF
			}
		}
		loads = append(loads, l)
		d.heal()
		s.kill()
		d.remount()
	}
	s := start(t, dir)
	if problems := checkLoads(stored(t, s.addr, "t"), loads...); len(problems) > 0 {
		t.Fatal(strings.Join(problems, "\n"))
	}
	s.stop()
	d.check(dir)
}

// check has log-cli look at every byte of a work directory.
func (d *flakyDisk) check(dir string) {
	d.t.Helper()
	check := exec.Command(built.cli, "check", dir)
	check.Env = environment()
	if out, err := check.CombinedOutput(); err != nil {
		d.t.Errorf("check: %v\n%s", err, out)
	}
}

// TestMachineLife is one life of a machine whose power is cut from outside. On
// the file system of the device LOGD_POWER_DISK it checks what its former lives
// have left, and writes until it is cut, telling what is acknowledged.
//
// LOGD_LIVES has for each life how many batches of each of its writers were
// acknowledged at least, as "3,0,7,12;5,5,6,4". With LOGD_LAST_LIFE it only
// checks.
func TestMachineLife(t *testing.T) {
	device := os.Getenv("LOGD_POWER_DISK")
	if device == "" {
		t.Skip("needs a machine whose power may be cut: make test-flakey boots one")
	}
	d := &disk{t: t, kind: "ext4", image: device, dir: filepath.Join(t.TempDir(), "disk")}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d.mount()
	t.Cleanup(func() { exec.Command("umount", "-l", d.dir).Run() })
	var lives [][]int
	for life := range strings.SplitSeq(os.Getenv("LOGD_LIVES"), ";") {
		var counts []int
		for n := range strings.SplitSeq(life, ",") {
			if n == "" {
				continue
			}
			count, err := decimal(n)
			if err != nil {
				t.Fatalf("LOGD_LIVES: %v", err)
			}
			counts = append(counts, int(count))
		}
		if counts != nil {
			lives = append(lives, counts)
		}
	}
	s := start(t, filepath.Join(d.dir, "data"), "--flush-batches", "1", "--partitions", "1000", "--partition-size", "64KiB")
	found := make([][]int, len(lives))
	for i, counts := range lives {
		found[i] = make([]int, len(counts))
	}
	for _, b := range stored(t, s.addr, "t") {
		var life, id, seq int
		if _, err := fmt.Sscanf(b.messages[0].body, "%d/%d/%d", &life, &id, &seq); err != nil || life >= len(lives) || id >= len(lives[life]) {
			t.Fatalf("the batch at %d is nobody's: %q", b.offset, b.wire)
		}
		l := &load{name: fmt.Sprint(life), topic: "t"}
		if want := l.batch(id, seq); b.wire != want || seq != found[life][id] {
			t.Fatalf("batch %d of writer %d/%d at %d, after %d of its batches: %q", seq, life, id, b.offset, found[life][id], b.wire)
		}
		found[life][id]++
	}
	for life, counts := range lives {
		for id, n := range counts {
			if found[life][id] < n {
				t.Errorf("lost: %d batches of writer %d/%d are acknowledged, %d are stored", n, life, id, found[life][id])
			}
		}
	}
	fmt.Println("checked", len(lives), "lives, batches", found)
	if os.Getenv("LOGD_LAST_LIFE") != "" || t.Failed() {
		return
	}
	l := newLoad(s.addr, "t", 4, fmt.Sprint(len(lives)))
	for begun := time.Now(); time.Since(begun) < 2*patience; time.Sleep(10 * time.Millisecond) {
		fmt.Println("acknowledged", strings.ReplaceAll(strings.Trim(fmt.Sprint(l.acked()), "[]"), " ", ","))
	}
	t.Error("the power was not cut")
}
