// Package peernet has the connections between the members of a cluster. It carries
// what package peer says and package cluster wants said, and decides nothing: who
// leads, what is stored and who is a member is not known here.
//
//	t := peernet.New(peernet.Options{...})
//	node, err := cluster.Open(cluster.Options{Transport: t, ...})
//	t.SetMembers(addresses)
//	t.Start(node, listener)
//	...
//	t.Close()
//	node.Close()
//
// To each other member there are two connections, which are dialed again when they
// end, and a third that is dialed when it is needed:
//
//	control  all that is small: votes, answers, and at each tick one frame with the
//	         heartbeats of all groups
//	data     entries, with the bytes of their runs, which go from file to socket by
//	         sendfile; and tables
//	fetch    requests for bytes of topics, and their answers, which go from file to
//	         socket, too; what follows an answer is asked for before it is wanted
//
// So what is large never delays a heartbeat. What one connection carries arrives in
// order, up to where it ends. What can't be sent now is dropped, as if it were lost,
// and the group is told ([Node.Unreachable]): nothing is kept for a member that is
// away, and [Transport.Send] does not block.
//
// What arrives is handed to the node, at most 16 MiB from each member that the node is
// not done with; then no more is read from that member.
//
// # Is a member gone?
//
// One whose control connection has ended, and who refuses another, has no process any
// more: the node is told once, at once, and again after 10 to 100 ms, when it is to
// campaign: so not all members do at the same time. Where nothing refuses, the host is
// gone or cut off, and the election timeout decides.
//
// # A member that has gone back, or is there twice
//
// A control connection begins with the number of this start of the member, and up to
// where its log is on stable storage, which never goes back. Who dials with less
// than was heard of that id before is refused: it would break promises that it has
// forgotten. And so is who dials with another number while the first one's connection
// lives. That it lives is shown by what it says: a process that has died, or a host
// that was restarted, must not be taken for a second one.
package peernet

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/cluster"
	"github.com/logd-dev/logd/internal/peer"
)

// Node is who speaks by a Transport: a [*cluster.Node], which says more of these
// methods.
type Node interface {
	Receive(from uint64, group int, m *pb.Message, bodies []byte, done func())
	ReceiveBeat(from uint64, b *peer.Beat, done func())
	Bodies(group int, m *pb.Message) (views []cluster.View, ok bool)
	Serve(topic peer.ID, from, to int64) (cluster.View, []peer.Part, error)
	Sums(topic peer.ID, from, to int64) ([]uint32, error)
	Suggested(from uint64, data []byte)
	Met(id, start uint64, version string)
	Unreachable(id uint64, group int)
	PeerGone(id uint64)
	Campaign(gone uint64)
	Position() uint64
}

// Dial connects to an address.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Options are what a Transport is made of. Cluster, ID, Start and Tick are required.
type Options struct {
	Cluster peer.ID
	ID      uint64        // of this member
	Start   uint64        // another number each time that the process starts
	Tick    time.Duration // how often the node has a beat sent
	Version string        // what runs, as others are told

	// Dial connects to a member; nil is a net.Dialer's.
	Dial Dial
	// Join answers who asks for admission; nil refuses with peer.NotLeader.
	Join func(*peer.Join) (answer []byte)
	// Replace answers who asks for the place of the member that it was; nil as with Join.
	Replace func(*peer.Replace) (answer []byte)
	// Admit returns why a member is refused, or nothing. nil admits all.
	Admit func(id uint64) (reason string)
	// Refused is told of each refusal by another member: see the reasons of package
	// peer. It must not block.
	Refused func(by uint64, reason string)
	Logger  *slog.Logger
}

// The limits of what waits, and for how long.
const (
	// maxConns is how many connections others may have with this member.
	maxConns = 1024
	// maxBody is the largest body of a frame: a round's, or that of the largest batch.
	maxBody = 1<<30 + 1<<20
	// From each member so many bytes are read that the node is not done with.
	controlBytes, dataBytes = 1 << 20, 15 << 20
	// So much waits to be sent on a connection.
	maxLetters, maxLetterBytes = 4096, 4 << 20

	// A connection has to be established within handshake; one on which something is
	// on its way has to get on within progress.
	handshake = 2 * time.Second
	progress  = 10 * time.Second
	// minSilence is, at least, how long a control connection without a word is kept.
	minSilence = 2 * time.Second
)

