package logd

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/logdtest/memnet"
	"github.com/logd-dev/logd/logdtest/script"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNet is a network of scripted servers.
type fakeNet struct {
	*memnet.Network
	t *testing.T
}

const fakeAddr = "fake:1774"

// fake returns a network with one server, and a config to reach it. The test
// ends with all scripts.
func fake(t *testing.T, serve func(*script.Peer)) (*fakeNet, ClientConfig) {
	f := &fakeNet{memnet.New(t), t}
	f.serve(fakeAddr, serve)
	return f, ClientConfig{Addrs: []string{fakeAddr}, Dial: f.Dial}
}

// serve puts a server at addr, or takes it away if it is nil.
func (f *fakeNet) serve(addr string, serve func(*script.Peer)) {
	script.Serve(f.t, f.Network, addr, serve)
}

// dialed returns the addresses tried so far.
func (f *fakeNet) dialed() string { return strings.Join(f.Dials(), " ") }

// count returns how many connections were tried so far.
func (f *fakeNet) count() int { return len(f.Dials()) }

// logServer is a script of a server that keeps nothing.
func logServer() func(*script.Peer) {
	l := &script.Log{OnOther: func(r script.Request) string {
		if r.Line == "PING" {
			return "OK\r\n"
		}
		return "ERR not found\r\n"
	}}
	return l.Serve
}

// dialTest returns a connected client that is closed at the test's end.
func dialTest(t *testing.T, cfg ClientConfig) *Client {
	t.Helper()
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// batchOf returns a batch of the messages.
func batchOf(bodies ...string) *Batch {
	b := new(Batch)
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	return b
}

// stored returns the bytes of a stored batch of the messages.
func stored(topic string, bodies ...string) string {
	raw, err := batchOf(bodies...).finish(topic)
	if err != nil {
		panic(err)
	}
	return string(raw)
}
