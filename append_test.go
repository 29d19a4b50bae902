package logd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/logdtest/script"
)

func TestAppend(t *testing.T) {
	f, cfg := fake(t, nil)
	f.serve(fakeAddr, func(p *script.Peer) {
		r, _ := p.Request()
		line, data := r.Line, r.Data
		if want := "BATCH 26 greetings 3441101874 2"; line != want {
			t.Errorf("envelope %q, want %q", line, want)
		}
		if want := "MSG 5\r\nhello\r\nMSG 3\r\nyou\r\n"; string(data) != want {
			t.Errorf("data %q, want %q", data, want)
		}
		p.Answer("OK 77 1\r\n")
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	b := batchOf("hello", "you")
	offset, err := c.Append(t.Context(), "greetings", b)
	if offset != 77 || err != nil {
		t.Errorf("Append = %d, %v", offset, err)
	}
	if b.Messages() != 2 {
		t.Errorf("Append left %d messages in the batch", b.Messages())
	}
}

func TestAppendRefusesWithoutSending(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		if r, ok := p.Request(); ok {
			line := r.Line
			t.Errorf("the client sent %q", line)
		}
	})
	c := dialTest(t, cfg)
	for _, tt := range []struct {
		topic string
		batch *Batch
		want  error
	}{
		{"t", new(Batch), ErrEmptyBatch},
		{"", batchOf("x"), ErrInvalidRequest},
		{"../x", batchOf("x"), ErrInvalidRequest},
		{"a b", batchOf("x"), ErrInvalidRequest},
		{strings.Repeat("x", 1000), batchOf("x"), ErrInvalidRequest},
	} {
		_, err := c.Append(t.Context(), tt.topic, tt.batch)
		if !errors.Is(err, tt.want) || !IsNotStored(err) || IsRetryable(err) {
			t.Errorf("Append to %.20q = %v, want %v, not stored", tt.topic, err, tt.want)
		}
		var p Pending
		if err := c.StartAppend(t.Context(), tt.topic, tt.batch, &p); !errors.Is(err, tt.want) {
			t.Errorf("StartAppend to %.20q = %v, want %v", tt.topic, err, tt.want)
		}
		if _, err := p.Wait(t.Context()); !errors.Is(err, tt.want) || !IsNotStored(err) {
			t.Errorf("Wait after StartAppend to %.20q = %v, want %v", tt.topic, err, tt.want)
		}
	}
}

// Many appends are begun before the server reads the first, and each gets its
// own answer.
func TestStartAppendPipelines(t *testing.T) {
	const n = 1000
	begun := make(chan struct{})
	_, cfg := fake(t, func(p *script.Peer) {
		<-begun
		for i := range n {
			r, ok := p.Request()
			data := r.Data
			if want := fmt.Sprintf("message %d\r\n", i); !ok || !strings.HasSuffix(string(data), want) {
				t.Errorf("request %d is %q, want %q", i, data, want)
				return
			}
		}
		for i := range n {
			if i%7 == 3 {
				p.Answer("ERR busy\r\n")
			} else {
				p.Answer("OK %d 1\r\n", i)
			}
		}
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	batches := make([]Batch, n)
	pending := make([]Pending, n)
	for i := range n {
		batches[i].Add(fmt.Appendf(nil, "message %d", i))
		if err := c.StartAppend(t.Context(), "t", &batches[i], &pending[i]); err != nil {
			t.Fatal(err)
		}
	}
	if pending[0].Ready() {
		t.Error("an append is over before the server read it")
	}
	close(begun)
	for i := range n {
		offset, err := pending[i].Wait(t.Context())
		if i%7 == 3 {
			if !errors.Is(err, ErrBusy) || !IsNotStored(err) || !IsRetryable(err) {
				t.Errorf("append %d: %v, want busy", i, err)
			}
		} else if offset != int64(i) || err != nil {
			t.Errorf("append %d = %d, %v", i, offset, err)
		}
		if !pending[i].Ready() {
			t.Errorf("append %d is not over after Wait", i)
		}
		again, err2 := pending[i].Wait(t.Context())
		if again != offset || (err == nil) != (err2 == nil) {
			t.Errorf("second Wait = %d, %v; the first was %d, %v", again, err2, offset, err)
		}
	}
}

// Done is closed when the append is over, whoever asks for it and when; of one that
// does not begin it is closed at once.
func TestAppendAsync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := fake(t, func(p *script.Peer) {
			for i := range 2 {
				p.Expect("BATCH ")
				time.Sleep(time.Second)
				p.Answer("OK %d 1\r\n", 10*i)
			}
			p.Expect("BATCH ")
		})
		c := dialTest(t, cfg)
		isOver := func(p *Pending) bool {
			select {
			case <-p.Done():
				return true
			default:
				return false
			}
		}
		one, two := batchOf("a"), batchOf("b")
		first, second := c.AppendAsync(t.Context(), "t", one), c.AppendAsync(t.Context(), "t", two)
		if isOver(first) {
			t.Error("it is over before the server has answered")
		}
		start := time.Now()
		<-first.Done()
		if offset, err := first.Wait(t.Context()); offset != 0 || err != nil || time.Since(start) != time.Second {
			t.Errorf("the first: %d, %v after %v", offset, err, time.Since(start))
		}
		time.Sleep(10 * time.Second)
		if offset, err := second.Wait(t.Context()); offset != 10 || err != nil {
			t.Errorf("the second: %d, %v", offset, err)
		}
		done := first.Done()
		if !isOver(first) || !isOver(second) || first.Done() != done {
			t.Error("Done of an append that is over is not closed")
		}
		lost := c.AppendAsync(t.Context(), "t", one)
		<-lost.Done()
		if _, err := lost.Wait(t.Context()); !errors.Is(err, ErrConnectionLost) || !IsUnknown(err) {
			t.Errorf("one that is lost: %v", err)
		}
		if err := c.StartAppend(t.Context(), "", one, first); err == nil || !isOver(first) {
			t.Errorf("one that is used again, and does not begin: %v", err)
		}
		refused := c.AppendAsync(t.Context(), "t", new(Batch))
		if _, err := refused.Wait(t.Context()); !isOver(refused) || !errors.Is(err, ErrEmptyBatch) || !IsNotStored(err) {
			t.Errorf("one that does not begin: %v", err)
		}
		if new(Pending).Ready() {
			t.Error("a Pending that was never used is over")
		}
	})
}

