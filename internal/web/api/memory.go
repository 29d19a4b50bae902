package api

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/logd-dev/logd/internal/web/problem"
)

// memory bounds the bytes of all buffers together. Who wants more than there is waits for
// what others give back, in the order in which they came.
type memory struct {
	free *semaphore.Weighted
	most int64
}

func newMemory(most int64) *memory { return &memory{semaphore.NewWeighted(most), most} }

// lease is what one request has of the memory. The zero value with its memory has
// nothing. It is for one goroutine.
type lease struct {
	of    *memory
	bytes int64
}

// leaseStep is what a lease grows by at least.
const leaseStep = 4 << 10

// more returns by how much a lease has to grow to be of n bytes at least.
func (l *lease) more(n int64) int64 {
	return (max(n-l.bytes, 0) + leaseStep - 1) / leaseStep * leaseStep
}

// grow has the lease be of n bytes at least. It waits as long as a request may take.
func (l *lease) grow(ctx context.Context, n int64, timeout time.Duration) error {
	if l.tryGrow(n) {
		return nil
	}
	more := l.more(n)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if more > l.of.most || l.of.free.Acquire(ctx, more) != nil {
		return problem.New(problem.Busy, "All memory for requests over HTTP is in use: see http-memory. Ask again later.")
	}
	l.bytes += more
	return nil
}

// tryGrow has the lease be of n bytes at least if so much is free, and reports whether it
// is.
func (l *lease) tryGrow(n int64) bool {
	more := l.more(n)
	if more > 0 && !l.of.free.TryAcquire(more) {
		return false
	}
	l.bytes += more
	return true
}

// release gives all back.
func (l *lease) release() {
	if l.bytes > 0 {
		l.of.free.Release(l.bytes)
		l.bytes = 0
	}
}

// Lease returns a function that has a lease be of so many bytes at least, for who serves
// pages beside the API, and one that gives all back. They are for one goroutine.
func (a *API) Lease(ctx context.Context) (grow func(n int64) error, release func()) {
	l := &lease{of: a.memory}
	return func(n int64) error { return l.grow(ctx, n, a.o.Timeout()) }, l.release
}
