package logd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/logdtest/script"
)

// messages returns all messages of a result as offset.delta=body.
func messages(res *Result) []string {
	var all []string
	for _, b := range res.Batches {
		for m := range b.All() {
			all = append(all, fmt.Sprintf("%d.%d=%s", m.Offset, m.Delta, m.Body))
		}
	}
	return all
}

func TestRead(t *testing.T) {
	one, two := stored("t", "a", "", "c\r\nMSG 1\r\n"), stored("t", "z")
	_, cfg := fake(t, func(p *script.Peer) {
		p.Exchange("READ t 1000 10000 wait=0 max-bytes=1048576", "OK 1000 2\r\n"+one+two)
		p.Exchange("TAIL t 7 wait=1500", "OK 50 1\r\n"+two)
		p.Exchange("READ t 0 3 wait=0 max-bytes=9", "OK 0 0\r\n")
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	res, err := c.Read(t.Context(), "t", 1000, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	second := 1000 + len(one)
	want := []string{"1000.0=a", "1000.10=", "1000.19=c\r\nMSG 1\r\n", fmt.Sprintf("%d.0=z", second)}
	if got := messages(res); !slices.Equal(got, want) {
		t.Errorf("messages %q, want %q", got, want)
	}
	if res.Offset != 1000 || res.Next != int64(second+len(two)) {
		t.Errorf("Offset %d, Next %d", res.Offset, res.Next)
	}
	for i, raw := range []string{one, two} {
		b := &res.Batches[i]
		if string(b.Raw()) != raw || !strings.HasSuffix(raw, string(b.Data())) {
			t.Errorf("batch %d is %q, want %q", i, b.Raw(), raw)
		}
		if want := []int64{3, 1}[i]; b.Messages != want {
			t.Errorf("batch %d has %d messages, want %d", i, b.Messages, want)
		}
	}
	if res.Batches[0].Next() != res.Batches[1].Offset {
		t.Errorf("the batches are not one after another")
	}
	for range res.Batches[0].All() {
		break // must not go on
	}
	res.Release()

	res, err = c.Tail(t.Context(), "t", ReadOptions{Messages: 7, MaxBytes: -1, Wait: 1500 * time.Millisecond})
	if err != nil || res.Offset != 50 || len(res.Batches) != 1 {
		t.Errorf("Tail = %+v, %v", res, err)
	}
	res, err = c.Read(t.Context(), "t", 0, ReadOptions{Messages: 3, MaxBytes: 9})
	if err != nil || res.Offset != 0 || res.Next != 0 || len(res.Batches) != 0 {
		t.Errorf("Read at the end = %+v, %v", res, err)
	}
}

func TestReadRefusesWithoutSending(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		if r, ok := p.Request(); ok {
			line := r.Line
			t.Errorf("the client sent %q", line)
		}
	})
	c := dialTest(t, cfg)
	if _, err := c.Read(t.Context(), "t", -1, ReadOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Read at -1 = %v, want not found", err)
	}
	for _, call := range []func() error{
		func() error { _, err := c.Read(t.Context(), "a b", 0, ReadOptions{}); return err },
		func() error { _, err := c.Tail(t.Context(), "a\r\n", ReadOptions{}); return err },
		func() error { _, err := c.Seek(t.Context(), "", time.Now()); return err },
		func() error { _, err := c.Info(t.Context(), ".x"); return err },
	} {
		if err := call(); !errors.Is(err, ErrInvalidRequest) {
			t.Errorf("error %v, want invalid request", err)
		}
	}
}

// What comes before a damaged batch is good. For the damaged one the server is
// asked to look; one of the 0.3 line can't.
func TestReadCorrupt(t *testing.T) {
	good := stored("t", "good")
	for name, bad := range map[string]string{
		"bit":        strings.Replace(good, "good", "goop", 1),
		"checksum":   strings.Replace(good, "2", "3", 1),
		"count":      strings.Replace(good, " 1\r\n", " 2\r\n", 1),
		"framing":    "BATCH 5 t 907060870 1\r\nhello", // the checksum is right
		"word":       strings.Replace(good, "BATCH", "BATCI", 1),
		"topic":      strings.Replace(good, " t ", " u ", 1),
		"line end":   strings.Replace(good, "\r\n", "\r\v", 1),
		"small size": strings.Replace(good, "BATCH 13", "BATCH 11", 1),
		"large size": strings.Replace(good, "BATCH 13", "BATCH 19", 1),
		"huge size":  strings.Replace(good, "BATCH 13", "BATCH 93", 1),
	} {
		for _, old := range []bool{false, true} {
			for _, more := range []string{good, ""} {
				synctest.Test(t, func(t *testing.T) {
					asked := 0
					f, cfg := fake(t, func(p *script.Peer) {
						for {
							r, ok := p.Request()
							line := r.Line
							batches := 1 + min(len(more), 1)
							switch {
							case !ok:
								return
							case strings.HasSuffix(line, " verify=1"):
								if asked++; !strings.HasPrefix(line, "READ t 37 ") {
									t.Errorf("%s: the client sent %q", name, line)
								}
								if old {
									p.Answer("ERR invalid request\r\n")
								} else {
									p.Answer("ERR not found\r\n")
								}
							case strings.HasPrefix(line, "READ t 0 "):
								p.Answer("%s", fmt.Sprintf("OK 0 %d\r\n", 1+batches)+good+bad+more)
							case strings.HasPrefix(line, "READ t 37 "):
								p.Answer("%s", fmt.Sprintf("OK 37 %d\r\n", batches)+bad+more)
							default:
								p.Answer("OK\r\n")
							}
						}
					})
					c, err := Dial(t.Context(), cfg)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					start := time.Now()
					res, err := c.Read(t.Context(), "t", 0, ReadOptions{})
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					if got := messages(res); !slices.Equal(got, []string{"0.0=good"}) || res.Next != int64(len(good)) {
						t.Errorf("%s: messages %q, Next %d", name, got, res.Next)
					}
					if asked > 0 {
						t.Errorf("%s: the server was asked to look for what comes before", name)
					}
					_, err = c.Read(t.Context(), "t", res.Next, ReadOptions{})
					if IsRetryable(err) || !strings.Contains(err.Error(), "offset 37") || asked != 1 {
						t.Errorf("%s: Read of the damaged batch = %v, asked %d times", name, err, asked)
					}
					if !old && (!errors.Is(err, ErrCorrupt) || !errors.Is(err, ErrNotFound)) ||
						old && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrBadAnswer) {
						t.Errorf("%s (of the 0.3 line: %v): %v", name, old, err)
					}
					if took := time.Since(start); took > 200*time.Millisecond {
						t.Errorf("%s: it took %v to notice", name, took)
					}
					if err := c.Ping(t.Context()); err != nil {
						t.Errorf("%s: Ping = %v", name, err)
					}
					if (name == "bit" || name == "checksum") && f.count() > 1 {
						t.Errorf("%s: %d connections, although the framing was never lost", name, f.count())
					}
				})
			}
		}
	}
}

