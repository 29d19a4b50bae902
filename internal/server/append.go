package server

import (
	"errors"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// appends are the BATCH requests of a caller that have no answer yet. Those that
// stand one after another are appended together, and committed together with
// what came between.
type appends struct {
	run     run
	replies []reply
	extents []batch.Extent // of the run and of replies
}

// run is batches for one topic that stand one after another in memory and are
// valid, but not appended yet.
type run struct {
	topic []byte // aliases data
	data  []byte
	from  int // the first of its extents
}

// reply is the answer to a run of BATCH requests, given once the batches may
// be acknowledged; with err alone, to one request.
type reply struct {
	topic    []byte // aliases data
	data     []byte // where it arrived, or memory of its own
	log      topic.Log
	appended topic.Appended
	from, to int // its extents
	command  protocol.Command
	err      *protocol.Error
	doubt    error // ErrInDoubt, with its cause
}

// keepReplies and keepExtents bound what an idle connection keeps of the space
// for answers to come.
const (
	keepReplies = 8
	keepExtents = 64
)

// pending reports whether there are requests without an answer. What was given
// to add stays where it is until commit.
func (a *appends) pending() bool { return a.run.data != nil || len(a.replies) > 0 }

// idle gives back what is of use to a busy connection only. Nothing is pending.
func (a *appends) idle() {
	if cap(a.replies) > keepReplies {
		a.replies = nil
	}
	if cap(a.extents) > keepExtents {
		a.extents = nil
	}
}

// refusal returns why a BATCH is refused whatever its data is, or nil. perr is
// what ParseRequest said of its line. If the data can't be dropped, drop is false.
func (c *caller) refusal(settings *settings, req *protocol.Request, perr error) (err *protocol.Error, drop bool) {
	err, drop = c.refusable(settings, req, perr)
	if err == protocol.ErrUnauthorized {
		c.denied(req)
	}
	return err, drop
}

// refusable is refusal, and notes nothing.
func (c *caller) refusable(settings *settings, req *protocol.Request, perr error) (err *protocol.Error, drop bool) {
	h := &req.Batch
	switch {
	case h.Size < 0:
		return protocol.ErrInvalidRequest, false
	case tooLarge(settings.MaxBatchSize, h, perr):
		return protocol.ErrTooLarge, false
	case perr != nil || batch.Own(h.Topic) || h.Seq > 0 && settings.Producers == 0:
		return protocol.ErrInvalidRequest, true
	case !c.may(protocol.Batch, h.Topic):
		return protocol.ErrUnauthorized, true
	case tooLarge(c.last.of(settings, h.Topic).MaxBatchSize, h, nil):
		return protocol.ErrTooLarge, true // for the topic alone: the data can be dropped
	case h.Codec != "" && batch.CodecOf(h.Codec)&^settings.Codecs != 0:
		return protocol.ErrUnsupportedCodec, true
	}
	return nil, false
}

// tooLarge reports whether a batch is larger than the limit, in its canonical
// form. Of an envelope that is wrong, for which perr is not nil, the size alone
// counts.
func tooLarge(limit int64, h *batch.Header, perr error) bool {
	return h.Size >= limit || perr == nil && h.Size > limit-int64(h.Len())
}

// add takes a whole BATCH that nothing is wrong with but perhaps its data: wire,
// of which the line takes head bytes. A canonical one has a line that ends with
// CR LF. The answer is left to commit. If add returns false, it is an error after
// which the connection is closed.
func (c *caller) add(req *protocol.Request, wire []byte, head int, canonical bool) bool {
	h, data := &req.Batch, wire[head:]
	if req.Unsummed {
		h.CRC = batch.Checksum(data)
		if tooLarge(c.srv.settings.Load().MaxBatchSize, h, nil) { // which the line alone did not tell
			c.fail(protocol.Batch, protocol.ErrTooLarge)
			return false
		}
		if tooLarge(c.last.of(c.srv.settings.Load(), h.Topic).MaxBatchSize, h, nil) {
			c.fail(protocol.Batch, protocol.ErrTooLarge)
			return true
		}
		canonical = false
	}
	switch err := batch.Check(h, data); err {
	case nil:
	case batch.ErrChecksum:
		c.fail(protocol.Batch, protocol.ErrChecksumMismatch)
		return true
	default:
		c.fail(protocol.Batch, protocol.ErrInvalidRequest)
		return true
	}
	if h.Codec != "" {
		if err := c.unpack(h, data); err != nil {
			c.fail(protocol.Batch, err)
			return !err.Closes
		}
	}
	if !canonical {
		// A person typed it: what is stored is the canonical form, with the
		// checksum and CR LF.
		wire = append(batch.AppendHeader(nil, h), data...)
	}
	x := h.Extent()
	if adjoins(c.run.data, wire) && string(c.run.topic) == string(h.Topic) {
		c.run.data = c.run.data[:len(c.run.data)+len(wire)]
	} else {
		c.appendRun()
		c.run = run{topic: h.Topic, data: wire, from: len(c.extents)}
	}
	c.extents = append(c.extents, x)
	return true
}

// adjoins reports whether b stands behind a in the same memory.
func adjoins(a, b []byte) bool {
	return cap(a) > len(a) && &a[:len(a)+1][len(a)] == &b[0]
}

// appendRun appends the run and leaves its answers to commit.
func (c *caller) appendRun() {
	if c.run.data != nil {
		c.append(c.takeRun())
	}
}

// takeRun makes the run the last reply, which is still to be appended.
func (c *caller) takeRun() *reply {
	r := c.run
	c.run = run{}
	c.replies = append(c.replies, reply{topic: r.topic, data: r.data, command: protocol.Batch, from: r.from, to: len(c.extents)})
	return &c.replies[len(c.replies)-1]
}

// maxAnew is how often batches are appended anew because their topic is deleted
// meanwhile. Each time is another deletion, so that only somebody who does nothing
// else gets near it.
const maxAnew = 1000

// append appends the batches of r to their topic, which it makes if need be.
func (c *caller) append(r *reply) {
	for range maxAnew {
		log, err := c.logFor(r)
		if err == nil {
			r.appended, err = log.Append(c.ctx, r.data, c.extents[r.from:r.to])
		}
		if c.appended(r, err) {
			return
		}
	}
	c.appended(r, protocol.ErrBusy)
}

// logFor looks up the log of the topic that r is for.
func (c *caller) logFor(r *reply) (topic.Log, error) {
	f, err := c.lookup(c.ctx, protocol.Batch, r.topic)
	if err == protocol.ErrUnauthorized {
		c.denied(&protocol.Request{Command: protocol.Batch, Topic: r.topic})
	}
	r.log = f.log
	return f.log, err
}

// appended notes how an append has ended, or reports false if it is to be tried anew.
func (c *caller) appended(r *reply, err error) (ended bool) {
	switch {
	case r.appended.Batches == 0 && errors.Is(err, topic.ErrDeleted) && r.log != nil:
		return false
	case errors.Is(err, topic.ErrInDoubt):
		r.doubt = err
	case err != nil:
		r.err = c.answerTo(err, "append to topic", r.topic)
	}
	return true
}

// answer waits until what was appended for r may be acknowledged and gives the
// answers, but for those after one that nobody can give: r.doubt. Batches whose topic
// was deleted before that are appended anew: their BATCH came after the DELETE then.
func (c *caller) answer(to Responder, r *reply) {
	for range maxAnew {
		commit := c.commitRun
		if r.appended.Outcomes != nil {
			commit = c.commitEach
		}
		err := commit(to, r)
		switch {
		case errors.Is(err, topic.ErrInDoubt):
			r.doubt = err
			return
		case err == nil && r.doubt != nil:
			return
		case errors.Is(err, topic.ErrDeleted) && r.err == nil:
			r.appended = topic.Appended{}
			c.append(r)
			continue
		case err != nil && !errors.Is(err, topic.ErrDeleted):
			r.err = c.answerTo(err, "commit to topic", r.topic)
		}
		c.refuseRest(to, r)
		return
	}
	r.err = protocol.ErrBusy
	c.refuseRest(to, r)
}

// commitRun acknowledges the batches that were appended one after another.
func (c *caller) commitRun(to Responder, r *reply) error {
	n := r.appended.Batches
	if n == 0 {
		return nil
	}
	if err := r.log.Commit(c.ctx, r.appended); err != nil {
		return err
	}
	offset := r.appended.Offset
	for _, x := range c.extents[r.from : r.from+n] {
		to.Offset(offset, 1)
		offset += x.Len
	}
	c.answered(r, n)
	return nil
}

// commitEach gives the answers to batches each of which has its own.
func (c *caller) commitEach(to Responder, r *reply) error {
	for _, o := range r.appended.Outcomes {
		err := r.log.Commit(c.ctx, o.Appended())
		switch {
		case errors.Is(err, topic.ErrInDoubt), errors.Is(err, topic.ErrDeleted):
			return err
		case err == nil:
			err = o.Err
		}
		if err != nil {
			c.refuse(to, r.command, r.topic, c.answerTo(err, "commit to topic", r.topic))
			c.advance(r, 1)
			continue
		}
		if k, ok := to.(Knower); ok && len(r.appended.Outcomes) == 1 {
			k.Known() // else it would have no outcome of its own
		}
		to.Offset(o.Offset, 1)
		c.answered(r, 1)
	}
	return nil
}

// answered counts the first n batches of r, which are acknowledged, and drops them.
func (c *caller) answered(r *reply, n int) {
	c.srv.counters.batches.Add(int64(n))
	c.srv.counters.messages.Add(c.advance(r, n))
}

// advance drops the first n batches of r, which have their answer, and returns how
// many messages they have.
func (c *caller) advance(r *reply, n int) (messages int64) {
	var size int64
	for _, x := range c.extents[r.from : r.from+n] {
		size += x.Len
		messages += int64(x.Messages)
	}
	r.from += n
	r.data = r.data[size:]
	return messages
}

// refuseRest gives the answer to the batches of r that have none.
func (c *caller) refuseRest(to Responder, r *reply) {
	for ; r.from < r.to; r.from++ {
		c.refuse(to, r.command, r.topic, r.err)
	}
}

// commit waits until what was appended may be acknowledged and gives the answers
// to all that is pending. If it returns an error, which is ErrInDoubt, these are
// the answers before the one that nobody can give, and there must be none after
// it.
func (c *caller) commit(to Responder) (err error) {
	c.appendRun()
	for i := range c.replies {
		r := &c.replies[i]
		if r.from == r.to {
			c.refuse(to, r.command, r.topic, r.err)
			continue
		}
		if c.answer(to, r); r.doubt != nil {
			err = r.doubt
			break
		}
	}
	clear(c.replies)
	c.replies, c.extents = c.replies[:0], c.extents[:0]
	return err
}

// fail leaves an error answer to commit.
func (c *caller) fail(cmd protocol.Command, err *protocol.Error) {
	c.appendRun()
	c.replies = append(c.replies, reply{command: cmd, err: err})
}

// refuse gives an error answer to a request about a topic, if it is about one.
func (c *caller) refuse(to Responder, cmd protocol.Command, topic []byte, err *protocol.Error) {
	c.srv.counters.failed(cmd, err)
	c.remember(cmd, topic, err)
	to.Error(err)
}
