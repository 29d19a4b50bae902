package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/place"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/ask"
	"github.com/logd-dev/logd/internal/web/problem"
)

// keepAlive is how often something is sent to who follows a topic to which nothing comes,
// and awaitEvery how often it is looked for a topic that is not there.
const (
	keepAlive  = 15 * time.Second
	awaitEvery = 500 * time.Millisecond
)

// following sends a topic as events, as it is written. It keeps nothing of the request.
type following struct {
	api    *API
	caller *ask.Caller
	topic  string
	stream *stream
	ctx    context.Context
	lease  lease

	id  string // of the topic
	rd  *ask.Reader
	out []byte // what is to be sent

	reads int64 // bytes that rd has
	wants int64 // bytes of memory that were not free when they were needed; 0: none
}

// beginning is where events begin.
type beginning struct {
	conf   *protocol.Settings
	id     string // of the topic
	first  []byte // data of the first event
	resume string // its id
	from   ask.Place
	lost   *Gap // what is to be told before all else
}

// errOver ends events that are over as they should.
var errOver = errors.New("api: the events are over")

// follow answers with events, until the client goes away, or may not read any more, or the
// topic or the server ends. It returns when they have begun.
func (rd *reading) follow() error {
	r := rd.r
	last := r.Header.Get("Last-Event-ID")
	if last != "" {
		if _, _, ok := ask.ParseID(last); !ok {
			return problem.New(problem.InvalidRequest, fmt.Sprintf("Last-Event-ID is %q and no id: want OFFSET.DELTA or OFFSET.", clip(last)))
		}
	}
	r.caller.Codecs = batch.KnownCodecs
	var begin beginning
	err := r.caller.Follow(r.topic)
	awaits := errors.Is(err, protocol.ErrNotFound) && rd.await && r.Method != http.MethodHead
	switch {
	case err == nil:
		begin, err = rd.eventsFrom(last, false)
	case awaits:
		err = nil
	}
	if err == nil {
		h := r.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no") // of nginx, which would keep the events back
		if r.Method == http.MethodHead {
			r.start(http.StatusOK)
			r.caller.Unfollow()
			return nil
		}
		f := &following{api: r.api, caller: r.caller, topic: r.topic, lease: lease{of: r.api.memory}}
		if awaits {
			own := *rd // rd ends with the request
			err = r.takeOver(func(ctx context.Context, s *stream) { f.serve(ctx, s, func() error { return f.await(&own, last) }) })
		} else {
			err = r.takeOver(func(ctx context.Context, s *stream) { f.serve(ctx, s, func() error { return f.run(&begin) }) })
		}
	}
	if err != nil {
		r.caller.Unfollow()
		return rd.explain(err)
	}
	return nil
}

// serve sends what run does.
func (f *following) serve(ctx context.Context, s *stream, run func() error) {
	f.ctx, f.stream, f.out = ctx, s, s.head
	s.head = nil
	defer f.caller.Unfollow()
	defer f.lease.release()
	retry := newFrame(len("retry: 3000\n\n"))
	f.add(sealed(fmt.Appendf(retry, "retry: %d\n\n", 1000+rand.IntN(2001))))
	if err := run(); err != errOver {
		f.api.log.Debug("events over HTTP were cut", "remote", s.conn.RemoteAddr(), "topic", f.topic, "err", err)
	}
}

// await sends events when the topic of a reading is there.
func (f *following) await(rd *reading, last string) error {
	rd.ctx = f.ctx
	timer := time.NewTimer(awaitEvery)
	defer timer.Stop()
	var sent time.Time
	for {
		if time.Since(sent) >= keepAlive {
			if err := f.comment(); err != nil {
				return err
			}
			sent = time.Now()
		}
		if f.caller.Draining() {
			return f.closing()
		}
		timer.Reset(awaitEvery)
		select {
		case <-timer.C:
		case <-f.ctx.Done():
			return errOver
		}
		err := f.caller.Follow(f.topic)
		if errors.Is(err, protocol.ErrNotFound) {
			continue
		}
		var begin beginning
		if err == nil {
			begin, err = rd.eventsFrom(last, true)
		}
		if err != nil {
			return f.ended(err)
		}
		return f.run(&begin)
	}
}

