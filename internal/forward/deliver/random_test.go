package deliver

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
	"github.com/logd-dev/logd/logdtest/memnet"
	"github.com/logd-dev/logd/logdtest/script"
)

// whim is a server that answers at random: with batches stored as it should, or not.
type whim struct {
	log   script.Log
	large int // a message of so many bytes is too large, and its batch

	mu     sync.Mutex
	rng    *rand.Rand
	rate   int  // of 100 requests, how many go wrong
	forget bool // it may want the numbers from 1 on
}

func (w *whim) n(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

// calm has all go well from now on.
func (w *whim) calm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rate = 0
}

func (w *whim) wrong() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(100) < w.rate
}

func newWhim(rng *rand.Rand, numbers, forget bool) *whim {
	w := &whim{rng: rng, rate: 5 + rng.IntN(20), forget: forget, large: 2000}
	if numbers {
		w.log.Producers = 1000
	}
	w.log.OnBatch = func(p *script.Peer, messages []string) string {
		if w.wrong() {
			switch w.n(6) {
			case 0:
				return "ERR busy\r\n"
			case 1:
				return "ERR read only\r\n"
			case 2:
				return "ERR shutting down\r\n"
			case 3:
				p.Reset()
				return "ERR busy\r\n"
			case 4:
				time.Sleep(time.Duration(w.n(200)) * time.Millisecond)
			case 5:
				if w.forget {
					return "ERR out of order 1\r\n"
				}
				p.Close()
				return "ERR busy\r\n"
			}
		}
		for _, m := range messages {
			if len(m) > w.large {
				p.Answer("ERR too large\r\n")
				p.Close() // as servers do
				return "ERR too large\r\n"
			}
		}
		return ""
	}
	w.log.OnStored = func(p *script.Peer, _ []string, answer string) string {
		switch {
		case !w.wrong():
			return answer
		case w.n(2) == 0:
			return answer[:w.n(len(answer)-1)]
		}
		p.Reset()
		return answer
	}
	return w
}

// order is what was offered or put of a source, and what became of it.
type order struct {
	mu     sync.Mutex
	bodies []string
	sure   map[string]bool // it was told to be safe, or stands in a file
}

func (o *order) add(body string, sure bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bodies = append(o.bodies, body)
	if sure {
		o.sure[body] = true
	}
}

func (o *order) safe(body string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sure[body] = true
}

// told is what a check has to say.
type told struct{ lost, twice, disorder, strange int }

// compare compares what was stored with what should be. Messages that are too large should
// not.
func compare(stored []string, sources map[string]*order, large int) (bad told) {
	count := map[string]int{}
	last := map[string]int{}
	known := map[string]int{}
	for _, o := range sources {
		for i, body := range o.bodies {
			known[body] = i
		}
	}
	for _, body := range stored {
		name, _, _ := strings.Cut(body, " ")
		i, ok := known[body]
		if !ok || len(body) > large {
			bad.strange++
			continue
		}
		if count[body]++; count[body] > 1 {
			bad.twice++
			continue
		}
		if i+1 < last[name] {
			bad.disorder++
		}
		last[name] = max(last[name], i+1)
	}
	for _, o := range sources {
		for body := range o.sure {
			if len(body) <= large && count[body] == 0 {
				bad.lost++
			}
		}
	}
	return bad
}

// TestRandom delivers to a server that answers at random, and is killed and begun again
// meanwhile: with numbers each message is stored once, and those of a source in their
// order. Without, or with a server that forgets, what is stored twice is counted. It is the
// same runs each time: LOGD_DELIVER_RUNS asks for more, LOGD_RUNS_FROM for others, LOGD_SEED
// for one.
func TestRandom(t *testing.T) {
	first, runs := uint64(1), 12
	if testing.Short() {
		runs = 4
	}
	if n, err := strconv.Atoi(os.Getenv("LOGD_DELIVER_RUNS")); err == nil {
		runs = n
	}
	if n, err := strconv.ParseUint(os.Getenv("LOGD_RUNS_FROM"), 10, 64); err == nil {
		first = n
	}
	if n, err := strconv.ParseUint(os.Getenv("LOGD_SEED"), 10, 64); err == nil {
		first, runs = n, 1
	}
	for i := range runs {
		random(t, first+uint64(i))
	}
}

func random(t *testing.T, seed uint64) bool {
	return t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { scenario(t, rand.New(rand.NewPCG(seed, 1))) })
	})
}

