package logd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/producers"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/logdtest/script"
)

// numberedServer stores numbered batches as docs/protocol.md says, and lets the test
// interfere.
type numberedServer struct {
	mu       sync.Mutex
	window   int64 // how far back it knows numbers; 0 for a server without
	table    *producers.Table
	offset   int64
	got      []string // the messages that are stored, in order
	pid      string   // of the producer that was met last
	requests []string // the batches that came: messages, and number if there is one
	// on is called with each batch before it is looked at, or nil.
	on func(p *script.Peer, messages string) fault
}

// fault is what a server does with a batch, apart from what it should.
type fault struct {
	answer string        // in place of looking at it
	hangUp bool          // without an answer
	store  bool          // after it was stored
	mute   bool          // it is stored, and the answer is left out
	pause  time.Duration // before the answer
}

func newNumberedServer() *numberedServer {
	return &numberedServer{window: 1 << 18, table: producers.New(1 << 18)}
}

func (s *numberedServer) serve(p *script.Peer) {
	for {
		r, ok := p.Request()
		if !ok {
			return
		}
		if r.Line == "PING" {
			p.Answer("OK\r\n")
			continue
		}
		if !r.IsBatch() {
			s.mu.Lock()
			settings := protocol.Settings{Host: fakeAddr, MaxBatchSize: DefaultMaxBatchSize, FlushBatches: 1, Producers: s.window}
			s.mu.Unlock()
			p.Answer("%s", protocol.AppendBody(nil, protocol.AppendSettings(nil, &settings)))
			continue
		}
		h, _ := batch.ParseHeader([]byte(r.Line))
		messages := strings.Join(r.Messages(), " ")
		s.mu.Lock()
		var f fault
		if s.on != nil {
			f = s.on(p, messages)
		}
		said := messages
		if h.Seq > 0 {
			said += fmt.Sprint("#", h.Seq)
			s.pid = string(h.PID)
		}
		s.requests = append(s.requests, said)
		answer := f.answer
		if answer == "" && (!f.hangUp || f.store) {
			answer = s.take(&h, r.Len(), r.Messages())
		}
		s.mu.Unlock()
		if f.pause > 0 {
			time.Sleep(f.pause)
		}
		if f.mute {
			continue
		}
		if f.hangUp || !p.Answer("%s", answer) {
			return
		}
	}
}

// take stores a batch, or says why not.
func (s *numberedServer) take(h *batch.Header, length int64, messages []string) string {
	b := producers.Batch{PID: h.PID, Seq: h.Seq, Offset: s.offset, Len: length, CRC: h.CRC}
	if h.Seq > 0 {
		if s.window == 0 {
			return "ERR invalid request\r\n"
		}
		switch a := s.table.Ask(&b); a.Verdict {
		case producers.Duplicate:
			return fmt.Sprintf("OK %d 1\r\n", a.Offset)
		case producers.Conflict:
			return "ERR sequence conflict\r\n"
		case producers.OutOfOrder:
			return fmt.Sprintf("ERR out of order %d\r\n", a.Seq)
		}
	}
	s.table.Add(&b)
	s.got = append(s.got, messages...)
	s.offset += length
	return fmt.Sprintf("OK %d 1\r\n", b.Offset)
}

// forget makes the server forget all numbers.
func (s *numberedServer) forget() { s.table = producers.New(s.window) }

func (s *numberedServer) stored() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.got, " ")
}

func (s *numberedServer) sent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.requests, " ")
}

// numberedTest has a Writer of batches of one message on a numberedServer, in a
// bubble.
func numberedTest(t *testing.T, cfg WriterConfig, test func(t *testing.T, s *numberedServer, w *Writer, n *notes)) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newNumberedServer(), new(notes)
		_, ccfg := fake(t, s.serve)
		n.install(&cfg)
		cfg.BatchMessages = 1
		w := openWriter(t, ccfg, cfg)
		test(t, s, w, n)
	})
}

