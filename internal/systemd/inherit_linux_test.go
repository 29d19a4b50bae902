package systemd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInheritedNames: who the sockets are for, and what each socket is.
func TestInheritedNames(t *testing.T) {
	for _, test := range []struct {
		env, want string
		bad       string // what the error names
	}{
		{"", "", ""},
		{"LISTEN_FDS=1", "", ""},
		{"LISTEN_PID=7", "", ""},
		{"LISTEN_PID=8 LISTEN_FDS=1 LISTEN_FDNAMES=x:y", "", ""}, // another process's
		{"LISTEN_PID=7 LISTEN_FDS=0", "", ""},
		{"LISTEN_PID=7 LISTEN_FDS=1", "protocol", ""},
		{"LISTEN_PID=7 LISTEN_FDS=2", "protocol http", ""},
		{"LISTEN_PID=7 LISTEN_FDS=2 LISTEN_FDNAMES=", "protocol http", ""},
		{"LISTEN_PID=7 LISTEN_FDS=2 LISTEN_FDNAMES=logd.socket:logd.socket", "protocol http", ""},
		{"LISTEN_PID=7 LISTEN_FDS=1 LISTEN_FDNAMES=http", "http", ""},
		{"LISTEN_PID=7 LISTEN_FDS=3 LISTEN_FDNAMES=unix:http:protocol", "unix http protocol", ""},
		{"LISTEN_PID=7 LISTEN_FDS=3", "", "LISTEN_FDS is 3"},
		{"LISTEN_PID=7 LISTEN_FDS=3 LISTEN_FDNAMES=a:a:a", "", "LISTEN_FDS is 3"},
		{"LISTEN_PID=7 LISTEN_FDS=2 LISTEN_FDNAMES=http", "", "LISTEN_FDNAMES"},
		{"LISTEN_PID=7 LISTEN_FDS=1 LISTEN_FDNAMES=http:unix", "", "LISTEN_FDNAMES"},
		{"LISTEN_PID=7 LISTEN_FDS=2 LISTEN_FDNAMES=http:", "", "LISTEN_FDNAMES"},
		{"LISTEN_PID=7 LISTEN_FDS=2 LISTEN_FDNAMES=http:web", "", "LISTEN_FDNAMES"},
		{"LISTEN_PID=7 LISTEN_FDS=2 LISTEN_FDNAMES=unix:unix", "", "one socket unix"},
		{"LISTEN_PID=7 LISTEN_FDS=-1", "", "LISTEN_FDS"},
		{"LISTEN_PID=7 LISTEN_FDS=one", "", "LISTEN_FDS"},
		{"LISTEN_PID=x LISTEN_FDS=1", "", "LISTEN_PID"},
		{"LISTEN_PID=0 LISTEN_FDS=1", "", "LISTEN_PID"},
		{"LISTEN_PID=4294967303 LISTEN_FDS=1", "", "LISTEN_PID"}, // 7 in 32 bits
	} {
		names, err := inherited(strings.Fields(test.env), 7)
		if got := strings.Join(names, " "); got != test.want || (err != nil) != (test.bad != "") || err != nil && !strings.Contains(err.Error(), test.bad) {
			t.Errorf("%s: %q, %v", test.env, got, err)
		}
	}
}

// FuzzInherited: whatever the variables are, nothing panics, and each socket that is taken
// is for one thing, which no other is for.
func FuzzInherited(f *testing.F) {
	f.Add("7", "2", "protocol:http")
	f.Add("7", "1", "")
	f.Add("7", "3", "unix:http:protocol")
	f.Add("x", "99999999999999999999", ":")
	f.Add("7", "-1", "::::")
	f.Fuzz(func(t *testing.T, pid, count, text string) {
		names, err := inherited([]string{"LISTEN_PID=" + pid, "LISTEN_FDS=" + count, "LISTEN_FDNAMES=" + text}, 7)
		sorted := slices.Compact(slices.Sorted(slices.Values(names)))
		if len(sorted) != len(names) || err != nil && names != nil {
			t.Errorf("%q, %v", names, err)
		}
		for _, name := range names {
			if name != nameProtocol && name != nameHTTP && name != nameUnix {
				t.Errorf("a socket %q", name)
			}
		}
	})
}

// TestCheckSocket: what is no socket for its purpose is found before it is used.
func TestCheckSocket(t *testing.T) {
	file := func(f interface{ File() (*os.File, error) }) int {
		t.Helper()
		d, err := f.File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return int(d.Fd())
	}
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	name := filepath.Join(t.TempDir(), "s")
	path, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer path.Close()
	packets, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: name + "p", Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	connected, err := net.DialTCP("tcp", nil, tcp.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, test := range []struct {
		what string
		fd   int
		name string
		bad  string
	}{
		{"TCP", file(tcp), nameProtocol, ""},
		{"TCP", file(tcp), nameHTTP, ""},
		{"TCP", file(tcp), nameUnix, "no unix socket"},
		{"unix", file(path), nameProtocol, ""},
		{"unix", file(path), nameUnix, ""},
		{"unix", file(path), nameHTTP, "TCP alone"},
		{"packets", file(packets), nameUnix, "streams"},
		{"connected", file(connected), nameProtocol, "does not listen"},
		{"a file", int(null.Fd()), nameProtocol, "no socket"},
		{"closed", 1 << 20, nameProtocol, "not open"},
	} {
		err := checkSocket(test.fd, test.name)
		if (err != nil) != (test.bad != "") || err != nil && !strings.Contains(err.Error(), test.bad) {
			t.Errorf("%s as %s: %v, want %q", test.what, test.name, err, test.bad)
		}
	}
}

// TestTake: what is taken serves, does not go on to programs that are started, and a path
// stays when it is closed.
func TestTake(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	manager, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	f, err := manager.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd())) // which, like one that is inherited, goes on to programs
	if err != nil {
		t.Fatal(err)
	}
	l, err := take(fd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
		if to, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); strings.HasPrefix(to, "socket:") {
			t.Error("the descriptor is still there")
		}
	}
	raw, err := l.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %x, %v: programs that are started would have it", flags, err)
		}
	})
	c, err := net.Dial("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(name); err != nil {
		t.Errorf("the path is gone: %v", err)
	}
}
