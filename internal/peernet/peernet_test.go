package peernet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/logd-dev/logd/internal/cluster"
	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/logdtest/memnet"
)

// pair is two members that are connected.
func pair(t *testing.T, network *memnet.Network) (a, b *Transport, na, nb *fakeNode) {
	na, nb = &fakeNode{position: 5}, &fakeNode{position: 6}
	b = start(t, network, options(network, 2), both, nb)
	a = start(t, network, options(network, 1), both, na)
	time.Sleep(time.Second)
	return a, b, na, nb
}

// What is sent arrives on the other side, in order, with its bytes.
func TestMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, na, nb := pair(t, memnet.New(t))
		na.setBodies(func(_ int, m *pb.Message) ([]cluster.View, bool) {
			b := bodyOf(m, int(m.GetIndex())*1000)
			half := len(b) / 2
			return []cluster.View{memView(b[:half]), memView(b[half:])}, true
		})
		const n = 100
		for i := range uint64(n) {
			a.Send(2, int(i%3), message(1, 2, pb.MsgAppResp, i))
			a.Send(2, int(i%3), message(1, 2, pb.MsgApp, i))
		}
		a.Send(2, 7, message(1, 2, pb.MsgSnap, 1))
		a.Send(3, 0, message(1, 3, pb.MsgVote, 1)) // nobody
		synctest.Wait()
		next := make(map[pb.MessageType]uint64)
		for _, got := range nb.received() {
			typ := got.m.GetType()
			i := next[typ]
			next[typ]++
			if typ == pb.MsgSnap {
				if got.group != 7 {
					t.Errorf("table of group %d", got.group)
				}
				continue
			}
			if got.from != 1 || got.group != int(i%3) || !equal(got.m, message(1, 2, typ, i)) {
				t.Fatalf("message %d is %+v", i, got)
			}
			if want := bodyOf(got.m, int(i)*1000); typ == pb.MsgApp && !bytes.Equal(got.body, want) {
				t.Errorf("body %d has %d bytes, want %d, or others", i, len(got.body), len(want))
			}
		}
		if next[pb.MsgApp] != n || next[pb.MsgAppResp] != n || next[pb.MsgSnap] != 1 {
			t.Errorf("received %v", next)
		}
	})
}

// The heartbeats of a tick are one frame with the beat. What somebody waits for, as
// votes, goes at once.
func TestBeatsAreOneFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		frames := make(chan peer.Frame, 100)
		network.Handle(both[2], func(nc *memnet.Conn) {
			r := peer.NewReader(nc)
			request, err := r.Request()
			if err != nil {
				return
			}
			io.WriteString(nc, "OK\r\n")
			for {
				f, err := r.Next(request.(*peer.Hello).Use, 0)
				if err != nil {
					return
				}
				f.Message = slices.Clone(f.Message)
				frames <- f
			}
		})
		a := start(t, network, options(network, 1), both, &fakeNode{position: 44})
		time.Sleep(time.Second)
		if s, err := peer.ParseStart((<-frames).Message); err != nil || s != (peer.Start{Number: 101, Position: 44}) {
			t.Errorf("the first frame is %+v, %v", s, err)
		}
		fresh := message(1, 2, pb.MsgHeartbeat, 2)
		fresh.Context = []byte("somebody waits")
		for round := range uint64(3) {
			for _, group := range []int{5, 3, 0} {
				a.Send(2, group, message(1, 2, pb.MsgHeartbeat, 10*round))
			}
			a.Send(2, 3, message(1, 2, pb.MsgHeartbeatResp, 10*round+1)) // the newer one counts
			synctest.Wait()
			if len(frames) > 0 {
				t.Fatalf("frames before the tick: %+v", <-frames)
			}
			a.Send(2, 3, fresh)
			synctest.Wait()
			if f := <-frames; f.Kind != peer.KindMessage {
				t.Errorf("a heartbeat that is waited for goes as %+v", f)
			}
			a.Beat(2, &peer.Beat{Position: 45, Clock: 7, Groups: []peer.GroupBeat{{Group: 1, Change: 4}, {Group: 3, Change: 9}}})
			synctest.Wait()
			f := <-frames
			var b peer.Beat
			if err := b.Parse(f.Message); err != nil || f.Kind != peer.KindBeat {
				t.Fatal(f.Kind, err)
			}
			var said []string
			for _, g := range b.Groups {
				s := fmt.Sprint(g.Group, " ", g.Change)
				if len(g.Message) > 0 {
					m, err := parse(g.Message, peer.KindBeat)
					if err != nil {
						t.Fatal(err)
					}
					s += fmt.Sprint(" ", m.GetType(), m.GetIndex()-10*round)
				}
				said = append(said, s)
			}
			if got, want := strings.Join(said, ", "), "0 0 MsgHeartbeat 0, 1 4, 3 9 MsgHeartbeatResp 1, 5 0 MsgHeartbeat 0"; got != want || b.Position != 45 {
				t.Errorf("the beat says %q, want %q", got, want)
			}
			if len(frames) > 0 {
				t.Errorf("and another frame: %+v", <-frames)
			}
		}
	})
}

