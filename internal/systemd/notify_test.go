package systemd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// manager is a socket as the service manager has it.
func manager(t *testing.T, name string) (read func() string) {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return func() string {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 4096)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestNotify(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@logd-test-%d", os.Getpid())} {
		read := manager(t, name)
		n, err := NewNotifier([]string{"A=b", "NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=30000000"})
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			send func() error
			want string // an expression
		}{
			{func() error { return n.Ready("takes requests") }, `READY=1\nSTATUS=takes requests`},
			{func() error { return n.Status("3 of 4\nREADY=1", 0) }, `STATUS=3 of 4 READY=1`},
			{func() error { return n.Status("3 of 4", 30*time.Second) }, `STATUS=3 of 4\nEXTEND_TIMEOUT_USEC=30000000`},
			{n.Reloading, `RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*`},
			{func() error { return n.Stopping("") }, `STOPPING=1\nSTATUS=`},
			{n.Alive, `WATCHDOG=1`},
		} {
			if err := test.send(); err != nil {
				t.Error(err)
			}
			if got := read(); !regexp.MustCompile("^" + test.want + "$").MatchString(got) {
				t.Errorf("%q, want %q", got, test.want)
			}
		}
		if d := n.Watchdog(); d != 15*time.Second {
			t.Errorf("watchdog %v", d)
		}
	}
}

// TestNobodyToNotify: without a manager nothing is said, and one that is gone is an error.
func TestNobodyToNotify(t *testing.T) {
	n, err := NewNotifier(nil)
	if n != nil || err != nil || n.Ready("x") != nil || n.Status("x", 1) != nil || n.Alive() != nil || n.Stopping("") != nil || n.Reloading() != nil || n.Watchdog() != 0 {
		t.Errorf("%v, %v", n, err)
	}
	n, err = NewNotifier([]string{"NOTIFY_SOCKET=" + filepath.Join(t.TempDir(), "gone")})
	if err != nil || n.Ready("x") == nil {
		t.Errorf("%v: no error without a socket", err)
	}
}

func TestEnvironment(t *testing.T) {
	own := fmt.Sprint(os.Getpid())
	for _, test := range []struct {
		env      string
		watchdog time.Duration
		bad      bool
		none     bool
	}{
		{"NOTIFY_SOCKET=/run/x", 0, false, false},
		{"NOTIFY_SOCKET=", 0, false, true},
		{"NOTIFY_SOCKET=x", 0, true, true},
		{"NOTIFY_SOCKET=@", 0, true, true},
		{"NOTIFY_SOCKET=/" + strings.Repeat("x", 200), 0, true, true},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=2000000", time.Second, false, false},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=2000000 WATCHDOG_PID=" + own, time.Second, false, false},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=2000000 WATCHDOG_PID=1", 0, false, false},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=-1", 0, true, false},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=99999999999999999999", 0, true, false},
	} {
		n, err := NewNotifier(strings.Fields(test.env))
		if (err != nil) != test.bad || (n == nil) != test.none || n.Watchdog() != test.watchdog {
			t.Errorf("%s: %v, %v, watchdog %v", test.env, n, err, n.Watchdog())
		}
	}
}

// FuzzEnvironment: whatever the variables are, nothing panics, and times are in range.
func FuzzEnvironment(f *testing.F) {
	f.Add("/run/systemd/notify", "30000000", "1")
	f.Add("@x", "", "")
	f.Add("vsock:2:3", "-1", "x")
	f.Fuzz(func(t *testing.T, socket, usec, pid string) {
		n, err := NewNotifier([]string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=" + usec, "WATCHDOG_PID=" + pid})
		if d := n.Watchdog(); d < 0 || d > 365*24*time.Hour || n == nil && err == nil && socket != "" {
			t.Errorf("%v, %v, %v", n, err, d)
		}
	})
}