// Damage in the answer to a read costs no other call its answer: not a pipelined
// append, which the server has and answers late, and not another read.
func TestReadCorruptInCompany(t *testing.T) {
	bad := strings.Replace(stored("bad", "good"), "BATCH 13", "BATCH 93", 1)
	for _, first := range []string{"append", "read"} {
		t.Run(first+" first", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broken := make(chan struct{})
				f, cfg := fake(t, func(p *script.Peer) {
					offset := int64(0)
					for {
						r, ok := p.Request()
						line := r.Line
						switch {
						case !ok:
							return
						case strings.HasSuffix(line, " verify=1"):
							p.Answer("ERR not found\r\n")
						case strings.HasPrefix(line, "READ bad "):
							<-broken
							p.Answer("%s", "OK 0 1\r\n"+bad)
						case strings.HasPrefix(line, "READ t "):
							p.Answer("%s", "OK 7 1\r\n"+stored("t", "fine"))
						case strings.HasPrefix(line, "BATCH "):
							time.Sleep(time.Second) // after the answer that is damaged
							p.Answer("OK %d 1\r\n", offset)
							offset++
						}
					}
				})
				c, err := Dial(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				var reads sync.WaitGroup
				begin := map[string]func(){
					"read": func() {
						reads.Go(func() {
							_, err := c.Read(t.Context(), "bad", 0, ReadOptions{})
							if !errors.Is(err, ErrCorrupt) {
								t.Errorf("read of damage = %v", err)
							}
						})
						synctest.Wait()
						reads.Go(func() {
							res, err := c.Read(t.Context(), "t", 7, ReadOptions{})
							if err != nil || len(res.Batches) != 1 {
								t.Errorf("the other read = %+v, %v", res, err)
							}
						})
						synctest.Wait()
					},
				}
				var pending [5]Pending
				begin["append"] = func() {
					for i := range pending {
						if err := c.StartAppend(t.Context(), "t", batchOf("x"), &pending[i]); err != nil {
							t.Fatal(err)
						}
					}
					synctest.Wait()
				}
				begin[first]()
				for name, f := range begin {
					if name != first {
						f()
					}
				}
				close(broken)
				reads.Wait()
				for i := range pending {
					if offset, err := pending[i].Wait(t.Context()); err != nil || offset != int64(i) {
						t.Errorf("append %d = %d, %v", i, offset, err)
					}
				}
				if n := f.count(); n != 3 {
					t.Errorf("%d connections, want one for appends, one for reads and another after the damage", n)
				}
			})
		})
	}
}

