// Package web serves HTTP: health, metrics, profiles, POST /log, which is one
// request of the protocol, the API of package api, and the pages of package console. It keeps web pages from using
// any of it through the browser that shows them. What a request of the protocol does
// is package server's: of its answer web makes a status and a body.
package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"expvar"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/web/api"
	"github.com/logd-dev/logd/internal/web/ask"
	"github.com/logd-dev/logd/internal/web/console"
	"github.com/logd-dev/logd/internal/web/problem"
)

// Options are what a server is made of. Protocol and Ready are required.
type Options struct {
	// Protocol returns who answers POST /log, or nil while there is nobody.
	Protocol func() *server.Server
	// Ready returns why not all requests are taken, or nil.
	Ready func() error
	// Checks returns what there is to say of the server in detail, for
	// /readyz?verbose. Default: nothing.
	Checks func() []Check
	// Metrics is the page /metrics. Default: there is none.
	Metrics http.Handler
	// LeaderHTTP returns where clients of HTTP find the member whose clients find it at
	// addr, as http(s)://HOST:PORT, or nothing. Default: nothing.
	LeaderHTTP func(addr string) string
	// Serves are the names of what is served besides health: see Parts. Default: all.
	Serves []string
	// MaxBody is how large the body of a request of the API may be, unpacked, and Memory
	// how large all its buffers together, in bytes. Default: 64 MiB each.
	MaxBody, Memory int64

	// Auth says who may do what. Default: everybody may do everything.
	Auth *server.Auth

	Version string
	Logger  *slog.Logger // default: discard
	Limits               // the first ones; see SetLimits

	// TLS is that of the server's side. Default: none is spoken. Ended is told how the
	// handshake of each connection has ended, when the connection has, or is taken over for
	// events. Verifier returns what says why the client of a connection, which was let in
	// with these certificates, would not be let in now. Both are needed with TLS.
	TLS      *tls.Config
	Ended    func(error)
	Verifier func(certs []*x509.Certificate) func() error
}

// Parts are what there is to serve besides health, by the names that settings have for it.
var Parts = []string{apiPart, consolePart, logPart, metricsPart, debugPart}

const (
	apiPart     = "api"
	consolePart = "console"
	logPart     = "log"
	metricsPart = "metrics"
	debugPart   = "debug"
)

// serves reports whether a part is served.
func (o *Options) serves(part string) bool { return o.Serves == nil || slices.Contains(o.Serves, part) }

// Limits bound what clients can take of a server, who is taken for one, and what pages
// offer.
type Limits struct {
	Timeout        time.Duration // a request, and each write of its answer
	IdleTimeout    time.Duration // a connection without a request
	AllowedHosts   []string      // names that this server has besides localhost
	MaxConnections int           // and a few more for health and metrics; 0 from the start: no limit
	Acts           bool          // pages offer what their visitors may change
}

// Server serves HTTP. Create it with New.
type Server struct {
	o     Options
	log   *slog.Logger
	pages http.Handler
	api   *api.API
	// console has pages for people; nil if they are not served.
	console *console.Console
	http    *http.Server
	guard   *guard
	slots   *slots
	idle    idle
	limit   atomic.Pointer[Limits]

	contentTypes atomic.Int64 // requests of another content type, refused
}

// New returns a server of health and of the parts that the options name.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, log: o.Logger, guard: newGuard(o.AllowedHosts, o.Logger), slots: newSlots(o.MaxConnections)}
	s.limit.Store(&o.Limits)
	s.idle.after = func() time.Duration { return s.limit.Load().IdleTimeout }
	s.api = api.New(api.Options{
		Protocol: o.Protocol, Checks: o.Checks, LeaderHTTP: o.LeaderHTTP, Logger: o.Logger, MaxBody: o.MaxBody, Memory: o.Memory,
		Timeout: func() time.Duration { return s.limit.Load().Timeout },
	})
	if o.serves(consolePart) {
		s.console = s.newConsole()
	}
	s.pages = s.newPages()
	s.http = &http.Server{
		Handler:           s,
		ConnContext:       connContext,
		ReadHeaderTimeout: min(readHeaderTimeout, o.Timeout),
		ReadTimeout:       o.Timeout,
		WriteTimeout:      o.Timeout,            // what takes longer sets a deadline of its own
		IdleTimeout:       365 * 24 * time.Hour, // none: see idle
		ConnState:         s.idle.changed,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(errorLog{o.Logger}, "", 0),

		DisableGeneralOptionsHandler: true,
	}
	if o.TLS != nil {
		s.http.ConnState = func(c net.Conn, state http.ConnState) {
			s.idle.changed(c, state)
			s.countHandshake(c, state)
		}
	}
	return s
}

