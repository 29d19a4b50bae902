package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/cluster"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/peernet"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/vfs"
)

// What keeps a member from starting, or from going on, and no other try mends.
var (
	// ErrMembership is a work directory that is not what the settings say: a member's or
	// no member's. What wraps it says what to do.
	ErrMembership = errors.New("the work directory and the settings disagree")
	// ErrRemoved is a member that was removed from its cluster.
	ErrRemoved = errors.New("this member was removed from the cluster: start it with an empty work directory, --join and --cluster to be a new one")
	// ErrInUse is a member that runs twice.
	ErrInUse = errors.New("another process is connected to the cluster as this member: its work directory was copied, or it runs elsewhere")
	// ErrGoneBack is a member whose log is an older one than others know.
	ErrGoneBack = errors.New("the work directory is older than what this member has told the others: it must not be used under this id")
)

// member is what a node has that is a member of a cluster.
type member struct {
	n         *Node
	node      *cluster.Node
	transport *peernet.Transport
	listener  net.Listener
	who       grouplog.Member
	start     uint64
	addr      string // where clients find it
	replaces  uint64 // the id that it had before it lost its log; 0: none
	stopping  chan struct{}
	refusal   atomic.Pointer[string] // the last one that was logged
	peerAddr  string

	applying sync.Mutex // held while what the cluster says, or another setting of the node, is put in force

	said   atomic.Pointer[cluster.Said]
	limits atomic.Pointer[config.Config] // the settings of the cluster, beside the node's own
}

// checkMembership returns why the settings do not go with the work directory, or nil,
// and who the member is, if it is one.
func (n *Node) checkMembership() (who grouplog.Member, is bool, err error) {
	c := &n.o.Config
	who, err = grouplog.ReadMember(n.fs)
	if errors.Is(err, grouplog.ErrDamaged) && c.Node != "" && c.Cluster != "" && len(c.Join) > 0 {
		n.log.Error("it can't be read who this member is: it asks to be admitted anew", "err", err)
		return who, false, nil
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if c.Node != "" && len(c.Join) == 0 {
			return who, false, fmt.Errorf("%w: %s is no member of a cluster, and --node is %s. To begin a cluster: logd cluster init --workdir %s --node %s. To join one: logd --workdir %s --node %s --join HOST:PORT --cluster ID. To run without one: leave out --node",
				ErrMembership, c.WorkDir, c.Node, c.WorkDir, c.Node, c.WorkDir, c.Node)
		}
		return who, false, nil
	case err != nil:
		return who, false, err
	case c.Node == "":
		return who, true, fmt.Errorf("%w: %s is member %s of a cluster. To start the member: logd --workdir %s --node %s. To make it a server of its own again: logd cluster single --workdir %s",
			ErrMembership, c.WorkDir, who.Name, c.WorkDir, who.Name, c.WorkDir)
	case c.Node != who.Name:
		return who, true, fmt.Errorf("%w: %s is member %s of a cluster, and --node is %s", ErrMembership, c.WorkDir, who.Name, c.Node)
	case c.Cluster != "" && !strings.EqualFold(c.Cluster, hex.EncodeToString(who.Cluster[:])):
		return who, true, fmt.Errorf("%w: %s is a member of cluster %x, and --cluster is %s", ErrMembership, c.WorkDir, who.Cluster, c.Cluster)
	}
	return who, true, nil
}

// boot returns a number that is another one each time that the machine starts.
func boot() uint64 {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return random() // as if the machine had started anew: that is always safe
	}
	h := fnv.New64a()
	h.Write(bytes.TrimSpace(b))
	return h.Sum64()
}

