package logd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/logdtest/script"
)

// fakeCluster is members that have one topic, "t", and one log, and do what a test says.
type fakeCluster struct {
	net *fakeNet

	mu       sync.Mutex
	changed  chan struct{}
	members  []string // addresses
	leader   string   // "" for none
	hung     map[string]bool
	behind   map[string]int // where the log of a member ends that is behind
	peers    map[string][]*script.Peer
	log      []byte
	got      []string // messages
	table    *producers.Table
	requests []string // "ADDR LINE"
	// on is called with each batch that is to be stored, and returns whether to hang up
	// in place of an answer.
	on func(messages string) (lost bool)
}

const electionTimeout = time.Second

// newFakeCluster returns members at a:1, b:1 and c:1, of which the first leads, and a
// configuration that names the first.
func newFakeCluster(t *testing.T) (*fakeCluster, ClientConfig) {
	net, cfg := fake(t, nil)
	c := &fakeCluster{
		net: net, changed: make(chan struct{}), members: []string{"a:1", "b:1", "c:1"}, leader: "a:1",
		hung: make(map[string]bool), behind: make(map[string]int), peers: make(map[string][]*script.Peer), table: producers.New(1 << 18),
	}
	for _, addr := range c.members {
		c.start(addr)
	}
	cfg.Addrs = []string{"a:1"}
	return c, cfg
}

func (c *fakeCluster) start(addr string) {
	c.net.serve(addr, func(p *script.Peer) { c.serve(addr, p) })
}

// kill ends a member.
func (c *fakeCluster) kill(addr string) {
	c.net.serve(addr, nil)
	c.update(func() {
		for _, p := range c.peers[addr] {
			p.Close()
		}
		delete(c.peers, addr)
	})
}

func (c *fakeCluster) update(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *fakeCluster) lead(addr string) { c.update(func() { c.leader = addr }) }

func (c *fakeCluster) serve(addr string, p *script.Peer) {
	c.update(func() { c.peers[addr] = append(c.peers[addr], p) })
	for {
		r, ok := p.Request()
		if !ok {
			return
		}
		answer, hangUp := c.answer(addr, &r)
		if c.isHung(addr) {
			io.Copy(io.Discard, p.Input)
			return
		}
		if hangUp || !p.Answer("%s", answer) {
			return
		}
	}
}

func (c *fakeCluster) isHung(addr string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hung[addr]
}

func (c *fakeCluster) answer(addr string, r *script.Request) (answer string, hangUp bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hung[addr] {
		return "", false
	}
	c.requests = append(c.requests, addr+" "+r.Line)
	var req protocol.Request
	protocol.ParseRequest([]byte(r.Line), &req)
	notLeader := string(protocol.AppendError(nil, protocol.NotLeader(c.leader)))
	if req.Fresh && c.leader == "" {
		return notLeader, false
	}
	if req.Fresh {
		delete(c.behind, addr) // it waits until it is not
	}
	end := len(c.log)
	if short, ok := c.behind[addr]; ok {
		end = short
	}
	switch req.Command {
	case protocol.Config:
		return string(protocol.AppendBody(nil, protocol.AppendSettings(nil, &protocol.Settings{
			Host: addr, MaxBatchSize: DefaultMaxBatchSize, FlushBatches: 1, Producers: 1 << 18,
			Node: addr[:1], Cluster: "c1", ElectionTimeout: electionTimeout,
		}))), false
	case protocol.Cluster:
		info := protocol.ClusterInfo{Cluster: "c1", Groups: 8}
		for i, m := range c.members {
			info.Members = append(info.Members, protocol.MemberInfo{ID: int64(i + 1), Name: m[:1], Addr: m, Peer: m, Role: "voter", State: "up"})
		}
		return string(protocol.AppendBody(nil, protocol.AppendCluster(nil, &info))), false
	case protocol.Batch:
		if c.leader != addr {
			return notLeader, false
		}
		return c.store(r)
	case protocol.Info:
		role := protocol.Follower
		if c.leader == addr {
			role = protocol.Leads
		}
		return string(protocol.AppendBody(nil, protocol.AppendInfo(nil, &protocol.TopicInfo{
			Next: int64(end), Bytes: int64(end), ID: "12", Role: role, Leader: c.leader,
		}))), false
	case protocol.Seek:
		return string(protocol.AppendOffset(nil, int64(end), 0)), false
	case protocol.Read, protocol.Tail:
		return c.read(&req, addr, notLeader), false
	case protocol.Ping:
		return "OK\r\n", false
	}
	return "ERR invalid request\r\n", false
}

