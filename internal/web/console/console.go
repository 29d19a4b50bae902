// Package console serves pages for people: topics and what is in them, positions, the
// cluster, and how the server is. A page is whole without JavaScript; one script, of
// assets/console.js, makes what is there more comfortable.
//
// The console is a client of the protocol in the same process, as package api is: a page
// shows what its visitor may ask for. Between two requests it remembers what a rate is
// reckoned from, and nothing of who has looked. There is no timer: a server at which
// nobody looks does nothing.
//
// What comes from outside, names, bodies and errors, gets into a page through html/template,
// or through appendBody, and in no other way.
package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/web/ask"
	"github.com/logd-dev/logd/internal/web/problem"
)

// Options are what a Console is made of. Protocol, Timeout, Ready, Health and Words are required.
type Options struct {
	// Protocol returns who does what is asked for, or nil while there is nobody.
	Protocol func() *server.Server
	// Timeout returns how long a request, and each write of its answer, may take.
	Timeout func() time.Duration
	// Ready returns why not all requests are taken, or nil.
	Ready func() error
	// Health returns what there is to say of the server's health.
	Health func() []Check
	// Words says what happens to a partition, of which newest tells that it is written now.
	Words func(p *protocol.PlannedPartition, newest bool, in *protocol.TopicInfo, conf *protocol.Settings) string
	// Lease returns a function that is asked before the buffers of a page become as many
	// bytes, and one that gives them back. Default: they may.
	Lease func(ctx context.Context) (grow func(n int64) error, release func())
	// LeaderHTTP returns where clients of HTTP find the member that the protocol's find at
	// addr, as http(s)://HOST:PORT, or nothing. Default: nothing.
	LeaderHTTP func(addr string) string
	// Auth reports that who asks has to be known, API that the HTTP API is served.
	Auth, API bool
	// Acts reports whether pages offer what their visitors may change. Default: they only show.
	Acts   func() bool
	Logger *slog.Logger // default: discard
}

// Check is what is told of one thing that was looked at.
type Check struct {
	Name  string
	OK    bool
	Since time.Time // when it was first seen to be so
	Words string    // what is wrong
}

// Console serves pages. Create it with New. It is safe for concurrent use.
type Console struct {
	o      Options
	log    *slog.Logger
	rates  rates
	zipped zippers
}

// New returns a console.
func New(o Options) *Console {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Lease == nil {
		o.Lease = func(context.Context) (func(int64) error, func()) {
			return func(int64) error { return nil }, func() {}
		}
	}
	if o.Acts == nil {
		o.Acts = func() bool { return false }
	}
	return &Console{o: o, log: o.Logger, zipped: newZippers()}
}

// Has reports whether a request is for a page. That of the path / is if HTML is wanted:
// for others there is a text.
func (c *Console) Has(r *http.Request) bool {
	switch path := r.URL.Path; path {
	case "/":
		return wantsHTML(r)
	case "/topics", "/positions", "/cluster", "/writers", "/health":
		return true
	default:
		return strings.HasPrefix(path, "/topics/")
	}
}

