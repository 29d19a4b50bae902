package node

import (
	"errors"
	"expvar"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/logd-dev/logd/internal/protocol"
)

// serveHTTP serves HTTP until the node is released. Connections beyond its
// share of descriptors wait for one that ends.
func (n *Node) serveHTTP() {
	n.http = n.newHTTP()
	n.group.Go(func() {
		if err := n.http.Serve(netutil.LimitListener(n.httpListener, n.share.http)); !errors.Is(err, http.ErrServerClosed) {
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
	mux.Handle("GET /debug/vars", expvar.Handler())
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/log", n.serveLog)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "logd %s\n\n/healthz\n/readyz\n/metrics\n/debug/vars\n/debug/pprof/\nPOST /log\n", n.o.Version)
	})
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: min(readHeaderTimeout, n.o.Config.Timeout),
		ReadTimeout:       n.o.Config.Timeout,
		WriteTimeout:      n.o.Config.Timeout, // what takes longer sets a deadline of its own
		IdleTimeout:       n.o.Config.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelWarn),
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
