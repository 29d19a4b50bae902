package logd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/batch"

	"github.com/logd-dev/logd/logdtest/script"
)

// bodies returns the messages of a stored batch.
func bodies(raw []byte) (all []string) {
	h, _, err := batch.Parse(raw)
	if err != nil {
		return []string{err.Error()}
	}
	m := batch.Messages{Data: raw[h.Len():]}
	for m.Next() {
		all = append(all, string(m.Body()))
	}
	return all
}

// downtime is a network that can be taken away.
type downtime struct{ down atomic.Bool }

func (o *downtime) install(cfg *ClientConfig) {
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		if o.down.Load() {
			return nil, syscall.ECONNREFUSED
		}
		return dial(ctx, network, addr)
	}
}

// outcome of one message, as a WriteFunc's callback tells it.
func told(err error) string {
	switch {
	case err == nil:
		return "stored"
	case errors.Is(err, ErrBacklogged) && IsUnknown(err):
		return "kept, unknown"
	case errors.Is(err, ErrBacklogged) && IsNotStored(err):
		return "kept, not stored"
	case IsUnknown(err):
		return "lost, unknown"
	case IsNotStored(err):
		return "lost, not stored"
	}
	return err.Error()
}

// outcomes is what became of messages.
type outcomes struct {
	mu   sync.Mutex
	list []string
}

func (r *outcomes) add(result string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, result)
}

