package logd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/logdtest/script"
)

func TestWriterBatches(t *testing.T) {
	m := strings.Repeat("m", 90)
	tests := []struct {
		name string
		cfg  WriterConfig
		want []int // messages of the batches of 7 messages
	}{
		{"all fit", WriterConfig{}, []int{7}},
		{"by count", WriterConfig{BatchMessages: 3}, []int{3, 3, 1}},
		{"by bytes", WriterConfig{BatchBytes: 350, NoSequence: true}, []int{3, 3, 1}},
		{"by bytes, with room for a number", WriterConfig{BatchBytes: 350}, []int{2, 2, 2, 1}},
		{"of one", WriterConfig{BatchMessages: 1}, []int{1, 1, 1, 1, 1, 1, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &script.Log{}
			bubble(t, s, tt.cfg, func(t *testing.T, w *Writer) {
				write(t, w, m, m, m, m, m, m, m)
				flush(t, w)
				if !slices.Equal(s.Batches(), tt.want) {
					t.Errorf("batches of %v messages, want %v", s.Batches(), tt.want)
				}
				if st := w.Stats(); st.Taken != 7 || st.Delivered != 7 || st.DeliveredBatches != int64(len(tt.want)) {
					t.Errorf("stats %+v", st)
				}
			})
		})
	}
}

// A message that just fits a batch is taken, one that is a byte longer is not.
func TestWriterLargestMessage(t *testing.T) {
	s := &script.Log{}
	bubble(t, s, WriterConfig{BatchBytes: 500, NoSequence: true}, func(t *testing.T, w *Writer) {
		n := 0
		for batchOf(strings.Repeat("a", n+1)).Len("t") <= 500 {
			n++
		}
		write(t, w, "x", strings.Repeat("a", n), strings.Repeat("a", n), "y")
		_, err := w.Write(bytes.Repeat([]byte("a"), n+1))
		if !errors.Is(err, ErrTooLarge) || !IsNotStored(err) || IsRetryable(err) {
			t.Errorf("a message that fits no batch: %v", err)
		}
		if _, err := w.Write(make([]byte, n+10)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a longer one: %v", err)
		}
		flush(t, w)
		if !slices.Equal(s.Batches(), []int{1, 1, 1, 1}) || s.Next("t") > 4*500 {
			t.Errorf("batches %v, %d bytes", s.Batches(), s.Next("t"))
		}
	})
}

func TestWriterBatchAge(t *testing.T) {
	s := &script.Log{}
	bubble(t, s, WriterConfig{BatchAge: time.Second}, func(t *testing.T, w *Writer) {
		for range 3 { // the timer must work again and again
			before := len(s.Batches())
			write(t, w, "a")
			time.Sleep(600 * time.Millisecond)
			write(t, w, "b")
			synctest.Wait()
			if len(s.Batches()) != before {
				t.Errorf("a batch was sent before its time")
			}
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			if len(s.Batches()) != before+1 {
				t.Errorf("%d batches after their time, want %d", len(s.Batches()), before+1)
			}
		}
		if s.String() != "a b a b a b" {
			t.Errorf("stored %q", s.String())
		}
	})
	s = &script.Log{}
	bubble(t, s, WriterConfig{BatchAge: -1}, func(t *testing.T, w *Writer) {
		write(t, w, "a")
		time.Sleep(time.Hour)
		synctest.Wait()
		if s.String() != "" {
			t.Error("a batch without an age was sent")
		}
		flush(t, w)
		if s.String() != "a" {
			t.Errorf("stored %q", s.String())
		}
	})
}

