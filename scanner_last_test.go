package logd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/logdtest/script"
)

// fakeLog is a script that serves one topic, whose times and damage are made up.
type fakeLog struct {
	maxMessages int64

	mu       sync.Mutex
	batches  []fakeBatch
	oldest   int // index of the oldest batch
	requests int
	read     int64 // how many messages were sent
	// trim is how many batches are removed before the request with this number.
	trimAt, trim int
}

type fakeBatch struct {
	offset  int64
	raw     string
	time    time.Time
	damaged bool
	bodies  []string
}

func (b *fakeBatch) end() int64 { return b.offset + int64(len(b.raw)) }

// newFakeLog returns a log of so many batches, numbered messages, whose clock is
// set back now and then.
func newFakeLog(r *rand.Rand, batches int, damage float64) *fakeLog {
	l := &fakeLog{maxMessages: 50 + r.Int64N(100)}
	var offset int64
	number := 0
	now := time.UnixMilli(1_700_000_000_000)
	for range batches {
		var bodies []string
		for range 1 + r.IntN(1+r.IntN(20)) {
			bodies = append(bodies, fmt.Sprintf("%d %s", number, strings.Repeat("x", r.IntN(100))))
			number++
		}
		b := fakeBatch{offset: offset, raw: stored("t", bodies...), time: now, damaged: r.Float64() < damage, bodies: bodies}
		l.batches = append(l.batches, b)
		offset = b.end()
		switch r.IntN(20) {
		case 0:
			now = now.Add(-time.Duration(r.IntN(1000)) * time.Millisecond)
		case 1, 2, 3:
			now = now.Add(time.Duration(r.IntN(5000)) * time.Millisecond)
		}
	}
	return l
}

// bodies returns the bodies of all messages that can be read.
func (l *fakeLog) bodies() (all []string) {
	for _, b := range l.batches[l.oldest:] {
		if !b.damaged {
			all = append(all, b.bodies...)
		}
	}
	return all
}

func (l *fakeLog) info() protocol.TopicInfo {
	in := protocol.TopicInfo{Partitions: 1, Oldest: -1}
	for _, b := range l.batches[l.oldest:] {
		in.Next = b.end()
		if b.damaged {
			if n := len(in.DamagedAt); n > 0 && in.DamagedAt[n-1][1] == b.offset {
				in.DamagedAt[n-1][1] = b.end()
			} else {
				in.DamagedAt = append(in.DamagedAt, [2]int64{b.offset, b.end()})
			}
			continue
		}
		if in.Oldest < 0 {
			in.Oldest, in.OldestTime = b.offset, b.time
		}
		in.Batches++
		in.Messages += int64(len(b.bodies))
		in.NewestTime = b.time
	}
	if in.Oldest < 0 {
		in.Oldest = in.Next
	}
	return in
}

func (l *fakeLog) serve(p *script.Peer) {
	for {
		r, ok := p.Request()
		if !ok {
			return
		}
		var req protocol.Request
		protocol.ParseRequest([]byte(r.Line), &req)
		l.mu.Lock()
		answer := l.answer(&req)
		l.mu.Unlock()
		if !p.Answer("%s", answer) {
			return
		}
	}
}

func (l *fakeLog) answer(req *protocol.Request) []byte {
	l.requests++
	if l.trim > 0 && l.requests == l.trimAt {
		l.oldest += l.trim
	}
	in := l.info()
	switch req.Command {
	case protocol.Info:
		return protocol.AppendBody(nil, protocol.AppendInfo(nil, &in))
	case protocol.Config:
		return protocol.AppendBody(nil, protocol.AppendSettings(nil, &protocol.Settings{
			Host: fakeAddr, MaxBatchSize: DefaultMaxBatchSize, MaxMessages: l.maxMessages,
		}))
	case protocol.Seek:
		for _, b := range l.batches[l.oldest:] {
			if !b.damaged && b.time.UnixMilli() >= req.Millis {
				return protocol.AppendOffset(nil, b.offset, 0)
			}
		}
		return protocol.AppendOffset(nil, in.Next, 0)
	case protocol.Read:
		if req.Messages > l.maxMessages {
			return protocol.AppendError(nil, protocol.ErrInvalidRequest)
		}
		return l.reading(req, in.Next)
	}
	return protocol.AppendError(nil, protocol.ErrInvalidRequest)
}

