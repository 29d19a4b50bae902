package system

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Clustered is a system several of whose servers can hold the same.
type Clustered interface {
	System
	// Setups are the ways to run it that are compared, in the order of tables. The
	// first is what the others are told as a share of.
	Setups() []Setup
}

// Setup is one way to run a clustered system.
type Setup struct {
	// Name is what tables call it, Durability what an acknowledged message survives.
	Name, Durability string
	// Members is how many servers there are; 0: one that is in no cluster.
	Members int
	// Start starts the servers with their data in the folder dir. If any are held
	// back, that many of the last are not started: see Cluster.Join. It returns
	// when the others are one cluster.
	Start func(ctx context.Context, dir string, heldBack int) (Cluster, error)
}

// ErrNoWay is the error of what a system has no way to do.
var ErrNoWay = errors.New("there is no way to ask for it")

// Cluster is some servers that hold the same, or one alone.
type Cluster interface {
	// Members returns the servers that were started, in a fixed order. A member
	// that was started again is another Server.
	Members() []Server
	// Leader returns which member leads the topic.
	Leader(ctx context.Context, topic string) (int, error)
	// Lead makes a member the leader of every topic, and returns when it is.
	Lead(ctx context.Context, i int) error
	// Move asks once that the topic be led by another member than now.
	Move(ctx context.Context, topic string) error
	// Drain asks that a member lead nothing, or ends that.
	Drain(ctx context.Context, i int, off bool) error
	// Restart starts a member again that has ended, on its data and addresses. It
	// returns when the member answers.
	Restart(ctx context.Context, i int) error
	// Join starts the next of the members that were held back.
	Join(ctx context.Context) error
	// Whole waits until all members of the setup vote and have what the leader has.
	Whole(ctx context.Context) error
	// Entries returns how many entries the logs of the cluster have got so far.
	Entries(ctx context.Context) (int64, error)
	// Burst writes one message to each of the topics at once, on one connection, and
	// waits for the replies.
	Burst(ctx context.Context, topics []string, body []byte) error
	// Probe returns a caller that stays with one member, connects again by itself,
	// and tries nothing twice: an error of its Call says that the message was not
	// acknowledged. Call gives up a reply that may never come.
	Probe(i int) Caller
	// Close kills all servers.
	Close()
}

// fixedAddr returns an address of this machine that nobody listens on, from
// outside of the range that the kernel takes ports for connections from: a server
// that is started again finds it free.
func fixedAddr() (string, error) {
	const low, high = 10000, 32000
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", low+rand.IntN(high-low))
		if ln, err := net.Listen("tcp", addr); err == nil {
			ln.Close()
			return addr, nil
		}
	}
	return "", errors.New("no port is free")
}

// fixedAddrs returns n of them.
func fixedAddrs(n int) ([]string, error) {
	list := make([]string, n)
	for i := range list {
		addr, err := fixedAddr()
		if err != nil {
			return nil, err
		}
		list[i] = addr
	}
	return list, nil
}

// folder makes a folder for a member.
func folder(dir, name string) (string, error) {
	dir = filepath.Join(dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}

// settled bounds how long a cluster takes to be made, to change its leader, or to
// be whole again.
const settled = time.Minute

// until calls f every few milliseconds until it returns nil, for as long as
// settled.
func until(ctx context.Context, what string, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), err)
		}
	}
}