// A beat arrives as one, and so do the messages in it.
func TestBeatArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _, nb := pair(t, memnet.New(t))
		a.Send(2, 4, message(1, 2, pb.MsgHeartbeat, 8))
		a.Beat(2, &peer.Beat{Position: 45, Free: 9, Groups: []peer.GroupBeat{{Group: 1, TableTerm: 2, TableIndex: 3}}})
		synctest.Wait()
		got := nb.received()
		if len(got) != 1 || got[0].group != 4 || !equal(got[0].m, message(1, 2, pb.MsgHeartbeat, 8)) {
			t.Errorf("received %+v", got)
		}
		want := peer.Beat{Position: 45, Free: 9, Groups: []peer.GroupBeat{{Group: 1, TableTerm: 2, TableIndex: 3}, {Group: 4}}}
		if beats, from := nb.said(); len(beats) != 1 || fmt.Sprint(beats[0]) != fmt.Sprint(want) || from[0] != 1 {
			t.Errorf("beats %+v", beats)
		}
	})
}

// Of what a node is not done with so much is read, and then no more; heartbeats arrive
// all the same.
func TestReceivedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, na, nb := pair(t, memnet.New(t))
		const size = 1 << 20
		na.setBodies(func(_ int, m *pb.Message) ([]cluster.View, bool) {
			return []cluster.View{memView(bodyOf(m, size))}, true
		})
		nb.keep = true
		for i := range uint64(40) {
			a.Send(2, 0, message(1, 2, pb.MsgApp, i))
		}
		a.Send(2, 1, message(1, 2, pb.MsgHeartbeat, 0))
		a.Beat(2, &peer.Beat{})
		time.Sleep(time.Second)
		messages, beats, held := nb.count()
		if held*size > 16<<20 || held < 10 || messages != held+1 || beats != 1 {
			t.Errorf("%d messages, %d of them held, %d beats", messages, held, beats)
		}
		nb.release()
		synctest.Wait()
		if messages, _, _ := nb.count(); messages != 41 {
			t.Errorf("%d messages in the end", messages)
		}
	})
}

// A body that is larger than what is read at most is read when nothing else is held.
func TestLargeBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, na, nb := pair(t, memnet.New(t))
		na.setBodies(func(_ int, m *pb.Message) ([]cluster.View, bool) {
			return []cluster.View{memView(bodyOf(m, 20<<20*int(m.GetIndex())))}, true
		})
		for i := range uint64(3) {
			a.Send(2, 0, message(1, 2, pb.MsgApp, i%2))
		}
		synctest.Wait()
		got := nb.received()
		if len(got) != 3 || !bytes.Equal(got[1].body, bodyOf(got[1].m, 20<<20)) {
			t.Errorf("%d messages", len(got))
		}
	})
}

