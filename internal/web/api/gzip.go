package api

import (
	"compress/gzip"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
)

// packers compress answers, one a core at a time. Who finds none free sends its answer as
// it is.
type packers chan *gzip.Writer

func newPackers() packers {
	n := runtime.GOMAXPROCS(0)
	p := make(packers, n)
	for range n {
		p <- nil // made when it is needed
	}
	return p
}

// leastPacked is how large an answer is, in bytes, for which compression is worth it.
const leastPacked = 1 << 10

// take returns a writer that compresses into w, or nil if the client takes no such answer
// or none is free. It is to be given back.
func (p packers) take(r *http.Request, w io.Writer) *gzip.Writer {
	if !acceptsGzip(r.Header) {
		return nil
	}
	select {
	case z := <-p:
		if z == nil {
			z, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed)
		}
		z.Reset(w)
		return z
	default:
		return nil
	}
}

func (p packers) give(z *gzip.Writer) {
	z.Reset(nil)
	p <- z
}

// acceptsGzip reports whether a client takes answers that are compressed so.
func acceptsGzip(h http.Header) bool {
	for part := range strings.SplitSeq(strings.Join(h["Accept-Encoding"], ","), ",") {
		name, params, _ := strings.Cut(part, ";")
		if name = strings.TrimSpace(name); !strings.EqualFold(name, "gzip") {
			continue
		}
		_, text, ok := strings.Cut(params, "=")
		q, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		return !ok || err == nil && q > 0
	}
	return false
}