// store stores a batch. Caller holds mu.
func (c *fakeCluster) store(r *script.Request) (answer string, hangUp bool) {
	messages := strings.Join(r.Messages(), " ")
	lost := c.on != nil && c.on(messages)
	h, _ := batch.ParseHeader([]byte(r.Line))
	b := producers.Batch{PID: h.PID, Seq: h.Seq, Offset: int64(len(c.log)), Len: r.Len(), CRC: h.CRC}
	if h.Seq > 0 {
		switch a := c.table.Ask(&b); a.Verdict {
		case producers.Duplicate:
			return fmt.Sprintf("OK %d 1\r\n", a.Offset), lost
		case producers.OutOfOrder:
			return fmt.Sprintf("ERR out of order %d\r\n", a.Seq), lost
		}
	}
	c.table.Add(&b)
	c.log = append(append(append(c.log, r.Line...), "\r\n"...), r.Data...)
	c.got = append(c.got, messages)
	close(c.changed)
	c.changed = make(chan struct{})
	return fmt.Sprintf("OK %d 1\r\n", b.Offset), lost
}

// read answers READ and TAIL. Caller holds mu.
func (c *fakeCluster) read(req *protocol.Request, addr, notLeader string) string {
	timeout := time.After(req.Wait)
	for {
		end := len(c.log)
		if short, ok := c.behind[addr]; ok {
			end = short
		}
		if from := int(req.Offset); from < end {
			_, n, _ := batch.Parse(c.log[from:])
			return fmt.Sprintf("OK %d 1\r\n%s", from, c.log[from:from+int(n)])
		}
		over := req.Wait == 0 || c.hung[addr] || c.peers[addr] == nil
		if !over {
			changed := c.changed
			c.mu.Unlock()
			select {
			case <-changed:
			case <-timeout:
				over = true
			}
			c.mu.Lock()
		}
		if over && int(req.Offset) > end {
			return notLeader
		}
		if over {
			return fmt.Sprintf("OK %d 0\r\n", req.Offset)
		}
	}
}

// asked returns the requests that begin so.
func (c *fakeCluster) asked(prefix string) (lines []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.requests {
		if _, line, _ := strings.Cut(r, " "); strings.HasPrefix(line, prefix) {
			lines = append(lines, r)
		}
	}
	return lines
}

func (c *fakeCluster) stored() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.got, " ")
}

// clusterTest has a Client that knows the address of a:1.
func clusterTest(t *testing.T, test func(t *testing.T, c *fakeCluster, cfg ClientConfig)) {
	synctest.Test(t, func(t *testing.T) {
		c, cfg := newFakeCluster(t)
		test(t, c, cfg)
	})
}