const (
	readHeaderTimeout = 10 * time.Second
	maxHeaderBytes    = 64 << 10
)

// SetLimits has the server keep to other limits from here on. It does not block.
// Requests under way keep their deadlines, and connections beyond a lower
// MaxConnections stay.
func (s *Server) SetLimits(l Limits) {
	s.guard.allow(l.AllowedHosts)
	s.slots.resize(l.MaxConnections)
	s.limit.Store(&l)
}

// Serve accepts connections on l until Shutdown or Close, and returns
// http.ErrServerClosed then. Beyond MaxConnections a few get health and metrics,
// and more wait for one that ends.
func (s *Server) Serve(l net.Listener) error {
	if s.o.MaxConnections > 0 {
		l = limitHTTP(l, s.slots)
	}
	if s.o.TLS != nil {
		l = tls.NewListener(l, s.o.TLS)
	}
	return s.http.Serve(l)
}

// countHandshake tells of the handshake of a connection that has ended. It is counted when
// all else is said of it.
func (s *Server) countHandshake(c net.Conn, state http.ConnState) {
	t, ok := c.(*tls.Conn)
	if !ok || state != http.StateClosed && state != http.StateHijacked {
		return
	}
	err := t.Handshake() // which is over, or fails at once: the connection is closed
	defer s.o.Ended(err)
	if err == nil {
		return
	}
	s.log.Debug("TLS handshake failed", "remote", t.RemoteAddr(), "err", err)
	if s.o.Auth != nil && err != io.EOF { // with which who has sent nothing ends
		s.o.Auth.NoTLS(t.RemoteAddr(), err)
	}
}

// errorLog logs what package http has to say, but for handshakes that have failed: any
// stranger could fill the log with those. See countHandshake.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Write(p []byte) (int, error) {
	if !bytes.HasPrefix(p, []byte("http: TLS handshake error")) {
		l.log.Warn(string(bytes.TrimSpace(p)))
	}
	return len(p), nil
}

// refused notes a request that a web page may have had a browser make.
func (s *Server) refused(r *http.Request, why string) {
	if s.o.Auth != nil {
		s.o.Auth.HTTPRefused(server.Address(r.RemoteAddr), why)
	}
}

// verifier says why the client of a connection would not be let in any more.
type verifier struct {
	check func() error // nil before the first request
}

type verifierKey struct{}

// connContext is an http.Server's ConnContext: it gives requests what is of their
// connection.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if _, ok := c.(*tls.Conn); ok {
		ctx = context.WithValue(ctx, verifierKey{}, new(verifier))
	}
	return markSpare(ctx, c)
}

// verify returns why the client of a request would not be let in any more.
func (s *Server) verify(r *http.Request) error {
	v := r.Context().Value(verifierKey{}).(*verifier)
	if v.check == nil {
		v.check = s.o.Verifier(r.TLS.PeerCertificates)
	}
	return v.check()
}

// Shutdown stops accepting and returns when all requests are answered, or with an
// error when ctx is done.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return err
	}
	return s.api.Shutdown(ctx)
}

// Close cuts all connections.
func (s *Server) Close() error {
	err := s.http.Close()
	s.api.Close()
	return err
}

// Refused returns how many requests were refused as what a web page may have made
// a browser send, by what gave them away.
func (s *Server) Refused() map[string]int64 {
	counts := map[string]int64{"content_type": s.contentTypes.Load()}
	for why := badHost; why < numRefusals; why++ {
		counts[why.String()] = s.guard.refused[why].Load()
	}
	return counts
}

// newPages returns what there is to ask for.
func (s *Server) newPages() http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/healthz", "/livez"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	}
	mux.HandleFunc("GET /readyz", s.serveReady)
	list := "/healthz\n/livez\n/readyz\n"
	if s.o.Metrics != nil && s.o.serves(metricsPart) {
		mux.Handle("GET /metrics", s.o.Metrics)
		list += "/metrics\n"
	}
	if s.o.serves(debugPart) {
		profile := oneProfile()
		mux.Handle("GET /debug/vars", expvar.Handler())
		mux.HandleFunc("GET /debug/pprof/{$}", pprof.Index)
		mux.Handle("GET /debug/pprof/{name}", profile(pprof.Index))
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.Handle("GET /debug/pprof/profile", profile(pprof.Profile))
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.Handle("GET /debug/pprof/trace", profile(pprof.Trace))
		list += "/debug/vars\n/debug/pprof/\n"
	}
	if s.o.serves(logPart) {
		mux.HandleFunc(logPath, s.serveLog)
		list += "POST /log\n"
	}
	if s.o.serves(apiPart) {
		list += api.Prefix + "/topics\n"
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		if s.o.Auth != nil {
			io.WriteString(w, "logd\n")
			return
		}
		fmt.Fprintf(w, "logd %s\n\n%s", s.o.Version, list)
	})
	return mux
}