func TestPendingIsReusedOnlyWhenOver(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) { p.AwaitClose() })
	c := dialTest(t, cfg)
	var p Pending
	b := batchOf("x")
	if err := c.StartAppend(t.Context(), "t", b, &p); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("StartAppend took a Pending that is under way")
		}
	}()
	c.StartAppend(t.Context(), "t", batchOf("y"), &p)
}

// Each of many callers gets the answer to its own request.
func TestConcurrentCallers(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		for {
			r, ok := p.Request()
			line, data := r.Line, r.Data
			if !ok {
				return
			}
			switch {
			case strings.HasPrefix(line, "BATCH"):
				var n int
				fmt.Sscanf(string(data[strings.Index(string(data), "\r\n")+2:]), "%d", &n)
				p.Answer("OK %d 1\r\n", n)
			case strings.HasPrefix(line, "INFO"):
				body := fmt.Sprintf("Oldest: 0\r\nNext: %s\r\nPartitions: 0\r\nBytes: 0\r\nMessages: 0\r\nBatches: 0\r\n", line[len("INFO t"):])
				p.Answer("MOK %d\r\n%s\r\n", len(body), body)
			default:
				p.Answer("OK\r\n")
			}
		}
	})
	c := dialTest(t, cfg)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			var b Batch
			for i := range 50 {
				want := int64(g*1000 + i)
				b.Reset()
				b.Add(fmt.Append(nil, want))
				if got, err := c.Append(t.Context(), "t", &b); got != want || err != nil {
					t.Errorf("Append = %d, %v, want %d", got, err, want)
				}
				if info, err := c.Info(t.Context(), fmt.Sprint("t", want)); info.Next != want || err != nil {
					t.Errorf("Info = %d, %v, want %d", info.Next, err, want)
				}
				if err := c.Ping(t.Context()); err != nil {
					t.Errorf("Ping = %v", err)
				}
			}
		})
	}
	wg.Wait()
}

// An append that was sent before its context ended is unknown, and its answer
// is not taken for that of the next call.
func TestAppendCancelledAfterSending(t *testing.T) {
	got := make(chan struct{})
	answer := make(chan struct{})
	_, cfg := fake(t, func(p *script.Peer) {
		p.Expect("BATCH")
		close(got)
		<-answer
		p.Answer("OK 1 1\r\n")
		p.Exchange("BATCH", "OK 2 1\r\n")
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-got
		cancel()
	}()
	b := batchOf("x")
	_, err := c.Append(ctx, "t", b)
	if !errors.Is(err, context.Canceled) || !IsUnknown(err) || IsNotStored(err) || IsRetryable(err) {
		t.Errorf("Append = %v, want cancelled and unknown", err)
	}
	b.Reset() // it is ours again
	b.Add([]byte("y"))
	close(answer)
	if offset, err := c.Append(t.Context(), "t", b); offset != 2 || err != nil {
		t.Errorf("next Append = %d, %v, want 2", offset, err)
	}
}

// Appends that wait behind one whose write is stuck end at once and are not
// sent; the stuck one waits for a moment, then the connection is given up.
func TestAppendCancelledWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := fake(t, func(p *script.Peer) {
			p.Expect("CONFIG")
			p.AnswerConfig(1 << 30)
			p.Input.ReadByte() // the write is under way, and gets no further
			time.Sleep(time.Minute)
		})
		cfg.WriteTimeout = time.Hour
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		var took [2]time.Duration
		var errs [2]error
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = c.Append(ctx, "t", batchOf(strings.Repeat("x", 2<<20)))
				took[i] = time.Since(start)
			})
			synctest.Wait()
		}
		wg.Wait()
		for i, err := range errs {
			if !IsNotStored(err) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Append %d = %v, want the context's error, not stored", i, err)
			}
		}
		if took[0] != 4*time.Second || took[1] != 3*time.Second {
			t.Errorf("the appends ended after %v, want 4s and 3s", took)
		}
	})
}

func TestWaitCancelled(t *testing.T) {
	answer := make(chan struct{})
	_, cfg := fake(t, func(p *script.Peer) {
		p.Expect("BATCH")
		<-answer
		p.Answer("OK 9 1\r\n")
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	var p Pending
	if err := c.StartAppend(t.Context(), "t", batchOf("x"), &p); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Wait(ctx); !errors.Is(err, context.Canceled) || !IsUnknown(err) {
		t.Errorf("Wait = %v, want cancelled and unknown", err)
	}
	close(answer)
	if offset, err := p.Wait(t.Context()); offset != 9 || err != nil {
		t.Errorf("second Wait = %d, %v, want 9", offset, err)
	}
}