func random() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// advertised returns where others find a listener.
func advertised(setting, host string, l net.Listener) string {
	if setting != "" {
		return setting
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return host
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok && port == "0" {
		port = fmt.Sprint(a.Port)
	}
	return net.JoinHostPort(name, port)
}

// newMember listens for the other members, and has the work directory be a member's,
// which may take until another one admits it.
func (n *Node) newMember(ctx context.Context, who grouplog.Member, is bool) (*member, error) {
	c := &n.o.Config
	m := &member{n: n, who: who, start: random(), stopping: make(chan struct{})}
	var err error
	if m.listener, err = listen(c.PeerHost); err != nil {
		return nil, fmt.Errorf("listen for the other members (peer-host): %w", err)
	}
	if n.secured.peer != nil {
		m.listener = n.secured.peer.Listen(m.listener)
	}
	m.addr = advertised(c.Advertise, c.Host, n.listeners[0])
	m.peerAddr = advertised(c.PeerAdvertise, c.PeerHost, m.listener)
	if !is {
		if m.who, err = m.join(ctx); err != nil {
			return m, err
		}
	}
	m.apply(cluster.Saved(n.fs))
	return m, nil
}

// join has the cluster admit this member.
func (m *member) join(ctx context.Context) (who grouplog.Member, err error) {
	n, c := m.n, &m.n.o.Config
	entries, err := n.fs.ReadDir(".")
	if err != nil {
		return who, err
	}
	was := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == grouplog.Dir })
	for _, e := range entries {
		if !was && e.IsDir() && batch.ValidTopic(e.Name()) {
			return who, fmt.Errorf("%w: %s has topics, %s for one, and only an empty work directory can join a cluster", ErrMembership, c.WorkDir, e.Name())
		}
	}
	id, err := hex.DecodeString(c.Cluster)
	if err != nil {
		return who, err
	}
	return m.admitted(ctx, [16]byte(id), c.Join)
}

// admitted has the members at some addresses admit this one, and makes the work directory
// that of the member that it is then.
func (m *member) admitted(ctx context.Context, id [16]byte, addrs []string) (who grouplog.Member, err error) {
	n, c := m.n, &m.n.o.Config
	who = grouplog.Member{Cluster: id, Name: c.Node}
	name := hex.EncodeToString(id[:])
	n.log.Info(admission, "cluster", name, "join", strings.Join(addrs, ","))
	n.waitFor(admission)
	defer n.waits.Store(nil)
	last := ""
	w, err := peernet.Join(ctx, n.secured.dialPeer(), addrs, &peer.Join{Cluster: who.Cluster, Name: c.Node, Addr: m.addr, PeerAddr: m.peerAddr}, func(addr string, err error) {
		if s := addr + err.Error(); s != last { // once, and not each half second
			last = s
			n.waitFor(fmt.Sprintf("%s: not by %s yet: %v", admission, addr, err))
			n.log.Warn("not admitted yet", "by", addr, "err", err)
		}
	})
	if _, refused := errors.AsType[*peer.Refused](err); refused {
		return who, fmt.Errorf("%w: the members at %s are not of cluster %s: %w", ErrMembership, strings.Join(addrs, ","), name, err)
	}
	if err != nil {
		return who, fmt.Errorf("join the cluster: %w", err)
	}
	who.ID, who.Groups = w.ID, w.Groups
	if err := cluster.Admitted(n.fs, who, boot(), w); err != nil {
		return who, fmt.Errorf("join the cluster: %w", err)
	}
	n.log.Info("admitted to the cluster", "cluster", name, "id", w.ID)
	return who, nil
}

// openAnew is open. A member that has lost a part of its log must not go on under its id,
// since it has promised what it does not know any more: it asks to be admitted under
// another one, and to vote in its own place again when it has what the others have.
func (m *member) openAnew(ctx context.Context, store *storage.Store) error {
	err := m.open(store)
	if !errors.Is(err, cluster.ErrLostLog) {
		return err
	}
	n, old := m.n, m.who
	n.log.Error("this member has lost a part of what it has promised, and asks to be admitted under a new id", "id", old.ID, "err", err)
	addrs := slices.Clone(n.o.Config.Join)
	for _, p := range cluster.Peers(n.fs) {
		if p.ID != old.ID {
			addrs = append(addrs, p.PeerAddr)
		}
	}
	if len(addrs) == 0 {
		return fmt.Errorf("%w; nobody is known who could admit it: --join names another member", err)
	}
	if m.who, err = m.admitted(ctx, old.Cluster, addrs); err != nil {
		return err
	}
	m.replaces = old.ID
	return m.open(store)
}

