package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// disk is a file system of its own, in a file or in memory, that a test may do
// what it likes with.
type disk struct {
	t     testing.TB
	kind  string // ext4, xfs or tmpfs
	image string // the file or block device, empty for a tmpfs
	dir   string // where it is mounted
	loop  bool   // image is a file
}

// newDisk makes a file system of the kind and mounts it until the test ends.
// It skips the test where that can't be done: without root, or on a kernel
// that has no such thing. Where CI is "true" that is a failure.
func newDisk(t *testing.T, kind, size string) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		cannot(t, "needs root, to mount a file system")
	}
	d := &disk{t: t, kind: kind, dir: filepath.Join(t.TempDir(), "disk")}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if kind != "tmpfs" {
		d.loop = true
		d.image = filepath.Join(t.TempDir(), "image")
		mkfs := "mkfs." + kind
		if _, err := exec.LookPath(mkfs); err != nil {
			cannot(t, "%s is not installed", mkfs)
		}
		d.must("truncate", "-s", size, d.image)
		if out, err := exec.Command(mkfs, "-q", d.image).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", mkfs, err, out)
		}
	}
	args := []string{"-t", kind, "-o", "loop", d.image, d.dir}
	if kind == "tmpfs" {
		args = []string{"-t", kind, "-o", "size=" + size, "logd-test", d.dir}
	}
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		cannot(t, "this machine can't mount %s: %v: %s", kind, err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", d.dir).Run() })
	return d
}

func (d *disk) must(program string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
}

// fill takes all the room that there is, and empty gives it back.
func (d *disk) fill() {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.dir, "filler"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for b := make([]byte, 64<<10); len(b) > 0; {
		if _, err := f.Write(b); errors.Is(err, unix.ENOSPC) {
			b = b[:len(b)/2]
		} else if err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *disk) empty() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "filler")); err != nil {
		d.t.Fatal(err)
	}
}

// cutPower makes the file system drop what is not on stable storage, and fail
// from then on (ioctl FS_IOC_SHUTDOWN, without a flush of the log).
func (d *disk) cutPower() error {
	const shutdown, noLogFlush = 0x8004587d, uint32(2)
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	flag := noLogFlush
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flag))); errno != 0 {
		return fmt.Errorf("FS_IOC_SHUTDOWN: %w", errno)
	}
	return nil
}

// remount unmounts and mounts again, as a machine does that gets its power
// back.
func (d *disk) remount() {
	d.t.Helper()
	// Whoever was killed may hold files for a moment.
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		err := unix.Unmount(d.dir, 0)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EBUSY) || time.Since(begun) > patience {
			d.t.Fatalf("umount: %v", err)
		}
	}
	d.mount()
}

// mount mounts the image.
func (d *disk) mount() {
	d.t.Helper()
	args := []string{"-t", d.kind, d.image, d.dir}
	if d.loop {
		args = append(args, "-o", "loop")
	}
	d.must("mount", args...)
}
