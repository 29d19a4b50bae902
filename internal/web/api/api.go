// Package api serves topics over HTTP, as JSON, lines and events: /api/v1. It is a client
// of the protocol in the same process: what a request does is done by requests of the
// protocol, which package ask makes with the rights of who has sent it. Nothing is
// remembered of a reader between two requests.
//
// The table in routes.go is all that there is to ask for; openapi.json, which is served,
// says the same for programs. A handler returns what went wrong as an error, and package
// problem makes the answer of it.
package api

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/web/ask"
	"github.com/logd-dev/logd/internal/web/problem"
)

// Prefix is what all paths begin with.
const Prefix = "/api/v1"

// maxJSON is the size of the largest JSON that a request may have, in bytes.
const maxJSON = 64 << 10

// Options are what an API is made of. Protocol and Timeout are required.
type Options struct {
	// Protocol returns who does what is asked for, or nil while there is nobody.
	Protocol func() *server.Server
	// Timeout returns how long a request, and each write of its answer, may take.
	Timeout func() time.Duration
	// Checks returns what there is to say of the server's health.
	Checks func() []Check
	// LeaderHTTP returns where clients of HTTP find the member that the protocol's find at
	// addr, as http(s)://HOST:PORT, or nothing. Default: nothing.
	LeaderHTTP func(addr string) string
	Logger     *slog.Logger // default: discard

	MaxBody int64 // bytes of a request's body, unpacked; default 64 MiB
	Memory  int64 // bytes of all buffers; default 64 MiB
}

const (
	defaultMaxBody = 64 << 20
	defaultMemory  = 64 << 20
)

// Check is one thing that was looked at.
type Check struct {
	Name string
	Err  error // what is wrong with it, or nil
}

// API serves all paths that begin with Prefix. Create it with New. It is safe for
// concurrent use.
type API struct {
	o   Options
	log *slog.Logger
	mux *http.ServeMux

	memory  *memory
	packers packers
	tails   *tails // has a quarter of the memory
	streams streams
	health  health
}

