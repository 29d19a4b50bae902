// Package node puts a running logd together: settings become a store, a
// server for the protocol and one for HTTP, with their metrics.
//
// A [Node] is started once and shut down once. Several run in one process, on
// different work directories.
package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/keeper"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/vfs"
	"github.com/logd-dev/logd/internal/web"
)

// Options are what a node is made of.
type Options struct {
	// Config is the settings, which must be valid.
	Config config.Config
	// Version is what the node says of itself.
	Version string
	// Logger is told what an operator should know. Default: discard.
	Logger *slog.Logger
	// LogLevel is what Reload sets to the setting log-level. Default: nothing.
	LogLevel *slog.LevelVar
	// Recovering is called with what there is to say of it, each second from when the
	// work directory begins to be recovered, or a member asks to be admitted, until Start
	// returns. moves tells whether something was read or written since the call before;
	// admission is for others to decide, and may take any time. Default: nobody is told.
	Recovering func(status string, moves bool)
	// Listen listens at Config.Host for the protocol. Default: on TCP.
	Listen func(addr string) (net.Listener, error)
	// Inherited are listeners that are there already. The settings that they replace say
	// where they are.
	Inherited Inherited
}

// Inherited are listeners of others, which outlast a node; nil is one that there is not.
// The node closes its own hold on them when it ends, or does not start.
type Inherited struct {
	Protocol net.Listener // in place of host
	Unix     net.Listener // in place of unix-socket
	HTTP     net.Listener // in place of http-host
}

func (i *Inherited) close() {
	for _, l := range []net.Listener{i.Protocol, i.Unix, i.HTTP} {
		if l != nil {
			l.Close()
		}
	}
}

// Node is a running logd.
type Node struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	fs      *vfs.OS
	store   atomic.Pointer[storage.Store] // nil while it is being recovered
	server  atomic.Pointer[server.Server] // nil until requests are taken
	web     *web.Server
	hooks   *hooks                        // nil if there is no delete hook
	member  atomic.Pointer[member]        // nil if it is in no cluster
	keeper  atomic.Pointer[keeper.Keeper] // nil while the store is being recovered
	share   descriptors                   // as the node was started
	reload  reload

	topicSettings topicSettings
	auth          *server.Auth // nil: everybody may do everything
	authSum       atomic.Value // a string: the digest of what auth goes by

	progress storage.Progress
	waits    atomic.Pointer[string] // for what, if it is not for the work directory
	secured  secured

	listeners    []net.Listener // of the protocol; Addr is that of the first
	httpListener net.Listener

	group   sync.WaitGroup
	cut     context.Context // ends with Close
	cutNow  context.CancelFunc
	stopped chan struct{} // closed when the node has ended
	once    sync.Once
	err     error // good once stopped is closed

	failMu sync.Mutex
	failed error // why a server ended by itself
	quit   chan struct{}
}

// Start opens the work directory, recovers it, listens and serves. It returns
// when the node takes requests. HTTP is there before, so that /readyz can say
// that recovery is under way. A done ctx ends a start that is under way, not a
// node that has started.
//
// Errors to test for: vfs.ErrLocked when another server has the work
// directory, and those of net.Listen.
func Start(ctx context.Context, o Options) (*Node, error) {
	n := newNode(o)
	if err := n.start(ctx); err != nil {
		err = errors.Join(err, n.release(context.Background()))
		o.Inherited.close() // those that release knows nothing of yet
		return nil, err
	}
	n.group.Go(n.watchCertificates)
	n.group.Go(n.reload.watchFiles)
	for _, l := range n.listeners {
		n.group.Go(func() {
			if err := n.serveProtocol(n.server.Load(), l); !errors.Is(err, server.ErrServerClosed) {
				n.fail(err)
			}
		})
	}
	return n, nil
}

func newNode(o Options) *Node {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Listen == nil {
		o.Listen = listen
	}
	n := &Node{o: o, log: o.Logger, stopped: make(chan struct{}), quit: make(chan struct{})}
	n.cut, n.cutNow = context.WithCancel(context.Background())
	n.reload.init(n)
	n.topicSettings.n = n
	n.metrics = newMetrics(n)
	return n
}

// warnOfMode tells of a work directory that is open to more users than its files.
func (n *Node) warnOfMode() {
	c := &n.o.Config
	st, err := os.Stat(c.WorkDir)
	if err != nil {
		return
	}
	open := st.Mode().Perm()
	for _, users := range []fs.FileMode{0o070, 0o007} {
		if open&users != 0 && c.FileMode&users == 0 {
			n.log.Warn("the work directory is open to others than its owner; chmod 0700 closes it", "workdir", c.WorkDir, "mode", open)
			return
		}
	}
}