// Send never blocks: what there is no room for is dropped, and the group is told.
func TestSendDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		network.Handle(both[2], func(nc *memnet.Conn) {
			if _, err := peer.NewReader(nc).Request(); err != nil {
				return
			}
			io.WriteString(nc, "OK\r\n")
			<-t.Context().Done() // it reads nothing
		})
		node := new(fakeNode)
		a := start(t, network, options(network, 1), both, node)
		a.Send(2, 3, message(1, 2, pb.MsgApp, 1)) // not connected yet
		if lost := node.lost(); !slices.Equal(lost, []int{3}) {
			t.Errorf("unreachable: %v", lost)
		}
		time.Sleep(100 * time.Millisecond)
		big := message(1, 2, pb.MsgApp, 1)
		big.Entries = []*pb.Entry{{Data: make([]byte, 1<<19)}}
		for range 20 {
			a.Send(2, 3, big)
		}
		for i := range uint64(20_000) {
			a.Send(2, 5, message(1, 2, pb.MsgVote, i))
			a.Send(2, 4, message(1, 2, pb.MsgApp, i))
			a.Send(2, 4, message(1, 2, pb.MsgHeartbeat, i))
			a.Beat(2, &peer.Beat{})
		}
		r := a.remote(2)
		for _, q := range []*queue{&r.control, &r.data} {
			if len(q.letters) > maxLetters || q.bytes > maxLetterBytes || len(q.heartbeats) > 1 {
				t.Errorf("%d messages wait, of %d bytes, and %d heartbeats", len(q.letters), q.bytes, len(q.heartbeats))
			}
		}
		if n := len(node.lost()); n < 15_000 {
			t.Errorf("%d messages were reported", n)
		}
	})
}

// What can't be sent with its bytes is dropped, and told.
func TestBodiesMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		a, _, na, nb := pair(t, network)
		na.lost()
		na.setBodies(func(_ int, m *pb.Message) ([]cluster.View, bool) {
			return []cluster.View{memView("part")}, m.GetIndex() != 1
		})
		for i := range uint64(3) {
			a.Send(2, 6, message(1, 2, pb.MsgApp, i))
		}
		synctest.Wait()
		got, lost := nb.received(), na.lost()
		if len(got) != 2 || got[0].m.GetIndex() != 0 || got[1].m.GetIndex() != 2 || !slices.Equal(lost, []int{6}) {
			t.Errorf("received %+v, unreachable %v", got, lost)
		}
	})
}

// shortView promises more than there is, as a file that is cut off.
type shortView struct{ memView }

func (v shortView) Len() int64 { return 100 }
func (v shortView) Section(int) (io.ReaderAt, int64, int64) {
	return bytes.NewReader(v.memView), 0, 100
}

// Bytes that are cut off while they are sent end the connection, and there is another.
func TestBodyCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, na, nb := pair(t, memnet.New(t))
		na.setBodies(func(_ int, m *pb.Message) ([]cluster.View, bool) {
			if m.GetIndex() == 1 {
				return []cluster.View{shortView{memView("part")}}, true
			}
			return nil, true
		})
		na.lost()
		a.Send(2, 6, message(1, 2, pb.MsgApp, 1))
		synctest.Wait()
		if lost := na.lost(); !slices.Equal(lost, []int{-1}) {
			t.Errorf("unreachable %v", lost)
		}
		time.Sleep(time.Second)
		a.Send(2, 6, message(1, 2, pb.MsgApp, 2))
		synctest.Wait()
		if got := nb.received(); len(got) != 1 || got[0].m.GetIndex() != 2 {
			t.Errorf("received %+v", got)
		}
	})
}

// A table is on its way until it is written.
func TestSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, na, nb := pair(t, memnet.New(t))
		gate := make(chan struct{})
		na.setBodies(func(_ int, m *pb.Message) ([]cluster.View, bool) { <-gate; return nil, true })
		a.Send(2, 1, message(1, 2, pb.MsgApp, 1))
		table := message(1, 2, pb.MsgSnap, 9)
		table.Snapshot = &pb.Snapshot{Data: make([]byte, 10<<20)}
		a.Send(2, 4, table)
		synctest.Wait()
		if !a.Sending(2, 4) || a.Sending(2, 1) || a.Sending(3, 4) {
			t.Error("before it is written")
		}
		close(gate)
		synctest.Wait()
		if a.Sending(2, 4) {
			t.Error("after it is written")
		}
		if got := nb.received(); len(got) != 2 || !equal(got[1].m, table) {
			t.Errorf("%d received", len(got))
		}
	})
}

