package server

import (
	"context"
	"errors"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// Responder takes the answer to a request: one of its methods is called, once.
// None is called if all that could be said of a batch is that it may be stored or
// not.
type Responder interface {
	// OK is the answer to a request that asks for nothing back.
	OK()
	// Offset names an offset. It is also the answer to a BATCH, with 1, and to a
	// read that has waited in vain, with 0.
	Offset(offset, batches int64)
	// Body is the answer that is text. The responder may keep it.
	Body(body []byte)
	// Batches is the answer to a read that found some. The responder closes v.
	Batches(v topic.View)
	// Error says why the request was refused.
	Error(err *protocol.Error)
}

// Knower is a Responder to one request that wants to know of a numbered batch that it was
// stored before: Known is called before Offset then.
type Knower interface{ Known() }

// caller is one who makes requests, whatever way they come by. It is for one
// goroutine at a time.
type caller struct {
	srv    *Server
	ctx    context.Context // bounds what is done for requests
	remote interface{ String() string }
	access
	appends
	reading reading
	codecs  batch.Codecs // in which batches may be sent to it
	last    lastLimits
	claim   claim // what the request that is begun has taken of quotas
	meter   meter
	delay   reprieve // of the answer to a wrong token
	tries   int      // wrong tokens so far
	bare    bool     // what it sends can be read on the way, where others speak TLS
}

// reading is a READ or TAIL that is under way.
type reading struct {
	req    protocol.Request
	log    topic.Log
	offset int64
	until  time.Time // zero until it has begun to wait
	beyond error     // the answer if it waits in vain for an offset that others may have; else nil
}

// outcome is what dispatch has come to.
type outcome uint8

const (
	answered outcome = iota
	closes           // answered, and the protocol closes the connection
	doubted          // not answered, as nobody knows what has come of it: the connection is closed
	late             // ErrUnauthorized is the answer, after a while: see reprieve
	waits            // a read is at the end of its log; resume or giveUp goes on
)

func (s *Server) newCaller(remote interface{ String() string }) caller {
	return caller{srv: s, ctx: s.ctx, remote: remote, access: access{doors: &s.doors}}
}

// from returns where requests come from, for the log.
func (c *caller) from() string {
	if c.remote == nil {
		return ""
	}
	return c.remote.String()
}

// dispatch does what a request asks for that is no BATCH, and gives the answer.
// perr is what ParseRequest said of it. Nothing is pending.
func (c *caller) dispatch(req *protocol.Request, perr error, to Responder) outcome {
	c.srv.counters.requests[req.Command].Add(1)
	if perr == nil && (req.Command == protocol.Read || req.Command == protocol.Tail) && (req.Messages < 1 || req.Messages > c.srv.settings.Load().MaxMessages) {
		perr = protocol.ErrInvalidRequest
	}
	if perr == nil && req.Command == protocol.Create && batch.Own(req.Topic) {
		perr = protocol.ErrInvalidRequest // only the server itself makes these
	}
	if perr != nil {
		return c.refuseRequest(req, perr, to)
	}
	if req.Command == protocol.Auth {
		return c.authenticate(req, to)
	}
	if c.share != nil && isMetered(req.Command) {
		to = c.metered(to)
	}
	// That a topic is there, CREATE must not say by what was so a while ago.
	if (req.Fresh || req.Command == protocol.Create) && c.may(req.Command, req.Topic) { // else lookup refuses it
		if err := c.freshFor(req); err != nil {
			return c.refuseRequest(req, err, to)
		}
	}
	f, err := c.lookup(c.ctx, req.Command, req.Topic)
	if errors.Is(err, topic.ErrNotFound) && !req.Fresh {
		// Who leads may have been replaced, and not know it yet.
		if err = c.freshFor(req); err == nil {
			f, err = c.lookup(c.ctx, req.Command, req.Topic)
		}
	}
	if err != nil {
		if _, elsewhere := errors.AsType[*topic.NotLeaderError](err); elsewhere && req.Fresh {
			err = protocol.ErrNotFound // what there is, is known here
		}
		return c.refuseRequest(req, err, to)
	}
	switch req.Command {
	case protocol.Read, protocol.Tail:
		return c.beginRead(req, f.log, to)
	case protocol.Seek:
		err = seek(f.log, req, to)
	case protocol.Times:
		err = times(f.log, req, to)
	case protocol.Info:
		err = c.info(req.Topic, req.All, &f, to)
	case protocol.Hooks:
		hooks(f.hooks, c.administers, to)
	case protocol.Hook:
		err = hook(f.hooks, req, to)
	case protocol.Delete:
		err = c.delete(f.catalog, req, to)
	case protocol.Trim:
		err = c.trim(f.log, req, to)
	case protocol.Retention:
		retention(f.log, req, to)
	case protocol.Create:
		to.OK()
	case protocol.Config:
		to.Body(c.srv.configBody())
	case protocol.Stats:
		to.Body(protocol.AppendFields(nil, c.srv.statsFields(f.catalog.Counts())))
	case protocol.Topics:
		to.Body(protocol.AppendTopics(nil, c.visible(public(f.catalog.Topics()))))
	case protocol.Cluster:
		err = members(f.cluster, to)
	case protocol.Groups:
		err = groups(f.cluster, to)
	case protocol.Set:
		if len(req.Topic) > 0 {
			err = c.setTopics(f.topicSettings, f.catalog, req, to)
			break
		}
		err = c.changeCluster(f.cluster, req, to)
	case protocol.Transfer, protocol.Drain, protocol.Leave, protocol.Replace:
		err = c.changeCluster(f.cluster, req, to)
	case protocol.Hello:
		c.hello(req, f.cluster, to)
	case protocol.Position:
		err = c.position(f.positions, req, to)
	case protocol.Positions:
		err = c.listPositions(f.positions, req, to)
	case protocol.Help:
		to.Body(protocol.AppendHelp(nil))
	case protocol.Ping:
		to.OK()
	case protocol.Close:
		to.OK()
		return closes
	}
	if errors.Is(err, topic.ErrInDoubt) && req.Command == protocol.Position {
		c.srv.log.Debug("connection is closed without an answer", "remote", c.from(), "err", err)
		return doubted
	}
	if err != nil {
		return c.refuseRequest(req, err, to)
	}
	c.administered(req)
	return answered
}

// refuseRequest gives the answer to a request that err keeps from being done.
func (c *caller) refuseRequest(req *protocol.Request, err error, to Responder) outcome {
	perr := c.answerTo(err, req.Command.String(), req.Topic)
	if perr == protocol.ErrUnauthorized {
		c.denied(req)
	}
	c.refuse(to, req.Command, req.Topic, perr)
	if perr.Closes {
		return closes
	}
	return answered
}

func seek(log topic.Log, req *protocol.Request, to Responder) error {
	offset, err := log.Seek(time.UnixMilli(req.Millis))
	if err == nil {
		to.Offset(offset, 0)
	}
	return err
}

func times(log topic.Log, req *protocol.Request, to Responder) error {
	marks, err := log.Times(req.Offset, req.To, protocol.MaxTimes)
	if err != nil {
		return err
	}
	var b []byte
	for _, m := range marks {
		b = protocol.AppendTime(b, protocol.TimeMark(m))
	}
	to.Body(b)
	return nil
}

func (c *caller) info(name []byte, all bool, f *found, to Responder) error {
	in := f.broken
	if in == nil {
		got, err := f.log.Info(c.ctx)
		if err != nil {
			return err
		}
		in = &got
	}
	body := infoBody(in)
	if c.topicSettings != nil && !batch.Own(name) {
		body.Settings = c.topicSettings.Of(name, all)
		s := c.srv.settings.Load()
		if most := s.limitsOf(name).MaxBatchSize; most < s.MaxBatchSize {
			body.MaxBatchSize = most
		}
	}
	to.Body(protocol.AppendInfo(nil, body))
	return nil
}

// infoBody returns the body of INFO.
func infoBody(in *topic.Info) *protocol.TopicInfo {
	w := &protocol.TopicInfo{
		Oldest: in.Oldest, Next: in.Next, Partitions: int64(in.Partitions), Bytes: in.Bytes,
		Messages: in.Messages, Batches: in.Batches, OldestTime: in.OldestTime, NewestTime: in.NewestTime,
		ID: in.ID, State: protocol.Writable, Synced: in.Synced,
		Damaged: in.Damaged, DamagedAt: in.DamagedAt, DamagedIn: in.DamagedIn, Codecs: in.Codecs,
		Role: protocol.Role(in.Role), Group: in.Group, Leader: in.Leader, Term: in.Term,
	}
	if in.Role == "" {
		w.Role = protocol.Single
	}
	if in.ReadOnly != nil {
		w.State = protocol.ReadOnly(inWords(in.ReadOnly))
	}
	return w
}

// beginRead begins a READ or TAIL.
func (c *caller) beginRead(req *protocol.Request, log topic.Log, to Responder) outcome {
	c.reading = reading{req: *req, log: log, offset: req.Offset}
	c.reading.req.Topic = c.held.topic // the line may be gone when a wait is over
	if req.Command == protocol.Tail {
		c.reading.offset = log.Oldest()
	}
	return c.tryRead(to)
}

// tryRead answers the read that is under way, if it need not wait.
func (c *caller) tryRead(to Responder) outcome {
	r := &c.reading
	for {
		v, err := r.find()
		if err == nil {
			if err = topic.Accept(v, c.codecs); err == nil {
				to.Batches(v)
				return answered
			}
			v.Close()
		}
		r.beyond = nil
		if e, ok := errors.AsType[*topic.NotLeaderError](err); ok && e.Beyond {
			switch {
			case r.req.Fresh:
				err = protocol.ErrNotFound
			case !e.Leads:
				r.beyond = err
			default: // it may have been replaced, and not know it yet
				if err = c.freshFor(&r.req); err == nil {
					r.req.Fresh = true
					continue
				}
			}
		}
		switch {
		case (r.beyond != nil || errors.Is(err, topic.ErrEnd)) && r.req.Waits:
			if r.until.IsZero() {
				r.until = time.Now().Add(r.req.Wait)
			}
			if time.Now().Before(r.until) {
				return waits
			}
			return c.giveUp(to)
		case errors.Is(err, topic.ErrEnd):
			err = protocol.ErrNotFound
		case r.req.Command == protocol.Tail && errors.Is(err, topic.ErrNotFound) && r.log.Oldest() > r.offset:
			r.offset = r.log.Oldest() // retention was faster
			continue
		}
		return c.refuseRequest(&r.req, err, to)
	}
}

func (r *reading) find() (topic.View, error) {
	if r.req.Verify {
		return r.log.Verify(r.offset, r.req.Messages, r.req.MaxBytes)
	}
	return r.log.Read(r.offset, r.req.Messages, r.req.MaxBytes)
}

// resume goes on with a read that waits: its log has grown, its time is over, or
// it has to give its log back. Of a topic that was deleted meanwhile it reads
// nothing, also if there is another of its name.
func (c *caller) resume(to Responder) outcome {
	r := &c.reading
	if c.share != nil {
		to = c.metered(to)
	}
	if c.recalled() {
		f, err := c.lookup(c.ctx, r.req.Command, r.req.Topic)
		if err == nil && f.log != r.log {
			err = topic.ErrDeleted
		}
		if err != nil {
			return c.refuseRequest(&r.req, err, to)
		}
	}
	return c.tryRead(to)
}

// giveUp answers a read that waits with no batches, or that others may have some.
func (c *caller) giveUp(to Responder) outcome {
	if err := c.reading.beyond; err != nil {
		return c.refuseRequest(&c.reading.req, err, to)
	}
	to.Offset(c.reading.offset, 0)
	return answered
}

// watch has w woken when the read that waits can be resumed, and reports false if
// it can at once. What it asks for ends with unwatch.
func (c *caller) watch(w topic.Waker) bool {
	return !c.recalled() && c.reading.log.Watch(c.reading.offset, w)
}

func (c *caller) unwatch(w topic.Waker) { c.reading.log.Unwatch(w) }