// eventsFrom finds where the events begin, of a topic that was awaited or not.
func (rd *reading) eventsFrom(last string, awaited bool) (b beginning, err error) {
	defer rd.lease.release()
	if err := rd.look(); err != nil {
		return b, err
	}
	b.conf, b.id = rd.conf, rd.in.ID
	r, find := rd.r, rd.finder()
	switch {
	case last != "":
		b.resume = last
		b.from, err = rd.after(find, "Last-Event-ID", last)
		if beyond, ok := errors.AsType[*ask.BeyondEndError](err); ok {
			// The log has lost its tail. Who is told again and again that this is so can
			// do nothing about it.
			b.from, err = ask.Place{Offset: beyond.End}, nil
			b.lost = &Gap{last, b.from.String(), ask.Lost}
		}
	case r.query.Has("after"):
		b.resume = r.query.Get("after")
		b.from, err = rd.after(find, "after", b.resume)
	case r.query.Has("from"):
		var p place.Place
		if p, err = r.placeOf("from"); err != nil {
			return b, err
		}
		if awaited && p.Kind == place.AtEnd {
			p.Kind = place.AtStart
		}
		if b.from, err = find.Find(rd.ctx, p); err == nil {
			b.resume, err = find.ResumeID(rd.ctx, b.from)
		}
	case awaited: // all of it came since
		b.from = ask.Place{Offset: rd.in.Oldest}
		b.resume = b.from.String()
	default:
		b.from = ask.Place{Offset: rd.in.Next}
		b.resume = b.from.String()
	}
	if gap, ok := errors.AsType[*ask.Gap](err); ok {
		// It is met again, and told, when it is read.
		b.from, err = ask.Place{Offset: gap.From}, nil
		if b.resume == "" {
			b.resume = b.from.String()
		}
	}
	if err != nil {
		return b, err
	}
	b.first, err = problem.Marshal(struct {
		Topic   string `json:"topic"`
		TopicID string `json:"topic_id"`
		Oldest  int64  `json:"oldest"`
		End     int64  `json:"end"`
		From    string `json:"from"`
	}{r.topic, rd.in.ID, rd.in.Oldest, rd.in.Next, b.from.String()})
	return b, err
}

// run sends events until something ends them.
func (f *following) run(begin *beginning) error {
	f.event("topic", begin.resume, begin.first)
	if begin.lost != nil {
		f.gap(begin.lost)
	}
	if err := f.flush(); err != nil {
		return err
	}
	f.id = begin.id
	at := begin.from // of the next message
	f.rd = f.caller.NewReader(begin.conf, f.topic, at.Offset, false)
	f.rd.Grow = func(n int64) error { f.reads = n; return f.need(n + outSize) }
	defer f.rd.Release()
	for {
		err := f.next(&at)
		if err == nil {
			continue
		}
		if gap, ok := errors.AsType[*ask.Gap](err); ok {
			f.gap(&Gap{at.String(), fmt.Sprint(gap.To), gap.Cause})
			at = ask.Place{Offset: gap.To}
			f.rd.GoTo(gap.To)
			continue
		}
		if beyond, ok := errors.AsType[*ask.BeyondEndError](err); ok {
			f.gap(&Gap{at.String(), fmt.Sprint(beyond.End), ask.Lost})
			at = ask.Place{Offset: beyond.End}
			f.rd.GoTo(beyond.End)
			continue
		}
		if err = f.ended(err); err != nil {
			return err
		}
	}
}

// next sends the events of the next batch, or waits for it.
func (f *following) next(at *ask.Place) error {
	if !f.rd.Buffered() {
		if err := f.rest(); err != nil {
			return err
		}
		if err := f.rd.Fetch(f.ctx, keepAlive); err != nil {
			return err
		}
	}
	offset := f.rd.Offset()
	c, ok := f.api.tails.get(f.id, offset)
	if !ok || at.Delta > 0 || !f.rd.Pass(c.end) {
		b, err := f.rd.Next(f.ctx, 0)
		if err != nil {
			return err
		}
		if c, err = f.render(&b, at.Delta); err != nil {
			f.rd.GoTo(offset) // it is not sent
			return err
		}
		if at.Delta == 0 {
			f.api.tails.put(f.id, offset, c)
		}
	}
	*at = ask.Place{Offset: c.end}
	text := f.stream.body(c.text)
	if len(text) < outSize && (len(f.out) > 0 || f.rd.Buffered()) {
		f.out = append(f.out, text...)
		if len(f.out) < outSize {
			return nil
		}
		return f.flush()
	}
	if err := f.flush(); err != nil {
		return err
	}
	return f.stream.write(text) // which others have, too
}

