package peernet

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/logd-dev/logd/internal/peer"
	"github.com/logd-dev/logd/logdtest/memnet"
)

// What a first line is answered with.
func TestHandshake(t *testing.T) {
	const id = "01020300000000000000000000000000"
	for _, test := range []struct{ line, want string }{
		{"PEER 1 " + id + " 1 2 fetch", "OK\r\n"},
		{"PEER 1 " + id + " 1 2 data", "OK\r\n"},
		{"PEER 1 " + id + " 1 2 control", "OK\r\n"},
		{"PEER 1 " + strings.Repeat("0", 32) + " 1 2 control", "ERR wrong cluster\r\n"},
		{"PEER 1 " + id + " 1 3 control", "ERR wrong cluster\r\n"},
		{"PEER 2 " + id + " 1 2 control, and more", "ERR version 2, this member speaks version 1\r\n"},
		{"PEER 1 " + id + " 9 2 control", "ERR removed\r\n"},
		{"PEER 1 " + id + " 9 2 fetch", "ERR removed\r\n"},
		{"PEER 1 " + id + " 0 2 control", "ERR invalid request\r\n"},
		{"PEER 1 " + id + " 1 2 everything", "ERR invalid request\r\n"},
		{"FETCH " + id + " 0 1", "ERR invalid request\r\n"},
		{"GET / HTTP/1.1", "ERR invalid request\r\n"},
		{strings.Repeat("x", 5000), "ERR invalid request\r\n"},
		{"", "ERR invalid request\r\n"},
		{"JOIN " + id + " c h:1 h:2", "OK 7 0 1\r\n"},
		{"JOIN " + id + " c h:1", "ERR invalid request\r\n"},
		{"JOIN " + id + " a/b h:1 h:2", "ERR invalid request\r\n"},
		{"JOIN " + id + " busy h:1 h:2", "ERR not leader h:9\r\n"},
		{"JOIN " + strings.Repeat("0", 32) + " c h:1 h:2", "ERR wrong cluster\r\n"},
		{"REPLACE " + id + " 3 4", "OK\r\n"},
		{"REPLACE " + id + " 3 5", "ERR not leader h:9\r\n"},
		{"REPLACE " + id + " 3 3", "ERR invalid request\r\n"},
		{"REPLACE " + strings.Repeat("0", 32) + " 3 4", "ERR wrong cluster\r\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			network := memnet.New(t)
			o := options(network, 2)
			o.Admit = func(id uint64) string {
				if id == 9 {
					return peer.Removed
				}
				return ""
			}
			o.Join = func(j *peer.Join) []byte {
				if j.Name == "busy" {
					return peer.AppendRefusal(nil, peer.NotLeader+" h:9")
				}
				return peer.AppendWelcome(nil, &peer.Welcome{ID: 7, Groups: 1})
			}
			o.Replace = func(r *peer.Replace) []byte {
				if *r != (peer.Replace{Cluster: o.Cluster, Old: 3, New: 4}) {
					return peer.AppendRefusal(nil, peer.NotLeader+" h:9")
				}
				return peer.AppendOK(nil)
			}
			start(t, network, o, both, new(fakeNode))
			c := rawDial(t, network, both[2])
			go io.WriteString(c, test.line+"\r\n")
			began := time.Now()
			got := c.ends()
			switch {
			case got == test.want:
			case test.want == "" && strings.HasPrefix(got, " ("): // reset
			case test.want == "OK\r\n" && strings.HasPrefix(got, test.want): // and goes on
			default:
				t.Errorf("%.50q is answered with %q, want %q", test.line, got, test.want)
			}
			if test.want != "OK\r\n" && time.Since(began) > 0 {
				t.Errorf("%.50q is answered after %v", test.line, time.Since(began))
			}
			c.Close()
		})
	}
}

// Who says nothing, or half of something, is not waited for.
func TestHandshakeDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		start(t, network, options(network, 2), nil, new(fakeNode))
		for _, line := range []string{"", "PEER 1 ", "PEER 1 01020300000000000000000000000000 1 2 control\r\n"} {
			c := rawDial(t, network, both[2])
			go io.WriteString(c, line)
			began := time.Now()
			c.ends()
			if d := time.Since(began); d > handshake {
				t.Errorf("%q is waited for %v", line, d)
			}
		}
		c := rawDial(t, network, both[2])
		began := time.Now()
		for range 100 { // a byte now and then
			if _, err := io.WriteString(c, "P"); err != nil {
				break
			}
			time.Sleep(time.Second / 2)
		}
		if d := time.Since(began); d > handshake+time.Second {
			t.Errorf("what comes a byte at a time is waited for %v", d)
		}
	})
}

