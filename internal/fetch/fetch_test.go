package fetch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/link"
	"github.com/logd-dev/logd/internal/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBusy, errFatal = errors.New("busy"), errors.New("fatal")

// fakeSource is a topic in memory, whose fields a test may change.
type fakeSource struct {
	batches []fakeBatch
	next    int64
	most    int64 // messages that may be asked for
	id      string
	cluster bool
	unknown bool // that it is one, or not, until Learn
	damaged [][2]int64

	fails []error // of the next reads
	conn  int64
	asked []string
}

type fakeBatch struct {
	offset   int64
	messages int
	raw      []byte
	header   int
}

// add appends a batch of so many messages, each with its place for a body.
func (s *fakeSource) add(messages int) {
	var b batch.Builder
	for i := range messages {
		b.Add(fmt.Appendf(nil, "%d/%d", s.next, i))
	}
	raw := slices.Clone(b.Finish("t"))
	h, _, _ := batch.Parse(raw)
	s.batches = append(s.batches, fakeBatch{s.next, messages, raw, h.Len()})
	s.next += int64(len(raw))
}

func (s *fakeSource) oldest() int64 {
	if len(s.batches) == 0 {
		return s.next
	}
	return s.batches[0].offset
}

func (s *fakeSource) Read(ctx context.Context, offset, messages int64, wait time.Duration, fresh bool) (*link.Batches, error) {
	s.asked = append(s.asked, fmt.Sprintf("read %d %v", offset, fresh))
	if len(s.fails) > 0 {
		err := s.fails[0]
		if s.fails = s.fails[1:]; err != nil {
			return nil, err
		}
	}
	if s.most > 0 && messages > s.most {
		return nil, protocol.ErrInvalidRequest
	}
	if offset == FromOldest {
		offset = s.oldest()
	}
	in := &link.Batches{Offset: offset, Next: offset, Connection: s.conn}
	at := slices.IndexFunc(s.batches, func(b fakeBatch) bool { return b.offset == offset })
	if at < 0 && offset != s.next {
		return nil, protocol.ErrNotFound
	}
	if at < 0 && wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for n := int64(0); at >= 0 && at < len(s.batches) && n < messages && s.batches[at].offset == in.Next; at++ {
		b := s.batches[at]
		in.Extents = append(in.Extents, link.Extent{Offset: b.offset, Messages: int64(b.messages), Header: b.header})
		in.Buf = append(in.Buf, b.raw...)
		in.Next += int64(len(b.raw))
		n += int64(b.messages)
	}
	return in, nil
}

func (s *fakeSource) Info(context.Context, bool) (*protocol.TopicInfo, error) {
	info := &protocol.TopicInfo{Oldest: s.oldest(), Next: s.next, ID: s.id, DamagedAt: s.damaged}
	for _, b := range s.batches {
		info.Messages += int64(b.messages)
	}
	info.OldestTime, info.NewestTime = time.UnixMilli(0), time.UnixMilli(int64(len(s.batches)))
	return info, nil
}

// Seek takes the number of a batch for its time.
func (s *fakeSource) Seek(_ context.Context, at time.Time) (int64, error) {
	if i := at.UnixMilli(); i < int64(len(s.batches)) {
		return s.batches[max(i, 0)].offset, nil
	}
	return s.next, nil
}

func (s *fakeSource) Times(context.Context, int64, int64) ([]protocol.TimeMark, error) {
	return nil, protocol.ErrInvalidProtocol
}
func (s *fakeSource) MaxMessages(context.Context) (int64, error) { return s.most, nil }
func (s *fakeSource) Learn(context.Context) {
	s.asked, s.unknown = append(s.asked, "learn"), false
}
func (s *fakeSource) Cluster() bool                { return s.cluster && !s.unknown }
func (s *fakeSource) Gone() error                  { return nil }
func (s *fakeSource) Retry(err error) (bool, bool) { return errors.Is(err, errBusy), false }
func (s *fakeSource) Backoff(int) time.Duration    { return time.Second }

