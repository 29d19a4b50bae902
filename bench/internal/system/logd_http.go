package system

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/logd-dev/logd"
)

// LogdHTTP is logd with clients of its HTTP API: what it costs beside the protocol.
type LogdHTTP struct{ Logd }

// Name implements System.
func (s *LogdHTTP) Name() string { return s.Logd.Name() + "-http" }

// Start implements System.
func (s *LogdHTTP) Start(ctx context.Context, o Options) (Server, error) {
	server, err := s.start(ctx, o, true)
	if err != nil {
		return nil, err
	}
	return &httpServer{server}, nil
}

type httpServer struct{ *logdServer }

// httpConn makes requests one after another, over one connection.
type httpConn struct {
	base   string
	client http.Client
}

func (s *httpServer) conn() *httpConn {
	return &httpConn{
		base:   "http://" + s.http + "/api/v1/topics/",
		client: http.Client{Transport: &http.Transport{MaxConnsPerHost: 1, DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10}},
	}
}

func (c *httpConn) Close() error {
	c.client.CloseIdleConnections()
	return nil
}

// do makes a request about the messages of a topic. Any status but 200 is an error.
func (c *httpConn) do(ctx context.Context, method, topic, query, kind string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+topic+"/messages"+query, body)
	if err != nil {
		return nil, err
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		resp.Body.Close()
		return nil, fmt.Errorf("%s of the messages of %s: %s: %s", method, topic, resp.Status, text)
	}
	return resp, nil
}

// stored is what is looked at of an answer to who writes.
type stored struct {
	Messages int64 `json:"messages"`
}

// write stores messages and returns when they are acknowledged.
func (c *httpConn) write(ctx context.Context, topic, kind string, body io.Reader, messages func() int64) error {
	resp, err := c.do(ctx, http.MethodPost, topic, "", kind, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var got stored
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return err
	}
	if want := messages(); got.Messages != want {
		return fmt.Errorf("%d messages were stored of %d", got.Messages, want)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

type httpCaller struct{ *httpConn }

func (s *httpServer) Caller(context.Context) (Caller, error) { return httpCaller{s.conn()}, nil }

func (c httpCaller) Call(ctx context.Context, topic string, body []byte) error {
	return c.write(ctx, topic, "application/octet-stream", bytes.NewReader(body), func() int64 { return 1 })
}

// httpWriter sends lines, of which as many are one request as its body may be long.
type httpWriter struct {
	*httpConn
	ctx   context.Context
	topic string

	out  *bufio.Writer // nil while there is no request
	pipe *io.PipeWriter
	sent int64 // bytes of this request
	n    int64 // messages of it
	end  chan error
}

// maxRequest is how long a request's body is, about: the server takes 64 MiB.
const maxRequest = 60 << 20

func (s *httpServer) Writer(ctx context.Context, topic string) (Writer, error) {
	return &httpWriter{httpConn: s.conn(), ctx: ctx, topic: topic}, nil
}

// Write takes a message without a line feed.
func (w *httpWriter) Write(body []byte) error {
	if w.out == nil {
		in, out := io.Pipe()
		w.pipe, w.out, w.end = out, bufio.NewWriterSize(out, batchSize), make(chan error, 1)
		w.sent, w.n = 0, 0
		go func() {
			err := w.write(w.ctx, w.topic, "text/plain", in, func() int64 { return w.n })
			in.CloseWithError(errors.Join(err, io.ErrClosedPipe)) // who writes on learns why
			w.end <- err
		}()
	}
	w.out.Write(body) // an error is that of the next write
	if err := w.out.WriteByte('\n'); err != nil {
		return err
	}
	w.n++
	if w.sent += int64(len(body)) + 1; w.sent >= maxRequest {
		return w.Flush()
	}
	return nil
}

func (w *httpWriter) Flush() error {
	if w.out == nil {
		return nil
	}
	err := w.out.Flush()
	w.out = nil
	w.pipe.Close()
	return errors.Join(<-w.end, err)
}

// CatchUp reads batches as they are stored.
func (s *httpServer) CatchUp(ctx context.Context, topic string, n int64, each func([]byte)) error {
	c := s.conn()
	defer c.Close()
	var buf []byte
	for from := "0"; n > 0; {
		resp, err := c.do(ctx, http.MethodGet, topic, "?format=raw&limit=50000&max_bytes=4194304&from="+from, "", nil)
		if err != nil {
			return err
		}
		buf = slices.Grow(buf[:0], int(resp.ContentLength))[:resp.ContentLength]
		_, err = io.ReadFull(resp.Body, buf)
		resp.Body.Close()
		if err != nil {
			return err
		}
		if len(buf) == 0 {
			return errShort(n)
		}
		for raw := buf; len(raw) > 0; {
			size, err := batchLen(raw)
			if err != nil {
				return err
			}
			b, err := logd.ParseBatch(raw[:size])
			if err != nil {
				return err
			}
			for m := range b.All() {
				if n == 0 {
					break
				}
				each(m.Body)
				n--
			}
			raw = raw[size:]
		}
		from = resp.Header.Get("Logd-Next")
	}
	return nil
}

// batchLen returns how long the batch is that the bytes begin with, by its envelope: BATCH,
// the size of what follows the line, and more.
func batchLen(raw []byte) (int, error) {
	line, _, ok := bytes.Cut(raw, []byte("\r\n"))
	text, is := bytes.CutPrefix(line, []byte("BATCH "))
	text, _, _ = bytes.Cut(text, []byte(" "))
	size, err := strconv.Atoi(string(text))
	if err != nil || !is || !ok || size < 0 || len(line)+2+size > len(raw) {
		return 0, fmt.Errorf("no batch begins with %.60q", raw)
	}
	return len(line) + 2 + size, nil
}

// Follow reads the events of a topic.
func (s *httpServer) Follow(ctx context.Context, topic string, ready func(), each func([]byte)) error {
	c := s.conn()
	defer c.Close()
	resp, err := c.do(ctx, http.MethodGet, topic, "?format=sse&from=end", "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var message struct{ Body string }
	for in := bufio.NewReaderSize(resp.Body, 64<<10); ; {
		line, err := in.ReadSlice('\n')
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		// An event with a name is none of a message. The first one tells that the rest comes.
		if name, ok := strings.CutPrefix(string(line), "event: "); ok {
			if name != "topic\n" {
				return fmt.Errorf("the events of %s have a %s", topic, strings.TrimSpace(name))
			}
			ready()
			for len(bytes.TrimSpace(line)) > 0 && err == nil {
				line, err = in.ReadSlice('\n')
			}
			continue
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			if err := json.Unmarshal(data, &message); err != nil {
				return err
			}
			each([]byte(message.Body))
		}
	}
}