// A member whose log is shorter than it was has gone back: it is refused.
func TestGoneBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		start(t, network, options(network, 2), nil, new(fakeNode))
		begin := func(from, number, position uint64) *rawConn {
			c := rawDial(t, network, both[2])
			c.hello(from, 2, peer.Control)
			c.start(number, position)
			return c
		}
		c := begin(1, 7, 100)
		c.beat(120)
		c.beat(110) // it was on its way
		synctest.Wait()
		c.Close()
		if got := begin(1, 8, 119).ends(); got != "ERR gone back\r\n" {
			t.Errorf("answered with %q", got)
		}
		if got := begin(1, 7, 119).ends(); got != "ERR gone back\r\n" {
			t.Errorf("the same start is answered with %q", got)
		}
		begin(3, 8, 0).Close() // another member
		c = begin(1, 8, 120)
		c.beat(121)
		c.beat(122)
	})
}

// Another start of a member is refused while the first one's connection lives, and only
// then.
func TestTwice(t *testing.T) {
	alive := func(c *rawConn, stop chan struct{}) {
		for {
			select {
			case <-stop:
				return
			case <-time.After(tick):
				b := peer.Beat{Position: 100}
				if _, err := c.Write(peer.AppendFrame(nil, &peer.Frame{Kind: peer.KindBeat, Message: b.Append(nil)})); err != nil {
					return
				}
			}
		}
	}
	for _, test := range []struct {
		name   string
		then   func(c *rawConn, stop func()) // with the first one's connection
		number uint64
		want   string
		within time.Duration
	}{
		{"lives", func(*rawConn, func()) {}, 8, "ERR in use\r\n", time.Second},
		{"the same start again", func(*rawConn, func()) {}, 7, "", 0},
		{"has ended", func(c *rawConn, stop func()) { stop(); c.Close() }, 8, "", 0},
		{"ends in a moment", func(c *rawConn, stop func()) {
			go func() {
				time.Sleep(150 * time.Millisecond)
				stop()
				c.Close()
			}()
		}, 8, "", 200 * time.Millisecond},
		{"says nothing more", func(c *rawConn, stop func()) { stop() }, 8, "", 3 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := memnet.New(t)
				nb := new(fakeNode)
				start(t, network, options(network, 2), nil, nb)
				first := rawDial(t, network, both[2])
				first.hello(1, 2, peer.Control)
				first.start(7, 100)
				data := rawDial(t, network, both[2])
				data.hello(1, 2, peer.Data)
				ended := make(chan struct{})
				stop := sync.OnceFunc(func() { close(ended) })
				defer stop()
				go alive(first, ended)
				time.Sleep(time.Second)
				test.then(first, stop)
				synctest.Wait()

				second := rawDial(t, network, both[2])
				second.hello(1, 2, peer.Control)
				other := rawDial(t, network, both[2])
				other.write(peer.AppendRequest(nil, &peer.Hello{Cluster: testCluster, From: 1, To: 2, Use: peer.Data}))
				second.start(test.number, 100)
				began := time.Now()
				if test.want != "" {
					if got := second.ends(); got != test.want || time.Since(began) > test.within {
						t.Errorf("answered with %q after %v", got, time.Since(began))
					}
					if got := other.ends(); got != "" {
						t.Errorf("data of what may be a second one: %q", got)
					}
					_, n, _ := nb.count()
					time.Sleep(time.Second)
					if _, m, _ := nb.count(); m == n {
						t.Error("the first one is not heard any more")
					}
					return
				}
				second.SetWriteDeadline(time.Now().Add(test.within + 10*time.Millisecond))
				b := peer.Beat{Position: 4711}
				if _, err := second.Write(peer.AppendFrame(nil, &peer.Frame{Kind: peer.KindBeat, Message: b.Append(nil)})); err != nil {
					t.Fatalf("not accepted: %v", err)
				}
				if d := time.Since(began); d > test.within {
					t.Errorf("accepted after %v", d)
				}
				if err := other.r.Accepted(); err != nil && test.within < handshake {
					t.Errorf("the second one's data: %v", err)
				}
				synctest.Wait()
				if beats, _ := nb.said(); beats[len(beats)-1].Position != 4711 {
					t.Error("the second one is not heard")
				}
			})
		})
	}
}

// A member that has died with words on their way is not taken for one that lives.
func TestTwiceAfterBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		nb := &fakeNode{hang: make(chan struct{})} // as if it were stopped
		start(t, network, options(network, 2), nil, nb)
		first := rawDial(t, network, both[2])
		first.hello(1, 2, peer.Control)
		first.start(7, 100)
		var backlog []byte
		b := peer.Beat{Position: 100}
		for range 100 {
			backlog = peer.AppendFrame(backlog, &peer.Frame{Kind: peer.KindBeat, Message: b.Append(nil)})
		}
		go func() {
			first.Write(backlog)
			first.Close()
		}()
		time.Sleep(time.Second)
		second := rawDial(t, network, both[2])
		second.hello(1, 2, peer.Control)
		second.start(8, 100)
		synctest.Wait()
		close(nb.hang)
		second.beat(101)
	})
}

