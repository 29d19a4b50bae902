package script

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/logdtest/memnet"
)

// Step is one step of a [Script].
type Step struct {
	name string
	run  func(*Script) error
}

// Accept takes the next connection. All steps after it are about this one;
// one before it stays as it is until the test ends.
func Accept() Step {
	return Step{"Accept", func(s *Script) error {
		ln, err := s.listening()
		if err != nil {
			return err
		}
		if l, ok := ln.(interface{ SetDeadline(time.Time) error }); ok {
			l.SetDeadline(s.patience())
		}
		c, err := ln.Accept()
		if err != nil {
			return fmt.Errorf("no client came: %w", err)
		}
		s.conn = c
		s.br = bufio.NewReader(c)
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		return nil
	}}
}

// Expect reads one request, whose line must begin with prefix. A batch that
// comes with it is checked.
//
// A client may ask for the server's limit with CONFIG before it sends a batch. If
// a batch is expected, or bytes by ExpectBytes, such a CONFIG is answered with the
// default limit.
func Expect(prefix string) Step {
	return Step{fmt.Sprintf("Expect %q", prefix), func(s *Script) error {
		r, err := s.request(prefix)
		if err == nil && !strings.HasPrefix(r.Line, prefix) {
			err = fmt.Errorf("the client sent %q", r.Line)
		}
		return err
	}}
}

// ExpectBatch reads one request, which must append exactly these messages to
// the topic, as one batch.
func ExpectBatch(topic string, messages ...string) Step {
	return Step{fmt.Sprintf("ExpectBatch %q %.100q", topic, messages), func(s *Script) error {
		r, err := s.request("BATCH")
		if err != nil {
			return err
		}
		if !r.IsBatch() {
			return fmt.Errorf("the client sent %q", r.Line)
		}
		if got := r.Messages(); r.Topic() != topic || !slices.Equal(got, messages) {
			return fmt.Errorf("the client sent topic %q the messages %.200q", r.Topic(), got)
		}
		return nil
	}}
}

// ExpectBytes reads n bytes of what the client sends, whatever they are: with
// [Cut] or [Reset] behind it, a request is cut in its middle.
func ExpectBytes(n int) Step {
	return Step{fmt.Sprintf("ExpectBytes %d", n), func(s *Script) error {
		if err := s.connected(); err != nil {
			return err
		}
		const config = "CONFIG\r\n"
		if n > len(config) {
			if p, _ := s.br.Peek(len(config)); string(p) == config {
				s.br.Discard(len(config))
				if err := s.tellLimit(); err != nil {
					return err
				}
			}
		}
		if got, err := s.br.Discard(n); err != nil {
			return fmt.Errorf("%d bytes came, and then: %w", got, err)
		}
		return nil
	}}
}

// ExpectClose waits until the client has closed the connection. It must not
// send anything before that.
func ExpectClose() Step {
	return Step{"ExpectClose", func(s *Script) error {
		if err := s.connected(); err != nil {
			return err
		}
		b, err := s.br.ReadByte()
		if err == nil {
			rest, _ := s.br.Peek(s.br.Buffered())
			return fmt.Errorf("the client sent %.200q", append([]byte{b}, rest...))
		}
		if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
			return errors.New("the client did not close the connection")
		}
		return nil
	}}
}

// ExpectNothing makes sure that the client sends nothing for so long, and does
// not close the connection. What it can show is that something is sent too
// early, not that it never is.
func ExpectNothing(patience time.Duration) Step {
	return Step{fmt.Sprintf("ExpectNothing %v", patience), func(s *Script) error {
		if err := s.connected(); err != nil {
			return err
		}
		s.conn.SetReadDeadline(time.Now().Add(patience))
		p, err := s.br.Peek(1)
		if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the client closed the connection: %w", err)
		}
		return fmt.Errorf("the client sent %.200q", p)
	}}
}

// Answer sends the text as it is: a whole answer with its CRLF, a part of one,
// or several.
func Answer(text string) Step {
	return Step{fmt.Sprintf("Answer %.100q", text), func(s *Script) error {
		if err := s.connected(); err != nil {
			return err
		}
		_, err := io.WriteString(s.conn, text)
		return err
	}}
}

// AnswerConfig answers CONFIG as a server with this limit on batches does.
func AnswerConfig(maxBatchSize int64) Step {
	step := Answer(config("127.0.0.1:0", maxBatchSize, 0, false))
	step.name = fmt.Sprintf("AnswerConfig %d", maxBatchSize)
	return step
}

// Garbage sends n random bytes, the same ones for the same seed.
func Garbage(n int, seed uint64) Step {
	random := rand.New(rand.NewPCG(seed, seed))
	garbage := make([]byte, n)
	for i := range garbage {
		garbage[i] = byte(random.Uint32())
	}
	step := Answer(string(garbage))
	step.name = fmt.Sprintf("Garbage %d, seed %d", n, seed)
	return step
}

// Cut ends the connection as a server does that closes it: the client reads
// what was sent, and then the end.
func Cut() Step {
	return Step{"Cut", func(s *Script) error {
		if err := s.connected(); err != nil {
			return err
		}
		defer s.drop()
		if c, ok := s.conn.(*net.TCPConn); ok {
			// A full close would be a reset if the client has sent more than the
			// script has read. The other half is closed with the test.
			return c.CloseWrite()
		}
		return s.conn.Close()
	}}
}

// Reset ends the connection as a server does that is gone: the client may lose
// what it has not read yet.
func Reset() Step {
	return Step{"Reset", func(s *Script) error {
		if err := s.connected(); err != nil {
			return err
		}
		defer s.drop()
		switch c := s.conn.(type) {
		case *net.TCPConn:
			c.SetLinger(0)
		case *memnet.Conn:
			c.Reset()
		}
		return s.conn.Close()
	}}
}

// Refuse makes the server unreachable: connecting fails until [Listen].
// Connections that there are go on.
func Refuse() Step {
	return Step{"Refuse", func(s *Script) error {
		ln, err := s.listening()
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.listener = nil
		return ln.Close()
	}}
}

// Listen makes the server reachable again after [Refuse], at the same address.
func Listen() Step {
	return Step{"Listen", (*Script).listenAgain}
}

// Until waits for the channel to be closed, or to give a value.
func Until(c <-chan struct{}) Step {
	return Step{"Until", func(s *Script) error {
		var timeout <-chan time.Time
		if !s.patient {
			timeout = time.After(StepTimeout)
		}
		select {
		case <-c:
			return nil
		case <-s.quit:
			return errors.New("the test has ended")
		case <-timeout:
			return errors.New("what it waits for has not happened")
		}
	}}
}

// Do calls f, in the script's goroutine.
func Do(f func()) Step {
	return Step{"Do", func(s *Script) error {
		f()
		return nil
	}}
}

// request reads one request, which is to begin with prefix.
func (s *Script) request(prefix string) (r Request, err error) {
	if err := s.connected(); err != nil {
		return r, err
	}
	if r, err = readRequest(s.br); err == nil && r.Line == "CONFIG" && strings.HasPrefix(prefix, "BATCH") {
		if err := s.tellLimit(); err != nil {
			return r, err
		}
		r, err = readRequest(s.br)
	}
	return r, err
}

// tellLimit answers the CONFIG of a client that wants to know how large a batch
// may be.
func (s *Script) tellLimit() error {
	return AnswerConfig(protocol.DefaultMaxBatchSize).run(s)
}

// drop forgets the connection.
func (s *Script) drop() { s.conn, s.br = nil, nil }