func (n *Node) start(ctx context.Context) error {
	c := &n.o.Config
	if err := checkExposed(c); err != nil {
		return err
	}
	for _, line := range exposed(c) {
		n.log.Warn(line.Error())
	}
	n.secured = newSecured(c)
	if len(n.secured.all(c)) > 0 {
		if err := n.reload.add(&part{name: "tls", prepare: n.secured.prepare, files: n.secured.files}); err != nil {
			return err
		}
	}
	var err error
	if n.share, err = n.shareOf(c); err != nil {
		return err
	}
	if err = n.addAuth(c); err != nil {
		return err
	}
	if l := n.o.Inherited.Protocol; l != nil {
		n.listeners = append(n.listeners, l)
	} else if c.Host != "" {
		l, err := n.o.Listen(c.Host)
		if err != nil {
			return fmt.Errorf("listen for the protocol (host): %w", err)
		}
		n.listeners = append(n.listeners, l)
	}
	if l := n.o.Inherited.Unix; l != nil {
		n.listeners = append(n.listeners, l)
	} else if c.UnixSocket != "" {
		l, err := listenUnix(c)
		if err != nil {
			return fmt.Errorf("listen for the protocol (unix-socket): %w", err)
		}
		n.listeners = append(n.listeners, l)
	}
	if c.HTTPHost != "" {
		if n.httpListener = n.o.Inherited.HTTP; n.httpListener == nil {
			n.httpListener, err = listen(c.HTTPHost)
		}
		if err != nil {
			return fmt.Errorf("listen for HTTP (http-host): %w", err)
		}
		n.web = n.newWeb()
		n.group.Go(func() {
			if err := n.web.Serve(n.httpListener); !errors.Is(err, http.ErrServerClosed) {
				n.fail(fmt.Errorf("serve HTTP: %w", err))
			}
		})
	}
	if n.fs, err = vfs.OpenOS(c.WorkDir, 0o700); err != nil {
		return fmt.Errorf("open work directory: %w", err)
	}
	n.warnOfMode()
	if n.hooks, err = newHooks(c, n.log); err != nil {
		return fmt.Errorf("delete hook: %w", err)
	}
	who, is, err := n.checkMembership()
	if err != nil {
		return err
	}
	if c.Node != "" && !is { // there is nothing to recover
		n.waitFor(admission)
	}
	if n.o.Recovering != nil {
		defer n.tellRecovery()()
	}
	var m *member
	if c.Node != "" {
		m, err = n.newMember(ctx, who, is)
		if m != nil {
			n.member.Store(m)
		}
		if err != nil {
			return err
		}
	}
	options := storage.Options{
		FS: n.fs, Logger: n.log, Observer: n.metrics, FileMode: c.FileMode,
		PartitionSize: c.PartitionSize, Partitions: c.Partitions,
		RetentionAge: c.RetentionAge, RetentionBytes: c.RetentionBytes,
		FlushBatches: c.FlushBatches, FlushInterval: flushInterval(c),
		MaxTopics: c.Topics, AllowedTopics: c.TopicsWhitelist, OpenFiles: c.OpenFiles,
		MaxFiles: n.share.files,
		KeepFree: c.KeepFree, ScrubRate: c.ScrubRate, DeleteAfter: c.DeleteAfter,
		Producers: int64(c.Producers),
	}
	if c.Producers == 0 {
		options.Producers = -1 // 0 is the default there
	}
	if c.DeleteAfter == 0 {
		options.DeleteAfter = -1 // 0 is the default there
	}
	if n.hooks != nil {
		options.Holder = n.hooks
	}
	options.Progress = &n.progress
	if m != nil {
		// Topics are kept, and made, as the cluster decides.
		options.Managed, options.Partitions, options.RetentionAge, options.RetentionBytes = true, -1, 0, 0
		options.MaxTopics, options.AllowedTopics, options.KeepFree = 0, nil, 0
		if options.Producers = int64(m.limits.Load().Producers); options.Producers == 0 {
			options.Producers = -1
		}
	}
	if m == nil {
		if err := n.topicSettings.open(c); err != nil {
			return err
		}
		options.Own = storeLimits(c, n.topicSettings.state.Load()).Own
	} else if len(c.TopicRules) > 0 {
		n.log.Warn("settings of single topics are the cluster's: those of the configuration file are not used, see log-cli set", "first", c.TopicRules[0].Origin())
	}
	store, err := storage.Open(ctx, options)
	if err != nil {
		return fmt.Errorf("open work directory %s: %w", c.WorkDir, err)
	}
	n.store.Store(store)
	if m != nil {
		if err := m.openAnew(ctx, store); err != nil {
			return err
		}
		n.hooks.begin(m.node)
	} else {
		n.hooks.begin(store)
	}
	if err := store.Announce(n.Addr().String()); err != nil {
		n.log.Warn("the address is not in the lock file, so \"log-cli check --online\" can't ask this server", "err", err)
	}
	if err := n.openPositions(store, m); err != nil {
		return err
	}
	so := server.Options{
		Store: store.Contract(), Positions: n.keeper.Load(), Hooks: n.hooks, Logger: n.log, Settings: n.settings(c), Auth: n.auth,
		Timeout: c.Timeout, IdleTimeout: c.IdleTimeout, MaxConnections: n.share.connections, MaxHTTPWaits: n.share.httpWaits(),
		Unpacker:    newUnpacker(c.Timeout, n.metrics),
		AuthTimeout: c.AuthTimeout, MaxUnauthenticated: maxUnauthenticated(c, n.share), TopicWriteRate: c.TopicWriteRate,
	}
	if m != nil {
		so.Store, so.Cluster, so.Settings = m.node.Topics(), m.node, m.settings()
	}
	so.TopicSettings = &n.topicSettings
	srv := server.New(so)
	srv.SetTopicLimits(n.topicSettings.state.Load().limits())
	n.server.Store(srv)
	if m != nil {
		m.run()
	}
	return nil
}

