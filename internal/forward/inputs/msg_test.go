package inputs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// talk sends lines to a server of MSG and returns all that it answers, until it closes.
func talk(t *testing.T, in *Input, send string) string {
	t.Helper()
	nc := dial(t, in)
	if _, err := io.WriteString(nc, send); err != nil {
		t.Fatal(err)
	}
	closeWrite(t, nc)
	got, err := io.ReadAll(nc)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func dial(t *testing.T, in *Input) net.Conn {
	t.Helper()
	network, addr := in.Addr().Network(), strings.TrimPrefix(in.Addr().String(), "unix:")
	nc, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	return nc
}

func closeWrite(t *testing.T, nc net.Conn) {
	t.Helper()
	if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

func TestMsg(t *testing.T) {
	big := strings.Repeat("x", 40<<10)
	for _, test := range []struct {
		name, send, answer string
		taken              []string
	}{
		{"nothing", "", "", nil},
		{"messages", "MSG 5\r\nhello\r\nMSG 0\r\n\r\nMSG 2\r\n\r\n\r\n", "", []string{"hello", "", "\r\n"}},
		{"of a person", "MSG 5\nhello\nMSG 3\na\nb\nPING\n", "OK\r\n", []string{"hello", "a\nb"}},
		{"large", "MSG 40960\r\n" + big + "\r\nMSG 1\r\na\r\n", "", []string{big, "a"}},
		{"ping and close", "PING\r\nMSG 1\r\na\r\nCLOSE\r\nMSG 1\r\nb\r\n", "OK\r\nOK\r\n", []string{"a"}},
		{"a half", "MSG 1\r\na\r\nMSG 5\r\nhel", "", []string{"a"}},
		{"half a line", "MSG 1\r\na\r\nMSG", "", []string{"a"}},
		{"not its CRLF", "MSG 5\r\nhello", "", nil},
		{"half its CRLF", "MSG 5\r\nhello\r", "", nil},
		{"topics", "MSG 1 topic=a\r\n1\r\nMSG 1 topic=b\r\n2\r\nMSG 1\r\n3\r\n", "", []string{"a: 1", "b: 2", "3"}},
		{"topic not allowed", "MSG 1 topic=c\r\n1\r\nMSG 1 topic=.\r\n1\r\nMSG 1\r\n2\r\n", "ERR topic not allowed\r\nERR topic not allowed\r\n", []string{"2"}},
		{"too large", "MSG 1\r\na\r\nMSG 50001\r\n", "ERR too large\r\n", []string{"a"}},
		{"as large as may be", "MSG 50000\r\n" + strings.Repeat("y", 50000) + "\r\n", "", []string{strings.Repeat("y", 50000)}},
		{"a number", "MSG 9999999999999999999999\r\n", "ERR invalid protocol\r\n", nil},
		{"a sign", "MSG +1\r\na\r\n", "ERR invalid protocol\r\n", nil},
		{"zeros", "MSG 01\r\na\r\n", "ERR invalid protocol\r\n", nil},
		{"no number", "MSG\r\n", "ERR invalid protocol\r\n", nil},
		{"body too long", "MSG 1\r\nab\r\n", "ERR invalid protocol\r\n", nil},
		{"large body too long", "MSG 40960\r\n" + big + "x\r\n", "ERR invalid protocol\r\n", nil},
		{"attribute", "MSG 1 tpic=a\r\na\r\n", "ERR invalid protocol\r\n", nil},
		{"no topic", "MSG 1 topic=\r\na\r\n", "ERR invalid protocol\r\n", nil},
		{"twice", "MSG 1 topic=a topic=a\r\na\r\n", "ERR invalid protocol\r\n", nil},
		{"unknown", "HELLO 1\r\n", "ERR invalid protocol\r\n", nil},
		{"TLS", "\x16\x03\x01", "ERR invalid protocol\r\n", nil},
		{"long line", "MSG 1 topic=" + strings.Repeat("a", 1024) + "\r\na\r\n", "ERR invalid protocol\r\n", nil},
		{"longer line", strings.Repeat("A", 20000), "ERR invalid protocol\r\n", nil},
		{"ack", "ACK\r\nMSG 1\r\na\r\nMSG 1\r\nb\r\n", "OK 0\r\n…OK 2\r\n", []string{"a", "b"}},
		{"ack later", "MSG 1\r\na\r\nACK\r\nMSG 1\r\nb\r\n", "OK 0\r\n…OK 1\r\n", []string{"a", "b"}},
		{"ack, close", "ACK\r\nMSG 1\r\na\r\nCLOSE\r\n", "OK 0\r\n…OK 1\r\nOK\r\n", []string{"a"}},
		{"ack, nothing", "ACK\r\nCLOSE\r\n", "OK 0\r\nOK 0\r\nOK\r\n", nil},
		{"ack twice", "ACK\r\nACK\r\n", "OK 0\r\nOK 0\r\nERR invalid protocol msg=1\r\n", nil},
		{"ack, not allowed", "ACK\r\nMSG 1\r\na\r\nMSG 1 topic=c\r\nb\r\n", "OK 0\r\nERR topic not allowed msg=2\r\n…OK 2\r\n", []string{"a"}},
		{"ack, none allowed", "ACK\r\nMSG 1 topic=c\r\nb\r\n", "OK 0\r\nERR topic not allowed msg=1\r\n…OK 1\r\n", nil},
		{"ack, broken", "ACK\r\nMSG 1\r\na\r\nMSG x\r\n", "OK 0\r\n…OK 1\r\nERR invalid protocol msg=2\r\n", []string{"a"}},
		{"ack, too large", "ACK\r\nMSG 1\r\na\r\nMSG 50001\r\n", "OK 0\r\n…OK 1\r\nERR too large msg=2\r\n", []string{"a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s sink
			in, counters := start(t, "msg+tcp://127.0.0.1:0", &s, func(c *Config) { c.Topics, c.MaxLine = []string{"a", "b"}, 50000 })
			got := talk(t, in, test.send)
			// How many OKs come in between is of the time.
			begin, end, between := strings.Cut(test.answer, "…")
			if !between && got != test.answer || !strings.HasPrefix(got, begin) || !strings.HasSuffix(got, end) {
				t.Errorf("answer %q, want %q", got, test.answer)
			}
			equal(t, "taken", s.bodies(), test.taken)
			eventually(t, "the source is closed", s.allClosed)
			eventually(t, "no connections", func() bool { return counters.Connections.Load() == 0 })
		})
	}
}

// OK is said of what is safe, whatever the order in which things get safe, and never of
// more.
func TestMsgAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{hold: true}
		in := bare(t, s, Config{})
		a, b := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			in.serveMsg(b, "here")
		}()
		lines := make(chan string, 100)
		go func() {
			defer close(lines)
			for r := bufio.NewScanner(a); r.Scan(); {
				lines <- r.Text()
			}
		}()
		said := func() (all []string) {
			synctest.Wait()
			for len(lines) > 0 {
				all = append(all, <-lines)
			}
			return all
		}
		io.WriteString(a, "ACK\r\n")
		equal(t, "after ACK", said(), []string{"OK 0"})
		io.WriteString(a, "MSG 1\r\na\r\n")
		io.WriteString(a, "MSG 1\r\nb\r\n")
		time.Sleep(time.Minute)
		equal(t, "before anything is safe", said(), nil)

		s.mu.Lock()
		held := s.held
		s.mu.Unlock()
		held[1]()
		time.Sleep(time.Minute)
		equal(t, "when the second is safe alone", said(), nil)
		held[0]()
		equal(t, "when both are", said(), []string{"OK 2"})

		// While more is under way, at most one in 10 ms.
		s.release()
		s.mu.Lock()
		s.held = nil
		s.mu.Unlock()
		for range 50 {
			io.WriteString(a, "MSG 1\r\nc\r\n")
		}
		synctest.Wait()
		s.mu.Lock()
		held = s.held
		s.mu.Unlock()
		time.Sleep(time.Second)
		equal(t, "before", said(), nil)
		began := time.Now()
		for i, safe := range held[:49] {
			if i > 0 && i%7 == 0 {
				time.Sleep(time.Millisecond)
			}
			safe()
		}
		synctest.Wait()
		time.Sleep(11 * time.Millisecond)
		if got := said(); len(got) != 2 || got[1] != "OK 51" || time.Since(began) > time.Second {
			t.Errorf("answers: %q", got)
		}
		held[49]()
		equal(t, "at the end, at once", said(), []string{"OK 52"})

		// CLOSE waits.
		io.WriteString(a, "MSG 1\r\nd\r\nCLOSE\r\n")
		equal(t, "after CLOSE", said(), nil)
		s.release()
		equal(t, "when all is safe", said(), []string{"OK 53", "OK"})
		<-ended
		a.Close()
	})
}

