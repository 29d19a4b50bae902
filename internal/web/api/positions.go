package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/place"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/problem"
)

// Position is where a consumer of a topic is. What is not known is null.
type Position struct {
	Topic       string  `json:"topic"`
	Consumer    string  `json:"consumer"`
	At          string  `json:"at"`
	Version     int64   `json:"version"`
	State       string  `json:"state"`
	LagBytes    int64   `json:"lag_bytes"`
	LagMessages *int64  `json:"lag_messages"`
	LagMS       *int64  `json:"lag_ms"`
	LostBytes   int64   `json:"lost_bytes"`
	Updated     stamp   `json:"updated"`
	By          *string `json:"by"`
	Holder      *string `json:"holder"`
	HoldMS      *int64  `json:"hold_ms"`
	TTLMS       *int64  `json:"ttl_ms"`
	Note        *string `json:"note"`
}

// NewPosition returns what POSITION has said of a consumer.
func NewPosition(in *protocol.PositionInfo) *Position {
	number := func(n int64) *int64 {
		if n < 0 {
			return nil
		}
		return &n
	}
	return &Position{
		Topic: in.Topic, Consumer: in.Consumer, At: string(batch.AppendPlace(nil, in.At)), Version: in.Version, State: string(in.State),
		LagBytes: in.LagBytes, LagMessages: number(in.LagMessages), LagMS: number(in.LagMS), LostBytes: in.LostBytes, Updated: stamp(in.Updated),
		By: null(in.By), Holder: null(in.Holder), HoldMS: number(in.HoldMS), TTLMS: number(in.TTL), Note: null(in.Note),
	}
}

// Positions are a page of positions.
type Positions struct {
	Positions []*Position `json:"positions"`
	Next      *string     `json:"next"` // the after= of the next page; null on the last
}

func listPositions(r *request) error {
	limit, err := r.number("limit", protocol.MaxPositions, 1, protocol.MaxPositions)
	if err != nil {
		return err
	}
	req := protocol.PositionsRequest{Limit: limit}
	if after := r.query.Get("after"); r.query.Has("after") {
		topic, consumer, ok := strings.Cut(after, "/")
		if !ok || !batch.ValidTopic(topic) || !protocol.ValidConsumer(consumer) {
			return problem.New(problem.InvalidRequest, fmt.Sprintf("after=%q is wrong: want TOPIC/CONSUMER.", clip(after)))
		}
		req.AfterTopic, req.AfterConsumer = topic, consumer
	}
	list, err := r.caller.PositionsPage(r.Context(), r.topic, &req)
	if err != nil {
		return noPositions(err)
	}
	page := Positions{Positions: []*Position{}}
	for i := range list {
		page.Positions = append(page.Positions, NewPosition(&list[i]))
	}
	if n := len(list); int64(n) == limit {
		next := list[n-1].Topic + "/" + list[n-1].Consumer
		page.Next = &next
	}
	return r.json(200, page)
}

// noPositions makes of the answer that none are kept one that says so.
func noPositions(err error) error {
	if err == protocol.ErrInvalidRequest {
		return problem.New(problem.InvalidRequest, "The server keeps no positions (positions = 0), or none of that topic.")
	}
	return err
}

// consumer returns the consumer in the path.
func (r *request) consumer() (string, error) {
	name := r.PathValue("consumer")
	if !protocol.ValidConsumer(name) {
		return "", problem.New(problem.InvalidRequest, fmt.Sprintf("%q can't be the name of a consumer: want 1 to %d of A-Z a-z 0-9 . _ -.", clip(name), protocol.MaxConsumer))
	}
	return name, nil
}

func (r *request) noPosition(consumer string, err error) error {
	if err == protocol.ErrNotFound {
		return problem.New(problem.NotFound, fmt.Sprintf("Topic %q has no position of %q, or is not there.", r.topic, consumer))
	}
	return noPositions(err)
}

