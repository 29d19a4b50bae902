package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/web/ask"
)

// bearer is the one way to show who one is in a header.
const bearer = "Bearer"

const (
	metricsPath = "/metrics"
	readyPath   = "/readyz" // all that it can say
	debugPath   = "/debug/"
)

// authorize returns the request with what it shows of who makes it, if that one may
// have the page. Else it answers by what the header says alone, and returns nil.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) *http.Request {
	return s.identify(w, r, verbOf(r.URL.Path))
}

// identify is authorize for what takes a verb.
func (s *Server) identify(w http.ResponseWriter, r *http.Request, verb string) *http.Request {
	a, remote := s.o.Auth, server.Address(r.RemoteAddr)
	var shown server.Shown
	if header, ok := r.Header["Authorization"]; ok {
		token, is := tokenOf(header)
		if is {
			shown, is = a.Token([]byte(token))
		}
		if !is {
			delay, _ := a.Failed(remote)
			wait(r.Context(), delay)
			s.refuse(w, r, http.StatusUnauthorized, protocol.ErrUnauthorized)
			return nil
		}
	} else if r.TLS != nil {
		shown = a.Certificate(r.TLS, remote)
	}
	id := a.Identify(shown)
	if id == nil {
		a.Denied(nil, verb, remote, "HTTP")
		s.refuse(w, r, http.StatusUnauthorized, protocol.ErrUnauthorized)
		return nil
	}
	allowed := true
	switch verb {
	case "monitor":
		allowed = server.Monitors(id)
	case "admin":
		allowed = server.Administers(id)
	}
	if !allowed {
		a.Denied(id, verb, remote, "HTTP "+pageOf(r.URL.Path))
		s.refuse(w, r, http.StatusForbidden, protocol.ErrUnauthorized)
		return nil
	}
	if strings.HasPrefix(r.URL.Path, debugPath) {
		a.Administered(id, remote, "HTTP "+pageOf(r.URL.Path))
	}
	return ask.Show(r, shown)
}

// verbOf returns the verb that a page takes, or any: what a request of the protocol
// takes, its server asks.
func verbOf(path string) string {
	switch {
	case path == metricsPath, path == readyPath:
		return "monitor"
	case strings.HasPrefix(path, debugPath):
		return "admin"
	}
	return "any"
}

// pageOf returns the path of a page for the log: as it is if it can be one, else how
// long it is.
func pageOf(path string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz/"
	if len(path) > 40 || strings.Trim(path, letters) != "" {
		return fmt.Sprintf("%d bytes", len(path))
	}
	return path
}

// tokenOf returns the token of an Authorization header, if it has one.
func tokenOf(header []string) (token string, ok bool) {
	if len(header) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(header[0], " ")
	if !ok || !strings.EqualFold(scheme, bearer) || token == "" || len(token) > protocol.MaxToken || strings.Contains(token, " ") {
		return "", false
	}
	return token, true
}

// wait waits, or until the client is gone.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
