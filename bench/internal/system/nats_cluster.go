package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/logd-dev/logd/bench/internal/process"
)

// Setups implements Clustered.
func (s *NATS) Setups() []Setup {
	setup := func(name, durability string, sync bool) Setup {
		return Setup{name, durability, 3, func(ctx context.Context, dir string, heldBack int) (Cluster, error) {
			if heldBack > 0 {
				return nil, ErrNoWay
			}
			return s.startCluster(ctx, dir, sync)
		}}
	}
	return []Setup{
		setup("three servers", "written and synced by two of three before the reply (three replicas, sync_interval: always)", true),
		setup("three servers, default", "written to the files of two of three before the reply, synced every 2 min (three replicas, default)", false),
	}
}

// natsLarge is how many messages a writer has in flight that are as large as others'
// batches.
const natsLarge = 64

// natsCluster are three servers with streams of three replicas.
type natsCluster struct {
	system  *NATS
	dir     string
	sync    bool
	addrs   []string
	routes  []string
	members []*natsServer
}

func (s *NATS) startCluster(ctx context.Context, dir string, sync bool) (_ Cluster, err error) {
	const members = 3
	c := &natsCluster{system: s, dir: dir, sync: sync}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if c.addrs, err = fixedAddrs(members); err != nil {
		return nil, err
	}
	if c.routes, err = fixedAddrs(members); err != nil {
		return nil, err
	}
	for i := range members {
		server, err := c.start(i)
		if err != nil {
			return nil, err
		}
		c.members = append(c.members, server)
	}
	return c, c.Whole(ctx)
}

// name is what the ith server is called.
func (*natsCluster) name(i int) string { return fmt.Sprintf("n%d", i) }

// start starts the ith server, and does not wait: it answers when it has found the
// others.
func (c *natsCluster) start(i int) (*natsServer, error) {
	dir, err := folder(c.dir, c.name(i))
	if err != nil {
		return nil, err
	}
	interval := ""
	if c.sync {
		interval = "  sync_interval: always\n"
	}
	conf := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("server_name: %s\nlisten: %q\njetstream {\n  store_dir: %q\n%s}\ncluster {\n  name: bench\n  listen: %q\n  routes: [%s]\n}\n",
		c.name(i), c.addrs[i], filepath.Join(dir, "data"), interval, c.routes[i], `"nats://`+strings.Join(c.routes, `", "nats://`)+`"`)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p, err := process.Start(process.Command{Path: c.system.path, Args: []string{"-c", conf}, Dir: dir})
	if err != nil {
		return nil, err
	}
	return &natsServer{process: p, url: "nats://" + c.addrs[i], replicas: len(c.addrs), pending: natsLarge}, nil
}

// answers waits until a server takes requests.
func (c *natsCluster) answers(ctx context.Context, i int) error {
	s := c.members[i]
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	return s.process.Await(ctx, func(ctx context.Context) error {
		nc, js, err := s.connect()
		if err != nil {
			return err
		}
		defer nc.Close()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = js.AccountInfo(ctx)
		return err
	})
}

// Restart implements Cluster.
func (c *natsCluster) Restart(ctx context.Context, i int) error {
	server, err := c.start(i)
	if err != nil {
		return err
	}
	c.members[i] = server
	return c.answers(ctx, i)
}

// Join implements Cluster.
func (*natsCluster) Join(context.Context) error { return ErrNoWay }

// Members implements Cluster.
func (c *natsCluster) Members() []Server {
	list := make([]Server, len(c.members))
	for i, m := range c.members {
		list[i] = m
	}
	return list
}

// Close implements Cluster.
func (c *natsCluster) Close() {
	for _, m := range c.members {
		m.process.Kill()
	}
}

// Whole implements Cluster: all servers answer, and each stream's replicas have
// everything.
func (c *natsCluster) Whole(ctx context.Context) error {
	for i := range c.members {
		if err := c.answers(ctx, i); err != nil {
			return err
		}
	}
	return until(ctx, "wait for all replicas", func(ctx context.Context) error {
		nc, js, err := c.members[0].connect()
		if err != nil {
			return err
		}
		defer nc.Close()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		streams := js.ListStreams(ctx)
		for info := range streams.Info() {
			if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != len(c.members)-1 {
				return errors.New("a stream has no leader or too few replicas")
			}
			for _, r := range info.Cluster.Replicas {
				if !r.Current || r.Offline || r.Lag > 100 {
					return fmt.Errorf("%s lags by %d", r.Name, r.Lag)
				}
			}
		}
		return streams.Err()
	})
}

// Leader implements Cluster.
func (c *natsCluster) Leader(ctx context.Context, topic string) (leader int, err error) {
	err = until(ctx, "ask who leads", func(ctx context.Context) error {
		var all error
		for _, m := range c.members {
			name, err := m.leaderOf(ctx, topic)
			for i := range c.members {
				if name == c.name(i) {
					leader = i
					return nil
				}
			}
			all = errors.Join(all, err)
		}
		return errors.Join(errors.New("nobody leads"), all)
	})
	return leader, err
}

// leaderOf returns the name of the server that leads the topic's stream.
func (s *natsServer) leaderOf(ctx context.Context, topic string) (string, error) {
	nc, js, err := s.connect()
	if err != nil {
		return "", err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, streamOf(topic))
	if err != nil {
		return "", err
	}
	if info := stream.CachedInfo(); info.Cluster != nil {
		return info.Cluster.Leader, nil
	}
	return "", nil
}

// Lead implements Cluster: who leads is left to the servers, and asked for.
func (*natsCluster) Lead(context.Context, int) error { return nil }

// Move implements Cluster.
func (c *natsCluster) Move(ctx context.Context, topic string) error {
	nc, _, err := c.members[0].connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = nc.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+streamOf(topic), nil)
	return err
}

// Drain implements Cluster.
func (*natsCluster) Drain(context.Context, int, bool) error { return ErrNoWay }

// Entries implements Cluster.
func (*natsCluster) Entries(context.Context) (int64, error) { return 0, ErrNoWay }

// Burst implements Cluster.
func (c *natsCluster) Burst(ctx context.Context, topics []string, body []byte) error {
	leader, err := c.Leader(ctx, topics[0])
	if err != nil {
		return err
	}
	w, err := c.members[leader].writer(ctx, topics[0], natsPending)
	if err != nil {
		return err
	}
	defer w.Close()
	for _, t := range topics {
		w.topic = t
		if err := w.Write(body); err != nil {
			return err
		}
	}
	return w.Flush()
}

// Probe implements Cluster.
func (c *natsCluster) Probe(i int) Caller { return &natsProbe{url: "nats://" + c.addrs[i]} }

// natsProbeLimit is short: what is published while nobody leads is never answered.
const natsProbeLimit = 100 * time.Millisecond

type natsProbe struct {
	url string
	nc  *nats.Conn
	js  jetstream.JetStream
}

func (p *natsProbe) Call(ctx context.Context, topic string, body []byte) (err error) {
	if p.nc == nil {
		if p.nc, err = nats.Connect(p.url, nats.NoReconnect(), nats.Timeout(natsProbeLimit)); err != nil {
			p.nc = nil
			return err
		}
		if p.js, err = jetstream.New(p.nc); err != nil {
			p.Close()
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, natsProbeLimit)
	defer cancel()
	_, err = p.js.Publish(ctx, topic, body, jetstream.WithRetryAttempts(0))
	if err != nil && !p.nc.IsConnected() {
		p.Close()
	}
	return err
}

func (p *natsProbe) Close() error {
	if p.nc != nil {
		p.nc.Close()
		p.nc = nil
	}
	return nil
}
