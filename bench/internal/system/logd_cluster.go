package system

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/bench/internal/process"
)

// Setups implements Clustered.
func (s *Logd) Setups() []Setup {
	setup := func(name, durability string, members int) Setup {
		return Setup{name, durability, members, func(ctx context.Context, dir string, heldBack int) (Cluster, error) {
			return s.startCluster(ctx, dir, members, heldBack)
		}}
	}
	return []Setup{
		setup("single", s.Durability(true), 0),
		setup("one member", "on stable storage before the reply", 1),
		setup("three members", "on stable storage of two of three before the reply", 3),
	}
}

// logdCluster are members a, b, c, or one server alone.
type logdCluster struct {
	system  *Logd
	dir, id string // of the cluster; "": one server alone
	whole   int    // members that there shall be
	addrs   []string
	peers   []string
	members []*logdServer
}

// startCluster starts members; 0: one server alone.
func (s *Logd) startCluster(ctx context.Context, dir string, members, heldBack int) (_ Cluster, err error) {
	c := &logdCluster{system: s, dir: dir, whole: members}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	n := max(members, 1)
	if c.addrs, err = fixedAddrs(n); err != nil {
		return nil, err
	}
	if c.peers, err = fixedAddrs(n); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "logd.toml") // none of the machine's
	if err := os.WriteFile(conf, nil, 0o600); err != nil {
		return nil, err
	}
	if members > 0 {
		args := append([]string{"cluster", "init"}, c.args(0)...)
		if c.id, err = output(ctx, dir, s.path, args...); err != nil {
			return nil, err
		}
	}
	for range n - heldBack {
		if err := c.Join(ctx); err != nil {
			return nil, err
		}
	}
	if heldBack > 0 {
		return c, nil
	}
	if err := c.Whole(ctx); err != nil {
		return nil, err
	}
	return c, c.Lead(ctx, 0)
}

// name is what the ith member is called.
func (*logdCluster) name(i int) string { return string(rune('a' + i)) }

// args are the flags of the ith member.
func (c *logdCluster) args(i int) []string {
	args := []string{
		"--config", filepath.Join(c.dir, "logd.toml"), "--workdir", filepath.Join(c.dir, c.name(i), "data"),
		"--host", c.addrs[i], "--http-host", "", "--topics", "0",
	}
	if !strings.HasPrefix(c.addrs[i], "127.") {
		args = append(args, "--insecure")
	}
	if c.whole == 0 {
		return append(args, "--flush-batches", "1")
	}
	args = append(args, "--node", c.name(i), "--peer-host", c.peers[i], "--catch-up-rate", "0")
	if i > 0 {
		args = append(args, "--join", c.peers[0], "--cluster", c.id)
	}
	return args
}

// start starts the ith member and returns when it answers.
func (c *logdCluster) start(ctx context.Context, i int) (*logdServer, error) {
	dir, err := folder(c.dir, c.name(i))
	if err != nil {
		return nil, err
	}
	p, err := process.Start(process.Command{Path: c.system.path, Args: c.args(i), Dir: dir})
	if err != nil {
		return nil, err
	}
	server := &logdServer{process: p, addrs: c.addrs[i : i+1], secrets: &secrets{}}
	err = p.Await(ctx, func(ctx context.Context) error {
		_, err := server.ask(ctx, "PING")
		return err
	})
	if err != nil {
		p.Kill()
		return nil, err
	}
	return server, nil
}

// Join implements Cluster.
func (c *logdCluster) Join(ctx context.Context) error {
	server, err := c.start(ctx, len(c.members))
	if err == nil {
		c.members = append(c.members, server)
	}
	return err
}

// Restart implements Cluster.
func (c *logdCluster) Restart(ctx context.Context, i int) error {
	server, err := c.start(ctx, i)
	if err == nil {
		c.members[i] = server
	}
	return err
}

// Members implements Cluster.
func (c *logdCluster) Members() []Server {
	list := make([]Server, len(c.members))
	for i, m := range c.members {
		list[i] = m
	}
	return list
}

// Close implements Cluster.
func (c *logdCluster) Close() {
	for _, m := range c.members {
		m.process.Kill()
	}
}

// ask sends a line on a connection of its own and returns what is answered.
func (s *logdServer) ask(ctx context.Context, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client, err := logd.Dial(ctx, logd.ClientConfig{Addrs: s.addrs, ReconnectAttempts: 1})
	if err != nil {
		return "", err
	}
	defer client.Close()
	if line == "PING" {
		return "", client.Ping(ctx)
	}
	reply, err := client.Command(ctx, line)
	return string(reply.Body), err
}

// tell sends a line to each member until one does what it says.
func (c *logdCluster) tell(ctx context.Context, line string) error {
	return until(ctx, line, func(ctx context.Context) error {
		var all error
		for _, m := range c.members {
			_, err := m.ask(ctx, line)
			if err == nil {
				return nil
			}
			all = errors.Join(all, err)
		}
		return all
	})
}

// lines asks a member and returns each line of the answer as its words of the form
// key=value.
func (c *logdCluster) lines(ctx context.Context, i int, line string) ([]map[string]string, error) {
	text, err := c.members[i].ask(ctx, line)
	if err != nil {
		return nil, err
	}
	var list []map[string]string
	for l := range strings.Lines(text) {
		words := make(map[string]string)
		for _, w := range strings.Fields(l) {
			key, value, _ := strings.Cut(w, "=")
			words[key] = value
		}
		list = append(list, words)
	}
	return list, nil
}

