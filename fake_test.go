package logd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNet is a network of scripted servers, one script for each address. A
// script runs once for each connection; the connection is closed at its end.
type fakeNet struct {
	t       *testing.T
	scripts map[string]func(*peer)

	mu    sync.Mutex
	dials []string
	wg    sync.WaitGroup
}

const fakeAddr = "fake:1774"

// fake returns a network with one server, and a config to reach it. The test
// ends with all scripts.
func fake(t *testing.T, script func(*peer)) (*fakeNet, ClientConfig) {
	f := &fakeNet{t: t, scripts: map[string]func(*peer){fakeAddr: script}}
	t.Cleanup(f.wg.Wait)
	return f, ClientConfig{Addrs: []string{fakeAddr}, Dial: f.dial}
}

var errRefused = errors.New("refused")

func (f *fakeNet) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials = append(f.dials, addr)
	script := f.scripts[addr]
	if script == nil {
		return nil, fmt.Errorf("dial %s: %w", addr, errRefused)
	}
	client, server := net.Pipe()
	p := &peer{t: f.t, Conn: server, br: bufio.NewReaderSize(server, 1<<20), number: len(f.dials)}
	f.wg.Go(func() {
		defer server.Close()
		script(p)
	})
	return client, nil
}

// dialed returns the addresses tried so far.
func (f *fakeNet) dialed() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.dials, " ")
}

// count returns how many connections were tried so far.
func (f *fakeNet) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.dials)
}

// peer is the server's side of one connection. Its methods report surprises as
// test errors, and report false if the connection is gone.
type peer struct {
	net.Conn
	t      *testing.T
	br     *bufio.Reader
	number int // of the dial, from 1 on
}

// request reads one request. For a BATCH, data is what follows the line.
func (p *peer) request() (line string, data []byte, ok bool) {
	line, err := p.br.ReadString('\n')
	if err != nil {
		return "", nil, false
	}
	line, ok = strings.CutSuffix(line, "\r\n")
	var req protocol.Request
	if err := protocol.ParseRequest([]byte(line), &req); !ok || err != nil {
		p.t.Errorf("the client sent %q: %v", line, err)
		return "", nil, false
	}
	if req.Command == protocol.Batch {
		data = make([]byte, req.Batch.Size)
		if _, err := io.ReadFull(p.br, data); err != nil {
			return "", nil, false
		}
		if err := batch.Check(&req.Batch, data); err != nil {
			p.t.Errorf("the client sent a batch that is not one: %v", err)
		}
	}
	return line, data, true
}

// expect reads a request, whose line must begin with prefix.
func (p *peer) expect(prefix string) bool {
	p.t.Helper()
	line, _, ok := p.request()
	if ok && !strings.HasPrefix(line, prefix) {
		p.t.Errorf("the client sent %q, want %q", line, prefix)
	}
	return ok
}

// reply writes an answer.
func (p *peer) reply(format string, args ...any) bool {
	_, err := fmt.Fprintf(p, format, args...)
	return err == nil
}

// replyConfig writes the answer to CONFIG.
func (p *peer) replyConfig(maxBatchSize int64) bool {
	body := fmt.Appendf(nil, "Host: %s\r\nTimeout: 15s\r\nIdleTimeout: 30s\r\nMaxBatchSize: %d\r\n", fakeAddr, maxBatchSize)
	return p.reply("%s", protocol.AppendBody(nil, body))
}

// answer reads a request and writes an answer.
func (p *peer) answer(prefix, reply string) bool {
	p.t.Helper()
	return p.expect(prefix) && p.reply("%s", reply)
}

// hangUp waits until the client has closed the connection.
func (p *peer) hangUp() {
	io.Copy(io.Discard, p.br)
}

// logServer is a script that keeps one log for every topic in memory.
func logServer() func(*peer) {
	var mu sync.Mutex
	next := map[string]int64{}
	return func(p *peer) {
		for {
			line, data, ok := p.request()
			if !ok {
				return
			}
			var req protocol.Request
			protocol.ParseRequest([]byte(line), &req)
			switch req.Command {
			case protocol.Batch:
				mu.Lock()
				offset := next[string(req.Topic)]
				next[string(req.Topic)] += int64(len(line)+2) + int64(len(data))
				mu.Unlock()
				ok = p.reply("OK %d 1\r\n", offset)
			case protocol.Ping:
				ok = p.reply("OK\r\n")
			case protocol.Config:
				ok = p.replyConfig(DefaultMaxBatchSize)
			default:
				ok = p.reply("ERR not found\r\n")
			}
			if !ok {
				return
			}
		}
	}
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

// limitless makes a connected client send what it would ask the server's limit
// for.
func limitless(c *Client) { c.conn.Load().limit.Store(unlimited) }

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
