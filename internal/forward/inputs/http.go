package inputs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/logd-dev/logd/internal/forward/feed"
)

// maxBodyLines bounds the messages of a request: each needs more memory than its bytes.
const maxBodyLines = 1 << 16

// bodiesAtOnce is how many of the largest bodies are held in memory at a time.
const bodiesAtOnce = 4

// httpService takes the lines of requests: of each all, or none.
type httpService struct {
	in     *Input
	l      *listener
	server *http.Server

	bodies   *semaphore.Weighted // their bytes
	maxBytes int64

	mu    sync.Mutex
	fresh map[net.Conn]struct{} // those on which nothing came yet
	lives map[net.Conn]feed.Live
	open  sync.WaitGroup // lives
}

// liveKey is the key of a connection's source.
type liveKey struct{}

func newHTTP(in *Input) (*httpService, error) {
	l, err := listen(in, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
	if err != nil {
		return nil, err
	}
	c := in.config.Load()
	s := &httpService{
		in: in, l: l, maxBytes: bodiesAtOnce * c.MaxBody,
		fresh: make(map[net.Conn]struct{}), lives: make(map[net.Conn]feed.Live),
	}
	s.bodies = semaphore.NewWeighted(s.maxBytes)
	s.server = &http.Server{
		Handler: s, DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout: c.Timeout, MaxHeaderBytes: 16 << 10, IdleTimeout: 2 * time.Minute,
		ErrorLog:    slog.NewLogLogger(in.log.Handler(), slog.LevelDebug),
		ConnContext: s.begin, ConnState: s.changed,
	}
	return s, nil
}

func (s *httpService) addr() net.Addr { return s.l.Addr() }

// begin begins the source of a connection.
func (s *httpService) begin(ctx context.Context, nc net.Conn) context.Context {
	live := s.in.sink.Live(s.in.config.Load().Name, remoteOf(nc))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lives[nc] = live
	s.open.Add(1)
	return context.WithValue(ctx, liveKey{}, live)
}

// changed notes what becomes of a connection.
func (s *httpService) changed(nc net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateNew {
		s.fresh[nc] = struct{}{}
		return
	}
	delete(s.fresh, nc)
	if live := s.lives[nc]; live != nil && (state == http.StateClosed || state == http.StateHijacked) {
		delete(s.lives, nc)
		live.Close()
		s.open.Done()
	}
}

func (s *httpService) serve() {
	s.server.Serve(s.l) // until the listener ends
	s.l.Close()
	// Requests that have begun are answered; connections without one would be waited for.
	time.Sleep(drainPause)
	s.mu.Lock()
	for nc := range s.fresh {
		nc.Close()
	}
	s.mu.Unlock()
	if s.server.Shutdown(s.in.life) != nil {
		s.server.Close()
	}
	s.open.Wait()
}

func (s *httpService) stop() { s.l.stop() }

func (s *httpService) abort() {
	s.l.Close()
	s.server.Close()
}

// refusal is an answer that says that nothing was taken, or not what became of it.
type refusal struct {
	status int
	text   string
}

// Error implements error.
func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// ServeHTTP implements http.Handler.
func (s *httpService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			s.in.log.Error("serving a request panicked: its connection is closed", "remote", r.RemoteAddr, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			panic(http.ErrAbortHandler) // which closes it, and says nothing
		}
	}()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	n, err := s.take(w, r)
	if err != nil {
		no := &refusal{http.StatusInternalServerError, "internal error"}
		if !errors.As(err, &no) {
			s.in.sparse.Log(s.in.log, slog.LevelError, "a request failed", "remote", r.RemoteAddr, "error", err)
		}
		switch no.status {
		case http.StatusMethodNotAllowed:
			w.Header().Set("Allow", http.MethodPost)
		case http.StatusServiceUnavailable:
			w.Header().Set("Retry-After", "1")
		}
		http.Error(w, no.text, no.status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct {
		Messages int `json:"messages"`
	}{n})
}

// take takes the lines of a request and returns how many are safe.
func (s *httpService) take(w http.ResponseWriter, r *http.Request) (int, error) {
	c := s.in.config.Load()
	switch {
	case len(r.Header["Origin"]) > 0:
		return 0, refuse(http.StatusForbidden, "web pages may not send to this address")
	case r.URL.Path != "/lines":
		return 0, refuse(http.StatusNotFound, "there is only /lines")
	case r.Method != http.MethodPost:
		return 0, refuse(http.StatusMethodNotAllowed, "lines are sent by POST")
	}
	topic, err := c.topicOf(r.URL.RawQuery)
	if err != nil {
		return 0, err
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return 0, refuse(http.StatusBadRequest, "a body may not be compressed")
	}
	if r.ContentLength > c.MaxBody {
		return 0, refuse(http.StatusRequestEntityTooLarge, "the body has %d bytes and may have %d", r.ContentLength, c.MaxBody)
	}

	// What a body may need is set aside before it is read.
	need := r.ContentLength
	if need < 0 {
		need = c.MaxBody
	}
	need = min(need, s.maxBytes)
	ctx, cancel := context.WithTimeout(s.in.life, c.Timeout)
	defer cancel()
	if s.bodies.Acquire(ctx, need) != nil {
		return 0, refuse(http.StatusServiceUnavailable, "too many requests at a time: nothing was taken")
	}
	defer s.bodies.Release(need)
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(c.Timeout))
	body, err := readBody(http.MaxBytesReader(w, r.Body, c.MaxBody), r.ContentLength)
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return 0, refuse(http.StatusRequestEntityTooLarge, "the body has more than the %d bytes that it may have", c.MaxBody)
		}
		return 0, refuse(http.StatusBadRequest, "the body did not arrive: nothing was taken")
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	messages, err := c.split(body, topic, r.RemoteAddr)
	if err != nil || len(messages) == 0 {
		return 0, err
	}
	return len(messages), s.put(r.Context().Value(liveKey{}).(feed.Live), messages, c)
}

