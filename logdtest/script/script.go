// Package script has servers that do what a test says, for tests of what a
// program does when things go wrong: answers that are late, cut in the middle,
// garbage, or that do not come. They know nothing of logs; package logdtest has a
// server that does.
//
// A [Script] plays steps, one after another: it is for what happens in order. A
// function for [Serve] is called for each connection, with a [Peer] to talk to:
// it is for what happens at once. A [Log] takes batches as a server does, and asks
// the test what to answer.
//
// A Script has a port of 127.0.0.1, or is on a [memnet.Network], as the others
// are: that works in a bubble of package testing/synctest.
package script

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd/logdtest/memnet"
)

// StepTimeout is how long a [Script] at a port is patient with one step. A step
// that takes longer fails the test: it has come to nothing. On a network in memory
// there is no such limit: in a bubble, a test in which nothing can happen any more
// fails by itself.
const StepTimeout = 10 * time.Second

// Script is a server that does what a test tells it, step by step: it expects
// these requests, gives these answers, is late, cuts and resets connections,
// sends garbage, is not there, and comes back at the same address.
//
//	s := script.New(t)
//	s.Play(
//		script.Accept(),
//		script.Expect("BATCH"), script.Answer("OK 0 1\r\n"),
//		script.Expect("BATCH"), script.Answer("OK 4"), script.Reset(),
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
	t       testing.TB
	addr    string
	listen  func(addr string) (net.Listener, error)
	patient bool // however long a step takes

	mu       sync.Mutex
	steps    []Step
	played   int
	failed   bool
	closed   bool          // no more steps will come
	changed  chan struct{} // closed and replaced when one of the above changes
	listener net.Listener
	conns    []net.Conn
	quit     chan struct{} // closed by close

	// The player's own.
	conn net.Conn
	br   *bufio.Reader
	done chan struct{}
}

// New returns a Script that listens at a free port of 127.0.0.1. Clients can
// connect from now on, and wait for the script's [Accept].
func New(t testing.TB) *Script {
	t.Helper()
	return start(t, "127.0.0.1:0", &Script{listen: func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }})
}

// On returns a Script that listens at an address of a network in memory.
func On(t testing.TB, network *memnet.Network, addr string) *Script {
	t.Helper()
	return start(t, addr, &Script{listen: network.Listen, patient: true})
}

func start(t testing.TB, addr string, s *Script) *Script {
	t.Helper()
	ln, err := s.listen(addr)
	if err != nil {
		t.Fatalf("script: %v", err)
	}
	s.t, s.addr, s.listener = t, ln.Addr().String(), ln
	s.changed, s.done, s.quit = make(chan struct{}), make(chan struct{}), make(chan struct{})
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
				s.t.Errorf("script: step %d, %s: %v", number, step.name, err)
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
func (s *Script) listening() (net.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil, errors.New("the server does not listen")
	}
	return s.listener, nil
}

// listenAgain takes the address again.
func (s *Script) listenAgain() error {
	if _, err := s.listening(); err == nil {
		return errors.New("the server listens already")
	}
	ln, err := s.listen(s.addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = ln
	return nil
}

// patience returns when a step that begins now has taken too long.
func (s *Script) patience() time.Time {
	if s.patient {
		return time.Time{}
	}
	return time.Now().Add(StepTimeout)
}

// connected returns an error if there is no connection to play on.
func (s *Script) connected() error {
	if s.conn == nil {
		return errors.New("there is no connection: no Accept before, or cut since")
	}
	return s.conn.SetDeadline(s.patience())
}