// settings returns what CONFIG tells of a configuration.
func (n *Node) settings(c *config.Config) protocol.Settings {
	return protocol.Settings{
		MaxBatchSize: c.BatchSize, MaxMessages: int64(c.MaxMessages),
		PartitionSize: c.PartitionSize, Partitions: int64(c.Partitions),
		FlushBatches: int64(c.FlushBatches), FlushInterval: c.FlushInterval,
		DeleteHook: c.DeleteHook != "", Producers: int64(c.Producers), Positions: int64(c.Positions),
		Codecs: c.Codecs, MaxUncompressedSize: c.MaxUncompressedSize(), Version: n.o.Version,
	}
}

// newWeb returns the server of HTTP, which is there before the store is.
func (n *Node) newWeb() *web.Server {
	c := &n.o.Config
	o := web.Options{
		Protocol: n.server.Load, Ready: n.Ready, Checks: n.checks, Auth: n.auth,
		Metrics: promhttp.HandlerFor(n.metrics.registry, promhttp.HandlerOpts{}),
		Version: n.o.Version, Logger: n.log, Limits: webLimits(c, n.share), Serves: c.HTTPServe, MaxBody: c.HTTPMaxBody, Memory: c.HTTPMemory,
	}
	if t := n.secured.http; t != nil {
		o.TLS, o.Verifier, o.Ended = t.Config(), t.Verifier, t.Count
	}
	o.LeaderHTTP = func(addr string) string {
		if m := n.member.Load(); m != nil {
			return m.said.Load().HTTPAt(addr)
		}
		return ""
	}
	return web.New(o)
}

func webLimits(c *config.Config, share descriptors) web.Limits {
	return web.Limits{Timeout: c.Timeout, IdleTimeout: c.IdleTimeout, AllowedHosts: c.HTTPAllowedHosts, MaxConnections: share.http, Acts: c.ConsoleActs}
}

// shareOf parts the files that the process may have open, as the settings say.
func (n *Node) shareOf(c *config.Config) (descriptors, error) {
	limit, err := descriptorLimit()
	if err != nil {
		return descriptors{}, fmt.Errorf("limit on open files: %w", err)
	}
	share := shareDescriptors(limit, c.OpenFiles, c.MaxConnections, c.HTTPMaxConnections)
	if share.connections < c.MaxConnections {
		n.log.Warn("fewer connections than max-connections: a process may have only so many files open here; raise that limit (ulimit -n, LimitNOFILE) or lower open-files",
			"connections", share.connections, "max-connections", c.MaxConnections, "limit", limit, "open-files", c.OpenFiles)
	}
	return share, nil
}

// listen listens on a TCP address. One of IPv4 is one of IPv4 alone: to package
// net, 0.0.0.0 is every address of IPv6, too.
func listen(addr string) (net.Listener, error) {
	network := "tcp"
	if host, _, err := net.SplitHostPort(addr); err == nil {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().Is4() {
			network = "tcp4"
		}
	}
	return net.Listen(network, addr)
}

// Addr returns where the protocol is served.
func (n *Node) Addr() net.Addr { return n.listeners[0].Addr() }

