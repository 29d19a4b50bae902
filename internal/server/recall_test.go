package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/topic/topictest"
)

// fickleStore changes its mind about what a look-up comes to.
type fickleStore struct {
	*topictest.Memory
	lookups atomic.Int64
	refuses atomic.Pointer[protocol.Error]
	other   atomic.Pointer[topictest.Memory] // that has the logs instead
}

func (s *fickleStore) find(find func(*topictest.Memory) (topic.Log, error)) (topic.Log, error) {
	s.lookups.Add(1)
	if err := s.refuses.Load(); err != nil {
		return nil, err
	}
	if other := s.other.Load(); other != nil {
		return find(other)
	}
	return find(s.Memory)
}

func (s *fickleStore) Log(name []byte) (topic.Log, error) {
	return s.find(func(m *topictest.Memory) (topic.Log, error) { return m.Log(name) })
}

func (s *fickleStore) Create(ctx context.Context, name []byte) (topic.Log, error) {
	return s.find(func(m *topictest.Memory) (topic.Log, error) { return m.Create(ctx, name) })
}

// TestRecall: connections give back the logs that they hold when they are told
// to. Each way of using one is the control of itself before that: it goes on with
// the log that it has. For want of a right that is withdrawn and of leadership that
// is lost the store refuses.
func TestRecall(t *testing.T) {
	b := testkit.Batch("t", "one")
	atEnd := fmt.Sprintf("READ t %d 1 wait=3600000\r\n", len(b))
	for _, refusal := range []*protocol.Error{protocol.ErrUnauthorized, protocol.ErrNotLeader} {
		store := &fickleStore{Memory: topictest.NewMemory()}
		inBubble(t, server.Options{Store: store}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
			c, waiting, another, idle := connect(t, s), connect(t, s), connect(t, s), connect(t, s)
			c.ask(b, "OK 0 1")
			waiting.send(atEnd)
			another.send(atEnd)
			idle.ask("INFO nothing\r\n", "ERR not found")
			wantWatching(t, s, store.Memory, 2)
			lookups := store.lookups.Load()

			store.refuses.Store(refusal)
			read := "OK 0 1\r\n" + b
			for range 10 {
				c.send("READ t 0 1\r\n")
				c.want(read)
			}
			wantWatching(t, s, store.Memory, 2)
			if n := store.lookups.Load() - lookups; n != 0 {
				t.Errorf("%d look-ups for a log that is held", n)
			}

			began := time.Now()
			s.Recall()
			refused := "ERR " + refusal.Reason
			waiting.want(refused + "\r\n")
			another.want(refused + "\r\n")
			if took := time.Since(began); took != 0 {
				t.Errorf("waiting reads ended after %v", took)
			}
			wantWatching(t, s, store.Memory, 0)
			go c.nc.Write([]byte(b + "READ t 0 1\r\nSEEK t 0\r\nTIMES t 0 1\r\nINFO t\r\nTRIM t 0\r\nRETENTION t\r\nTAIL t 1\r\nPING\r\n"))
			c.want(strings.Repeat(refused+"\r\n", 8) + "OK\r\n")
			if n := length(store.Memory, "t"); n != len(b) {
				t.Errorf("%d bytes are stored, want %d", n, len(b))
			}

			// What is given back can be had again, and no connection was lost.
			store.refuses.Store(nil)
			s.Recall()
			c.send("READ t 0 1\r\n")
			c.want(read)
			waiting.ask("PING\r\n", "OK")
			idle.ask("PING\r\n", "OK")
		})
	}
}

// TestRecallOfNothing: if the look-up comes to the same log, a read waits on as
// if nothing had been, and its time goes on.
func TestRecallOfNothing(t *testing.T) {
	store := topictest.NewMemory()
	inBubble(t, server.Options{Store: store}, func(t *testing.T, s *server.Server, store *topictest.Memory) {
		b := testkit.Batch("t", "one")
		atEnd := fmt.Sprintf("READ t %d 1 wait=60000\r\n", len(b))
		w, waiting, another, late := connect(t, s), connect(t, s), connect(t, s), connect(t, s)
		w.ask(b, "OK 0 1")
		began := time.Now()
		late.send(fmt.Sprintf("READ t %d 1 wait=60000\r\n", 2*len(b)))
		late.want("ERR not found\r\n") // beyond the end
		late.send("PIN")               // the half of a request
		waiting.send(atEnd)
		another.send(atEnd)
		for range 5 {
			time.Sleep(time.Second)
			s.Recall()
			wantWatching(t, s, store, 2)
		}
		late.ask("G\r\n", "OK")
		time.Sleep(time.Second)
		w.ask(b, fmt.Sprintf("OK %d 1", len(b)))
		found := fmt.Sprintf("OK %d 1\r\n%s", len(b), b)
		waiting.want(found)
		another.want(found)
		waiting.send(strings.Replace(atEnd, fmt.Sprint(len(b)), fmt.Sprint(2*len(b)), 1))
		time.Sleep(30 * time.Second)
		s.Recall()
		waiting.want(fmt.Sprintf("OK %d 0\r\n", 2*len(b)))
		if took := time.Since(began); took != 66*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestRecallOfAnotherLog: a read that waits does not go on in another log of the
// topic's name.
func TestRecallOfAnotherLog(t *testing.T) {
	store := &fickleStore{Memory: topictest.NewMemory()}
	inBubble(t, server.Options{Store: store}, func(t *testing.T, s *server.Server, _ *topictest.Memory) {
		b := testkit.Batch("t", "one")
		c, waiting := connect(t, s), connect(t, s)
		c.ask(b, "OK 0 1")
		waiting.send(fmt.Sprintf("READ t %d 1 wait=3600000\r\nREAD t %d 1\r\n", len(b), len(b)))
		wantWatching(t, s, store.Memory, 1)
		store.other.Store(topictest.NewMemory())
		connect(t, s).ask(b, "OK 0 1")
		connect(t, s).ask(b, fmt.Sprintf("OK %d 1", len(b)))
		s.Recall()
		waiting.want(fmt.Sprintf("ERR not found\r\nOK %d 1\r\n%s", len(b), b))
	})
}
