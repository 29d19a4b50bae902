package api

import (
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

// following sends a topic as events, as it is written.
type following struct {
	*reading
	out    []byte
	kept   bool // something that was written may not have left yet
	awaits bool // the topic was not there at first
	resume string
	lost   *Gap // what is to be told before all else

	wants int64 // bytes of memory that were not free when they were needed; 0: none
}

// errOver ends a stream that is over as it should.
var errOver = errors.New("api: the events are over")

// follow answers with events, until the client goes away, or may not read any more, or the
// topic or the server ends.
func (rd *reading) follow() error {
	f := &following{reading: rd}
	r := rd.r
	last := r.Header.Get("Last-Event-ID")
	if last != "" {
		if _, _, ok := ask.ParseID(last); !ok {
			return problem.New(problem.InvalidRequest, fmt.Sprintf("Last-Event-ID is %q and no id: want OFFSET.DELTA or OFFSET.", clip(last)))
		}
	}
	r.caller.Codecs = batch.KnownCodecs
	defer r.caller.Unfollow()
	err := r.caller.Follow(r.topic)
	if errors.Is(err, protocol.ErrNotFound) && rd.await && r.Method != http.MethodHead {
		err = f.awaitTopic()
	}
	if err == nil {
		err = f.begin(last)
	}
	if err != nil {
		return f.over(rd.explain(err))
	}
	f.start()
	if r.Method == http.MethodHead {
		return nil
	}
	return f.over(f.run())
}

// over returns err, or nil if the stream has begun and ended as it should.
func (f *following) over(err error) error {
	if f.r.begun && err == errOver {
		return nil
	}
	return err
}

// start sends the headers, if they are not sent yet.
func (f *following) start() {
	if f.r.begun {
		return
	}
	h := f.r.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // of nginx, which would keep the events back
	f.r.start(http.StatusOK)
	f.out = fmt.Appendf(f.out, "retry: %d\n\n", 1000+rand.IntN(2001))
}

// awaitTopic returns when the topic is there, and followed.
func (f *following) awaitTopic() error {
	f.awaits = true
	f.start()
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
		if f.r.caller.Draining() {
			return f.closing()
		}
		timer.Reset(awaitEvery)
		select {
		case <-timer.C:
		case <-f.ctx.Done():
			return errOver
		}
		if err := f.r.caller.Follow(f.r.topic); !errors.Is(err, protocol.ErrNotFound) {
			return f.ended(err)
		}
	}
}

// begin finds where the events begin.
func (f *following) begin(last string) error {
	if err := f.look(); err != nil {
		return err
	}
	r, find := f.r, f.finder()
	var err error
	switch {
	case last != "":
		f.resume = last
		f.from, err = f.after(find, "Last-Event-ID", last)
		if beyond, ok := errors.AsType[*ask.BeyondEndError](err); ok {
			// The log has lost its tail. Who is told again and again that this is so can
			// do nothing about it.
			f.from, err = ask.Place{Offset: beyond.End}, nil
			f.lost = &Gap{last, f.from.String(), ask.Lost}
		}
	case r.query.Has("after"):
		f.resume = r.query.Get("after")
		f.from, err = f.after(find, "after", f.resume)
	case r.query.Has("from"):
		var p place.Place
		if p, err = r.placeOf("from"); err != nil {
			return err
		}
		if f.awaits && p.Kind == place.AtEnd {
			p.Kind = place.AtStart
		}
		if f.from, err = find.Find(f.ctx, p); err == nil {
			f.resume, err = find.ResumeID(f.ctx, f.from)
		}
	case f.awaits: // all of it came since
		f.from = ask.Place{Offset: f.in.Oldest}
		f.resume = f.from.String()
	default:
		f.from = ask.Place{Offset: f.in.Next}
		f.resume = f.from.String()
	}
	if gap, ok := errors.AsType[*ask.Gap](err); ok {
		// It is met again, and told, when it is read.
		f.from, err = ask.Place{Offset: gap.From}, nil
		if f.resume == "" {
			f.resume = f.from.String()
		}
	}
	return err
}