// New returns an API.
func New(o Options) *API {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxBody <= 0 {
		o.MaxBody = defaultMaxBody
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	a := &API{o: o, log: o.Logger, mux: http.NewServeMux(), packers: newPackers(), memory: newMemory(o.Memory - o.Memory/4), tails: newTails(o.Memory / 4)}
	for _, r := range a.routes() {
		a.mux.Handle(Prefix+r.path, &r)
	}
	return a
}

// ServeHTTP answers a request. What it shows of who makes it is in its context: see
// package ask.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, _ := a.find(r)
	if route == nil {
		problem.New(problem.NotFound, "There is no "+strconv.Quote(clip(r.URL.Path))+": see "+Prefix+"/openapi.json.").Write(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// Allowed returns the methods that a path has, as the header Allow has them, or nothing
// if there is no such path.
func (a *API) Allowed(r *http.Request) string {
	if route, _ := a.find(r); route != nil {
		return route.allowed()
	}
	return ""
}

// find returns the route of a request. A path that is not written as it is to be has
// none: there are no redirects to what a client may have meant.
func (a *API) find(r *http.Request) (*route, string) {
	h, pattern := a.mux.Handler(r)
	route, _ := h.(*route)
	return route, pattern
}

// route is a path and what may be done there.
type route struct {
	api     *API
	path    string // with names in braces
	methods []method
}

// method is what may be done with a resource.
type method struct {
	name  string   // GET serves HEAD, too
	query []string // the keys that it may have
	serve func(*request) error
}

func (t *route) allowed() string {
	var names []string
	for _, m := range t.methods {
		names = append(names, m.name)
		if m.name == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (a *API) route(path string, methods ...method) route { return route{a, path, methods} }

// ServeHTTP implements http.Handler.
func (t *route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.Method
	if name == http.MethodHead {
		name = http.MethodGet
	}
	i := slices.IndexFunc(t.methods, func(m method) bool { return m.name == name })
	if i < 0 {
		p := problem.New(problem.Method, "There is no "+strconv.Quote(clip(r.Method))+" here, but "+t.allowed()+".")
		p.Allow = t.allowed()
		p.Write(w, r)
		return
	}
	req := &request{Request: r, w: w, api: t.api, caller: ask.New(t.api.o.Protocol(), r), lease: lease{of: t.api.memory}}
	defer req.lease.release()
	err := req.look(&t.methods[i])
	if err == nil {
		err = t.methods[i].serve(req)
	}
	if err == nil {
		return
	}
	if req.begun {
		// What lacks its end is not whole.
		req.api.log.Debug("an answer over HTTP was cut", "remote", r.RemoteAddr, "err", err)
		panic(http.ErrAbortHandler)
	}
	req.extend()
	p := problem.From(err)
	req.toLeader(p)
	p.Write(w, r)
}

// toLeader sends a client to the leader that has to ask there, if it is known where clients
// of HTTP find that. It has to do all of it there, so it is not sent there if something is
// stored; a page can't follow, and is told where it is. toLeader reports whether the client
// is sent there.
func (r *request) toLeader(p *problem.Problem) bool {
	leader, _ := p.Member("leader").(string)
	if p.Kind != problem.NotLeader || leader == "" {
		return false
	}
	at := ""
	if r.api.o.LeaderHTTP != nil {
		at = r.api.o.LeaderHTTP(leader)
	}
	p.With("leader_http", null(at))
	if at != "" {
		p.Detail += " For HTTP it is at " + strconv.Quote(at) + "."
	}
	if at == "" || p.Member("stored") != nil || r.fromPage() {
		return false
	}
	p.Redirect(at + r.URL.RequestURI())
	return true
}

// request is a request, and the way to its answer.
type request struct {
	*http.Request
	w      http.ResponseWriter
	api    *API
	caller *ask.Caller
	query  url.Values
	topic  string // in the path, where there is one
	begun  bool   // something of the answer was sent
	lease  lease  // for the JSON in its body
}

// look checks what all requests have in common.
func (r *request) look(m *method) error {
	if err := r.parseQuery(m.query); err != nil {
		return err
	}
	if r.topic = r.PathValue("t"); r.topic == "" {
		return nil
	}
	return checkTopic(r.topic)
}

// checkTopic returns what is wrong with the name of a topic, or nil.
func checkTopic(name string) error {
	if batch.ValidTopic(name) {
		return nil
	}
	return problem.New(problem.InvalidRequest, fmt.Sprintf(
		"%q can't be the name of a topic: want 1 to 255 of A-Z a-z 0-9 . _ -, the first of them no dot.", clip(name)))
}

// parseQuery takes the query apart, which may have these keys, each once.
func (r *request) parseQuery(allowed []string) error {
	var err error
	if r.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return problem.New(problem.InvalidRequest, "The query can't be taken apart: pairs KEY=VALUE, percent-encoded, stand between &.")
	}
	for _, key := range slices.Sorted(keys(r.query)) {
		if !slices.Contains(allowed, key) {
			if len(allowed) == 0 {
				return problem.New(problem.InvalidRequest, fmt.Sprintf("The query has a key %q; it may have none here.", clip(key)))
			}
			return problem.New(problem.InvalidRequest, fmt.Sprintf("The query has a key %q; it may have %s here.", clip(key), strings.Join(allowed, ", ")))
		}
		if len(r.query[key]) > 1 {
			return problem.New(problem.InvalidRequest, fmt.Sprintf("The query has the key %q more than once.", key))
		}
	}
	return nil
}

func keys(v url.Values) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for key := range v {
			if !yield(key) {
				return
			}
		}
	}
}

// number returns the number that a key of the query has, or other if it is not there.
func (r *request) number(key string, other, least, most int64) (int64, error) {
	if !r.query.Has(key) {
		return other, nil
	}
	text := r.query.Get(key)
	n, ok := batch.ParseInt([]byte(text))
	if !ok || n < least || n > most {
		return 0, problem.New(problem.InvalidRequest, fmt.Sprintf("%s=%q is wrong: want a number from %d to %d.", key, clip(text), least, most))
	}
	return n, nil
}

// flag reports whether a key of the query is 1: it may be that or 0.
func (r *request) flag(key string) (bool, error) {
	n, err := r.number(key, 0, 0, 1)
	return n == 1, err
}

// choice returns which of the values a key of the query has, or the first if it is not
// there.
func (r *request) choice(key string, values ...string) (string, error) {
	if !r.query.Has(key) {
		return values[0], nil
	}
	text := r.query.Get(key)
	if !slices.Contains(values, text) || text == "" {
		values = slices.DeleteFunc(values, func(s string) bool { return s == "" })
		return "", problem.New(problem.InvalidRequest, fmt.Sprintf("%s=%q is wrong: want %s.", key, clip(text), strings.Join(values, " or ")))
	}
	return text, nil
}

// json answers with a value as JSON.
func (r *request) json(status int, v any) error {
	text, err := problem.Marshal(v)
	if err != nil {
		return err
	}
	r.sendJSON(status, append(text, '\n'))
	return nil
}

// sendJSON answers with JSON, compressed if that is worth it.
func (r *request) sendJSON(status int, text []byte) {
	h := r.w.Header()
	h.Set("Vary", "Accept-Encoding")
	if len(text) >= leastPacked {
		var packed bytes.Buffer
		if z := r.api.packers.take(r.Request, &packed); z != nil {
			z.Write(text) // to memory
			z.Close()
			r.api.packers.give(z)
			h.Set("Content-Encoding", "gzip")
			text = packed.Bytes()
		}
	}
	r.send(status, "application/json", text)
}

// send answers with bytes.
func (r *request) send(status int, kind string, body []byte) {
	h := r.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	r.extend()
	r.begun = true
	r.w.WriteHeader(status)
	n, _ := r.w.Write(body) // or the client is gone
	r.caller.Sent(n)
}

// extend gives the next write its time.
func (r *request) extend() {
	http.NewResponseController(r.w).SetWriteDeadline(time.Now().Add(r.api.o.Timeout()))
}

// noTopic makes of the answer that a topic does not exist one that names it.
func (r *request) noTopic(err error) error {
	if err == protocol.ErrNotFound {
		return problem.New(problem.NotFound, fmt.Sprintf("There is no topic %q.", r.topic))
	}
	return err
}

// timed returns a context that ends with the time of a request.
func (r *request) timed() (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), r.api.o.Timeout())
}

// clip returns as much of a stranger's text as an answer needs.
func clip(s string) string { return s[:min(len(s), 100)] }

// stamp is a time as answers have it: in UTC, to the millisecond; null for none.
type stamp time.Time

// MarshalJSON implements json.Marshaler.
func (t stamp) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return time.Time(t).UTC().AppendFormat(nil, `"`+stampLayout+`"`), nil
}

const stampLayout = "2006-01-02T15:04:05.000Z"

// null returns s, or nil for nothing.
func null(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
