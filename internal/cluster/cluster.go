// Package cluster is a member of a cluster: the groups, which decide, the member log
// and the topics' files, on which that is carried out, and what lies between them.
//
//	             Submit                        tasks
//	clients ───────────────►  core  ─────────────────────►  disk ──► files, member log
//	        ◄───────────────   ▲ │   ◄─────────────────────   │ ▲
//	             verdicts      │ │      Written, Durable      ▼ │
//	                 messages  │ ▼                           round (sync)
//	                        Transport
//
// Each of core, disk, round, fetcher and keeper does one thing at a time. In a running node
// each has a goroutine ([Node.Run]); a simulation has all of them in one, and steps
// one or another as it likes ([Node.Step]): the code is the same.
//
//   - The core has the groups (package group). It touches no file and no socket.
//   - The disk does tasks, in order. It alone writes to the member log, and to topics
//     but for those whose group takes over a table.
//   - The round syncs what the disk has written, one sync at a time: the member log and
//     all topics written since the last one. What is durable by it is told to the core.
//   - The fetcher gets bytes that this member lacks: for a table that is taken over,
//     and for what is damaged (package catchup).
//   - The keeper decides what of the topics is to go that this member leads.
//
// All find the files of topics in one place, package copies.
package cluster

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/cluster/catchup"
	"github.com/logd-dev/logd/internal/cluster/copies"
	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/grouplog"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/storage"
	"github.com/logd-dev/logd/internal/vfs"
)

// ErrLostLog is a member that has lost what its log had on stable storage. It must
// not go on under its id.
var ErrLostLog = errors.New("cluster: the member log was lost, in part or as a whole")

// Options are what a node is made of. Those of the first part are required, but for the
// Logger and Now.
type Options struct {
	FS        vfs.FS         // the work directory
	Store     *storage.Store // of FS, Managed
	Transport Transport
	Logger    *slog.Logger
	Now       func() time.Time // nil: time.Now
	NewID     func() entry.ID  // of a topic
	Boot      uint64           // another number each time that the machine starts
	Start     uint64           // another number each time that the process starts
	Tick      time.Duration    // a tenth of the election timeout

	// Addr and PeerAddr are where this member is found; if they are other ones than what
	// the cluster knows it is told.
	Addr, PeerAddr string
	HTTP           string        // where clients of HTTP find it, http(s)://HOST:PORT; empty: nobody is told
	Version        string        // what runs; a word, which others are told
	Auth           func() string // a digest of the file of identities in force: see peer.Beat; nil: there is none
	Timeout        time.Duration // of the creation of a topic
	CatchUpRate    int64         // bytes a second; 0: no limit
	Reserve        int64         // bytes that are held for when the disk is full; 0: none
	DeleteAfter    time.Duration // for so long a DELETE that is said again is answered as before

	// Observer is told what is measured; nil: nobody is.
	Observer Observer
	// Changed is told what group 0 says, at first when the node is opened, and whenever
	// that has changed, or who was removed has. It must not block.
	Changed func(*Said)
	// Failed is told why the node can't go on. It must not block.
	Failed func(error)
	// CheckSetting returns why a setting can't have a value, beside what is said.
	CheckSetting func(key, value string, s *Said) error
	// Limits returns the settings by which topics are kept; nil: nothing goes by itself.
	Limits func() Limits
	// PartitionSize returns what a partition does not pass; nil: the store's.
	PartitionSize func() int64
	// Own returns by what a topic is kept that has settings of its own, and whether it has
	// any; nil: none has. LeastPartition returns the least size of a partition that any
	// topic has; nil: that of PartitionSize.
	Own            func(topic string) (storage.Kept, bool)
	LeastPartition func() int64
	// MayCreate returns why a topic can't be made when there are so many; nil: any may be.
	MayCreate func(name string, topics int) error
	// Holder is asked before partitions are removed, on the member that leads; nil: nobody.
	Holder storage.Holder
}

// Observer is told what is measured. Its methods must not block; they are called
// concurrently.
type Observer interface {
	// SyncRound is called after each sync of the member log and so many topics.
	SyncRound(took time.Duration, files int)
	// Committed is called when an entry that was proposed here is known to be stored on a
	// majority.
	Committed(took time.Duration)
}

type noObserver struct{}

func (noObserver) SyncRound(time.Duration, int) {}
func (noObserver) Committed(time.Duration)      {}

// Transport carries what members say. Nothing of it has to arrive, and none of its
// methods blocks but Fetch and Sums.
type Transport interface {
	// Send sends raft's message for a group. With a MsgApp go the bytes that its
	// entries name: see Node.Bodies.
	Send(to uint64, group int, m *pb.Message)
	// Beat sends what is said at each tick.
	Beat(to uint64, b *peer.Beat)
	// Suggest sends an entry that who leads group 0 is to propose.
	Suggest(to uint64, data []byte)
	// Sending reports whether a table is on its way to a member.
	Sending(to uint64, group int) bool
	catchup.Source
}