// A connection that ends is dialed again. The node is told that a member is gone if one
// ended and another is refused, once.
func TestPeerGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		a, b, na, nb := pair(t, network)
		says := func(i uint64) {
			t.Helper()
			n, _, _ := nb.count()
			a.Send(2, 0, message(1, 2, pb.MsgVote, i))
			a.Send(2, 0, message(1, 2, pb.MsgApp, i))
			synctest.Wait()
			if m, _, _ := nb.count(); m != n+2 {
				t.Errorf("%d of 2 messages have arrived", m-n)
			}
		}
		says(1)
		network.Cut("") // but the member is there
		time.Sleep(5 * time.Second)
		says(2)
		if len(na.wasGone()) > 0 {
			t.Fatal("a member that answers is taken for gone")
		}

		began := time.Now()
		b.Close() // and refuses
		told, campaigned := time.Duration(0), time.Duration(0)
		for campaigned == 0 && time.Since(began) < time.Minute {
			time.Sleep(time.Millisecond)
			if told == 0 && len(na.wasGone()) > 0 {
				told = time.Since(began)
			}
			if len(na.hasCampaigned()) > 0 {
				campaigned = time.Since(began)
			}
		}
		if told > 20*time.Millisecond || campaigned < told+9*time.Millisecond || campaigned > told+101*time.Millisecond {
			t.Errorf("told after %v, and to campaign after %v", told, campaigned)
		}
		time.Sleep(time.Minute)
		if gone := na.wasGone(); !slices.Equal(gone, []uint64{2}) {
			t.Errorf("gone: %v", gone)
		}

		b = start(t, network, options(network, 2), both, nb)
		time.Sleep(time.Second)
		says(3)
		b.Close()
		time.Sleep(time.Second)
		want := slices.Repeat([]uint64{2}, 2*campaigns)
		if gone, got := na.wasGone(), na.hasCampaigned(); !slices.Equal(gone, []uint64{2, 2}) || !slices.Equal(got, want) {
			t.Errorf("gone: %v, campaigns %v", gone, got)
		}
	})
}

// A member that was never there, or whose host does not answer, is not taken for gone.
func TestNotGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		node := new(fakeNode)
		a := start(t, network, options(network, 1), both, node) // refused from the beginning
		time.Sleep(10 * time.Second)
		b := start(t, network, options(network, 2), both, new(fakeNode))
		time.Sleep(10 * time.Second)
		if !a.remote(2).control.isOpen() {
			t.Fatal("not connected")
		}
		b.Close()
		network.Handle(both[2], func(nc *memnet.Conn) { io.Copy(io.Discard, nc) }) // no answer
		time.Sleep(10 * time.Second)
		if gone := node.wasGone(); len(gone) > 0 {
			t.Errorf("gone: %v", gone)
		}
		network.Handle(both[2], nil) // and now it refuses
		time.Sleep(10 * time.Second)
		if gone := node.wasGone(); len(gone) != 1 {
			t.Errorf("gone: %v", gone)
		}
	})
}

// A member that moves is spoken to at its new address, one that is none any more not
// at all.
func TestSetMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		node := new(fakeNode)
		a := start(t, network, options(network, 1), addrs{1: "m1:1", 2: "elsewhere:1"}, node)
		nb := new(fakeNode)
		start(t, network, options(network, 2), nil, nb)
		time.Sleep(time.Second)
		a.SetMembers(both)
		a.SetMembers(both)
		time.Sleep(time.Second)
		a.Send(2, 0, message(1, 2, pb.MsgVote, 1))
		synctest.Wait()
		if n := len(nb.received()); n != 1 {
			t.Fatalf("%d messages", n)
		}
		a.SetMembers(addrs{1: "m1:1"})
		dials := len(network.Dials())
		a.Send(2, 0, message(1, 2, pb.MsgVote, 2))
		time.Sleep(time.Minute)
		if n := len(nb.received()); n != 1 || len(network.Dials()) != dials {
			t.Errorf("%d messages, %d dials more", n, len(network.Dials())-dials)
		}
	})
}

// A member that can't be reached is dialed ever more rarely.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		start(t, network, options(network, 1), both, new(fakeNode))
		time.Sleep(time.Second)
		if n := len(network.Dials()); n < 7 || n > 12 {
			t.Errorf("%d dials in the first second", n)
		}
		n := len(network.Dials())
		time.Sleep(time.Minute)
		if n := len(network.Dials()) - n; n < 120 || n > 240 {
			t.Errorf("%d dials in a minute", n)
		}
	})
}

