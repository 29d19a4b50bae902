package server

import (
	"runtime"
	"sync"

	"github.com/logd-dev/logd/internal/topic"
)

// gatherings commit for many connections at once. A connection that has read a batch, and
// nothing else, lends its session to the gathering of the log, and waits for the next
// request. Whoever finds nobody who leads does so: it appends what all have that are
// there, with one call, waits for the disk, and sends each its answer. So nobody is woken
// but by requests. See docs/design/small-requests.md for what that has brought.
//
// A gathering waits for no other log than its own.
type gatherings struct {
	mu    sync.Mutex
	byLog map[topic.Log]*gathering
	free  []*gathering
}

// gathering is the connections whose batches for one log are to be committed. It is
// there as long as somebody leads.
type gathering struct {
	log     topic.Gatherer
	waiting []*conn

	// The leader's; their memory is reused.
	group []*conn
	runs  []gathered
	parts []topic.Part // of runs
	lead  func()       // leads until nobody waits
}

// gathered is a run that is appended with others.
type gathered struct {
	c *conn
	r *reply
}

// gather has a connection wait for its commit. If nobody leads, the caller does, once:
// those who come meanwhile are not to keep it from its own client.
func (s *Server) gather(c *conn, log topic.Gatherer) {
	g := &s.gatherings
	g.mu.Lock()
	t, led := g.byLog[log]
	if !led {
		t = g.begin(s, log)
	}
	t.waiting = append(t.waiting, c)
	g.mu.Unlock()
	if !led && s.commitGathered(t) {
		s.group.Add(1)
		go t.lead()
	}
}

// begin makes a log's gathering. Caller holds mu.
func (g *gatherings) begin(s *Server, log topic.Gatherer) *gathering {
	var t *gathering
	if n := len(g.free); n > 0 {
		t, g.free = g.free[n-1], g.free[:n-1]
	} else {
		t = newGathering(s)
	}
	if g.byLog == nil {
		g.byLog = make(map[topic.Log]*gathering)
	}
	t.log = log
	g.byLog[log] = t
	return t
}

func newGathering(s *Server) *gathering {
	t := new(gathering)
	t.lead = func() {
		defer s.group.Done()
		for more := true; more; more = s.commitGathered(t) {
			runtime.Gosched() // whose requests have arrived comes along
		}
	}
	return t
}

// commitGathered commits for all that wait, and reports whether others wait then. If not,
// the lead has ended.
func (s *Server) commitGathered(t *gathering) (more bool) {
	g := &s.gatherings
	g.mu.Lock()
	t.group, t.waiting = t.waiting, t.group[:0]
	g.mu.Unlock()
	t.append(s)
	for i, c := range t.group {
		c.answerGathered()
		t.group[i] = nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(t.waiting) > 0 {
		return true
	}
	delete(g.byLog, t.log)
	t.log = nil
	g.free = append(g.free, t)
	return false
}

// append appends what the group has.
func (t *gathering) append(s *Server) {
	defer func() {
		if r := recover(); r != nil {
			for _, c := range t.group {
				c.abandon(r)
			}
		}
		clear(t.runs)
		clear(t.parts)
		t.runs, t.parts = t.runs[:0], t.parts[:0]
	}()
	for _, c := range t.group {
		r := c.takeRun()
		log, err := c.logFor(r)
		switch {
		case err != nil:
			c.appended(r, err)
		case log != topic.Log(t.log): // it was recalled, and another has its name
			c.append(r)
		default:
			t.runs = append(t.runs, gathered{c, r})
			t.parts = append(t.parts, topic.Part{Data: r.data, Extents: c.extents[r.from:r.to]})
		}
	}
	t.log.AppendAll(s.ctx, t.parts)
	for i, run := range t.runs {
		p := &t.parts[i]
		if run.r.appended = p.Appended; !run.c.appended(run.r, p.Err) {
			run.c.append(run.r)
		}
	}
}

// gatherer returns the log that all is for that is pending, if it is one log, is held, and
// gathers.
func (c *conn) gatherer() topic.Gatherer {
	if len(c.replies) > 0 || c.recalled() || string(c.held.topic) != string(c.run.topic) {
		return nil
	}
	if log, ok := c.held.log.(topic.Gatherer); ok && log.Gathers() {
		return log
	}
	return nil
}

// takeBack waits until a gathering that was lent the session has done with it.
func (c *conn) takeBack() {
	if c.lent {
		c.lent = false
		c.busy.Lock()
		defer c.busy.Unlock()
	}
}

// answerGathered commits what the group's connection has appended, sends the answers, and
// gives the session back.
func (c *conn) answerGathered() {
	defer c.busy.Unlock()
	defer func() {
		if r := recover(); r != nil {
			c.abandon(r)
		}
		if c.ahead != goOn {
			c.Wake()
		}
	}()
	c.commit()
	c.finish()
}

// abandon ends the connection without an answer, after a panic.
func (c *conn) abandon(r any) {
	c.srv.logPanic(c.from(), r)
	c.appends = appends{}
	c.out, c.phase, c.ahead = nil, ending, flushOut
}
