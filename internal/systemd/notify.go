package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Notifier tells the service manager how the service is. On a nil Notifier all methods
// do nothing.
type Notifier struct {
	addr     net.UnixAddr
	watchdog time.Duration
}

// NewNotifier returns the Notifier of an environment, as os.Environ has it: nil if
// nobody wants to be told. An error names the variable that makes no sense; there may be
// a Notifier all the same.
func NewNotifier(env []string) (*Notifier, error) {
	path := lookup(env, "NOTIFY_SOCKET")
	if path == "" {
		return nil, nil
	}
	if path[0] != '/' && path[0] != '@' || len(path) < 2 || len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		return nil, fmt.Errorf("systemd: NOTIFY_SOCKET is %.120q: want the path of a socket, or @ and a name", path)
	}
	n := &Notifier{addr: net.UnixAddr{Name: path, Net: "unixgram"}}
	var err error
	n.watchdog, err = watchdogOf(env)
	return n, err
}

// watchdogOf returns within which time the manager wants to hear from this process: 0 for
// not at all.
func watchdogOf(env []string) (time.Duration, error) {
	text := lookup(env, "WATCHDOG_USEC")
	if text == "" {
		return 0, nil
	}
	if pid := lookup(env, "WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil // it is about another process
	}
	const most = int64(365 * 24 * time.Hour / time.Microsecond)
	usec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || usec <= 0 || usec > most {
		return 0, fmt.Errorf("systemd: WATCHDOG_USEC is %.40q: want microseconds", text)
	}
	return time.Duration(usec) * time.Microsecond, nil
}

func lookup(env []string, name string) string {
	for _, e := range env {
		if key, value, _ := strings.Cut(e, "="); key == name {
			return value
		}
	}
	return ""
}

// sendTimeout bounds a message to a manager that does not read.
const sendTimeout = time.Second

// send sends assignments in one datagram. What is told matters to the manager alone: an
// error changes nothing.
func (n *Notifier) send(assignments ...string) error {
	if n == nil {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &n.addr)
	if err != nil {
		return fmt.Errorf("systemd: notify: %w", err)
	}
	c.SetWriteDeadline(time.Now().Add(sendTimeout))
	_, err = c.Write([]byte(strings.Join(assignments, "\n")))
	return errors.Join(err, c.Close())
}

// Ready tells that the service is there, or, after Reloading, that it goes on.
func (n *Notifier) Ready(status string) error { return n.send("READY=1", statusLine(status)) }

// Status tells people what the service does. With extend, the manager waits so long
// from now on for a start, a reload or a stop that is under way.
func (n *Notifier) Status(status string, extend time.Duration) error {
	if extend > 0 {
		return n.send(statusLine(status), "EXTEND_TIMEOUT_USEC="+strconv.FormatInt(extend.Microseconds(), 10))
	}
	return n.send(statusLine(status))
}

// Reloading tells that settings are being read again; Ready ends that.
func (n *Notifier) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("systemd: clock: %w", err)
	}
	// In the same datagram, or the manager takes it for another reload.
	return n.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/1000, 10))
}

// Stopping tells that the service ends.
func (n *Notifier) Stopping(status string) error { return n.send("STOPPING=1", statusLine(status)) }

// Alive tells that the service works, see Watchdog.
func (n *Notifier) Alive() error { return n.send("WATCHDOG=1") }

// Watchdog returns how often Alive is to be called, or 0 for never. It is half of the time
// after which the manager takes the service for one that hangs.
func (n *Notifier) Watchdog() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog / 2
}

// statusLine makes a text one line.
func statusLine(text string) string {
	return "STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