// Whole implements Cluster.
func (c *logdCluster) Whole(ctx context.Context) error {
	if c.whole == 0 {
		return nil
	}
	return until(ctx, "wait for all members", func(ctx context.Context) error {
		for i := range c.members {
			list, err := c.lines(ctx, i, "CLUSTER")
			if err != nil {
				return err
			}
			here := 0
			for _, m := range list[1:] {
				// What is written meanwhile is on its way.
				if lag, err := strconv.Atoi(m["lag-bytes"]); err == nil && lag <= batchSize && m["role"] == "voter" && m["state"] == "up" {
					here++
				}
			}
			if here != c.whole {
				return fmt.Errorf("%d of %d members vote and have everything: %v", here, c.whole, list)
			}
		}
		return nil
	})
}

// Leader implements Cluster.
func (c *logdCluster) Leader(ctx context.Context, topic string) (leader int, err error) {
	if c.whole < 2 {
		return 0, nil
	}
	err = until(ctx, "ask who leads", func(ctx context.Context) error {
		for i, m := range c.members {
			info, err := m.ask(ctx, "INFO "+topic)
			if err != nil {
				continue
			}
			for line := range strings.Lines(info) {
				if strings.TrimSpace(line) == "Role: leader" {
					leader = i
					return nil
				}
			}
		}
		return errors.New("nobody leads")
	})
	return leader, err
}

// Lead implements Cluster.
func (c *logdCluster) Lead(ctx context.Context, i int) error {
	if c.whole == 0 {
		return nil
	}
	groups, err := c.lines(ctx, i, "GROUPS")
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g["leader"] == c.name(i) && g["prefers"] == c.name(i) {
			continue
		}
		if err := c.tell(ctx, fmt.Sprintf("TRANSFER %s group=%s", c.name(i), g["group"])); err != nil {
			return err
		}
	}
	return until(ctx, "wait for the leader", func(ctx context.Context) error {
		groups, err := c.lines(ctx, i, "GROUPS")
		for _, g := range groups {
			if g["leader"] != c.name(i) {
				return fmt.Errorf("group %s is led by %s", g["group"], g["leader"])
			}
		}
		return err
	})
}

// Move implements Cluster.
func (c *logdCluster) Move(ctx context.Context, topic string) error {
	leader, err := c.Leader(ctx, topic)
	if err != nil {
		return err
	}
	to := c.name((leader + 1) % len(c.members))
	_, err = c.members[leader].ask(ctx, fmt.Sprintf("TRANSFER %s topic=%s", to, topic))
	return err
}

// Drain implements Cluster.
func (c *logdCluster) Drain(ctx context.Context, i int, off bool) error {
	line := "DRAIN " + c.name(i)
	if off {
		line += " off=1"
	}
	return c.tell(ctx, line)
}

// Entries implements Cluster.
func (c *logdCluster) Entries(ctx context.Context) (n int64, err error) {
	if c.whole == 0 {
		return 0, ErrNoWay
	}
	groups, err := c.lines(ctx, 0, "GROUPS")
	for _, g := range groups {
		index, err := strconv.ParseInt(g["index"], 10, 64)
		if err != nil {
			return 0, err
		}
		n += index
	}
	return n, err
}

// Burst implements Cluster.
func (c *logdCluster) Burst(ctx context.Context, topics []string, body []byte) error {
	client, err := c.members[0].dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	batches := make([]logd.Batch, len(topics))
	pending := make([]logd.Pending, len(topics))
	for i, t := range topics {
		batches[i].Add(body)
		if err := client.StartAppend(ctx, t, &batches[i], &pending[i]); err != nil {
			return err
		}
	}
	for i := range pending {
		if _, err := pending[i].Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Probe implements Cluster. It is a bare connection: a client goes elsewhere by
// itself, at its own pace.
func (c *logdCluster) Probe(i int) Caller { return &logdProbe{addr: c.addrs[i]} }

// logdProbeLimit is long: who does not lead says so, and who is about to keeps the
// batch and answers.
const logdProbeLimit = 2 * time.Second

type logdProbe struct {
	addr  string
	nc    net.Conn
	in    *bufio.Reader
	batch logd.Batch
}

func (p *logdProbe) Call(ctx context.Context, topic string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, logdProbeLimit)
	defer cancel()
	if p.nc == nil {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr)
		if err != nil {
			return err
		}
		p.nc, p.in = nc, bufio.NewReader(nc)
	}
	release := bind(ctx, p.nc)
	defer release()
	p.batch.Reset()
	p.batch.Add(body)
	_, err := p.nc.Write(p.batch.Raw(topic))
	if err == nil {
		var line string
		if line, err = p.in.ReadString('\n'); err == nil {
			if strings.HasPrefix(line, "OK ") {
				return nil
			}
			return errors.New(strings.TrimSpace(line)) // the connection is good
		}
	}
	p.Close()
	return err
}

func (p *logdProbe) Close() error {
	if p.nc != nil {
		p.nc.Close()
		p.nc = nil
	}
	return nil
}