func showPosition(r *request) error {
	consumer, err := r.consumer()
	if err != nil {
		return err
	}
	fresh, err := r.flag("fresh")
	if err != nil {
		return err
	}
	in, err := r.caller.Position(r.Context(), r.topic, consumer, fresh)
	if err != nil {
		return r.noPosition(consumer, err)
	}
	r.w.Header().Set("ETag", `"`+strconv.FormatInt(in.Version, 10)+`"`)
	return r.json(200, NewPosition(&in))
}

// version takes the version that a position has to have from the headers.
func (r *request) version(p *protocol.PositionRequest) error {
	match, none := r.Header["If-Match"], r.Header["If-None-Match"]
	wrong := problem.New(problem.InvalidRequest, `Send If-Match: "VERSION", as ETag has it, or If-None-Match: *, which is that there is no position yet.`)
	switch {
	case len(match)+len(none) == 0:
		return nil
	case len(match)+len(none) > 1, len(none) == 1 && none[0] != "*":
		return wrong
	case len(none) == 1:
		p.Versioned = true
		return nil
	}
	tag, err := r.ifMatch("version")
	if err != nil {
		return wrong
	}
	version, ok := batch.ParseInt([]byte(tag))
	if !ok {
		return wrong
	}
	p.Versioned, p.Version = true, version
	return nil
}

// SetPosition is what is answered to a position that was set, held or let go of, or would
// be.
type SetPosition struct {
	Topic    string  `json:"topic"`
	Consumer string  `json:"consumer"`
	From     *string `json:"from"` // where it was; null if there was none, or that is not to be known
	At       *string `json:"at"`
	Bytes    *int64  `json:"bytes"` // that are skipped; negative: that come again
	Version  int64   `json:"version"`
	DryRun   bool    `json:"dry_run"`
}

// changesPosition returns what keeps a request from changing a position here, as far as its
// headers tell, or nil.
func (r *request) changesPosition(consumer string, force bool) error {
	change := protocol.PositionRequest{Forget: true, Force: force} // all changes take the same right
	if err := r.caller.Refusal(&protocol.Request{Command: protocol.Position, Topic: []byte(r.topic), Consumer: []byte(consumer), Position: &change}); err != nil {
		return err
	}
	return r.caller.PositionsElsewhere()
}

