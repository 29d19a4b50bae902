package tests

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// network is where the members of a cluster run: each has an address of its own.
type network interface {
	// host returns the address of the n-th host, counted from 1, and what has to stand
	// before a command that is to run there.
	host(n int) (ip string, command []string)
	// dial connects as a client does that is none of the hosts.
	dial(ctx context.Context, addr string) (net.Conn, error)
	// cut has packets from one host to another one be lost, as drop says; 0 is the
	// clients'. Nil where a network can't.
	cut(from, to int, how string) error
	// heal undoes all cuts.
	heal() error
	// signal sends a signal to what runs on a host.
	signal(host int, s *server, sig syscall.Signal) error
}

// processes are what runs on this machine, and can be sent any signal.
type processes struct{}

func (processes) signal(_ int, s *server, sig syscall.Signal) error {
	err := s.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Ways to lose packets: all of them, a fifth, or with an end of the connection.
const (
	dropAll   = "drop"
	dropSome  = "numgen random mod 100 < 20 drop"
	resetThem = "meta l4proto tcp reject with tcp reset"
)

var errNoCuts = fmt.Errorf("this network can't be cut")

// loopback is the machine's own network: hosts are addresses of 127.0.0.0/8.
type loopback struct {
	processes
	prefix string
}

var loopbacks atomic.Uint32

func newLoopback() *loopback {
	return &loopback{prefix: fmt.Sprintf("127.%d.%d", 1+os.Getpid()%250, loopbacks.Add(1)%250)}
}

func (l *loopback) host(n int) (string, []string) { return fmt.Sprintf("%s.%d", l.prefix, n), nil }

func (l *loopback) dial(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

func (l *loopback) cut(int, int, string) error { return errNoCuts }
func (l *loopback) heal() error                { return nil }

// namespaces are a network namespace for each host, and one for the clients with the
// bridge between them. Nothing of it can be seen from outside of this process, whose
// mount namespace has their names; so nothing is left behind, however it ends. The
// addresses are of a block that is set aside for tests of networks.
type namespaces struct {
	processes
	t     testing.TB
	name  string
	hosts map[int]bool
	hub   int // descriptor of the clients' namespace
}

// namespacesMounted is set when names of namespaces are this process's own.
var namespacesMounted atomic.Bool

// newNamespaces makes the network for a test, or skips the test where that is not
// possible.
func newNamespaces(t *testing.T, name string) *namespaces {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	if os.Getenv(ownNamespace) == "" {
		cannot(t, "this machine gives no mount namespace, so network namespaces would be left behind")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			cannot(t, "needs %s (Debian's packages iproute2 and nftables)", tool)
		}
	}
	if !namespacesMounted.Swap(true) {
		err := os.MkdirAll("/run/netns", 0o755)
		if err == nil {
			err = unix.Mount("netns", "/run/netns", "tmpfs", 0, "")
		}
		if err != nil {
			cannot(t, "names for network namespaces: %v", err)
		}
	}
	n := &namespaces{t: t, name: fmt.Sprintf("%s-%d", name, loopbacks.Add(1)), hosts: make(map[int]bool), hub: -1}
	t.Cleanup(n.remove)
	if err := n.run("ip", "netns", "add", n.ns(0)); err != nil {
		cannot(t, "this machine makes no network namespaces: %v", err)
	}
	for _, line := range []string{
		"link set lo up",
		"link add bridge type bridge",
		"addr add 198.18.0.254/24 dev bridge",
		"link set bridge up",
	} {
		n.must("ip", append([]string{"-n", n.ns(0)}, strings.Fields(line)...)...)
	}
	var err error
	if n.hub, err = unix.Open("/run/netns/"+n.ns(0), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *namespaces) ns(host int) string { return fmt.Sprintf("%s-%d", n.name, host) }

func (n *namespaces) address(host int) string {
	if host == 0 {
		return "198.18.0.254"
	}
	return fmt.Sprintf("198.18.0.%d", host)
}

func (n *namespaces) run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func (n *namespaces) must(name string, args ...string) {
	n.t.Helper()
	if err := n.run(name, args...); err != nil {
		n.t.Fatal(err)
	}
}

func (n *namespaces) remove() {
	for host := range n.hosts {
		n.run("ip", "netns", "del", n.ns(host))
	}
	n.run("ip", "netns", "del", n.ns(0))
	if n.hub >= 0 {
		unix.Close(n.hub)
	}
}

func (n *namespaces) host(host int) (string, []string) {
	n.t.Helper()
	if !n.hosts[host] {
		n.hosts[host] = true
		n.must("ip", "netns", "add", n.ns(host))
		port := fmt.Sprintf("port%d", host)
		n.must("ip", "-n", n.ns(0), "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", n.ns(host))
		n.must("ip", "-n", n.ns(0), "link", "set", port, "master", "bridge", "up")
		n.must("ip", "-n", n.ns(host), "link", "set", "lo", "up")
		n.must("ip", "-n", n.ns(host), "addr", "add", n.address(host)+"/24", "dev", "eth0")
		n.must("ip", "-n", n.ns(host), "link", "set", "eth0", "up")
	}
	return n.address(host), []string{"ip", "netns", "exec", n.ns(host)}
}

// dial has the socket be made by a thread in the clients' namespace: it stays there. The
// thread goes back, since it must not end: the processes that it has started would, too.
func (n *namespaces) dial(ctx context.Context, addr string) (net.Conn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(own)
	if err := unix.Setns(n.hub, unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter the clients' network namespace: %w", err)
	}
	defer func() {
		if err := unix.Setns(own, unix.CLONE_NEWNET); err != nil {
			panic(fmt.Sprintf("back from the clients' network namespace: %v", err))
		}
	}()
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

func (n *namespaces) cut(from, to int, how string) error {
	return refusePackets(exec.Command("ip", "netns", "exec", n.ns(to), "nft", "-f", "-"), n.address(from), how)
}

// refusePackets gives nft a rule about packets from an address.
func refusePackets(nft *exec.Cmd, from, how string) error {
	nft.Stdin = strings.NewReader(fmt.Sprintf("add table ip cut\nadd chain ip cut in { type filter hook input priority 0; }\nadd rule ip cut in ip saddr %s %s\n", from, how))
	if out, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

func (n *namespaces) heal() error {
	for host := range n.hosts {
		if err := n.run("ip", "netns", "exec", n.ns(host), "nft", "flush", "ruleset"); err != nil {
			return err
		}
	}
	return n.run("ip", "netns", "exec", n.ns(0), "nft", "flush", "ruleset")
}

// dialFor is dial with a bound on the time.
func dialFor(n network, addr string, d time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return n.dial(ctx, addr)
}