// The control of TestMsgAck: an OK that comes before its message is safe is seen there.
func TestMsgAckControl(t *testing.T) {
	for _, hold := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := &sink{hold: hold}
			in := bare(t, s, Config{})
			a, b := net.Pipe()
			go in.serveMsg(b, "here")
			go io.WriteString(a, "ACK\r\nMSG 1\r\na\r\n")
			got := make([]byte, 100)
			n, _ := io.ReadFull(a, got[:6])
			a.SetReadDeadline(time.Now().Add(time.Minute))
			m, _ := a.Read(got[n:])
			if said := string(got[:n+m]); (said == "OK 0\r\n") != hold {
				t.Errorf("hold %v: %q", hold, said)
			}
			a.Close()
			s.release()
		})
	}
}

// Who reads no answers for timeout is cut off; not who is slow.
func TestMsgTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		in := bare(t, &s, Config{Timeout: 10 * time.Second})
		a, b := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			in.serveMsg(b, "here")
		}()
		began := time.Now()
		if _, err := io.WriteString(a, strings.Repeat("PING\r\n", 3)); err != nil {
			t.Error(err)
		}
		<-ended
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("cut off after %v", d)
		}
		a.Close()

		a, b = net.Pipe()
		go in.serveMsg(b, "here")
		go io.WriteString(a, strings.Repeat("PING\r\n", 3)+"CLOSE\r\n")
		r := bufio.NewReader(a)
		for range 4 {
			time.Sleep(9 * time.Second)
			if line, err := r.ReadString('\n'); line != "OK\r\n" {
				t.Fatal(line, err)
			}
		}
		a.Close()
	})
}

