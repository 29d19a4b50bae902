package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

// fakeCluster is three members: a follows, b leads, c is down. It has one topic,
// orders, in group 1 of 2.
type fakeCluster struct {
	addrs map[string]string // of members

	mu    sync.Mutex
	lines []string // requests, as "MEMBER LINE"
	log   []byte
	conns []net.Conn
	away  map[string]bool // members that have ended
}

// clusters holds each script's cluster.
var clusters sync.Map // of $WORK to *fakeCluster

// scriptCluster starts a cluster. LOGD_HOST is the follower, LEADER the leader and DOWN
// the member that is down. With "end", the follower ends.
func scriptCluster(ts *testscript.TestScript, neg bool, args []string) {
	work := ts.Getenv("WORK")
	if len(args) > 0 {
		known, _ := clusters.Load(work)
		known.(*fakeCluster).end("a")
		return
	}
	c := &fakeCluster{addrs: make(map[string]string), away: make(map[string]bool)}
	listeners := make(map[string]net.Listener)
	for _, name := range []string{"a", "b", "c"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		c.addrs[name], listeners[name] = ln.Addr().String(), ln
	}
	listeners["c"].Close()
	var group sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		group.Go(func() {
			for {
				nc, err := listeners[name].Accept()
				if err != nil {
					return
				}
				c.mu.Lock()
				c.conns = append(c.conns, nc)
				c.mu.Unlock()
				group.Go(func() {
					defer nc.Close()
					c.serve(name, nc)
				})
			}
		})
	}
	clusters.Store(work, c)
	ts.Defer(func() {
		for _, ln := range listeners {
			ln.Close()
		}
		c.mu.Lock()
		for _, nc := range c.conns {
			nc.Close()
		}
		c.mu.Unlock()
		group.Wait()
		clusters.Delete(work)
	})
	ts.Setenv("LOGD_HOST", c.addrs["a"])
	ts.Setenv("LEADER", c.addrs["b"])
	ts.Setenv("DOWN", c.addrs["c"])
}

// scriptAsked makes sure that a request of these words was sent to the member.
func scriptAsked(ts *testscript.TestScript, neg bool, args []string) {
	known, _ := clusters.Load(ts.Getenv("WORK"))
	c := known.(*fakeCluster)
	c.mu.Lock()
	defer c.mu.Unlock()
	want, found := strings.Join(args, " "), false
	for _, line := range c.lines {
		found = found || strings.HasPrefix(line, want)
	}
	if found == neg {
		ts.Fatalf("%q among the requests: %v\n%s", want, found, strings.Join(c.lines, "\n"))
	}
}

// end makes a member close its connections, and each one that is made.
func (c *fakeCluster) end(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away[name] = true
}

func (c *fakeCluster) serve(name string, nc net.Conn) {
	br := bufio.NewReader(nc)
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		var req protocol.Request
		protocol.ParseRequest([]byte(line), &req)
		data := make([]byte, req.Batch.Size)
		if _, err := io.ReadFull(br, data); err != nil {
			return
		}
		c.mu.Lock()
		c.lines = append(c.lines, name+" "+line)
		answer, away := c.answer(name, &req, line, data), c.away[name]
		c.mu.Unlock()
		if away {
			return
		}
		nc.Write(answer)
	}
}

// answer answers a request. Caller holds mu.
func (c *fakeCluster) answer(name string, req *protocol.Request, line string, data []byte) []byte {
	switch req.Command {
	case protocol.Config:
		return protocol.AppendBody(nil, protocol.AppendSettings(nil, &protocol.Settings{
			Host: c.addrs[name], MaxBatchSize: 65536, Producers: 1000, Node: name, Cluster: "0af", ElectionTimeout: 1e9,
		}))
	case protocol.Cluster:
		return protocol.AppendBody(nil, protocol.AppendCluster(nil, &protocol.ClusterInfo{Cluster: "0af", Groups: 2, Members: []protocol.MemberInfo{
			{ID: 1, Name: "a", Addr: c.addrs["a"], Peer: "a:1776", Role: "voter", State: "up", Free: 5e9, Version: "1.2", Auth: "0123456789ab", HTTP: "https://a.example:1775"},
			{ID: 2, Name: "b", Addr: c.addrs["b"], Peer: "b:1776", Role: "voter", State: "up", Leads: 2, Free: 7e9, Version: "1.2", Auth: "ba9876543210"},
			{ID: 4, Name: "c", Addr: c.addrs["c"], Peer: "c:1776", Role: "learner", State: "down", LagBytes: 12e6, LagMS: 61500, Free: 9e9, Version: "1.1"},
		}}))
	case protocol.Groups:
		var body []byte
		for _, g := range []protocol.GroupInfo{
			{Group: 0, Leader: "b", Prefers: "b", Term: 3, Index: 7, Commit: 7, Applied: 7, Voters: []string{"a", "b"}, Learners: []string{"c"}},
			{Group: 1, Topics: 1, Term: 4, Index: 9, Commit: 8, Applied: 8, Voters: []string{"a", "b"}, Learners: []string{"c"}, DamagedBytes: 70000},
		} {
			body = protocol.AppendGroup(body, &g)
		}
		return protocol.AppendBody(nil, body)
	case protocol.Topics:
		return protocol.AppendBody(nil, []byte("orders\r\n"))
	case protocol.Info:
		if string(req.Topic) != "orders" {
			return protocol.AppendError(nil, protocol.ErrNotFound)
		}
		n := int64(len(c.log))
		return protocol.AppendBody(nil, protocol.AppendInfo(nil, &protocol.TopicInfo{
			Next: n, Bytes: n, Partitions: 1, Messages: 3, Batches: 1, ID: "12ab", State: protocol.Writable, Role: protocol.Follower, Leader: c.addrs["b"],
		}))
	case protocol.Read, protocol.Tail:
		if int(req.Offset) < len(c.log) {
			_, n, _ := batch.Parse(c.log[req.Offset:])
			return fmt.Appendf(nil, "OK %d 1\r\n%s", req.Offset, c.log[req.Offset:req.Offset+n])
		}
		return protocol.AppendOffset(nil, req.Offset, 0)
	case protocol.Ping:
		return protocol.AppendOK(nil)
	}
	if name != "b" {
		return protocol.AppendError(nil, protocol.NotLeader(c.addrs["b"]))
	}
	switch {
	case req.Command == protocol.Batch:
		at := int64(len(c.log))
		c.log = append(append(c.log, line+"\r\n"...), data...)
		return protocol.AppendOffset(nil, at, 1)
	case string(req.Member) == "c" && !req.Force, string(req.Key) == "host":
		return protocol.AppendError(nil, protocol.ErrInvalidRequest)
	case req.Command == protocol.Drain && !req.Off && string(req.Member) == "b":
		return protocol.AppendError(nil, protocol.ErrBusy)
	}
	return protocol.AppendOK(nil)
}
