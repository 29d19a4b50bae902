package api

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/place"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/ask"
	"github.com/logd-dev/logd/internal/web/problem"
)

// readQuery are the keys that a read may have.
var readQuery = []string{"from", "after", "to", "limit", "max_bytes", "wait", "id", "gaps", "fresh", "format", "await"}

// The bounds of what a read asks for.
const (
	longestWait  = time.Minute
	pageMessages = 100
	pageMost     = 1000
	pageBytes    = 1 << 20
)

// reading is a read of messages.
type reading struct {
	r     *request
	ctx   context.Context
	shape shape
	lease lease

	limit, maxBytes int64
	wait            time.Duration
	skipGaps, fresh bool
	await           bool

	conf *protocol.Settings
	in   protocol.TopicInfo // as it was at the start
	from ask.Place
	to   *ask.Place // if it ends before the end
	end  int64      // of the topic at the start

	rd    *ask.Reader
	reads int64 // bytes of its buffers
}

// read answers with the messages of a topic.
func read(r *request) error {
	rd := &reading{r: r, ctx: r.Context(), lease: lease{of: r.api.memory}}
	defer rd.lease.release()
	if err := rd.options(); err != nil {
		return err
	}
	if rd.shape == events {
		return rd.follow()
	}
	// Else the context would end with the time of the request. What is left of a body that
	// should not be there has its time again.
	control := http.NewResponseController(r.w)
	control.SetReadDeadline(time.Time{})
	defer func() { control.SetReadDeadline(time.Now().Add(r.api.o.Timeout())) }()
	if err := rd.begin(); err != nil {
		return err
	}
	if rd.shape == raw {
		return rd.raw()
	}
	defer rd.rd.Release()
	if rd.shape == page {
		return rd.page()
	}
	return rd.stream()
}

// options takes the query apart.
func (rd *reading) options() (err error) {
	r := rd.r
	if rd.shape, err = r.shape(); err != nil {
		return err
	}
	if r.query.Has("from") && r.query.Has("after") {
		return problem.New(problem.InvalidRequest, "The query has from and after; it may have one of them.")
	}
	most := int64(math.MaxInt64)
	rd.maxBytes = most
	if rd.shape == page {
		most, rd.limit, rd.maxBytes = pageMost, pageMessages, pageBytes
	} else {
		rd.limit = most
	}
	if rd.limit, err = r.number("limit", rd.limit, 1, most); err != nil {
		return err
	}
	if rd.maxBytes, err = r.number("max_bytes", rd.maxBytes, 1, rd.maxBytes); err != nil {
		return err
	}
	millis, err := r.number("wait", 0, 0, longestWait.Milliseconds())
	if err != nil {
		return err
	}
	rd.wait = time.Duration(millis) * time.Millisecond
	gaps, err := r.choice("gaps", "stop", "skip")
	if err != nil {
		return err
	}
	rd.skipGaps = gaps == "skip"
	if rd.fresh, err = r.flag("fresh"); err != nil {
		return err
	}
	if rd.await, err = r.flag("await"); err != nil {
		return err
	}
	if id := r.query.Get("id"); r.query.Has("id") && !protocol.ValidID(id) {
		return problem.New(problem.InvalidRequest, fmt.Sprintf("id=%q is no id of a topic: want hexadecimal digits.", clip(id)))
	}
	if rd.shape != events && rd.await {
		return problem.New(problem.InvalidRequest, "await=1 is for format=sse alone.")
	}
	if rd.shape == events {
		for _, key := range []string{"limit", "max_bytes", "wait", "to"} {
			if r.query.Has(key) {
				return problem.New(problem.InvalidRequest, fmt.Sprintf("The query has %s, which events have not.", key))
			}
		}
	}
	return nil
}

// look finds out what there is of the topic.
func (rd *reading) look() (err error) {
	r := rd.r
	if rd.conf, err = r.caller.Settings(); err != nil {
		return err
	}
	if rd.in, err = r.caller.Info(rd.ctx, r.topic, rd.fresh); err != nil {
		return err
	}
	if id := r.query.Get("id"); id != "" && id != rd.in.ID {
		return problem.New(problem.NotFound, fmt.Sprintf("Topic %q is another one than that with the id %q.", r.topic, id)).With("id", rd.in.ID)
	}
	rd.end = rd.in.Next
	r.caller.Codecs = batch.KnownCodecs
	return nil
}