// What has arrived when the input stops is taken, and the sender told; what has not is not.
func TestMsgStop(t *testing.T) {
	for _, from := range []string{"msg+tcp://127.0.0.1:0", "unix"} {
		t.Run(from, func(t *testing.T) {
			if from == "unix" {
				from = "msg+unix:" + socketPath(t)
			}
			s := &sink{hold: true}
			in, _ := start(t, from, s, nil)
			nc := dial(t, in)
			io.WriteString(nc, "ACK\r\n")
			r := bufio.NewReader(nc)
			if line, _ := r.ReadString('\n'); line != "OK 0\r\n" {
				t.Fatal(line)
			}
			var sent strings.Builder
			for i := range 1000 {
				fmt.Fprintf(&sent, "MSG 4\r\n%4d\r\n", i)
			}
			sent.WriteString("MSG 10\r\nhal")
			io.WriteString(nc, sent.String())
			stopped := make(chan error, 1)
			go func() { stopped <- in.Stop(t.Context()) }()
			eventually(t, "all is put", func() bool { return len(s.messages()) == 1000 })
			select {
			case err := <-stopped:
				t.Fatalf("it ended before its messages were safe: %v", err)
			case <-time.After(2 * drainPause):
			}
			s.mu.Lock()
			s.hold = false
			s.mu.Unlock()
			s.release()
			rest, err := io.ReadAll(r)
			if want := "OK 1000\r\nERR shutting down msg=1001\r\n"; err != nil || !strings.HasSuffix(string(rest), want) {
				t.Errorf("answers %q, %v; want %q at the end", rest, err, want)
			}
			nc.Close()
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			if nc, err := net.Dial(in.Addr().Network(), strings.TrimPrefix(in.Addr().String(), "unix:")); err == nil {
				nc.Close()
				t.Error("it listens after Stop")
			}
		})
	}
}