// A read whose caller goes away in the middle of the answer leaves the stream
// in order, and the caller at once.
func TestReadCancelledInTheMiddle(t *testing.T) {
	half := make(chan struct{})
	rest := make(chan struct{})
	answer := "OK 0 1\r\n" + stored("t", strings.Repeat("x", 300<<10))
	_, cfg := fake(t, func(p *script.Peer) {
		p.Exchange("READ", answer[:200<<10])
		close(half)
		<-rest
		p.Answer("%s", answer[200<<10:])
		p.Exchange("READ", "OK 0 1\r\n"+stored("t", "next"))
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-half
		cancel()
	}()
	if _, err := c.Read(ctx, "t", 0, ReadOptions{}); !errors.Is(err, context.Canceled) || IsUnknown(err) {
		t.Errorf("Read = %v, want cancelled", err)
	}
	close(rest)
	res, err := c.Read(t.Context(), "t", 0, ReadOptions{})
	if err != nil || !slices.Equal(messages(res), []string{"0.0=next"}) {
		t.Errorf("next Read = %v, %v", res, err)
	}
}

// A waiting read that is cancelled takes its connection along if it is alone
// on it, so that the next call does not wait for it.
func TestWaitingReadCancelledAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hooks
		_, cfg := fake(t, func(p *script.Peer) {
			if p.Number() == 1 {
				p.Expect("READ")
				p.AwaitClose()
				return
			}
			p.Exchange("PING", "OK\r\n")
			p.AwaitClose()
		})
		h.install(&cfg)
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Read(ctx, "t", 0, ReadOptions{Wait: time.Hour}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Read = %v, want the context's error", err)
		}
		start := time.Now()
		if err := c.Ping(t.Context()); err != nil {
			t.Errorf("Ping = %v", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("Ping took %v", took)
		}
		c.Close()
		if got, want := h.String(), "+fake:1774 -fake:1774 +fake:1774 -fake:1774"; got != want {
			t.Errorf("hooks saw %q, want %q", got, want)
		}
	})
}

// A read that waits holds up nobody, and its end costs nobody else anything.
func TestWaitingReadCancelledInCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, cfg := fake(t, func(p *script.Peer) {
			switch p.Number() {
			case 1:
				p.Expect("READ t 0 ")
			case 2:
				p.Expect("READ t 7 ")
				time.Sleep(5 * time.Second)
				p.Answer("OK 7 0\r\n")
			case 3:
				p.Exchange("BATCH", "OK 8 1\r\n")
			}
			p.AwaitClose()
		})
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		read := make(chan error)
		go func() {
			_, err := c.Read(ctx, "t", 0, ReadOptions{Wait: time.Hour})
			read <- err
		}()
		synctest.Wait()
		go func() {
			_, err := c.Read(t.Context(), "t", 7, ReadOptions{})
			read <- err
		}()
		synctest.Wait()
		start := time.Now()
		if offset, err := c.Append(t.Context(), "t", batchOf("x")); offset != 8 || err != nil || time.Since(start) > 0 {
			t.Errorf("append beside it = %d, %v after %v, want 8 at once", offset, err, time.Since(start))
		}
		if err := <-read; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Read = %v, want the context's error", err)
		}
		if err := <-read; err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("the read beside it = %v after %v", err, time.Since(start))
		}
		if f.count() != 3 {
			t.Errorf("dialed %q, want three times", f.dialed())
		}
	})
}

