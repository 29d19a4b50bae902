package logd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/protocol"

	"github.com/logd-dev/logd/logdtest/script"
)

// moodyServer keeps the bodies that were appended and serves badly: it
// refuses, hangs up before or after it has stored something, sends half of an
// answer, closes after one, and dawdles.
type moodyServer struct {
	mu     sync.Mutex
	rnd    *rand.Rand
	bodies []string // by offset: the nth has offset n
}

func (s *moodyServer) serve(p *script.Peer) {
	for {
		r, ok := p.Request()
		line, data := r.Line, r.Data
		if !ok {
			return
		}
		var req protocol.Request
		protocol.ParseRequest([]byte(line), &req)
		s.mu.Lock()
		mood := s.rnd.IntN(40)
		answer := "ERR not found\r\n"
		switch req.Command {
		case protocol.Batch:
			answer = s.append(mood, string(data))
		case protocol.Ping:
			answer = "OK\r\n"
		}
		s.mu.Unlock()
		switch mood {
		case 0: // hung up before, see append
			return
		case 1: // hung up after
			return
		case 2:
			p.Answer("%s", answer[:len(answer)/2])
			return
		}
		if !p.Answer("%s", answer) || strings.Contains(answer, "too large") || strings.Contains(answer, "shutting down") {
			return
		}
	}
}

// append stores the batch, or not, and returns the answer. Caller holds mu.
func (s *moodyServer) append(mood int, data string) string {
	switch mood {
	case 0:
		return ""
	case 3:
		return "ERR busy\r\n"
	case 4:
		return "ERR too large\r\n"
	case 5:
		return "ERR shutting down\r\n"
	case 6:
		return "ERR internal error\r\n"
	}
	s.bodies = append(s.bodies, data)
	return fmt.Sprintf("OK %d 1\r\n", len(s.bodies)-1)
}

// Whatever happens, an append that succeeded is stored where it says, once,
// and one that is IsNotStored is not stored. The others are IsUnknown.
func TestOutcomesAreTrue(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	server := &moodyServer{rnd: rand.New(rand.NewPCG(seed, 1))}
	_, cfg := fake(t, server.serve)
	cfg.ReconnectMin, cfg.ReconnectMax = time.Microsecond, time.Microsecond
	c := dialTest(t, cfg)

	type attempt struct {
		body   string
		offset int64
		err    error
	}
	const callers, appends = 8, 300
	var attempts [callers][]attempt
	var wg sync.WaitGroup
	for g := range callers {
		rnd := rand.New(rand.NewPCG(seed, uint64(g+2)))
		wg.Go(func() {
			record := func(body string, offset int64, err error) {
				attempts[g] = append(attempts[g], attempt{body, offset, err})
			}
			var b Batch
			var pipeline [4]struct {
				Batch
				Pending
				body string
			}
			for i := range appends {
				body := fmt.Sprintf("caller %d append %d", g, i)
				if i%2 == 0 {
					p := &pipeline[i/2%len(pipeline)]
					if p.body != "" {
						offset, err := p.Wait(t.Context())
						record(p.body, offset, err)
					}
					p.Batch.Reset()
					p.Add([]byte(body))
					p.body = body
					if err := c.StartAppend(t.Context(), "t", &p.Batch, &p.Pending); err != nil && !IsNotStored(err) {
						t.Errorf("StartAppend: %v, which does not say that nothing is stored", err)
					}
					continue
				}
				ctx, cancel := context.WithCancel(t.Context())
				if rnd.IntN(4) == 0 {
					go cancel() // whenever that may be
				}
				b.Reset()
				b.Add([]byte(body))
				offset, err := c.Append(ctx, "t", &b)
				cancel()
				record(body, offset, err)
			}
			for i := range pipeline {
				p := &pipeline[i]
				offset, err := p.Wait(t.Context())
				record(p.body, offset, err)
			}
		})
	}
	wg.Wait()
	c.Close()

	server.mu.Lock()
	defer server.mu.Unlock()
	stored := make(map[string]int64)
	for i, data := range server.bodies {
		_, body, _ := strings.Cut(strings.TrimSuffix(data, "\r\n"), "\r\n")
		if _, twice := stored[body]; twice {
			t.Errorf("%q is stored twice", body)
		}
		stored[body] = int64(i)
	}
	var count [3]int
	for _, all := range attempts {
		for _, a := range all {
			at, is := stored[a.body]
			count[outcomeOf(a.err)]++
			switch {
			case a.err == nil:
				if !is || at != a.offset {
					t.Errorf("%q: told offset %d; stored: %v, at %d", a.body, a.offset, is, at)
				}
			case IsNotStored(a.err):
				if is {
					t.Errorf("%q is stored, in spite of %v", a.body, a.err)
				}
			case !IsUnknown(a.err):
				t.Errorf("%q: %v says nothing of what became of it", a.body, a.err)
			}
			if errors.Is(a.err, ErrBadAnswer) {
				t.Errorf("%q: %v, though all answers are good", a.body, a.err)
			}
		}
	}
	t.Logf("%d stored, %d not, %d unknown", count[OutcomeNone], count[OutcomeNotStored], count[OutcomeUnknown])
	for i, n := range count {
		if n == 0 {
			t.Errorf("no append had outcome %d: the test does not test it", i)
		}
	}
}
