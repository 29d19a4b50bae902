package console

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"runtime"
	"strings"
	"sync"
)

// shortest is how long a page is at least that is worth compressing, in bytes.
const shortest = 1400

// zippers compress pages, a few at a time. A page that comes when all are at work goes
// plain.
type zippers struct {
	free chan struct{}
	pool *sync.Pool // of *gzip.Writer, which the garbage collector may have
}

func newZippers() zippers {
	z := zippers{make(chan struct{}, runtime.GOMAXPROCS(0)), new(sync.Pool)}
	z.pool.New = func() any {
		w, _ := gzip.NewWriterLevel(nil, 4) // which is a level that there is
		return w
	}
	return z
}

// zip returns a page compressed, or false if it is to go as it is.
func (z zippers) zip(page []byte) ([]byte, bool) {
	if len(page) < shortest {
		return nil, false
	}
	select {
	case z.free <- struct{}{}:
		defer func() { <-z.free }()
	default:
		return nil, false
	}
	w := z.pool.Get().(*gzip.Writer)
	defer z.pool.Put(w)
	var out bytes.Buffer
	out.Grow(len(page) / 4)
	w.Reset(&out)
	w.Write(page) // to memory
	if w.Close() != nil || out.Len() >= len(page) {
		return nil, false
	}
	return out.Bytes(), true
}

// acceptsGzip reports whether a client takes gzip.
func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header["Accept-Encoding"], ","), ",") {
		name, params, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) == "gzip" && strings.ReplaceAll(params, " ", "") != "q=0" {
			return true
		}
	}
	return false
}