// wantsHTML reports whether the client is one that shows pages, as it says.
func wantsHTML(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header["Accept"], ","), ",") {
		kind, params, _ := strings.Cut(part, ";")
		if strings.TrimSpace(kind) == "text/html" && strings.ReplaceAll(params, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

// Navigates reports whether a request is for a page that a person goes to, perhaps from
// another site: there the page is shown by itself, and that site sees nothing of it.
func Navigates(r *http.Request) bool {
	one := func(key, value string) bool { v := r.Header[key]; return len(v) == 1 && v[0] == value }
	return r.Method == http.MethodGet && one("Sec-Fetch-Mode", "navigate") && one("Sec-Fetch-Dest", "document")
}

// visit is a request for a page.
type visit struct {
	*http.Request
	ctx     context.Context
	w       http.ResponseWriter
	console *Console
	caller  *ask.Caller
	now     time.Time
	grow    func(n int64) error

	topic string // in the path, where there is one
}

// ServeHTTP answers a request for a page. What it shows of who makes it is in its context:
// see package ask.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "pages are only read", http.StatusMethodNotAllowed)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), c.o.Timeout())
	defer cancel()
	grow, release := c.o.Lease(ctx)
	defer release()
	v := &visit{Request: r, ctx: ctx, w: w, console: c, caller: ask.New(c.o.Protocol(), r), now: time.Now().UTC(), grow: grow}
	v.caller.Codecs = batch.KnownCodecs
	if err := v.serve(); err != nil {
		v.fail(err)
	}
}

// serve answers with the page that the path names.
func (v *visit) serve() error {
	switch v.URL.Path {
	case "/", "/topics":
		return v.topics()
	case "/positions":
		return v.positions()
	case "/cluster":
		return v.cluster()
	case "/writers":
		return v.writers()
	case "/health":
		return v.health()
	}
	rest := strings.TrimPrefix(v.URL.Path, "/topics/")
	name, messages := strings.CutSuffix(rest, "/messages")
	if !batch.ValidTopic(name) {
		return problem.New(problem.NotFound, "There is no such page. Topics are listed on the page Topics.")
	}
	v.topic = name
	if messages {
		return v.messages()
	}
	return v.showTopic()
}

// fail answers with a page that tells what went wrong.
func (v *visit) fail(err error) {
	if v.topic != "" && errors.Is(err, protocol.ErrNotFound) {
		err = problem.New(problem.NotFound, fmt.Sprintf("There is no topic %q.", v.topic))
	}
	if v.ctx.Err() != nil {
		err = problem.New(problem.Busy, "The page has taken longer than the setting timeout allows. Ask again later.")
	}
	if v.console.o.Protocol() == nil {
		v.w.Header().Set("Retry-After", "1")
		v.console.tell(v.w, v.Request, http.StatusServiceUnavailable, "The server starts", "The page comes when all topics are opened. Health tells how far that is.")
		return
	}
	p := problem.From(err)
	if p.Kind == problem.Unauthorized && v.console.o.Auth {
		v.console.askWho(v.w, v.Request, http.StatusUnauthorized, "Your identity may not see this page. With another token you may.", false)
		return
	}
	status := p.Kind.Status
	if status == http.StatusServiceUnavailable {
		v.w.Header().Set("Retry-After", "1")
	}
	if p.Kind == problem.NotLeader {
		v.elsewhere(p)
		return
	}
	v.console.tell(v.w, v.Request, status, p.Kind.Title, p.Detail)
}

// elsewhere answers that the leader knows what is asked for, if any member does.
func (v *visit) elsewhere(p *problem.Problem) {
	r := refusal{Words: "This member can't tell, and no leader is known. Ask again later."}
	if leader, _ := p.Member("leader").(string); leader != "" {
		r.Words = fmt.Sprintf("The leader, at %s, may know.", leader)
		if v.topic != "" {
			r.Words = fmt.Sprintf("This member has no topic %q. The leader, at %s, may have it.", v.topic, leader)
		}
		if v.console.o.LeaderHTTP != nil {
			if at := v.console.o.LeaderHTTP(leader); at != "" {
				r.Leader = at + v.URL.RequestURI()
			}
		}
	}
	v.console.send(v.w, v.Request, p.Kind.Status, "refusal", &frame{Title: "Another member may know", Data: r}, nil)
}

// Refuse answers a request for a page whose sender may have none, before anything else
// looks at it: 401 with a form for a token, or 403.
func (c *Console) Refuse(w http.ResponseWriter, r *http.Request, status int) {
	switch status {
	case http.StatusUnauthorized:
		words := "Who looks at this server shows who that is."
		_, shown := r.Header["Authorization"]
		if shown {
			words = "No identity has that token."
		} else if r.URL.Path == "/" {
			status = http.StatusOK
		}
		c.askWho(w, r, status, words, shown)
	case http.StatusForbidden:
		c.tell(w, r, status, "The page can't be shown under this address",
			"The server does not know the name in the address, or another site has asked for the page. Behind a reverse proxy, or under a name besides localhost, "+
				"that name belongs into the setting http-allowed-hosts. A certificate that is not good any more is another reason.")
	default:
		c.tell(w, r, status, http.StatusText(status), "The server has as much to do as it takes. Ask again later.")
	}
}

// refusal is what a page of a refusal shows.
type refusal struct {
	Words string
	Token bool // it has a form for a token
	// Leader is where the leader has the page, or nothing.
	Leader string
	// Unknown: the token that was shown is nobody's.
	Unknown bool
}

func (c *Console) askWho(w http.ResponseWriter, r *http.Request, status int, words string, unknown bool) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	c.send(w, r, status, "refusal", &frame{Title: "Who are you?", Data: refusal{Words: words, Token: true, Unknown: unknown}}, nil)
}

