package tests

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// containers are hosts that are containers of an image with nothing but the static
// program, on a network of their own that leads nowhere else.
type containers struct {
	t     *testing.T
	name  string
	image string
	block string // of addresses: three of their four numbers
	hosts []int
}

// newContainers makes the image and the network, until the test ends, or skips the test
// where there is no engine for that: nothing is downloaded.
func newContainers(t *testing.T) *containers {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to run containers with work directories of this test")
	}
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("there is no container engine: docker is not installed")
	}
	docker := func(args ...string) {
		t.Helper()
		cmd := exec.Command("docker", args...)
		cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0") // the other builder is one more program
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("the container engine does not work here: docker %s: %v: %s", args[0], err, out)
		}
	}
	docker("info")
	pid := os.Getpid()
	n := &containers{t: t, name: fmt.Sprintf("logd-tests-%d", pid), block: fmt.Sprintf("198.18.%d", 1+pid%250)}
	n.image = n.name
	remove := fmt.Sprintf("{ docker ps -aq --filter name=^%[1]s- | xargs -r docker rm -f; docker network rm %[1]s; docker rmi -f %[1]s; } >/dev/null 2>&1", n.name)
	release := guard(t, remove)
	t.Cleanup(func() {
		exec.Command("sh", "-c", remove).Run()
		release()
	})

	// The program stands where it stands outside, so that one command line is right for
	// processes and containers.
	dir := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "logd"), "./cmd/logd")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the static program: %v\n%s", err, out)
	}
	file := fmt.Sprintf("FROM scratch\nCOPY logd %s\n", built.logd)
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	docker("build", "-q", "-t", n.image, dir)
	docker("network", "create", "--internal", "--subnet", n.block+".0/24", n.name)
	return n
}

func (n *containers) container(host int) string { return fmt.Sprintf("%s-%d", n.name, host) }

func (n *containers) address(host int) string { return fmt.Sprintf("%s.%d", n.block, 1+host) } // the clients' is the bridge's

func (n *containers) host(host int) (string, []string) {
	n.hosts = append(n.hosts, host)
	temp := filepath.Dir(n.t.TempDir()) // where all of this test's are
	return n.address(host), []string{"docker", "run", "--rm", "--name", n.container(host), "--network", n.name, "--ip", n.address(host),
		"--pull", "never", "--volume", temp + ":" + temp, "--volume", built.noConfig + ":" + built.noConfig + ":ro", n.image}
}

func (n *containers) dial(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// inside makes a command that runs in the network namespace of a host's container.
func (n *containers) inside(host int, args ...string) (*exec.Cmd, error) {
	pid, err := exec.Command("docker", "inspect", "--format", "{{.State.Pid}}", n.container(host)).Output()
	if err != nil {
		return nil, fmt.Errorf("docker inspect: %w", err)
	}
	return exec.Command("nsenter", append([]string{"--net=/proc/" + strings.TrimSpace(string(pid)) + "/ns/net"}, args...)...), nil
}

func (n *containers) cut(from, to int, how string) error {
	nft, err := n.inside(to, "nft", "-f", "-")
	if err != nil {
		return err
	}
	return refusePackets(nft, n.address(from), how)
}

func (n *containers) heal() error {
	for _, host := range n.hosts {
		nft, err := n.inside(host, "nft", "flush", "ruleset")
		if err != nil {
			continue // it does not run, and has no rules when it does again
		}
		if out, err := nft.CombinedOutput(); err != nil {
			return fmt.Errorf("nft flush ruleset: %w: %s", err, out)
		}
	}
	return nil
}

func (n *containers) signal(host int, s *server, sig syscall.Signal) error {
	args := []string{"kill", "--signal", fmt.Sprint(int(sig)), n.container(host)}
	switch sig {
	case syscall.SIGSTOP:
		args = []string{"pause", n.container(host)}
	case syscall.SIGCONT:
		args = []string{"unpause", n.container(host)}
	}
	if out, err := exec.Command("docker", args...).CombinedOutput(); err != nil && s.running() {
		return fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// TestClusterContainers has things happen to a cluster of three containers: as many of
// the same as there is time for.
func TestClusterContainers(t *testing.T) {
	t.Parallel()
	if os.Getenv("LOGD_CLUSTER_ALL") == "" && setting(t, "LOGD_CLUSTER_SOAK", 0) == 0 {
		t.Skip("takes long: LOGD_CLUSTER_ALL=1 has it run")
	}
	n := newContainers(t)
	var all []nemesis
	for _, one := range nemeses {
		if slices.Contains([]string{"kill the leader", "kill all", "a long stop of the leader", "transfers", "a rolling restart", "the leader is cut off", "a lost disk"}, one.name) {
			all = append(all, one)
		}
	}
	logGaps(t, runNemeses(t, n, shortTimeout, random(t), all...))
}