// HTTPAddr returns where HTTP is served, or nil if it isn't.
func (n *Node) HTTPAddr() net.Addr {
	if n.httpListener == nil {
		return nil
	}
	return n.httpListener.Addr()
}

// fail notes why a part of the node has ended by itself, which ends Wait.
func (n *Node) fail(err error) {
	n.failMu.Lock()
	defer n.failMu.Unlock()
	if n.failed == nil {
		n.failed = err
		close(n.quit)
	}
}

// Wait blocks until the node has stopped: it returns nil after a Shutdown that
// went well, and otherwise the error. A node whose listener fails stops by
// itself.
func (n *Node) Wait() error {
	select {
	case <-n.stopped:
	case <-n.quit:
		return errors.Join(n.failed, n.Close())
	}
	return n.err
}

// Shutdown stops accepting, answers what is in flight, syncs and closes. If
// ctx is done before the connections and delete hooks are, they are cut and
// killed, which is logged; all is synced and closed all the same. The error is of
// what could not be made durable or closed. It waits for the disk: on one that
// hangs it does not return, but what is said of the end of ctx still happens.
func (n *Node) Shutdown(ctx context.Context) error {
	n.once.Do(func() {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(n.cut, func() { cancel(errCut) })()
		// What hangs must not keep hooks alive.
		defer context.AfterFunc(ctx, func() { n.hooks.end(ctx) })()
		n.err = n.release(ctx)
		close(n.stopped)
	})
	<-n.stopped
	return n.err
}

// errCut is why a Shutdown does not wait when there is a Close.
var errCut = errors.New("node: closed")

// Close cuts all connections, kills delete hooks, syncs and closes. A Shutdown
// that is under way does the same from there on.
func (n *Node) Close() error {
	n.cutNow()
	return n.Shutdown(n.cut)
}

// flushInterval returns the interval as the store takes it, where 0 is never.
func flushInterval(c *config.Config) time.Duration {
	if c.FlushInterval == 0 {
		return time.Millisecond
	}
	return c.FlushInterval
}

// release takes apart what start has put together, in the opposite order.
func (n *Node) release(ctx context.Context) error {
	var errs []error
	n.reload.end()
	m := n.member.Load()
	if m != nil && m.node != nil && ctx.Err() == nil {
		m.handOver(ctx)
	}
	if s := n.server.Load(); s != nil {
		err := s.Shutdown(ctx)
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) {
			n.log.Warn("connections were cut: their requests were not done in time")
		} else if err != nil {
			errs = append(errs, fmt.Errorf("shut down connections: %w", err))
		}
	} else {
		for _, l := range n.listeners {
			errs = append(errs, l.Close())
		}
	}
	if n.web != nil {
		// Health is answered until here. Answers get a moment to leave; what then
		// still runs there, a profile say, is cut.
		leaving, cancel := context.WithTimeout(ctx, time.Second)
		err := n.web.Shutdown(leaving)
		cancel()
		if err != nil {
			err = n.web.Close()
		}
		if err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if err := n.hooks.end(ctx); err != nil {
		n.log.Warn("delete hooks were killed: they were not done in time, and are run again after the next start")
	}
	n.metrics.topics.end()
	if n.auth != nil {
		n.auth.Close()
	}
	if k := n.keeper.Load(); k != nil {
		k.Close()
	}
	if m != nil {
		errs = append(errs, m.end())
	}
	if s := n.store.Load(); s != nil {
		if err := s.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close work directory: %w", err))
		}
	}
	if n.fs != nil {
		errs = append(errs, n.fs.Close())
	}
	n.group.Wait()
	return errors.Join(errs...)
}

// Ready returns why the node does not take all requests, or nil.
func (n *Node) Ready() error {
	s := n.server.Load()
	store := n.store.Load()
	switch {
	case store == nil || s == nil:
		return errors.New(n.recovering())
	case s.Draining():
		return errors.New("shutting down")
	}
	if m := n.member.Load(); m != nil {
		return m.ready()
	}
	for name, err := range store.Broken() {
		return fmt.Errorf("topic %s can't be opened: %w", name, err)
	}
	for _, t := range store.Stats().Topics {
		if t.Err != nil {
			return fmt.Errorf("topic %s is read only: %w", t.Topic, t.Err)
		}
	}
	return nil
}

// Ping asks the server for a PING, by the way that all requests go but for the
// connection, and returns nil if that is answered. It does not touch the disk.
func (n *Node) Ping() error {
	s := n.server.Load()
	if s == nil {
		return errors.New("node: not started")
	}
	return s.Ping()
}
