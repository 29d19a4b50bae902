package logd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/logdtest/script"
)

func TestScannerConfigValidate(t *testing.T) {
	for _, tt := range []struct {
		cfg  ScannerConfig
		want string
	}{
		{ScannerConfig{Start: AtOffset(-1)}, "ScannerConfig.Start is at -1.0: want an offset, a delta and a number of 0 or more"},
		{ScannerConfig{Start: After(ID{5, -1})}, "ScannerConfig.Start is after 5.-1"},
		{ScannerConfig{Limit: -2}, "ScannerConfig.Limit is -2: want 0 (the default) or more, or Unlimited (-1)"},
		{ScannerConfig{ReadBytes: -2}, "ScannerConfig.ReadBytes is -2: want 0 (the default) or more"},
		{ScannerConfig{ReadAhead: -3}, "ScannerConfig.ReadAhead is -3: want 0 (the default) to 1024"},
		{ScannerConfig{ReadAhead: 1025}, "ScannerConfig.ReadAhead is 1025"},
		{ScannerConfig{AwaitTopic: true}, "ScannerConfig.AwaitTopic is true: want Follow with it"},
		{ScannerConfig{Start: At(ID{math.MaxInt64, math.MaxInt64}), Limit: math.MaxInt64, Follow: true, AwaitTopic: true}, ""},
		{ScannerConfig{}, ""},
	} {
		err := tt.cfg.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("Validate(%+v) = %v, want %q", tt.cfg, err, tt.want)
		}
		c, _ := NewClient(ClientConfig{})
		if _, made := NewScanner(t.Context(), c, "t", tt.cfg); tt.want != "" && made == nil {
			t.Errorf("NewScanner takes %+v", tt.cfg)
		}
		c.Close()
	}
}

func TestPositionText(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 60, time.FixedZone("", 3600))
	for _, p := range []Position{
		{}, AtOldest(), AtNext(), AtOffset(0), At(ID{70, 11}), After(ID{70, 11}),
		After(ID{math.MaxInt64, math.MaxInt64}), AtTime(at), AtTime(at.UTC()), Last(0), Last(math.MaxInt64),
	} {
		text, err := p.MarshalText()
		var back Position
		if err == nil {
			err = back.UnmarshalText(text)
		}
		if err != nil || back.String() != p.String() || back.kind != p.kind || !back.since.Equal(p.since) {
			t.Errorf("%v comes back as %v, %v", p, back, err)
		}
	}
	for _, text := range []string{" ", "at", "at ", "at 1", "at 1.", "at 1.2.3", "at 01.2", "at -1.2", "at 1.2 ", "after 9223372036854775808.0", "oldest 1", "since", "since now", "last", "last -1", "last 01", "AT 1.2", "x"} {
		p := AtOffset(7)
		if err := p.UnmarshalText([]byte(text)); err == nil || p != AtOffset(7) {
			t.Errorf("%q is %v, %v", text, p, err)
		}
	}
}

