package script

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/logdtest/memnet"
)

// maxBatch bounds the batch that is read.
const maxBatch = 64 << 20

// Request is what a client has sent.
type Request struct {
	Line string // without CRLF
	Data []byte // of the batch, if it comes with one

	req protocol.Request
}

// Topic returns the topic that the request names, or "".
func (r *Request) Topic() string {
	if r.IsBatch() {
		return string(r.req.Batch.Topic)
	}
	return string(r.req.Topic)
}

// IsBatch reports whether the request is to append a batch, which is then whole
// and undamaged.
func (r *Request) IsBatch() bool { return r.req.Command == protocol.Batch }

// Len returns how long the request is, which is how long the batch is where it is
// stored.
func (r *Request) Len() int64 { return int64(len(r.Line) + len("\r\n") + len(r.Data)) }

// Messages returns the bodies of the batch's messages.
func (r *Request) Messages() (bodies []string) {
	for m := (batch.Messages{Data: r.Data}); m.Next(); {
		bodies = append(bodies, string(m.Body()))
	}
	return bodies
}

// deltas returns where in the batch's data the messages begin.
func (r *Request) deltas() (deltas []int64) {
	for m := (batch.Messages{Data: r.Data}); m.Next(); {
		deltas = append(deltas, m.Delta())
	}
	return deltas
}

// surprise is an error of a client that has sent what is no request.
type surprise struct{ error }

func (s surprise) Unwrap() error { return s.error }

// readRequest reads one request. The error is a surprise, or of the connection.
func readRequest(br *bufio.Reader) (r Request, err error) {
	line, err := br.ReadString('\n')
	if err != nil {
		return r, fmt.Errorf("the client sent %q and then: %w", line, err)
	}
	bad := func(format string, args ...any) (Request, error) {
		return Request{}, surprise{fmt.Errorf("the client sent %q"+format, append([]any{line}, args...)...)}
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return bad(", which does not end with CRLF")
	}
	r.Line, line = text, text
	if err := protocol.ParseRequest([]byte(text), &r.req); err != nil {
		return bad(": %w", err)
	}
	if !r.IsBatch() {
		return r, nil
	}
	if r.req.Batch.Size > maxBatch {
		return bad(": over %d bytes", maxBatch)
	}
	r.Data = make([]byte, r.req.Batch.Size)
	if _, err := io.ReadFull(br, r.Data); err != nil {
		return r, fmt.Errorf("the client sent %q and not its data: %w", line, err)
	}
	if err := batch.Check(&r.req.Batch, r.Data); err != nil {
		return bad(": %w", err)
	}
	return r, nil
}

// config returns the answer to CONFIG of a server at host.
func config(host string, maxBatchSize, producers int64, topicLimits bool) string {
	body := fmt.Appendf(nil, "Host: %s\r\nTimeout: 15s\r\nIdleTimeout: 30s\r\nMaxBatchSize: %d\r\n", host, maxBatchSize)
	if producers > 0 {
		body = protocol.AppendField(body, "Producers", strconv.FormatInt(producers, 10))
	}
	if topicLimits {
		body = protocol.AppendField(body, "TopicLimits", "true")
	}
	return string(protocol.AppendBody(nil, body))
}

// Serve makes serve the server at an address of the network: it is called for
// each connection, which ends when it returns. Several may run at once. With nil,
// nobody is at the address any more.
//
//	script.Serve(t, network, "fake:1774", func(p *script.Peer) {
//		p.Exchange("BATCH", "OK 0 1\r\n")
//		p.Exchange("BATCH", "ERR busy\r\n")
//	})
func Serve(t testing.TB, network *memnet.Network, addr string, serve func(*Peer)) {
	if serve == nil {
		network.Handle(addr, nil)
		return
	}
	network.Handle(addr, func(c *memnet.Conn) {
		serve(&Peer{Conn: c, Input: bufio.NewReaderSize(c, 1<<20), t: t})
	})
}

// Peer is the server's side of one connection. Its methods report false if the
// connection is gone. What the client sends and should not fails the test.
type Peer struct {
	*memnet.Conn
	// Input is what the client has sent and nobody has read yet. It is to be used
	// in place of the Conn's Read.
	Input *bufio.Reader

	t testing.TB
}

// Request reads one request.
func (p *Peer) Request() (r Request, ok bool) {
	p.t.Helper()
	r, err := readRequest(p.Input)
	if s, ok := errors.AsType[surprise](err); ok {
		p.t.Errorf("script: %v", s)
	}
	return r, err == nil
}

// Expect reads a request, whose line must begin with prefix.
func (p *Peer) Expect(prefix string) bool {
	p.t.Helper()
	r, ok := p.Request()
	if ok && !strings.HasPrefix(r.Line, prefix) {
		p.t.Errorf("script: the client sent %q, want %q", r.Line, prefix)
	}
	return ok
}

// Answer writes an answer, as it is.
func (p *Peer) Answer(format string, args ...any) bool {
	_, err := fmt.Fprintf(p, format, args...)
	return err == nil
}

// AnswerConfig writes the answer to CONFIG of a server with this limit on
// batches.
func (p *Peer) AnswerConfig(maxBatchSize int64) bool {
	return p.Answer("%s", config(p.LocalAddr().String(), maxBatchSize, 0, false))
}

// Exchange reads a request, whose line must begin with prefix, and writes the
// answer.
func (p *Peer) Exchange(prefix, answer string) bool {
	p.t.Helper()
	return p.Expect(prefix) && p.Answer("%s", answer)
}

// AwaitClose returns when the client has closed the connection. What it sends
// before is passed over.
func (p *Peer) AwaitClose() { io.Copy(io.Discard, p.Input) }