func (r *outcomes) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// tell writes messages and notes what became of each.
func tell(t *testing.T, w *Writer, results *outcomes, messages ...string) {
	t.Helper()
	for _, m := range messages {
		err := w.WriteFunc(t.Context(), []byte(m), func(r WriteResult) {
			results.add(m + ": " + told(r.Err))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The connection is lost with batches on their way and others behind them. All
// are kept, and delivered in order when the server is back.
func TestWriterOutage(t *testing.T) {
	for _, c := range []struct {
		name     string
		inFlight int
		whole    bool // the server stores what it does not answer
		want     string
		results  []string
	}{
		{"nothing stored", 2, false, "a b c d e",
			[]string{"a: stored", "b: kept, unknown", "c: kept, unknown", "d: kept, not stored"}},
		{"stored and not answered", 2, true, "a b b c d e",
			[]string{"a: stored", "b: kept, unknown", "c: kept, unknown", "d: kept, not stored"}},
		{"one in flight", 1, true, "a b b c d e",
			[]string{"a: stored", "b: kept, unknown", "c: kept, not stored", "d: kept, not stored"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var o downtime
			var lost atomic.Bool
			s := &script.Log{}
			goAway := func(p *script.Peer, messages []string, answer string) string {
				if messages[0] == "b" && !lost.Swap(true) {
					time.Sleep(time.Second) // the others have been written
					o.down.Store(true)
					p.Close()
					return "too late"
				}
				return answer
			}
			if c.whole {
				s.OnStored = goAway
			} else {
				s.OnBatch = func(p *script.Peer, messages []string) string { return goAway(p, messages, "") }
			}
			var n notes
			cfg := WriterConfig{BatchMessages: 1, InFlight: c.inFlight}
			n.install(&cfg)
			synctest.Test(t, func(t *testing.T) {
				_, ccfg := fake(t, s.Serve)
				o.install(&ccfg)
				w := openWriter(t, ccfg, cfg)
				var results outcomes
				tell(t, w, &results, "a")
				flush(t, w)
				tell(t, w, &results, "b", "c", "d")
				if err := w.Flush(t.Context()); !errors.Is(err, ErrFailing) || !errors.Is(err, ErrConnectionLost) || IsUnknown(err) || IsNotStored(err) {
					t.Errorf("Flush: %v", err)
				}
				synctest.Wait()
				// How much of c was written depends on when the connection ended.
				got := results.all()
				for i := range got {
					got[i] = strings.Replace(got[i], "c: kept, not stored", c.results[2], 1)
				}
				if !slices.Equal(got, c.results) {
					t.Errorf("results %q, want %q", got, c.results)
				}
				if w.State() != StateFailing || !errors.Is(w.Err(), ErrConnect) {
					t.Errorf("state %v, %v", w.State(), w.Err())
				}
				start := time.Now()
				_, err := w.Write([]byte("x"))
				if !errors.Is(err, ErrFailing) || !errors.Is(err, ErrConnect) || !IsNotStored(err) || !IsRetryable(err) || time.Since(start) > 0 {
					t.Errorf("Write while failing: %v after %v", err, time.Since(start))
				}
				if err := w.Flush(t.Context()); !errors.Is(err, ErrFailing) {
					t.Errorf("Flush while failing: %v", err)
				}
				time.Sleep(time.Minute)
				if got := n.failures(ErrConnect); got < 12 || got > 40 {
					t.Errorf("%d failed attempts in a minute, of which most have a pause of 2.5 to 5 s", got)
				}
				o.down.Store(false)
				time.Sleep(6 * time.Second)
				synctest.Wait()
				if w.State() != StateConnected || w.Err() != nil {
					t.Errorf("state %v, %v", w.State(), w.Err())
				}
				tell(t, w, &results, "e")
				if err := w.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if s.String() != c.want {
					t.Errorf("stored %q, want %q", s.String(), c.want)
				}
				if st := w.Stats(); st.Taken != 5 || st.Backlogged != 3 || st.Delivered != 5 || st.Lost != 0 {
					t.Errorf("stats %+v", st)
				}
				// The last flushing may be over before Close looks.
				if got := n.seen(); strings.Replace(got, "connected flushing", "connected", 1) != "failing flushing connected closed" {
					t.Errorf("states %q", got)
				}
			})
		})
	}
}

// A batch that the server refuses is kept as one that failed; those behind it
// that were on their way overtake it, and no others do.
func TestWriterRefusedBatch(t *testing.T) {
	for _, c := range []struct {
		inFlight int
		want     string
	}{{1, "a b c d e"}, {2, "a c b d e"}, {3, "a c d b e"}} {
		t.Run(fmt.Sprint(c.inFlight), func(t *testing.T) {
			refused := 0
			s := &script.Log{}
			s.OnBatch = func(_ *script.Peer, messages []string) string {
				if messages[0] == "b" && refused < 3 {
					refused++
					time.Sleep(time.Millisecond) // all that may be is on its way
					return "ERR busy\r\n"
				}
				return ""
			}
			var n notes
			cfg := WriterConfig{BatchMessages: 1, InFlight: c.inFlight}
			n.install(&cfg)
			bubble(t, s, cfg, func(t *testing.T, w *Writer) {
				var results outcomes
				tell(t, w, &results, "a")
				flush(t, w)
				tell(t, w, &results, "b", "c", "d", "e")
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if s.String() != c.want || w.State() != StateConnected {
					t.Errorf("stored %q, want %q; state %v", s.String(), c.want, w.State())
				}
				if got := results.all(); len(got) != 5 || got[1] != "b: kept, not stored" {
					t.Errorf("results %q", got)
				}
				if got := n.seen(); got != "failing flushing failing flushing failing flushing connected" {
					t.Errorf("states %q", got)
				}
				if got := n.batches(ErrBusy); got < 3 {
					t.Errorf("%d failures told", got)
				}
			})
		})
	}
}

// A batch that is refused for good stays at the head, and nothing is skipped.
func TestWriterRefusedForGood(t *testing.T) {
	s := &script.Log{OnBatch: func(*script.Peer, []string) string { return "ERR topic not allowed\r\n" }}
	kept, _ := backlog.NewMemory(backlog.MemoryConfig{})
	bubble(t, s, WriterConfig{Backlog: kept}, func(t *testing.T, w *Writer) {
		write(t, w, "a")
		time.Sleep(time.Minute)
		_, err := w.Write([]byte("b"))
		// The server takes requests between two attempts, so Write may get
		// through; then b is kept, too.
		if err != nil && (!errors.Is(err, ErrTopicNotAllowed) || IsRetryable(err)) {
			t.Errorf("Write: %v", err)
		}
		err = w.Close()
		if !errors.Is(err, ErrTopicNotAllowed) || !errors.Is(err, ErrBacklogged) {
			t.Errorf("Close: %v", err)
		}
		if kept.Len() == 0 || kept.Bytes() == 0 {
			t.Error("the backlog is empty")
		}
		// Another Writer takes over.
		s.OnBatch = nil
		w, err = NewWriter(t.Context(), w.client, "t", WriterConfig{Backlog: kept})
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, "c")
		if err := w.Close(); err != nil || !strings.HasPrefix(s.String(), "a ") || !strings.HasSuffix(s.String(), "c") || kept.Len() != 0 {
			t.Errorf("Close: %v, stored %q", err, s.String())
		}
	})
}

func TestWriterWithoutBacklog(t *testing.T) {
	var o downtime
	s := &script.Log{OnBatch: func(p *script.Peer, m []string) string {
		if m[0] == "a" {
			o.down.Store(true)
			p.Close()
			return "too late"
		}
		return ""
	}}
	var n notes
	cfg := WriterConfig{BatchMessages: 1, InFlight: 1, Backlog: backlog.None{}}
	n.install(&cfg)
	synctest.Test(t, func(t *testing.T) {
		_, ccfg := fake(t, s.Serve)
		o.install(&ccfg)
		w := openWriter(t, ccfg, cfg)
		var results outcomes
		tell(t, w, &results, "a", "b")
		synctest.Wait()
		if want := []string{"a: lost, unknown", "b: lost, not stored"}; !slices.Equal(results.all(), want) {
			t.Errorf("results %q, want %q", results.all(), want)
		}
		o.down.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		write(t, w, "c")
		if err := w.Close(); err == nil || !strings.Contains(err.Error(), "2 messages are lost") || s.String() != "c" {
			t.Errorf("Close: %v, stored %q", err, s.String())
		}
		if st := w.Stats(); st.Lost != 2 || st.Backlogged != 0 || st.Delivered != 1 {
			t.Errorf("stats %+v", st)
		}
		if got := n.seen(); strings.Replace(got, "connected flushing", "connected", 1) != "failing connected closed" {
			t.Errorf("states %q", n.seen())
		}
		for _, err := range n.errs {
			if e, ok := errors.AsType[*BatchError](err); ok && (e.Kept || e.Backlog != nil) {
				t.Errorf("%+v", e)
			}
		}
	})
}

func TestWriterBacklogOverflow(t *testing.T) {
	var o downtime
	s := &script.Log{OnBatch: func(p *script.Peer, m []string) string {
		if o.down.Load() {
			p.Close()
			return "too late"
		}
		return ""
	}}
	// Room for two batches of one message of 200 bytes.
	kept, _ := backlog.NewMemory(backlog.MemoryConfig{MaxBytes: 500})
	cfg := WriterConfig{BatchBytes: 400, BatchMessages: 1, Backlog: kept, WriteWhileFailing: true}
	var n notes
	n.install(&cfg)
	synctest.Test(t, func(t *testing.T) {
		_, ccfg := fake(t, s.Serve)
		o.install(&ccfg)
		w := openWriter(t, ccfg, cfg)
		o.down.Store(true)
		var results outcomes
		long := func(s string) string { return strings.Repeat(s, 200) }
		for _, m := range []string{"a", "b", "c"} {
			tell(t, w, &results, long(m))
			synctest.Wait()
		}
		if got := strings.Join(results.all(), "; "); strings.Count(got, "kept") != 2 || strings.Count(got, "lost, not stored") != 1 {
			t.Errorf("results %q", got)
		}
		if n.failures(backlog.ErrFull) != 1 || w.Stats().Lost != 1 {
			t.Errorf("stats %+v, errors %v", w.Stats(), n.errs)
		}
		// From now on everybody is told at once.
		if _, err := w.Write([]byte("d")); !errors.Is(err, ErrFailing) || !errors.Is(err, backlog.ErrFull) || !errors.Is(err, ErrConnect) {
			t.Errorf("Write: %v", err)
		}
		o.down.Store(false)
		time.Sleep(time.Minute)
		write(t, w, "e")
		// What is lost, nobody was told of by a Flush.
		if err := w.Close(); !errors.Is(err, ErrConnect) || !strings.Contains(err.Error(), "1 messages are lost") || s.String() != long("a")+" "+long("b")+" e" {
			t.Errorf("Close: %v, stored %q", err, s.String())
		}
	})
}

func TestWriterWriteWhileFailing(t *testing.T) {
	var o downtime
	o.down.Store(true)
	s := &script.Log{}
	cfg := WriterConfig{WriteWhileFailing: true, BatchMessages: 2, BatchAge: time.Second}
	var n notes
	n.install(&cfg)
	synctest.Test(t, func(t *testing.T) {
		_, ccfg := fake(t, s.Serve)
		o.install(&ccfg)
		w := openWriter(t, ccfg, cfg)
		if w.State() != StateFailing || !errors.Is(w.Err(), ErrConnect) {
			t.Errorf("state %v, %v", w.State(), w.Err())
		}
		var results outcomes
		tell(t, w, &results, "a", "b", "c")
		synctest.Wait()
		if got := results.all(); len(got) != 2 {
			t.Errorf("results %q, want those of a full batch", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := results.all(); len(got) != 3 || w.Stats().Backlogged != 3 {
			t.Errorf("results %q, %+v", got, w.Stats())
		}
		tell(t, w, &results, "d")
		o.down.Store(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s.String() != "a b c d" || w.State() != StateConnected {
			t.Errorf("stored %q, state %v", s.String(), w.State())
		}
		if n.seen() != "flushing connected" {
			t.Errorf("states %q", n.seen())
		}
	})
}

// Close while failing tries once more.
func TestWriterCloseWhileFailing(t *testing.T) {
	for _, back := range []bool{true, false} {
		for _, while := range []bool{true, false} {
			t.Run(fmt.Sprintf("server back %v, writes while failing %v", back, while), func(t *testing.T) {
				var o downtime
				s := &script.Log{OnBatch: func(p *script.Peer, m []string) string {
					if o.down.Load() {
						p.Close()
						return "too late"
					}
					return ""
				}}
				synctest.Test(t, func(t *testing.T) {
					_, ccfg := fake(t, s.Serve)
					o.install(&ccfg)
					w := openWriter(t, ccfg, WriterConfig{WriteWhileFailing: while})
					o.down.Store(true)
					write(t, w, "a")
					time.Sleep(time.Minute)
					want := "a"
					if while {
						write(t, w, "b")
						want = "a b"
					}
					o.down.Store(!back)
					start := time.Now()
					err := w.Close()
					if took := time.Since(start); took > 6*time.Second {
						t.Errorf("Close took %v", took)
					}
					if back && (err != nil || s.String() != want) {
						t.Errorf("Close: %v, stored %q", err, s.String())
					}
					if !back && (!errors.Is(err, ErrConnect) || errors.Is(err, ErrBacklogged) || !strings.Contains(err.Error(), "lost")) {
						t.Errorf("Close: %v", err)
					}
					if st := w.Stats(); st.Taken != st.Delivered+st.Lost || (st.Lost > 0) == back {
						t.Errorf("%+v: what was taken is neither delivered nor lost", st)
					}
				})
			})
		}
	}
}

// A connection that the server closes while nothing is on its way is replaced
// without a word, when it is needed.
func TestWriterIdleConnection(t *testing.T) {
	s := &script.Log{}
	var n notes
	cfg := WriterConfig{}
	n.install(&cfg)
	synctest.Test(t, func(t *testing.T) {
		f, ccfg := fake(t, s.Serve)
		w := openWriter(t, ccfg, cfg)
		for i := range 3 {
			write(t, w, fmt.Sprint(i))
			flush(t, w)
			time.Sleep(time.Minute) // over IdleTimeout
		}
		if s.String() != "0 1 2" || n.seen() != "" || len(n.errs) != 0 {
			t.Errorf("stored %q, states %q, errors %v", s.String(), n.seen(), n.errs)
		}
		if got := len(strings.Fields(f.dialed())); got != 3 {
			t.Errorf("%d connections, want 3", got)
		}
	})
}

// The server came back with a smaller limit: batches are as small from then on, and what
// fits into none is refused.
func TestWriterLimitShrinks(t *testing.T) {
	s := &script.Log{}
	cfg := WriterConfig{BatchAge: time.Second}
	var n notes
	n.install(&cfg)
	synctest.Test(t, func(t *testing.T) {
		_, ccfg := fake(t, s.Serve)
		w := openWriter(t, ccfg, cfg)
		s.SetMaxBatchSize(1000)
		time.Sleep(time.Minute) // over IdleTimeout
		large := strings.Repeat("x", 600)
		write(t, w, large, large)
		flush(t, w)
		if _, err := w.Write(make([]byte, 1000)); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "1000") || IsRetryable(err) {
			t.Errorf("Write: %v", err)
		}
		s.SetMaxBatchSize(0)
		time.Sleep(time.Minute)
		write(t, w, large)
		flush(t, w) // over a connection where it has asked again
		write(t, w, large, large)
		flush(t, w)
		if !slices.Equal(s.Batches(), []int{1, 1, 1, 2}) || n.seen() != "" {
			t.Errorf("stored %v, states %q", s.Batches(), n.seen())
		}
	})
}

// A Client that is closed under a Writer is no reason to hang.
func TestWriterClientClosed(t *testing.T) {
	gated(t, WriterConfig{}, func(t *testing.T, w *Writer, s *script.Log, open func()) {
		write(t, w, "a")
		time.Sleep(time.Second)
		w.client.Close()
		synctest.Wait()
		if _, err := w.Write([]byte("b")); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrFailing) {
			t.Errorf("Write: %v", err)
		}
		if err := w.Close(); !errors.Is(err, ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
}

// The backlog's own troubles are told, again and again, and do not stop what
// can go on.
func TestWriterBrokenBacklog(t *testing.T) {
	for _, messages := range [][]string{{"a", "b"}, {"b"}} {
		t.Run(fmt.Sprint(messages), func(t *testing.T) { testBrokenBacklog(t, messages) })
	}
}

func testBrokenBacklog(t *testing.T, messages []string) {
	s := &script.Log{}
	var n notes
	path := filepath.Join(t.TempDir(), "backlog")
	kept, err := backlog.OpenDisk(backlog.DiskConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	for _, m := range messages {
		if err := kept.Put(&backlog.Entry{Raw: []byte(stored("t", m)), Messages: 1}); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-3] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := WriterConfig{Backlog: kept}
	n.install(&cfg)
	bubble(t, s, cfg, func(t *testing.T, w *Writer) {
		time.Sleep(time.Minute)
		if s.String() != strings.Join(messages[:len(messages)-1], " ") || w.State() != StateFailing || !errors.Is(w.Err(), backlog.ErrDamaged) {
			t.Errorf("stored %q, state %v, %v", s.String(), w.State(), w.Err())
		}
		if _, err := w.Write([]byte("c")); !errors.Is(err, backlog.ErrDamaged) {
			t.Errorf("Write: %v", err)
		}
		if err := w.Close(); !errors.Is(err, backlog.ErrDamaged) || !errors.Is(err, ErrBacklogged) {
			t.Errorf("Close: %v", err)
		}
		if got := n.failures(backlog.ErrDamaged); got < 12 || got > 40 {
			t.Errorf("%d failures told in a minute, of which most have a pause of 2.5 to 5 s", got)
		}
	})
}

// A Writer that is just being made can be given up.
func TestNewWriterCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ccfg := fake(t, func(p *script.Peer) {
			p.Expect("CONFIG")
			p.AwaitClose()
		})
		c, err := NewClient(ccfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := NewWriter(ctx, c, "t", WriterConfig{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("NewWriter after %v: %v", time.Since(start), err)
		}
	})
}

// A server that answers CONFIG and hangs up is not asked again without a pause.
func TestWriterServerHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var well atomic.Bool
		s := &script.Log{}
		f, ccfg := fake(t, func(p *script.Peer) {
			if well.Load() {
				s.Serve(p)
				return
			}
			p.Expect("CONFIG")
			p.AnswerConfig(DefaultMaxBatchSize)
		})
		w := openWriter(t, ccfg, WriterConfig{WriteWhileFailing: true})
		synctest.Wait()
		write(t, w, "a")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(strings.Fields(f.dialed())); got < 12 || got > 50 {
			t.Errorf("%d connections in a minute", got)
		}
		if w.State() == StateConnected {
			t.Errorf("state %v", w.State())
		}
		well.Store(true)
		time.Sleep(10 * time.Second)
		if err := w.Close(); err != nil || s.String() != "a" {
			t.Errorf("Close: %v, stored %q", err, s.String())
		}
	})
}
