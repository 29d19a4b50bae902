// Package clustertest runs the members of a cluster in one process: real nodes, with
// their files in folders of the test's and connections over TCP on loopback. What
// must be true whatever the disk and the network do is for the simulation, which has
// neither.
//
//	c := clustertest.Start(t, 3)
//	c.Append("topic", "one", "two")
//	c.Leader("topic").Stop()
//	c.Append("topic", "three")
package clustertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	mrand "math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/cluster"
	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/peernet"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
)

// Tick is that of the nodes: the election timeout is ten times as long.
const Tick = 20 * time.Millisecond

// Groups is how many groups a cluster has.
const Groups = 8

// Cluster is a cluster of voters. It is for one goroutine.
type Cluster struct {
	t       testing.TB
	id      entry.ID
	Members []*Member
}

// Member is a member of a cluster. What Node, Store and Transport are is nil while it is
// stopped.
type Member struct {
	c    *Cluster
	dir  string
	addr string // for peers

	ID        uint64
	HTTP      string // where it says that clients of HTTP find it, from its next start on
	Node      *cluster.Node
	Store     *storage.Store
	Transport *peernet.Transport
	fs        *vfs.OS
	listener  net.Listener // for the first start
}

// Start starts a new cluster with so many members. They are stopped at the end of the
// test.
func Start(t testing.TB, members int) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	rand.Read(c.id[:])
	var ids []uint64
	var all []entry.Member
	for i := range members {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		c.must(err)
		m := &Member{c: c, dir: t.TempDir(), addr: l.Addr().String(), ID: uint64(i) + 1, listener: l}
		c.Members = append(c.Members, m)
		ids = append(ids, m.ID)
		all = append(all, entry.Member{ID: m.ID, Role: entry.Voter, Name: m.name(), Addr: m.name() + ":1", PeerAddr: m.addr})
	}
	var tables []*entry.Table
	for g := range Groups {
		table := &entry.Table{Group: uint16(g), Index: 1, Term: 1, Conf: entry.Conf{Voters: ids}, NextTopic: 1}
		if g == 0 {
			table.Members, table.NextMember = all, uint64(members)+1
		}
		tables = append(tables, table)
	}
	for _, m := range c.Members {
		fs, err := vfs.OpenOS(m.dir, 0o700)
		c.must(err)
		log, err := grouplog.Create(fs, grouplog.Member{Cluster: c.id, ID: m.ID, Name: m.name(), Groups: Groups}, 1, tables)
		c.must(err)
		c.must(errors.Join(log.Close(), fs.Close()))
	}
	t.Cleanup(func() {
		for _, m := range c.Members {
			m.Stop()
		}
	})
	for _, m := range c.Members {
		m.Start()
	}
	return c
}

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (m *Member) name() string { return fmt.Sprintf("m%d", m.ID) }