// config is that of a Fetcher which ends with the log.
func config() Config {
	return Config{Messages: 10, Ahead: 1, Attempts: 3, OnRetry: func(error) {}}
}

// runAll runs f to its end and returns the messages that are wanted of what arrives, and
// the last arrival. It goes on behind gaps.
func runAll(f *Fetcher) (bodies []string, gaps []Gap, last Arrival) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run()
	}()
	defer func() { <-done }()
	for {
		a := <-f.Arrivals
		switch {
		case a.End != None:
			return bodies, gaps, a
		case a.Gap != nil:
			gaps = append(gaps, *a.Gap)
			f.GoOn()
			continue
		}
		skip := a.Skip
		for i := range a.Batches.Extents {
			messages := batch.Messages{Data: a.Batches.Data(i)}
			for messages.Next() {
				if skip--; skip < 0 {
					bodies = append(bodies, string(messages.Body()))
				}
			}
		}
	}
}

// Wherever reading begins, all messages from there on arrive, each once.
func TestPlaces(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		src := &fakeSource{most: int64(rnd.IntN(3) * 4)}
		var all []string
		var deltas [][2]int64
		for range 1 + rnd.IntN(60) {
			src.add(1 + rnd.IntN(4))
			b := src.batches[len(src.batches)-1]
			messages := batch.Messages{Data: b.raw[b.header:]}
			for messages.Next() {
				all = append(all, string(messages.Body()))
				deltas = append(deltas, [2]int64{b.offset, messages.Delta()})
			}
		}
		i := rnd.IntN(len(all))
		for name, tt := range map[string]struct {
			begin func(f *Fetcher) error
			want  []string
		}{
			"oldest": {func(f *Fetcher) error { f.AtOldest(); return nil }, all},
			"at":     {func(f *Fetcher) error { f.At(deltas[i][0], deltas[i][1], false); return nil }, all[i:]},
			"after":  {func(f *Fetcher) error { f.At(deltas[i][0], deltas[i][1], true); return nil }, all[i+1:]},
			"last":   {func(f *Fetcher) error { return f.AtLast(t.Context(), int64(i)) }, all[len(all)-i:]},
			"next":   {func(f *Fetcher) error { return f.AtNext(t.Context()) }, nil},
		} {
			f := New(t.Context(), src, config())
			if err := tt.begin(f); err != nil {
				t.Fatalf("seed %d, %s: %v", seed, name, err)
			}
			got, gaps, last := runAll(f)
			if !slices.Equal(got, tt.want) || gaps != nil || last.End != OfLog {
				t.Fatalf("seed %d, %s: %d of %d messages, gaps %v, end %d, %v", seed, name, len(got), len(tt.want), gaps, last.End, last.Err)
			}
		}
	}
}

// What is not there is a gap, or a place at which nothing begins.
func TestNotThere(t *testing.T) {
	log := func() *fakeSource {
		src := &fakeSource{next: 1000}
		src.add(1)
		src.next += 50
		src.damaged = [][2]int64{{src.next - 50, src.next}}
		src.add(1)
		return src
	}
	src := log()
	hole, second, end := src.damaged[0][0], src.damaged[0][1], src.next
	for name, tt := range map[string]struct {
		offset, delta int64
		gap           *Gap
		err           string
	}{
		"removed": {10, 0, &Gap{Offset: 10, Oldest: 1000}, ""},
		"damaged": {hole + 3, 0, &Gap{Offset: hole + 3, Oldest: second, Damaged: true}, ""},
		"beyond":  {end + 1, 0, nil, "*fetch.PlaceError"},
		"between": {1001, 0, nil, "*fetch.PlaceError"},
		"delta":   {1000, 1, nil, "*fetch.PlaceError"},
	} {
		f := New(t.Context(), log(), config())
		f.At(tt.offset, tt.delta, false)
		_, gaps, last := runAll(f)
		if tt.gap != nil && (len(gaps) == 0 || gaps[0] != *tt.gap) {
			t.Errorf("%s: gaps %+v, want %+v", name, gaps, tt.gap)
		}
		if got := fmt.Sprintf("%T", last.Err); tt.err != "" && got != tt.err {
			t.Errorf("%s: %s, want %s", name, got, tt.err)
		}
	}
}

