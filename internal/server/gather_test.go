package server_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// diskStore is a Memory whose logs have a disk that can be held up, or broken.
type diskStore struct {
	*topictest.Memory
	mu   sync.Mutex
	logs map[string]*diskLog
}

type diskLog struct {
	topic.Gatherer
	hold    sync.RWMutex // Commit waits while it is held
	entered chan struct{}

	mu     sync.Mutex
	commit func() error // what Commit returns
	append func()       // called by AppendAll
	groups []int        // parts of each AppendAll
}

// have has Commit or AppendAll call something from here on.
func (l *diskLog) have(commit func() error, append func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commit, l.append, l.groups = commit, append, nil
}

func newDiskStore() *diskStore {
	return &diskStore{Memory: topictest.NewMemory(), logs: make(map[string]*diskLog)}
}

func (s *diskStore) log(name string) *diskLog {
	l, err := s.Memory.Create(context.Background(), []byte(name))
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs[name] == nil {
		s.logs[name] = &diskLog{Gatherer: l.(topic.Gatherer), entered: make(chan struct{}, 100)}
	}
	return s.logs[name]
}

func (s *diskStore) Log(name []byte) (topic.Log, error) { return s.log(string(name)), nil }
func (s *diskStore) Create(_ context.Context, name []byte) (topic.Log, error) {
	return s.log(string(name)), nil
}

func (l *diskLog) Commit(ctx context.Context, a topic.Appended) error {
	select {
	case l.entered <- struct{}{}:
	default:
	}
	l.hold.RLock()
	defer l.hold.RUnlock()
	l.mu.Lock()
	commit := l.commit
	l.mu.Unlock()
	if commit != nil {
		return commit()
	}
	return l.Gatherer.Commit(ctx, a)
}

func (l *diskLog) AppendAll(ctx context.Context, parts []topic.Part) {
	l.mu.Lock()
	l.groups = append(l.groups, len(parts))
	fail := l.append
	l.mu.Unlock()
	if fail != nil {
		fail()
	}
	l.Gatherer.AppendAll(ctx, parts)
}

// diskClient is a client whose log is held, so that its next batch is gathered.
func diskClient(t *testing.T, addr, name string) *client {
	nc := dialAddr(t, addr)
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	c := &client{t, nc, bufio.NewReader(nc)}
	for range 2 {
		c.send(testkit.Batch(name, "first"))
		if line, err := c.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "OK ") {
			t.Fatalf("%q, %v", line, err)
		}
	}
	return c
}

func (c *client) wantOK() {
	c.t.Helper()
	if line, err := c.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "OK ") || !strings.HasSuffix(line, " 1\r\n") {
		c.t.Errorf("received %q, %v", line, err)
	}
}

// drainEntered forgets the commits so far.
func (l *diskLog) drainEntered() {
	for len(l.entered) > 0 {
		<-l.entered
	}
}

// A disk that hangs holds up those who wait for it, whoever leads, and nobody else. Those
// who come meanwhile are committed together.
func TestGatheringsAreApart(t *testing.T) {
	store := newDiskStore()
	s := server.New(server.Options{Store: store})
	addr := serveTCP(t, s)
	var slow []*client
	for range 10 {
		slow = append(slow, diskClient(t, addr, "slow"))
	}
	other := diskClient(t, addr, "other")
	l := store.log("slow")
	l.drainEntered()
	l.hold.Lock()
	slow[0].send(testkit.Batch("slow", "x"))
	<-l.entered
	l.have(nil, nil)
	begun := s.Stats().Requests[protocol.Batch]
	for _, c := range slow[1:] {
		c.send(testkit.Batch("slow", "y"))
	}
	for range 3 {
		other.send(testkit.Batch("other", "z"))
		other.wantOK()
	}
	other.send("PING\r\n")
	other.want("OK\r\n")
	slow[0].nc.(*net.TCPConn).CloseWrite() // it is answered all the same
	testkit.Eventually(t, func() string {
		return testkit.Unless(s.Stats().Requests[protocol.Batch] >= begun+9+3, "not all requests have come")
	})
	l.hold.Unlock()
	for _, c := range slow {
		c.wantOK()
	}
	slow[0].wantClosed()
	l.mu.Lock()
	if len(l.groups) == 0 || l.groups[0] < 8 { // one may have counted its request and not joined
		t.Errorf("groups of %v, want what came meanwhile together", l.groups)
	}
	l.mu.Unlock()
	slow[1].send(testkit.Batch("slow", "x"))
	slow[1].wantOK()
}

// Close cuts all connections at once, though one of them is in the middle of a sync that
// does not end.
func TestCloseWhileADiskHangs(t *testing.T) {
	store := newDiskStore()
	s := server.New(server.Options{Store: store})
	addr := serveTCP(t, s)
	hung := diskClient(t, addr, "slow")
	var others []*client
	for range 20 {
		others = append(others, diskClient(t, addr, "other"))
	}
	l := store.log("slow")
	l.drainEntered()
	l.hold.Lock()
	hung.send(testkit.Batch("slow", "x"))
	<-l.entered
	closed := make(chan struct{})
	go func() {
		s.Close()
		close(closed)
	}()
	for _, c := range others {
		c.wantClosed()
	}
	s.Stats() // waits for no lock that Close holds meanwhile
	l.hold.Unlock()
	<-closed
}

