package logdtest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// StepTimeout is how long a [Script] is patient with one step. A step that
// takes longer fails the test: it has come to nothing.
const StepTimeout = 10 * time.Second

// Script is a server that does what a test tells it, step by step: it expects
// these requests, gives these answers, is late, cuts and resets connections,
// sends garbage, is not there, and comes back at the same address. It knows
// nothing of logs.
//
//	s := logdtest.NewScript(t)
//	s.Play(
//		logdtest.Accept(),
//		logdtest.Expect("BATCH"), logdtest.Answer("OK 0 1\r\n"),
//		logdtest.Expect("BATCH"), logdtest.Answer("OK 4"), logdtest.Reset(),
//	)
//	client, err := logd.Dial(ctx, logd.ClientConfig{Addrs: []string{s.Addr()}})
//
// Steps are played in order, in the background. A test that wants something
// between two of them calls [Script.Wait] and then Play again: this is also
// how an answer is delayed, for exactly as long as the test needs.
//
// A step that does not come to pass fails the test, naming its number and what
// it was, ends the script and closes the connections, so that nobody waits for
// them. The test's end waits for the steps that are left.
type Script struct {
	t    testing.TB
	addr string

	mu       sync.Mutex
	steps    []Step
	played   int
	failed   bool
	closed   bool          // no more steps will come
	changed  chan struct{} // closed and replaced when one of the above changes
	listener *net.TCPListener
	conns    []net.Conn
	quit     chan struct{} // closed by close

	// The player's own.
	conn net.Conn
	br   *bufio.Reader
	done chan struct{}
}

// NewScript returns a Script that listens at a free port of 127.0.0.1. Clients
// can connect from now on, and wait for the script's [Accept].
func NewScript(t testing.TB) *Script {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatalf("logdtest: %v", err)
	}
	s := &Script{
		t: t, addr: ln.Addr().String(), listener: ln,
		changed: make(chan struct{}), done: make(chan struct{}), quit: make(chan struct{}),
	}
	go s.play()
	t.Cleanup(s.end)
	return s
}

// Addr returns the HOST:PORT where the script is played. It stays the same.
func (s *Script) Addr() string { return s.addr }

// Play adds steps to the script and returns at once.
func (s *Script) Play(steps ...Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, steps...)
	s.changedLocked()
}

// Wait returns when all steps have been played, and ends the test if one has
// failed.
func (s *Script) Wait() {
	s.t.Helper()
	s.mu.Lock()
	for s.played < len(s.steps) && !s.failed {
		changed := s.changed
		s.mu.Unlock()
		<-changed
		s.mu.Lock()
	}
	failed := s.failed
	s.mu.Unlock()
	if failed {
		s.t.FailNow()
	}
}

func (s *Script) changedLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// play is the player: it plays the steps until the end of the test.
func (s *Script) play() {
	defer close(s.done)
	for {
		step, number, ok := s.next()
		if !ok {
			return
		}
		err := step.run(s)
		s.mu.Lock()
		s.played++
		s.failed = err != nil
		s.changedLocked()
		s.mu.Unlock()
		if err != nil {
			select {
			case <-s.quit: // the test has failed already, and this is of it
			default:
				s.t.Errorf("logdtest: step %d, %s: %v", number, step.name, err)
				s.close()
			}
			return
		}
	}
}

// next waits for the next step.
func (s *Script) next() (step Step, number int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.played == len(s.steps) {
		if s.closed {
			return Step{}, 0, false
		}
		changed := s.changed
		s.mu.Unlock()
		<-changed
		s.mu.Lock()
	}
	return s.steps[s.played], s.played + 1, true
}

// end waits for the last step and closes everything. A test that has failed
// already does not wait.
func (s *Script) end() {
	s.mu.Lock()
	s.closed = true
	s.changedLocked()
	s.mu.Unlock()
	if s.t.Failed() {
		s.close()
	}
	<-s.done
	s.close()
}

// close closes everything, and ends the step that is being played.
func (s *Script) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.quit:
	default:
		close(s.quit)
	}
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
	}
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

// listening returns the listener, or an error if there is none.
func (s *Script) listening() (*net.TCPListener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil, errors.New("the server does not listen")
	}
	return s.listener, nil
}

// listen takes the address again.
func (s *Script) listen() error {
	if _, err := s.listening(); err == nil {
		return errors.New("the server listens already")
	}
	addr, err := net.ResolveTCPAddr("tcp", s.addr)
	if err != nil {
		return err
	}
	ln, err := net.ListenTCP("tcp", addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = ln
	return nil
}

// connected returns an error if there is no connection to play on.
func (s *Script) connected() error {
	if s.conn == nil {
		return errors.New("there is no connection: no Accept before, or cut since")
	}
	return s.conn.SetDeadline(time.Now().Add(StepTimeout))
}

// line reads one line, and returns it without its end.
func (s *Script) line() (string, error) {
	line, err := s.br.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the client sent %q and then: %w", line, err)
	}
	rest, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return "", fmt.Errorf("the client sent %q, which does not end with CRLF", line)
	}
	return rest, nil
}
