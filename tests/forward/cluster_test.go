package forward

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
)

// TestCluster kills the leader of a cluster of three again and again under files and a
// sender of MSG: every line is stored once, and in its order.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	s := &scene{t: t, dir: t.TempDir(), state: t.TempDir(), http: port(t)}
	var addrs, peers, work []string
	for range 3 {
		addrs, peers, work = append(addrs, port(t)), append(peers, port(t)), append(work, t.TempDir())
	}
	cmd := exec.Command(filepath.Join(built, "logd"), "cluster", "init", "--workdir", work[0], "--node", "n0", "--host", addrs[0], "--peer-host", peers[0])
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("init: %v", err)
	}
	id := strings.TrimSpace(string(out))
	members := make([]*process, 3)
	start := func(i int) {
		args := []string{"--node", fmt.Sprint("n", i), "--workdir", work[i], "--host", addrs[i], "--peer-host", peers[i], "--http-host", ""}
		if i > 0 {
			args = append(args, "--join", peers[0], "--cluster", id)
		}
		members[i] = launch(t, "logd", args...)
	}
	for i := range members {
		start(i)
		members[i].await("takes requests")
	}
	s.addr = strings.Join(addrs, ",")
	if s.client, err = logd.NewClient(logd.ClientConfig{Addrs: addrs, ReconnectAttempts: logd.Unlimited}); err != nil {
		t.Fatal(err)
	}
	defer s.client.Close()
	operator := admin.New(s.client)
	await(t, "all three are voters", func() bool {
		c, err := operator.Cluster(t.Context())
		voters := 0
		for _, m := range c.Members {
			if m.Role == "voter" {
				voters++
			}
		}
		return err == nil && voters == 3
	})

	s.flags = []string{"--scan-interval", "50ms"}
	path := filepath.Join(s.dir, "app.log")
	s.forward("--topic", "t", "file:"+path)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop := make(chan struct{})
	var writer sync.WaitGroup
	n := 0
	writer.Go(func() {
		for !closed(stop) {
			for range 10 {
				fmt.Fprintf(f, "w %d %s\n", n, strings.Repeat("x", n%100))
				n++
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	for range times(3) {
		time.Sleep(500 * time.Millisecond)
		leader := -1
		await(t, "somebody leads", func() bool {
			text, err := s.client.Command(t.Context(), "INFO t")
			if err != nil {
				return false
			}
			for i, addr := range addrs {
				c, err := logd.NewClient(logd.ClientConfig{Addrs: []string{addr}, ReconnectAttempts: 1})
				if err != nil {
					t.Fatal(err)
				}
				text, err = c.Command(t.Context(), "INFO t")
				c.Close()
				if err == nil && strings.Contains(string(text.Body), "Role: leader") {
					leader = i
				}
			}
			return leader >= 0
		})
		members[leader].kill()
		before := s.count("t")
		await(t, "another one leads, and takes lines", func() bool { return s.count("t") > before })
		start(leader)
		members[leader].await("takes requests")
	}
	close(stop)
	writer.Wait()
	await(t, "all is stored", func() bool { return s.count("t") >= int64(n) })
	if code := s.agent.stop(); code != 0 {
		t.Errorf("the agent ends with %d", code)
	}
	sequence(t, s.read("t"), map[string]int{"w": n})
	s.clean()
}