// Each message is stored once and in order, whatever the server answers when it can't
// take a batch now, and the Writer does not fail meanwhile.
func TestNumberedIsSentAgain(t *testing.T) {
	for name, f := range map[string]fault{
		"lost before it is stored": {hangUp: true},
		"lost behind it":           {hangUp: true, store: true},
		"busy":                     {answer: "ERR busy\r\n"},
		"read only":                {answer: "ERR read only\r\n"},
		"not leader":               {answer: "ERR not leader\r\n"},
		"not leader, named":        {answer: "ERR not leader " + fakeAddr + "\r\n"},
		"shutting down":            {answer: "ERR shutting down\r\n", hangUp: false},
	} {
		for at := range 5 {
			t.Run(fmt.Sprint(name, at), func(t *testing.T) {
				numberedTest(t, WriterConfig{InFlight: 3, Backlog: backlog.None{}}, func(t *testing.T, s *numberedServer, w *Writer, n *notes) {
					times := 0
					s.on = func(p *script.Peer, messages string) fault {
						if messages == string(rune('a'+at)) && times < 3 {
							times++
							return f
						}
						return fault{}
					}
					write(t, w, "a", "b", "c", "d", "e", "f")
					flush(t, w)
					if s.stored() != "a b c d e f" || times != 3 || n.seen() != "" {
						t.Errorf("stored %q, sent %q, states %q", s.stored(), s.sent(), n.seen())
					}
					if got := strings.Join(n.pushed(), ", "); got != "stored a, stored b, stored c, stored d, stored e, stored f" {
						t.Errorf("told: %s", got)
					}
					want := WriterStats{Taken: 6, Delivered: 6, DeliveredBatches: 6}
					if st := w.Stats(); st != want {
						t.Errorf("stats %+v", st)
					}
					if len(n.errs) == 0 {
						t.Error("OnError was told of nothing")
					}
				})
			})
		}
	}
}

// After an error nothing is sent on the connection before all that was sent there is
// answered.
func TestNumberedWaitsForAnswers(t *testing.T) {
	numberedTest(t, WriterConfig{InFlight: 4}, func(t *testing.T, s *numberedServer, w *Writer, n *notes) {
		refused := false
		held := make(chan struct{})
		s.on = func(p *script.Peer, messages string) fault {
			switch {
			case messages == "a" && !refused:
				refused = true
				return fault{answer: "ERR busy\r\n"}
			case messages == "c" && len(s.requests) == 2:
				s.mu.Unlock()
				<-held
				s.mu.Lock()
			}
			return fault{}
		}
		write(t, w, "a", "b", "c")
		synctest.Wait()
		time.Sleep(time.Second)
		if s.sent() != "a#1 b#2" {
			t.Errorf("sent %q while an answer is awaited", s.sent())
		}
		close(held)
		flush(t, w)
		if s.stored() != "a b c" || s.sent() != "a#1 b#2 c#3 a#1 b#2 c#3" {
			t.Errorf("stored %q, sent %q", s.stored(), s.sent())
		}
	})
}

// What the server says of the number that is next: that all is stored, though nobody
// says where, that some is, or that it has forgotten all.
func TestNumberedOutOfOrder(t *testing.T) {
	for _, tt := range []struct {
		name    string
		again   func(s *numberedServer, messages string) fault // when a batch is sent for the second time
		stored  string
		doubt   int64
		offsets []int64 // of c and d, in batches
	}{
		{"known", func(*numberedServer, string) fault { return fault{} }, "a b c d", 0, []int64{2, 3}},
		{"too old to be known", func(*numberedServer, string) fault {
			return fault{answer: "ERR out of order 5\r\n"}
		}, "a b c d", 0, []int64{-1, -1}},
		{"the first is too old to be known", func(_ *numberedServer, messages string) fault {
			if messages == "c" {
				return fault{answer: "ERR out of order 4\r\n"}
			}
			return fault{}
		}, "a b c d", 0, []int64{-1, 3}},
		{"forgotten", func(s *numberedServer, messages string) fault {
			if messages == "c" {
				s.forget()
			}
			return fault{}
		}, "a b c d c d", 2, []int64{4, 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			numberedTest(t, WriterConfig{InFlight: 4, Backlog: backlog.None{}}, func(t *testing.T, s *numberedServer, w *Writer, n *notes) {
				write(t, w, "a", "b")
				flush(t, w)
				length := s.offset / 2
				seen := make(map[string]int)
				s.on = func(p *script.Peer, messages string) fault {
					switch seen[messages]++; seen[messages] {
					case 1:
						return fault{store: true, mute: messages == "c", hangUp: messages == "d"}
					case 2:
						return tt.again(s, messages)
					}
					return fault{}
				}
				var offsets []int64
				for _, m := range []string{"c", "d"} {
					if err := w.WriteFunc(t.Context(), []byte(m), func(r WriteResult) {
						if r.Err != nil {
							t.Error(r.Err)
						}
						if r.Offset > 0 {
							r.Offset /= length
						}
						offsets = append(offsets, r.Offset)
					}); err != nil {
						t.Fatal(err)
					}
				}
				flush(t, w)
				if s.stored() != tt.stored || !slices.Equal(offsets, tt.offsets) {
					t.Errorf("stored %q, sent %q, offsets %v", s.stored(), s.sent(), offsets)
				}
				if st := w.Stats(); st.InDoubt != tt.doubt || st.Delivered != 4 || n.seen() != "" {
					t.Errorf("%+v, states %q", st, n.seen())
				}
			})
		})
	}
}