// Reads that wait are under way at the same time as everything else, each as long
// as it takes by itself; Close ends them. One after another they need no connection
// but the Client's.
func TestReadsThatWaitAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, cfg := fake(t, func(p *script.Peer) {
			for {
				r, ok := p.Request()
				if !ok {
					return
				}
				var req protocol.Request
				if err := protocol.ParseRequest([]byte(r.Line), &req); err != nil {
					t.Error(err)
				}
				time.Sleep(req.Wait)
				switch req.Command {
				case protocol.Read:
					p.Answer("OK %d 0\r\n", req.Offset)
				case protocol.Batch:
					p.Answer("OK 0 1\r\n")
				default:
					p.Answer("OK\r\n")
				}
			}
		})
		connected, ended := 0, 0
		cfg.OnConnect = func(string) { connected++ }
		cfg.OnDisconnect = func(string, error) { ended++ }
		c := dialTest(t, cfg)
		takes := func(what string, want time.Duration, call func() error) {
			t.Helper()
			start := time.Now()
			if err := call(); err != nil || time.Since(start) != want {
				t.Errorf("%s: %v after %v, want %v", what, err, time.Since(start), want)
			}
		}
		read := func(offset int64, wait time.Duration) func() error {
			return func() error {
				res, err := c.Read(t.Context(), "t", offset, ReadOptions{Wait: wait})
				if err == nil && res.Offset != offset {
					err = fmt.Errorf("offset %d", res.Offset)
				}
				return err
			}
		}
		ping := func() error { return c.Ping(t.Context()) }
		for range 3 {
			takes("a read that waits", time.Second, read(1, time.Second))
			takes("ping", 0, ping)
		}
		if f.count() != 1 {
			t.Errorf("one after another: %d connections", f.count())
		}
		var wg sync.WaitGroup
		for round := range 3 {
			for i := range 6 {
				wait := time.Duration(6-i) * time.Second
				wg.Go(func() { takes("one of several", wait, read(int64(i), wait)) })
				synctest.Wait()
				takes("ping beside it", 0, ping)
				takes("a read beside it", 0, read(10, 0))
				takes("an append beside it", 0, func() error {
					_, err := c.Append(t.Context(), "t", batchOf("x"))
					return err
				})
			}
			wg.Wait()
			synctest.Wait()
			if round > 0 && connected-ended > 1+4 {
				t.Errorf("%d connections are kept", connected-ended)
			}
		}
		if most := 1 + 6 + 2*(6-4); f.count() > most {
			t.Errorf("%d connections, want at most %d", f.count(), most)
		}
		for range 3 {
			wg.Go(func() {
				start := time.Now()
				if _, err := c.Read(t.Context(), "t", 0, ReadOptions{Wait: time.Minute}); !errors.Is(err, ErrClosed) || time.Since(start) != time.Second {
					t.Errorf("one that Close ends: %v after %v", err, time.Since(start))
				}
			})
		}
		time.Sleep(time.Second)
		c.Close()
		wg.Wait()
		synctest.Wait()
		if connected != ended {
			t.Errorf("%d connections, %d have ended", connected, ended)
		}
	})
}

func TestSeek(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		p.Expect("CONFIG") // whether it is in a cluster
		p.AnswerConfig(DefaultMaxBatchSize)
		p.Exchange("SEEK t 1700000000001", "OK 512 0\r\n")
		p.Exchange("SEEK t 0", "OK 0 0\r\n")
		p.Exchange("SEEK t 0", "ERR not found\r\n")
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	// A fraction of a millisecond is rounded up.
	if offset, err := c.Seek(t.Context(), "t", time.UnixMilli(1700000000000).Add(time.Microsecond)); offset != 512 || err != nil {
		t.Errorf("Seek = %d, %v, want 512", offset, err)
	}
	if offset, err := c.Seek(t.Context(), "t", time.Time{}); offset != 0 || err != nil {
		t.Errorf("Seek of the zero time = %d, %v", offset, err)
	}
	if _, err := c.Seek(t.Context(), "t", time.Unix(0, 0)); !errors.Is(err, ErrNotFound) {
		t.Errorf("Seek = %v, want not found", err)
	}
}

func mok(body string) string { return fmt.Sprintf("MOK %d\r\n%s\r\n", len(body), body) }