func fakeScanner(t *testing.T, cfg ScannerConfig, script func(*script.Peer)) *Scanner {
	t.Helper()
	_, clientCfg := fake(t, script)
	clientCfg.ReconnectAttempts = -1
	c := dialTest(t, clientCfg)
	s, err := NewScanner(t.Context(), c, "t", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Nothing is delivered of a batch whose checksum is wrong, and all of what
// comes before it; the error names topic and offset. The last case is the
// control: the same script without the damage.
func TestScannerCorrupt(t *testing.T) {
	good := stored("t", "a", "b")
	for _, tt := range []struct {
		bad  string
		want string
	}{
		{strings.Replace(stored("t", "good", "c"), "good", "goop", 1), "a b"},
		{strings.Replace(stored("t", "x", "yz"), "yz", "zy", 1), "a b"},
		{stored("t", "good", "c"), "a b good c"},
	} {
		s := fakeScanner(t, ScannerConfig{Start: AtOffset(1000)}, func(p *script.Peer) {
			p.Exchange("READ t 1000 ", "OK 1000 2\r\n"+good+tt.bad)
			for {
				r, ok := p.Request()
				line := r.Line
				switch {
				case !ok:
					return
				case line == "CONFIG":
					p.AnswerConfig(DefaultMaxBatchSize)
				case strings.HasPrefix(line, fmt.Sprintf("READ t %d ", 1000+len(good))):
					p.Answer("%s", fmt.Sprintf("OK %d 1\r\n", 1000+len(good))+tt.bad)
				default:
					p.Answer("%s", "OK "+strings.Fields(line)[2]+" 0\r\n")
				}
			}
		})
		var got []string
		for s.Scan() {
			got = append(got, string(s.Message().Body))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
		if tt.want != "a b" {
			if s.Err() != nil {
				t.Errorf("without damage: %v", s.Err())
			}
			continue
		}
		err := s.Err()
		if !errors.Is(err, ErrCorrupt) || s.End() != EndFailed {
			t.Fatalf("ended with %v, %v", s.End(), err)
		}
		for _, part := range []string{`"t"`, fmt.Sprintf("offset %d", 1000+len(good)), "checksum"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not name %s", err, part)
			}
		}
	}
}

// AwaitTopic waits for the topic; without it, no topic is the end.
func TestScannerAwaitsTopic(t *testing.T) {
	for _, start := range []Position{AtOldest(), AtNext(), AtTime(time.Unix(1, 0))} {
		t.Run(start.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				s := fakeScanner(t, ScannerConfig{Start: start, Follow: true, AwaitTopic: true}, func(p *script.Peer) {
					for {
						r, ok := p.Request()
						line := r.Line
						if !ok {
							return
						}
						switch there := time.Since(begin) >= time.Hour; {
						case line == "CONFIG":
							p.AnswerConfig(DefaultMaxBatchSize)
						case there && strings.HasPrefix(line, "TAIL t "):
							p.Answer("%s", "OK 0 1\r\n"+stored("t", "first"))
						case there:
							p.AwaitClose() // a read that waits
							return
						default:
							p.Answer("ERR not found\r\n")
						}
					}
				})
				if !s.Scan() || string(s.Message().Body) != "first" {
					t.Errorf("message %q, %v", s.Message().Body, s.Err())
				}
				if took := time.Since(begin); took != time.Hour {
					t.Errorf("it took %v", took)
				}
				s.Close()
			})
		})
	}
	s := fakeScanner(t, ScannerConfig{Follow: true}, func(p *script.Peer) {
		for {
			if _, ok := p.Request(); !ok || !p.Answer("ERR not found\r\n") {
				return
			}
		}
	})
	if s.Scan() || !errors.Is(s.Err(), ErrNotFound) {
		t.Errorf("without AwaitTopic: %v", s.Err())
	}
}

// A server that is busy is asked again, after longer and longer pauses, as
// often as the Client tries to reconnect.
func TestScannerRetries(t *testing.T) {
	for _, tt := range []struct {
		answer   string
		attempts int
		want     int // requests
	}{
		{"ERR busy", 3, 4},
		{"ERR internal error", 1, 2},
		{"ERR shutting down", 2, 3},
		{"ERR unauthorized", 5, 1},
		{"ERR unsupported codec", -1, 1},
	} {
		t.Run(tt.answer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				_, cfg := fake(t, func(p *script.Peer) {
					for p.Expect("TAIL t 10000 wait=0 max-bytes=1048576") {
						requests++
						p.Answer("%s\r\n", tt.answer)
					}
				})
				cfg.ReconnectAttempts = tt.attempts
				cfg.ReconnectMin, cfg.ReconnectMax = time.Second, time.Minute
				c := dialTest(t, cfg)
				retries := 0
				s, err := NewScanner(t.Context(), c, "t", ScannerConfig{OnRetry: func(err error) {
					if retries++; !IsRetryable(err) {
						t.Errorf("OnRetry(%v)", err)
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				if s.Scan() {
					t.Error("Scan = true")
				}
				if s.Err() == nil || !strings.Contains(s.Err().Error(), strings.TrimPrefix(tt.answer, "ERR ")) {
					t.Errorf("Err = %v", s.Err())
				}
				s.Close()
				c.Close()
				synctest.Wait()
				if requests != tt.want || retries != tt.want-1 {
					t.Errorf("%d requests, want %d, and %d calls of OnRetry", requests, tt.want, retries)
				}
				least := time.Duration(1<<(tt.want-1)-1) * time.Second / 2
				if took := time.Since(start); took < least || took > 4*least {
					t.Errorf("it took %v, want at least %v", took, least)
				}
			})
		})
	}
}

// However much there is to read, no more is fetched than ReadAhead allows.
func TestScannerReadAheadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		one := stored("t", "x")
		s := fakeScanner(t, ScannerConfig{Start: AtOffset(0), ReadAhead: 3}, func(p *script.Peer) {
			for {
				r, ok := p.Request()
				line := r.Line
				if !ok {
					return
				}
				requests++
				p.Answer("%s", "OK "+strings.Fields(line)[2]+" 1\r\n"+one)
			}
		})
		synctest.Wait()
		// Three wait, and one has come for which there is no room.
		if requests != 4 {
			t.Errorf("%d requests before the first Scan, want 4", requests)
		}
		for range 10 {
			if !s.Scan() {
				t.Fatal(s.Err())
			}
		}
		synctest.Wait()
		if requests != 14 {
			t.Errorf("%d requests after 10 messages, want 14", requests)
		}
		s.Close()
		if s.Scan() || !errors.Is(s.Err(), ErrClosed) {
			t.Errorf("after Close, Scan delivers what was read ahead: %v", s.Err())
		}
	})
}

