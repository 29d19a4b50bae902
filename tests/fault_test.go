package tests

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFullDisk fills the disk under a server: writers are told so at once,
// readers notice nothing, and writes come back by themselves.
func TestFullDisk(t *testing.T) {
	d := newDisk(t, "tmpfs", "12m")
	filler := filepath.Join(d.dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, filepath.Join(d.dir, "data"))
	c := dial(t, s.addr)
	var want []string
	body := strings.Repeat("x", 60_000)
	full := false
	for i := range 200 {
		b := encode("t", fmt.Sprint(i, body))
		c.write("%s", b)
		_, _, err := c.offset()
		if err == refusal("read only") {
			full = true
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, b)
	}
	if !full {
		t.Fatal("the disk did not get full")
	}
	wires := func(batches []batch) (all []string) {
		for _, b := range batches {
			all = append(all, b.wire)
		}
		return all
	}
	if got := wires(stored(t, s.addr, "t")); !slices.Equal(got, want) {
		t.Fatalf("%d batches can be read on a full disk, want %d", len(got), len(want))
	}
	if status, text := get(t, s.http, "/readyz"); status != 503 || !strings.Contains(text, "read only") {
		t.Errorf("/readyz is %d %q on a full disk", status, text)
	}
	if status, _ := get(t, s.http, "/healthz"); status != 200 {
		t.Errorf("/healthz is %d on a full disk", status)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	last := encode("t", "there is room again")
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		c.write("%s", last)
		_, _, err := c.offset()
		if err == nil {
			break
		}
		if err != refusal("read only") || time.Since(begun) > patience {
			t.Fatalf("with room again: %v", err)
		}
	}
	want = append(want, last)
	if status, text := get(t, s.http, "/readyz"); status != 200 {
		t.Errorf("/readyz is %d %q with room again", status, text)
	}
	s.kill()
	s = start(t, filepath.Join(d.dir, "data"))
	if got := wires(stored(t, s.addr, "t")); !slices.Equal(got, want) {
		t.Fatalf("%d batches after a restart, want %d", len(got), len(want))
	}
}

// TestFullDiskPipelined fills the disk by batches of all sizes that are sent
// before the answers to those before them: what was answered OK is stored, then
// and after kill -9, and of what was refused nothing, however much of it had been
// written when the disk was full.
func TestFullDiskPipelined(t *testing.T) {
	r := random(t)
	for _, flush := range []string{"0", "1"} {
		t.Run("flush-batches="+flush, func(t *testing.T) {
			d := newDisk(t, "tmpfs", "4m")
			dir := filepath.Join(d.dir, "data")
			s := start(t, dir, "--flush-batches", flush, "--partition-size", "1MiB", "--partitions", "1000")
			c := dial(t, s.addr)
			var want []string
			refusals := 0
			for round := 0; refusals < 100 && round < 200; round++ {
				sent := make([]string, 20)
				for i := range sent {
					sent[i] = encode("t", fmt.Sprint(round, ".", i), strings.Repeat("x", r.IntN(60_000)>>r.IntN(10)))
				}
				c.write("%s", strings.Join(sent, ""))
				for _, b := range sent {
					switch _, _, err := c.offset(); err {
					case nil:
						want = append(want, b)
					case refusal("read only"):
						refusals++
					default:
						t.Fatal(err)
					}
				}
			}
			if refusals < 100 {
				t.Fatal("the disk did not get full")
			}
			for _, when := range []string{"on a full disk", "after kill -9"} {
				var got []string
				for _, b := range stored(t, s.addr, "t") {
					got = append(got, b.wire)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: %d batches are stored, %d were answered OK", when, len(got), len(want))
				}
				s.kill()
				s = start(t, dir, "--partitions", "1000")
			}
		})
	}
}

// TestReadOnlyMount starts on a disk that can't be written.
func TestReadOnlyMount(t *testing.T) {
	d := newDisk(t, "ext4", "64M")
	dir := filepath.Join(d.dir, "data")
	s := start(t, dir)
	dial(t, s.addr).append("t", "one")
	s.stop()
	d.must("mount", "-o", "remount,ro", d.dir)
	code, says := refused(t, dir)
	if code == 0 || !strings.Contains(says, "read-only file system") || !strings.Contains(says, dir) {
		t.Errorf("exit code %d, saying:\n%s", code, says)
	}
	d.must("mount", "-o", "remount,rw", d.dir)
	s = start(t, dir)
	if got := stored(t, s.addr, "t"); len(got) != 1 {
		t.Errorf("%d batches are left", len(got))
	}
}

