package server

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// handle answers a request that is no BATCH. Nothing is left to settle before
// it.
func (c *conn) handle(req *protocol.Request) error {
	switch req.Command {
	case protocol.Read, protocol.Tail:
		return c.readBatches(req)
	case protocol.Seek:
		return c.seek(req)
	case protocol.Times:
		return c.times(req)
	case protocol.Info:
		return c.info(req)
	case protocol.Hooks:
		c.hooks()
	case protocol.Hook:
		return c.hook(req)
	case protocol.Delete:
		return c.delete(req)
	case protocol.Trim:
		return c.trim(req)
	case protocol.Retention:
		return c.retention(req)
	case protocol.Config:
		c.body(protocol.AppendSettings(nil, c.srv.settings()))
	case protocol.Stats:
		c.body(protocol.AppendFields(nil, c.srv.statsFields()))
	case protocol.Topics:
		c.body(protocol.AppendTopics(nil, c.srv.store.Topics()))
	case protocol.Help:
		c.body(protocol.AppendHelp(nil))
	case protocol.Ping:
		c.out.pending = protocol.AppendOK(c.out.pending)
	case protocol.Close:
		c.out.pending = protocol.AppendOK(c.out.pending)
		return errHangUp
	}
	return nil
}

func (c *conn) body(b []byte) { c.out.pending = protocol.AppendBody(c.out.pending, b) }

// refuse answers a request with an error, and ends the connection if the
// protocol says so.
func (c *conn) refuse(cmd protocol.Command, err error) error {
	perr := c.answer(err, cmd.String(), c.req.Topic)
	c.out.pending = c.appendError(c.out.pending, cmd, perr)
	if perr.Closes {
		return errHangUp
	}
	return nil
}

func (c *conn) seek(req *protocol.Request) error {
	log, err := c.lookup(req.Topic, false)
	if err != nil {
		return c.refuse(req.Command, err)
	}
	offset, err := log.Seek(time.UnixMilli(req.Millis))
	if err != nil {
		return c.refuse(req.Command, err)
	}
	c.out.pending = protocol.AppendOffset(c.out.pending, offset, 0)
	return nil
}

func (c *conn) times(req *protocol.Request) error {
	log, err := c.lookup(req.Topic, false)
	if err != nil {
		return c.refuse(req.Command, err)
	}
	marks, err := log.Times(req.Offset, req.To, protocol.MaxTimes)
	if err != nil {
		return c.refuse(req.Command, err)
	}
	var b []byte
	for _, m := range marks {
		b = protocol.AppendTime(b, protocol.TimeMark(m))
	}
	c.body(b)
	return nil
}

func (c *conn) info(req *protocol.Request) error {
	var in topic.Info
	log, err := c.lookup(req.Topic, false)
	if err == nil {
		in, err = log.Info(c.ctx)
	} else if broken, ok := c.srv.store.BrokenInfo(string(req.Topic)); ok {
		in, err = broken, nil
	}
	if err != nil {
		return c.refuse(req.Command, err)
	}
	c.body(protocol.AppendInfo(nil, infoBody(&in)))
	return nil
}

// infoBody returns the body of INFO.
func infoBody(in *topic.Info) *protocol.TopicInfo {
	w := &protocol.TopicInfo{
		Oldest: in.Oldest, Next: in.Next, Partitions: int64(in.Partitions), Bytes: in.Bytes,
		Messages: in.Messages, Batches: in.Batches, OldestTime: in.OldestTime, NewestTime: in.NewestTime,
		ID: in.ID, State: protocol.Writable, Synced: in.Synced,
		Damaged: in.Damaged, DamagedAt: in.DamagedAt, DamagedIn: in.DamagedIn,
	}
	if in.ReadOnly != nil {
		w.State = protocol.ReadOnly(inWords(in.ReadOnly))
	}
	return w
}

// settings returns the body of CONFIG.
func (s *Server) settings() *protocol.Settings {
	settings := s.o.Settings
	settings.Host = s.address()
	settings.Timeout, settings.IdleTimeout = s.o.Timeout, s.o.IdleTimeout
	settings.MaxBatchSize, settings.MaxMessages = s.o.MaxBatchSize, s.o.MaxMessages
	return &settings
}