// A Stop that may not take longer ends although nothing gets safe, and there is no room.
func TestMsgStopNow(t *testing.T) {
	s := &sink{room: make(chan struct{})}
	in, counters := start(t, "msg+tcp://127.0.0.1:0", s, nil)
	nc := dial(t, in)
	io.WriteString(nc, "ACK\r\nMSG 1\r\na\r\n")
	eventually(t, "the sender is blocked", func() bool { return counters.Blocked.Total() > 0 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := in.Stop(ctx); err != context.Canceled {
		t.Errorf("Stop: %v", err)
	}
	got, _ := io.ReadAll(nc)
	if want := "OK 0\r\nOK 0\r\nERR shutting down msg=1\r\n"; string(got) != want {
		t.Errorf("answers %q, want %q", got, want)
	}
	if len(s.messages()) != 0 {
		t.Error("a message was taken")
	}
}

// Without room, the sender waits, nothing of its is lost, and the time counts.
func TestMsgBlock(t *testing.T) {
	s := &sink{room: make(chan struct{})}
	in, counters := start(t, "msg+tcp://127.0.0.1:0", s, nil)
	nc := dial(t, in)
	io.WriteString(nc, "MSG 1\r\na\r\n")
	eventually(t, "blocked", func() bool { return counters.Blocked.Total() > 0 })
	io.WriteString(nc, "MSG 1\r\nb\r\nCLOSE\r\n")
	close(s.room)
	if got, _ := io.ReadAll(nc); string(got) != "OK\r\n" {
		t.Errorf("answer %q", got)
	}
	equal(t, "taken", s.bodies(), words("a b"))
	before := counters.Blocked.Total()
	time.Sleep(5 * time.Millisecond)
	if counters.Blocked.Total() != before {
		t.Error("it counts on")
	}
}

// When the agent ends, its own end does not come first: what it does not take is said.
func TestMsgClosing(t *testing.T) {
	s := &sink{closing: true}
	in, _ := start(t, "msg+tcp://127.0.0.1:0", s, nil)
	if got := talk(t, in, "ACK\r\nMSG 1\r\na\r\nMSG 1\r\nb\r\n"); got != "OK 0\r\nOK 0\r\nERR shutting down msg=1\r\n" {
		t.Errorf("answer %q", got)
	}
}

// Topics and limits change while a connection is open.
func TestMsgUpdate(t *testing.T) {
	var s sink
	in, _ := start(t, "msg+tcp://127.0.0.1:0", &s, func(c *Config) { c.Topics = []string{"a"} })
	nc := dial(t, in)
	r := bufio.NewReader(nc)
	ask := func(send, want string) {
		t.Helper()
		io.WriteString(nc, send)
		if line, _ := r.ReadString('\n'); line != want+"\r\n" {
			t.Errorf("%q: %q, want %q", send, line, want)
		}
	}
	ask("MSG 1 topic=a\r\n1\r\nPING\r\n", "OK")
	ask("MSG 1 topic=b\r\n2\r\n", "ERR topic not allowed")
	c := *in.config.Load()
	c.Topics, c.MaxLine = []string{"b"}, 2
	if err := in.Update(c); err != nil {
		t.Fatal(err)
	}
	ask("MSG 1 topic=a\r\n3\r\n", "ERR topic not allowed")
	ask("MSG 1 topic=b\r\n4\r\nPING\r\n", "OK")
	c.SocketMode = 0o600
	if err := in.Update(c); err == nil || !strings.Contains(err.Error(), "socket-mode") {
		t.Errorf("another mode: %v", err)
	}
	ask("MSG 3\r\n", "ERR too large")
	equal(t, "taken", s.bodies(), []string{"a: 1", "b: 4"})
}

func TestMaxConnections(t *testing.T) {
	var s sink
	in, counters := start(t, "msg+tcp://127.0.0.1:0", &s, func(c *Config) { c.MaxConnections = 2 })
	first, second := dial(t, in), dial(t, in)
	eventually(t, "two connections", func() bool { return counters.Connections.Load() == 2 })
	if got, err := io.ReadAll(dial(t, in)); string(got) != "ERR busy\r\n" || err != nil {
		t.Errorf("the third: %q, %v", got, err)
	}
	second.Close()
	eventually(t, "one connection", func() bool { return counters.Connections.Load() == 1 })
	io.WriteString(first, "MSG 1\r\na\r\n")
	if got := talk(t, in, "MSG 1\r\nb\r\nCLOSE\r\n"); got != "OK\r\n" {
		t.Errorf("another: %q", got)
	}
	eventually(t, "both are served", func() bool { return len(s.messages()) == 2 })
}

// A panic ends the connection that had it, and nothing else.
func TestPanic(t *testing.T) {
	var s sink
	in, counters := start(t, "msg+tcp://127.0.0.1:0", &s, nil)
	other := dial(t, in)
	io.WriteString(other, "ACK\r\n")
	eventually(t, "a connection", func() bool { return counters.Connections.Load() == 1 })
	s.mu.Lock()
	s.broken = func() { panic("test") }
	s.mu.Unlock()
	if got := talk(t, in, "ACK\r\nMSG 1\r\na\r\n"); got != "OK 0\r\n" {
		t.Errorf("answer %q", got)
	}
	s.mu.Lock()
	s.broken = nil
	s.mu.Unlock()
	eventually(t, "one is closed", func() bool { return counters.Connections.Load() == 1 })
	io.WriteString(other, "MSG 1\r\nb\r\nCLOSE\r\n")
	if got, _ := io.ReadAll(other); !strings.HasSuffix(string(got), "OK 1\r\nOK\r\n") {
		t.Errorf("the other's answers: %q", got)
	}
	equal(t, "taken", s.bodies(), words("b"))
	eventually(t, "all sources are closed", s.allClosed)
}

func TestUnixSocket(t *testing.T) {
	path := socketPath(t)
	var s sink
	in, _ := start(t, "msg+unix:"+path, &s, nil)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v, %v", st.Mode(), err)
	}
	if got := talk(t, in, "MSG 1\r\na\r\nCLOSE\r\n"); got != "OK\r\n" {
		t.Errorf("answer %q", got)
	}
	s.mu.Lock()
	if l := s.sources[0]; l.input != "test" || l.name != path || len(l.messages) != 1 || l.messages[0].Remote != "" {
		t.Errorf("source %+v", l)
	}
	s.mu.Unlock()
	if _, err := Start(*in.config.Load(), &s, nil, nil); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second: %v", err)
	}
	stop(t, in)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is there after Stop: %v", err)
	}
}

