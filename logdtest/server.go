// Package logdtest helps to test programs that use package logd.
//
// A [Server], made by [Start], is the real thing, for tests of what a program
// does with its logs. Neither it nor its clients need a free port, a folder or
// a pause to be known to the test. With the option [On] it is on a network in
// memory, and the test can run in a bubble of package testing/synctest, in which
// nothing waits for time to pass.
//
// Package logdtest/script has servers that do what the test says, for tests of
// what a program does when things go wrong: answers that are late, cut in the
// middle, garbage, or that do not come.
package logdtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/logdtest/memnet"
)

// stopTimeout bounds the clean end of a Server.
const stopTimeout = 10 * time.Second

// Server is a real server within the test's process: what it says over the
// network and does to its files is what the program does.
//
//	server := logdtest.Start(t)
//	client := server.Client(t)
//
// It listens at a free port of 127.0.0.1, or on a [memnet.Network], keeps its data
// in a folder of the test's own, and is stopped at the test's end. All methods are
// safe for concurrent use.
type Server struct {
	t       testing.TB
	config  config.Config
	network *memnet.Network // nil for that of the machine

	mu   sync.Mutex
	node *node.Node // nil while stopped
	addr string
	log  *slog.Logger
}

// Option changes what a Server is like.
type Option func(*Server)

// PartitionSize sets the size that no partition file passes, in bytes, instead
// of 2000 MiB. If it is less than the size of the largest batch, that becomes
// the same.
func PartitionSize(bytes int64) Option {
	return func(s *Server) {
		s.config.PartitionSize = bytes
		s.config.BatchSize = min(s.config.BatchSize, bytes)
	}
}

// Partitions sets how many partition files are kept of a topic, instead of 8:
// the oldest goes when one more is begun.
func Partitions(n int) Option { return func(s *Server) { s.config.Partitions = n } }

// BatchSize sets the size of the largest batch, envelope and data, in bytes,
// instead of 64 KiB.
func BatchSize(bytes int64) Option { return func(s *Server) { s.config.BatchSize = bytes } }

// MaxMessages sets the largest number of messages of one read, instead of
// 50,000.
func MaxMessages(n int) Option { return func(s *Server) { s.config.MaxMessages = n } }

// MaxConnections sets how many connections are served at once, instead of
// 10,000.
func MaxConnections(n int) Option { return func(s *Server) { s.config.MaxConnections = n } }

// Topics names the only topics that there may be, instead of any.
func Topics(names ...string) Option { return func(s *Server) { s.config.TopicsWhitelist = names } }

// Codecs has the server take compressed batches in these codecs, with commas between,
// alone; empty for none. By default it takes all that there are.
func Codecs(list string) Option {
	c, ok := batch.ParseCodecs([]byte(list))
	if !ok && list != "" {
		panic("logdtest: Codecs(" + strconv.Quote(list) + "): want names with commas between")
	}
	return func(s *Server) { s.config.Codecs = c }
}

// SyncEveryBatch makes the server sync each batch before it answers, instead
// of all once a second.
func SyncEveryBatch() Option { return func(s *Server) { s.config.FlushBatches = 1 } }

// WorkDir sets the folder of the data, instead of a new one for the test. It
// is kept.
func WorkDir(name string) Option { return func(s *Server) { s.config.WorkDir = name } }

// Logger sets what is told of the server's doings. Default: nothing.
func Logger(logger *slog.Logger) Option { return func(s *Server) { s.log = logger } }

// On puts the server on a network in memory, at an address of its own, instead of
// that of the machine. It then works in a bubble of package testing/synctest, if
// the network was made there. Its clients need the Dial of [Server.ClientConfig].
func On(network *memnet.Network) Option { return func(s *Server) { s.network = network } }

// Start starts a server, which takes requests when Start returns. If it cannot
// be started, the test has failed and ends.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	s := &Server{t: t, config: config.Default()}
	s.config.Host, s.config.HTTPHost = "127.0.0.1:0", ""
	for _, option := range options {
		option(s)
	}
	if s.config.WorkDir == config.Default().WorkDir {
		s.config.WorkDir = t.TempDir()
	}
	if err := s.config.Validate(); err != nil {
		t.Fatalf("logdtest: %v", err)
	}
	if err := s.start(); err != nil {
		t.Fatalf("logdtest: %v", err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("logdtest: %v", err)
		}
	})
	return s
}

// Addr returns the server's address, HOST:PORT. It stays the same after Stop
// and Restart.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// WorkDir returns the folder of the data. Its files may be looked at at any
// time, and changed while the server is stopped.
func (s *Server) WorkDir() string { return s.config.WorkDir }

// Client returns a Client of the server that is connected, and closed at the
// test's end. It tries for as long as the test lasts to reconnect, with short
// pauses, so that a test can stop the server for a while.
func (s *Server) Client(t testing.TB) *logd.Client {
	t.Helper()
	client, err := logd.Dial(t.Context(), s.ClientConfig())
	if err != nil {
		t.Fatalf("logdtest: %v", err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// ClientConfig returns the configuration of [Server.Client], to be changed by
// the test.
func (s *Server) ClientConfig() logd.ClientConfig {
	cfg := logd.ClientConfig{
		Addrs:             []string{s.Addr()},
		ReconnectMin:      time.Millisecond,
		ReconnectMax:      20 * time.Millisecond,
		ReconnectAttempts: logd.Unlimited,
	}
	if s.network != nil {
		cfg.Dial = s.network.Dial
	}
	return cfg
}

// Stop ends the server as a SIGTERM does: requests that are being worked on are
// answered, everything is synced. Clients cannot connect until Restart. If it
// is stopped already, Stop does nothing.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Errorf("logdtest: %v", err)
	}
}

// Restart stops the server, if it runs, and starts it at the same address with
// the same data. If it cannot be started, the test has failed and ends, so it
// is to be called by the test's own goroutine.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.start(); err != nil {
		s.t.Fatalf("logdtest: %v", err)
	}
}

func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.config
	if s.addr != "" {
		c.Host = s.addr
	}
	o := node.Options{Config: c, Version: "test", Logger: s.log}
	if s.network != nil {
		o.Listen = s.network.Listen
	}
	start := func() (*node.Node, error) { return node.Start(context.Background(), o) }
	n, err := start()
	// A process that this one is starting has a copy of the former listener for
	// a moment.
	for begun := time.Now(); s.addr != "" && errors.Is(err, syscall.EADDRINUSE) && time.Since(begun) < stopTimeout; n, err = start() {
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	s.node, s.addr = n, n.Addr().String()
	return nil
}

func (s *Server) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node == nil {
		return nil
	}
	n := s.node
	s.node = nil
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := n.Shutdown(ctx); err != nil {
		return fmt.Errorf("stop the server: %w", err)
	}
	return nil
}