func TestInfo(t *testing.T) {
	const full = "Oldest: 10\r\nNext: 30\r\nPartitions: 1\r\nBytes: 20\r\nMessages: 5\r\nBatches: 2\r\n" +
		"OldestTime: 2026-01-02T03:04:05.678Z\r\nNewestTime: 2026-01-02T03:04:06.000Z\r\nDamaged: 13\r\nDamagedAt: 12-15 20-30\r\nFuture: word\r\n"
	tests := []struct {
		body string
		want TopicInfo
		err  error
	}{
		{full, TopicInfo{10, 30, 1, 20, 5, 2, time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC), []OffsetRange{{12, 15}, {20, 30}}, "", ""}, nil},
		{"Oldest: 0\r\nNext: 0\r\nPartitions: 0\r\nBytes: 0\r\nMessages: 0\r\nBatches: 0\r\nOldestTime: \r\nNewestTime:\r\n", TopicInfo{}, nil},
		{strings.Replace(full, "Next: 30", "Next: 9", 1), TopicInfo{}, ErrBadAnswer},
		{strings.Replace(full, "Next: 30", "Next: x", 1), TopicInfo{}, ErrBadAnswer},
		{strings.Replace(full, "Next: 30\r\n", "", 1), TopicInfo{}, ErrBadAnswer},
		{strings.Replace(full, "2026-01-02T", "yesterday", 1), TopicInfo{}, ErrBadAnswer},
		{strings.Replace(full, "12-15", "12", 1), TopicInfo{}, ErrBadAnswer},
		{strings.Replace(full, "12-15", "15-15", 1), TopicInfo{}, ErrBadAnswer},
		{strings.Replace(full, "12-15", "-12-15", 1), TopicInfo{}, ErrBadAnswer},
		{"nonsense\r\n", TopicInfo{}, ErrBadAnswer},
		{"", TopicInfo{}, ErrBadAnswer},
	}
	for _, tt := range tests {
		_, cfg := fake(t, func(p *script.Peer) { p.Exchange("INFO t", mok(tt.body)) })
		c := dialTest(t, cfg)
		info, err := c.Info(t.Context(), "t")
		if !errors.Is(err, tt.err) || tt.err == nil && !reflect.DeepEqual(info, tt.want) {
			t.Errorf("Info of %q = %+v, %v, want %+v, %v", tt.body, info, err, tt.want, tt.err)
		}
		c.Close()
	}
}

func TestInfoTellsIDAndState(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		for _, id := range []string{"0af", "x"} {
			p.Exchange("INFO t", mok("Oldest: 0\r\nNext: 9\r\nPartitions: 1\r\nBytes: 9\r\nMessages: 1\r\nBatches: 1\r\n"+
				"OldestTime: \r\nNewestTime: \r\nId: "+id+"\r\nState: read only: no room\r\n"))
		}
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	info, err := c.Info(t.Context(), "t")
	if err != nil || info.ID != "0af" || info.State != "read only: no room" {
		t.Errorf("id %q, state %q (%v)", info.ID, info.State, err)
	}
	if _, err := c.Info(t.Context(), "t"); !errors.Is(err, ErrBadAnswer) {
		t.Errorf("an id that is none: %v", err)
	}
}

func TestTopics(t *testing.T) {
	_, cfg := fake(t, func(p *script.Peer) {
		p.Exchange("TOPICS", mok(""))
		p.Exchange("TOPICS", mok("a\r\nb-1\r\n"))
		p.Exchange("TOPICS", mok("a\r\n../b\r\n"))
		p.AwaitClose()
	})
	c := dialTest(t, cfg)
	for _, want := range [][]string{nil, {"a", "b-1"}} {
		if names, err := c.Topics(t.Context()); !slices.Equal(names, want) || err != nil {
			t.Errorf("Topics = %q, %v, want %q", names, err, want)
		}
	}
	if _, err := c.Topics(t.Context()); !errors.Is(err, ErrBadAnswer) {
		t.Errorf("Topics = %v, want bad answer", err)
	}
}

// Fits is exact but for the length of the checksum.
func TestBatchFits(t *testing.T) {
	for n := range 3000 {
		b := batchOf("first")
		body := bytes.Repeat([]byte("x"), n)
		const topic = "some-topic"
		max := int64(1000)
		fits := b.Fits(topic, n, max)
		b.Add(body)
		length := b.Len(topic)
		if fits && length > max {
			t.Errorf("a body of %d bytes fits, but makes %d bytes", n, length)
		}
		if !fits && length <= max-9 {
			t.Errorf("a body of %d bytes does not fit, but makes %d bytes", n, length)
		}
		if raw, err := b.finish(topic); err != nil || int64(len(raw)) != length {
			t.Errorf("Len = %d, the batch has %d bytes, %v", length, len(raw), err)
		}
	}
	if n := new(Batch).Len("t"); n != 0 {
		t.Errorf("Len of an empty batch = %d", n)
	}
	if n := batchOf("x").Len("a b"); n != 0 {
		t.Errorf("Len for an invalid topic = %d", n)
	}
}
