// Package system drives the servers that are compared: it finds or builds each
// one, starts it with its data in a given folder, and writes to it and reads
// from it the way its own documentation recommends for speed.
//
// What is measured, and how, is not decided here. A driver does the same work
// for everybody: it hands over every message it is given, waits for every
// acknowledgement, and passes on every message it gets.
package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/logd-dev/logd/bench/internal/process"
)

// ErrNotInstalled is the error of a system whose program is not on this
// machine.
var ErrNotInstalled = errors.New("not installed")

// Options say how a server is started.
type Options struct {
	// Dir is the folder of its data. Starting on it again finds the data.
	Dir string
	// Sync asks that no message is acknowledged before it is on stable
	// storage. Otherwise durability is the system's default.
	Sync bool
	// Positions is how many positions of consumers are to be kept by who keeps any.
	// Default: the system's.
	Positions int
}

// System is one kind of server.
type System interface {
	// Name is what tables call it.
	Name() string
	// Find finds the program, or builds it into the folder bin. Its error is
	// ErrNotInstalled if the machine has none. Nothing else may be called
	// before.
	Find(ctx context.Context, bin string) error
	// Version is what the program says of itself.
	Version() string
	// Durability says what an acknowledged message survives, and is empty for
	// a system that can't sync before it acknowledges if that is asked for.
	Durability(sync bool) string
	// Traits tell which works make sense.
	Traits() Traits
	// Start starts a server and returns when it answers requests. The caller
	// ends its Process.
	Start(ctx context.Context, o Options) (Server, error)
}

// Traits are what systems differ in.
type Traits struct {
	Replays  bool // what was read can be read again, from the oldest message on
	InMemory bool // all data is in memory while the server runs
}

// Server is a running server. Its methods may be called by several goroutines
// at once.
type Server interface {
	Process() *process.Process
	// Topics makes n topics and returns their names. Where topics come into
	// being by the first message, it only makes names.
	Topics(ctx context.Context, prefix string, n int) ([]string, error)
	// Writer returns a writer with a connection of its own, which lives until
	// Close or until ctx ends.
	Writer(ctx context.Context, topic string) (Writer, error)
	// Caller returns a caller with a connection of its own, which lives until
	// Close or until ctx ends.
	Caller(ctx context.Context) (Caller, error)
	// CatchUp reads the topic's first n messages and calls each for every one.
	// body is only good during the call.
	CatchUp(ctx context.Context, topic string, n int64, each func(body []byte)) error
	// Follow calls each for every message that comes to the topic after it has
	// called ready, until ctx ends, which is no error. The topic must have a
	// message already, which each may be called for, too.
	Follow(ctx context.Context, topic string, ready func(), each func(body []byte)) error
}

// Writer writes many messages to a topic as fast as it can: in batches, with
// several of them in flight. It is for one goroutine.
type Writer interface {
	// Write takes a message, of which it keeps a copy. It waits only while too
	// much is in flight.
	Write(body []byte) error
	// Flush sends what there is and waits until all is acknowledged.
	Flush() error
	Close() error
}

// Caller writes one message per request. It is for one goroutine.
type Caller interface {
	// Call writes a message and returns when it is acknowledged.
	Call(ctx context.Context, topic string, body []byte) error
	Close() error
}

// batchSize and inFlight are what writers collect, in bytes, and how many of
// such batches they have under way.
const (
	batchSize = 64 << 10
	inFlight  = 8
)

// All returns all systems, logd first.
func All() []System { return []System{new(Logd), new(NATS), new(Redis), new(NSQ)} }

// Variants returns logd in ways that are measured when they are named: beside logd itself,
// for what they cost. The revision is that of logd as it was before.
func Variants(before string) []System {
	return []System{&Logd{security: overTLS}, &Logd{security: mutualTLS}, &Logd{security: withToken}, new(LogdHTTP), &LogdBefore{Revision: before}}
}

// freeAddr returns an address of this machine that nobody listens on. Somebody
// else may take it before it is used: see launch.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// launch starts a program on free addresses, and again on others if it ends
// before it is ready, which is what a server does whose address is taken.
func launch(ctx context.Context, addrs int, command func(addrs []string) (process.Command, error), ready func(ctx context.Context, addrs []string) error) (*process.Process, []string, error) {
	var failures error
	for range 3 {
		list := make([]string, addrs)
		for i := range list {
			addr, err := freeAddr()
			if err != nil {
				return nil, nil, err
			}
			list[i] = addr
		}
		cmd, err := command(list)
		if err != nil {
			return nil, nil, err
		}
		p, err := process.Start(cmd)
		if err != nil {
			return nil, nil, err
		}
		err = p.Await(ctx, func(ctx context.Context) error { return ready(ctx, list) })
		if err == nil {
			return p, list, nil
		}
		p.Kill()
		if ctx.Err() != nil {
			return nil, nil, err
		}
		failures = errors.Join(failures, err)
	}
	return nil, nil, failures
}

// names returns n names that begin with prefix.
func names(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return list
}

// bind gives a connection the deadline of ctx, and cuts it off when ctx ends
// before. The function that it returns undoes the latter.
func bind(ctx context.Context, nc net.Conn) (release func() bool) {
	if deadline, ok := ctx.Deadline(); ok {
		nc.SetDeadline(deadline)
	}
	return context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
}

// errShort is the error of a topic that has fewer messages than it should.
func errShort(missing int64) error {
	return fmt.Errorf("the topic ends %d messages before its end", missing)
}