// put puts messages and waits until they are safe.
func (s *httpService) put(live feed.Live, messages []feed.Message, c *Config) error {
	ctx, cancel := context.WithTimeout(s.in.life, c.Timeout)
	defer cancel()
	safe := make(chan struct{})
	switch err := s.in.put(ctx, live, messages, c.Full, func() { close(safe) }); {
	case errors.Is(err, feed.ErrFull), errors.Is(err, context.DeadlineExceeded):
		return refuse(http.StatusServiceUnavailable, "there is no room: nothing was taken")
	case errors.Is(err, feed.ErrClosing), errors.Is(err, context.Canceled):
		return refuse(http.StatusServiceUnavailable, "shutting down: nothing was taken")
	case err != nil:
		return err
	}
	select {
	case <-safe:
		return nil
	case <-ctx.Done():
		return refuse(http.StatusGatewayTimeout, "the lines are taken, but it is not known whether they are safe")
	}
}

// topicOf returns the topic that a query names, if any.
func (c *Config) topicOf(query string) (string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "the query can't be read")
	}
	for name, all := range values {
		if name != "topic" {
			return "", refuse(http.StatusBadRequest, "topic alone may be in the query")
		}
		if len(all) != 1 {
			return "", refuse(http.StatusBadRequest, "topic is in the query more than once")
		}
		if !c.allows(all[0]) {
			return "", refuse(http.StatusForbidden, "topic not allowed")
		}
		return all[0], nil
	}
	return "", nil
}

// readBody reads a body of so many bytes, or -1 if that isn't known.
func readBody(r io.Reader, size int64) ([]byte, error) {
	var b bytes.Buffer
	if size > 0 {
		// As much as comes at once, and no more than that before it does.
		b.Grow(int(min(size, 64<<10)))
	}
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// split makes messages of the lines of a body, of which it keeps the bytes.
func (c *Config) split(body []byte, topic, remote string) ([]feed.Message, error) {
	n := bytes.Count(body, []byte("\n"))
	if len(body) > 0 && body[len(body)-1] != '\n' {
		n++
	}
	if n > maxBodyLines {
		return nil, refuse(http.StatusRequestEntityTooLarge, "line %d: a body may have %d lines", maxBodyLines+1, maxBodyLines)
	}
	messages := make([]feed.Message, 0, n)
	for len(body) > 0 {
		line, rest, _ := bytes.Cut(body, []byte("\n"))
		body = rest
		if c.TrimCR {
			line = bytes.TrimSuffix(line, []byte("\r"))
		}
		if len(line) > c.MaxLine {
			return nil, refuse(http.StatusRequestEntityTooLarge, "line %d has %d bytes and may have %d: nothing was taken", len(messages)+1, len(line), c.MaxLine)
		}
		messages = append(messages, feed.Message{Body: line, Topic: topic, Remote: remote})
	}
	return messages, nil
}
