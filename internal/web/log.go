package web

import (
	"io"
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/topic"
	"github.com/logd-dev/logd/internal/web/ask"
)

const logPath = "/log"

// serveLog answers POST /log: the body is one request of the protocol, the
// answer is its response, and the status says the same again. Batches are
// copied to the client, not sent by sendfile.
func (s *Server) serveLog(w http.ResponseWriter, r *http.Request) {
	p := s.o.Protocol()
	a := &logAnswer{w: w, r: r, control: http.NewResponseController(w), timeout: s.limit.Load().Timeout}
	if p == nil {
		a.Error(protocol.ErrBusy)
		return
	}
	a.sent = p.Sent
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		a.fail(http.StatusMethodNotAllowed, protocol.ErrInvalidRequest)
		return
	}
	if !isRequest(r.Header) {
		s.contentTypes.Add(1)
		s.refused(r, "content_type")
		a.fail(http.StatusUnsupportedMediaType, protocol.ErrInvalidRequest)
		return
	}
	codecs, ok := ask.CodecsOf(r.Header)
	if !ok {
		a.Error(protocol.ErrInvalidRequest)
		return
	}
	err := p.Do(r.Context(), r.RemoteAddr, ask.Shown(r), codecs, r.Body, a)
	if err == nil {
		err = a.err
	}
	if err != nil {
		// An error answer would say that nothing was stored, and the end of half an
		// answer that it is whole.
		s.log.Debug("http request ended", "remote", r.RemoteAddr, "err", err)
		panic(http.ErrAbortHandler)
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

// refusedLog bounds what is read of a body that is refused, in bytes.
const refusedLog = 4 << 20

// logAnswer is the answer to POST /log, a server.Responder.
type logAnswer struct {
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	timeout time.Duration
	sent    func(int) // counts bytes; may be nil
	err     error     // why the answer was not sent whole
}

func (a *logAnswer) OK() { a.write(http.StatusOK, protocol.AppendOK(nil)) }

func (a *logAnswer) Offset(offset, batches int64) {
	a.write(http.StatusOK, protocol.AppendOffset(nil, offset, batches))
}

func (a *logAnswer) Body(body []byte) { a.write(http.StatusOK, protocol.AppendBody(nil, body)) }

func (a *logAnswer) Error(err *protocol.Error) {
	if after := err.RetryAfter; after > 0 {
		a.w.Header().Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
	a.fail(err.Status, err)
}

// fail answers with an error, under a status that may say more than it.
func (a *logAnswer) fail(status int, err *protocol.Error) {
	answer := protocol.AppendError(nil, err)
	h := a.w.Header()
	h.Set("Content-Length", strconv.Itoa(len(answer)))
	if !closing[status] {
		a.write(status, answer)
		return
	}
	h.Set("Connection", "close")
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", bearer)
	}
	a.write(status, answer)
	// A client that is still sending would not see the answer.
	if a.control.Flush() == nil && a.r.Header.Get("Expect") == "" {
		io.CopyN(io.Discard, a.r.Body, refusedLog)
	}
}

// write sends the answer, or its beginning.
func (a *logAnswer) write(status int, p []byte) {
	a.w.Header().Set("Content-Type", protocol.ContentType)
	a.extend()
	a.w.WriteHeader(status)
	a.send(p)
}

// extend gives the next write its time. The deadline of the request may be as
// good as over.
func (a *logAnswer) extend() { a.control.SetWriteDeadline(time.Now().Add(a.timeout)) }

func (a *logAnswer) send(p []byte) {
	n, err := a.w.Write(p)
	if a.sent != nil {
		a.sent(n)
	}
	a.err = err
}

// copies are buffers for what is copied from files.
var copies = sync.Pool{New: func() any { return new([64 << 10]byte) }}

func (a *logAnswer) Batches(v topic.View) {
	defer v.Close()
	a.Offset(v.Offset(), v.Batches())
	buf := copies.Get().(*[64 << 10]byte)
	defer copies.Put(buf)
	for i := range v.Sections() {
		r, pos, n := v.Section(i)
		for n > 0 && a.err == nil {
			p := buf[:min(int64(len(buf)), n)]
			if m, err := r.ReadAt(p, pos); m < len(p) {
				if a.err = err; err == nil || err == io.EOF {
					a.err = io.ErrUnexpectedEOF // the file is shorter than it was
				}
				return
			}
			a.extend()
			a.send(p)
			pos += int64(len(p))
			n -= int64(len(p))
		}
	}
}