// takeItsPlace has this member vote in the place of the one that it was, once it has all.
func (m *member) takeItsPlace() {
	if m.replaces == 0 {
		return
	}
	m.n.group.Go(func() {
		tick := time.NewTicker(m.n.o.Config.ElectionTimeout)
		defer tick.Stop()
		for {
			select {
			case <-m.n.cut.Done():
				return
			case <-m.n.quit:
				return
			case <-m.stopping:
				return
			case <-tick.C:
			}
			old, there := m.node.Said().Member(m.replaces)
			if self, ok := m.node.Said().Member(m.who.ID); !ok || m.node.Ready() != nil || self.Role == entry.Joining {
				continue
			}
			if !there || old.Role != entry.Voter {
				return
			}
			lead, _ := m.node.Leader(0)
			leader, ok := m.node.Said().Member(lead)
			if !ok {
				continue
			}
			err := peernet.Replace(m.n.cut, m.n.secured.dialPeer(), leader.PeerAddr, &peer.Replace{Cluster: m.who.Cluster, Old: m.replaces, New: m.who.ID})
			m.n.log.Info("asked to vote in the place of the member that this one was", "old", m.replaces, "id", m.who.ID, "err", err)
		}
	})
}

// open makes the member of what is stored.
func (m *member) open(store *storage.Store) error {
	n, c := m.n, &m.n.o.Config
	tick := c.ElectionTimeout / 10
	m.transport = peernet.New(peernet.Options{
		Dial:    n.secured.dialPeer(),
		Cluster: m.who.Cluster, ID: m.who.ID, Start: m.start, Tick: tick, Version: word(n.o.Version), Logger: n.log,
		Join: m.joined, Replace: m.replaced, Admit: m.admit, Refused: m.refused,
	})
	o := cluster.Options{
		FS: n.fs, Store: store, Transport: m.transport, Logger: n.log, Boot: boot(), Start: m.start, Tick: tick,
		NewID: func() (id entry.ID) { rand.Read(id[:]); return id },
		Addr:  m.addr, PeerAddr: m.peerAddr, HTTP: c.HTTPAdvertise, Version: word(n.o.Version), Auth: n.authDigest, Timeout: c.Timeout, DeleteAfter: c.DeleteAfter,
		CatchUpRate: c.CatchUpRate, Reserve: reserve, Observer: n.metrics,
		Changed: m.apply, Failed: n.fail, CheckSetting: m.checkSetting,
		Limits: func() cluster.Limits {
			k := m.limits.Load()
			return cluster.Limits{
				Limits:   topic.Limits{Partitions: int64(k.Partitions), Bytes: k.RetentionBytes, Age: k.RetentionAge},
				KeepFree: k.KeepFree, LeastAge: n.topicSettings.state.Load().set.LeastAge(),
			}
		},
		PartitionSize:  func() int64 { return m.limits.Load().PartitionSize },
		Own:            n.topicSettings.own,
		LeastPartition: n.topicSettings.leastPartition,
		MayCreate:      m.mayCreate,
	}
	if n.hooks != nil {
		o.Holder = n.hooks
	}
	node, err := cluster.Open(o)
	if err != nil {
		return err
	}
	m.node = node
	m.apply(node.Said())
	return nil
}

// reserve is how much room a member holds for when its disk is full.
const reserve = 32 << 20

// word makes a version a word of CLUSTER.
func word(version string) string { return strings.ReplaceAll(strings.TrimSpace(version), " ", "_") }

// run begins to talk to the others.
func (m *member) run() {
	m.transport.Start(m.node, m.listener)
	m.node.Run()
	m.takeItsPlace()
}

// end stops the member.
func (m *member) end() error {
	var errs []error
	close(m.stopping)
	if m.node != nil {
		errs = append(errs, m.transport.Close(), m.node.Close())
	} else if m.listener != nil {
		errs = append(errs, m.listener.Close())
	}
	return errors.Join(errs...)
}

func (m *member) joined(j *peer.Join) []byte {
	ctx, cancel := context.WithTimeout(m.n.cut, m.n.reload.config.Load().Timeout)
	defer cancel()
	answer := m.node.Join(ctx, j)
	m.n.log.Info("asked for admission", "name", j.Name, "peer-addr", j.PeerAddr, "answer", strings.TrimSpace(strings.SplitN(string(answer), "\r\n", 2)[0]))
	return answer
}

func (m *member) replaced(r *peer.Replace) []byte {
	ctx, cancel := context.WithTimeout(m.n.cut, m.n.reload.config.Load().Timeout)
	defer cancel()
	answer := m.node.TakeItsPlace(ctx, r)
	m.n.log.Info("asked for the place of a member that has come back under another id", "old", r.Old, "id", r.New, "answer", strings.TrimSpace(string(answer)))
	return answer
}

func (m *member) admit(id uint64) (reason string) {
	if m.node != nil && m.node.Removed(id) {
		return peer.Removed
	}
	return ""
}

