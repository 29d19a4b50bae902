package peernet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/logd-dev/logd/internal/cluster"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/logdtest/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNode notes what it is told.
type fakeNode struct {
	mu          sync.Mutex
	got         []received
	beats       []peer.Beat
	from        []uint64 // of beats
	gone        []uint64
	campaigns   []uint64
	unreachable []int // groups
	position    uint64
	suggested   []string
	met         []string
	keep        bool // done is called by release
	held        []func()
	hang        chan struct{} // beats are not taken until it is closed, if there is one

	bodies func(group int, m *pb.Message) ([]cluster.View, bool)
	serve  func(from, to int64) (cluster.Fetched, error)
	sums   func(from, to int64) ([]uint32, error)
}

type received struct {
	from  uint64
	group int
	m     *pb.Message
	body  []byte
}

func (n *fakeNode) Receive(from uint64, group int, m *pb.Message, body []byte, done func()) {
	n.mu.Lock()
	n.got = append(n.got, received{from, group, m, body})
	if n.keep && body != nil {
		n.held = append(n.held, done)
		done = func() {}
	}
	n.mu.Unlock()
	done()
}

func (n *fakeNode) Suggested(from uint64, data []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.suggested = append(n.suggested, string(data))
}

func (n *fakeNode) Met(id, start uint64, version string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.met = append(n.met, fmt.Sprint(id, " ", start, " ", version))
}

func (n *fakeNode) ReceiveBeat(from uint64, b *peer.Beat, done func()) {
	n.mu.Lock()
	c := *b
	c.Groups = slices.Clone(b.Groups)
	n.beats, n.from = append(n.beats, c), append(n.from, from)
	hang := n.hang
	n.mu.Unlock()
	if hang != nil {
		<-hang
	}
	done()
}

func (n *fakeNode) Bodies(group int, m *pb.Message) ([]cluster.View, bool) {
	n.mu.Lock()
	bodies := n.bodies
	n.mu.Unlock()
	if bodies == nil {
		return nil, true
	}
	return bodies(group, m)
}

func (n *fakeNode) setBodies(f func(group int, m *pb.Message) ([]cluster.View, bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bodies = f
}

func (n *fakeNode) Serve(_ peer.ID, from, to int64) (cluster.View, []peer.Part, error) {
	got, err := n.serve(from, to)
	if err != nil {
		return nil, nil, err
	}
	return memView(got.Data), got.Parts, nil
}
func (n *fakeNode) Sums(_ peer.ID, from, to int64) ([]uint32, error) { return n.sums(from, to) }

func (n *fakeNode) Unreachable(_ uint64, group int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unreachable = append(n.unreachable, group)
}

func (n *fakeNode) PeerGone(id uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = append(n.gone, id)
}

func (n *fakeNode) Campaign(id uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.campaigns = append(n.campaigns, id)
}

func (n *fakeNode) hasCampaigned() []uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.campaigns)
}

func (n *fakeNode) Position() uint64 { return n.position }

func (n *fakeNode) received() []received {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.got)
}

func (n *fakeNode) wasGone() []uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.gone)
}

// lost returns the groups that were told of lost messages since the last call.
func (n *fakeNode) lost() []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	lost := n.unreachable
	n.unreachable = nil
	return lost
}

func (n *fakeNode) said() ([]peer.Beat, []uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.beats), slices.Clone(n.from)
}

func (n *fakeNode) count() (messages, beats, held int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.got), len(n.beats), len(n.held)
}

// release is done with what it has kept.
func (n *fakeNode) release() {
	n.mu.Lock()
	held := n.held
	n.held, n.keep = nil, false
	n.mu.Unlock()
	for _, done := range held {
		done()
	}
}

// memView is bytes in memory.
type memView []byte

func (v memView) Offset() int64  { return 0 }
func (v memView) Batches() int64 { return 0 }
func (v memView) Len() int64     { return int64(len(v)) }
func (v memView) Sections() int  { return 1 }
func (v memView) Section(int) (io.ReaderAt, int64, int64) {
	return bytes.NewReader(v), 0, int64(len(v))
}
func (v memView) Close() {}

// bodyOf returns a body for a message, which its index tells.
func bodyOf(m *pb.Message, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(m.GetIndex()) ^ byte(i*7)
	}
	return b
}

var testCluster = peer.ID{1, 2, 3}

const tick = 20 * time.Millisecond

type addrs = map[uint64]string

// both is where two members are on a network in memory.
var both = addrs{1: "m1:1", 2: "m2:1"}

func options(network *memnet.Network, id uint64) Options {
	return Options{Cluster: testCluster, ID: id, Start: 100 + id, Tick: tick, Dial: network.Dial}
}

// start starts a member on a network in memory.
func start(t *testing.T, network *memnet.Network, o Options, members addrs, node *fakeNode) *Transport {
	t.Helper()
	tr := New(o)
	l, err := network.Listen(both[o.ID])
	if err != nil {
		t.Fatal(err)
	}
	tr.SetMembers(members)
	tr.Start(node, l)
	t.Cleanup(func() { tr.Close() })
	return tr
}

func message(from, to uint64, typ pb.MessageType, index uint64) *pb.Message {
	return &pb.Message{Type: typ.Enum(), From: proto.Uint64(from), To: proto.Uint64(to), Term: proto.Uint64(3), Index: proto.Uint64(index)}
}

// rawConn is a member that is played by the test.
type rawConn struct {
	t *testing.T
	net.Conn
	r *peer.Reader
}

func rawDial(t *testing.T, network *memnet.Network, addr string) *rawConn {
	t.Helper()
	nc, err := network.Dial(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return raw(t, nc)
}

func raw(t *testing.T, nc net.Conn) *rawConn {
	t.Cleanup(func() { nc.Close() })
	return &rawConn{t, nc, peer.NewReader(nc)}
}

// hello begins a connection from one member to another.
func (c *rawConn) hello(from, to uint64, use peer.Use) {
	c.t.Helper()
	c.write(peer.AppendRequest(nil, &peer.Hello{Cluster: testCluster, From: from, To: to, Use: use}))
	if err := c.r.Accepted(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *rawConn) write(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *rawConn) frame(kind peer.Kind, message []byte) {
	c.t.Helper()
	c.write(peer.AppendFrame(nil, &peer.Frame{Kind: kind, Message: message}))
}

func (c *rawConn) start(number, position uint64) {
	c.t.Helper()
	c.frame(peer.KindStart, peer.Start{Number: number, Position: position}.Append(nil))
}

func (c *rawConn) beat(position uint64) {
	c.t.Helper()
	b := peer.Beat{Position: position}
	c.frame(peer.KindBeat, b.Append(nil))
}

// ends returns how the other side ends the connection: a refusal, or nothing.
func (c *rawConn) ends() string {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	b, err := io.ReadAll(c.Conn)
	if err != nil {
		return fmt.Sprintf("%s (%v)", b, err)
	}
	return string(b)
}

// equal compares what came with what was sent.
func equal(a, b *pb.Message) bool { return proto.Equal(a, b) }