// Failures that may pass are waited for, so many in a row and no more, and their end is
// told.
func TestRetries(t *testing.T) {
	for name, tt := range map[string]struct {
		fails []error
		told  string
		took  time.Duration
		end   End
	}{
		"none":       {nil, "", 0, OfLog},
		"some":       {[]error{errBusy, errBusy, errBusy}, "busy busy busy <nil>", 3 * time.Second, OfLog},
		"again":      {[]error{errBusy, nil, errBusy}, "busy <nil> busy <nil>", 2 * time.Second, OfLog},
		"too many":   {[]error{errBusy, errBusy, errBusy, errBusy}, "busy busy busy", 3 * time.Second, Failed},
		"never pass": {[]error{errBusy, errFatal}, "busy", time.Second, Failed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &fakeSource{fails: tt.fails}
				src.add(1)
				var told []string
				cfg := config()
				cfg.OnRetry = func(err error) { told = append(told, fmt.Sprint(err)) }
				f := New(t.Context(), src, cfg)
				f.AtOldest()
				start := time.Now()
				_, _, last := runAll(f)
				if got := strings.Join(told, " "); got != tt.told || last.End != tt.end || time.Since(start) != tt.took {
					t.Errorf("told %q, want %q; end %d (%v), want %d; after %v, want %v", got, tt.told, last.End, last.Err, tt.end, time.Since(start), tt.took)
				}
			})
		})
	}
}

// A member of a cluster is asked once more for what was stored before, before its end
// counts as that of the log.
func TestEndOfMember(t *testing.T) {
	src := &fakeSource{cluster: true}
	src.add(1)
	f := New(t.Context(), src, config())
	f.AtOldest()
	if _, _, last := runAll(f); last.End != OfLog {
		t.Errorf("end %d: %v", last.End, last.Err)
	}
	want := []string{"read -1 false", fmt.Sprintf("read %d false", src.next), fmt.Sprintf("read %d true", src.next)}
	if !slices.Equal(src.asked, want) {
		t.Errorf("asked %q, want %q", src.asked, want)
	}
}

// Who follows learns that another topic has the name, before anything of it arrives.
func TestReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		src := &fakeSource{id: "new", conn: 1}
		src.add(1)
		cfg := config()
		cfg.Follow, cfg.Watch, cfg.TopicID = true, true, "old"
		f := New(ctx, src, cfg)
		f.At(0, 0, false)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.Run()
		}()
		if a := <-f.Arrivals; a.Gap == nil || !a.Gap.Replaced || a.Gap.Topic != "new" {
			t.Errorf("%+v", a)
		}
		f.GoOn()
		if a := <-f.Arrivals; a.Batches == nil || a.Topic != "new" {
			t.Errorf("%+v", a)
		}
		time.Sleep(time.Hour) // at the end of the log nothing more arrives
		cancel()
		<-done
		if n := len(src.asked); n < 300 || n > 400 {
			t.Errorf("%d reads in an hour", n)
		}
	})
}

// Of whom it is not known whether there is a cluster, it is asked before what it has is
// taken for all that there is.
func TestEndIsAskedFor(t *testing.T) {
	for _, cluster := range []bool{false, true} {
		src := &fakeSource{unknown: true, cluster: cluster}
		src.add(1)
		f := New(t.Context(), src, config())
		f.AtOldest()
		if _, _, last := runAll(f); last.End != OfLog {
			t.Errorf("end %d: %v", last.End, last.Err)
		}
		want := []string{"read -1 false", fmt.Sprintf("read %d false", src.next), "learn"}
		if cluster {
			want = append(want, fmt.Sprintf("read %d true", src.next))
		}
		if !slices.Equal(src.asked, want) {
			t.Errorf("asked %q, want %q", src.asked, want)
		}
	}
}