func (rd *reading) grow(n int64) error { return rd.lease.grow(rd.ctx, n, rd.r.api.o.Timeout()) }

func (rd *reading) finder() *ask.Finder {
	return &ask.Finder{Caller: rd.r.caller, Conf: rd.conf, Topic: rd.r.topic, Info: rd.in, Fresh: rd.fresh, Grow: rd.grow}
}

// begin finds where the read begins and where it ends.
func (rd *reading) begin() error {
	if err := rd.look(); err != nil {
		return rd.r.noTopic(err)
	}
	r, f := rd.r, rd.finder()
	var err error
	switch {
	case r.query.Has("after"):
		rd.from, err = rd.after(f, "after", r.query.Get("after"))
	case r.query.Has("from"):
		rd.from, err = rd.place(f, "from")
	default:
		rd.from = ask.Place{Offset: rd.in.Oldest}
	}
	if err != nil {
		if err = rd.passGap(err); err != nil {
			return err
		}
	}
	if r.query.Has("to") {
		to, err := rd.place(f, "to")
		if err != nil {
			return rd.explain(err)
		}
		rd.to = &to
	}
	rd.rd = r.caller.NewReader(rd.conf, r.topic, rd.from.Offset, rd.fresh)
	rd.rd.Grow = func(n int64) error { rd.reads = n; return rd.grow(n + outSize) }
	return nil
}

// passGap goes on behind a gap at the beginning, if that is what err is and what is wanted.
// The gap is met again when it is read.
func (rd *reading) passGap(err error) error {
	gap, ok := errors.AsType[*ask.Gap](err)
	if !ok || !rd.skipGaps {
		return rd.explain(err)
	}
	rd.from = ask.Place{Offset: gap.From}
	return nil
}

// place returns where the place is that a key of the query has.
func (rd *reading) place(f *ask.Finder, key string) (ask.Place, error) {
	p, err := rd.r.placeOf(key)
	if err != nil {
		return ask.Place{}, err
	}
	return f.Find(rd.ctx, p)
}

// placeOf returns the place that a key of the query has.
func (r *request) placeOf(key string) (place.Place, error) {
	p, err := place.Parse(r.query.Get(key), time.Now().UTC())
	if err != nil {
		return p, problem.New(problem.InvalidRequest, fmt.Sprintf("%s=%q is no place: %v.", key, clip(r.query.Get(key)), err))
	}
	return p, nil
}

// after returns the place behind the message, or the batch, that has an id.
func (rd *reading) after(f *ask.Finder, key, id string) (ask.Place, error) {
	p, message, ok := ask.ParseID(id)
	if !ok {
		return p, problem.New(problem.InvalidRequest, fmt.Sprintf("%s=%q is no id: want OFFSET.DELTA of a message, behind which it goes on, or the OFFSET of a batch, with which it does.", key, clip(id)))
	}
	if !message {
		return f.Check(rd.ctx, p)
	}
	return f.After(rd.ctx, p)
}

// explain makes of what Reader.Next says a problem.
func (rd *reading) explain(err error) error { return explain(rd.r, err) }

func explain(r *request, err error) error {
	if gap, ok := errors.AsType[*ask.Gap](err); ok {
		next := strconv.FormatInt(gap.To, 10)
		if gap.Cause == ask.Damage {
			return problem.New(problem.Damaged, fmt.Sprintf("Offset %d is damaged; what is stored goes on at %s. gaps=skip goes on there.", gap.From, next)).With("next_id", next)
		}
		return problem.New(problem.Gone, fmt.Sprintf("Offset %d was removed; the oldest is %s. gaps=skip goes on there.", gap.From, next)).With("next_id", next)
	}
	if wrong, ok := errors.AsType[*ask.NotAPlaceError](err); ok {
		return problem.New(problem.NotAPlace, fmt.Sprintf("No message begins at %v; the next one does at %v.", wrong.Place, wrong.Next)).With("next_id", wrong.Next.String())
	}
	if wrong, ok := errors.AsType[*ask.BeyondEndError](err); ok {
		return problem.New(problem.BeyondEnd, fmt.Sprintf("Offset %d is behind the end, which is %d.", wrong.Offset, wrong.End)).With("end", wrong.End)
	}
	return r.noTopic(err)
}

// Why a read has ended.
const (
	endTo    = "to"
	endLimit = "limit"
	endEnd   = "end"
)

