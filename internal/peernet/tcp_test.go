package peernet

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/cluster"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/internal/testkit"
)

// listen returns two listeners on loopback, and their addresses.
func listen(t *testing.T) (l1, l2 net.Listener, members addrs) {
	var err error
	if l1, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if l2, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return l1, l2, addrs{1: l1.Addr().String(), 2: l2.Addr().String()}
}

func startTCP(t *testing.T, l net.Listener, o Options, members addrs, node *fakeNode) *Transport {
	o.Cluster, o.Tick = testCluster, tick
	tr := New(o)
	tr.SetMembers(members)
	tr.Start(node, l)
	t.Cleanup(func() { tr.Close() })
	return tr
}

// fileView is a part of a file, whose descriptor it shows.
type fileView struct {
	memView
	file fdFile
	pos  int64
}

type fdFile struct{ *os.File }

func (f fdFile) Fd() (uintptr, bool) { return f.File.Fd(), true }

func (v fileView) Section(int) (io.ReaderAt, int64, int64) { return v.file, v.pos, v.Len() }

// Over TCP bytes go from file to socket by sendfile, and are the same at the other end.
// A connection that is reset is dialed again, and nobody is taken for gone.
func TestTCP(t *testing.T) {
	l1, l2, members := listen(t)
	na, nb := new(fakeNode), new(fakeNode)
	a := startTCP(t, l1, Options{ID: 1, Start: 1}, members, na)
	b := startTCP(t, l2, Options{ID: 2, Start: 2}, members, nb)

	data := bodyOf(message(1, 2, pb.MsgApp, 3), 8<<20)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	part := func(m *pb.Message, i int) []byte {
		size := []int{100, 1 << 20, 3 << 20}[m.GetIndex()%3]
		return data[int(m.GetIndex())*1000+i*size/2:][:size/2]
	}
	na.setBodies(func(_ int, m *pb.Message) (views []cluster.View, ok bool) {
		for i := range 2 {
			p := part(m, i)
			views = append(views, fileView{p, fdFile{f}, int64(len(data) - cap(p))})
		}
		return views, true
	})
	sent := 0
	for range 3 {
		testkit.Eventually(t, func() string { return testkit.Unless(a.remote(2).data.isOpen(), "not connected") })
		nb.mu.Lock()
		nb.got = nil
		nb.mu.Unlock()
		const n = 30
		for i := range uint64(n) {
			a.Send(2, 1, message(1, 2, pb.MsgApp, i))
			sent += len(part(message(1, 2, pb.MsgApp, i), 0)) * 2
		}
		testkit.Eventually(t, func() string {
			a.Beat(2, &peer.Beat{}) // or the silence ends the connections, if this takes long
			b.Beat(1, &peer.Beat{})
			return testkit.Unless(len(nb.received()) == n, "messages are missing")
		})
		for i, got := range nb.received() {
			if got.m.GetIndex() != uint64(i) || !bytes.Equal(got.body, slices.Concat(part(got.m, 0), part(got.m, 1))) {
				t.Fatalf("message %d is %v with %d bytes", i, got.m, len(got.body))
			}
		}
		b.mu.Lock()
		for c := range b.conns {
			c.nc.(*net.TCPConn).SetLinger(0)
			c.nc.Close()
		}
		b.mu.Unlock()
		testkit.Eventually(t, func() string { return testkit.Unless(len(na.lost()) > 0, "the end is not noticed") })
	}
	if c := &a.remote(2).counters; c.Sendfiles.Load() == 0 || c.Bytes.Load() < int64(sent) {
		t.Errorf("%d calls of sendfile, %d bytes of %d", c.Sendfiles.Load(), c.Bytes.Load(), sent)
	}
	if gone := na.wasGone(); len(gone) > 0 {
		t.Errorf("gone: %v", gone)
	}
}

// A refusal arrives over TCP, too, with more on its way to who refuses.
func TestRefusalArrives(t *testing.T) {
	l1, l2, members := listen(t)
	nb := new(fakeNode)
	b := startTCP(t, l2, Options{ID: 2, Start: 2}, members, nb)
	b.mu.Lock()
	b.members[1] = newMember()
	b.members[1].position = 100
	b.mu.Unlock()
	var mu sync.Mutex
	var told []string
	a := startTCP(t, l1, Options{ID: 1, Start: 1, Refused: func(_ uint64, reason string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, reason)
	}}, members, &fakeNode{position: 99})
	testkit.Eventually(t, func() string {
		for i := range uint64(100) {
			a.Send(2, 0, message(1, 2, pb.MsgVote, i))
		}
		a.Beat(2, &peer.Beat{})
		mu.Lock()
		defer mu.Unlock()
		return testkit.Unless(len(told) >= 5, "not told")
	})
	for _, reason := range told {
		if reason != peer.GoneBack {
			t.Errorf("told %q", reason)
		}
	}
	if n := len(nb.received()); n > 0 {
		t.Errorf("%d messages", n)
	}
}

// A process that is gone refuses, and a host with no process at the port does, too.
func TestGoneTCP(t *testing.T) {
	l1, l2, members := listen(t)
	na := new(fakeNode)
	a := startTCP(t, l1, Options{ID: 1, Start: 1}, members, na)
	b := startTCP(t, l2, Options{ID: 2, Start: 2}, members, new(fakeNode))
	testkit.Eventually(t, func() string { return testkit.Unless(a.remote(2).control.isOpen(), "not connected") })
	b.Close()
	testkit.Eventually(t, func() string { return testkit.Unless(slices.Equal(na.wasGone(), []uint64{2}), "not told") })
}