// socketPath returns a short path in a folder of the test's.
func socketPath(t testing.TB) string {
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func TestStartRefuses(t *testing.T) {
	for from, want := range map[string]string{
		"msg+tcp://:0":    "insecure = true",
		"journald:":       "elsewhere",
		"file:/x":         "elsewhere",
		"msg+unix:/x/y/z": "no such file",
	} {
		f, _ := ParseFrom(from)
		if _, err := Start(Config{Name: "n", From: f}, &sink{}, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", from, err, want)
		}
	}
}

// Whatever comes: nothing panics, what is taken is what an independent reading finds, and
// no more than that is said to be safe.
func FuzzMsg(f *testing.F) {
	for _, seed := range []string{"MSG 1\r\na\r\n", "ACK\r\nMSG 2 topic=a\r\nab\r\nCLOSE\r\n", "PING\r\nMSG 0\r\n\r\nMSG 1\na\n", "MSG 99\r\nx", "MSG 5\r\nhello!\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &sink{}
		in := bare(t, s, Config{MaxLine: 100, Topics: []string{"a"}})
		a, b := net.Pipe()
		go func() {
			a.Write(data)
			a.Close()
		}()
		// What it answers goes nowhere: half of a pipe can't be closed.
		in.serveMsg(mute{b}, "")
		var bodies int
		for _, m := range s.messages() {
			bodies += len(m.Body)
			if m.Topic != "" && m.Topic != "a" || len(m.Body) > 100 || !strings.Contains(string(data), string(m.Body)) {
				t.Errorf("took %+v", m)
			}
		}
		if bodies > len(data) {
			t.Error("took more than came")
		}
		if !s.allClosed() {
			t.Error("a source is open")
		}
	})
}

// mute is a connection whose answers go nowhere.
type mute struct{ net.Conn }

func (mute) Write(p []byte) (int, error) { return len(p), nil }

// However messages come in pieces, they are the same.
func TestMsgPieces(t *testing.T) {
	var send strings.Builder
	var want []string
	for i := range 40 {
		body := strings.Repeat(fmt.Sprint(i%10), i*37)
		fmt.Fprintf(&send, "MSG %d topic=t%d\r\n%s\r\n", len(body), i%3, body)
		want = append(want, fmt.Sprintf("t%d: %s", i%3, body))
	}
	for size := range slices.Values([]int{1, 2, 3, 7, 100, 4096, 1 << 20}) {
		var s sink
		in := bare(t, &s, Config{Topics: []string{"*"}})
		a, b := net.Pipe()
		go func() {
			for p := range slices.Chunk([]byte(send.String()), size) {
				a.Write(p)
			}
			a.Close()
		}()
		in.serveMsg(b, "")
		equal(t, fmt.Sprintf("in pieces of %d", size), s.bodies(), want)
	}
}

var _ feed.Live = (*source)(nil)