// A server that has lost batches which it had answered gets what follows them, once.
func TestNumberedServerHasLost(t *testing.T) {
	numberedTest(t, WriterConfig{InFlight: 4}, func(t *testing.T, s *numberedServer, w *Writer, n *notes) {
		write(t, w, "a", "b", "c")
		flush(t, w)
		s.mu.Lock()
		s.got = s.got[:1]
		s.forget()
		s.mu.Unlock()
		first := true
		s.on = func(p *script.Peer, messages string) fault {
			if first {
				first = false
				return fault{answer: "ERR out of order 2\r\n"} // a is there, b and c are not
			}
			return fault{}
		}
		write(t, w, "d")
		flush(t, w)
		write(t, w, "e")
		flush(t, w)
		if s.stored() != "a d e" || s.sent() != "a#1 b#2 c#3 d#4 d#1 e#2" || w.Stats().InDoubt != 0 {
			t.Errorf("stored %q, sent %q, %+v", s.stored(), s.sent(), w.Stats())
		}
	})
}

// A conflict is an error of its batch alone, which stays where refused batches are.
func TestNumberedConflict(t *testing.T) {
	numberedTest(t, WriterConfig{InFlight: 4}, func(t *testing.T, s *numberedServer, w *Writer, n *notes) {
		s.on = func(p *script.Peer, messages string) fault {
			if messages == "b" {
				return fault{answer: "ERR sequence conflict\r\n"}
			}
			return fault{}
		}
		write(t, w, "a")
		flush(t, w)
		w.Write([]byte("b"))
		if err := w.Flush(t.Context()); !errors.Is(err, ErrSequenceConflict) {
			t.Errorf("Flush: %v", err)
		}
		if got := strings.Join(n.pushed(), ", "); got != "stored a, kept b" || n.batches(ErrSequenceConflict) == 0 {
			t.Errorf("told: %s", got)
		}
	})
}

// While the server is away the Writer takes messages, until its patience ends. What
// it kept is then stored once all the same.
func TestNumberedPatience(t *testing.T) {
	for _, patience := range []time.Duration{0, time.Second, Unlimited} {
		synctest.Test(t, func(t *testing.T) {
			s, n := newNumberedServer(), new(notes)
			net, ccfg := fake(t, s.serve)
			cfg := WriterConfig{BatchMessages: 1, InFlight: 2, BatchBytes: 256, BufferBytes: 256 * 8, WhenFull: Fail, Patience: patience}
			n.install(&cfg)
			w := openWriter(t, ccfg, cfg)
			s.on = func(p *script.Peer, messages string) fault {
				net.serve(fakeAddr, nil)
				s.on = nil
				return fault{hangUp: true, store: true}
			}
			write(t, w, "a", "b", "c")
			limit := cfg.Patience
			if limit == 0 {
				limit = DefaultPatience
			} else if limit < 0 {
				limit = time.Hour
			}
			time.Sleep(limit - time.Millisecond)
			if w.State() != StateConnected {
				t.Errorf("%v after %v", w.State(), limit)
			}
			write(t, w, "d", "e")
			synctest.Wait()
			time.Sleep(20 * time.Millisecond)
			if got := w.State() == StateFailing; got != (patience >= 0) {
				t.Errorf("patience %v: %v", patience, w.State())
			}
			if st := w.Stats(); patience < 0 && st.Pending != 5 || patience >= 0 && st.Kept != 5 {
				t.Errorf("%+v", st)
			}
			net.serve(fakeAddr, s.serve)
			time.Sleep(20 * time.Second)
			flush(t, w)
			if s.stored() != "a b c d e" || w.Stats().InDoubt != 0 || w.State() != StateConnected {
				t.Errorf("stored %q, %+v", s.stored(), w.Stats())
			}
			want := "stored a, stored b, stored c, stored d, stored e"
			if patience >= 0 {
				want = "kept a, kept b, kept c, kept d, kept e, stored from backlog a, stored from backlog b, stored from backlog c, stored from backlog d, stored from backlog e"
			}
			if got := strings.Join(n.pushed(), ", "); got != want {
				t.Errorf("told: %s", got)
			}
			if patience >= 0 && !IsUnknown(n.results[0].Err) {
				t.Errorf("of a, which is stored: %v", n.results[0].Err)
			}
		})
	}
}