// What no member sends to another is not sent.
func TestKinds(t *testing.T) {
	for typ := range pb.MessageType_name {
		m := message(1, 2, pb.MessageType(typ), 1)
		local := kindOf(m) == 0
		want := slices.Contains([]pb.MessageType{
			pb.MsgHup, pb.MsgBeat, pb.MsgProp, pb.MsgUnreachable, pb.MsgSnapStatus, pb.MsgCheckQuorum, pb.MsgTransferLeader,
			pb.MsgStorageAppend, pb.MsgStorageAppendResp, pb.MsgStorageApply, pb.MsgStorageApplyResp, pb.MsgForgetLeader,
		}, m.GetType())
		if local != want {
			t.Errorf("%v: sent %v", m.GetType(), !local)
		}
	}
}

// Bytes are fetched, over one connection, and what is refused is told as what it is.
func TestFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		a, _, _, nb := pair(t, network)
		data := []byte(strings.Repeat("some bytes ", 1000))
		nb.serve = func(from, to int64) (cluster.Fetched, error) {
			switch from {
			case 1:
				return cluster.Fetched{}, &peer.GoneError{Oldest: 77}
			case 2:
				return cluster.Fetched{}, cluster.ErrNotHere
			}
			return cluster.Fetched{Data: data[:min(to-from, int64(len(data)))], Parts: []peer.Part{{Offset: from, Time: 5, Roll: true}}}, nil
		}
		nb.sums = func(from, to int64) ([]uint32, error) {
			if from == 1 {
				return nil, &peer.GoneError{Oldest: 77}
			}
			return []uint32{uint32(from), uint32(to)}, nil
		}
		fetches := func() (n int) {
			dials := network.Dials()
			return len(dials)
		}
		id := peer.ID{9}
		before := fetches()
		for range 3 {
			got, err := a.Fetch(2, id, 100, 1100)
			if err != nil || !bytes.Equal(got.Data, data[:1000]) || len(got.Parts) != 1 || got.Parts[0] != (peer.Part{Offset: 100, Time: 5, Roll: true}) {
				t.Fatalf("%d bytes, %+v, %v", len(got.Data), got.Parts, err)
			}
			if _, err := a.Fetch(2, id, 1, 10); !isGone(err, 77) {
				t.Errorf("trimmed: %v", err)
			}
			if _, err := a.Fetch(2, id, 2, 10); err == nil {
				t.Error("bytes that are not there")
			} else if _, ok := errors.AsType[*peer.Refused](err); !ok {
				t.Errorf("not there: %v", err)
			}
			if sums, err := a.Sums(2, id, 3, 2<<20); err != nil || !slices.Equal(sums, []uint32{3, 2 << 20}) {
				t.Errorf("sums: %v, %v", sums, err)
			}
			if _, err := a.Sums(2, id, 1, 10); !isGone(err, 77) {
				t.Errorf("sums of what is trimmed: %v", err)
			}
		}
		if n := fetches() - before; n != 1 {
			t.Errorf("%d connections", n)
		}
		if _, err := a.Fetch(3, id, 0, 10); !errors.Is(err, ErrNotConnected) {
			t.Errorf("of nobody: %v", err)
		}
		network.Cut("") // the one that is kept, too
		time.Sleep(time.Second)
		if _, err := a.Fetch(2, id, 100, 1100); err != nil {
			t.Errorf("after the connection has ended: %v", err)
		}
	})
}

