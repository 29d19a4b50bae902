package logd

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/logdtest/script"
)

// A Writer with StopOnError sends nothing behind a batch that failed, and says
// of each batch what became of it, in order. The control is the same Writer
// without it.
func TestWriterStopsOnError(t *testing.T) {
	const refused, lost = "ERR topic not allowed\r\n", ""
	tests := []struct {
		name    string
		answer  string // to the batch of "c"; lost to hang up
		stop    bool
		backlog bool
		want    []string
		dials   int
	}{
		{"refused", refused, true, false, []string{"stored a", "stored b", "lost c", "lost d", "lost e"}, 1},
		{"refused, with a backlog", refused, true, true, []string{"stored a", "stored b", "kept c", "kept d", "kept e"}, 1},
		{"connection lost", lost, true, false, []string{"stored a", "stored b", "lost c", "lost d", "lost e"}, 1},
		{"control", lost, false, true, []string{
			"stored a", "stored b", "kept c", "kept d", "kept e",
			"stored from backlog c", "stored from backlog d", "stored from backlog e",
		}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				again := false
				s := &script.Log{}
				s.OnBatch = func(p *script.Peer, messages []string) string {
					if messages[0] != "c" || again {
						return ""
					}
					again = true
					if tt.answer == lost {
						p.Close()
						return "nobody hears this"
					}
					return tt.answer
				}
				net, ccfg := fake(t, s.Serve)
				var n notes
				cfg := WriterConfig{BatchMessages: 1, InFlight: 1, StopOnError: tt.stop}
				n.install(&cfg)
				if tt.backlog {
					cfg.Backlog, _ = backlog.NewMemory(backlog.MemoryConfig{})
				}
				w := openWriter(t, ccfg, cfg)
				write(t, w, "a", "b", "c", "d", "e")
				synctest.Wait()
				time.Sleep(time.Minute) // for whatever it may try
				if got := n.pushed(); !slices.Equal(got, tt.want) {
					t.Errorf("told %q, want %q", got, tt.want)
				}
				if net.count() != tt.dials {
					t.Errorf("%d connections, want %d", net.count(), tt.dials)
				}
				if !tt.stop {
					return
				}
				if _, err := w.Write([]byte("f")); !errors.Is(err, ErrFailing) || !IsNotStored(err) {
					t.Errorf("Write: %v", err)
				}
				err := w.Close()
				if err == nil || errors.Is(err, ErrBacklogged) != tt.backlog || net.count() != tt.dials {
					t.Errorf("Close: %v, after %d connections", err, net.count())
				}
				if st := w.Stats(); st.Taken != 5 || st.Delivered != 2 || st.Kept+st.Lost != 3 || (st.Lost == 0) != tt.backlog {
					t.Errorf("stats %+v", st)
				}
				if s.String() != "a b" {
					t.Errorf("stored %q", s.String())
				}
				if !tt.backlog {
					return
				}
				n.results = nil
				w = openWriter(t, ccfg, cfg)
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				if got, want := n.pushed(), []string{"stored from backlog c", "stored from backlog d", "stored from backlog e"}; !slices.Equal(got, want) {
					t.Errorf("the next Writer told %q, want %q", got, want)
				}
			})
		})
	}
}

// A Writer that stops with its first failure also stops if the server can't be
// reached when a batch is due.
func TestWriterStopsUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script.Log{}
		net, ccfg := fake(t, s.Serve)
		var o downtime
		o.install(&ccfg)
		ccfg.IdleTimeout = time.Second
		var n notes
		cfg := WriterConfig{StopOnError: true}
		n.install(&cfg)
		w := openWriter(t, ccfg, cfg)
		time.Sleep(time.Minute)
		write(t, w, "a")
		flush(t, w) // over another connection
		time.Sleep(time.Minute)
		o.down.Store(true)
		write(t, w, "b")
		time.Sleep(time.Minute)
		o.down.Store(false)
		time.Sleep(time.Minute)
		if got, want := n.pushed(), []string{"stored a", "lost b"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		if net.count() != 2 || !errors.Is(w.Err(), ErrConnect) {
			t.Errorf("%d connections, %v", net.count(), w.Err())
		}
	})
}

// A Writer that stops with its first failure has stopped, too, if an attempt to
// reconnect is under way then, and succeeds. The control is the same Writer without
// StopOnError.
func TestWriterStopsWhileReconnecting(t *testing.T) {
	for _, stop := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			first := true
			s := &script.Log{OnBatch: func(p *script.Peer, messages []string) string {
				if !first {
					return ""
				}
				first = false
				time.Sleep(time.Minute) // and nothing more is read
				p.Close()
				return "nobody hears this"
			}}
			_, ccfg := fake(t, s.Serve)
			ccfg.WriteTimeout = time.Second
			var n notes
			cfg := WriterConfig{BatchMessages: 1, InFlight: 3, StopOnError: stop}
			n.install(&cfg)
			w := openWriter(t, ccfg, cfg)
			write(t, w, "a")
			synctest.Wait()
			write(t, w, "b") // which can't be written
			time.Sleep(3 * time.Second / 2)
			if w.State() != StateConnected {
				t.Fatalf("state %v before the answers are given up", w.State())
			}
			write(t, w, "c") // for which there is no connection
			time.Sleep(time.Minute)
			_, err := w.Write([]byte("d"))
			if !stop {
				flush(t, w)
				if err != nil || s.String() != "a b c d" {
					t.Errorf("without StopOnError: stored %q, %v", s.String(), err)
				}
				return
			}
			if !errors.Is(err, ErrFailing) || !IsNotStored(err) || !errors.Is(w.Err(), os.ErrDeadlineExceeded) {
				t.Errorf("Write: %v; the Writer is failing with %v", err, w.Err())
			}
			if got, want := n.pushed(), []string{"lost a", "lost b", "lost c"}; !slices.Equal(got, want) || s.String() != "" {
				t.Errorf("told %q, want %q; stored %q", got, want, s.String())
			}
			if n.seen() != "failing" {
				t.Errorf("states %q", n.seen())
			}
		})
	}
}

// Messages share a batch up to BatchTarget, and a longer one goes alone.
func TestWriterBatchTarget(t *testing.T) {
	s := &script.Log{}
	var n notes
	cfg := WriterConfig{BatchBytes: 10000, BatchTarget: 1000, BatchAge: -1}
	n.install(&cfg)
	bubble(t, s, cfg, func(t *testing.T, w *Writer) {
		long := strings.Repeat("x", 5000)
		for range 10 {
			write(t, w, strings.Repeat("a", 200))
		}
		write(t, w, long, "b", long, long)
		if _, err := w.Write(make([]byte, 10001)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a message over BatchBytes: %v", err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if want := []int{4, 4, 2, 1, 1, 1, 1}; !slices.Equal(s.Batches(), want) {
			t.Errorf("batches of %v messages, want %v", s.Batches(), want)
		}
		for i, r := range n.results {
			if len(r.Raw) > 1000 && r.Messages > 1 {
				t.Errorf("batch %d has %d messages and %d bytes", i, r.Messages, len(r.Raw))
			}
		}
	})
	for _, target := range []int64{-1, 10001} {
		cfg := WriterConfig{BatchBytes: 10000, BatchTarget: target}
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "WriterConfig.BatchTarget is") {
			t.Errorf("BatchTarget %d: %v", target, err)
		}
	}
	both := WriterConfig{StopOnError: true, WriteWhileFailing: true}
	if err := both.Validate(); err == nil || !strings.Contains(err.Error(), "WriterConfig.StopOnError is") {
		t.Errorf("StopOnError with WriteWhileFailing: %v", err)
	}
}