// rest sends what there is before a wait, in which it has no memory.
func (f *following) rest() error {
	if err := f.flush(); err != nil {
		return err
	}
	f.out = nil
	f.rd.Release()
	f.reads = 0
	f.lease.release()
	return nil
}

// errShort is that more memory is needed than is free, while there is some that can be given
// back.
var errShort = errors.New("api: there is too little memory")

// need has the lease be of n bytes at least. Who has some does not wait for more, since all
// the others may wait for the same: it fails with errShort. Once it has given back what it
// has, it waits for all of it at once.
func (f *following) need(n int64) error {
	if f.lease.bytes > 0 {
		if f.lease.tryGrow(n) {
			return nil
		}
		f.wants = n
		return errShort
	}
	if err := f.lease.grow(f.ctx, max(n, f.wants), f.api.o.Timeout()); err != nil {
		return err
	}
	f.wants = 0
	return nil
}

// render returns the events of the messages of a batch from a delta on.
func (f *following) render(b *ask.Batch, from int64) (chunk, error) {
	// As JSON a body may be six times as long, and most are a bit longer.
	if err := f.need(f.reads + outSize + 2*int64(len(b.Data))); err != nil {
		return chunk{}, err
	}
	text := newFrame(len(b.Data)*5/4 + 128*int(b.Messages))
	for delta, body := range messagesFrom(b.Data, from) {
		at := ask.Place{Offset: b.Offset, Delta: delta}
		text = append(append(append(text, "id: "...), at.ID()...), "\ndata: "...)
		text = append(appendMessage(text, f.topic, at, b.Time, body), "\n\n"...)
	}
	return chunk{sealed(text), b.End}, nil
}

// ended returns what is to be done about an error: nil if there is nothing but to go on,
// else it has told what there is to tell.
func (f *following) ended(err error) error {
	switch {
	case err == errShort:
		return f.rest()
	case f.ctx.Err() != nil:
		return errOver
	case f.caller.Deleted():
		f.event("deleted", "", []byte(`{"topic":"`+f.topic+`"}`))
		return f.end()
	case f.caller.Draining():
		return f.closing()
	case err == io.EOF:
		return f.comment()
	}
	if busy, ok := errors.AsType[*protocol.Error](err); ok && busy.Reason == protocol.ErrBusy.Reason && f.rd != nil {
		// Over a quota, say: it goes on later.
		return f.pause(max(busy.RetryAfter, time.Second))
	}
	if p, ok := errors.AsType[*problem.Problem](err); ok && p.Kind == problem.Busy && f.rd != nil {
		return f.pause(time.Second)
	}
	f.api.log.Debug("events over HTTP ended", "remote", f.stream.conn.RemoteAddr(), "topic", f.topic, "err", err)
	return f.end()
}

// pause waits for a while.
func (f *following) pause(d time.Duration) error {
	if err := f.rest(); err != nil {
		return err
	}
	timer := time.NewTimer(min(d, keepAlive))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-f.ctx.Done():
		return errOver
	}
}

func (f *following) closing() error {
	f.event("closing", "", []byte("{}"))
	return f.end()
}

// end sends what is left and ends the events.
func (f *following) end() error {
	f.out = append(f.out, f.stream.end()...)
	if err := f.flush(); err != nil {
		return err
	}
	return errOver
}

// comment sends something that means nothing.
func (f *following) comment() error {
	f.add(sealed(append(newFrame(len(":\n\n")), ":\n\n"...)))
	return f.flush()
}

func (f *following) gap(g *Gap) {
	data, err := problem.Marshal(g)
	if err != nil {
		panic(err) // it has text alone
	}
	f.event("gap", g.To, data)
}

// event adds an event that is no message. Without an id it has none.
func (f *following) event(name, id string, data []byte) {
	b := newFrame(len("event: \nid: \ndata: \n\n") + len(name) + len(id) + len(data))
	b = append(append(b, "event: "...), name...)
	if id != "" {
		b = append(append(b, "\nid: "...), id...)
	}
	f.add(sealed(append(append(append(b, "\ndata: "...), data...), "\n\n"...)))
}

// add adds a frame to what is to be sent.
func (f *following) add(frame []byte) { f.out = append(f.out, f.stream.body(frame)...) }

// flush sends it.
func (f *following) flush() error {
	err := f.stream.write(f.out)
	if cap(f.out) > 2*outSize {
		f.out = nil
	}
	f.out = f.out[:0]
	return err
}