func setPosition(r *request) error {
	consumer, err := r.consumer()
	if err != nil {
		return err
	}
	var p protocol.PositionRequest
	if p.Force, err = r.flag("force"); err != nil {
		return err
	}
	if err := r.version(&p); err != nil {
		return err
	}
	if err := r.changesPosition(consumer, p.Force); err != nil {
		return err
	}
	values, err := r.members("at", "ttl_ms", "hold_ms", "as", "note", "dry_run")
	if err != nil {
		return err
	}
	var at string
	var ttl, hold int64
	var dry bool
	hasAt, err := take(values, "at", &at, "a place, as text")
	if err != nil {
		return err
	}
	hasTTL, err := take(values, "ttl_ms", &ttl, "a number of milliseconds, at least 1")
	if err != nil {
		return err
	}
	hasHold, err := take(values, "hold_ms", &hold, "a number of milliseconds, 1000 to 300000, or 0 to let go")
	if err != nil {
		return err
	}
	const word = "1 to 64 of A-Z a-z 0-9 . _ -"
	hasAs, err := take(values, "as", &p.As, word)
	if err != nil {
		return err
	}
	hasNote, err := take(values, "note", &p.Note, word)
	if err != nil {
		return err
	}
	if _, err := take(values, "dry_run", &dry, "true or false"); err != nil {
		return err
	}
	wrong := func(detail string) error { return problem.New(problem.InvalidRequest, detail) }
	p.TTL, p.Hold, p.Let = time.Duration(ttl)*time.Millisecond, time.Duration(hold)*time.Millisecond, hasHold && hold == 0
	switch {
	case !hasAt && !hasHold:
		return wrong(`The body has neither "at", the place, nor "hold_ms".`)
	case hasTTL && (ttl < 1 || ttl > 1<<50):
		return wrong(`"ttl_ms" is to be at least 1.`)
	case hasHold && hold != 0 && (p.Hold < protocol.MinHold || p.Hold > protocol.MaxHold):
		return wrong(`"hold_ms" is to be 1000 to 300000, or 0 to let go.`)
	case hasHold && !hasAs:
		return wrong(`"hold_ms" wants "as", who holds it.`)
	case hasAs && !protocol.ValidConsumer(p.As), hasNote && !protocol.ValidConsumer(p.Note):
		return wrong(`"as" and "note" are to be ` + word + ".")
	case !hasAt && (p.Versioned || hasTTL || hasNote):
		return wrong(`Without "at" a version, "ttl_ms" and "note" mean nothing.`)
	}
	ctx, cancel := r.timed()
	defer cancel()
	out := SetPosition{Topic: r.topic, Consumer: consumer, DryRun: dry}
	was, err := r.caller.Position(ctx, r.topic, consumer, false)
	switch {
	case err == nil:
		from := string(batch.AppendPlace(nil, was.At))
		out.From, out.Version = &from, was.Version
	case err == protocol.ErrNotFound, err == protocol.ErrUnauthorized:
	default:
		return r.noPosition(consumer, err)
	}
	status := http.StatusOK
	if err == protocol.ErrNotFound {
		status = http.StatusCreated
	}
	if hasAt {
		p.Set = true
		if p.At, p.ID, err = r.positionAt(ctx, at); err != nil {
			return err
		}
		text := string(batch.AppendPlace(nil, p.At))
		out.At = &text
		if out.From != nil {
			bytes := p.At.Offset - was.At.Offset
			out.Bytes = &bytes
		}
	}
	if dry {
		return r.json(200, out)
	}
	if out.Version, err = r.caller.SetPosition(ctx, r.topic, consumer, &p); err != nil {
		return r.noPosition(consumer, err)
	}
	if hasAt {
		r.w.Header().Set("ETag", `"`+strconv.FormatInt(out.Version, 10)+`"`)
	} else if status == http.StatusCreated {
		status = http.StatusOK
	}
	return r.json(status, out)
}

// positionAt returns the place that a position is set to, and the id of its topic. Who may
// not read the topic gives an id, of which it is not looked whether a message begins there.
func (r *request) positionAt(ctx context.Context, text string) (batch.Place, string, error) {
	p, err := place.Parse(text, time.Now().UTC())
	if err != nil {
		return batch.Place{}, "", problem.New(problem.InvalidRequest, fmt.Sprintf("at=%q is no place: %v.", clip(text), err))
	}
	rd := &reading{r: r, ctx: ctx, lease: lease{of: r.api.memory}}
	defer rd.lease.release()
	err = rd.look()
	if errors.Is(err, protocol.ErrUnauthorized) && p.Kind == place.AtOffset {
		return batch.Place{Offset: p.Offset, Delta: p.Delta}, "", nil
	}
	if err != nil {
		return batch.Place{}, "", r.noTopic(err)
	}
	at, err := rd.finder().Find(ctx, p)
	if errors.Is(err, protocol.ErrUnauthorized) && p.Kind == place.AtOffset { // an administrator's
		return batch.Place{Offset: p.Offset, Delta: p.Delta}, rd.in.ID, nil
	}
	if err != nil {
		return batch.Place{}, "", rd.explain(err)
	}
	return batch.Place{Offset: at.Offset, Delta: at.Delta}, rd.in.ID, nil
}

func forgetPosition(r *request) error {
	consumer, err := r.consumer()
	if err != nil {
		return err
	}
	if err := r.requirePage(); err != nil {
		return err
	}
	p := protocol.PositionRequest{Forget: true}
	if p.Force, err = r.flag("force"); err != nil {
		return err
	}
	if err := r.version(&p); err != nil {
		return err
	}
	if err := r.changesPosition(consumer, p.Force); err != nil {
		return err
	}
	if _, err := r.caller.SetPosition(r.Context(), r.topic, consumer, &p); err != nil {
		return r.noPosition(consumer, err)
	}
	r.begun = true
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}