// each calls yield for the messages, and gap for what is passed over, until one of them
// fails. It returns where the next message would be, and why it has ended.
func (rd *reading) each(yield func(at ask.Place, millis int64, body []byte) error, gap func(*ask.Gap) error) (next ask.Place, why string, err error) {
	next = rd.from
	var messages, bytes int64
	wait := rd.wait
	for {
		if rd.to != nil && !next.Before(*rd.to) {
			return next, endTo, nil
		}
		if next.Offset >= rd.end && !rd.rd.Buffered() && wait == 0 {
			return next, endEnd, nil
		}
		b, err := rd.rd.Next(rd.ctx, wait)
		if found, ok := errors.AsType[*ask.Gap](err); ok && rd.skipGaps && gap != nil {
			found.From = next.Offset
			if err := gap(found); err != nil {
				return next, "", err
			}
			rd.rd.GoTo(found.To)
			next = ask.Place{Offset: found.To}
			continue
		}
		if err == io.EOF {
			return next, endEnd, nil
		}
		if err != nil {
			return next, "", rd.explain(err)
		}
		if b.Offset >= rd.end { // it has waited for what came
			if wait == 0 {
				return next, endEnd, nil
			}
			rd.end = b.End
		}
		wait = 0
		for delta, body := range messagesFrom(b.Data, next.Delta) {
			next = ask.Place{Offset: b.Offset, Delta: delta}
			if rd.to != nil && !next.Before(*rd.to) {
				return next, endTo, nil
			}
			if messages == rd.limit || messages > 0 && bytes+int64(len(body)) > rd.maxBytes {
				return next, endLimit, nil
			}
			messages++
			bytes += int64(len(body))
			if err := yield(next, b.Time, body); err != nil {
				return next, "", err
			}
		}
		next = ask.Place{Offset: b.End}
		if messages >= rd.limit {
			return next, endLimit, nil
		}
	}
}

// outSize is how much of an answer is sent at once.
const outSize = 16 << 10