// A NewScanner that has to ask the server first ends with its context.
func TestNewScannerCancelled(t *testing.T) {
	for _, start := range []Position{AtNext(), AtTime(time.Unix(1, 0))} {
		for _, follow := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				_, cfg := fake(t, func(p *script.Peer) {
					p.Request()
					p.AwaitClose()
				})
				c := dialTest(t, cfg)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				begin := time.Now()
				_, err := NewScanner(ctx, c, "t", ScannerConfig{Start: start, Follow: follow})
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
					t.Errorf("NewScanner = %v after %v", err, time.Since(begin))
				}
				c.Close()
			})
		}
	}
}

// OnRetry tells of trouble, and of its end; Ready tells whether Scan would wait.
func TestScannerReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		more := make(chan struct{})
		var told []error
		s := fakeScanner(t, ScannerConfig{Start: AtOffset(0), Follow: true, Limit: 3, OnRetry: func(err error) {
			told = append(told, err)
		}}, func(p *script.Peer) {
			if p.Number() < 3 {
				p.Request() // and hangs up; the first connection is the Client's
				return
			}
			p.Exchange("READ t 0", "OK 0 1\r\n"+stored("t", "a", "b"))
			p.Expect("READ")
			<-more
			p.Answer("%s", fmt.Sprintf("OK %d 1\r\n", len(stored("t", "a", "b")))+stored("t", "c"))
			p.AwaitClose()
		})
		var ready []bool
		note := func() {
			time.Sleep(time.Second) // more than a pause before connecting again
			synctest.Wait()
			ready = append(ready, s.Ready())
		}
		note() // a and b have come
		for range 2 {
			s.Scan()
			note() // b is there; then nothing is
		}
		close(more)
		note() // c has come
		s.Scan()
		note() // the limit is reached
		s.Scan()
		note()
		if got, want := fmt.Sprint(ready), "[true true false true true true]"; got != want {
			t.Errorf("Ready: %s, want %s", got, want)
		}
		s.Close()
		if len(told) != 2 || !errors.Is(told[0], ErrConnectionLost) || told[1] != nil {
			t.Errorf("OnRetry was told %v", told)
		}
	})
}

// The hooks of a Client see the connection of a Scanner that follows, one call
// at a time.
func TestScannerHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hooks
		_, cfg := fake(t, func(p *script.Peer) {
			p.Exchange("TAIL", "OK 0 1\r\n"+stored("t", "a"))
			p.AwaitClose()
		})
		h.install(&cfg)
		c, err := NewClient(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewScanner(t.Context(), c, "t", ScannerConfig{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		if !s.Scan() {
			t.Error(s.Err())
		}
		s.Close()
		c.Close()
		if got, want := h.String(), "+fake:1774 -fake:1774"; got != want {
			t.Errorf("hooks saw %q, want %q", got, want)
		}
	})
}