// Start starts the member, in its folder and at its address.
func (m *Member) Start() {
	c := m.c
	c.t.Helper()
	l := m.listener
	m.listener = nil
	if l == nil {
		testkit.Eventually(c.t, func() string { // others' connections may have the port
			var err error
			if l, err = net.Listen("tcp", m.addr); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	log := slog.New(slog.NewTextHandler(c.t.Output(), nil)).With("member", m.ID)
	start := mrand.Uint64()
	var err error
	m.fs, err = vfs.OpenOS(m.dir, 0o700)
	c.must(err)
	m.Store, err = storage.Open(c.t.Context(), storage.Options{FS: m.fs, Managed: true, ScrubRate: 0, Producers: 1000, Logger: log})
	c.must(err)
	m.Transport = peernet.New(peernet.Options{Cluster: c.id, ID: m.ID, Start: start, Tick: Tick, Logger: log})
	m.Node, err = cluster.Open(cluster.Options{
		FS: m.fs, Store: m.Store, Transport: m.Transport, Logger: log, Now: time.Now, Boot: 1, Start: start, Tick: Tick, HTTP: m.HTTP,
		NewID: func() (id entry.ID) { rand.Read(id[:]); return id },
	})
	c.must(err)
	addrs := make(map[uint64]string)
	for _, o := range c.Members {
		addrs[o.ID] = o.addr
	}
	m.Transport.SetMembers(addrs)
	m.Transport.Start(m.Node, l)
	m.Node.Run()
}

// Up reports whether the member runs.
func (m *Member) Up() bool { return m.Node != nil }

// Stop ends what the member does, and its connections. What others were promised is in
// its folder.
func (m *Member) Stop() {
	m.c.t.Helper()
	if !m.Up() {
		return
	}
	errs := []error{m.Transport.Close(), m.Node.Close(), m.Store.Close(), m.fs.Close()}
	if err := errors.Join(errs...); err != nil {
		m.c.t.Errorf("member %d: %v", m.ID, err)
	}
	m.Node, m.Store, m.Transport = nil, nil, nil
}

// Leader waits until a member leads a topic's group, and returns it. The topic is made
// if need be.
func (c *Cluster) Leader(name string) *Member {
	c.t.Helper()
	m, _ := c.lead(name)
	return m
}

func (c *Cluster) lead(name string) (m *Member, l topic.Log) {
	c.t.Helper()
	testkit.Eventually(c.t, func() string {
		var errs []error
		for _, m = range c.Members {
			if !m.Up() {
				continue
			}
			ctx, cancel := context.WithTimeout(c.t.Context(), 100*Tick)
			var err error
			l, err = m.Node.Topics().Create(ctx, []byte(name))
			cancel()
			if _, ready := m.Node.Leader(cluster.GroupOf(name, Groups)); err == nil && ready {
				return ""
			}
			errs = append(errs, err)
		}
		return fmt.Sprintf("nobody leads: %v", errors.Join(errs...))
	})
	return m, l
}

// Append appends a batch to a topic, and returns when it is stored for good. It does
// not repeat what may be stored already: then the test has failed.
func (c *Cluster) Append(name string, bodies ...string) {
	c.t.Helper()
	b := []byte(testkit.Batch(name, bodies...))
	c.append(name, b, batch.Extent{Len: int64(len(b)), Messages: int32(len(bodies))})
}

// append appends a batch as Append does.
func (c *Cluster) append(name string, b []byte, x batch.Extent) {
	c.t.Helper()
	for {
		_, l := c.lead(name)
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
		a, err := l.Append(ctx, b, []batch.Extent{x})
		if err == nil {
			err = l.Commit(ctx, a)
		}
		cancel()
		_, elsewhere := errors.AsType[*topic.NotLeaderError](err)
		switch {
		case elsewhere || errors.Is(err, topic.ErrBusy): // certainly not stored
		case err != nil:
			c.t.Fatalf("append: %v", err)
		default:
			return
		}
	}
}

// Log returns the files of a topic, once the member has it.
func (m *Member) Log(name string) (l *storage.Log) {
	m.c.t.Helper()
	testkit.Eventually(m.c.t, func() string {
		var err error
		if l, err = m.Store.Log([]byte(name)); err != nil {
			return err.Error()
		}
		return ""
	})
	return l
}

// Stored waits until a member can read a topic up to an offset, and returns all that it
// can read.
func (m *Member) Stored(name string, end int64) []byte {
	m.c.t.Helper()
	var data []byte
	testkit.Eventually(m.c.t, func() string {
		l, err := m.Node.Topics().Log([]byte(name))
		if err != nil {
			return err.Error()
		}
		data = data[:0]
		for int64(len(data)) < end {
			v, err := l.Verify(int64(len(data)), math.MaxInt64, 1<<20)
			if err != nil {
				return fmt.Sprintf("member %d at %d of %d: %v", m.ID, len(data), end, err)
			}
			if data, err = copies.ReadViews(data, []cluster.View{v}); err != nil {
				return err.Error()
			}
		}
		return ""
	})
	return data
}
