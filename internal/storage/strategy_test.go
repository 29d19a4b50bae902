package storage

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/vfs"
)

// The ways to serialize appends to one log that docs/design/append-path.md
// compares, cut down to what differs: who calls write. None of them keeps an
// index.
type appender interface {
	append(data []byte, x []batch.Extent) error
	close()
}

// mutexAppender: everybody writes for himself, one at a time.
type mutexAppender struct {
	mu  sync.Mutex
	f   vfs.File
	pos int64
}

func (a *mutexAppender) append(data []byte, _ []batch.Extent) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.f.WriteAt(data, a.pos)
	a.pos += int64(len(data))
	return err
}

func (a *mutexAppender) close() {}

// goroutineAppender: one goroutine writes what comes through a channel, as many
// as are waiting with one call.
type goroutineAppender struct {
	requests chan *goroutineRequest
	ended    chan struct{}
	f        vfs.File
	pos      int64
}

type goroutineRequest struct {
	data []byte
	done chan error
}

var goroutineRequests = sync.Pool{New: func() any { return &goroutineRequest{done: make(chan error, 1)} }}

func newGoroutineAppender(f vfs.File) *goroutineAppender {
	a := &goroutineAppender{requests: make(chan *goroutineRequest, 128), ended: make(chan struct{}), f: f}
	go a.run()
	return a
}

func (a *goroutineAppender) run() {
	defer close(a.ended)
	var group []*goroutineRequest
	var bufs [][]byte
	for r := range a.requests {
		group, bufs = append(group[:0], r), append(bufs[:0], r.data)
	more:
		for {
			select {
			case r, ok := <-a.requests:
				if !ok {
					break more
				}
				group, bufs = append(group, r), append(bufs, r.data)
			default:
				break more
			}
		}
		n, err := a.f.WritevAt(bufs, a.pos)
		a.pos += n
		for _, r := range group {
			r.done <- err
		}
	}
}

func (a *goroutineAppender) append(data []byte, _ []batch.Extent) error {
	r := goroutineRequests.Get().(*goroutineRequest)
	r.data = data
	a.requests <- r
	err := <-r.done
	goroutineRequests.Put(r)
	return err
}

func (a *goroutineAppender) close() {
	close(a.requests)
	<-a.ended
}

// leaderAppender: what Log does, index and all.
type leaderAppender struct{ l *Log }

func (a leaderAppender) append(data []byte, x []batch.Extent) error {
	_, err := a.l.Append(context.Background(), data, x)
	return err
}

func (a leaderAppender) close() {}

// BenchmarkAppendStrategy measures appends of one batch each from 1, 8 and 64
// goroutines to one log, without syncs.
func BenchmarkAppendStrategy(b *testing.B) {
	strategies := []struct {
		name string
		open func(b *testing.B) appender
	}{
		{"mutex", func(b *testing.B) appender { return &mutexAppender{f: strategyFile(b)} }},
		{"goroutine", func(b *testing.B) appender { return newGoroutineAppender(strategyFile(b)) }},
		{"leader", func(b *testing.B) appender {
			s := openStore(b, Options{FS: osFS(b, b.TempDir())})
			return leaderAppender{mustCreate(b, s, "t")}
		}},
	}
	for _, size := range []int{100, 16 << 10} {
		for _, writers := range []int{1, 8, 64} {
			for _, s := range strategies {
				b.Run(fmt.Sprintf("size=%d/writers=%d/%s", size, writers, s.name), func(b *testing.B) {
					a := s.open(b)
					r := batchOf("t", string(make([]byte, size)))
					b.SetBytes(int64(len(r.data)))
					b.ReportAllocs()
					var group sync.WaitGroup
					b.ResetTimer()
					for w := range writers {
						group.Go(func() {
							for range b.N/writers + min(1, max(0, b.N%writers-w)) {
								if err := a.append(r.data, r.extents); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					group.Wait()
					b.StopTimer()
					a.close()
				})
			}
		}
	}
}

func strategyFile(b *testing.B) vfs.File {
	f, err := osFS(b, b.TempDir()).OpenFile("log", vfs.ReadWrite|vfs.Create, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}