// A Writer with StopOnError stops at the first failure, as it does without numbers,
// unless it is told to be patient.
func TestNumberedStopOnError(t *testing.T) {
	for _, patience := range []time.Duration{0, time.Second} {
		numberedTest(t, WriterConfig{InFlight: 2, StopOnError: true, Patience: patience}, func(t *testing.T, s *numberedServer, w *Writer, n *notes) {
			s.on = func(p *script.Peer, messages string) fault {
				if messages == "b" {
					s.on = nil
					return fault{answer: "ERR busy\r\n"}
				}
				return fault{}
			}
			write(t, w, "a", "b")
			w.Write([]byte("c"))
			err := w.Flush(t.Context())
			want := map[time.Duration]string{0: "a", time.Second: "a b c"}[patience]
			if s.stored() != want || (err == nil) != (patience > 0) {
				t.Errorf("patience %v: stored %q, %v", patience, s.stored(), err)
			}
		})
	}
}

// A server without numbers gets batches without them, also those that were kept with
// them, and what was kept without them is sent so.
func TestNumberedOrNot(t *testing.T) {
	plain := batchOf("old").Raw("t")
	for _, window := range []int64{0, 1 << 18} {
		for _, off := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s, n := newNumberedServer(), new(notes)
				s.window = window
				net, ccfg := fake(t, nil)
				kept, _ := backlog.NewMemory(backlog.MemoryConfig{})
				kept.Put(&backlog.Entry{Raw: plain, Messages: 1})
				cfg := WriterConfig{BatchMessages: 1, InFlight: 4, Backlog: kept, WriteWhileFailing: true, NoSequence: off}
				n.install(&cfg)
				w := openWriter(t, ccfg, cfg)
				write(t, w, "a", "b")
				synctest.Wait()
				net.serve(fakeAddr, s.serve)
				time.Sleep(10 * time.Second)
				write(t, w, "c", "d")
				flush(t, w)
				want := "old a b c d"
				if window > 0 && !off {
					want = "old a#1 b#2 c#3 d#4"
				}
				if s.sent() != want || s.stored() != "old a b c d" {
					t.Errorf("window %d, NoSequence %v: sent %q", window, off, s.sent())
				}
			})
		}
	}
}

// The server's setting may change while a Writer sends: numbers are given and left out
// as it says, and nothing is lost.
func TestNumberedSettingChanges(t *testing.T) {
	numberedTest(t, WriterConfig{InFlight: 2}, func(t *testing.T, s *numberedServer, w *Writer, n *notes) {
		for i, window := range []int64{1 << 18, 0, 1 << 18, 0} {
			s.mu.Lock()
			s.window = window
			cut := true
			s.on = func(p *script.Peer, messages string) fault {
				f := fault{hangUp: cut}
				cut = false
				return f
			}
			s.mu.Unlock()
			for j := range 3 {
				for w.State() == StateFailing {
					time.Sleep(time.Second)
				}
				write(t, w, fmt.Sprintf("%d%d", i, j))
			}
			time.Sleep(time.Minute)
			flush(t, w)
		}
		got := strings.Fields(s.stored())
		slices.Sort(got)
		if want := "00 01 02 10 11 12 20 21 22 30 31 32"; strings.Join(got, " ") != want {
			t.Errorf("stored %q, sent %q", s.stored(), s.sent())
		}
	})
}