// newConsole returns the pages for people. They share the memory of the API, and what it
// remembers of the server's health.
func (s *Server) newConsole() *console.Console {
	return console.New(console.Options{
		Protocol: s.o.Protocol, Timeout: func() time.Duration { return s.limit.Load().Timeout }, Ready: s.o.Ready,
		Health: func() (checks []console.Check) {
			for _, c := range s.api.Health() {
				checks = append(checks, console.Check{Name: c.Check, OK: c.OK, Since: time.Time(c.Since), Words: c.Words})
			}
			return checks
		},
		Words: api.Words, Lease: s.api.Lease, LeaderHTTP: s.o.LeaderHTTP, Auth: s.o.Auth != nil, API: s.o.serves(apiPart), Logger: s.o.Logger,
		Acts: func() bool { return s.limit.Load().Acts },
	})
}

// isPage reports whether a request is for a page of the console.
func (s *Server) isPage(r *http.Request) bool { return s.console != nil && s.console.Has(r) }

// isAPI reports whether a path is one of the API.
func isAPI(path string) bool { return path == api.Prefix || strings.HasPrefix(path, api.Prefix+"/") }

// Check is one thing that was looked at.
type Check = api.Check

// serveReady tells whether all requests are taken, with ?verbose each thing that was
// looked at.
func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	err := s.o.Ready()
	if r.URL.Query().Has("leads") {
		s.serveLeads(w, r, err)
		return
	}
	var text strings.Builder
	verbose := r.URL.Query().Has("verbose") && s.o.Checks != nil
	if verbose && s.o.Auth != nil {
		if r = s.authorize(w, r); r == nil {
			return
		}
	}
	if verbose {
		for _, c := range s.o.Checks() {
			if c.Err != nil {
				fmt.Fprintf(&text, "fail %s: %v\n", c.Name, c.Err)
			} else {
				fmt.Fprintf(&text, "ok %s\n", c.Name)
			}
		}
	}
	switch {
	case err != nil && s.o.Auth != nil && !verbose: // a stranger is told no names
		http.Error(w, "not ready", http.StatusServiceUnavailable)
	case err != nil:
		http.Error(w, text.String()+"not ready: "+err.Error(), http.StatusServiceUnavailable)
	case verbose:
		io.WriteString(w, text.String()+"ready\n")
	default:
		io.WriteString(w, "ok\n")
	}
}

// serveLeads tells whether this server leads a topic, or all of them, and takes requests:
// for balancers that are to pass writes to it.
func (s *Server) serveLeads(w http.ResponseWriter, r *http.Request, notReady error) {
	if s.o.Auth != nil {
		if r = s.identify(w, r, "any"); r == nil {
			return
		}
	}
	what := r.URL.Query().Get("leads")
	c := ask.New(s.o.Protocol(), r)
	leads, err := false, notReady
	switch {
	case err != nil:
	case what == "all":
		leads, err = c.LeadsAll(r.Context())
	case batch.ValidTopic(what):
		leads, err = c.Leads(r.Context(), what)
	default:
		http.Error(w, "leads= is the name of a topic, or all", http.StatusBadRequest)
		return
	}
	perr, _ := errors.AsType[*protocol.Error](err)
	switch {
	case err == nil && leads:
		io.WriteString(w, "ok\n")
	case err == nil:
		http.Error(w, "another member leads", http.StatusServiceUnavailable)
	case perr == protocol.ErrUnauthorized:
		s.refuse(w, r, http.StatusUnauthorized, perr)
	case perr == protocol.ErrNotFound:
		http.Error(w, "there is no such topic", http.StatusNotFound)
	default:
		http.Error(w, "not ready", http.StatusServiceUnavailable)
	}
}

// openPaths are answered whoever asks, and by whatever name.
var openPaths = map[string]bool{"/": true, "/healthz": true, "/livez": true, "/readyz": true}

// sparePaths are answered on spare connections.
var sparePaths = map[string]bool{"/healthz": true, "/livez": true, "/readyz": true, "/metrics": true}

