package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/place"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/web/ask"
	"github.com/logd-dev/logd/internal/web/problem"
)

// members returns the members of the JSON object in the body of a request, which may have
// these keys, each once. The values are as they stand there.
func (r *request) members(allowed ...string) (map[string]json.RawMessage, error) {
	kind, err := r.contentType()
	if err != nil {
		return nil, err
	}
	patch := r.Method == http.MethodPatch && kind == "application/merge-patch+json"
	if patch {
		if err := r.checkPage(kind); err != nil {
			return nil, err
		}
	}
	if kind != "application/json" && !patch {
		return nil, problem.New(problem.ContentTypes, "The body has to be a JSON object, of Content-Type application/json.")
	}
	size := r.ContentLength
	if size < 0 || size > maxJSON {
		size = maxJSON
	}
	if err := r.lease.grow(r.Context(), 2*size, r.api.o.Timeout()); err != nil { // what is parsed of it is there, too
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, maxJSON+1))
	if err != nil {
		return nil, r.bodyError(err)
	}
	if len(text) > maxJSON {
		return nil, problem.New(problem.TooLarge, fmt.Sprintf("The body has more than %d bytes.", maxJSON))
	}
	list, err := parseJSON(text)
	if err != nil {
		return nil, problem.New(problem.InvalidRequest, fmt.Sprintf("The body is no JSON object: %v.", err))
	}
	values := make(map[string]json.RawMessage)
	for _, m := range list {
		if !slices.Contains(allowed, m.key) {
			return nil, problem.New(problem.InvalidRequest, fmt.Sprintf("The body has a key %q; it may have %s here.", clip(m.key), strings.Join(allowed, ", ")))
		}
		values[m.key] = m.value
	}
	return values, nil
}

// take gives a key's value to v, and reports whether there is one. null is none.
func take[T any](values map[string]json.RawMessage, key string, v *T, want string) (bool, error) {
	raw, ok := values[key]
	if !ok || string(raw) == "null" {
		return false, nil
	}
	if json.Unmarshal(raw, v) != nil {
		return false, problem.New(problem.InvalidRequest, fmt.Sprintf("%q is wrong: want %s.", key, want))
	}
	return true, nil
}

// requirePage refuses a change that a page of another site could have a browser make.
func (r *request) requirePage() error {
	kind, err := r.contentType()
	if err != nil {
		return err
	}
	return r.checkPage(kind)
}

// createTopic makes a topic, unless it is there.
func createTopic(r *request) error {
	if err := r.requirePage(); err != nil {
		return err
	}
	ctx, cancel := r.timed()
	defer cancel()
	before, err := r.caller.Topics(ctx, false)
	if err != nil {
		return err
	}
	if _, err := r.caller.Ask(ctx, &protocol.Request{Command: protocol.Create, Topic: []byte(r.topic)}); err != nil {
		return err
	}
	status := http.StatusCreated
	if _, found := slices.BinarySearch(before, r.topic); found {
		status = http.StatusOK
	}
	in, err := r.caller.Info(ctx, r.topic, false)
	if err != nil { // it may be made, and not be looked at
		return r.json(status, &Topic{Topic: r.topic})
	}
	r.w.Header().Set("ETag", `"`+in.ID+`"`)
	return r.json(status, NewTopic(r.topic, &in))
}

// ifMatch returns what a request expects: an ETag without its quotes.
func (r *request) ifMatch(what string) (string, error) {
	switch tags := r.Header["If-Match"]; len(tags) {
	case 0:
		return "", problem.New(problem.Precondition, fmt.Sprintf("Send If-Match with the %s that GET has as ETag, so that nothing newer is changed.", what))
	case 1:
		tag := tags[0]
		if n := len(tag); n > 2 && tag[0] == '"' && tag[n-1] == '"' {
			return tag[1 : n-1], nil
		}
	}
	return "", problem.New(problem.InvalidRequest, fmt.Sprintf("If-Match is to be one %s in quotes.", what))
}

