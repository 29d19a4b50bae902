package node

import (
	"errors"
	"expvar"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/logd-dev/logd/internal/protocol"
)

// serveHTTP serves HTTP until the node is released. Beyond its share of
// descriptors a few connections get health and metrics, and more wait for one
// that ends.
func (n *Node) serveHTTP() {
	n.http = n.newHTTP()
	n.group.Go(func() {
		if err := n.http.Serve(limitHTTP(n.httpListener, n.share.http)); !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("serve HTTP: %w", err))
		}
	})
}

// newHTTP returns a server of health, metrics, profiles and POST /log.
func (n *Node) newHTTP() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := n.Ready(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.metrics.registry, promhttp.HandlerOpts{}))
	profile := oneProfile()
	mux.Handle("GET /debug/vars", expvar.Handler())
	mux.HandleFunc("GET /debug/pprof/{$}", pprof.Index)
	mux.Handle("GET /debug/pprof/{name}", profile(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.Handle("GET /debug/pprof/profile", profile(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.Handle("GET /debug/pprof/trace", profile(pprof.Trace))
	mux.HandleFunc(logPath, n.serveLog)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "logd %s\n\n/healthz\n/readyz\n/metrics\n/debug/vars\n/debug/pprof/\nPOST /log\n", n.o.Version)
	})
	return &http.Server{
		Handler:           n.entrance(mux),
		ConnContext:       markSpare,
		ReadHeaderTimeout: min(readHeaderTimeout, n.o.Config.Timeout),
		ReadTimeout:       n.o.Config.Timeout,
		WriteTimeout:      n.o.Config.Timeout, // what takes longer sets a deadline of its own
		IdleTimeout:       n.o.Config.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelWarn),

		DisableGeneralOptionsHandler: true,
	}
}

const logPath = "/log"

// openPaths are answered whoever asks, and by whatever name.
var openPaths = map[string]bool{"/": true, "/healthz": true, "/readyz": true}

// sparePaths are answered on spare connections.
var sparePaths = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

// entrance lets requests in to the pages that they may ask for.
func (n *Node) entrance(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "frame-ancestors 'none'")
		if isSpare(r) {
			h.Set("Connection", "close") // for whoever comes next
			if !sparePaths[r.URL.Path] {
				refuseHTTP(w, r, protocol.ErrBusy.Status, protocol.ErrBusy)
				return
			}
		}
		if r.Method == http.MethodOptions {
			h.Set("Allow", allowed(r.URL.Path))
			refuseHTTP(w, r, http.StatusMethodNotAllowed, protocol.ErrInvalidRequest)
			return
		}
		if !openPaths[r.URL.Path] {
			local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
			why := n.guard.look(local, r)
			if why != none {
				n.guard.count(why, r)
			}
			if why != none || strings.HasPrefix(r.URL.Path, "/debug/") && !isLoopbackPeer(r) {
				refuseHTTP(w, r, http.StatusForbidden, protocol.ErrUnauthorized)
				return
			}
		}
		pages.ServeHTTP(w, r)
	})
}

// allowed returns the methods that a page has.
func allowed(path string) string {
	if path == logPath {
		return http.MethodPost
	}
	return http.MethodGet + ", " + http.MethodHead
}

// refusedBody bounds what is read of the body of a request that is refused, in
// bytes: a client that is still sending would not see the answer.
const refusedBody = 64 << 10

// refuseHTTP answers a request before anything looks at its body: in the
// protocol's words, if it is one of the protocol. The connection is closed.
func refuseHTTP(w http.ResponseWriter, r *http.Request, status int, err *protocol.Error) {
	answer, kind := http.StatusText(status)+"\n", "text/plain; charset=utf-8"
	if r.URL.Path == logPath {
		answer, kind = string(protocol.AppendError(nil, err)), protocol.ContentType
	}
	h := w.Header()
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

// serveLog hands POST /log to the protocol's server.
func (n *Node) serveLog(w http.ResponseWriter, r *http.Request) {
	s := n.server.Load()
	if s == nil {
		w.Header().Set("Content-Type", protocol.ContentType)
		w.WriteHeader(protocol.ErrBusy.Status)
		w.Write(protocol.AppendError(nil, protocol.ErrBusy))
		return
	}
	s.ServeHTTP(w, r)
}
