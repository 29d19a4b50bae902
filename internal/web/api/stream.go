package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/logd-dev/logd/internal/web/problem"
)

// stream is the connection of who follows, taken over from package http: what that keeps
// of a request, its buffers, headers and stacks, would stay as long as somebody follows,
// which is for days. It speaks for one answer, and is closed behind it.
type stream struct {
	api     *API
	conn    net.Conn
	head    []byte // to be sent before all else
	chunked bool   // HTTP/1.1
	sent    func(n int)
	err     error              // of writing
	cancel  context.CancelFunc // of the context of what is done for it
}

// takeOver has the connection of a request be a stream from here on, of which run makes the
// answer, behind the head, and returns at once. The context that run is given ends when the
// client goes away.
func (r *request) takeOver(run func(ctx context.Context, s *stream)) error {
	a := r.api
	if !a.streams.begin() {
		return problem.New(problem.Busy, "The server is shutting down.")
	}
	conn, _, err := http.NewResponseController(r.w).Hijack()
	if err != nil {
		a.streams.done.Done()
		return fmt.Errorf("take over the connection: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{api: a, conn: conn, chunked: r.ProtoAtLeast(1, 1), sent: r.caller.Sent, cancel: cancel}
	s.head = s.makeHead(r.w.Header())
	a.streams.add(s)
	go s.watch()
	go func() {
		defer a.streams.done.Done()
		defer a.streams.remove(s)
		defer func() {
			if p := recover(); p != nil {
				a.log.Error("panic in a connection; it is closed", "remote", conn.RemoteAddr(), "panic", p, "stack", string(debug.Stack()))
			}
		}()
		run(ctx, s)
	}()
	return nil
}

// makeHead returns the head of the answer.
func (s *stream) makeHead(h http.Header) []byte {
	h.Set("Connection", "close")
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	version := "HTTP/1.0"
	if s.chunked {
		version = "HTTP/1.1"
		h.Set("Transfer-Encoding", "chunked")
	}
	head := appendWriter(version + " 200 OK\r\n")
	h.Write(&head) // to memory
	return append(head, "\r\n"...)
}

type appendWriter []byte

func (w *appendWriter) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

// mostSaid is how many bytes behind its request are read of who follows: the body of a GET, or
// more requests. Who goes on would cost a call for a few bytes each.
const mostSaid = 64 << 10

// watch ends what is done for the client when it goes away. What else it says is not
// looked at: it gets no other answer. If it says more than mostSaid, that is left where it is,
// and the client is missed when something is sent.
func (s *stream) watch() {
	var said [16]byte
	for left := mostSaid; left > 0; {
		n, err := s.conn.Read(said[:])
		if err != nil {
			s.cancel()
			return
		}
		left -= n
	}
}

// close cuts the connection.
func (s *stream) close() {
	s.cancel()
	s.conn.Close()
}

// pieceSize is how many bytes have the time of a write: who takes so many in that time
// stays.
const pieceSize = 64 << 10

// write sends frames as they are to be sent: see body. Once it has failed, nothing is sent
// any more: it would stand behind a part of a frame.
func (s *stream) write(b []byte) error {
	for len(b) > 0 && s.err == nil {
		s.conn.SetWriteDeadline(time.Now().Add(s.api.o.Timeout()))
		var n int
		n, s.err = s.conn.Write(b[:min(len(b), pieceSize)])
		s.sent(n)
		b = b[n:]
	}
	return s.err
}

// frameStart is how much room a frame has for its size.
const frameStart = len("00000000\r\n")

// A frame is a chunk of the answer, as RFC 9112, 7.1 has it, so that many can be sent one
// that was made once. newFrame returns one with nothing in it, to which is appended what
// there is, and sealed one that gets no more.
func newFrame(size int) []byte { return make([]byte, frameStart, frameStart+size+len("\r\n")) }

func sealed(frame []byte) []byte {
	const digits = "0123456789abcdef"
	n := len(frame) - frameStart
	for i := frameStart - len("\r\n"); i > 0; i-- {
		frame[i-1] = digits[n&15]
		n >>= 4
	}
	frame[frameStart-2], frame[frameStart-1] = '\r', '\n'
	return append(frame, '\r', '\n')
}

// end returns what says that the answer is whole.
func (s *stream) end() string {
	if s.chunked {
		return "0\r\n\r\n"
	}
	return ""
}

// body returns what is to be sent of a frame: of an answer of HTTP/1.0, what is in it, and of
// one with nothing in it nothing, since such a chunk ends the answer.
func (s *stream) body(frame []byte) []byte {
	if s.chunked && len(frame) > frameStart+len("\r\n") {
		return frame
	}
	return frame[frameStart : len(frame)-len("\r\n")]
}

// streams are those that there are.
type streams struct {
	done sync.WaitGroup // for those that have begun

	mu     sync.Mutex
	closed bool
	all    map[*stream]struct{}
}

// begin reports whether there may be one more. The caller calls done.Done behind it.
func (l *streams) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.done.Add(1)
	}
	return !l.closed
}

func (l *streams) add(s *stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[*stream]struct{})
	}
	l.all[s] = struct{}{}
	if l.closed {
		s.close()
	}
}

// remove closes a stream.
func (l *streams) remove(s *stream) {
	s.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, s)
}

// Shutdown waits for those who follow: they are sent their last event when the server that
// they follow on shuts down. It returns the error of ctx if that is done before. Nobody can
// follow from here on.
func (a *API) Shutdown(ctx context.Context) error {
	a.streams.mu.Lock()
	a.streams.closed = true
	a.streams.mu.Unlock()
	done := make(chan struct{})
	go func() {
		a.streams.done.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close cuts those who follow, and returns when they are gone.
func (a *API) Close() {
	a.streams.mu.Lock()
	a.streams.closed = true
	for s := range a.streams.all {
		s.close()
	}
	a.streams.mu.Unlock()
	a.streams.done.Wait()
}