// A Client finds the members that it was not told of, and goes on without the one that
// it was.
func TestClusterFindsMembers(t *testing.T) {
	clusterTest(t, func(t *testing.T, c *fakeCluster, cfg ClientConfig) {
		client := dialTest(t, cfg)
		body := bytes.Repeat([]byte("x"), 200) // long enough to ask for the limit
		if _, err := client.AppendMessage(t.Context(), "t", body); err != nil {
			t.Fatal(err)
		}
		c.kill("a:1")
		c.lead("c:1")
		start := time.Now()
		for range 2 {
			if err := client.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := client.AppendMessage(t.Context(), "t", body); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if n := len(c.asked("CLUSTER")); n < 1 || n > 3 {
			t.Errorf("asked for the members %d times", n)
		}
	})
}

// A Client that keeps its connection finds those who have come in the place of all others.
func TestClusterMembersReplaced(t *testing.T) {
	clusterTest(t, func(t *testing.T, c *fakeCluster, cfg ClientConfig) {
		client := dialTest(t, cfg)
		s, err := NewScanner(t.Context(), client, "t", ScannerConfig{Follow: true, AwaitTopic: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := client.Info(t.Context(), "t"); err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		c.put(t, cfg, "one")
		if m, err := s.Next(t.Context()); err != nil || string(m.Body) != "one" {
			t.Fatalf("%s, %v", m.Body, err)
		}
		if len(c.asked("CLUSTER")) == 0 {
			t.Fatal("the members are not known")
		}
		c.start("d:1")
		c.start("e:1")
		c.update(func() { c.members = []string{"a:1", "d:1", "e:1"} })
		c.kill("b:1")
		c.kill("c:1")
		time.Sleep(10 * electionTimeout)
		c.put(t, cfg, "two")
		if m, err := s.Next(t.Context()); err != nil || string(m.Body) != "two" {
			t.Fatalf("%s, %v", m.Body, err)
		}
		c.kill("a:1")
		c.lead("d:1")
		cfg.Addrs = []string{"d:1"}
		c.put(t, cfg, "three")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if m, err := s.Next(ctx); err != nil || string(m.Body) != "three" {
			t.Fatalf("%s, %v", m.Body, err)
		}
	})
}

// An append without a number is not sent again if it may be stored.
func TestClusterAppendInDoubt(t *testing.T) {
	for name, end := range map[string]func(c *fakeCluster){
		"lost":   func(c *fakeCluster) {},
		"silent": func(c *fakeCluster) { c.hung["a:1"] = true },
	} {
		t.Run(name, func(t *testing.T) {
			clusterTest(t, func(t *testing.T, c *fakeCluster, cfg ClientConfig) {
				client := dialTest(t, cfg)
				c.on = func(string) bool { end(c); c.on = nil; return true }
				if _, err := client.AppendMessage(t.Context(), "t", make([]byte, 200)); !IsUnknown(err) {
					t.Errorf("Append: %v", err)
				}
				if n := len(c.asked("BATCH")); n != 1 {
					t.Errorf("sent %d times", n)
				}
			})
		})
	}
}

// A Writer stores each message once and in order over the end of its leader, whatever
// end that is, and is soon at the next one.
func TestClusterWriter(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(c *fakeCluster)
		most time.Duration
	}{
		"killed":           {func(c *fakeCluster) { c.kill("a:1") }, 600 * time.Millisecond},
		"cut off":          {func(c *fakeCluster) { c.update(func() { c.hung["a:1"] = true }) }, 2 * electionTimeout},
		"follower instead": {func(c *fakeCluster) {}, 600 * time.Millisecond},
	} {
		for _, inFlight := range []int{1, 8} {
			t.Run(fmt.Sprint(name, inFlight), func(t *testing.T) {
				clusterTest(t, func(t *testing.T, c *fakeCluster, cfg ClientConfig) {
					n := new(notes)
					wcfg := WriterConfig{BatchMessages: 1, InFlight: inFlight}
					n.install(&wcfg)
					w := openWriter(t, cfg, wcfg)
					write(t, w, "a", "b")
					flush(t, w)
					start := time.Now()
					tt.end(c)
					c.lead("") // until there is another
					write(t, w, "c", "d", "e")
					time.Sleep(300 * time.Millisecond)
					c.lead("c:1")
					write(t, w, "f")
					flush(t, w)
					if took := time.Since(start); took > tt.most {
						t.Errorf("it took %v", took)
					}
					if c.stored() != "a b c d e f" || n.seen() != "" || w.Stats().InDoubt != 0 {
						t.Errorf("stored %q, states %q, %+v", c.stored(), n.seen(), w.Stats())
					}
				})
			})
		}
	}
}

// A Writer that is sent from one member to another and back, and loses answers, stores
// each message once.
func TestClusterWriterLosesAnswers(t *testing.T) {
	clusterTest(t, func(t *testing.T, c *fakeCluster, cfg ClientConfig) {
		w := openWriter(t, cfg, WriterConfig{BatchMessages: 1, InFlight: 4})
		n := 0
		c.on = func(string) bool {
			if n++; n%3 == 0 {
				c.leader = c.members[n%len(c.members)]
			}
			return n%5 == 0
		}
		var want []string
		for i := range 40 {
			want = append(want, fmt.Sprint(i))
		}
		write(t, w, want...)
		flush(t, w)
		if c.stored() != strings.Join(want, " ") || w.Stats().InDoubt != 0 {
			t.Errorf("stored %q, %+v", c.stored(), w.Stats())
		}
	})
}

// scanAll collects what a Scanner delivers, until it has so many messages.
func scanAll(t *testing.T, s *Scanner, n int) string {
	t.Helper()
	var got []string
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for len(got) < n {
		m, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got = append(got, string(m.Body))
	}
	return strings.Join(got, " ")
}

// put stores messages, each in a batch of its own.
func (c *fakeCluster) put(t *testing.T, cfg ClientConfig, messages ...string) {
	t.Helper()
	client, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, m := range messages {
		if _, err := client.AppendMessage(t.Context(), "t", []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
}

// A Scanner goes on at its offset on another member, over one connection at a time, and
// nothing is skipped or comes twice.
func TestClusterScanner(t *testing.T) {
	for name, end := range map[string]func(c *fakeCluster, addr string){
		"killed":  (*fakeCluster).kill,
		"cut off": func(c *fakeCluster, addr string) { c.update(func() { c.hung[addr] = true }) },
	} {
		for _, follow := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", follow ", follow), func(t *testing.T) {
				clusterTest(t, func(t *testing.T, c *fakeCluster, cfg ClientConfig) {
					c.put(t, cfg, "a", "b", "c", "d", "e", "f")
					client := dialTest(t, cfg)
					if _, err := client.Info(t.Context(), "t"); err != nil { // it knows the members
						t.Fatal(err)
					}
					s, err := NewScanner(t.Context(), client, "t", ScannerConfig{Start: AtOffset(0), Follow: follow, Limit: 7})
					if err != nil {
						t.Fatal(err)
					}
					defer s.Close()
					got := scanAll(t, s, 2)
					end(c, "a:1")
					c.lead("c:1")
					got += " " + scanAll(t, s, 4)
					if follow {
						cfg.Addrs = []string{"c:1"}
						c.put(t, cfg, "g")
						got += " " + scanAll(t, s, 1)
						got = strings.TrimSuffix(got, " g")
					}
					if got != "a b c d e f" {
						t.Errorf("got %q", got)
					}
				})
			})
		}
	}
}

// A member that has not yet what a Scanner wants sends it on: it goes neither back nor
// on, and says nothing of a gap.
func TestClusterScannerBehind(t *testing.T) {
	clusterTest(t, func(t *testing.T, c *fakeCluster, cfg ClientConfig) {
		c.put(t, cfg, "a", "b", "c")
		cfg.Addrs = []string{"b:1", "a:1", "c:1"}
		client := dialTest(t, cfg)
		one := len(stored("t", "a"))
		c.behind["b:1"] = one
		s, err := NewScanner(t.Context(), client, "t", ScannerConfig{Start: AtOffset(int64(2 * one)), OnGone: func(gone *GoneError) error {
			t.Error(gone)
			return gone
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got := scanAll(t, s, 1); got != "c" {
			t.Errorf("got %q", got)
		}
	})
}

// A Scanner that ends with the log ends with all of it, also at a member that is
// behind. Without a leader it delivers what the member has.
func TestClusterScannerEnd(t *testing.T) {
	for _, led := range []bool{true, false} {
		clusterTest(t, func(t *testing.T, c *fakeCluster, cfg ClientConfig) {
			c.put(t, cfg, "a", "b", "c")
			cfg.Addrs = []string{"b:1"}
			client := dialTest(t, cfg)
			if _, err := client.Info(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
			for _, addr := range c.members {
				c.behind[addr] = len(stored("t", "a"))
			}
			want := "a b c"
			if !led {
				c.lead("")
				want = "a"
			}
			s, err := NewScanner(t.Context(), client, "t", ScannerConfig{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var got []string
			for s.Scan() {
				got = append(got, string(s.Message().Body))
			}
			if strings.Join(got, " ") != want || led != (s.Err() == nil) || !led && !errors.Is(s.Err(), ErrNotLeader) {
				t.Errorf("got %q, %v", got, s.Err())
			}
		})
	}
}

// Info, AtNext and AtTime see what was stored before, and wait for a leader.
func TestClusterFresh(t *testing.T) {
	clusterTest(t, func(t *testing.T, c *fakeCluster, cfg ClientConfig) {
		c.put(t, cfg, "a")
		cfg.Addrs = []string{"b:1", "c:1"}
		c.behind["b:1"] = 0
		end := int64(len(stored("t", "a")))
		calls := map[string]func(*Client) (int64, error){
			"Info": func(client *Client) (int64, error) {
				info, err := client.Info(t.Context(), "t")
				return info.Next, err
			},
			"Seek": func(client *Client) (int64, error) { return client.Seek(t.Context(), "t", time.Now()) },
		}
		for name, start := range map[string]Position{"AtNext": AtNext(), "AtTime": AtTime(time.Now())} {
			calls[name] = func(client *Client) (int64, error) {
				s, err := NewScanner(t.Context(), client, "t", ScannerConfig{Start: start, Follow: true})
				if err != nil {
					return 0, err
				}
				defer s.Close()
				synctest.Wait()
				reads := c.asked("READ")
				if len(reads) == 0 {
					return -1, nil
				}
				var at int64
				_, err = fmt.Sscanf(reads[len(reads)-1], "b:1 READ t %d", &at)
				return at, err
			}
		}
		for name, call := range calls {
			for range 2 { // the second time, the Client knows
				client := dialTest(t, cfg)
				if at, err := call(client); at != end || err != nil {
					t.Errorf("%s = %d, %v, want %d", name, at, err, end)
				}
			}
		}
		client := dialTest(t, cfg)
		c.lead("")
		go func() {
			time.Sleep(time.Second)
			c.lead("c:1")
		}()
		start := time.Now()
		if at, err := calls["Info"](client); at != end || err != nil || time.Since(start) < time.Second {
			t.Errorf("without a leader: %d, %v after %v", at, err, time.Since(start))
		}
	})
}