func (c *Console) tell(w http.ResponseWriter, r *http.Request, status int, title, words string) {
	// What is for now passes, and the page comes by itself.
	f := &frame{Title: title, Live: status == http.StatusServiceUnavailable, Data: refusal{Words: words}}
	c.send(w, r, status, "refusal", f, nil)
}

// frame is what is around every page.
type frame struct {
	Title string
	At    string // which link of the head is that of the page
	Root  string // from the page to /
	Asset map[string]string
	Node  string // what the server calls itself
	Ready bool
	Known bool // Node and Ready are shown
	Live  bool // the script has it anew every few seconds
	// Refresh is after how many seconds a browser without the script has it anew; 0: never.
	Refresh int64
	Data    any
}

// show answers with a page.
func (v *visit) show(name string, f *frame) error {
	f.Known, f.Ready = true, v.console.o.Ready() == nil
	if conf, err := v.caller.Config(v.ctx); err == nil {
		f.Node = conf.Node
	}
	return v.console.send(v.w, v.Request, http.StatusOK, name, f, v.grow)
}

// contentPolicy is what pages may do: nothing but with what this server has.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types logd"

// send answers with a page that a template makes. grow may be nil: then the page is short.
// With an error nothing was sent.
func (c *Console) send(w http.ResponseWriter, r *http.Request, status int, name string, f *frame, grow func(int64) error) error {
	f.Root, f.Asset = root(r.URL.Path), assetNames
	out := &buffer{grow: grow}
	if err := templates()[name].Execute(out, f); err != nil {
		if out.err != nil {
			return out.err
		}
		return fmt.Errorf("page %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Vary", "Accept, Accept-Encoding")
	body := out.bytes
	if acceptsGzip(r) {
		if zipped, ok := c.zipped.zip(body); ok {
			h.Set("Content-Encoding", "gzip")
			body = zipped
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(c.o.Timeout()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body) // or the client is gone
	}
	return nil
}

// root returns the way from a page to /, by which its links are found behind any proxy.
func root(path string) string {
	if depth := strings.Count(path, "/") - 1; depth > 0 {
		return strings.TrimSuffix(strings.Repeat("../", depth), "/")
	}
	return "."
}

// buffer is a page that is being made.
type buffer struct {
	bytes []byte
	grow  func(n int64) error
	err   error // of grow
}

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) {
	if need := len(b.bytes) + len(p); need > cap(b.bytes) {
		size := max(2*cap(b.bytes), need, 16<<10)
		if b.grow != nil {
			// Both are there while it is copied, and what is made of it for gzip.
			if b.err = b.grow(2 * int64(size)); b.err != nil {
				return 0, b.err
			}
		}
		bigger := make([]byte, len(b.bytes), size)
		copy(bigger, b.bytes)
		b.bytes = bigger
	}
	b.bytes = append(b.bytes, p...)
	return len(p), nil
}

// clip returns as much of a stranger's text as a page needs.
func clip(s string) string {
	return string(bytes.ToValidUTF8([]byte(s[:min(len(s), 100)]), []byte("?")))
}