// Transport is a [cluster.Transport]. All methods are safe for concurrent use.
type Transport struct {
	o       Options
	log     *slog.Logger
	node    Node
	silence time.Duration // how long a control connection without a word is kept

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	remotes atomic.Pointer[map[uint64]*remote]

	mu       sync.Mutex
	started  bool
	addrs    map[uint64]string
	listener net.Listener
	members  map[uint64]*member // those who have dialed
	conns    map[*inbound]struct{}
	said     map[string]time.Time // why connections were refused, as it was logged
}

var _ cluster.Transport = (*Transport)(nil)

// New returns a Transport, which drops all that it is to send until Start.
func New(o Options) *Transport {
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Transport{
		o: o, log: o.Logger, silence: max(minSilence, 10*o.Tick),
		members: make(map[uint64]*member), conns: make(map[*inbound]struct{}),
		said: make(map[string]time.Time),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.remotes.Store(new(map[uint64]*remote))
	return t
}

// Start has the Transport work for a node until Close, which closes the listener.
func (t *Transport) Start(node Node, l net.Listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.node, t.listener, t.started = node, l, true
	t.wg.Go(func() { t.accept(l) })
	t.connect()
}

// SetMembers says where the members are: peer addresses by id. Who is not among them
// is not spoken to. Connections of those that Admit refuses by now are ended, with the
// reason.
func (t *Transport) SetMembers(addrs map[uint64]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addrs = maps.Clone(addrs)
	delete(t.addrs, t.o.ID)
	t.connect()
	if t.o.Admit == nil {
		return
	}
	for c := range t.conns {
		if c.from != 0 {
			if reason := t.o.Admit(c.from); reason != "" {
				t.wg.Go(func() { c.expel(reason) })
			}
		}
	}
}

// connect makes there be a remote for each member. Caller holds mu.
func (t *Transport) connect() {
	if !t.started || t.ctx.Err() != nil {
		return
	}
	old := *t.remotes.Load()
	remotes := make(map[uint64]*remote, len(t.addrs))
	for id, addr := range t.addrs {
		if r := old[id]; r != nil && r.addr == addr {
			remotes[id] = r
			continue
		}
		r := newRemote(t, id, addr)
		remotes[id] = r
		t.wg.Go(r.run)
	}
	t.remotes.Store(&remotes)
	for id, r := range old {
		if remotes[id] != r {
			r.cancel()
		}
	}
}

// Close ends all connections, and waits until nothing is left.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.cancel()
	var err error
	if t.listener != nil {
		err = t.listener.Close()
		t.listener = nil
	}
	for c := range t.conns {
		c.end()
	}
	t.mu.Unlock()
	t.wg.Wait()
	return err
}

// remote returns a member to speak to, or nil.
func (t *Transport) remote(id uint64) *remote { return (*t.remotes.Load())[id] }

// Suggest sends an entry that who leads group 0 is to propose, or drops it.
func (t *Transport) Suggest(to uint64, data []byte) {
	if r := t.remote(to); r != nil {
		r.control.put(letter{suggested: data})
	}
}

// Send sends raft's message for a group, or drops it.
func (t *Transport) Send(to uint64, group int, m *pb.Message) {
	if r := t.remote(to); r != nil {
		r.send(letter{group: uint16(group), m: m})
	}
}

// Beat sends what is said at each tick, together with the heartbeats since the last.
func (t *Transport) Beat(to uint64, b *peer.Beat) {
	if r := t.remote(to); r != nil {
		r.control.putBeat(b)
	}
}

// Sending reports whether a table for a group waits to be sent, or is being sent.
func (t *Transport) Sending(to uint64, group int) bool {
	r := t.remote(to)
	return r != nil && r.data.sending(uint16(group))
}

// Sent returns how many bytes were sent to a member since it has its address.
func (t *Transport) Sent(to uint64) int64 {
	r := t.remote(to)
	if r == nil {
		return 0
	}
	return r.counters.Bytes.Load()
}

// kindOf returns the kind of frame that a message goes in, or 0 for what no member
// sends to another. All of MsgApp is data, also what has no entries: it would be
// refused if it came before those that it builds upon.
func kindOf(m *pb.Message) peer.Kind {
	switch m.GetType() {
	case pb.MsgApp:
		return peer.KindAppend
	case pb.MsgSnap:
		return peer.KindTable
	case pb.MsgHeartbeat, pb.MsgHeartbeatResp:
		if len(m.GetContext()) == 0 {
			return peer.KindBeat
		}
		return peer.KindMessage // somebody waits for it
	case pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp,
		pb.MsgReadIndex, pb.MsgReadIndexResp, pb.MsgTimeoutNow:
		return peer.KindMessage
	}
	return 0
}