// run sends events until something ends them.
func (f *following) run() error {
	r := f.r
	first, err := problem.Marshal(struct {
		Topic   string `json:"topic"`
		TopicID string `json:"topic_id"`
		Oldest  int64  `json:"oldest"`
		End     int64  `json:"end"`
		From    string `json:"from"`
	}{r.topic, f.in.ID, f.in.Oldest, f.in.Next, f.from.String()})
	if err != nil {
		return err
	}
	f.event("topic", f.resume, first)
	if f.lost != nil {
		f.gap(f.lost)
	}
	if err := f.flush(); err != nil {
		return err
	}
	f.rd = r.caller.NewReader(f.conf, r.topic, f.from.Offset, false)
	f.rd.Grow = func(n int64) error { f.reads = n; return f.need(n + outSize) }
	defer f.rd.Release()
	at := f.from // of the next message
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
	c, ok := f.r.api.tails.get(f.in.ID, offset)
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
			f.r.api.tails.put(f.in.ID, offset, c)
		}
	}
	*at = ask.Place{Offset: c.end}
	if len(c.text) >= outSize {
		if err := f.flush(); err != nil {
			return err
		}
		return f.write(c.text) // which others have, too
	}
	f.out = append(f.out, c.text...)
	if len(f.out) >= outSize {
		return f.flush()
	}
	return nil
}

// rest sends what there is before a wait, in which it has no memory.
func (f *following) rest() error {
	if err := f.push(); err != nil {
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
	if err := f.grow(max(n, f.wants)); err != nil {
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
	text := make([]byte, 0, int64(len(b.Data))*5/4+128*b.Messages)
	for delta, body := range messagesFrom(b.Data, from) {
		at := ask.Place{Offset: b.Offset, Delta: delta}
		text = append(append(append(text, "id: "...), at.ID()...), "\ndata: "...)
		text = append(appendMessage(text, f.r.topic, at, b.Time, body), "\n\n"...)
	}
	return chunk{text, b.End}, nil
}

// ended returns what is to be done about an error: nil if there is nothing but to go on,
// else it has told what there is to tell.
func (f *following) ended(err error) error {
	switch {
	case err == nil, err == errOver:
		return err
	case err == errShort:
		return f.rest()
	case f.ctx.Err() != nil:
		return errOver
	case f.r.caller.Deleted():
		f.event("deleted", "", []byte(`{"topic":"`+f.r.topic+`"}`))
		return f.end()
	case f.r.caller.Draining():
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
	f.r.api.log.Debug("events over HTTP ended", "remote", f.r.RemoteAddr, "topic", f.r.topic, "err", err)
	if !f.r.begun {
		return err
	}
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
	if err := f.flush(); err != nil {
		return err
	}
	return errOver
}

// comment sends something that means nothing.
func (f *following) comment() error {
	f.out = append(f.out, ":\n\n"...)
	return f.push()
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
	f.out = append(append(f.out, "event: "...), name...)
	if id != "" {
		f.out = append(append(f.out, "\nid: "...), id...)
	}
	f.out = append(append(append(f.out, "\ndata: "...), data...), "\n\n"...)
}

// flush writes what is to be sent.
func (f *following) flush() error {
	if len(f.out) == 0 {
		return nil
	}
	err := f.write(f.out)
	if cap(f.out) > 2*outSize {
		f.out = nil
	}
	f.out = f.out[:0]
	return err
}

// push has all that was written leave.
func (f *following) push() error {
	if err := f.flush(); err != nil || !f.kept {
		return err
	}
	f.kept = false
	f.r.extend()
	return http.NewResponseController(f.r.w).Flush()
}

func (f *following) write(text []byte) error {
	f.kept = true
	f.r.start(http.StatusOK)
	n, err := f.r.w.Write(text)
	f.r.caller.Sent(n)
	return err
}