// TestNoDescriptors opens more connections than the server has descriptors
// for: those that it has go on, and it takes new ones when there is room.
func TestNoDescriptors(t *testing.T) {
	if _, err := exec.LookPath("prlimit"); err != nil {
		cannot(t, "prlimit is not installed")
	}
	s := launch(t, []string{"prlimit", "--nofile=64:64"}, filepath.Join(t.TempDir(), "data"))
	line := s.await("logd takes requests")
	s.addr, s.http = line["addr"].(string), line["http"].(string)
	good := dial(t, s.addr)
	good.append("t", "before")
	var idle []net.Conn
	for range 100 { // some wait in the listener's backlog
		c, err := net.DialTimeout("tcp", s.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	// The files of topics have descriptors of their own.
	for i := range 20 {
		good.write("PING\r\n")
		good.line("OK")
		good.append("t", fmt.Sprint("while ", i))
		good.append(fmt.Sprint("new", i), "while")
	}
	busy := 0
	for _, c := range idle {
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if b, err := io.ReadAll(c); err == nil && string(b) == "ERR busy\r\n" {
			busy++
		}
		c.Close()
	}
	if busy < 50 {
		t.Errorf("%d of 100 clients were told that the server is busy", busy)
	}
	// It takes a moment until the server knows that they are gone.
	for end := time.Now().Add(patience); ; {
		fresh := dial(t, s.addr)
		err := fresh.send(encode("t2", "after"))
		if err == nil {
			_, _, err = fresh.offset()
		}
		if err == nil {
			break
		}
		if err != refusal("busy") || time.Now().After(end) {
			t.Fatalf("with room again: %v", err)
		}
	}
	if got := stored(t, s.addr, "t"); len(got) != 21 {
		t.Errorf("%d batches are stored, want 21", len(got))
	}
}

// TestFrozenDisk freezes the disk: what waits for it is bounded, the rest is
// told that the server is busy, and what needs no disk is answered.
func TestFrozenDisk(t *testing.T) {
	d := newDisk(t, "ext4", "256M")
	s := start(t, filepath.Join(d.dir, "data"), "--batch-size", "1MiB", "--timeout", "5m", "--idle-timeout", "5m")
	ping := dial(t, s.addr)
	ping.append("t", "before")
	thaw := freeze(t, d)
	// 64 MiB may wait for one topic.
	const writers = 100
	b := encode("t", strings.Repeat("x", 1<<20-200))
	answers := make(chan error, writers)
	for range writers {
		go func() {
			c, err := connect(s.addr)
			if err == nil {
				defer c.close()
				if err = c.send(b); err == nil {
					_, _, err = c.offset()
				}
			}
			answers <- err
		}()
	}
	busy := 0
	for busy < writers-70 {
		select {
		case err := <-answers:
			if err != refusal("busy") {
				t.Fatalf("an append to a frozen disk: %v", err)
			}
			busy++
		case <-time.After(patience):
			t.Fatalf("only %d of %d writers were told that the server is busy", busy, writers)
		}
	}
	for range 10 {
		ping.write("PING\r\n")
		ping.line("OK")
	}
	if status, _ := get(t, s.http, "/healthz"); status != 200 {
		t.Errorf("/healthz is %d", status)
	}
	thaw()
	done := 0
	for range writers - busy {
		switch err := <-answers; err {
		case nil:
			done++
		case refusal("busy"):
		default:
			t.Errorf("after the thaw: %v", err)
		}
	}
	if got := len(stored(t, s.addr, "t")); got != done+1 {
		t.Errorf("%d batches are stored, %d were acknowledged", got, done+1)
	}
	t.Logf("%d busy, %d stored", writers-done, done)
}

// freeze stops writes to the disk until the function that it returns is
// called, at the test's end at the latest.
func freeze(t testing.TB, d *disk) (thaw func()) {
	t.Helper()
	const fiFreeze, fiThaw = 0xc0045877, 0xc0045878
	f, err := os.Open(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	release := guard(t, "fsfreeze --unfreeze "+d.dir)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiFreeze, 0); errno != 0 {
		release()
		f.Close()
		t.Fatalf("FIFREEZE: %v", errno)
	}
	frozen := true
	thaw = func() {
		if frozen {
			frozen = false
			unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiThaw, 0)
			f.Close()
			release()
		}
	}
	t.Cleanup(thaw)
	return thaw
}