// A member that is refused is told why, by each who refuses it.
func TestRefusedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		nb := new(fakeNode)
		start(t, network, options(network, 2), nil, nb)
		var mu sync.Mutex
		var told []string
		o := options(network, 1)
		o.Refused = func(by uint64, reason string) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprint(by, " ", reason))
		}
		c := rawDial(t, network, both[2])
		c.hello(1, 2, peer.Control)
		c.start(o.Start, 100)
		synctest.Wait()
		c.Close()
		a := start(t, network, o, both, &fakeNode{position: 99})
		time.Sleep(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(told) < 10 || len(told) > 60 || slices.ContainsFunc(told, func(s string) bool { return s != "2 gone back" }) {
			t.Errorf("told %d times: %q", len(told), slices.Compact(told))
		}
		a.Send(2, 0, message(1, 2, pb.MsgVote, 1))
		synctest.Wait()
		if n := len(nb.received()); n != 0 {
			t.Errorf("%d messages of a member that was refused", n)
		}
	})
}

// The data connection ends with the control connection: nobody knows whose it is then.
func TestDataEndsWithControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(t)
		start(t, network, options(network, 2), nil, new(fakeNode))
		control := rawDial(t, network, both[2])
		control.hello(1, 2, peer.Control)
		control.start(7, 100)
		data := rawDial(t, network, both[2])
		data.hello(1, 2, peer.Data)
		control.Close()
		began := time.Now()
		if got := data.ends(); got != "" || time.Since(began) > 0 {
			t.Errorf("%q after %v", got, time.Since(began))
		}
	})
}

// What no member sends ends the connection, and nothing else.
func TestHostile(t *testing.T) {
	marshal := func(m *pb.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	frame := func(kind peer.Kind, message []byte, body uint32) []byte {
		return peer.AppendFrame(nil, &peer.Frame{Kind: kind, Message: message, Body: body})
	}
	huge := frame(peer.KindAppend, nil, 0)
	huge[0], huge[1], huge[2], huge[3] = 255, 255, 255, 127
	badBeat := peer.Beat{Groups: []peer.GroupBeat{{Message: marshal(message(1, 2, pb.MsgApp, 1))}}}
	vote := marshal(message(1, 2, pb.MsgVote, 1))
	for _, test := range []struct {
		name  string
		use   peer.Use
		bytes []byte
		after time.Duration // until the connection ends, at most
	}{
		{"garbage", peer.Control, []byte(strings.Repeat("garbage!", 100)), 0},
		{"garbage on data", peer.Data, []byte(strings.Repeat("garbage!", 100)), 0},
		{"a second start", peer.Control, frame(peer.KindStart, peer.Start{Number: 7}.Append(nil), 0), 0},
		{"a huge message", peer.Data, huge, 0},
		{"a huge body", peer.Data, frame(peer.KindAppend, marshal(message(1, 2, pb.MsgApp, 1)), 1<<31), 0},
		{"a message that is none", peer.Control, frame(peer.KindMessage, []byte("none"), 0), 0},
		{"a proposal", peer.Control, frame(peer.KindMessage, marshal(message(1, 2, pb.MsgProp, 1)), 0), 0},
		{"entries on control", peer.Control, frame(peer.KindMessage, marshal(message(1, 2, pb.MsgApp, 1)), 0), 0},
		{"a vote on data", peer.Data, frame(peer.KindAppend, vote, 0), 0},
		{"entries in a beat", peer.Control, frame(peer.KindBeat, badBeat.Append(nil), 0), 0},
		{"half a beat", peer.Control, frame(peer.KindBeat, []byte("half"), 0), 0},
		{"half a frame", peer.Control, frame(peer.KindMessage, vote, 0)[:20], 3 * time.Second},
		{"half a frame on data", peer.Data, frame(peer.KindAppend, vote, 0)[:20], 11 * time.Second},
		{"half a body", peer.Data, frame(peer.KindAppend, marshal(message(1, 2, pb.MsgApp, 1)), 5<<20), 11 * time.Second},
		{"a word on fetch", peer.ForFetch, []byte("GET / HTTP/1.1\r\n"), 0},
		{"a hello on fetch", peer.ForFetch, peer.AppendRequest(nil, &peer.Hello{Cluster: testCluster, From: 1, To: 2, Use: peer.Data}), 0},
		{"half a line on fetch", peer.ForFetch, []byte("FETCH "), 11 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := memnet.New(t)
				nb := new(fakeNode)
				start(t, network, options(network, 2), nil, nb)
				good := rawDial(t, network, both[2]) // another member's
				good.hello(3, 2, peer.Data)
				c := rawDial(t, network, both[2])
				c.hello(1, 2, test.use)
				if test.use == peer.Control {
					c.start(7, 0)
				}
				began := time.Now()
				go c.Write(test.bytes)
				if got := c.ends(); strings.HasPrefix(got, "OK") || time.Since(began) > test.after {
					t.Errorf("%q after %v", got, time.Since(began))
				}
				if n := len(nb.received()); n != 0 {
					t.Errorf("%d messages", n)
				}
				good.write(frame(peer.KindAppend, marshal(message(3, 2, pb.MsgApp, 1)), 0))
				synctest.Wait()
				if n := len(nb.received()); n != 1 {
					t.Errorf("%d messages of another member", n)
				}
			})
		})
	}
}
