package tests

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"syscall"
)

var waitCases = []systemCase{
	{name: "waiting readers are woken", run: wokenReaders},
	{name: "waiting readers that go away", run: goneReaders},
	{name: "waits that end", run: endedWaits},
}

// waiting begins n reads that wait at the end of the topic, and returns when
// the server has them waiting.
func (s *scene) waiting(n int) (readers []*client) {
	s.Helper()
	for range n {
		c := s.dial()
		c.write("READ %s %d 100 wait=60000\r\n", s.topic, s.next())
		readers = append(readers, c)
	}
	eventually(s, fmt.Sprintf("%d readers wait", n), func() bool { return s.client.stat("reads.waiting") == int64(n) })
	return readers
}

// wokenReaders: one append wakes all who wait for it, once.
func wokenReaders(s *scene) {
	s.append("first")
	readers := s.waiting(5)
	for range 3 {
		s.append("news")
		for _, r := range readers {
			offset, got, err := r.batches()
			s.client.check(err)
			s.same("woken", got, s.stored[len(s.stored)-1:])
			r.write("READ %s %d 100 wait=60000\r\n", s.topic, got[0].end())
			if offset != got[0].offset {
				s.Errorf("the answer names %d, the batch is at %d", offset, got[0].offset)
			}
		}
	}
	// One that waits behind other requests, with others behind it.
	c := s.dial()
	c.write("PING\r\nREAD %s %d 1 wait=60000\r\nPING\r\n", s.topic, s.next())
	c.line("OK")
	eventually(s, "six readers wait", func() bool { return s.client.stat("reads.waiting") == 6 })
	s.append("for all")
	_, got, err := c.batches()
	s.client.check(err)
	s.same("in the middle of a pipeline", got, s.stored[len(s.stored)-1:])
	c.line("OK")
}

// goneReaders: a wait ends with its client, however that goes.
func goneReaders(s *scene) {
	s.append("first")
	readers := s.waiting(6)
	active := s.client.stat("conns.active")
	for i, r := range readers {
		if i%2 == 0 {
			r.tcp.SetLinger(0) // a reset, as of a client that was killed
		}
		r.close()
	}
	eventually(s, "nobody waits", func() bool { return s.client.stat("reads.waiting") == 0 })
	eventually(s, "their connections are gone", func() bool { return s.client.stat("conns.active") == active-6 })
	// And over HTTP.
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() {
		_, _, err := do(ctx, http.MethodPost, "http://"+s.server.http+"/log", protocolType,
			fmt.Sprintf("READ %s %d 1 wait=60000\r\n", s.topic, s.next()))
		done <- err
	}()
	eventually(s, "a reader waits", func() bool { return s.client.stat("reads.waiting") == 1 })
	cancel()
	if err := <-done; err == nil {
		s.Error("a request that was called off is answered")
	}
	eventually(s, "nobody waits", func() bool { return s.client.stat("reads.waiting") == 0 })
	s.append("second")
	s.verify(0)
}

// endedWaits: a wait ends in time, and at once where it is 0.
func endedWaits(s *scene) {
	s.append("first")
	for _, wait := range []int{0, 1, 20} {
		if got := s.client.read(s.topic, s.next(), 1, fmt.Sprintf("wait=%d", wait)); len(got) != 0 {
			s.Errorf("wait=%d at the end gives %d batches", wait, len(got))
		}
	}
	// There is nothing to wait for where something is stored.
	s.same("wait= before the end", s.client.read(s.topic, 0, 5, "wait=60000"), s.stored)
	s.client.write("TAIL %s 5 wait=60000\r\n", s.topic)
	_, got, err := s.client.batches()
	s.client.check(err)
	s.same("TAIL", got, s.stored)
}

var shutdownCases = []systemCase{
	{name: "SIGTERM while readers wait", run: terminateWaiting},
	{name: "SIGTERM under load", run: terminateLoad},
}

// terminateWaiting: readers that wait are answered, and the server ends at
// once.
func terminateWaiting(s *scene) {
	s.append("first")
	readers := s.waiting(4)
	type posted struct {
		status int
		answer string
		err    error
	}
	overHTTP := make(chan posted, 3)
	for range cap(overHTTP) {
		go func() {
			status, answer, err := do(s.Context(), http.MethodPost, "http://"+s.server.http+"/log", protocolType,
				fmt.Sprintf("READ %s %d 1 wait=60000\r\n", s.topic, s.next()))
			overHTTP <- posted{status, answer, err}
		}()
	}
	eventually(s, "all wait", func() bool { return s.client.stat("reads.waiting") == int64(len(readers)+cap(overHTTP)) })
	s.server.signal(syscall.SIGTERM)
	for _, r := range readers {
		r.line(fmt.Sprintf("OK %d 0", s.next()))
		r.closed()
	}
	for range cap(overHTTP) {
		if p := <-overHTTP; p.err != nil || p.status != 200 || p.answer != fmt.Sprintf("OK %d 0\r\n", s.next()) {
			s.Errorf("a reader that waits over HTTP is answered %d %q, %v", p.status, p.answer, p.err)
		}
	}
	if code := s.server.wait(); code != 0 {
		s.Errorf("exit code %d, want 0", code)
	}
	s.begin()
	s.verify(0)
}

// terminateLoad: while writers write and readers follow, the server ends in
// order. What it acknowledged is stored, and readers have seen no half answer.
func terminateLoad(s *scene) {
	l := newLoad(s.server.addr, s.topic, 4)
	l.awaitAcks(s, 200)
	var group sync.WaitGroup
	followed := make([][]batch, 3)
	errs := make([]error, len(followed))
	for i := range followed {
		group.Go(func() { followed[i], errs[i] = follow(s.server.addr, s.topic) })
	}
	l.awaitAcks(s, 1000)
	s.server.signal(syscall.SIGTERM)
	if code := s.server.wait(); code != 0 {
		s.Errorf("exit code %d, want 0\n%s", code, s.server.log.tail())
	}
	l.wait()
	group.Wait()
	s.begin()
	stored := s.client.all(s.topic, 0)
	for _, problem := range l.check(stored) {
		s.Error(problem)
	}
	for i := range followed {
		if errs[i] != nil {
			s.Errorf("reader %d: %v", i, errs[i])
		}
		if len(followed[i]) > len(stored) {
			s.Fatalf("reader %d has seen %d batches, %d are stored", i, len(followed[i]), len(stored))
		}
		s.same("what a reader has seen", followed[i], stored[:len(followed[i])])
	}
}