// ServeHTTP lets a request in to the page that it asks for, if it may.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if timeout := s.limit.Load().Timeout; timeout != s.o.Timeout { // whose deadlines net/http has set
		control, by := http.NewResponseController(w), time.Now().Add(timeout)
		control.SetReadDeadline(by) // what these can't set is over
		control.SetWriteDeadline(by)
	}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "frame-ancestors 'none'")
	if len(r.TransferEncoding) > 0 {
		// There may have been a length as well, by which a proxy found another end than
		// package http: what follows may be of a body that nobody has looked at.
		h.Set("Connection", "close")
	}
	if isSpare(r) {
		h.Set("Connection", "close") // for whoever comes next
		if !sparePaths[r.URL.Path] {
			s.refuse(w, r, protocol.ErrBusy.Status, protocol.ErrBusy)
			return
		}
	}
	if s.console != nil && console.IsAsset(r.URL.Path) {
		console.ServeAsset(w, r)
		return
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && s.verify(r) != nil {
		s.refuse(w, r, http.StatusForbidden, protocol.ErrUnauthorized)
		return
	}
	if r.Method == http.MethodOptions {
		h.Set("Allow", s.allowed(r))
		s.refuse(w, r, http.StatusMethodNotAllowed, protocol.ErrInvalidRequest)
		return
	}
	page := s.isPage(r)
	if page || !openPaths[r.URL.Path] {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		why := s.guard.look(local, r, page && console.Navigates(r))
		if why != none {
			s.guard.count(why, r)
			s.refused(r, why.String())
		}
		if why != none || s.o.Auth == nil && strings.HasPrefix(r.URL.Path, debugPath) && !isLoopbackPeer(r) {
			s.refuse(w, r, http.StatusForbidden, protocol.ErrUnauthorized)
			return
		}
		if s.o.Auth != nil && r.URL.Path != api.Prefix+"/openapi.json" {
			if r = s.authorize(w, r); r == nil {
				return
			}
		}
	}
	if isAPI(r.URL.Path) && s.o.serves(apiPart) { // by whose paths nothing is redirected
		s.api.ServeHTTP(w, r)
		return
	}
	if page {
		s.console.ServeHTTP(w, r)
		return
	}
	s.pages.ServeHTTP(w, r)
}

// allowed returns the methods that a page has.
func (s *Server) allowed(r *http.Request) string {
	if isAPI(r.URL.Path) && s.o.serves(apiPart) {
		if methods := s.api.Allowed(r); methods != "" {
			return methods
		}
	}
	if r.URL.Path == logPath {
		return http.MethodPost
	}
	return http.MethodGet + ", " + http.MethodHead
}

// refusedBody bounds what is read of the body of a request that is refused, in
// bytes: a client that is still sending would not see the answer.
const refusedBody = 64 << 10

// refuse answers a request before anything looks at its body: with a page, if it is for
// one, else as refuseHTTP does.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, err *protocol.Error) {
	if !s.isPage(r) {
		refuseHTTP(w, r, status, err)
		return
	}
	w.Header().Set("Connection", "close")
	s.console.Refuse(w, r, status)
}

// refuseHTTP answers a request before anything looks at its body: in the
// protocol's words, if it is one of the protocol, and as a problem, if it is one of the
// API. The connection is closed.
func refuseHTTP(w http.ResponseWriter, r *http.Request, status int, err *protocol.Error) {
	if isAPI(r.URL.Path) {
		p := problem.From(err)
		switch status {
		case http.StatusForbidden:
			p = problem.New(problem.Refused, "A web page may have had a browser send it, or the client's certificate is not good any more. "+
				"Behind a reverse proxy, http-allowed-hosts names the hosts that clients ask for.")
		case http.StatusMethodNotAllowed:
			p = problem.New(problem.Method, "There are other methods here: see Allow.")
		}
		p.Write(w, r)
		return
	}
	answer, kind := http.StatusText(status)+"\n", "text/plain; charset=utf-8"
	if r.URL.Path == logPath {
		answer, kind = string(protocol.AppendError(nil, err)), protocol.ContentType
	}
	h := w.Header()
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", bearer)
	}
	h.Set("Connection", "close")
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(answer)))
	w.WriteHeader(status)
	io.WriteString(w, answer)
	if http.NewResponseController(w).Flush() == nil && r.Header.Get("Expect") == "" {
		io.CopyN(io.Discard, r.Body, refusedBody)
	}
}

// longestProfile bounds a profile of what happens meanwhile.
const longestProfile = 60 * time.Second

// oneProfile returns a function that makes handlers of profiles of which one at
// a time is made, and none for longer than longestProfile.
func oneProfile() func(http.HandlerFunc) http.Handler {
	free := make(chan struct{}, 1)
	return func(page http.HandlerFunc) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// What is no number is package pprof's to refuse.
			if s, err := strconv.ParseFloat(r.FormValue("seconds"), 64); err == nil && !(s <= longestProfile.Seconds()) {
				http.Error(w, fmt.Sprintf("a profile takes at most %v", longestProfile), http.StatusBadRequest)
				return
			}
			select {
			case free <- struct{}{}:
				defer func() { <-free }()
				page(w, r)
			default:
				http.Error(w, "another profile is being made", http.StatusServiceUnavailable)
			}
		})
	}
}
