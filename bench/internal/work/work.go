// Package work has the works that systems are measured at: what is written and
// read, by how many, for how long, and what is counted. A work sees a server
// only through package system, so that all of them do the same.
package work

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/bench/internal/report"
	"github.com/logd-dev/logd/bench/internal/system"
)

// Sizes say how much of everything is done.
type Sizes struct {
	Duration   time.Duration // of each phase that is measured for a time
	WriteBytes int64         // at most written in a phase of W1
	ReadBytes  int64         // read in a phase of R1, and in M1 by the reader that catches up
	Topics     []int         // of T1
	StartBytes []int64       // of S1
	LimitBytes int64         // moved for each of the machine's limits
	Consumers  int           // of P1
	Clusters   Clusters      // of C1
}

// Full is what published figures are made with.
func Full() Sizes {
	return Sizes{
		Duration: 5 * time.Second, WriteBytes: 4 << 30, ReadBytes: 1 << 30,
		Topics: []int{1000, 10000}, StartBytes: []int64{2e9, 10e9}, LimitBytes: 2 << 30, Consumers: 10000,
		Clusters: Clusters{Kills: 20, Pauses: 5, GapTopics: []int{10, 1000, 10000}, Topics: 10000, Idle: 5 * time.Second, Bytes: 2e9},
	}
}

// Short is for a look at everything within ten minutes.
func Short() Sizes {
	return Sizes{
		Duration: time.Second, WriteBytes: 1 << 30, ReadBytes: 128 << 20,
		Topics: []int{1000}, StartBytes: []int64{256e6}, LimitBytes: 256 << 20, Consumers: 10000,
		Clusters: Clusters{Kills: 20, Pauses: 3, GapTopics: []int{10, 1000}, Topics: 1000, Idle: 3 * time.Second, Bytes: 256e6},
	}
}

// Work is a work and its cases.
type Work struct {
	report.Work
	Cases []Case
}

// Case is what is done on a fresh server with an empty folder.
type Case struct {
	Name string
	// Sync asks for durability before the reply; see system.Options.
	Sync bool
	// Positions is how many positions of consumers it needs, if any.
	Positions int
	// Limit bounds the case, the writing of what is read included.
	Limit time.Duration
	// Bytes is the most that the case puts on disk.
	Bytes int64
	// Run does it.
	Run func(ctx context.Context, t *Trial) error
	// Skip says why a system can't do it, and is empty if it can. It may be nil.
	Skip func(s system.System) string
}

// All returns all works. The last one is of clusters.
func (s *Sizes) All() []Work {
	return []Work{s.write(), s.request(), s.read(), s.latency(), s.topics(), s.start(), s.mixed(), s.positions(), s.clusters()}
}

// Trial is one run of one case by one system.
type Trial struct {
	Case    Case
	System  system.System
	Options system.Options
	Round   int // from 1
	// Durability is that of what is recorded next, if it is not the system's.
	Durability string
	// Record takes what is measured of a case, or of a part of one, and Miss
	// the reason why it can't be measured.
	Record func(name string, v report.Values)
	Miss   func(name, reason string)

	servers  []system.Server
	clusters []system.Cluster
}

// stopLimit bounds a clean stop.
const stopLimit = time.Minute

// start starts the server, or starts it again on the same data.
func (t *Trial) start(ctx context.Context) (system.Server, error) {
	server, err := t.System.Start(ctx, t.Options)
	if err != nil {
		return nil, err
	}
	t.servers = append(t.servers, server)
	return server, nil
}

// record takes what is measured of the whole case.
func (t *Trial) record(v report.Values) { t.Record(t.Case.Name, v) }

// settle writes what is dirty to the disk, so that the next phase does not pay
// for the last one.
func (t *Trial) settle() error { return Settle(t.Options.Dir) }

// Close ends all that the trial started.
func (t *Trial) Close() {
	for _, s := range t.servers {
		s.Process().Kill()
	}
	for _, c := range t.clusters {
		c.Close()
	}
}

// parallel runs f n times at once and waits for all. The first error ends the
// context of the others and is returned.
func parallel(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range n {
		group.Go(func() {
			if err := f(ctx, i); err != nil && failed.CompareAndSwap(nil, &err) {
				cancel(err)
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// topic makes one topic and returns its name.
func topic(ctx context.Context, server system.Server) (string, error) {
	names, err := server.Topics(ctx, "bench", 1)
	if err != nil {
		return "", err
	}
	return names[0], nil
}

// fill writes n messages of the size to the topic and waits until all are
// acknowledged.
func fill(ctx context.Context, server system.Server, topic string, n int64, size int) error {
	writer, err := server.Writer(ctx, topic)
	if err != nil {
		return err
	}
	defer writer.Close()
	bodies := newBodies(size, 0)
	for range n {
		if err := writer.Write(bodies.next()); err != nil {
			return fmt.Errorf("write what is to be read: %w", err)
		}
	}
	return writer.Flush()
}