// refused is called when another member refuses this one.
func (m *member) refused(by uint64, reason string) {
	switch reason {
	case peer.Removed:
		// Who asked this member for it is to be answered first.
		time.AfterFunc(m.n.o.Config.ElectionTimeout/2, func() { m.n.fail(ErrRemoved) })
	case peer.InUse:
		m.n.fail(ErrInUse)
	case peer.GoneBack:
		m.n.fail(ErrGoneBack)
	default:
		if last := m.refusal.Swap(&reason); last == nil || *last != reason {
			m.n.log.Warn("refused by another member", "id", by, "reason", reason)
		}
	}
}

// clusterSettings are the settings that are the cluster's.
var clusterSettings = []string{
	"batch-size", "partition-size", "partitions", "retention-age", "retention-bytes", "topics", "topics-whitelist", "max-messages", "keep-free", "producers",
	"positions", "position-stale",
}

// ClusterSettings returns the settings that a new cluster begins with: those of c.
func ClusterSettings(c *config.Config) (settings []entry.Setting) {
	for _, name := range clusterSettings {
		s, _ := config.Lookup(name)
		settings = append(settings, entry.Setting{Key: name, Value: s.Value(c)})
	}
	return settings
}

// configOf returns the settings of the node with those of the cluster in their place.
func (m *member) configOf(s *cluster.Said) config.Config {
	c := *m.n.reload.config.Load()
	for _, name := range clusterSettings {
		if value, ok := s.Setting(name); ok {
			setting, _ := config.Lookup(name)
			if err := setting.Set(&c, value); err != nil {
				m.n.log.Error("a setting of the cluster makes no sense to this version", "setting", name, "value", value, "err", err)
			}
		}
	}
	return c
}

// apply has what group 0 says be in force here.
func (m *member) apply(s *cluster.Said) {
	m.applying.Lock()
	defer m.applying.Unlock()
	c := m.configOf(s)
	if m.said.Swap(s) == nil && len(s.Settings) > 0 {
		for _, name := range clusterSettings {
			setting, _ := config.Lookup(name)
			if own := setting.Value(&m.n.o.Config); own != setting.Value(&c) && own != setting.Default {
				m.n.log.Warn("the setting is the cluster's: this node's own value is not used", "setting", name, "value", own, "cluster", setting.Value(&c))
			}
		}
	}
	m.limits.Store(&c)
	m.n.topicSettings.follow(s, &c)
	if store := m.n.store.Load(); store != nil {
		store.SetProducers(int64(c.Producers)) // before clients are told that their numbers count
	}
	if k := m.n.keeper.Load(); k != nil {
		k.SetRules(positionRules(&c))
	}
	if srv := m.n.server.Load(); srv != nil {
		srv.SetSettings(m.settings())
	}
	if m.transport != nil {
		addrs := make(map[uint64]string)
		for _, p := range s.Members {
			if p.Role != entry.Gone && (m.node == nil || !m.node.Removed(p.ID)) {
				addrs[p.ID] = p.PeerAddr
			}
		}
		m.transport.SetMembers(addrs)
	}
}

// reloaded has the node's own settings be in force, which have changed.
func (m *member) reloaded() {
	m.applying.Lock()
	defer m.applying.Unlock()
	c := m.configOf(m.said.Load())
	m.limits.Store(&c)
	m.n.topicSettings.follow(m.said.Load(), &c)
	m.n.server.Load().SetSettings(m.settings())
}

// settings returns what CONFIG tells.
func (m *member) settings() protocol.Settings {
	s := m.n.settings(m.limits.Load())
	s.FlushBatches, s.FlushInterval = 1, 0 // what is acknowledged is synced, on a majority
	s.Node, s.Cluster, s.ElectionTimeout = m.who.Name, hex.EncodeToString(m.who.Cluster[:]), m.n.o.Config.ElectionTimeout
	c := m.limits.Load()
	s.RetentionAge, s.RetentionBytes, s.KeepFree = c.RetentionAge, c.RetentionBytes, c.KeepFree
	s.Topics, s.TopicsWhitelist = int64(c.Topics), strings.Join(c.TopicsWhitelist, ",")
	return s
}

