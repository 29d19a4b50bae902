package api

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/logd-dev/logd/internal/web/problem"
)

// contentType returns the one content type of a request, without its parameters, or
// nothing if it has none.
func (r *request) contentType() (string, error) {
	switch types := r.Header["Content-Type"]; len(types) {
	case 0:
		return "", nil
	case 1:
		if t, _, err := mime.ParseMediaType(types[0]); err == nil {
			return t, nil
		}
	}
	return "", problem.New(problem.ContentTypes, "Content-Type can't be taken apart, or is there twice.")
}

// fromPage reports whether a browser may have sent a request.
func (r *request) fromPage() bool {
	for name := range r.Header {
		switch name {
		case "Origin", "Referer", "Cookie", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-User":
			return true
		}
	}
	return false
}

// checkPage refuses what a page of another site could have a browser send without asking:
// what a request with an Origin changes is JSON.
func (r *request) checkPage(kind string) error {
	if len(r.Header["Origin"]) > 0 && kind != "application/json" {
		return problem.New(problem.ContentTypes, "A request with an Origin that changes something has to be application/json.")
	}
	return nil
}

// slowest is how many bytes of a body have to arrive within the time of a request.
const slowest = 1024

// paced reads the body of a request, which gets its time anew as long as it comes at
// that pace.
type paced struct {
	body    io.Reader
	control *http.ResponseController
	timeout func() time.Duration
	n       int // since the deadline was set
	begun   bool
}

func (p *paced) Read(b []byte) (int, error) {
	if !p.begun || p.n >= slowest {
		p.begun, p.n = true, 0
		p.control.SetReadDeadline(time.Now().Add(p.timeout()))
	}
	n, err := p.body.Read(b)
	p.n += n
	return n, err
}

// bodyError is what a client is told of a body that could not be read.
func (r *request) bodyError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem.New(problem.Timeout, fmt.Sprintf("Of a body %d bytes have to arrive in %v.", slowest, r.api.o.Timeout()))
	case errors.Is(err, errBodySize):
		return problem.New(problem.TooLarge, fmt.Sprintf("The body has more than %d bytes, which is http-max-body.", r.api.o.MaxBody))
	}
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		return p
	}
	return problem.New(problem.InvalidRequest, "The body has no good end: it was cut, or can't be unpacked.")
}

var errBodySize = errors.New("the body is too large")

// atMost is a reader that fails where r goes on beyond n bytes.
type atMost struct {
	r io.Reader
	n int64
}

func (a *atMost) Read(b []byte) (int, error) {
	if int64(len(b)) > a.n+1 {
		b = b[:a.n+1]
	}
	n, err := a.r.Read(b)
	if int64(n) > a.n {
		return 0, errBodySize
	}
	a.n -= int64(n)
	return n, err
}

// zstdWindow is the largest window of zstd, as of batches.
const zstdWindow = 8 << 20

// open returns the body of a request, unpacked, which is bounded in size and pace. close
// is called when it is not read any more.
func (r *request) open(l *lease) (body io.Reader, close func(), err error) {
	most := r.api.o.MaxBody
	if r.ContentLength > most {
		return nil, nil, r.bodyError(errBodySize)
	}
	paced := &paced{body: r.Body, control: http.NewResponseController(r.w), timeout: r.api.o.Timeout}
	packed := &atMost{paced, most}
	close = func() {}
	switch encodings := r.Header["Content-Encoding"]; {
	case len(encodings) == 0, slices.Equal(encodings, []string{"identity"}):
		return packed, close, nil
	case slices.Equal(encodings, []string{"gzip"}):
		if err := l.grow(r.Context(), l.bytes+64<<10, r.api.o.Timeout()); err != nil {
			return nil, nil, err
		}
		z, err := gzip.NewReader(packed)
		if err != nil {
			return nil, nil, r.bodyError(err)
		}
		return &atMost{z, most}, close, nil
	case slices.Equal(encodings, []string{"zstd"}):
		if err := l.grow(r.Context(), l.bytes+zstdWindow, r.api.o.Timeout()); err != nil {
			return nil, nil, err
		}
		z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderMaxMemory(uint64(max(most, zstdWindow))))
		if err != nil {
			return nil, nil, r.bodyError(err)
		}
		return &atMost{z, most}, z.Close, nil
	}
	r.w.Header().Set("Accept-Encoding", "gzip, zstd")
	return nil, nil, problem.New(problem.ContentTypes, "Content-Encoding may be gzip or zstd.")
}