// What is in a backlog on disk keeps its numbers: the next process sends it as it is,
// and what is stored already is recognised.
func TestNumberedBacklog(t *testing.T) {
	type world struct {
		s    *numberedServer
		dial ClientConfig
		path string
	}
	open := func(t *testing.T, w *world) *backlog.Disk {
		b, err := backlog.OpenDisk(backlog.DiskConfig{Path: w.path})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		name    string
		between func(s *numberedServer)
		stored  string
		doubt   int64
	}{
		{"recognised", func(*numberedServer) {}, "x a b c d new", 0},
		{"forgotten", func(s *numberedServer) { s.forget() }, "x a b a b c d new", 4},
		{"one before it is missing", func(s *numberedServer) {
			s.forget()
			s.table.Add(&producers.Batch{PID: []byte(s.pid), Seq: 1, Offset: 0, Len: 10})
			s.got = s.got[:1]
		}, "x a b c d new", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "backlog")
			synctest.Test(t, func(t *testing.T) {
				s, n := newNumberedServer(), new(notes)
				net, ccfg := fake(t, s.serve)
				at := &world{s, ccfg, path}
				kept := open(t, at)
				cfg := WriterConfig{BatchMessages: 1, InFlight: 2, Backlog: kept, WriteWhileFailing: true}
				n.install(&cfg)
				w := openWriter(t, ccfg, cfg)
				write(t, w, "x", "y")
				flush(t, w)
				s.mu.Lock()
				s.got = s.got[:1] // y is of no interest but for its number
				s.on = func(p *script.Peer, messages string) fault {
					if messages == "b" {
						net.serve(fakeAddr, nil)
					}
					return fault{store: true, mute: messages == "a", hangUp: messages == "b"}
				}
				s.mu.Unlock()
				write(t, w, "a", "b", "c", "d")
				time.Sleep(time.Minute)
				w.Close()
				kept.Close()
				s.mu.Lock()
				if got := strings.Join(s.got, " "); got != "x a b" {
					t.Fatalf("stored %q at first", got)
				}
				s.on = nil
				tt.between(s)
				s.mu.Unlock()

				net.serve(fakeAddr, s.serve)
				kept = open(t, at)
				defer kept.Close()
				w = openWriter(t, ccfg, WriterConfig{BatchMessages: 1, Backlog: kept})
				write(t, w, "new")
				flush(t, w)
				if s.stored() != tt.stored || w.Stats().InDoubt != tt.doubt {
					t.Errorf("stored %q, sent %q, %+v", s.stored(), s.sent(), w.Stats())
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// However often connections end and the server refuses, each message is stored once and
// in order, whether it was kept in between or not. The control is the same without
// numbers.
func TestNumberedAtRandom(t *testing.T) {
	doubles := 0
	for seed := range uint64(40) {
		for _, off := range []bool{false, true} {
			rnd := rand.New(rand.NewPCG(seed, 1))
			synctest.Test(t, func(t *testing.T) {
				s, n := newNumberedServer(), new(notes)
				f, ccfg := fake(t, s.serve)
				calm := false
				server := rand.New(rand.NewPCG(seed, 2))
				s.on = func(*script.Peer, string) fault {
					if calm {
						return fault{}
					}
					switch server.IntN(40) {
					case 0:
						return fault{hangUp: true}
					case 1, 2:
						return fault{hangUp: true, store: true}
					case 3:
						return fault{answer: "ERR busy\r\n"}
					case 4:
						return fault{answer: "ERR read only\r\n"}
					case 5:
						return fault{answer: "ERR shutting down\r\n", hangUp: server.IntN(2) == 0}
					case 6:
						return fault{mute: true, store: true}
					case 7:
						f.serve(fakeAddr, nil)
						away := time.Duration(server.Int64N(int64(3 * time.Second)))
						time.AfterFunc(away, func() { f.serve(fakeAddr, s.serve) })
						return fault{hangUp: true, store: server.IntN(2) == 0}
					case 8:
						return fault{pause: time.Duration(server.Int64N(int64(time.Second)))}
					}
					return fault{}
				}
				ccfg.ReadTimeout = 2 * time.Second // of what is muted
				cfg := WriterConfig{
					BatchMessages: 1 + rnd.Int64N(3), InFlight: 1 + rnd.IntN(8), BatchBytes: 512, BufferBytes: 512 * 20,
					Patience: time.Duration(1 + rnd.Int64N(int64(3*time.Second))), WriteWhileFailing: true, NoSequence: off,
				}
				n.install(&cfg)
				w := openWriter(t, ccfg, cfg)
				for i := range 200 {
					m := fmt.Sprint(i)
					write(t, w, m)
					if rnd.IntN(8) == 0 {
						time.Sleep(time.Duration(rnd.Int64N(int64(300 * time.Millisecond))))
					}
				}
				s.mu.Lock()
				calm = true
				s.mu.Unlock()
				time.Sleep(5 * time.Minute)
				st := w.Stats()
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				if off {
					doubles += len(s.got) - 200
					return
				}
				for i, m := range s.got {
					if m != fmt.Sprint(i) {
						t.Fatalf("seed %d: message %d is %q", seed, i, m)
					}
				}
				if len(s.got) != 200 || st.InDoubt != 0 || st.Delivered != 200 || st.Taken != 200 {
					t.Errorf("seed %d: %d are stored, %+v", seed, len(s.got), st)
				}
			})
		}
	}
	if doubles == 0 {
		t.Error("without numbers nothing is stored twice: the test shows nothing")
	}
	t.Logf("%d doubles without numbers", doubles)
}

// A Writer that takes messages whatever happens keeps them in the backlog before its
// buffer is full: none is dropped while it is patient.
func TestNumberedFailsBeforeItDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newNumberedServer()
		net, ccfg := fake(t, s.serve)
		cfg := WriterConfig{
			BatchMessages: 1, InFlight: 2, BatchBytes: 256, BufferBytes: 256 * 8, WhenFull: DropNewest, WriteWhileFailing: true, Patience: Unlimited,
		}
		w := openWriter(t, ccfg, cfg)
		s.on = func(*script.Peer, string) fault {
			net.serve(fakeAddr, nil)
			s.on = nil
			return fault{hangUp: true}
		}
		var want []string
		for i := range 100 {
			write(t, w, fmt.Sprint(i))
			synctest.Wait()
			want = append(want, fmt.Sprint(i))
		}
		if st := w.Stats(); st.Dropped != 0 || st.Kept == 0 {
			t.Errorf("%+v", st)
		}
		net.serve(fakeAddr, s.serve)
		time.Sleep(time.Minute)
		flush(t, w)
		if s.stored() != strings.Join(want, " ") {
			t.Errorf("stored %q", s.stored())
		}
	})
}

// Close waits with the Writer's patience for a server that is away, and CloseContext
// gives up at once: then all is in the backlog, with its numbers.
func TestNumberedClose(t *testing.T) {
	for _, give := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newNumberedServer()
			net, ccfg := fake(t, s.serve)
			kept, _ := backlog.NewMemory(backlog.MemoryConfig{})
			w := openWriter(t, ccfg, WriterConfig{BatchMessages: 1, InFlight: 2, Backlog: kept})
			s.on = func(*script.Peer, string) fault {
				net.serve(fakeAddr, nil)
				s.on = nil
				return fault{hangUp: true, store: true}
			}
			write(t, w, "a", "b", "c")
			synctest.Wait()
			time.Sleep(time.Second)
			begun := time.Now()
			if !give {
				time.AfterFunc(time.Second, func() { net.serve(fakeAddr, s.serve) })
				if err := w.Close(); err != nil || s.stored() != "a b c" || kept.Len() != 0 || time.Since(begun) > 5*time.Second {
					t.Errorf("Close after %v: %v; stored %q", time.Since(begun), err, s.stored())
				}
				return
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err := w.CloseContext(ctx)
			if !errors.Is(err, ErrBacklogged) || !errors.Is(err, context.Canceled) || time.Since(begun) > 0 {
				t.Errorf("CloseContext after %v: %v", time.Since(begun), err)
			}
			seq := int64(0)
			for e, err := range kept.All() {
				seq++
				// Whether the second was sent before the connection ended is not known.
				if h, _, _ := batch.Parse(e.Raw); err != nil || h.Seq != seq || seq != 2 && e.Unknown != (seq == 1) {
					t.Errorf("kept %q, unknown %v, %v", e.Raw, e.Unknown, err)
				}
			}
			if seq != 3 {
				t.Errorf("%d batches are kept", seq)
			}
			net.serve(fakeAddr, s.serve)
			w = openWriter(t, ccfg, WriterConfig{BatchMessages: 1, Backlog: kept})
			flush(t, w)
			if s.stored() != "a b c" {
				t.Errorf("stored %q", s.stored())
			}
		})
	}
}

// Each Writer has an id of its own, of 128 random bits, and its numbers begin at 1.
func TestNumberedPID(t *testing.T) {
	seen := make(map[string]bool)
	for range 3 {
		numberedTest(t, WriterConfig{}, func(t *testing.T, s *numberedServer, w *Writer, n *notes) {
			write(t, w, "a", "b")
			flush(t, w)
			if id, err := hex.DecodeString(s.pid); err != nil || len(id) != 16 || seen[s.pid] {
				t.Errorf("the id %q", s.pid)
			}
			seen[s.pid] = true
			if s.sent() != "a#1 b#2" {
				t.Errorf("sent %q", s.sent())
			}
		})
	}
}