// checkSetting returns why a setting of the cluster can't have a value.
func (m *member) checkSetting(key, value string, s *cluster.Said) error {
	known := false
	for _, name := range clusterSettings {
		known = known || name == key
	}
	if !known {
		return fmt.Errorf("%s is no setting of the cluster: those are %s", key, strings.Join(clusterSettings, ", "))
	}
	c := m.configOf(s)
	setting, _ := config.Lookup(key)
	if err := setting.Set(&c, value); err != nil {
		return err
	}
	// What this node has set of its own besides must not be in the way.
	plain := config.Default()
	for _, name := range clusterSettings {
		setting, _ := config.Lookup(name)
		if err := setting.Set(&plain, setting.Value(&c)); err != nil {
			return err
		}
	}
	if plain.KeepFree > 0 {
		plain.DeleteHook = "hook" // a node's own matter
	}
	return plain.Validate()
}

// mayCreate returns why a topic can't be made when there are so many.
func (m *member) mayCreate(name string, topics int) error {
	c := m.limits.Load()
	switch {
	case batch.Own(name):
		return nil
	case len(c.TopicsWhitelist) > 0 && !slices.Contains(c.TopicsWhitelist, name):
		return topic.ErrNotAllowed
	case c.Topics > 0 && topics >= c.Topics:
		return topic.ErrMaxTopics
	}
	return nil
}

// InitCluster makes the work directory of c that of the first member of a new cluster,
// and returns the cluster's id. Errors to test for: vfs.ErrLocked, and ErrMembership where
// it is a member's already.
func InitCluster(ctx context.Context, c *config.Config, groups int) (id string, err error) {
	var cid entry.ID
	rand.Read(cid[:])
	err = offline(ctx, c, func(fsys *vfs.OS, store *storage.Store) error {
		topics, err := firstTopicSettings(fsys, c)
		if err != nil {
			return err
		}
		settings := append(ClusterSettings(c), topics...)
		return membership(cluster.Init(ctx, fsys, store, cluster.First{
			Cluster: cid, Groups: groups, Name: c.Node,
			Addr: first(c.Advertise, c.Host), PeerAddr: first(c.PeerAdvertise, c.PeerHost),
			Settings: settings, Boot: boot(),
		}))
	})
	return hex.EncodeToString(cid[:]), err
}

// SingleNode makes the work directory of c, which is a member's, that of a server in no
// cluster, and returns the id of the cluster that it was in. If what the cluster has said of
// single topics can't be read, unread is why: then those settings are the ones that the
// server had before. Errors to test for: vfs.ErrLocked, and ErrMembership where it is no
// member's.
func SingleNode(ctx context.Context, c *config.Config) (id string, unread, err error) {
	var cid entry.ID
	err = offline(ctx, c, func(fsys *vfs.OS, store *storage.Store) error {
		// Before it is a member no more: who is stopped in between can do it again.
		var said *cluster.Said
		if said, unread = cluster.SavedAll(fsys); unread == nil {
			if err := keepTopicSettings(fsys, said, c.FileMode); err != nil {
				return err
			}
		}
		if cid, err = cluster.Single(ctx, fsys, store); err != nil {
			return membership(err)
		}
		return nil
	})
	return hex.EncodeToString(cid[:]), unread, err
}

// offline calls f with the store of a work directory that no server has open.
func offline(ctx context.Context, c *config.Config, f func(*vfs.OS, *storage.Store) error) error {
	fsys, err := vfs.OpenOS(c.WorkDir, 0o700)
	if err != nil {
		return fmt.Errorf("open work directory: %w", err)
	}
	defer fsys.Close()
	store, err := storage.Open(ctx, storage.Options{FS: fsys, Managed: true, FileMode: c.FileMode, Producers: -1, PartitionSize: c.PartitionSize})
	if err != nil {
		return fmt.Errorf("open work directory %s: %w", c.WorkDir, err)
	}
	err = f(fsys, store)
	return errors.Join(err, store.Close())
}

// membership makes an error one of ErrMembership that says whose the work directory is.
func membership(err error) error {
	if errors.Is(err, cluster.ErrMember) || errors.Is(err, cluster.ErrNoMember) {
		return fmt.Errorf("%w: %w", ErrMembership, err)
	}
	return err
}

func first(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// ready returns why the member is not ready, or nil.
func (m *member) ready() error { return m.node.Ready() }

// handOver has the others lead before this member stops. It does not take long, also if
// they can't.
func (m *member) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, max(3*m.n.o.Config.ElectionTimeout, time.Second))
	defer cancel()
	m.node.HandOver(ctx)
}
