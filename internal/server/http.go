package server

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
)

// ServeHTTP answers POST /log: the body is one request of the protocol, the
// answer is its response, and the status says the same again. Batches are
// copied to the client, not sent by sendfile. While it is answered a request
// counts as a connection.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := &httpConn{w: w, control: http.NewResponseController(w), remote: r.RemoteAddr}
	fail := func(err *protocol.Error) {
		out.SetWriteDeadline(time.Now().Add(s.o.Timeout)) // one before it may be as good as over
		answer := protocol.AppendError(nil, err)
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		out.Write(answer)
		// A client that is still sending would not see the answer.
		if closing[out.status] && out.control.Flush() == nil && r.Header.Get("Expect") == "" {
			io.CopyN(io.Discard, r.Body, refusedBody)
		}
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		out.status = http.StatusMethodNotAllowed
		fail(protocol.ErrInvalidRequest)
		return
	}
	if !isRequest(r.Header) {
		s.counters.contentTypes.Add(1)
		out.status = http.StatusUnsupportedMediaType
		fail(protocol.ErrInvalidRequest)
		return
	}
	request, err := s.readHTTP(r.Body)
	if err != nil {
		fail(err)
		return
	}
	c := newConn(s, out)
	c.gone = r.Context().Done()
	c.single = true
	// The request is the buffer: nothing else is to be read.
	c.in.buf = &buffer{request}
	c.in.w = len(request)
	s.mu.Lock()
	if s.state != serving {
		s.mu.Unlock()
		fail(protocol.ErrShuttingDown)
		return
	}
	if len(s.conns) >= s.o.MaxConnections {
		s.mu.Unlock()
		s.counters.refused.Add(1)
		fail(protocol.ErrBusy)
		return
	}
	s.conns[c] = true
	s.group.Add(1)
	s.mu.Unlock()
	cut := false // without an answer, since an error would say that nothing was stored
	defer func() {
		if r := recover(); r != nil {
			s.logPanic(c, r)
			cut = true
		}
		if cut {
			defer panic(http.ErrAbortHandler)
		}
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.group.Done()
	}()
	s.counters.bytesIn.Add(int64(len(request)))
	if err := c.serveOne(); err != nil {
		cut = errors.Is(err, topic.ErrInDoubt)
		s.log.Debug("http request ended", "remote", r.RemoteAddr, "err", err)
	}
}

// isRequest reports whether the one Content-Type of a request is the
// protocol's: a page in a browser can't send it to another site.
func isRequest(h http.Header) bool {
	types := h["Content-Type"]
	if len(types) != 1 {
		return false
	}
	t, _, err := mime.ParseMediaType(types[0])
	return err == nil && t == protocol.ContentType
}

// closing are the statuses after which the connection is closed: nobody knows
// where the next request would begin, or wants it.
var closing = map[int]bool{
	http.StatusBadRequest: true, http.StatusUnauthorized: true, http.StatusForbidden: true,
	http.StatusRequestEntityTooLarge: true, http.StatusUnsupportedMediaType: true,
}

// refusedBody bounds what is read of a body that is refused, in bytes.
const refusedBody = 4 << 20

// serveOne answers the one request that is in the buffer.
func (c *conn) serveOne() error {
	if err := c.next(); err != nil && !errors.Is(err, errHangUp) {
		if errors.Is(err, errMore) {
			c.fail(protocol.Unknown, protocol.ErrInvalidRequest)
		} else {
			return err
		}
	}
	if err := c.settle(); err != nil {
		return err
	}
	return c.flush(false)
}

// readHTTP reads a body and checks that it is one whole request and nothing
// else. A missing end of the request line is added.
func (s *Server) readHTTP(body io.Reader) ([]byte, *protocol.Error) {
	limit := s.o.MaxBatchSize + int64(protocol.MaxLine) + int64(len("\r\n"))
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, protocol.ErrInvalidRequest
	}
	end := bytes.IndexByte(b, '\n') + 1
	if end == 0 {
		b = append(b, "\r\n"...)
		end = len(b)
	}
	line := bytes.TrimSuffix(b[:end-1], []byte("\r"))
	var req protocol.Request
	if len(line) > protocol.MaxLine {
		return nil, protocol.ErrInvalidProtocol
	}
	perr := protocol.ParseRequest(line, &req)
	want := int64(end)
	if req.Command == protocol.Batch {
		if s.tooLarge(&req.Batch, perr) {
			return nil, protocol.ErrTooLarge
		}
		want += max(req.Batch.Size, 0)
	}
	if want != int64(len(b)) {
		if errors.Is(perr, protocol.ErrInvalidProtocol) {
			return nil, protocol.ErrInvalidProtocol
		}
		return nil, protocol.ErrInvalidRequest
	}
	return b, nil
}

// httpConn is the connection of one request over HTTP, as far as conn needs
// one.
type httpConn struct {
	w       http.ResponseWriter
	control *http.ResponseController
	remote  string
	status  int // 0: what the answer's first line says
	wrote   bool
}

func (h *httpConn) Write(p []byte) (int, error) {
	if !h.wrote {
		h.wrote = true
		h.w.Header().Set("Content-Type", protocol.ContentType)
		if h.status == 0 {
			h.status = statusOf(p)
		}
		if closing[h.status] {
			h.w.Header().Set("Connection", "close")
		}
		h.w.WriteHeader(h.status)
	}
	return h.w.Write(p)
}

// statusOf returns the HTTP status for an answer that begins with p.
func statusOf(p []byte) int {
	line, _, _ := bytes.Cut(p, []byte("\r\n"))
	reason, isErr := bytes.CutPrefix(line, []byte("ERR "))
	if !isErr {
		return http.StatusOK
	}
	if e, ok := protocol.ErrorFor(string(reason)); ok {
		return e.Status
	}
	return http.StatusInternalServerError
}

func (h *httpConn) Read([]byte) (int, error)           { return 0, io.EOF }
func (h *httpConn) Close() error                       { return nil }
func (h *httpConn) LocalAddr() net.Addr                { return nil }
func (h *httpConn) RemoteAddr() net.Addr               { return httpAddr(h.remote) }
func (h *httpConn) SetDeadline(time.Time) error        { return nil }
func (h *httpConn) SetReadDeadline(time.Time) error    { return nil }
func (h *httpConn) SetWriteDeadline(t time.Time) error { return h.control.SetWriteDeadline(t) }

type httpAddr string

func (a httpAddr) Network() string { return "http" }
func (a httpAddr) String() string  { return string(a) }