func (l *fakeLog) reading(req *protocol.Request, next int64) []byte {
	if req.Offset == next {
		return protocol.AppendOffset(nil, next, 0)
	}
	i := slices.IndexFunc(l.batches, func(b fakeBatch) bool { return b.offset == req.Offset })
	if i < l.oldest || l.batches[i].damaged {
		return protocol.AppendError(nil, protocol.ErrNotFound)
	}
	var data strings.Builder
	var n, messages int64
	for _, b := range l.batches[i:] {
		if b.damaged || messages >= req.Messages || n > 0 && int64(data.Len()+len(b.raw)) > req.MaxBytes {
			break
		}
		data.WriteString(b.raw)
		n++
		messages += int64(len(b.bodies))
	}
	l.read += messages
	return append(protocol.AppendOffset(nil, req.Offset, n), data.String()...)
}

// Last(n) is the n-th message from the end, whatever the times of the batches
// are, past damage, and while batches are removed.
func TestLastIsExact(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			l := newFakeLog(r, 1+r.IntN(600), []float64{0, 0, 0.01, 0.5, 1}[seed%5])
			_, ccfg := fake(t, l.serve)
			c := dialTest(t, ccfg)
			total := len(l.bodies())
			for _, n := range []int{0, 1, 2, r.IntN(total + 1), r.IntN(total + 1), total - 1, total, total + 1, total * 2} {
				if n < 0 {
					continue
				}
				before, trims := l.bodies(), seed%3 == 2
				if trims {
					l.trimAt, l.trim = l.requests+1+r.IntN(6), r.IntN(1+(len(l.batches)-l.oldest)/4)
				}
				s, err := NewScanner(t.Context(), c, "t", ScannerConfig{
					Start: Last(int64(n)), ReadBytes: 1000 + r.Int64N(20000), OnGone: func(*GoneError) error { return nil },
				})
				if err != nil {
					t.Fatalf("seed %d, Last(%d) of %d: %v", seed, n, total, err)
				}
				var got []string
				for s.Scan() {
					got = append(got, string(s.Message().Body))
				}
				if s.Err() != nil {
					t.Fatalf("seed %d, Last(%d) of %d: %v", seed, n, total, s.Err())
				}
				// Some that are removed meanwhile may have been read before that; what
				// follows them may be missing.
				least, most := min(n, len(l.bodies())), min(n, len(before))
				if len(got) < least || len(got) > most || !slices.Equal(got[len(got)-least:], before[len(before)-least:]) {
					t.Fatalf("seed %d, Last(%d) of %d: got %d messages, want %d to %d", seed, n, total, len(got), least, most)
				}
				if !trims && least != most {
					t.Fatalf("%d messages were removed", most-least)
				}
				l.trim = 0
			}
		})
	}
}

// To find a few messages of many does not take reading all of them, nor much
// memory.
func TestLastReadsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog(rand.New(rand.NewPCG(7, 7)), 20000, 0)
		total := int64(len(l.bodies()))
		_, ccfg := fake(t, l.serve)
		c := dialTest(t, ccfg)
		s, err := NewScanner(t.Context(), c, "t", ScannerConfig{Start: Last(100), Limit: 1})
		if err != nil || !s.Scan() {
			t.Fatal(err, s.Err())
		}
		s.Close()
		if l.read > total/10 || l.requests > 200 {
			t.Errorf("%d of %d messages were read, with %d requests", l.read, total, l.requests)
		}
	})
}