// Whose batch nobody knows the fate of is told nothing. What fails otherwise is told.
func TestGatheredFailures(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		panics bool
		want   string
	}{
		"in doubt":  {err: topic.ErrInDoubt},
		"read only": {err: topic.ErrReadOnly, want: "ERR read only\r\n"},
		"panic":     {panics: true},
	} {
		t.Run(name, func(t *testing.T) {
			store := newDiskStore()
			s := server.New(server.Options{Store: store})
			addr := serveTCP(t, s)
			c, other := diskClient(t, addr, "t"), diskClient(t, addr, "other")
			store.log("t").have(func() error {
				if test.panics {
					panic("broken")
				}
				return test.err
			}, nil)
			c.send(testkit.Batch("t", "x"))
			if test.want != "" {
				c.want(test.want)
				c.send("PING\r\n")
				c.want("OK\r\n")
			} else {
				c.wantClosed()
			}
			other.send(testkit.Batch("other", "x"))
			other.wantOK()
			panics := int64(0)
			if test.panics {
				panics = 1
			}
			if got := s.Stats().Panics; got != panics {
				t.Errorf("%d panics, want %d", got, panics)
			}
		})
	}
}

// A panic of an append that is for many ends all of them, and no more.
func TestGatheredAppendPanics(t *testing.T) {
	store := newDiskStore()
	s := server.New(server.Options{Store: store})
	addr := serveTCP(t, s)
	c, d := diskClient(t, addr, "t"), diskClient(t, addr, "t")
	l := store.log("t")
	l.have(nil, func() { panic("broken") })
	c.send(testkit.Batch("t", "x"))
	c.wantClosed()
	l.have(nil, nil)
	d.send(testkit.Batch("t", "x"))
	d.wantOK()
}

// Who does not read its answers is not waited for by who leads, and loses none.
func TestGatheredAnswersFindNoRoom(t *testing.T) {
	store := newDiskStore()
	s := server.New(server.Options{Store: store})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc := dialAddr(t, l.Addr().String())
	srv, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	srv.(*net.TCPConn).SetWriteBuffer(1)
	nc.(*net.TCPConn).SetReadBuffer(1)
	t.Cleanup(func() { s.Close() })
	s.ServeConn(srv)
	other := diskClient(t, serveTCP(t, s), "t")
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	c := &client{t, nc, bufio.NewReader(nc)}
	sent := 0
	for stuck := 0; stuck < 20 && sent < 20_000; sent++ {
		before := s.Stats().Requests[protocol.Batch]
		c.send(testkit.Batch("t", fmt.Sprint(sent)))
		for wait := 0; s.Stats().Requests[protocol.Batch] == before; wait++ {
			if wait == 20 { // it waits until it can send
				stuck++
				break
			}
			time.Sleep(50 * time.Microsecond)
		}
	}
	other.send(testkit.Batch("t", "other"))
	other.wantOK()
	last := int64(-1)
	for range sent {
		line, err := c.in.ReadString('\n')
		var offset, n int64
		if _, serr := fmt.Sscanf(line, "OK %d %d\r\n", &offset, &n); serr != nil || n != 1 || offset <= last || err != nil {
			t.Fatalf("%q after %d, %v", line, last, err)
		}
		last = offset
	}
	c.send("PING\r\n")
	c.want("OK\r\n")
}

// A server that shuts down answers what is being committed. The time for which a
// connection may be idle begins when it is answered.
func TestGatheredAndTime(t *testing.T) {
	store := newDiskStore()
	const idle = time.Second // of a socket, for which time can't be made up
	s := server.New(server.Options{Store: store, IdleTimeout: idle})
	addr := serveTCP(t, s)
	c := diskClient(t, addr, "t")
	l := store.log("t")
	l.drainEntered()
	l.hold.Lock()
	c.send(testkit.Batch("t", "x"))
	<-l.entered
	time.Sleep(idle + idle/4)
	l.hold.Unlock()
	c.wantOK()
	c.send("PING\r\n")
	c.want("OK\r\n")

	l.drainEntered()
	d := diskClient(t, addr, "t")
	l.drainEntered()
	l.hold.Lock()
	d.send(testkit.Batch("t", "x"))
	<-l.entered
	done := make(chan error)
	go func() { done <- s.Shutdown(t.Context()) }()
	testkit.Eventually(t, func() string { return testkit.Unless(s.Draining(), "the server does not drain") })
	l.hold.Unlock()
	d.wantOK()
	d.wantClosed()
	if err := <-done; err != nil {
		t.Error(err)
	}
	began := time.Now()
	if _, err := c.in.ReadByte(); err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// A client that closes its side right behind a request gets the answer, and the end: it
// may have come together with the request, of which the poller tells once.
func TestRequestAndEndAtOnce(t *testing.T) {
	store := newDiskStore()
	addr := serveTCP(t, server.New(server.Options{Store: store}))
	for i := range 100 {
		c := diskClient(t, addr, "t") // and the first request of a connection
		if i%2 == 0 {
			c = &client{t, dialAddr(t, addr), nil}
			c.in = bufio.NewReader(c.nc)
		}
		c.nc.SetDeadline(time.Now().Add(20 * time.Second))
		request, want := "PING\r\n", "OK"
		if i%3 == 0 {
			request = testkit.Batch("t", "last")
		}
		c.send(request)
		c.nc.(*net.TCPConn).CloseWrite()
		if line, err := c.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
			t.Fatalf("%d: %q, %v", i, line, err)
		}
		c.wantClosed()
		if t.Failed() {
			t.Fatalf("connection %d", i)
		}
	}
}