// page answers with one object of some messages.
func (rd *reading) page() error {
	r := rd.r
	out := append([]byte(nil), `,"messages":[`...)
	var gaps []*ask.Gap
	first := true
	begin := rd.from
	next, _, err := rd.each(func(at ask.Place, millis int64, body []byte) error {
		// As JSON a body may be six times as long. While the answer grows it is there twice.
		if err := rd.grow(rd.reads + outSize + 2*int64(len(out)+2*len(body))); err != nil {
			return err
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = appendMessage(out, r.topic, at, millis, body)
		return nil
	}, func(g *ask.Gap) error {
		gaps = append(gaps, g)
		if first {
			begin = ask.Place{Offset: g.To}
		}
		return nil
	})
	if err != nil {
		return err
	}
	head, err := problem.Marshal(struct {
		Topic   string `json:"topic"`
		TopicID string `json:"topic_id"`
		Oldest  int64  `json:"oldest"`
		End     int64  `json:"end"`
		From    string `json:"from"`
		Next    string `json:"next"`
		AtEnd   bool   `json:"at_end"`
		Gaps    []Gap  `json:"gaps,omitempty"`
	}{r.topic, rd.in.ID, rd.in.Oldest, rd.end, begin.String(), next.String(), next.Offset >= rd.end, gapsJSON(gaps)})
	if err != nil {
		return err
	}
	r.w.Header().Set("Logd-From", begin.String())
	out = append(append(head[:len(head)-1:len(head)-1], out...), "]}\n"...)
	r.sendJSON(200, out)
	return nil
}

// Gap is what is passed over.
type Gap struct {
	From  string    `json:"from"`
	To    string    `json:"to"`
	Cause ask.Cause `json:"cause"`
}

func gapJSON(g *ask.Gap) Gap {
	return Gap{strconv.FormatInt(g.From, 10), strconv.FormatInt(g.To, 10), g.Cause}
}

func gapsJSON(gaps []*ask.Gap) (list []Gap) {
	for _, g := range gaps {
		list = append(list, gapJSON(g))
	}
	return list
}

// stream answers with messages as they are read, a line each.
func (rd *reading) stream() error {
	r := rd.r
	h := r.w.Header()
	kind := "application/x-ndjson"
	gap := func(g *ask.Gap) error { return nil }
	if rd.shape == text {
		kind, gap = "text/plain; charset=utf-8", nil
	}
	out := make([]byte, 0, outSize)
	to := io.Writer(counted{r})
	var z *gzip.Writer
	if rd.shape == ndjson && rd.wait == 0 && r.Method != http.MethodHead {
		h.Set("Vary", "Accept-Encoding")
		if z = r.api.packers.take(r.Request, to); z != nil {
			defer r.api.packers.give(z)
			h.Set("Content-Encoding", "gzip")
			to = z
		}
	}
	flush := func() error {
		r.start(200)
		_, err := to.Write(out)
		out = out[:0]
		return err
	}
	if rd.shape == ndjson {
		gap = func(g *ask.Gap) error {
			line, err := problem.Marshal(struct {
				Gap Gap `json:"gap"`
			}{gapJSON(g)})
			out = append(append(out, line...), '\n')
			return err
		}
	}
	h.Set("Content-Type", kind)
	h.Set("Trailer", "Logd-Next, Logd-End")
	h.Set("Logd-From", rd.from.String())
	if r.Method == http.MethodHead {
		r.start(200)
		return nil
	}
	next, why, err := rd.each(func(at ask.Place, millis int64, body []byte) error {
		if len(out)+len(body) > outSize && len(out) > 0 {
			if err := flush(); err != nil {
				return err
			}
		}
		if rd.shape == text {
			out = append(append(out, body...), '\n')
		} else {
			out = append(appendMessage(out, r.topic, at, millis, body), '\n')
		}
		if len(out) < outSize {
			return nil
		}
		err := flush()
		if cap(out) > 4*outSize {
			out = make([]byte, 0, outSize) // one was long
		}
		return err
	}, gap)
	if err != nil {
		if !r.begun && len(out) == 0 {
			return err
		}
		if rd.ctx.Err() == nil {
			if rd.shape == ndjson {
				out = append(append(append(out, `{"problem":`...), problem.From(err).JSON()...), "}\n"...)
			}
			flush()
			if z != nil {
				z.Flush()
			}
			http.NewResponseController(r.w).Flush()
		}
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	if z != nil {
		if err := z.Close(); err != nil {
			return err
		}
	}
	h.Set("Logd-Next", next.String())
	h.Set("Logd-End", why)
	return nil
}

// counted is the body of an answer, whose bytes are counted, and each write of which has
// its time.
type counted struct{ r *request }

func (c counted) Write(p []byte) (int, error) {
	c.r.extend()
	n, err := c.r.w.Write(p)
	c.r.caller.Sent(n)
	return n, err
}

// start sends the headers, and gives the next write its time.
func (r *request) start(status int) {
	r.extend()
	if !r.begun {
		r.begun = true
		r.w.WriteHeader(status)
	}
}

// reading returns a look at the topic of a request that may say fresh=1. Its lease is to be
// released.
func (r *request) reading() (*reading, error) {
	fresh, err := r.flag("fresh")
	if err != nil {
		return nil, err
	}
	rd := &reading{r: r, ctx: r.Context(), fresh: fresh, lease: lease{of: r.api.memory}}
	if err := rd.look(); err != nil {
		rd.lease.release()
		return nil, r.noTopic(err)
	}
	return rd, nil
}

// one answers with the body of one message.
func one(r *request) error {
	p, message, ok := ask.ParseID(r.PathValue("id"))
	if !ok || !message {
		return problem.New(problem.InvalidRequest, fmt.Sprintf("%q is no id of a message: want OFFSET.DELTA.", clip(r.PathValue("id"))))
	}
	rd, err := r.reading()
	if err != nil {
		return err
	}
	defer rd.lease.release()
	in := r.caller.NewReader(rd.conf, r.topic, p.Offset, rd.fresh)
	in.Grow = rd.grow
	defer in.Release()
	b, err := in.Next(rd.ctx, 0)
	if err == nil {
		for delta, body := range messagesFrom(b.Data, p.Delta) {
			if delta != p.Delta {
				break
			}
			h := r.w.Header()
			h.Set("Content-Disposition", `attachment; filename="`+r.topic+"-"+p.ID()+`"`)
			if b.Time >= 0 {
				h.Set("Logd-Time", time.UnixMilli(b.Time).UTC().Format(stampLayout))
			}
			r.send(200, "application/octet-stream", body)
			return nil
		}
	}
	var wrong *ask.NotAPlaceError
	var beyond *ask.BeyondEndError
	if err == nil || err == io.EOF || errors.As(err, &wrong) || errors.As(err, &beyond) {
		return problem.New(problem.NotFound, fmt.Sprintf("No message of topic %q begins at %s.", r.topic, p.ID()))
	}
	return rd.explain(err)
}