// Node is a member. Open makes it.
type Node struct {
	o      Options
	member grouplog.Member
	log    *slog.Logger

	core    core
	disk    disk
	round   round
	fetcher fetcher
	keeper  keeper

	topics  *copies.Set
	names   names
	unready atomic.Pointer[error]
	said    atomic.Pointer[Said]
	// admitted are those who were members when this one was admitted, until a table tells.
	admitted []entry.Member
	out      atomic.Pointer[[]uint64] // who was removed
	ticks    atomic.Int64             // as the core counts them
	latest   atomic.Int64             // the latest time that is believed: see latestTime
	free     atomic.Int64             // how much room a majority has
	making   making
	counts   counts
	lost     map[entry.ID][]storage.Range // runs that are named and not there; while it is opened
	failed   atomic.Pointer[error]        // why the node can't go on
	stop     chan struct{}
	closed   chan struct{} // when nobody works any more
	wg       sync.WaitGroup
}

// ID returns the member's id.
func (n *Node) ID() uint64 { return n.member.ID }

// Member returns who this is.
func (n *Node) Member() grouplog.Member { return n.member }

// Err returns why the node can't go on, or nil.
func (n *Node) Err() error {
	if e := n.failed.Load(); e != nil {
		return *e
	}
	return nil
}

func (n *Node) fail(err error) {
	if n.failed.CompareAndSwap(nil, &err) {
		n.log.Error("member can't go on", "err", err)
		if n.o.Failed != nil {
			n.o.Failed(err)
		}
	}
}

// GroupOf returns the group of a topic, of so many: FNV-1a of its name in 64 bits, the
// upper and the lower half XORed, modulo the number of groups
// (http://www.isthe.com/chongo/tech/comp/fnv/). It never changes.
func GroupOf(name string, groups int) int {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return int((uint32(h>>32) ^ uint32(h)) % uint32(groups))
}

// Actor names one of those who do the work of a node.
type Actor int

// The actors.
const (
	Core Actor = iota
	Disk
	Round
	Fetcher
	Keeper
	Actors // how many there are
)

// Step does the next thing that an actor has to do, and reports whether there was
// one. It is for simulations, which do not Run the node.
func (n *Node) Step(a Actor) bool {
	switch a {
	case Core:
		return n.core.step()
	case Disk:
		return n.disk.step()
	case Round:
		return n.round.step()
	case Fetcher:
		return n.fetcher.step()
	}
	return n.keeper.step()
}

// Run has the node work until Close.
func (n *Node) Run() {
	for _, a := range []*actor{&n.core.actor, &n.disk.actor, &n.round.actor, &n.fetcher.actor, &n.keeper.actor} {
		n.wg.Go(func() { a.run(n.stop) })
	}
	n.core.post(n.core.alone)
	n.wg.Go(func() {
		t := time.NewTicker(n.o.Tick)
		defer t.Stop()
		for {
			select {
			case <-n.stop:
				return
			case <-t.C:
				n.Tick()
			}
		}
	})
}

// Close ends a node that runs. The store and what was written stay as they are. Who
// waits for the node gets topic.ErrClosed, or topic.ErrInDoubt where it was proposed.
func (n *Node) Close() error {
	close(n.stop)
	n.wg.Wait()
	n.core.end()
	close(n.closed)
	return n.disk.close()
}

// Position returns up to where the member log is on stable storage, in bytes that were
// ever appended to it. It never goes back, also not by a restart.
func (n *Node) Position() uint64 { return n.disk.position.Load() }

// Receive takes what another member has said of a group. bodies are what came with a
// MsgApp, in the order of its runs. A message whose bytes are not what it says is
// dropped, as one that was lost: they may have been cut off while they were sent.
//
// done, if there is one, is called once, when the memory of bodies is not needed any
// more but for what finds no room on the disk: so the caller may bound it.
func (n *Node) Receive(from uint64, number int, m *pb.Message, bodies []byte, done func()) {
	if done == nil {
		done = func() {}
	}
	if number < 0 || number >= len(n.core.groups) || m.GetFrom() != from || m.GetTo() != n.member.ID {
		done()
		return
	}
	parts, err := splitBodies(m, bodies)
	switch {
	case errors.Is(err, entry.ErrNewer):
		n.fail(err)
		done()
		return
	case err != nil:
		n.log.Debug("message dropped", "from", from, "group", number, "err", err)
		done()
		return
	}
	n.core.post(func() {
		cg := n.core.groups[number]
		if cg.orphan.late(m, n.core.ticks) {
			done()
			return
		}
		cg.g.Step(m, parts)
		n.core.take(number)
		if len(bodies) == 0 {
			done() // a disk that hangs is no reason not to take what has no bytes
			return
		}
		n.disk.post(done) // behind the task that writes them
	})
}
