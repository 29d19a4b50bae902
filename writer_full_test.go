package logd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/outage"
	"github.com/logd-dev/logd/logdtest/script"
)

// gated runs a test in a bubble, over a server that stores nothing until it is
// opened.
func gated(t *testing.T, cfg WriterConfig, test func(t *testing.T, w *Writer, s *script.Log, open func())) {
	synctest.Test(t, func(t *testing.T) {
		opened := make(chan struct{})
		s := &script.Log{OnBatch: func(*script.Peer, []string) string {
			<-opened
			return ""
		}}
		_, ccfg := fake(t, s.Serve)
		open := sync.OnceFunc(func() { close(opened) })
		defer open()
		test(t, openWriter(t, ccfg, cfg), s, open)
	})
}

// small is a config of a Writer that has room for six messages of one batch
// each, of which one is sent at a time.
func small(policy FullPolicy) WriterConfig {
	return WriterConfig{BatchMessages: 1, BatchBytes: 400, InFlight: 1, BufferBytes: 6 * 400, WhenFull: policy}
}

// fillBuffer writes as many messages as there is room for, "0", "1" and so on.
func fillBuffer(t *testing.T, w *Writer) {
	for i := range 6 {
		write(t, w, fmt.Sprint(i))
		synctest.Wait() // the first one is on its way
	}
}