// readBatches answers READ and TAIL.
func (c *conn) readBatches(req *protocol.Request) error {
	if req.Messages < 1 || req.Messages > c.srv.o.MaxMessages {
		return c.refuse(req.Command, protocol.ErrInvalidRequest)
	}
	log, err := c.lookup(req.Topic, false)
	if err != nil {
		return c.refuse(req.Command, err)
	}
	req.Topic = c.topic // the line may be gone when a wait is over
	offset := req.Offset
	if req.Command == protocol.Tail {
		offset = log.Oldest()
	}
	var until time.Time
	for {
		v, err := read(log, offset, req)
		if err == nil {
			return c.sendBatches(v)
		}
		switch {
		case errors.Is(err, topic.ErrEnd) && req.Waits:
			if until.IsZero() {
				until = time.Now().Add(req.Wait)
			}
			if time.Now().Before(until) {
				grown, err := c.waitToGrow(log, offset, until)
				if err == protocol.ErrBusy {
					return c.refuse(req.Command, err)
				}
				if err != nil {
					return err
				}
				if grown {
					continue
				}
			}
			c.out.pending = protocol.AppendOffset(c.out.pending, offset, 0)
			return nil
		case errors.Is(err, topic.ErrEnd):
			err = protocol.ErrNotFound
		case req.Command == protocol.Tail && errors.Is(err, topic.ErrNotFound) && log.Oldest() > offset:
			offset = log.Oldest() // retention was faster
			continue
		}
		return c.refuse(req.Command, err)
	}
}

func read(log topic.Log, offset int64, req *protocol.Request) (topic.View, error) {
	if req.Verify {
		return log.Verify(offset, req.Messages, req.MaxBytes)
	}
	return log.Read(offset, req.Messages, req.MaxBytes)
}

func (c *conn) sendBatches(v topic.View) error {
	defer v.Close()
	c.out.pending = protocol.AppendOffset(c.out.pending, v.Offset(), v.Batches())
	return c.sendView(v)
}

// waitToGrow waits until the log is longer than offset. It reports false when
// there is no reason to wait on: time is over, the client is gone, or the
// server drains. The error is protocol.ErrBusy if too many wait.
//
// While it waits it reads from the connection, which is how it learns that the
// client is gone. What arrives is kept for later; when the buffer is full it
// waits without reading, and looks after the client from time to time.
func (c *conn) waitToGrow(log topic.Log, offset int64, until time.Time) (bool, error) {
	if err := c.flush(false); err != nil {
		return false, err
	}
	select {
	case <-c.woken:
	default:
	}
	c.read.forget()
	c.nc.SetReadDeadline(until)
	if c.draining.Load() || c.ctx.Err() != nil {
		return false, nil
	}
	if !log.Watch(offset, c) {
		return true, nil
	}
	if c.single {
		// Each takes a connection of those that health and metrics come by, too.
		defer c.srv.counters.httpWaiting.Add(-1)
		if c.srv.counters.httpWaiting.Add(1) > int64(c.srv.o.MaxHTTPWaits) {
			log.Unwatch(c)
			return false, protocol.ErrBusy
		}
	}
	c.srv.counters.waiting.Add(1)
	defer c.srv.counters.waiting.Add(-1)
	defer log.Unwatch(c)
	if !c.single && !c.in.full(streamBuffer) {
		err := c.fill()
		return err == nil || isTimeout(err), nil
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		select {
		case <-c.woken:
			return true, nil
		case <-timer.C:
			return true, nil
		case <-c.ctx.Done():
			return false, nil
		case <-c.gone:
			return false, nil
		case <-look.C:
			if c.hungUp() {
				return false, nil
			}
		}
	}
}

// lookInterval is how often a connection that is not read from is looked at.
const lookInterval = 250 * time.Millisecond

// hungUp reports whether the client has closed the connection, or its side of
// it, as far as that can be told without reading.
func (c *conn) hungUp() (gone bool) {
	if c.out.raw == nil {
		return false
	}
	err := c.out.raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: pollHangUp}}
		_, err := unix.Poll(p, 0)
		gone = err == nil && p[0].Revents&(pollHangUp|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}
