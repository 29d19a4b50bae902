package api

import (
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/web/problem"
)

// TestBodyMemory: JSON that a request has is of the memory of all requests, as much as it may
// become, and is given back.
func TestBodyMemory(t *testing.T) {
	const body = `{"at":"start"}`
	a := New(Options{Timeout: func() time.Duration { return time.Second }, Memory: 128 << 10})
	for _, test := range []struct {
		length int64
		ok     bool
	}{{int64(len(body)), true}, {-1, false}} { // that might be too much
		r := httptest.NewRequest("PUT", "/", io.NopCloser(strings.NewReader(body)))
		r.Header.Set("Content-Type", "application/json")
		r.ContentLength = test.length
		req := &request{Request: r, api: a, lease: lease{of: a.memory}}
		_, err := req.members("at")
		busy, _ := errors.AsType[*problem.Problem](err)
		if test.ok != (err == nil) || err != nil && (busy == nil || busy.Kind != problem.Busy) {
			t.Errorf("a body of %d bytes: %v", test.length, err)
		}
		if test.ok && req.lease.bytes < 2*test.length {
			t.Errorf("%d bytes are counted of a body of %d", req.lease.bytes, test.length)
		}
		req.lease.release()
		if !a.memory.free.TryAcquire(a.memory.most) {
			t.Fatal("not all memory was given back")
		}
		a.memory.free.Release(a.memory.most)
	}
}