func TestWriterBlocks(t *testing.T) {
	gated(t, small(Block), func(t *testing.T, w *Writer, s *script.Log, open func()) {
		fillBuffer(t, w)
		done := make(chan error, 2)
		for i := range 2 {
			go func() {
				_, err := w.Write(fmt.Appendf(nil, "late %d", i))
				done <- err
			}()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := w.WriteContext(ctx, []byte("never"))
		if !errors.Is(err, context.DeadlineExceeded) || !IsNotStored(err) || time.Since(start) != time.Second {
			t.Errorf("WriteContext without room: %v after %v", err, time.Since(start))
		}
		if len(done) != 0 {
			t.Error("Write took a message without room")
		}
		open()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("Write, once there is room: %v", err)
			}
		}
		flush(t, w)
		if len(s.Messages()) != 8 || slices.Contains(s.Messages(), "never") {
			t.Errorf("stored %q", s.Messages())
		}
		if st := w.Stats(); st.Dropped != 0 || st.Lost != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

// blockedWrites begins writes that wait for room, and returns where their
// errors will come.
func blockedWrites(w *Writer) <-chan error {
	errs := make(chan error, 5)
	for range cap(errs) {
		go func() {
			_, err := w.Write([]byte("x"))
			errs <- err
		}()
	}
	synctest.Wait()
	return errs
}

// Those who wait for room hear of the end of it.
func TestWriterBlockedCallersLearn(t *testing.T) {
	t.Run("of a failure", func(t *testing.T) {
		gated(t, small(Block), func(t *testing.T, w *Writer, s *script.Log, open func()) {
			fillBuffer(t, w)
			errs := blockedWrites(w)
			w.client.Close() // for good
			for range cap(errs) {
				if err := <-errs; !errors.Is(err, ErrFailing) || !errors.Is(err, ErrClosed) {
					t.Errorf("Write: %v", err)
				}
			}
		})
	})
	t.Run("of Close", func(t *testing.T) {
		gated(t, small(Block), func(t *testing.T, w *Writer, s *script.Log, open func()) {
			fillBuffer(t, w)
			errs := blockedWrites(w)
			closed := make(chan error)
			go func() { closed <- w.Close() }()
			for range cap(errs) {
				if err := <-errs; !errors.Is(err, ErrClosed) {
					t.Errorf("Write: %v", err)
				}
			}
			open()
			if err := <-closed; err != nil || len(s.Messages()) != 6 {
				t.Errorf("Close: %v, stored %q", err, s.Messages())
			}
		})
	})
}

func TestWriterFullFails(t *testing.T) {
	gated(t, small(Fail), func(t *testing.T, w *Writer, s *script.Log, open func()) {
		fillBuffer(t, w)
		_, err := w.Write([]byte("x"))
		if !errors.Is(err, ErrBufferFull) || !IsNotStored(err) || !IsRetryable(err) {
			t.Errorf("Write without room: %v", err)
		}
		open()
		flush(t, w)
		write(t, w, "y")
		flush(t, w)
		if s.String() != "0 1 2 3 4 5 y" {
			t.Errorf("stored %q", s.String())
		}
	})
}

func TestWriterDropsNewest(t *testing.T) {
	var n notes
	cfg := small(DropNewest)
	n.install(&cfg)
	gated(t, cfg, func(t *testing.T, w *Writer, s *script.Log, open func()) {
		fillBuffer(t, w)
		write(t, w, "x", "y")
		err := w.WriteFunc(t.Context(), []byte("z"), func(WriteResult) { t.Error("called back for a message that was not taken") })
		if !errors.Is(err, ErrDropped) || !IsNotStored(err) {
			t.Errorf("WriteFunc without room: %v", err)
		}
		open()
		flush(t, w)
		if s.String() != "0 1 2 3 4 5" {
			t.Errorf("stored %q", s.String())
		}
		time.Sleep(outage.ReportPause)
		synctest.Wait()
		if st := w.Stats(); st.Dropped != 3 || st.Taken != 6 || n.dropped() != 3 {
			t.Errorf("stats %+v, reported %d dropped", st, n.dropped())
		}
	})
}

// dropped returns how many messages OnError was told are dropped.
func (n *notes) dropped() (count int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, err := range n.errs {
		if e, ok := errors.AsType[*DropError](err); ok && e.Topic == "t" {
			count += e.Messages
		}
	}
	return count
}

func TestWriterDropsOldest(t *testing.T) {
	var n notes
	cfg := small(DropOldest)
	n.install(&cfg)
	gated(t, cfg, func(t *testing.T, w *Writer, s *script.Log, open func()) {
		results := map[string]error{}
		writeFunc := func(m string) {
			t.Helper()
			err := w.WriteFunc(t.Context(), []byte(m), func(r WriteResult) { results[m] = r.Err })
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for i := range 6 {
			writeFunc(fmt.Sprint(i))
		}
		flushed := make(chan error)
		go func() { flushed <- w.Flush(t.Context()) }()
		synctest.Wait()
		writeFunc("x")
		writeFunc("y")
		if err := <-flushed; !errors.Is(err, ErrDropped) {
			t.Errorf("Flush of messages that are dropped: %v", err)
		}
		open()
		// "y" came when that Flush was over, and dropped another one.
		if err := w.Flush(t.Context()); !errors.Is(err, ErrDropped) || !strings.Contains(err.Error(), "1 messages are lost") {
			t.Errorf("Flush after messages were dropped: %v", err)
		}
		flush(t, w) // each loss is told once
		if s.String() != "0 3 4 5 x y" {
			t.Errorf("stored %q: the first was on its way, the next two are the oldest", s.String())
		}
		time.Sleep(outage.ReportPause)
		synctest.Wait()
		if st := w.Stats(); st.Dropped != 2 || st.Taken != 8 || st.Delivered != 6 || n.dropped() != 2 {
			t.Errorf("stats %+v, reported %d dropped", st, n.dropped())
		}
		for m, err := range results {
			if want := m == "1" || m == "2"; errors.Is(err, ErrDropped) != want || (err != nil) != want {
				t.Errorf("message %s: %v", m, err)
			}
		}
		if len(results) != 8 {
			t.Errorf("%d messages called back, want 8", len(results))
		}
	})
}

// A callback may write.
func TestWriterCallbackWrites(t *testing.T) {
	s := &script.Log{}
	bubble(t, s, WriterConfig{}, func(t *testing.T, w *Writer) {
		done := make(chan struct{})
		w.WriteFunc(t.Context(), []byte("first"), func(WriteResult) {
			write(t, w, "second")
			close(done)
		})
		<-done
		flush(t, w)
		if s.String() != "first second" {
			t.Errorf("stored %q", s.String())
		}
	})
}

// InFlight batches are on their way, and no more, and memory is bounded.
func TestWriterInFlight(t *testing.T) {
	for _, inFlight := range []int{1, 3} {
		t.Run(fmt.Sprint(inFlight), func(t *testing.T) {
			arrived, open := make(chan string, 10), make(chan struct{})
			synctest.Test(t, func(t *testing.T) {
				_, ccfg := fake(t, func(p *script.Peer) {
					p.Expect("CONFIG")
					p.AnswerConfig(DefaultMaxBatchSize)
					for i := 0; ; i++ {
						if i == inFlight {
							<-open
							p.Answer("%s", strings.Repeat("OK 0 1\r\n", inFlight))
						}
						r, ok := p.Request()
						data := r.Data
						if !ok {
							return
						}
						arrived <- string(data)
						if i >= inFlight {
							p.Answer("OK 0 1\r\n")
						}
					}
				})
				arrived, open = make(chan string, 10), make(chan struct{})
				w := openWriter(t, ccfg, WriterConfig{BatchMessages: 1, InFlight: inFlight})
				for range 6 {
					write(t, w, "x")
				}
				synctest.Wait()
				if len(arrived) != inFlight {
					t.Errorf("%d batches on their way, want %d", len(arrived), inFlight)
				}
				close(open)
				flush(t, w)
				if len(arrived) != 6 {
					t.Errorf("%d batches arrived, want 6", len(arrived))
				}
			})
		})
	}
}

func TestWriterFlushCancelled(t *testing.T) {
	gated(t, WriterConfig{}, func(t *testing.T, w *Writer, s *script.Log, open func()) {
		write(t, w, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush: %v", err)
		}
		open()
		flush(t, w)
		if s.String() != "a" {
			t.Errorf("stored %q", s.String())
		}
	})
}

// What CloseContext gives up goes to the backlog: what was sent as unknown, the
// rest as not stored.
func TestWriterCloseCancelled(t *testing.T) {
	backlog, _ := backlog.NewMemory(backlog.MemoryConfig{})
	var n notes
	cfg := small(Block)
	cfg.Backlog = backlog
	n.install(&cfg)
	gated(t, cfg, func(t *testing.T, w *Writer, s *script.Log, open func()) {
		var outcomes []string
		for i := range 4 {
			w.WriteFunc(t.Context(), fmt.Append(nil, i), func(r WriteResult) {
				outcomes = append(outcomes, fmt.Sprint(i, errors.Is(r.Err, ErrBacklogged), IsUnknown(r.Err), IsNotStored(r.Err)))
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := w.CloseContext(ctx)
		if !errors.Is(err, ErrBacklogged) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 3*time.Second {
			t.Errorf("CloseContext after %v: %v", time.Since(start), err)
		}
		if again := w.Close(); again != err {
			t.Errorf("Close after it: %v", again)
		}
		want := []string{"0 true true false", "1 true false true", "2 true false true", "3 true false true"}
		if !slices.Equal(outcomes, want) {
			t.Errorf("outcomes %q, want %q", outcomes, want)
		}
		var kept []string
		for e, err := range backlog.All() {
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, fmt.Sprint(bodies(e.Raw), e.Unknown))
		}
		if want := []string{"[0] true", "[1] false", "[2] false", "[3] false"}; !slices.Equal(kept, want) {
			t.Errorf("backlog %q, want %q", kept, want)
		}
		if n.seen() != "flushing failing closed" {
			t.Errorf("states %q", n.seen())
		}
	})
}