func TestWriterCallbacks(t *testing.T) {
	s := &script.Log{}
	bubble(t, s, WriterConfig{BatchMessages: 4}, func(t *testing.T, w *Writer) {
		var got []string
		var order []int
		for i := range 10 {
			m := fmt.Appendf(nil, "message %d", i)
			err := w.WriteFunc(t.Context(), m, func(r WriteResult) {
				if r.Err != nil {
					t.Errorf("message %d: %v", i, r.Err)
				}
				order = append(order, i)
				got = append(got, fmt.Sprintf("%d.%d", r.Offset, r.Delta))
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, s.IDs()) || !slices.IsSorted(order) {
			t.Errorf("callbacks got %v in order %v, stored as %v", got, order, s.IDs())
		}
	})
}

func TestWriterOnBatch(t *testing.T) {
	s := &script.Log{}
	var n notes
	cfg := WriterConfig{BatchMessages: 2}
	n.install(&cfg)
	bubble(t, s, cfg, func(t *testing.T, w *Writer) {
		write(t, w, "a", "b", "c")
		flush(t, w)
		write(t, w, "d")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, want := n.pushed(), []string{"stored a b", "stored c", "stored d"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		var next int64
		for i, r := range n.results {
			if r.Offset != next {
				t.Errorf("batch %d at %d, want %d", i, r.Offset, next)
			}
			next += int64(len(r.Raw))
		}
		if got := n.seen(); got != "flushing closed" {
			t.Errorf("states %q", got)
		}
		if len(n.errs) != 0 {
			t.Errorf("errors %v", n.errs)
		}
	})
}

func TestNewWriterRefuses(t *testing.T) {
	s := &script.Log{MaxBatchSize: 1000}
	full, _ := backlog.NewMemory(backlog.MemoryConfig{})
	raw := stored("other", "x")
	if err := full.Put(&backlog.Entry{Raw: []byte(raw), Messages: 1}); err != nil {
		t.Fatal(err)
	}
	used, _ := backlog.NewMemory(backlog.MemoryConfig{})
	used.Claim()
	tests := []struct {
		name  string
		topic string
		cfg   WriterConfig
		is    error
		says  []string
	}{
		{"a topic that is none", "..", WriterConfig{BatchBytes: 1000}, ErrInvalidRequest, []string{`".."`}},
		{"another topic's backlog", "t", WriterConfig{BatchBytes: 1000, Backlog: full}, nil, []string{"backlog", `"other"`}},
		{"another Writer's backlog", "t", WriterConfig{BatchBytes: 1000, Backlog: used}, backlog.ErrInUse, nil},
		{"a bad config", "t", WriterConfig{InFlight: -1}, nil, []string{"InFlight"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, ccfg := fake(t, s.Serve)
			c := dialTest(t, ccfg)
			w, err := NewWriter(t.Context(), c, tt.topic, tt.cfg)
			if err == nil {
				w.Close()
				t.Fatal("NewWriter made one")
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			for _, part := range tt.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			if err := full.Claim(); err != nil {
				t.Errorf("the backlog is still claimed: %v", err)
			}
			full.Release()
		})
	}
}

func TestNewWriterCannotConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ccfg := fake(t, nil)
		f.serve(fakeAddr, nil)
		c, _ := NewClient(ccfg)
		defer c.Close()
		_, err := NewWriter(t.Context(), c, "t", WriterConfig{})
		if !errors.Is(err, ErrConnect) || !IsRetryable(err) {
			t.Errorf("error %v", err)
		}
		// One round is enough to know.
		if got := f.dialed(); got != fakeAddr {
			t.Errorf("dialed %q", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		_, ccfg := fake(t, nil)
		ccfg.Dial = hangingDial
		ccfg.ConnectTimeout = -1
		c, _ := NewClient(ccfg)
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := NewWriter(ctx, c, "t", WriterConfig{WriteWhileFailing: true}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

func TestWriterClose(t *testing.T) {
	s := &script.Log{}
	bubble(t, s, WriterConfig{BatchAge: -1}, func(t *testing.T, w *Writer) {
		write(t, w, "a", "b")
		for range 2 {
			if err := w.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if s.String() != "a b" {
			t.Errorf("stored %q", s.String())
		}
		_, err := w.Write([]byte("c"))
		if !errors.Is(err, ErrClosed) || !IsNotStored(err) || IsRetryable(err) {
			t.Errorf("Write after Close: %v", err)
		}
		if err := w.Flush(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Flush after Close: %v", err)
		}
		if err := w.WriteFunc(t.Context(), nil, func(WriteResult) { t.Error("called back") }); !errors.Is(err, ErrClosed) {
			t.Errorf("WriteFunc after Close: %v", err)
		}
		if w.State() != StateClosed {
			t.Errorf("state %v", w.State())
		}
	})
}

func TestWriterForLog(t *testing.T) {
	s := &script.Log{}
	bubble(t, s, WriterConfig{TrimNewline: true}, func(t *testing.T, w *Writer) {
		l := log.New(w, "p: ", 0)
		l.Print("one")
		l.Print("two\n\n")
		write(t, w, "", "\n", "x")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if want := []string{"p: one", "p: two\n", "", "", "x"}; !slices.Equal(s.Messages(), want) {
			t.Errorf("stored %q, want %q", s.Messages(), want)
		}
	})
}

// What a caller writes is copied.
func TestWriterCopies(t *testing.T) {
	s := &script.Log{}
	bubble(t, s, WriterConfig{}, func(t *testing.T, w *Writer) {
		p := []byte("original")
		write(t, w, string(p))
		w.Write(p)
		copy(p, bytes.Repeat([]byte("x"), len(p)))
		flush(t, w)
		if s.String() != "original original" {
			t.Errorf("stored %q", s.String())
		}
	})
}

func TestWriterConcurrent(t *testing.T) {
	s := &script.Log{}
	_, ccfg := fake(t, s.Serve)
	w := openWriter(t, ccfg, WriterConfig{BatchMessages: 7, InFlight: 3, BufferBytes: 2 * DefaultMaxBatchSize})
	const callers, each = 8, 500
	var wg sync.WaitGroup
	var called [callers]int
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				err := w.WriteFunc(t.Context(), fmt.Appendf(nil, "%d:%d", c, i), func(r WriteResult) {
					if r.Err != nil || called[c] != i {
						t.Errorf("caller %d: call %d for message %d: %v", c, called[c], i, r.Err)
					}
					called[c]++
				})
				if err != nil {
					t.Error(err)
				}
				if i%100 == 0 {
					if err := w.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
				w.Stats()
				w.State()
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for _, m := range s.Messages() {
		c, i, _ := strings.Cut(m, ":")
		if i != fmt.Sprint(next[c]) {
			t.Fatalf("message %q where %d is due", m, next[c])
		}
		next[c]++
	}
	if len(s.Messages()) != callers*each {
		t.Errorf("%d messages stored, want %d", len(s.Messages()), callers*each)
	}
	for c, n := range called {
		if n != each {
			t.Errorf("caller %d was called back %d times", c, n)
		}
	}
}

func TestWriterConfigValidate(t *testing.T) {
	if err := (&WriterConfig{}).Validate(); err != nil {
		t.Errorf("the zero config: %v", err)
	}
	if err := (&WriterConfig{BatchMessages: Unlimited, BatchAge: Unlimited}).Validate(); err != nil {
		t.Errorf("without limits: %v", err)
	}
	for _, cfg := range []WriterConfig{{InFlight: 32}, {InFlight: 1024, NoSequence: true}, {Patience: Unlimited}} {
		if err := cfg.Validate(); err != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	small, err := backlog.NewMemory(backlog.MemoryConfig{MaxBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	disk, err := backlog.OpenDisk(backlog.DiskConfig{Path: filepath.Join(t.TempDir(), "backlog"), MaxBytes: 68 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := (&WriterConfig{Backlog: disk}).Validate(); err != nil {
		t.Errorf("the smallest backlog on disk: %v", err)
	}
	largest := &backlog.Entry{Raw: []byte(stored("t", "a", strings.Repeat("x", DefaultMaxBatchSize-60))), Messages: 2}
	largest.Reason = strings.Repeat("because ", 10000)
	if err := disk.Put(largest); err != nil {
		t.Errorf("a batch of %d bytes does not fit into the smallest backlog on disk: %v", len(largest.Raw), err)
	}
	tests := []struct {
		cfg  WriterConfig
		says []string
	}{
		{WriterConfig{InFlight: 33}, []string{"InFlight", "33", "32", "NoSequence", "1024"}},
		{WriterConfig{Patience: -2}, []string{"Patience", "-2", "Unlimited"}},
		{WriterConfig{BatchBytes: -1}, []string{"BatchBytes", "-1"}},
		{WriterConfig{BatchBytes: 10}, []string{"BatchBytes", "10"}},
		{WriterConfig{BatchBytes: 1 << 31}, []string{"BatchBytes", "2147483648", "2147483647"}},
		{WriterConfig{BatchMessages: -2}, []string{"BatchMessages", "-2", "Unlimited"}},
		{WriterConfig{BatchAge: -time.Second}, []string{"BatchAge", "-1s", "Unlimited"}},
		{WriterConfig{InFlight: -1}, []string{"InFlight", "-1", "1024"}},
		{WriterConfig{InFlight: 1025}, []string{"InFlight", "1025", "1024"}},
		{WriterConfig{BufferBytes: -1}, []string{"BufferBytes", "-1"}},
		{WriterConfig{BufferBytes: 100_000}, []string{"BufferBytes", "100000", "131072"}},
		{WriterConfig{BufferBytes: 131072, WhenFull: DropOldest}, []string{"BufferBytes", "131072", "655360", "DropOldest"}},
		{WriterConfig{WhenFull: 9}, []string{"WhenFull", "FullPolicy(9)"}},
		{WriterConfig{Backlog: backlog.None{}, WriteWhileFailing: true}, []string{"WriteWhileFailing", "Backlog"}},
		{WriterConfig{Backlog: small}, []string{"BatchBytes", "65536", "1000"}},
		{WriterConfig{Backlog: disk, BatchBytes: 65537}, []string{"BatchBytes", "65537", "65536"}},
	}
	for _, tt := range tests {
		err := tt.cfg.Validate()
		if err == nil {
			t.Errorf("%+v is taken", tt.cfg)
			continue
		}
		for _, part := range tt.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
	}
}