// deleteTopic removes the topic that has the id.
func deleteTopic(r *request) error {
	if err := r.requirePage(); err != nil {
		return err
	}
	now, err := r.flag("now")
	if err != nil {
		return err
	}
	// Who may not is told that before anything else.
	if err := r.caller.Refusal(&protocol.Request{Command: protocol.Delete, Topic: []byte(r.topic), ID: []byte("0")}); err != nil {
		return err
	}
	id, err := r.ifMatch("id")
	if err != nil {
		return err
	}
	other := problem.New(problem.Version, fmt.Sprintf("Topic %q is another one than that with the id %q.", r.topic, clip(id)))
	if !protocol.ValidID(id) {
		return other
	}
	ctx, cancel := r.timed()
	defer cancel()
	_, err = r.caller.Ask(ctx, &protocol.Request{Command: protocol.Delete, Topic: []byte(r.topic), ID: []byte(id), Now: now})
	if err == protocol.ErrNotFound {
		in, infoErr := r.caller.Info(ctx, r.topic, false)
		if infoErr == nil {
			return other.With("id", in.ID)
		}
	}
	if err != nil {
		return r.noTopic(err)
	}
	r.begun = true
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

// Trimmed is what was removed of a topic, or would be.
type Trimmed struct {
	Oldest     int64   `json:"oldest"`
	Partitions int64   `json:"partitions"`
	Bytes      int64   `json:"bytes"`
	Messages   int64   `json:"messages"`
	Hooks      []int64 `json:"hooks"` // the partitions, by base, for which the delete hook runs
}

// trim removes what is before a place.
func trim(r *request) error {
	if err := r.caller.Refusal(&protocol.Request{Command: protocol.Trim, Topic: []byte(r.topic)}); err != nil {
		return err
	}
	if err := r.caller.Elsewhere(r.topic); err != nil {
		return err
	}
	values, err := r.members("before", "dry_run")
	if err != nil {
		return err
	}
	var text string
	var dry bool
	if ok, err := take(values, "before", &text, "a place, as text"); err != nil {
		return err
	} else if !ok {
		return problem.New(problem.InvalidRequest, `The body has no "before", the place before which all is to be removed.`)
	}
	if _, err := take(values, "dry_run", &dry, "true or false"); err != nil {
		return err
	}
	ctx, cancel := r.timed()
	defer cancel()
	conf, err := r.caller.Config(ctx)
	if err != nil {
		return err
	}
	in, err := r.caller.Info(ctx, r.topic, false)
	if err != nil {
		return r.noTopic(err)
	}
	p, err := place.Parse(text, time.Now().UTC())
	if err != nil {
		return problem.New(problem.InvalidRequest, fmt.Sprintf("before=%q is no place: %v.", clip(text), err))
	}
	offset, err := r.trimTo(ctx, &conf, &in, p)
	if err != nil {
		return explain(r, err)
	}
	plan, err := r.caller.Retention(ctx, r.topic, protocol.Keep{Partitions: -1, Bytes: -1, Age: -1})
	if err != nil {
		return r.noTopic(err)
	}
	t := Trimmed{Oldest: in.Oldest, Hooks: []int64{}}
	for _, part := range plan {
		if part.End > offset || part.End == part.Base {
			continue
		}
		t.Oldest = max(t.Oldest, part.End)
		t.Partitions++
		t.Messages += max(part.Messages, 0)
		t.Bytes += part.End - part.Base
		if conf.DeleteHook {
			t.Hooks = append(t.Hooks, part.Base)
		}
	}
	if !dry {
		a, err := r.caller.Ask(ctx, &protocol.Request{Command: protocol.Trim, Topic: []byte(r.topic), Offset: offset})
		if err != nil {
			return r.noTopic(err)
		}
		t.Oldest = a.Offset // which is less where hooks have yet to run
	}
	return r.json(200, t)
}

// trimTo returns the offset before which a topic is to be trimmed. What is gone or damaged
// is no obstacle.
func (r *request) trimTo(ctx context.Context, conf *protocol.Settings, in *protocol.TopicInfo, p place.Place) (int64, error) {
	l := lease{of: r.api.memory}
	defer l.release()
	f := &ask.Finder{Caller: r.caller, Conf: conf, Topic: r.topic, Info: *in, Grow: func(n int64) error { return l.grow(ctx, n, r.api.o.Timeout()) }}
	r.caller.Codecs = batch.KnownCodecs
	if p.Kind == place.AtOffset && p.Delta == 0 && p.Offset == in.Next {
		return p.Offset, nil
	}
	at, err := f.Find(ctx, p)
	if gap, ok := errors.AsType[*ask.Gap](err); ok {
		return gap.From, nil
	}
	// An administrator need not be one who may read: the offset of a batch does without.
	if errors.Is(err, protocol.ErrUnauthorized) && p.Kind == place.AtOffset && p.Delta == 0 {
		return p.Offset, nil
	}
	return at.Offset, err
}

// showPlace answers what a place is.
func showPlace(r *request) error {
	if !r.query.Has("at") {
		return problem.New(problem.InvalidRequest, "The query has no at, the place.")
	}
	rd, err := r.reading()
	if err != nil {
		return err
	}
	defer rd.lease.release()
	at, err := rd.place(rd.finder(), "at")
	if err == nil {
		// What a time or a number of messages stands for is there.
		at, err = rd.finder().Check(rd.ctx, at)
	}
	if err != nil {
		return rd.explain(err)
	}
	found := struct {
		ID     string `json:"id"`
		Offset int64  `json:"offset"`
		Delta  int64  `json:"delta"`
		Time   stamp  `json:"time"`
	}{at.ID(), at.Offset, at.Delta, stamp{}}
	if at.Offset >= rd.in.Next {
		found.ID = at.String()
	}
	marks, err := r.caller.Times(rd.ctx, r.topic, at.Offset, at.Offset+1)
	if err == nil && len(marks) == 1 {
		found.Time = stamp(time.UnixMilli(marks[0].Millis))
	}
	return r.json(200, found)
}

// Hook is a partition that waits for its delete hook.
type Hook struct {
	Topic    string  `json:"topic"`
	Base     int64   `json:"base"`
	End      int64   `json:"end"`
	State    string  `json:"state"`
	Attempts int64   `json:"attempts"`
	Next     stamp   `json:"next"`
	Error    *string `json:"error"`
}

func showHooks(r *request) error {
	list, err := r.caller.Hooks(r.Context())
	if err != nil {
		return err
	}
	hooks := []Hook{}
	for _, h := range list {
		hooks = append(hooks, Hook{h.Topic, h.Base, h.End, h.State, h.Attempts, stamp(h.Next), null(h.Error)})
	}
	return r.json(200, hooks)
}

func changeHook(r *request) error {
	base, ok := batch.ParseInt([]byte(r.PathValue("base")))
	if !ok {
		return problem.New(problem.InvalidRequest, fmt.Sprintf("%q is no offset of a partition.", clip(r.PathValue("base"))))
	}
	req := protocol.Request{Command: protocol.Hook, Topic: []byte(r.topic), Offset: base}
	if err := r.caller.Refusal(&req); err != nil {
		return err
	}
	values, err := r.members("do")
	if err != nil {
		return err
	}
	var do string
	if _, err := take(values, "do", &do, `"retry" or "skip"`); err != nil {
		return err
	}
	if do != "retry" && do != "skip" {
		return problem.New(problem.InvalidRequest, `"do" is to be "retry" or "skip".`)
	}
	req.Skip = do == "skip"
	if _, err := r.caller.Ask(r.Context(), &req); err != nil {
		if err == protocol.ErrNotFound {
			return problem.New(problem.NotFound, fmt.Sprintf("Partition %d of topic %q waits for no delete hook.", base, r.topic))
		}
		return err
	}
	return r.done(do)
}

// done answers what was done.
func (r *request) done(what string) error {
	return r.json(200, struct {
		Done string `json:"done"`
	}{what})
}

// transfer has a member lead a group, that of a topic, or all.
func transfer(r *request) error {
	if err := r.caller.Refusal(&protocol.Request{Command: protocol.Transfer, Member: []byte("m"), Group: 0}); err != nil {
		return err
	}
	// The leader of group 0 can do all of it, and that of a group some: which one it is, the
	// body says. So it is not read if the former is known to HTTP.
	if err := r.caller.Elsewhere(""); err != nil {
		if p := problem.From(err); r.toLeader(p) {
			return p
		}
	}
	values, err := r.members("to", "topic", "group", "all")
	if err != nil {
		return err
	}
	var to, topic string
	var group int64
	var all bool
	if _, err := take(values, "to", &to, "the name of a member"); err != nil {
		return err
	}
	if !protocol.ValidMember(to) {
		return problem.New(problem.InvalidRequest, `"to" is to be the name of a member.`)
	}
	byTopic, err := take(values, "topic", &topic, "the name of a topic")
	if err != nil {
		return err
	}
	byGroup, err := take(values, "group", &group, "the number of a group")
	if err != nil {
		return err
	}
	if _, err := take(values, "all", &all, "true or false"); err != nil {
		return err
	}
	given := 0
	for _, is := range []bool{byTopic, byGroup, all} {
		if is {
			given++
		}
	}
	if given != 1 || group < 0 {
		return problem.New(problem.InvalidRequest, `Want one of "topic", "group" and "all": true.`)
	}
	groups := []int64{group}
	switch {
	case byTopic:
		if err := checkTopic(topic); err != nil {
			return err
		}
		groups = []int64{-1}
	case all:
		list, err := r.caller.Groups(r.Context())
		if err != nil {
			return noCluster(err)
		}
		groups = nil
		for _, g := range list {
			groups = append(groups, g.Group)
		}
	}
	for _, g := range groups {
		_, err := r.caller.Ask(r.Context(), &protocol.Request{Command: protocol.Transfer, Member: []byte(to), Group: g, Topic: []byte(topic)})
		if err == protocol.ErrInvalidRequest {
			return problem.New(problem.InvalidRequest, fmt.Sprintf("Member %q can't lead it: it is not up and caught up, or there is no cluster, or no such group.", to))
		}
		if err != nil {
			return err
		}
	}
	return r.done("transfer")
}

// drain has a member lead nothing.
func drain(r *request) error {
	if err := r.caller.Refusal(&protocol.Request{Command: protocol.Drain, Member: []byte("m")}); err != nil {
		return err
	}
	if err := r.caller.Elsewhere(""); err != nil {
		return err
	}
	values, err := r.members("member", "off")
	if err != nil {
		return err
	}
	var member string
	var off bool
	if _, err := take(values, "member", &member, "the name of a member"); err != nil {
		return err
	}
	if _, err := take(values, "off", &off, "true or false"); err != nil {
		return err
	}
	if !protocol.ValidMember(member) {
		return problem.New(problem.InvalidRequest, `"member" is to be the name of a member.`)
	}
	_, err = r.caller.Ask(r.Context(), &protocol.Request{Command: protocol.Drain, Member: []byte(member), Off: off})
	if err == protocol.ErrInvalidRequest {
		return problem.New(problem.InvalidRequest, fmt.Sprintf("There is no member %q, or no cluster.", member))
	}
	if err != nil {
		return err
	}
	return r.done("drain")
}

// Errors are the error answers that there were.
type Errors struct {
	Counts   []ErrorCount `json:"counts"`
	Refusals []Refusal    `json:"refusals"`
}

// ErrorCount is how often a command was answered with a reason.
type ErrorCount struct {
	Command string `json:"command"`
	Reason  string `json:"reason"`
	Count   int64  `json:"count"`
}

// Refusal is one error answer.
type Refusal struct {
	Time     stamp   `json:"time"`
	Identity *string `json:"identity"`
	Command  string  `json:"command"`
	Topic    *string `json:"topic"`
	Reason   string  `json:"reason"`
}

func showErrors(r *request) error {
	counts, refusals, err := r.caller.Errors(r.Context())
	if err != nil {
		return err
	}
	out := Errors{Counts: []ErrorCount{}, Refusals: []Refusal{}}
	for _, c := range counts {
		out.Counts = append(out.Counts, ErrorCount{c.Command.String(), c.Reason, c.Count})
	}
	for _, f := range refusals {
		out.Refusals = append(out.Refusals, Refusal{stamp(f.Time), null(f.Identity), f.Command.String(), null(f.Topic), f.Reason})
	}
	return r.json(200, out)
}