// scenario is some runs of an agent, the last of which ends well.
func scenario(t *testing.T, rng *rand.Rand) {
	kind := rng.IntN(4)
	numbers, forget := kind > 0, kind == 3
	w := newWhim(rand.New(rand.NewPCG(rng.Uint64(), 2)), numbers, forget)
	network := memnet.New(t)
	script.Serve(t, network, "log:1774", w.log.Serve)
	disk := vfstest.New()
	sources := map[string]*order{}
	source := func(name string) *order {
		if sources[name] == nil {
			sources[name] = &order{sure: map[string]bool{}}
		}
		return sources[name]
	}
	body := func(name string, n int) string {
		size := rng.IntN(200)
		if rng.IntN(150) == 0 {
			size = w.large + 1
		}
		return fmt.Sprint(name, " ", n, " ", strings.Repeat("x", size))
	}
	files := map[string]*file{"f-a": {}, "f-b": {}, "t": {}}
	doubled, resent, holes := int64(0), int64(0), int64(0)
	runs := 1 + rng.IntN(4)
	for run := range runs {
		d, client := runDelivery(t, rng, network, disk)
		d.SetInput(input(t, "file", "f-{base}"))
		d.SetInput(input(t, "other", "t")) // beside what is put
		d.SetInput(input(t, "live", "t"))
		var workers sync.WaitGroup
		for name, f := range files {
			state := feed.File{Input: "file", Path: "/" + strings.TrimPrefix(name, "f-")}
			if name == "t" {
				state = feed.File{Input: "other", Path: "/t"}
			}
			for _, known := range d.Files(state.Input) {
				if known.Path == state.Path {
					state = known
				}
			}
			src := reads(t, d, state, f)
			for range rng.IntN(300) {
				o := source("file:" + name)
				line := body("file:"+name, len(o.bodies))
				o.add(line, true)
				f.write(line)
			}
			workers.Go(func() { offer(d, f, src) })
		}
		d.Recover()
		for i := range 2 {
			o := source(fmt.Sprint("live:", i))
			count := rng.IntN(200)
			var bodies []string
			for k := range count {
				bodies = append(bodies, body(fmt.Sprint("live:", i), len(o.bodies)+k))
			}
			live := d.Live("live", "")
			workers.Go(func() {
				for _, b := range bodies {
					o.add(b, false)
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					err := live.Put(ctx, []feed.Message{{Body: []byte(b)}}, feed.Block, func() { o.safe(b) })
					cancel()
					if err != nil {
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
		if run < runs-1 {
			image := killed(disk)
			d.end()
			workers.Wait()
			count(d, &doubled, &resent, &holes)
			d.Close()
			client.Close()
			disk = image
			continue
		}
		w.calm()
		workers.Wait()
		for end := time.Now().Add(time.Hour); ; time.Sleep(10 * time.Millisecond) {
			n, _, _ := d.Waiting()
			if n == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%d messages wait: %+v", n, d.Lanes())
			}
		}
		count(d, &doubled, &resent, &holes)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		client.Close()
	}
	stored := w.log.Messages()
	bad := compare(stored, sources, w.large)
	most := 0
	if !numbers || forget {
		for _, n := range w.log.Batches() {
			most = max(most, n)
		}
		most *= int(doubled)
		bad.disorder = 0
	}
	if bad.lost > 0 || bad.twice > most || bad.disorder > 0 || bad.strange > 0 {
		t.Errorf("numbers %v, forgets %v, %d runs, of %d: %+v; %d batches may be twice, %d were sent again, %d messages in holes", numbers, forget, runs, len(stored), bad, doubled, resent, holes)
	}
}

// offer offers what is in a file until all was taken, or d has ended.
func offer(d *Delivery, f *file, src feed.Replayed) {
	room := d.Room()
	for {
		lines := f.lines(src.Read().At, 50)
		if len(lines) == 0 {
			return
		}
		if src.Offer(lines, anchor) > 0 {
			continue
		}
		select {
		case <-room:
		case <-d.life.Done():
			return
		}
	}
}

func count(d *Delivery, doubled, resent, holes *int64) {
	for _, l := range d.Lanes() {
		*doubled += l.Doubled
		*resent += l.Resent
	}
	for _, in := range []string{"file", "other", "live"} {
		for _, h := range d.Counters(in).Holes() {
			*holes += h.Messages
		}
	}
}

func runDelivery(t *testing.T, rng *rand.Rand, network *memnet.Network, disk *vfstest.FS) (*Delivery, *logd.Client) {
	t.Helper()
	client, err := logd.NewClient(logd.ClientConfig{Addrs: []string{"log:1774"}, Dial: network.Dial, ReconnectAttempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{
		Client: client, FS: disk, Memory: 8 << 20, SpoolBytes: 64 << 20, LedgerBytes: 64 << 20, DeadBytes: 1 << 20,
		BatchSize: 1024 << rng.IntN(4), BatchAge: time.Millisecond, InFlight: 1 + rng.IntN(8), SpoolSync: 20 * time.Millisecond,
		MaxTopics: 10, Fallback: "other", Host: "here", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.end()
		d.Close()
		client.Close()
	})
	return d, client
}

// TestCompare says that what TestRandom compares with finds what is wrong.
func TestCompare(t *testing.T) {
	sources := map[string]*order{"a": {bodies: []string{"a 0", "a 1", "a 2"}, sure: map[string]bool{"a 0": true, "a 2": true}}}
	for _, tc := range []struct {
		stored string
		want   told
	}{
		{"a 0|a 1|a 2", told{}},
		{"a 0|a 2", told{}},
		{"a 0|a 1", told{lost: 1}},
		{"a 0|a 1|a 2|a 1", told{twice: 1}},
		{"a 0|a 2|a 1", told{disorder: 1}},
		{"a 0|a 1|a 2|b 0", told{strange: 1}},
	} {
		if got := compare(strings.Split(tc.stored, "|"), sources, 100); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.stored, got, tc.want)
		}
	}
}
