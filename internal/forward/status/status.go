// Package status tells over HTTP how the agent is: whether it lives, whether it is ready
// and why not, where each source stands, and numbers for Prometheus.
//
// It asks an [Agent], which is all that it knows of one:
//
//	server := &http.Server{Handler: status.NewHandler(agent)}
//
// The handler changes nothing, and is safe for concurrent use.
package status

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Agent is what is asked. Its methods are safe for concurrent use and never wait for the
// network.
type Agent interface {
	// Stuck returns an error that names a loop that stands, or nil.
	Stuck() error
	// NotReady returns why the agent is not ready, each reason in one line; none if it is.
	NotReady() []string
	// Sources yields all sources, those of an input one after the other.
	Sources() iter.Seq[Source]
	// Figures returns what the agent counts.
	Figures() Figures
}

// Source is where a source stands. In JSON it is a line of /sources.
type Source struct {
	Input      string  `json:"input"`
	Source     string  `json:"source"` // a path, the address of a sender, or the like
	Topic      string  `json:"topic,omitempty"`
	Position   int64   `json:"position"`
	Size       int64   `json:"size"`
	LagBytes   int64   `json:"lag_bytes"`
	LagSeconds float64 `json:"lag_seconds"`
}

// NewHandler returns the handler of /healthz, /readyz, /sources and /metrics.
func NewHandler(a Agent) http.Handler {
	h := handler{a}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{a})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", h.healthz)
	mux.HandleFunc("GET /readyz", h.readyz)
	mux.HandleFunc("GET /sources", h.sources)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !addressedHere(r) {
			http.Error(w, "asked for by a name that is not this machine's", http.StatusForbidden)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// addressedHere reports whether a request was sent here by somebody who meant to: on
// loopback a page in a browser may lead its own name here, and read what it gets.
func addressedHere(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return true
	}
	addr, err := netip.ParseAddrPort(local.String())
	if err != nil || !addr.Addr().Unmap().IsLoopback() {
		return true
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	_, err = netip.ParseAddr(host)
	return host == "localhost" || err == nil
}

type handler struct{ agent Agent }

func (h handler) healthz(w http.ResponseWriter, _ *http.Request) {
	if err := h.agent.Stuck(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n")
}

func (h handler) readyz(w http.ResponseWriter, _ *http.Request) {
	why := h.agent.NotReady()
	if len(why) == 0 {
		io.WriteString(w, "ok\n")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusServiceUnavailable)
	for _, reason := range why {
		fmt.Fprintln(w, reason)
	}
}

func (h handler) sources(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for s := range h.agent.Sources() {
		if encoder.Encode(s) != nil {
			return // nobody reads any more
		}
	}
}