// What follows the bytes that were fetched is asked for before it is wanted. It is given to
// who wants it, and to nobody else; what could not be had ahead is asked for again.
func TestFetchAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		a, _, _, nb := pair(t, network)
		var mu sync.Mutex
		var asked []int64
		refuse := false
		nb.serve = func(from, to int64) (cluster.Fetched, error) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, from)
			if refuse {
				return cluster.Fetched{}, cluster.ErrNotHere
			}
			data := fmt.Append(nil, from)
			return cluster.Fetched{Data: data[:min(int64(len(data)), to-from)], Parts: []peer.Part{{Offset: from}}}, nil
		}
		wasAsked := func() []int64 {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			defer func() { asked = nil }()
			return asked
		}
		refusing := func(is bool) {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			refuse = is
		}
		fetch := func(topic byte, from, to int64, want string) {
			t.Helper()
			got, err := a.Fetch(2, peer.ID{topic}, from, to)
			if err != nil || string(got.Data) != want || got.Parts[0].Offset != from {
				t.Fatalf("%q, %v; want %q", got.Data, err, want)
			}
		}
		expect := func(want ...int64) {
			t.Helper()
			if got := wasAsked(); !slices.Equal(got, want) {
				t.Fatalf("asked for %v, want %v", got, want)
			}
		}
		fetch(1, 100, 107, "100")
		expect(100, 103)
		fetch(1, 103, 107, "103")
		expect(106)
		fetch(1, 106, 107, "1")
		expect() // the end
		fetch(1, 100, 107, "100")
		expect(100, 103)
		fetch(2, 103, 107, "103") // another topic
		expect(103, 106)
		fetch(2, 106, 108, "10") // another end
		expect(106)
		nb.sums = func(from, to int64) ([]uint32, error) { return []uint32{7}, nil }
		fetch(1, 100, 107, "100")
		if sums, err := a.Sums(2, peer.ID{1}, 0, 1); err != nil || !slices.Equal(sums, []uint32{7}) {
			t.Errorf("sums: %v, %v", sums, err)
		}
		expect(100, 103)
		refusing(true)
		if _, err := a.Fetch(2, peer.ID{1}, 200, 300); err == nil {
			t.Error("what is refused")
		}
		expect(200)
		refusing(false)
		fetch(1, 200, 300, "200")
		refusing(true)
		fetch(1, 203, 300, "203") // and what is ahead of it is refused
		expect(200, 203, 206)
		refusing(false)
		fetch(1, 206, 300, "206")
		expect(206, 209)
		network.Cut("")
		time.Sleep(time.Second)
		fetch(1, 209, 300, "209") // it had come
	})
}

// What was asked for ahead and nobody wants is not kept for ever, and is asked for again if
// somebody wants it after all.
func TestFetchAheadUnwanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _, nb := pair(t, memnet.New(t))
		asked := 0
		nb.serve = func(from, to int64) (cluster.Fetched, error) {
			asked++
			return cluster.Fetched{Data: []byte("x"), Parts: []peer.Part{{Offset: from}}}, nil
		}
		fetch := func(from int64) {
			t.Helper()
			if _, err := a.Fetch(2, peer.ID{}, from, 9); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		kept := func() bool {
			f := &a.remote(2).fetch
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.ahead != nil
		}
		beat := func(d time.Duration) { // else the silence ends the connections
			for range int(d / (100 * time.Millisecond)) {
				a.Beat(2, &peer.Beat{})
				time.Sleep(100 * time.Millisecond)
			}
			synctest.Wait()
		}
		fetch(0)
		beat(keepAhead - time.Second)
		if !kept() || asked != 2 {
			t.Errorf("kept=%v after %d requests", kept(), asked)
		}
		fetch(1)
		beat(2 * time.Second) // past the end of the first
		if !kept() || asked != 3 {
			t.Errorf("what is ahead of the second: kept=%v after %d requests", kept(), asked)
		}
		beat(keepAhead)
		if kept() {
			t.Error("what nobody wants is kept")
		}
		fetch(2)
		if asked != 5 {
			t.Errorf("%d requests", asked)
		}
	})
}

func isGone(err error, oldest int64) bool {
	gone, ok := errors.AsType[*peer.GoneError](err)
	return ok && gone.Oldest == oldest
}

// A member that does not answer a request does not hold up who asks for ever, and
// Close not at all.
func TestFetchTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		a, _, _, nb := pair(t, network)
		hang := make(chan struct{})
		nb.serve = func(from, to int64) (cluster.Fetched, error) { <-hang; return cluster.Fetched{}, cluster.ErrNotHere }
		began := time.Now()
		if _, err := a.Fetch(2, peer.ID{}, 0, 10); err == nil || time.Since(began) > 15*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		done := make(chan error)
		go func() {
			_, err := a.Fetch(2, peer.ID{}, 0, 10)
			done <- err
		}()
		synctest.Wait()
		began = time.Now()
		a.Close()
		if err := <-done; err == nil || time.Since(began) > 0 {
			t.Errorf("%v, %v after Close", err, time.Since(began))
		}
		close(hang)
	})
}
