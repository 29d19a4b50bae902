package logd

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/logdtest/script"
)

// flushingServer is a script of a server whose setting can change.
type flushingServer struct {
	mu           sync.Mutex
	flushBatches int64
	stored       []string
	peers        []*script.Peer
}

func (s *flushingServer) serve(p *script.Peer) {
	s.mu.Lock()
	s.peers = append(s.peers, p)
	s.mu.Unlock()
	for {
		r, ok := p.Request()
		if !ok {
			return
		}
		s.mu.Lock()
		answer := "OK\r\n"
		switch {
		case r.IsBatch():
			s.stored = append(s.stored, r.Messages()...)
			answer = "OK 0 1\r\n"
		case r.Line == "CONFIG":
			answer = string(protocol.AppendBody(nil, protocol.AppendSettings(nil, &protocol.Settings{
				Host: fakeAddr, MaxBatchSize: DefaultMaxBatchSize, FlushBatches: s.flushBatches,
			})))
		}
		s.mu.Unlock()
		if !p.Answer("%s", answer) {
			return
		}
	}
}

// restart ends all connections. The server comes back with another setting.
func (s *flushingServer) restart(flushBatches int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushBatches = flushBatches
	for _, p := range s.peers {
		p.Close()
	}
	s.peers = nil
}

func (s *flushingServer) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.stored, " ")
}

// With RequireSync nothing is sent to a server that does not sync first, also if
// another call has connected to it. The control is a Writer without it.
func TestWriterRequiresSync(t *testing.T) {
	for _, require := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := &flushingServer{flushBatches: 1}
			_, ccfg := fake(t, s.serve)
			w := openWriter(t, ccfg, WriterConfig{RequireSync: require})
			write(t, w, "a")
			flush(t, w)

			s.restart(0)
			synctest.Wait()
			if err := w.client.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			write(t, w, "b")
			time.Sleep(time.Second)
			if got := s.all(); (got == "a") != require || errors.Is(w.Err(), ErrNotSynced) != require {
				t.Errorf("RequireSync %v: stored %q, %v", require, got, w.Err())
			}

			s.restart(1)
			time.Sleep(time.Minute)
			if got := s.all(); got != "a b" || w.State() != StateConnected {
				t.Errorf("RequireSync %v: stored %q, %v", require, got, w.State())
			}
		})
	}
}

func TestNewWriterRequiresSync(t *testing.T) {
	for flushBatches, want := range map[int64]error{0: ErrNotSynced, 1: nil, 2: ErrNotSynced} {
		s := &flushingServer{flushBatches: flushBatches}
		_, ccfg := fake(t, s.serve)
		w, err := NewWriter(t.Context(), dialTest(t, ccfg), "t", WriterConfig{RequireSync: true})
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("FlushBatches %d: %v", flushBatches, err)
		}
		if err == nil {
			w.Close()
		}
	}
}
